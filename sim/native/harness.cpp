// Runs the compiled fabric: clock, AXI4 memory behind it, and register accesses through its AXI4-Lite pins.
#include "harness.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <deque>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "Vfabric.h"
#include "verilated.h"

// Verilator's way out of a model that cannot be evaluated (VL_USER_FATAL): an error instead of an abort.
void vl_fatal(const char *file, int line, const char *, const char *message) {
    throw std::runtime_error(std::string(file) + ":" + std::to_string(line) + ": " + message);
}
void vl_finish(const char *file, int line, const char *hierarchy) { vl_fatal(file, line, hierarchy, "$finish"); }
void vl_stop(const char *file, int line, const char *hierarchy) { vl_fatal(file, line, hierarchy, "$stop"); }

namespace celosia {
namespace {

constexpr uint64_t kBusBytes = sizeof(Vfabric::m_axi_rdata);
constexpr uint64_t kPage = 4096;
constexpr uint8_t kIncr = 1, kOkay = 0, kDecErr = 3;
constexpr int kResetCycles = 4;
constexpr int kAnswerCycles = 1000;

[[gnu::format(printf, 1, 2)]] std::string format(const char *pattern, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, pattern);
    vsnprintf(text, sizeof text, pattern, arguments);
    va_end(arguments);
    return text;
}

constexpr unsigned log2_of(uint64_t value) { return value == 1 ? 0 : 1 + log2_of(value / 2); }

struct Burst {
    uint64_t address;
    uint32_t beats;
    uint8_t id;
    uint64_t due = 0;  // cycle of the first data (reads) or of the response (writes)
    uint32_t moved = 0;
    uint8_t response = kOkay;
    std::vector<uint8_t> data, strobes;  // of a write, until its response is given
};

struct Range {
    uint64_t first, last;
    uint8_t response;
};

// What a manager must hold still while it waits for ready, of one channel.
template <typename Payload> struct Held {
    bool waiting = false;
    Payload payload{};

    // True if the rule is kept in a cycle in which the pins are like this.
    bool observe(bool valid, bool ready, const Payload &now) {
        const bool kept = !waiting || (valid && memcmp(&now, &payload, sizeof now) == 0);
        waiting = valid && !ready;
        if (waiting) payload = now;
        return kept;
    }
};

struct AddressPayload {
    uint32_t address;
    uint8_t len, size, burst, id;
};

struct DataPayload {
    std::remove_reference_t<decltype(Vfabric::m_axi_wdata)> data;
    std::remove_reference_t<decltype(Vfabric::m_axi_wstrb)> strobes;
    uint8_t last;
};

// The subordinate at the AXI4 port. Answers in order and checks the manager's side of the protocol.
//
// It is as unhelpful as AXI allows: a write is visible only from its response on, data waits for its address,
// ready may fall without a transfer.
class Memory {
public:
    Memory(uint8_t *dram, uint64_t size) : dram_(dram), size_(size) {}

    Counters counters{};
    std::vector<Range> failing;

    void configure(const MemorySettings &settings) {
        settings_ = settings;
        random_ = settings.seed * 0x9E3779B97F4A7C15u + 0x2545F4914F6CDD1Du;
        if (random_ == 0) random_ = 1;
    }

