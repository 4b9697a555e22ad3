// A 16-bit SDR SDRAM chip at its pins: keeps the data and checks every rule of the datasheet that a controller
// can break. tests/support/sdram_model.py is the same in Python, and a test holds both to each other.
//
//     celosia::SdramModel chip({.cas = 3, .t_rcd = 3, ...});      // cycles: rtl/sdram/timing.py
//     // once a cycle, when the outputs of the cycle have settled and before the rising edge that ends it:
//     top.dq_i = chip.clock({.cke = top.cke, ...});
//     if (!chip.error().empty()) ...                              // the first rule that was broken, and when
//
// `clock` returns what is on the data bus in this very cycle: a READ in cycle n shows in cycle n + CAS latency
// (+ pin_delay, the registers that the platform has between the controller's pins and the pads, both ways
// together). When the chip does not drive the bus there is noise on it.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <stdexcept>
#include <string>
#include <vector>

namespace celosia {

// Cycles, with the names of SDRAMCycles in rtl/sdram/timing.py.
struct SdramTiming {
    int cas = 3;
    int64_t power_up = 20000;
    int init_refreshes = 8;
    int t_rcd = 3, t_rp = 3, t_ras = 5;
    int64_t t_ras_max = 10000;
    int t_rc = 7, t_rfc = 7, t_rrd = 2, t_wr = 2, t_mrd = 2;
    int64_t t_refresh = 6400000;
    int row_bits = 13, column_bits = 9;
};

// The controller's outputs in one cycle.
struct SdramPins {
    bool cke, cs_n, ras_n, cas_n, we_n;
    unsigned ba, a, dqm, dq_o;
    bool dq_oe;
};

class SdramModel {
public:
    static constexpr int BANKS = 4;
    // The chip may be behind by so many refreshes: what later standards allow to postpone.
    static constexpr int POSTPONED = 8;

    // strict_reads: reading a byte that nobody wrote is an error.
    explicit SdramModel(const SdramTiming &timing, int pin_delay = 0, bool strict_reads = false)
        : t_(timing), strict_(strict_reads), words_(size_t(BANKS) << (timing.row_bits + timing.column_bits)),
          written_(strict_reads ? words_.size() : 0), refreshed_(size_t(1) << timing.row_bits, 0),
          delayed_(size_t(pin_delay), 0) {}

    // The first broken rule, with its cycle; empty if there is none. From there on nothing else is checked.
    const std::string &error() const { return error_; }
    int64_t cycle() const { return cycle_; }
    int64_t refreshes() const { return refreshes_; }
    int64_t column_cycles() const { return column_cycles_; }
    size_t bytes() const { return 2 * words_.size(); }

    // The memory from outside, at byte addresses of the controller's mapping row : bank : column.
    uint8_t peek(size_t address) const {
        return uint8_t(words_.at(address >> 1) >> (address & 1 ? 8 : 0));
    }
    void poke(size_t address, uint8_t value) {
        uint16_t &word = words_.at(address >> 1);
        word = address & 1 ? uint16_t((word & 0x00ff) | value << 8) : uint16_t((word & 0xff00) | value);
        if (strict_)
            written_[address >> 1] |= address & 1 ? 2 : 1;
    }

    // The chip is switched off and on: it needs its initialisation again. The data stays, for convenience.
    void power_cycle() {
        banks_.fill(Bank{});
        slots_.fill(Slot{});
        error_.clear();
        cycle_ = refreshes_ = 0;
        ready_at_ = -1;
        last_refresh_ = last_mode_ = last_activate_ = bursts_end_ = LONG_AGO;
        precharged_all_ = mode_set_ = false;
        dqm_1_ = dqm_2_ = 3;
    }

    // One cycle: its pins, and what is on the data bus in it.
    uint16_t clock(const SdramPins &pins) {
        uint16_t bus = step(pins);
        ++cycle_;
        if (delayed_.empty())
            return bus;
        delayed_.push_back(bus);
        bus = delayed_.front();
        delayed_.pop_front();
        return bus;
    }

private:
    static constexpr int64_t LONG_AGO = -(int64_t(1) << 40);
    static constexpr int AHEAD = 16;  // slots of what is to come on the data bus

    struct Bank {
        bool active = false;
        unsigned row = 0;
        int64_t activated = LONG_AGO, precharged = LONG_AGO, busy_until = LONG_AGO, written = LONG_AGO;
    };
    struct Slot {  // what happens on the data bus in one cycle
        enum { IDLE, READ, WRITE } kind = IDLE;
        size_t word = 0;
        int bank = 0;
    };

