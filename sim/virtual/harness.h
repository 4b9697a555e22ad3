// C interface of a compiled board: what board.py calls through ctypes. Keep the two in step.
#pragma once
#include <cstdint>

#define CELOSIA_EXPORT extern "C" __attribute__((visibility("default")))

namespace celosia {

constexpr uint32_t kInterface = 1;  // raise when this file changes; board.py checks it

enum Outcome : int32_t {
    kServed = 0,    // the time is over
    kBroken = 1,    // a rule of the memory's chip was broken, or the gateware cannot be evaluated: see message
    kHungUp = 2,    // the file is closed
};

struct BoardSettings {
    uint64_t clock, baud;  // cycles and bits a second of the serial wires, as the gateware was told
    uint32_t pin_delay;    // of the memory's pins, cycles
    uint32_t always;       // 1: the fabric's clock never rests
    uint64_t memory_bytes;
    double program_seconds, erase_seconds;  // of the flash: a page, a sector
    // Of the SDRAM, in cycles: SdramTiming of sdram_model.h.
    uint64_t power_up, t_ras_max, t_refresh;
    uint32_t cas, init_refreshes, t_rcd, t_rp, t_ras, t_rc, t_rfc, t_rrd, t_wr, t_mrd, row_bits, column_bits;
};

struct BoardCounters {
    uint64_t cycles;         // of the board's clock
    uint64_t fabric_cycles;  // of them, those in which the fabric's clock ran
    uint64_t bytes_in;       // from the host
    uint64_t bytes_out;      // to the host
    uint64_t dropped;        // bytes that the host did not take in time
    uint64_t broken;         // bytes of the board without a stop bit
    uint64_t nanoseconds;    // spent simulating
};

}  // namespace celosia

CELOSIA_EXPORT uint32_t celosia_board_interface();

// Null if it cannot be opened: then celosia_board_message(null) says why.
CELOSIA_EXPORT void *celosia_board_open(const celosia::BoardSettings *settings);
CELOSIA_EXPORT void celosia_board_close(void *board);

// Carries bytes between the file and the wires for so long, simulating where anything happens, else asleep.
CELOSIA_EXPORT int32_t celosia_board_serve(void *board, int32_t file, uint32_t milliseconds);

CELOSIA_EXPORT void celosia_board_counters(void *board, celosia::BoardCounters *counters);
CELOSIA_EXPORT const char *celosia_board_message(void *board);

// The memory's chip from outside, for tests and for a flash that is programmed: false behind its end.
CELOSIA_EXPORT int32_t celosia_board_poke(void *board, uint64_t address, const uint8_t *bytes, uint64_t count);
CELOSIA_EXPORT int32_t celosia_board_peek(void *board, uint64_t address, uint8_t *bytes, uint64_t count);