    // Looks at a settled cycle: takes what was transferred in it. Throws where a rule is broken.
    void sample(const Vfabric &top, uint64_t cycle) {
        const AddressPayload ar{top.m_axi_araddr, top.m_axi_arlen, top.m_axi_arsize, top.m_axi_arburst,
                                top.m_axi_arid};
        const AddressPayload aw{top.m_axi_awaddr, top.m_axi_awlen, top.m_axi_awsize, top.m_axi_awburst,
                                top.m_axi_awid};
        if (!held_ar_.observe(top.m_axi_arvalid, top.m_axi_arready, ar)) broken("AR changed before ARREADY", cycle);
        if (!held_aw_.observe(top.m_axi_awvalid, top.m_axi_awready, aw)) broken("AW changed before AWREADY", cycle);
        if (top.m_axi_wvalid || held_w_.waiting) {
            DataPayload w;
            memset(&w, 0, sizeof w);
            memcpy(&w.data, &top.m_axi_wdata, sizeof w.data);
            w.strobes = top.m_axi_wstrb;
            w.last = top.m_axi_wlast;
            if (!held_w_.observe(top.m_axi_wvalid, top.m_axi_wready, w)) broken("W changed before WREADY", cycle);
        }
        if (top.m_axi_rvalid && top.m_axi_rready) {
            r_valid_ = false;
            ++counters.read_beats;
            if (++reads_.front().moved == reads_.front().beats) reads_.pop_front();
        }
        if (top.m_axi_bvalid && top.m_axi_bready) {
            b_valid_ = false;
            writes_.pop_front();
            --complete_;
        }
        if (top.m_axi_arvalid && top.m_axi_arready) {
            reads_.push_back(accept("AR", ar, cycle));
            reads_.back().due = cycle + settings_.read_latency;
            ++counters.read_bursts;
        }
        if (top.m_axi_wvalid && top.m_axi_wready) take_data(top, cycle);
        if (top.m_axi_awvalid && top.m_axi_awready) {
            writes_.push_back(accept("AW", aw, cycle));
            writes_.back().data.resize(writes_.back().beats * kBusBytes);
            writes_.back().strobes.resize(writes_.back().beats * kBusBytes);
            ++counters.write_bursts;
        }
    }

    // Sets the pins for the cycle that begins.
    void drive(Vfabric &top, uint64_t cycle) {
        earn();
        const bool write_first = held_w_.waiting && last_was_read_;
        if (write_first) drive_w(top);
        drive_r(top, cycle);
        if (!write_first) drive_w(top);
        drive_b(top, cycle);
        top.m_axi_arready = reads_.size() < settings_.outstanding && moves(kAR);
        top.m_axi_awready = writes_.size() < settings_.outstanding && moves(kAW);
    }

    // Is reset, as the fabric is: what was under way is forgotten, writes that were not answered are lost.
    void reset(Vfabric &top) {
        top.m_axi_arready = top.m_axi_rvalid = top.m_axi_awready = top.m_axi_wready = top.m_axi_bvalid = 0;
        r_valid_ = b_valid_ = last_was_read_ = false;
        reads_.clear();
        writes_.clear();
        complete_ = 0;
        held_ar_ = held_aw_ = {};
        held_w_ = {};
    }

private:
    [[noreturn]] void broken(const std::string &what, uint64_t cycle) const {
        throw std::runtime_error(what + format(" (cycle %llu)", static_cast<unsigned long long>(cycle)));
    }

    Burst accept(const char *channel, const AddressPayload &pins, uint64_t cycle) const {
        const uint32_t beats = pins.len + 1u;
        const auto where = format("%s: burst of %u beats at %#x ", channel, beats, pins.address);
        if (pins.burst != kIncr) broken(where + format("is of type %u, not INCR", pins.burst), cycle);
        if (pins.size != log2_of(kBusBytes)) broken(where + format("has size %u, not the bus width", pins.size), cycle);
        if (pins.address % kBusBytes) broken(where + "is not aligned to the bus width", cycle);
        if (pins.address % kPage + beats * kBusBytes > kPage) broken(where + "crosses a 4 KB boundary", cycle);
        Burst burst;
        burst.address = pins.address;
        burst.beats = beats;
        burst.id = pins.id;
        return burst;
    }

    void take_data(const Vfabric &top, uint64_t cycle) {
        Burst &burst = writes_[complete_];
        memcpy(&burst.data[burst.moved * kBusBytes], &top.m_axi_wdata, kBusBytes);
        for (uint64_t i = 0; i < kBusBytes; ++i)
            burst.strobes[burst.moved * kBusBytes + i] = top.m_axi_wstrb >> i & 1;
        burst.response = std::max(burst.response, response_at(burst.address + burst.moved * kBusBytes));
        ++burst.moved;
        ++counters.write_beats;
        spend();
        last_was_read_ = false;
        if (static_cast<bool>(top.m_axi_wlast) != (burst.moved == burst.beats))
            broken(format("WLAST is %u at beat %u of %u of the burst at %#llx", top.m_axi_wlast, burst.moved,
                          burst.beats, static_cast<unsigned long long>(burst.address)), cycle);
        if (burst.moved == burst.beats) {
            burst.due = cycle + settings_.write_latency;
            ++complete_;
        }
    }

