// Runs a compiled board: its clock, the chip at its memory pins, and its serial wires, which end at a file.
#include "harness.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "Vboard.h"
#include "uart.h"
#include "verilated.h"
#include "verilated_sym_props.h"
#include "verilated_syms.h"

#ifdef CELOSIA_SDRAM
#include "sdram_model.h"
#endif
#ifdef CELOSIA_FLASH
#include "flash_model.h"
#endif

// Verilator's way out of a model that cannot be evaluated (VL_USER_FATAL): an error instead of an abort.
void vl_fatal(const char *file, int line, const char *, const char *message) {
    throw std::runtime_error(std::string(file) + ":" + std::to_string(line) + ": " + message);
}
void vl_finish(const char *file, int line, const char *hierarchy) { vl_fatal(file, line, hierarchy, "$finish"); }
void vl_stop(const char *file, int line, const char *hierarchy) { vl_fatal(file, line, hierarchy, "$stop"); }

namespace celosia {
namespace {

constexpr int kResetCycles = 4;
constexpr int kPiece = 512;             // cycles between two looks at the file
constexpr int kFabricTail = 64;         // cycles for which the fabric's clock runs on after the last activity
constexpr uint64_t kRest = 40000;       // cycles after which nothing will come by itself: an SDRAM wakes in less
constexpr size_t kHostBuffer = 1 << 16;  // bytes that the host may be late with taking

#ifdef CELOSIA_SDRAM
class Chip {
public:
    explicit Chip(const BoardSettings &s) : model_(timing(s), int(s.pin_delay)) {}

    void clock(Vboard &top) {
        top.sdram_dq_i = model_.clock({bool(top.sdram_cke), bool(top.sdram_cs_n), bool(top.sdram_ras_n),
                                       bool(top.sdram_cas_n), bool(top.sdram_we_n), top.sdram_ba, top.sdram_a,
                                       top.sdram_dqm, top.sdram_dq_o, bool(top.sdram_dq_oe)});
    }
    const std::string &error() const { return model_.error(); }
    size_t bytes() const { return model_.bytes(); }
    uint8_t peek(size_t address) const { return model_.peek(address); }
    void poke(size_t address, uint8_t value) { model_.poke(address, value); }

private:
    static SdramTiming timing(const BoardSettings &s) {
        SdramTiming t;
        t.cas = int(s.cas);
        t.power_up = int64_t(s.power_up);
        t.init_refreshes = int(s.init_refreshes);
        t.t_rcd = int(s.t_rcd);
        t.t_rp = int(s.t_rp);
        t.t_ras = int(s.t_ras);
        t.t_ras_max = int64_t(s.t_ras_max);
        t.t_rc = int(s.t_rc);
        t.t_rfc = int(s.t_rfc);
        t.t_rrd = int(s.t_rrd);
        t.t_wr = int(s.t_wr);
        t.t_mrd = int(s.t_mrd);
        t.t_refresh = int64_t(s.t_refresh);
        t.row_bits = int(s.row_bits);
        t.column_bits = int(s.column_bits);
        return t;
    }

    SdramModel model_;
};
#endif

#ifdef CELOSIA_FLASH
class Chip {
public:
    explicit Chip(const BoardSettings &s) : model_(settings(s)) {}

    void clock(Vboard &top) {
        top.flash_io_i = uint8_t(model_.clock(
            {bool(top.flash_cs_n), bool(top.flash_sck_en), top.flash_io_o, top.flash_io_oe}));
    }
    const std::string &error() const { return model_.error(); }
    size_t bytes() const { return model_.bytes(); }
    uint8_t peek(size_t address) const { return model_.peek(address); }
    void poke(size_t address, uint8_t value) { model_.poke(address, value); }

private:
    static FlashSettings settings(const BoardSettings &s) {
        FlashSettings f;
        f.clock = double(s.clock);
        f.bytes = s.memory_bytes;
        f.pin_delay = int(s.pin_delay);
        f.program_seconds = s.program_seconds;
        f.erase_seconds = s.erase_seconds;
        return f;
    }

    FlashModel model_;
};
#endif

// Bytes on their way, in one direction.
class Queue {
public:
    size_t size() const { return bytes_.size() - taken_; }
    uint8_t pop() {
        const uint8_t byte = bytes_[taken_++];
        if (taken_ == bytes_.size()) clear();
        return byte;
    }
    void push(uint8_t byte) { bytes_.push_back(byte); }
    const uint8_t *data() const { return bytes_.data() + taken_; }
    void drop(size_t count) {
        taken_ += count;
        if (taken_ == bytes_.size()) clear();
    }

private:
    void clear() {
        bytes_.clear();
        taken_ = 0;
    }
    std::vector<uint8_t> bytes_;
    size_t taken_ = 0;
};

class Board {
public:
    explicit Board(const BoardSettings &settings)
        : always_(settings.always), chip(settings), to_board_(settings.clock, settings.baud),
          from_board_(settings.clock, settings.baud) {
        for (const char *name : CELOSIA_FABRIC_ACTIVE) active_.push_back(inside(name));
        top_.uart_rx = 1;
        top_.rst = 1;
        for (int i = 0; i < kResetCycles; ++i) clock_edge(true);
        top_.rst = 0;
    }

    BoardCounters counters{};
    Chip chip;
    std::string message;
    bool broken = false;

