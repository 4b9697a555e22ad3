// The other side of a board's two serial wires: 8 data bits, no parity, one stop bit, low bit first.
#pragma once

#include <cstdint>

namespace celosia {

// Bits of `baud` a second in cycles of `clock` a second: a bit takes a whole number of cycles, the mean is exact.
class BitClock {
public:
    BitClock(uint64_t clock, uint64_t baud) : clock_(clock), baud_(baud) {}

    void start(uint64_t share_of_a_bit = 0) { phase_ = share_of_a_bit; }
    void start_half() { phase_ = clock_ / 2; }

    // A cycle passes; true if a bit ends with it.
    bool tick() {
        phase_ += baud_;
        if (phase_ < clock_) return false;
        phase_ -= clock_;
        return true;
    }

private:
    uint64_t clock_, baud_, phase_ = 0;
};

// Sends a byte when given one; `level` is the wire.
class UartSender {
public:
    UartSender(uint64_t clock, uint64_t baud) : bit_(clock, baud) {}

    bool idle() const { return left_ == 0; }
    bool level() const { return level_; }

    void send(uint8_t byte) {
        frame_ = 0x200u | byte << 1;  // start bit, byte, stop bit
        left_ = 10;
        bit_.start();
        level_ = false;
    }

    void tick() {
        if (left_ == 0 || !bit_.tick()) return;
        frame_ >>= 1;
        if (--left_) level_ = frame_ & 1;
    }

private:
    BitClock bit_;
    uint32_t frame_ = 1;
    int left_ = 0;
    bool level_ = true;
};

// Watches the wire; samples each bit in its middle.
class UartReceiver {
public:
    UartReceiver(uint64_t clock, uint64_t baud) : bit_(clock, baud) {}

    uint64_t broken = 0;  // bytes without a stop bit; they are dropped

    bool idle() const { return left_ == 0 && last_; }

    // A cycle with this level: true if it completes a byte.
    bool tick(bool level, uint8_t &byte) {
        const bool fell = last_ && !level;
        last_ = level;
        if (left_ == 0) {
            if (fell) {
                left_ = 10;
                bit_.start_half();
            }
            return false;
        }
        if (!bit_.tick()) return false;
        shift_ = shift_ >> 1 | uint32_t(level) << 9;
        if (left_ == 10 && level) {  // too short for a start bit
            left_ = 0;
            return false;
        }
        if (--left_) return false;
        if (!level) {
            ++broken;
            return false;
        }
        byte = shift_ >> 1 & 0xff;
        return true;
    }

private:
    BitClock bit_;
    uint32_t shift_ = 0;
    int left_ = 0;
    bool last_ = true;
};

}  // namespace celosia
