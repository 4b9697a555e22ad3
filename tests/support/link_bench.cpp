// The far end of a serial link: the compiled LinkBridge with a memory and registers, and a wire that errs.
#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

#include "Vbench.h"
#include "verilated.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr uint32_t kRegisters = 64, kOkay = 0, kSlaveError = 2, kDecodeError = 3;

class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed * 2 + 1) { next(); }
    bool chance(double p) { return p > 0 && (next() >> 11) * 0x1p-53 < p; }

  private:
    uint64_t next() {  // xorshift64*
        state_ ^= state_ >> 12, state_ ^= state_ << 25, state_ ^= state_ >> 27;
        return state_ * 0x2545F4914F6CDD1DULL;
    }
    uint64_t state_;
};

// A bit every `length` cycles, whose first begins when it is told.
struct BitClock {
    double length, next = 0;
    void start(uint64_t cycle, double bits) { next = cycle + bits * length; }
    bool due(uint64_t cycle) {
        if (cycle < next) return false;
        next += length;
        return true;
    }
};

struct Offer {
    bool waits;
    uint64_t value;
};

struct Bench {
    VerilatedContext context;
    Vbench top{&context};
    Random random;
    std::vector<uint8_t> memory;
    uint32_t registers[kRegisters] = {}, writes[kRegisters] = {};
    uint64_t cycle = 0;
    double error_rate = 0, stall = 0;

    // Host to board.
    std::deque<uint8_t> to_send;
    BitClock send_clock;
    uint32_t sending = 0;
    int send_bits = 0;
    // Board to host.
    std::deque<uint8_t> received;
    BitClock receive_clock;
    uint32_t receiving = 0;
    int receive_bits = -1;
    bool board_line = true;

    Offer waiting[6] = {};
    uint32_t broken = 0;  // rules of AXI

    // Memory and registers: one transaction of a direction at a time.
    bool aw = false, w = false, ar = false, lite_aw = false, lite_w = false, lite_ar = false;
    uint32_t aw_address = 0, ar_address = 0, lite_aw_address = 0, lite_ar_address = 0, lite_w_data = 0;
    uint64_t w_data = 0;
    uint32_t w_strobe = 0;

    Bench(uint64_t seed, double cycles_per_bit, uint64_t size)
        : random(seed), memory(size), send_clock{cycles_per_bit}, receive_clock{cycles_per_bit} {
        top.clk = 0, top.uart_rx = 1;
        reset();
    }

    void reset() {
        top.rst = 1;
        for (int n = 0; n < 3; ++n) step();
        top.rst = 0;
        aw = w = ar = lite_aw = lite_w = lite_ar = false;
        top.axi_bvalid = top.axi_rvalid = top.axil_bvalid = top.axil_rvalid = 0;
    }

    bool flipped(bool bit) { return bit != random.chance(error_rate); }

    void wire() {
        if (send_bits == 0 && !to_send.empty() && cycle >= send_clock.next) {
            sending = 0x200u | to_send.front() << 1;
            to_send.pop_front();
            send_bits = 10;
            if (send_clock.next < cycle - 1) send_clock.start(cycle, 0);
        }
        if (send_bits && send_clock.due(cycle)) {
            top.uart_rx = flipped(sending & 1);
            sending >>= 1;
            --send_bits;
        } else if (!send_bits && cycle >= send_clock.next) {
            top.uart_rx = 1;
        }
        const bool line = top.uart_tx;
        if (receive_bits < 0) {
            if (board_line && !line) receive_bits = 0, receiving = 0, receive_clock.start(cycle, 0.5);
        } else if (receive_clock.due(cycle)) {
            const bool bit = flipped(line);
            if (receive_bits == 0 && bit) receive_bits = -1;
            else if (receive_bits == 9) {
                if (bit) received.push_back(receiving);
                receive_bits = -1;
            } else {
                if (receive_bits) receiving |= bit << (receive_bits - 1);
                ++receive_bits;
            }
        }
        board_line = line;
    }

    bool quiet() const { return to_send.empty() && !send_bits && cycle > send_clock.next + 8 * send_clock.length && !top.active; }