    SdramTiming t_;
    bool strict_;
    std::vector<uint16_t> words_;
    std::vector<uint8_t> written_;
    std::array<Bank, BANKS> banks_;
    std::array<Slot, AHEAD> slots_{};
    std::vector<int64_t> refreshed_;  // when each row was
    std::deque<uint16_t> delayed_;
    std::string error_;
    int64_t cycle_ = 0, refreshes_ = 0, column_cycles_ = 0, ready_at_ = -1;
    int64_t last_refresh_ = LONG_AGO, last_mode_ = LONG_AGO, last_activate_ = LONG_AGO, bursts_end_ = LONG_AGO;
    bool precharged_all_ = false, mode_set_ = false;
    int burst_ = 0;
    unsigned dqm_1_ = 3, dqm_2_ = 3;  // a cycle ago, two cycles ago

    bool ready() const { return ready_at_ >= 0; }

    void fail(const char *what, int bank = -1) {
        if (!error_.empty())
            return;
        char text[200];
        if (bank < 0)
            std::snprintf(text, sizeof text, "SDRAM, cycle %lld: %s", (long long)cycle_, what);
        else
            std::snprintf(text, sizeof text, "SDRAM, cycle %lld, bank %d: %s", (long long)cycle_, bank, what);
        error_ = text;
    }
    void need(bool holds, const char *what, int bank = -1) {
        if (!holds)
            fail(what, bank);
    }
    void since(int64_t event, int64_t least, const char *what, int bank = -1) {
        need(cycle_ - event >= least, what, bank);
    }

    uint16_t noise() const {
        uint64_t x = uint64_t(cycle_) * 0x9E3779B97F4A7C15ull;
        return uint16_t(x >> 40);
    }

    uint16_t step(const SdramPins &p) {
        if (!error_.empty())
            return noise();
        need(p.cke, "CKE low: power down and self refresh are not modelled");
        const unsigned command = p.cs_n ? 7 : (p.ras_n << 2 | p.cas_n << 1 | p.we_n);
        if (command != 7)
            execute(command, p);
        overdue();
        return data(p);
    }

    void execute(unsigned command, const SdramPins &p) {
        need(cycle_ >= t_.power_up, "a command before the power-up time is over");
        since(last_mode_, t_.t_mrd, "a command within tMRD of LOAD MODE");
        since(last_refresh_, t_.t_rfc, "a command within tRFC of REFRESH");
        switch (command) {
        case 0: load_mode(p); break;
        case 1: refresh(); break;
        case 2: precharge(p); break;
        case 3: activate(p); break;
        case 4: column(p, true); break;
        case 5: column(p, false); break;
        default: fail("BURST TERMINATE is not modelled");
        }
    }

    void all_idle() {
        for (int n = 0; n < BANKS; ++n) {
            need(!banks_[n].active, "REFRESH or LOAD MODE with an active bank", n);
            since(banks_[n].precharged, t_.t_rp, "REFRESH or LOAD MODE within tRP of PRECHARGE", n);
        }
        need(precharged_all_, "REFRESH or LOAD MODE before the first PRECHARGE of all banks");
    }

    void check_ready() {
        if (!ready() && mode_set_ && refreshes_ >= t_.init_refreshes) {
            ready_at_ = cycle_;
            refreshes_ = 0;
            refreshed_.assign(refreshed_.size(), cycle_);
        }
    }

    void load_mode(const SdramPins &p) {
        all_idle();
        need(p.ba == 0 && (p.a >> 7) == 0, "LOAD MODE of a reserved code, or of single writes");
        need(((p.a >> 4) & 7) == unsigned(t_.cas), "LOAD MODE of another CAS latency than the clock needs");
        need((p.a & 8) == 0, "LOAD MODE of interleaved bursts");
        need((p.a & 7) <= 3, "LOAD MODE of a full-page or reserved burst length");
        burst_ = 1 << (p.a & 3);
        last_mode_ = cycle_;
        mode_set_ = true;
        check_ready();
    }

    void refresh() {
        all_idle();
        last_refresh_ = cycle_;
        refreshed_[size_t(refreshes_) & (refreshed_.size() - 1)] = cycle_;
        ++refreshes_;
        check_ready();
    }

    void overdue() {
        if (!ready())
            return;
        const size_t rows = refreshed_.size();
        need(cycle_ - refreshed_[size_t(refreshes_) & (rows - 1)] <= t_.t_refresh,
             "a row has not been refreshed for tREF");
        need((cycle_ - ready_at_) * int64_t(rows) <= (refreshes_ + POSTPONED + 1) * t_.t_refresh,
             "more than 8 refreshes are overdue");
    }

