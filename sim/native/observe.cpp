// The harness of builds whose memories and `retired` pulses are public (build.py): it can also look inside.
#include "harness.cpp"

#include "verilated_sym_props.h"
#include "verilated_syms.h"

// Where a public signal or memory of the simulation opened last in this thread lies, or null; it stays there.
CELOSIA_EXPORT const void *celosia_inside(const char *name, uint64_t *bytes) {
    for (const auto &scope : *Verilated::threadContextp()->scopeNameMap())
        if (const VerilatedVar *variable = scope.second->varFind(name)) {
            *bytes = variable->totalSize();
            return variable->datap();
        }
    return nullptr;
}

// Pulls the reset wire, whatever is under way.
CELOSIA_EXPORT int32_t celosia_reset(void *simulation) {
    return celosia::guarded(simulation, [](Simulation &s) { s.reset(); return celosia::kDone; });
}

// Steps until one of `count` one-bit signals is high, at least one cycle and at most `cycles`.
CELOSIA_EXPORT int32_t celosia_step_until(void *simulation, const uint8_t *const *signals, uint32_t count,
                                          uint64_t cycles, uint32_t *high) {
    return celosia::guarded(simulation, [=](Simulation &s) {
        *high = 0;
        for (uint64_t cycle = 0; cycle < cycles && !*high; ++cycle) {
            s.step();
            for (uint32_t i = 0; i < count; ++i) *high |= (*signals[i] & 1u) << i;
        }
        return *high ? celosia::kDone : celosia::kUnderWay;
    });
}
