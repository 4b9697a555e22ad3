"""One lane's operand multiplier: a sum's low byte times a stored byte, exactly as numerics.Product says."""
from amaranth import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..memory.delay import delay
from .parameters import PRODUCT_RECORD


class OperandMultiplier(wiring.Component):
    """``(acc + offset_q) * (other + offset_other)`` of a signed byte ``acc``, or ``acc`` as it is.

    One value every cycle, no back-pressure and no enable::

        cycle     t       t+1                t+2
        i_acc     acc     acc + offset_q     o_acc = product or acc    (LATENCY = 2)
        i_other   other   other + offset_other

    Parameters
    ----------
    acc_width : int
        Bits of a partial sum, at least 20: all that a product takes.

    Members
    -------
    i_acc : ``In(signed(acc_width))``
        Of a factor the low 8 bits count.
    i_other : ``In(signed(8))``
    i_multiply : ``In(1)``
    i_parameters : ``In(PRODUCT_RECORD)``
        Both still while values are in the multiplier.
    o_acc : ``Out(signed(acc_width))``
        A choice between two registers, which are not reset.
    """

    LATENCY = 2

    def __init__(self, *, acc_width: int):
        self.acc_width = acc_width
        super().__init__({
            "i_acc": In(signed(acc_width)), "i_other": In(signed(8)),
            "i_multiply": In(1), "i_parameters": In(PRODUCT_RECORD),
            "o_acc": Out(signed(acc_width)),
        })

    def elaborate(self, platform):
        m = Module()
        q, other = self.i_acc[:8].as_signed(), self.i_other
        q_moved, other_moved = q + self.i_parameters.offset_q, other + self.i_parameters.offset_other
        q_s1 = Signal(q_moved.shape(), reset_less=True)
        other_s1 = Signal(other_moved.shape(), reset_less=True)
        product_s2 = Signal((q_s1 * other_s1).shape(), reset_less=True)
        # Edge t -> t+1: both offsets. Edge t+1 -> t+2: multiply. What is not wanted stands still.
        with m.If(self.i_multiply):
            m.d.sync += [q_s1.eq(q_moved), other_s1.eq(other_moved), product_s2.eq(q_s1 * other_s1)]
        acc_s2 = delay(m, self.i_acc, self.LATENCY, name="acc")
        m.d.comb += self.o_acc.eq(Mux(self.i_multiply, product_s2, acc_s2))
        return m