    // Bandwidth: each cycle earns, each beat costs, and a beat may move while there is credit. It may overdraw, so
    // that the average is exact.
    void earn() { credit_ = std::min<int64_t>(credit_ + settings_.bytes_numerator, settings_.bytes_numerator); }
    void spend() { credit_ -= static_cast<int64_t>(kBusBytes) * settings_.bytes_denominator; }
    bool affordable() const { return settings_.bytes_numerator == 0 || credit_ > 0; }

    bool moves(Channel channel) {
        if (settings_.frozen >> channel & 1) return false;
        if (settings_.stall[channel] == 0) return true;
        random_ ^= random_ << 13;  // xorshift64, Marsaglia 2003
        random_ ^= random_ >> 7;
        random_ ^= random_ << 17;
        return (random_ >> 32) >= settings_.stall[channel];
    }

    uint8_t response_at(uint64_t address) const {
        if (address + kBusBytes > size_) return kDecErr;
        for (const Range &range : failing)
            if (address <= range.last && range.first < address + kBusBytes) return range.response;
        return kOkay;
    }

    void drive_r(Vfabric &top, uint64_t cycle) {
        if (r_valid_) return;  // not taken yet: hold
        r_valid_ = !reads_.empty() && cycle >= reads_.front().due && affordable() && moves(kR);
        top.m_axi_rvalid = r_valid_;
        if (!r_valid_) return;
        spend();
        last_was_read_ = true;
        const Burst &burst = reads_.front();
        const uint64_t address = burst.address + burst.moved * kBusBytes;
        top.m_axi_rresp = response_at(address);
        if (top.m_axi_rresp == kOkay)
            memcpy(&top.m_axi_rdata, dram_ + address, kBusBytes);
        else
            memset(&top.m_axi_rdata, 0, kBusBytes);
        top.m_axi_rid = burst.id;
        top.m_axi_rlast = burst.moved + 1 == burst.beats;
    }

    void drive_w(Vfabric &top) {
        top.m_axi_wready = complete_ < writes_.size() && affordable() && moves(kW);
    }

    void drive_b(Vfabric &top, uint64_t cycle) {
        if (b_valid_) return;
        b_valid_ = complete_ > 0 && cycle >= writes_.front().due && moves(kB);
        top.m_axi_bvalid = b_valid_;
        if (!b_valid_) return;
        const Burst &burst = writes_.front();
        top.m_axi_bid = burst.id;
        top.m_axi_bresp = burst.response;
        if (burst.response != kOkay) return;
        for (uint64_t i = 0; i < burst.data.size(); ++i)
            if (burst.strobes[i]) dram_[burst.address + i] = burst.data[i];
    }

    uint8_t *dram_;
    uint64_t size_;
    MemorySettings settings_{};
    uint64_t random_ = 1;
    int64_t credit_ = 0;
    bool r_valid_ = false, b_valid_ = false, last_was_read_ = false;
    std::deque<Burst> reads_, writes_;
    size_t complete_ = 0;  // writes at the front that have all their data
    Held<AddressPayload> held_ar_, held_aw_;
    Held<DataPayload> held_w_;
};

class Simulation {
public:
    Simulation(uint8_t *dram, uint64_t size, const MemorySettings &settings) : memory(dram, size) {
        memory.configure(settings);
    }

    Memory memory;
    std::string message;
    bool broken = false;

    // Holds reset for some cycles, of the fabric and of the memory; a second step because it may throw.
    void reset() {
        top_.rst = 1;
        for (int i = 0; i < kResetCycles; ++i) {
            memory.reset(top_);
            settle();
            step();
        }
        memory.reset(top_);
        settle();
        if (top_.m_axi_arvalid || top_.m_axi_awvalid || top_.m_axi_wvalid)
            throw std::runtime_error("a VALID of the AXI4 port is high in reset");
        top_.rst = 0;
        settle();
    }

