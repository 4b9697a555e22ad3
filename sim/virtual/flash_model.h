// A quad SPI flash (Winbond W25Q128JV) at its pins: keeps the data and checks what a controller can do wrong.
// tests/support/flash_model.py is the same in Python, and a test holds both to each other.
//
//     celosia::FlashModel chip({.clock = 30e6});
//     // once a cycle, when the outputs of the cycle have settled and before the rising edge that ends it:
//     top.io_i = chip.clock({.cs_n = top.cs_n, .sck_en = top.sck_en, .io_o = top.io_o, .io_oe = top.io_oe});
//     if (!chip.error().empty()) ...                              // the first rule that was broken, and when
//
// `clock` returns what is on the four lines in this very cycle: the chip's answer to the clock pulse of cycle n is
// there in cycle n + 1 (+ pin_delay). Lines that nobody drives are high (pull-ups).
#pragma once

#include <cstdint>
#include <cstdio>
#include <deque>
#include <string>
#include <vector>

namespace celosia {

struct FlashSettings {
    double clock = 30e6;                // Hz, of the controller and of the flash
    size_t bytes = size_t(16) << 20;
    uint32_t jedec_id = 0xEF7018;
    double program_seconds = 0.4e-3;    // tPP, typical
    double erase_seconds = 45e-3;       // tSE, typical; of a block three times that
    bool asleep = true;                 // as the loader of the bitstream leaves it
    bool quad_enabled = false;          // non-volatile QE, as the IM parts are sold
    int pin_delay = 0;
};

struct FlashPins {
    bool cs_n, sck_en;
    unsigned io_o, io_oe;
};

class FlashModel {
public:
    explicit FlashModel(const FlashSettings &settings)
        : s_(settings), memory_(settings.bytes, 0xff), asleep_(settings.asleep),
          delayed_(size_t(settings.pin_delay), 0xf) {
        status_2_ = settings.quad_enabled ? 2 : 0;
    }

    const std::string &error() const { return error_; }
    int64_t cycle() const { return cycle_; }
    size_t bytes() const { return memory_.size(); }
    uint8_t peek(size_t address) const { return memory_.at(address); }
    void poke(size_t address, uint8_t value) { memory_.at(address) = value; }
    int64_t commands() const { return commands_; }

    unsigned clock(const FlashPins &p) {
        unsigned lines = step(p);
        ++cycle_;
        delayed_.push_back(lines);
        lines = delayed_.front();
        delayed_.pop_front();
        return lines;
    }

private:
    enum Phase { COMMAND, ADDRESS, MODE, DUMMY, OUT, IN, IGNORE };

    FlashSettings s_;
    std::vector<uint8_t> memory_;
    bool asleep_;
    std::deque<unsigned> delayed_;
    std::string error_;
    int64_t cycle_ = 0, commands_ = 0;
    int64_t rose_ = -(int64_t(1) << 40), busy_until_ = 0, awake_at_ = 0;
    bool selected_ = false, write_enabled_ = false, volatile_enabled_ = false;
    unsigned status_2_ = 0;

    Phase phase_ = COMMAND;
    unsigned command_ = 0, shift_ = 0, answer_ = 0, driven_ = 0;
    int bits_ = 0, width_ = 1, count_ = 0;
    size_t address_ = 0;
    uint8_t out_ = 0;
    std::vector<uint8_t> data_;

    void fail(const char *what) {
        if (!error_.empty())
            return;
        char text[200];
        std::snprintf(text, sizeof text, "flash, cycle %lld, command 0x%02x: %s", (long long)cycle_, command_, what);
        error_ = text;
    }
    void need(bool holds, const char *what) {
        if (!holds)
            fail(what);
    }
    int64_t cycles(double seconds) const {
        const double exact = seconds * s_.clock;
        const int64_t whole = int64_t(exact);
        return whole + (double(whole) < exact - 1e-6);
    }
    bool busy() const { return cycle_ < busy_until_; }

    unsigned step(const FlashPins &p) {
        if (!error_.empty())
            return 0xf;
        // What the chip drives in this cycle is its answer to the pulse before.
        const unsigned chip = selected_ ? driven_ : 0;
        need(!(chip & p.io_oe), "controller and flash both drive a line");
        const unsigned lines = (answer_ & chip) | (p.io_o & p.io_oe) | (0xf & ~chip & ~p.io_oe);
        if (p.cs_n) {
            need(!p.sck_en, "a clock pulse while the flash is not selected");
            if (selected_)
                finish();
            selected_ = false;
            return lines;
        }
        if (!selected_) {
            need(cycle_ - rose_ >= cycles(50e-9), "selected within tSHSL2 of the command before");
            selected_ = true;
            phase_ = COMMAND;
            command_ = shift_ = driven_ = 0;
            bits_ = count_ = 0;
            width_ = 1;
            data_.clear();
            ++commands_;
        }
        if (p.sck_en)
            pulse(lines, p.io_oe);
        return lines;
    }

