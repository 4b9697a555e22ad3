"""The systolic array: R x C cells with their skew, from the feeder's vectors to the accumulators' sums."""
from amaranth import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..contract.fabric import Fabric
from ..primitives.multiplier import Multiplier
from ..signatures import ArrayFeed, SumsPort
from .pe import ProcessingElement
from .skew import Skew, delayed
from .weights import WeightSteering


def sum_bits(rows: int) -> int:
    """Bits that hold the sum of so many products of int8 operands, all -128 * -128 included."""
    return (rows << 14).bit_length() + 1


class SystolicArray(wiring.Component):
    """Multiplies the R activations of a pixel with the R x C weights of a tile: C sums, one pixel a cycle.

    Weight-stationary: row r holds the weights of tap r, column c those of output channel c. Activations go
    right, sums and weights go down, one cell a cycle. There is no back-pressure. A pixel that is presented in
    cycle t, and the swap before it::

        cycle        t-1    t      t+R+1           t+R+2    ...  t+R+C
        feed.swap    1
        feed.act            x
        sums.tags                  those of x
        sums.psum                  column 0        column 1      column C-1      (LATENCY_PSUM = R + 1)

    ``feed`` must come from registers: row 0 and column 0 use it in the cycle it comes. The last word of a
    tile must come before its swap, the first word of the next tile not before that swap. R words without
    gaps take R cycles, so tiles follow each other every max(R, pixels) cycles: the multipliers never pause
    where a tile has R pixels or more.

    Parameters
    ----------
    fabric : Fabric
        Gives rows, cols, acc_width and, for the tags, acc_depth.

    Members
    -------
    feed : ``In(ArrayFeed(fabric))``
    sums : ``Out(SumsPort(fabric))``
        Column c's sum comes c cycles after its tags; it wraps at acc_width.

    Attributes
    ----------
    LATENCY_PSUM : int
        Cycles from ``feed.act`` (and ``feed.tags``) to ``sums.psum[0]`` (and ``sums.tags``).
    """

    def __init__(self, *, fabric: Fabric):
        self._fabric = fabric
        # The last row's activation is rows - 1 cycles late; then its cell multiplies and adds.
        self.LATENCY_PSUM = fabric.rows - 1 + Multiplier.LATENCY + ProcessingElement.LATENCY_PSUM
        super().__init__({"feed": In(ArrayFeed(fabric)), "sums": Out(SumsPort(fabric))})

    def elaborate(self, platform):
        m = Module()
        rows, cols = self._fabric.rows, self._fabric.cols
        feed, sums = self.feed, self.sums

        m.submodules.act_skew = act_skew = Skew(shape=signed(8), lanes=rows)
        m.submodules.weight_skew = weight_skew = Skew(shape=signed(8), lanes=cols)
        m.submodules.steering = steering = WeightSteering(rows=rows)
        swap = Signal(rows)  # bit r: the swap reaches row r
        swap_late = Signal(rows)
        m.d.sync += swap_late.eq(swap)
        m.d.comb += [
            act_skew.i.eq(feed.act),
            weight_skew.i.eq(feed.weight),
            steering.i_valid.eq(feed.weight_valid),
            steering.i_start.eq(feed.weight_start),
            swap.eq(Cat(feed.swap, swap_late)),
        ]

        # Sums grow from row to row: 16 rows take 36 % less carry logic than with 32 bits everywhere.
        widths = [min(sum_bits(r + 1), self._fabric.acc_width) for r in range(rows)]
        cell = {(r, c): ProcessingElement(acc_width=widths[r]) for r in range(rows) for c in range(cols)}
        for (r, c), pe in cell.items():
            m.submodules[f"pe_{r}_{c}"] = pe
            if c == 0:
                m.d.comb += [
                    pe.i_act.eq(act_skew.o[r]), pe.i_swap.eq(swap[r]), pe.i_keep.eq(steering.o_keep[r])]
            else:
                left = cell[r, c - 1]
                m.d.comb += [pe.i_act.eq(left.o_act), pe.i_swap.eq(left.o_swap), pe.i_keep.eq(left.o_keep)]
            if r == 0:
                m.d.comb += pe.i_weight.eq(weight_skew.o[c])  # and i_psum stays 0
            else:
                above = cell[r - 1, c]
                m.d.comb += [pe.i_weight.eq(above.o_weight), pe.i_psum.eq(above.o_psum)]

        m.d.comb += [sums.psum[c].eq(cell[rows - 1, c].o_psum) for c in range(cols)]
        m.d.comb += sums.tags.eq(delayed(m, feed.tags, self.LATENCY_PSUM, name="tags", reset_less=False))
        return m