    void step() {
        ++cycle;
        wire();
        const bool go = !random.chance(stall);
        // What a channel takes in this cycle is decided before the edge, from what is on the pins now.
        top.axi_awready = !aw && go, top.axi_wready = !w && go, top.axi_arready = !ar && go;
        top.axil_awready = !lite_aw && go, top.axil_wready = !lite_w && go, top.axil_arready = !lite_ar && go;
        top.clk = 0;
        top.eval();
        const bool took_aw = top.axi_awvalid && top.axi_awready, took_w = top.axi_wvalid && top.axi_wready,
                   took_ar = top.axi_arvalid && top.axi_arready, gave_b = top.axi_bvalid && top.axi_bready,
                   gave_r = top.axi_rvalid && top.axi_rready;
        const bool took_law = top.axil_awvalid && top.axil_awready, took_lw = top.axil_wvalid && top.axil_wready,
                   took_lar = top.axil_arvalid && top.axil_arready, gave_lb = top.axil_bvalid && top.axil_bready,
                   gave_lr = top.axil_rvalid && top.axil_rready;
        const uint32_t awaddr = top.axi_awaddr, araddr = top.axi_araddr, wstrb = top.axi_wstrb;
        const uint64_t wdata = top.axi_wdata;
        const uint32_t law = top.axil_awaddr, lar = top.axil_araddr, lwd = top.axil_wdata;
        // What is offered stays until it is taken.
        const Offer offers[] = {{top.axi_awvalid && !took_aw, awaddr}, {top.axi_wvalid && !took_w, wdata ^ wstrb},
                                {top.axi_arvalid && !took_ar, araddr}, {top.axil_awvalid && !took_law, law},
                                {top.axil_wvalid && !took_lw, lwd}, {top.axil_arvalid && !took_lar, lar}};
        const bool valid[] = {top.axi_awvalid != 0, top.axi_wvalid != 0, top.axi_arvalid != 0,
                              top.axil_awvalid != 0, top.axil_wvalid != 0, top.axil_arvalid != 0};
        const uint64_t values[] = {awaddr, wdata ^ wstrb, araddr, law, lwd, lar};
        for (int n = 0; n < 6; ++n) {
            if (waiting[n].waits && !(valid[n] && values[n] == waiting[n].value)) ++broken;
            waiting[n] = offers[n];
        }
        if (top.axi_awvalid && (top.axi_awlen || top.axi_awaddr % sizeof(top.axi_wdata) || top.axi_awburst != 1)) ++broken;
        if (top.axi_arvalid && (top.axi_arlen || top.axi_araddr % sizeof(top.axi_wdata) || top.axi_arburst != 1)) ++broken;
        if ((top.axi_wvalid && !top.axi_wlast) || 1 << top.axi_awsize != sizeof(top.axi_wdata)) ++broken;
        top.clk = 1;
        top.eval();
        if (top.rst) {
            for (Offer &offer : waiting) offer = {};
            return;
        }
        if (took_aw) aw = true, aw_address = awaddr;
        if (took_w) w = true, w_data = wdata, w_strobe = wstrb;
        if (took_ar) ar = true, ar_address = araddr;
        if (gave_b) top.axi_bvalid = 0, aw = w = false;
        if (gave_r) top.axi_rvalid = 0, ar = false;
        constexpr uint32_t bytes = sizeof(top.axi_wdata);
        if (aw && w && !top.axi_bvalid && go) {
            top.axi_bresp = aw_address + bytes <= memory.size() ? kOkay : kDecodeError;
            for (uint32_t n = 0; n < bytes && top.axi_bresp == kOkay; ++n)
                if (w_strobe >> n & 1) memory[aw_address + n] = w_data >> 8 * n;
            top.axi_bvalid = 1;
        }
        if (ar && !top.axi_rvalid && go) {
            const bool there = ar_address + bytes <= memory.size();
            uint64_t data = 0;
            if (there) memcpy(&data, &memory[ar_address], bytes);
            top.axi_rdata = data, top.axi_rlast = 1, top.axi_rresp = there ? kOkay : kDecodeError;
            top.axi_rvalid = 1;
        }
        if (took_law) lite_aw = true, lite_aw_address = law;
        if (took_lw) lite_w = true, lite_w_data = lwd;
        if (took_lar) lite_ar = true, lite_ar_address = lar;
        if (gave_lb) top.axil_bvalid = 0, lite_aw = lite_w = false;
        if (gave_lr) top.axil_rvalid = 0, lite_ar = false;
        if (lite_aw && lite_w && !top.axil_bvalid && go) {
            const uint32_t n = lite_aw_address / 4;
            top.axil_bresp = n < kRegisters ? kOkay : kSlaveError;
            if (n < kRegisters) registers[n] = lite_w_data, ++writes[n];
            top.axil_bvalid = 1;
        }
        if (lite_ar && !top.axil_rvalid && go) {
            const uint32_t n = lite_ar_address / 4;
            top.axil_rresp = n < kRegisters ? kOkay : kSlaveError;
            top.axil_rdata = n < kRegisters ? registers[n] : 0;
            top.axil_rvalid = 1;
        }
    }
};

Bench *of(void *self) { return static_cast<Bench *>(self); }

}  // namespace

EXPORT void *link_open(uint64_t seed, double cycles_per_bit, uint64_t size) {
    return new Bench(seed, cycles_per_bit, size);
}
EXPORT void link_close(void *self) { delete of(self); }
EXPORT void link_conditions(void *self, double error_rate, double stall) {
    of(self)->error_rate = error_rate, of(self)->stall = stall;
}
EXPORT void link_send(void *self, const uint8_t *data, uint32_t size) {
    of(self)->to_send.insert(of(self)->to_send.end(), data, data + size);
}
// Runs until bytes have come and the line has been silent for four bytes, or nothing more can come, or `cycles`
// have passed; time that nothing happens in passes at once. Gives the bytes and the cycle it is.
EXPORT uint32_t link_run(void *self, uint64_t cycles, uint8_t *data, uint32_t room, uint64_t *now) {
    Bench &bench = *of(self);
    const uint64_t end = bench.cycle + cycles;
    uint64_t changed = bench.cycle;
    size_t before = bench.received.size();
    const uint64_t pause = 44 * bench.send_clock.length;
    while (bench.cycle < end) {
        if (bench.received.size() != before || bench.receive_bits >= 0) before = bench.received.size(), changed = bench.cycle;
        if (before && bench.cycle - changed > pause / 4) break;
        if (before > 200) break;
        if (!before && bench.quiet() && bench.cycle - changed > pause) {
            bench.cycle = end;
            bench.send_clock.next = bench.cycle;
            break;
        }
        bench.step();
    }
    uint32_t count = 0;
    while (count < room && !bench.received.empty()) {
        data[count++] = bench.received.front();
        bench.received.pop_front();
    }
    *now = bench.cycle;
    return count;
}
EXPORT uint32_t link_broken(void *self) { return of(self)->broken; }
EXPORT void link_reset(void *self) { of(self)->reset(); }
EXPORT uint8_t *link_memory(void *self) { return of(self)->memory.data(); }
EXPORT uint32_t *link_registers(void *self) { return of(self)->registers; }
EXPORT uint32_t *link_writes(void *self) { return of(self)->writes; }
