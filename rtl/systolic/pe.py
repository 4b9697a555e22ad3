"""One cell of the weight-stationary array."""
from amaranth import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..primitives.stationary import ACT_WIDTH, StationaryMultiplier
from .skew import delayed


class ProcessingElement(wiring.Component):
    """Multiply-accumulate cell: activations pass right, partial sums and weights pass down.

    Its multiplier has two weights: the active one, which multiplies, and a shadow, which waits for the next
    tile. What it multiplies is, as ``i_select`` says in the same cycle, the activation from the left (0) or,
    in FIR mode, copy ``i_select - 1`` of its column's pixel stream.
    There is no back-pressure: the array's edges see to it that ``i_psum`` comes the multiplier's LATENCY (1
    here) cycles after ``i_act``, and ``i_swap`` one cycle before the first activation that meets the new
    weight::

        cycle      t     t+1   t+2   t+3   t+4
        i_weight   w     --    --    --    --
        i_keep     1     0     0     0     0
        i_swap     0     1     0     0     0            (in t+1 at the earliest)
        i_act      --    --    a0    a1    --
        i_psum     --    --    --    p0    p1
        o_act      --    --    --    a0    a1           (LATENCY_ACT = 1; also weight, keep, swap, select)
        o_psum     --    --    --    --    p0 + a0*w    (LATENCY_PSUM = 1 after i_psum)

    ``i_keep`` and ``i_swap`` in the same cycle move the old shadow weight to active and take the new one in.

    Parameters
    ----------
    weight_width, acc_width : int
        Bits of a signed weight and of the signed partial sum, which wraps.
    copies : int
        Copies of the column's pixel stream that the cell can take, at least 1.
    lane : MultiplierLane, In
        Of a StationaryMultiplier outside, which may have more of them. None: the cell has its own, the
        portable one.

    Members
    -------
    i_act, o_act : ``In/Out(signed(ACT_WIDTH))``
        To the right, as are select, swap and keep; in FIR mode too, though it is not used there.
    i_copies : ``In(ArrayLayout(signed(ACT_WIDTH), copies))``
    i_select, o_select : ``In/Out(range(copies + 1))``
    i_swap, o_swap : ``In/Out(1)``
        The shadow weight becomes the active one.
    i_keep, o_keep : ``In/Out(1)``
        The word on i_weight becomes the shadow weight.
    i_weight, o_weight : ``In/Out(signed(weight_width))``
        Down, whether kept or not.
    i_psum, o_psum : ``In/Out(signed(acc_width))``
        Down.

    Raises
    ------
    ValueError
        If acc_width does not hold one product, or there is no copy.
    """

    LATENCY_ACT = 1
    LATENCY_PSUM = 1

    def __init__(self, *, weight_width: int = 8, acc_width: int = 32, copies: int = 1, lane=None):
        if acc_width < ACT_WIDTH + weight_width:
            raise ValueError(
                f"acc_width {acc_width} cannot hold one product of {ACT_WIDTH} by {weight_width} bits")
        if copies < 1:
            raise ValueError(f"copies is {copies}; there is at least the pixel stream itself")
        self._lane = lane
        super().__init__({
            "i_act": In(signed(ACT_WIDTH)), "o_act": Out(signed(ACT_WIDTH)),
            "i_copies": In(data.ArrayLayout(signed(ACT_WIDTH), copies)),
            "i_select": In(range(copies + 1)), "o_select": Out(range(copies + 1)),
            "i_swap": In(1), "o_swap": Out(1),
            "i_keep": In(1), "o_keep": Out(1),
            "i_weight": In(signed(weight_width)), "o_weight": Out(signed(weight_width)),
            "i_psum": In(signed(acc_width)), "o_psum": Out(signed(acc_width)),
        })

    def elaborate(self, platform):
        m = Module()
        lane = self._lane
        if lane is None:
            m.submodules.multiplier = multiplier = StationaryMultiplier(weight_width=len(self.i_weight))
            lane = multiplier.lane[0]

        # Edge t -> t+1: multiply, and hand everything to the neighbours.
        with m.Switch(self.i_select):
            for copy, pixel in enumerate(self.i_copies):
                with m.Case(copy + 1):
                    m.d.comb += lane.act.eq(pixel)
            with m.Default():
                m.d.comb += lane.act.eq(self.i_act)
        m.d.comb += [
            lane.weight.eq(self.i_weight), lane.keep.eq(self.i_keep), lane.swap.eq(self.i_swap),
            self.o_act.eq(delayed(m, self.i_act, self.LATENCY_ACT, name="act")),
            self.o_select.eq(delayed(m, self.i_select, self.LATENCY_ACT, name="select")),
            self.o_weight.eq(delayed(m, self.i_weight, self.LATENCY_ACT, name="weight")),
        ]
        # Only the control bits are reset: data counts where they, or the tags that go with the sums, say so.
        m.d.sync += [self.o_swap.eq(self.i_swap), self.o_keep.eq(self.i_keep)]

        # Edge t+LATENCY -> t+LATENCY+1: add to the sum that arrived from above.
        total = Signal.like(self.o_psum)
        m.d.comb += [
            total.eq(self.i_psum + lane.product),
            self.o_psum.eq(delayed(m, total, self.LATENCY_PSUM, name="psum")),
        ]
        return m