    void activate(const SdramPins &p) {
        Bank &bank = banks_[p.ba];
        const int n = int(p.ba);
        need(ready(), "ACTIVE before the initialisation is complete", n);
        need(!bank.active, "ACTIVE of an active bank", n);
        since(bank.precharged, t_.t_rp, "ACTIVE within tRP of PRECHARGE", n);
        since(bank.activated, t_.t_rc, "ACTIVE within tRC of ACTIVE", n);
        since(last_activate_, t_.t_rrd, "ACTIVE within tRRD of another bank's", n);
        need(p.a >> t_.row_bits == 0, "ACTIVE of a row that does not exist", n);
        bank.active = true;
        bank.row = p.a;
        bank.activated = last_activate_ = cycle_;
    }

    void precharge(const SdramPins &p) {
        for (int n = 0; n < BANKS; ++n) {
            Bank &bank = banks_[n];
            if (!(p.a & 1 << 10) && unsigned(n) != p.ba)
                continue;
            if (bank.active) {
                since(bank.activated, t_.t_ras, "PRECHARGE within tRAS of ACTIVE", n);
                need(cycle_ - bank.activated <= t_.t_ras_max, "PRECHARGE later than tRAS(max)", n);
                since(bank.written, t_.t_wr, "PRECHARGE within tWR of the last data written", n);
                need(cycle_ >= bank.busy_until, "PRECHARGE cuts a burst short", n);
                bank.precharged = cycle_;
            }
            bank.active = false;
        }
        if (p.a & 1 << 10) {
            if (!precharged_all_)
                for (auto &bank : banks_)
                    bank.precharged = cycle_;
            precharged_all_ = true;
        }
    }

    void column(const SdramPins &p, bool write) {
        Bank &bank = banks_[p.ba];
        const int n = int(p.ba);
        need(bank.active, write ? "WRITE to an idle bank" : "READ of an idle bank", n);
        since(bank.activated, t_.t_rcd, "READ or WRITE within tRCD of ACTIVE", n);
        need(cycle_ - bank.activated <= t_.t_ras_max, "bank active for longer than tRAS(max)", n);
        need(!(p.a & 1 << 10), "auto precharge is not modelled", n);
        const unsigned column = p.a & 0x3ff;
        need(column >> t_.column_bits == 0, "READ or WRITE of a column that does not exist", n);
        need(cycle_ >= bursts_end_, "READ or WRITE cuts a burst short", n);
        if (!error_.empty())
            return;
        const size_t base = ((size_t(bank.row) * BANKS + p.ba) << t_.column_bits);
        for (int i = 0; i < burst_; ++i) {
            const unsigned place = (column & ~unsigned(burst_ - 1)) | ((column + i) & (burst_ - 1));
            Slot &slot = slots_[size_t(cycle_ + i + (write ? 0 : t_.cas)) % AHEAD];
            slot.kind = write ? Slot::WRITE : Slot::READ;
            slot.word = base | place;
            slot.bank = n;
        }
        bursts_end_ = bank.busy_until = cycle_ + burst_;
        if (write)
            bank.written = cycle_ + burst_ - 1;
        ++column_cycles_;
    }

    uint16_t data(const SdramPins &p) {
        Slot &now = slots_[size_t(cycle_) % AHEAD];
        const Slot &next = slots_[size_t(cycle_ + 1) % AHEAD];
        const Slot &before = slots_[size_t(cycle_ + AHEAD - 1) % AHEAD];
        uint16_t bus = p.dq_oe ? uint16_t(p.dq_o) : noise();
        if (p.dq_oe) {
            need(ready(), "the controller drives the data bus before it may");
            need(now.kind != Slot::READ && next.kind != Slot::READ && before.kind != Slot::READ,
                 "controller and chip both drive the data bus");
        }
        if (now.kind == Slot::WRITE) {
            need(p.dq_oe || p.dqm == 3, "WRITE with nothing on the data bus", now.bank);
            uint16_t &word = words_[now.word];
            if (!(p.dqm & 1))
                word = uint16_t((word & 0xff00) | (p.dq_o & 0x00ff));
            if (!(p.dqm & 2))
                word = uint16_t((word & 0x00ff) | (p.dq_o & 0xff00));
            if (strict_)
                written_[now.word] |= uint8_t(~p.dqm & 3);
        } else if (now.kind == Slot::READ) {
            const unsigned mask = dqm_2_;
            if (strict_)
                need((written_[now.word] | mask) == 3, "READ of bytes that nobody wrote", now.bank);
            bus = words_[now.word];
            if (mask & 1)
                bus = uint16_t((bus & 0xff00) | (noise() & 0x00ff));
            if (mask & 2)
                bus = uint16_t((bus & 0x00ff) | (noise() & 0xff00));
        }
        slots_[size_t(cycle_ + AHEAD - 1) % AHEAD].kind = Slot::IDLE;
        dqm_2_ = dqm_1_;
        dqm_1_ = p.dqm;
        return bus;
    }
};

}  // namespace celosia