    Outcome read(uint32_t address, uint32_t &value) {
        top_.s_axil_araddr = address;
        top_.s_axil_arvalid = 1;
        top_.s_axil_rready = 1;
        settle();
        bool answered = false;
        for (int i = 0; i < kAnswerCycles && !answered; ++i) {
            const bool accepted = top_.s_axil_arvalid && top_.s_axil_arready;
            answered = top_.s_axil_rvalid;
            value = top_.s_axil_rdata;
            response_ = top_.s_axil_rresp;
            edge();
            if (accepted) top_.s_axil_arvalid = 0;
            if (answered) top_.s_axil_rready = 0;
            settle();
        }
        return judge(answered, "read", address);
    }

    Outcome write(uint32_t address, uint32_t value) {
        top_.s_axil_awaddr = address;
        top_.s_axil_wdata = value;
        top_.s_axil_wstrb = 15;
        top_.s_axil_awvalid = top_.s_axil_wvalid = top_.s_axil_bready = 1;
        settle();
        bool answered = false;
        for (int i = 0; i < kAnswerCycles && !answered; ++i) {
            const bool address_taken = top_.s_axil_awready, data_taken = top_.s_axil_wready;
            answered = top_.s_axil_bvalid;
            response_ = top_.s_axil_bresp;
            edge();
            if (address_taken) top_.s_axil_awvalid = 0;
            if (data_taken) top_.s_axil_wvalid = 0;
            if (answered) top_.s_axil_bready = 0;
            settle();
        }
        return judge(answered, "write", address);
    }

    Outcome wait(uint32_t address, uint32_t mask, uint64_t cycles, uint32_t interval) {
        const uint64_t end = memory.counters.cycles + cycles;
        for (;;) {
            uint32_t value = 0;
            if (const Outcome outcome = read(address, value); outcome != kDone) return outcome;
            if (!(value & mask)) return kDone;
            if (memory.counters.cycles >= end) return kUnderWay;
            for (uint32_t i = 0; i < interval; ++i) step();
        }
    }

#ifdef CELOSIA_WINDOW
    // Bytes of the shared memory through the pins of its own port, a beat of up to 4 in each burst.
    Outcome window(uint32_t address, uint8_t *bytes, uint32_t count, bool writes) {
        while (count) {
            const uint32_t lane = address % 4, now = std::min(count, 4 - lane);
            uint32_t word = 0;
            if (writes) memcpy(reinterpret_cast<uint8_t *>(&word) + lane, bytes, now);
            const Outcome outcome = writes ? window_write(address - lane, word, ((1u << now) - 1) << lane)
                                           : window_read(address - lane, word);
            if (outcome != kDone) return outcome;
            if (!writes) memcpy(bytes, reinterpret_cast<uint8_t *>(&word) + lane, now);
            address += now, bytes += now, count -= now;
        }
        return kDone;
    }
#endif

    void step() {
        edge();
        settle();
    }

private:
#ifdef CELOSIA_WINDOW
    Outcome window_read(uint32_t address, uint32_t &word) {
        top_.s_axi_araddr = address;
        top_.s_axi_arlen = 0;
        top_.s_axi_arsize = 2;
        top_.s_axi_arburst = kIncr;
        top_.s_axi_arvalid = top_.s_axi_rready = 1;
        settle();
        bool answered = false;
        for (int i = 0; i < kAnswerCycles && !answered; ++i) {
            const bool accepted = top_.s_axi_arvalid && top_.s_axi_arready;
            answered = top_.s_axi_rvalid;
            word = top_.s_axi_rdata;
            response_ = top_.s_axi_rresp;
            edge();
            if (accepted) top_.s_axi_arvalid = 0;
            if (answered) top_.s_axi_rready = 0;
            settle();
        }
        return judge(answered, "read through the memory's port", address);
    }

    Outcome window_write(uint32_t address, uint32_t word, uint32_t strobes) {
        top_.s_axi_awaddr = address;
        top_.s_axi_awlen = 0;
        top_.s_axi_awsize = 2;
        top_.s_axi_awburst = kIncr;
        top_.s_axi_wdata = word;
        top_.s_axi_wstrb = strobes;
        top_.s_axi_wlast = 1;
        top_.s_axi_awvalid = top_.s_axi_wvalid = top_.s_axi_bready = 1;
        settle();
        bool answered = false;
        for (int i = 0; i < kAnswerCycles && !answered; ++i) {
            const bool address_taken = top_.s_axi_awready, data_taken = top_.s_axi_wready;
            answered = top_.s_axi_bvalid;
            response_ = top_.s_axi_bresp;
            edge();
            if (address_taken) top_.s_axi_awvalid = 0;
            if (data_taken) top_.s_axi_wvalid = 0;
            if (answered) top_.s_axi_bready = 0;
            settle();
        }
        return judge(answered, "write through the memory's port", address);
    }
#endif

