// C interface of a compiled fabric: what model.py calls through ctypes. Keep the two in step.
#pragma once
#include <cstdint>

#define CELOSIA_EXPORT extern "C" __attribute__((visibility("default")))

namespace celosia {

constexpr uint32_t kInterface = 1;  // raise when this file changes; model.py checks it

enum Channel : uint32_t { kAR, kR, kAW, kW, kB, kChannels };

enum Outcome : int32_t {
    kDone = 0,
    kUnderWay = 1,  // the cycles given were not enough
    kBroken = 2,    // the fabric broke a rule of AXI4 or could not be evaluated: see celosia_message
    kNoAnswer = 3,  // a register access was not answered
    kRefused = 4,   // a register access was answered with an error response
};

// How the memory behind the AXI4 port behaves; cycles and bytes are of the fabric's clock and bus.
struct MemorySettings {
    uint64_t seed;               // of the random stalls
    uint32_t read_latency;       // cycles from the one that accepts an address to the first data, at least 1
    uint32_t write_latency;      // cycles from the one that accepts the last data to the response, at least 1
    uint32_t outstanding;        // bursts of each direction accepted before the first is finished
    uint32_t bytes_numerator;    // bytes per cycle, both directions together; 0 is no limit
    uint32_t bytes_denominator;
    uint32_t frozen;             // bit of each channel that never moves
    uint32_t stall[kChannels];   // chance * 2^32 that a channel does not move in a cycle
};

struct Counters {
    uint64_t cycles, read_bursts, read_beats, write_bursts, write_beats;
};

}  // namespace celosia

CELOSIA_EXPORT uint32_t celosia_interface();
CELOSIA_EXPORT uint32_t celosia_bus_bytes();

// `dram` stays the caller's and must outlive the simulation; byte i of it is address i.
CELOSIA_EXPORT void *celosia_open(uint8_t *dram, uint64_t size, const celosia::MemorySettings *settings);
CELOSIA_EXPORT void celosia_close(void *simulation);
CELOSIA_EXPORT void celosia_configure(void *simulation, const celosia::MemorySettings *settings);

// Accesses to bytes first to last are answered with `response` and move no data.
CELOSIA_EXPORT void celosia_fail(void *simulation, uint64_t first, uint64_t last, uint32_t response);
CELOSIA_EXPORT void celosia_heal(void *simulation);

// Register accesses through the pins of the AXI4-Lite port.
CELOSIA_EXPORT int32_t celosia_read(void *simulation, uint32_t address, uint32_t *value);
CELOSIA_EXPORT int32_t celosia_write(void *simulation, uint32_t address, uint32_t value);

#ifdef CELOSIA_WINDOW  // for fabrics with a memory of their own for everything
// Reads or writes bytes of it, through the pins of its AXI4 port.
CELOSIA_EXPORT int32_t celosia_window(void *simulation, uint32_t address, uint8_t *bytes, uint32_t count,
                                      int32_t writes);
#endif

// Reads a register every `interval` cycles until its bits under `mask` are 0, for at most `cycles` cycles.
CELOSIA_EXPORT int32_t celosia_wait(void *simulation, uint32_t address, uint32_t mask, uint64_t cycles,
                                    uint32_t interval);
CELOSIA_EXPORT int32_t celosia_step(void *simulation, uint64_t cycles);

CELOSIA_EXPORT void celosia_counters(void *simulation, celosia::Counters *counters);
CELOSIA_EXPORT const char *celosia_message(void *simulation);