    Outcome serve(int file, uint32_t milliseconds) {
        using clock = std::chrono::steady_clock;
        const auto end = clock::now() + std::chrono::milliseconds(milliseconds);
        for (;;) {
            const auto began = clock::now();
            if (began >= end) return kServed;
            if (!take(file)) return kHungUp;
            if (quiet_ > kRest && input_.size() == 0) {
                if (output_.size() && !give(file)) return kHungUp;
                const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - began).count();
                pollfd ready{file, short(POLLIN | (output_.size() ? POLLOUT : 0)), 0};
                if (poll(&ready, 1, int(left)) > 0 && ready.revents & (POLLHUP | POLLNVAL | POLLERR) &&
                    !(ready.revents & POLLIN))
                    return kHungUp;
                continue;
            }
            for (int i = 0; i < kPiece; ++i) step();
            counters.nanoseconds += uint64_t(
                std::chrono::duration_cast<std::chrono::nanoseconds>(clock::now() - began).count());
            if (!chip.error().empty()) throw std::runtime_error(chip.error());
            if (!give(file)) return kHungUp;
        }
    }

private:
    void step() {
        if (to_board_.idle() && input_.size()) {
            to_board_.send(input_.pop());
            ++counters.bytes_in;
        }
        top_.uart_rx = to_board_.level();
        to_board_.tick();
        chip.clock(top_);
        clock_edge(false);

        uint8_t byte;
        if (from_board_.tick(top_.uart_tx, byte)) {
            ++counters.bytes_out;
            if (output_.size() < kHostBuffer) output_.push(byte);
            else ++counters.dropped;
        }
        quiet_ = tail_ || !to_board_.idle() || !from_board_.idle() ? 0 : quiet_ + 1;
    }

    // A cycle ends. The fabric's clock rests when it has been doing nothing for a while: no register would change.
    void clock_edge(bool in_reset) {
        if (in_reset || active()) tail_ = kFabricTail;
        else if (tail_) --tail_;
        top_.clk = 1;
        top_.fabric_clk = tail_ || always_;
        counters.fabric_cycles += top_.fabric_clk;
        ++counters.cycles;
        top_.eval();
        top_.clk = top_.fabric_clk = 0;
        top_.eval();
    }

    bool active() const {
        for (const uint8_t *signal : active_)
            if (*signal) return true;
        return false;
    }

    // A signal that build.py made public; names with dots are escaped ones.
    const uint8_t *inside(const std::string &name) {
        for (const auto &scope : *context_.scopeNameMap())
            if (const VerilatedVar *variable = scope.second->varFind(("\\" + name + " ").c_str()))
                return static_cast<const uint8_t *>(variable->datap());
        throw std::runtime_error("there is no signal " + name);
    }

    // False if the file has been closed at its other end.
    bool take(int file) {
        uint8_t bytes[4096];
        while (input_.size() < sizeof bytes) {
            const ssize_t count = read(file, bytes, sizeof bytes);
            if (count < 0) return errno == EAGAIN || errno == EINTR;
            if (count == 0) return false;
            for (ssize_t i = 0; i < count; ++i) input_.push(bytes[i]);
            if (size_t(count) < sizeof bytes) break;
        }
        return true;
    }

    bool give(int file) {
        while (output_.size()) {
            const ssize_t count = write(file, output_.data(), output_.size());
            if (count < 0) return errno == EAGAIN || errno == EINTR;
            output_.drop(size_t(count));
        }
        return true;
    }

    VerilatedContext context_;
    Vboard top_{&context_};
    bool always_;
    std::vector<const uint8_t *> active_;
    UartSender to_board_;
    UartReceiver from_board_;
    Queue input_, output_;
    uint64_t quiet_ = 0;
    int tail_ = 0;
};

std::string not_opened;  // why

}  // namespace
}  // namespace celosia

using celosia::Board;

uint32_t celosia_board_interface() { return celosia::kInterface; }

void *celosia_board_open(const celosia::BoardSettings *settings) {
    try {
        return new Board(*settings);
    } catch (const std::exception &error) {
        celosia::not_opened = error.what();
        return nullptr;
    }
}
void celosia_board_close(void *board) { delete static_cast<Board *>(board); }

int32_t celosia_board_serve(void *board, int32_t file, uint32_t milliseconds) {
    auto &self = *static_cast<Board *>(board);
    if (self.broken) return celosia::kBroken;
    try {
        return self.serve(file, milliseconds);
    } catch (const std::exception &error) {
        self.broken = true;
        self.message = error.what();
        return celosia::kBroken;
    }
}

void celosia_board_counters(void *board, celosia::BoardCounters *counters) {
    *counters = static_cast<Board *>(board)->counters;
}
const char *celosia_board_message(void *board) {
    return (board ? static_cast<Board *>(board)->message : celosia::not_opened).c_str();
}

int32_t celosia_board_poke(void *board, uint64_t address, const uint8_t *bytes, uint64_t count) {
    auto &chip = static_cast<Board *>(board)->chip;
    if (address > chip.bytes() || count > chip.bytes() - address) return 0;
    for (uint64_t i = 0; i < count; ++i) chip.poke(address + i, bytes[i]);
    return 1;
}
int32_t celosia_board_peek(void *board, uint64_t address, uint8_t *bytes, uint64_t count) {
    auto &chip = static_cast<Board *>(board)->chip;
    if (address > chip.bytes() || count > chip.bytes() - address) return 0;
    for (uint64_t i = 0; i < count; ++i) bytes[i] = chip.peek(address + i);
    return 1;
}