    void pulse(unsigned lines, unsigned oe) {
        if (!(status_2_ & 2) && phase_ != IGNORE)
            need((lines & 0xc) == 0xc, "HOLD or WP low while the flash is not in quad mode");
        if (phase_ == COMMAND || phase_ == ADDRESS || phase_ == MODE || phase_ == IN) {
            const unsigned mask = width_ == 4 ? 0xf : 1;
            need((oe & mask) == mask, "nobody drives a line that the flash samples");
        }
        switch (phase_) {
        case IGNORE: return;
        case DUMMY:
            if (--count_ == 0)
                begin_out();
            return;
        case OUT:
            next_out();
            return;
        default:
            break;
        }
        shift_ = width_ == 4 ? shift_ << 4 | lines : shift_ << 1 | (lines & 1);
        bits_ += width_;
        if (phase_ == COMMAND && bits_ == 8)
            begin(shift_ & 0xff);
        else if (phase_ == ADDRESS && bits_ == 24)
            addressed();
        else if (phase_ == MODE && bits_ == 8) {
            need((shift_ >> 4 & 3) != 2, "continuous read mode is not modelled");
            phase_ = DUMMY;
            count_ = 4;
        } else if (phase_ == IN && bits_ == 8) {
            data_.push_back(uint8_t(shift_));
            shift_ = 0;
            bits_ = 0;
        }
    }

    void go(Phase phase, int width) {
        phase_ = phase;
        width_ = width;
        shift_ = 0;
        bits_ = 0;
    }

    void begin(unsigned command) {
        command_ = command;
        go(IGNORE, 1);
        if (asleep_ || cycle_ < awake_at_) {
            need(command == 0xAB, "a command to a flash that is asleep, or within tRES1 of its waking");
            return;
        }
        need(!busy() || command == 0x05 || command == 0x35, "a command while the flash programs or erases");
        const bool enabled = write_enabled_;
        switch (command) {
        case 0x05: case 0x35: case 0x9F: begin_out(); break;
        case 0x06: case 0x04: case 0x50: case 0xAB: case 0xB9: break;
        case 0x03: case 0xEB: go(ADDRESS, command == 0xEB ? 4 : 1); break;
        case 0x02: case 0x32: case 0x20: case 0xD8:
            need(enabled, "program or erase without a write enable");
            go(ADDRESS, 1);
            break;
        case 0x31:
            need(enabled || volatile_enabled_, "a status register is written without an enable");
            go(IN, 1);
            break;
        default: fail("no such command in this model");
        }
        if (command == 0xEB || command == 0x32)
            need(status_2_ & 2, "a quad command while quad mode is not enabled");
    }

    void addressed() {
        address_ = shift_ & (memory_.size() - 1);
        switch (command_) {
        case 0x03: begin_out(); break;
        case 0xEB: go(MODE, 4); break;
        case 0x02: go(IN, 1); break;
        case 0x32: go(IN, 4); break;
        default: go(IGNORE, 1);
        }
    }

    // The falling edge of the pulse under way puts the first bits of a byte on the lines.
    void begin_out() {
        go(OUT, command_ == 0xEB ? 4 : 1);
        driven_ = command_ == 0xEB ? 0xf : 2;
        count_ = 0;
        next_out();
    }
    void next_out() {
        if (bits_ == 0) {
            out_ = next_byte();
            bits_ = 8;
        }
        bits_ -= width_;
        answer_ = width_ == 4 ? out_ >> bits_ & 0xf : unsigned(out_ >> bits_ & 1) << 1;
    }
    uint8_t next_byte() {
        switch (command_) {
        case 0x05: return uint8_t((busy() ? 1 : 0) | (write_enabled_ ? 2 : 0));
        case 0x35: return uint8_t(status_2_);
        case 0x9F: return uint8_t(s_.jedec_id >> 8 * (2 - count_++ % 3));
        default: {
            const uint8_t byte = memory_[address_];
            address_ = (address_ + 1) & (memory_.size() - 1);
            return byte;
        }
        }
    }

    void finish() {
        rose_ = cycle_;
        driven_ = 0;
        if (phase_ == COMMAND) {
            need(bits_ == 0, "deselected within a command's code");
            return;
        }
        need(!((phase_ == ADDRESS || phase_ == MODE || phase_ == IN) && bits_ != 0), "deselected within a byte");
        switch (command_) {
        case 0x06: write_enabled_ = true; break;
        case 0x04: write_enabled_ = false; break;
        case 0x50: volatile_enabled_ = true; return;
        case 0xB9: asleep_ = true; break;
        case 0xAB:
            if (asleep_)
                awake_at_ = cycle_ + cycles(3e-6);
            asleep_ = false;
            break;
        case 0x31:
            need(data_.size() == 1, "a status register takes one byte");
            if (!data_.empty())
                status_2_ = data_[0];
            if (!volatile_enabled_)
                busy_until_ = cycle_ + cycles(10e-3);
            write_enabled_ = false;
            break;
        case 0x02: case 0x32:
            need(!data_.empty(), "a program command without data");
            need(data_.size() <= 256, "more data than a page holds");
            for (size_t n = 0; n < data_.size(); ++n)
                memory_[(address_ & ~size_t(255)) | ((address_ + n) & 255)] &= data_[n];
            busy_until_ = cycle_ + cycles(s_.program_seconds);
            write_enabled_ = false;
            break;
        case 0x20: case 0xD8: {
            need(phase_ == IGNORE, "an erase command without its address");
            const size_t size = command_ == 0x20 ? 4096 : 65536;
            for (size_t n = address_ & ~(size - 1), end = n + size; n < end; ++n)
                memory_[n] = 0xff;
            busy_until_ = cycle_ + cycles(s_.erase_seconds * (command_ == 0x20 ? 1 : 3));
            write_enabled_ = false;
            break;
        }
        default: break;
        }
        volatile_enabled_ = false;
    }
};

}  // namespace celosia