    // The clock rises; inputs set after this belong to the next cycle.
    void edge() {
        memory.sample(top_, memory.counters.cycles);
        top_.clk = 1;
        top_.eval();
        ++memory.counters.cycles;
        memory.drive(top_, memory.counters.cycles);
    }

    // The clock falls and everything between registers follows the inputs.
    void settle() {
        top_.clk = 0;
        top_.eval();
    }

    Outcome judge(bool answered, const char *what, uint32_t address) {
        if (!answered) {
            message = format("%s of register %#x is not answered within %d cycles", what, address, kAnswerCycles);
            return kNoAnswer;
        }
        if (response_ != kOkay) {
            message = format("%s of register %#x is answered with response %u", what, address, response_);
            return kRefused;
        }
        return kDone;
    }

    VerilatedContext context_;
    Vfabric top_{&context_};
    uint8_t response_ = kOkay;
};

// Runs `body` on a simulation that is not broken; what it throws breaks the simulation for good.
template <typename Body> int32_t guarded(void *simulation, Body body) {
    auto &self = *static_cast<Simulation *>(simulation);
    if (self.broken) return kBroken;
    try {
        return body(self);
    } catch (const std::exception &error) {
        self.broken = true;
        self.message = error.what();
        return kBroken;
    }
}

}  // namespace
}  // namespace celosia

using celosia::Simulation;

uint32_t celosia_interface() { return celosia::kInterface; }
uint32_t celosia_bus_bytes() { return celosia::kBusBytes; }

void *celosia_open(uint8_t *dram, uint64_t size, const celosia::MemorySettings *settings) {
    auto *self = new Simulation(dram, size, *settings);
    celosia::guarded(self, [](Simulation &s) { s.reset(); return celosia::kDone; });
    return self;
}
void celosia_close(void *simulation) { delete static_cast<Simulation *>(simulation); }
void celosia_configure(void *simulation, const celosia::MemorySettings *settings) {
    static_cast<Simulation *>(simulation)->memory.configure(*settings);
}
void celosia_fail(void *simulation, uint64_t first, uint64_t last, uint32_t response) {
    static_cast<Simulation *>(simulation)->memory.failing.push_back({first, last, static_cast<uint8_t>(response)});
}
void celosia_heal(void *simulation) { static_cast<Simulation *>(simulation)->memory.failing.clear(); }

int32_t celosia_read(void *simulation, uint32_t address, uint32_t *value) {
    return celosia::guarded(simulation, [=](Simulation &s) { return s.read(address, *value); });
}
int32_t celosia_write(void *simulation, uint32_t address, uint32_t value) {
    return celosia::guarded(simulation, [=](Simulation &s) { return s.write(address, value); });
}
#ifdef CELOSIA_WINDOW
int32_t celosia_window(void *simulation, uint32_t address, uint8_t *bytes, uint32_t count, int32_t writes) {
    return celosia::guarded(simulation, [=](Simulation &s) { return s.window(address, bytes, count, writes); });
}
#endif
int32_t celosia_wait(void *simulation, uint32_t address, uint32_t mask, uint64_t cycles, uint32_t interval) {
    return celosia::guarded(simulation, [=](Simulation &s) { return s.wait(address, mask, cycles, interval); });
}
int32_t celosia_step(void *simulation, uint64_t cycles) {
    return celosia::guarded(simulation, [=](Simulation &s) {
        for (uint64_t i = 0; i < cycles; ++i) s.step();
        return celosia::kDone;
    });
}
void celosia_counters(void *simulation, celosia::Counters *counters) {
    *counters = static_cast<Simulation *>(simulation)->memory.counters;
}
const char *celosia_message(void *simulation) { return static_cast<Simulation *>(simulation)->message.c_str(); }
