"""One lane's requantiser: a partial sum in, an int8 value out, exactly as numerics.Channel says."""
from amaranth import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..contract.numerics import MULT_BITS, PRODUCT_DROP, SHIFT_BITS, TIE_BITS
from ..memory.delay import delay
from ..primitives.scaler import Scaler
from .clamp import clamp
from .parameters import ParameterStore, RecordPort
from .shift import SaturatingShift


class Requantiser(wiring.Component):
    """``clamp(((((acc + bias) * mult) >> PRODUCT_DROP) + round) >> shift) + zero)``, one value every cycle.

    With ``even`` in the record, the shifted value may be one more or less (SaturatingShift).
    No back-pressure and no enable: what enters comes out LATENCY cycles later, wanted or not::

        cycle   t       t+1        t+2      t+6       t+7           t+10       t+11    t+12
        value   i_acc   acc, bias  biased   product   scaled        shifted    moved   o_q    (LATENCY = 12)
                                            rounding  (wide, exact) (9 bits)   + zero  low..high

    The product has acc_width + 31 bits, and nothing is rounded or lost before the shift. The shifted value is
    limited to 9 bits first: one beyond them is beyond low..high for whichever zero, and on the same side.

    Parameters
    ----------
    acc_width : int
        Bits of a partial sum, 20 to 32.
    groups : int
        Records of this lane (ParameterStore).
    ties_to_even : bool
        Whether there is ``even``; else it is ignored.

    Members
    -------
    load : ``In(RecordPort(groups))``
        Records; to be written LATENCY_LAST cycles after the last value that wants the old ones, or later.
    i_acc : ``In(signed(acc_width))``
    i_group : ``In(range(groups))``
        Which record to apply.
    i_zero, i_low, i_high : ``In(signed(8))``
        ``zero`` of the value that came LATENCY_ZERO cycles before, limits of the one LATENCY_LIMITS cycles
        before. ``low <= high``.
    o_q : ``Out(signed(8))``
    """

    LATENCY_BIASED = ParameterStore.LATENCY_BIAS + 1
    LATENCY_SCALED = LATENCY_BIASED + Scaler.LATENCY + 1
    LATENCY = LATENCY_SCALED + SaturatingShift.LATENCY + 2
    LATENCY_LAST = LATENCY_SCALED
    LATENCY_ZERO = LATENCY - 2
    LATENCY_LIMITS = LATENCY - 1

    def __init__(self, *, acc_width: int = 32, groups: int = 1, ties_to_even: bool = True):
        self.acc_width, self.groups, self.ties_to_even = acc_width, groups, ties_to_even
        super().__init__({
            "load": In(RecordPort(groups)),
            "i_acc": In(signed(acc_width)),
            "i_group": In(range(groups)),
            "i_zero": In(signed(8)), "i_low": In(signed(8)), "i_high": In(signed(8)),
            "o_q": Out(signed(8)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.parameters = parameters = ParameterStore(
            groups=self.groups, acc_width=self.acc_width, mult=self.LATENCY_BIASED,
            rounding=self.LATENCY_SCALED - 2, shift=self.LATENCY_SCALED, ties_to_even=self.ties_to_even)
        m.submodules.scaler = scaler = Scaler(value_width=self.acc_width, mult_width=MULT_BITS)
        wiring.connect(m, wiring.flipped(self.load), parameters.load)
        m.d.comb += parameters.i_group.eq(self.i_group)

        # Edges t -> t+2: add the bias, modulo 2**acc_width.
        acc_s1 = delay(m, self.i_acc, parameters.LATENCY_BIAS, name="acc")
        biased_s2 = Signal(signed(self.acc_width), reset_less=True)
        m.d.sync += biased_s2.eq(acc_s1 + parameters.o_bias)

        # Edges t+2 -> t+6: multiply. The rounding constant, chosen by the sign, comes out beside the product.
        m.d.comb += [scaler.i_value.eq(biased_s2), scaler.i_mult.eq(parameters.o_mult)]
        negative_s5 = delay(m, biased_s2[-1], Scaler.LATENCY - 1, name="negative")
        rounding_s6 = Signal(signed(32), reset_less=True)
        m.d.sync += rounding_s6.eq(Mux(negative_s5, parameters.o_round_neg, parameters.o_round_pos))

        # Edge t+6 -> t+7. The rounding constant leaves the dropped bits as they are.
        kept = scaler.o_product[PRODUCT_DROP:].as_signed()
        scaled_s7 = Signal((kept + rounding_s6).shape(), reset_less=True)
        m.d.sync += scaled_s7.eq(kept + rounding_s6)

        # Edges t+7 -> t+10.
        ties = {"tie_bits": TIE_BITS, "below": PRODUCT_DROP} if self.ties_to_even else {}
        shift = SaturatingShift(width=len(scaled_s7), shift_width=SHIFT_BITS, out_width=9, **ties)
        m.submodules.shift = shift
        m.d.comb += [shift.i_value.eq(scaled_s7), shift.i_shift.eq(parameters.o_shift)]
        if self.ties_to_even:
            dropped_s7 = delay(m, scaler.o_product[:PRODUCT_DROP], 1, name="dropped")
            m.d.comb += [shift.i_below.eq(dropped_s7), shift.i_even.eq(parameters.o_even)]

        # Edges t+10 -> t+12.
        moved_s11 = Signal(signed(10), reset_less=True)
        q_s12 = Signal(signed(8), reset_less=True)
        m.d.sync += moved_s11.eq(shift.o_value + self.i_zero + shift.o_up)
        m.d.sync += q_s12.eq(clamp(moved_s11, self.i_low, self.i_high))
        m.d.comb += self.o_q.eq(q_s12)
        return m
