"""One lane's residual adder: a requantised value plus a stored byte, exactly as numerics.Add says."""
from amaranth import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..contract.numerics import ADD_CONSTANT_BITS, ADD_MULT_BITS, ADD_SHIFT_BITS
from .clamp import clamp
from .parameters import ADD_RECORD
from .shift import SaturatingShift


class ResidualAdder(wiring.Component):
    """``clamp((q * mult_q + other * mult_other + constant) >> shift)``, one value every cycle.

    No back-pressure and no enable. The sum is exact (49 bits)::

        cycle     t       t+1        t+2       t+3       t+4     t+7              t+8
        i_q       q       products   sums of   sum       total   shifted          o_sum   (LATENCY = 8)
        i_other   other   by limbs   limbs               + c     and saturated    low..high

    Members
    -------
    i_q, i_other : ``In(signed(8))``
    i_parameters : ``In(ADD_RECORD)``
        Factors of the values that come; constant, shift, and limits of those that came LATENCY_CONSTANT,
        LATENCY_SHIFT and LATENCY_LIMITS cycles before. ``low <= high``.
    o_sum : ``Out(signed(8))``
        Not reset.
    """

    LIMB = 17
    LATENCY_CONSTANT = 3
    LATENCY_SHIFT = LATENCY_CONSTANT + 1
    LATENCY_LIMITS = LATENCY_SHIFT + SaturatingShift.LATENCY
    LATENCY = LATENCY_LIMITS + 1

    def __init__(self):
        super().__init__({
            "i_q": In(signed(8)), "i_other": In(signed(8)),
            "i_parameters": In(ADD_RECORD),
            "o_sum": Out(signed(8)),
        })

    def elaborate(self, platform):
        m = Module()
        parameters, limb = self.i_parameters, self.LIMB

        def register(name, value):
            held = Signal(value.shape(), name=name, reset_less=True)
            m.d.sync += held.eq(value)
            return held

        # Edge t -> t+1: four products, of at most 8x18 bits.
        assert ADD_MULT_BITS > limb
        q_low = register("q_low_s1", self.i_q * parameters.mult_q[:limb])
        q_high = register("q_high_s1", self.i_q * parameters.mult_q[limb:].as_signed())
        other_low = register("other_low_s1", self.i_other * parameters.mult_other[:limb])
        other_high = register("other_high_s1", self.i_other * parameters.mult_other[limb:].as_signed())
        # Edges t+1 -> t+4.
        low = register("low_s2", q_low + other_low)
        high = register("high_s2", q_high + other_high)
        both = register("both_s3", (high << limb) + low)
        total = Signal(signed(ADD_CONSTANT_BITS + 1), name="total_s4", reset_less=True)
        m.d.sync += total.eq(both + parameters.constant)
        # Edges t+4 -> t+7.
        shift = SaturatingShift(width=len(total), shift_width=ADD_SHIFT_BITS, out_width=8)
        m.submodules.shift = shift
        m.d.comb += [shift.i_value.eq(total), shift.i_shift.eq(parameters.shift)]
        # Edge t+7 -> t+8.
        m.d.comb += self.o_sum.eq(register("sum_s8", clamp(shift.o_value, parameters.low, parameters.high)))
        return m
