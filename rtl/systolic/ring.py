"""FIR mode's delays: each column's pixel stream, and the copies of it that the upper kernel rows multiply."""
from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..contract.fabric import RING_LEAST, Fabric
from ..primitives.memory import TrueDualPort
from ..signatures import FirMode

SHORT = 128
"""Depth up to which the RAMs are of LUTs, where a chip has such: block RAMs are too few to be half empty."""


def copies_in(row: int, fabric: Fabric) -> int:
    """How many copies of the pixel stream (1 to FIR_GROUPS) row ``row`` of the array may be asked to take.

    Kernel row g of ``groups`` is multiplied in rows g*taps to (g+1)*taps - 1, none of them beyond the array,
    and takes copy groups - 1 - g.
    """
    if not fabric.line_depth:
        return 1
    if row < fabric.rows // 3:  # first of three kernel rows
        return 3
    return 2 if row < max(fabric.rows // 2, fabric.rows // 3 * 2) else 1  # first of two, second of three


class LineRings(wiring.Component):
    """Delays each column's pixel stream by ``ring`` and twice ``ring`` pixels.

    Column c has a RAM whose word at position p (pixels are counted modulo ring) is pixel and first copy: read
    before it is overwritten, it gives both copies. The positions come to column c c cycles after column 0, as
    its pixels do. No back-pressure: from a swap to FIR mode with several groups up to the next swap every
    cycle is a pixel; otherwise the RAMs stand still. Column 0, at and behind such a swap::

        cycle      t-1        t          t+1        t+2      ...  t+ring
        i_swap     1
        i_pixels              x0         x1         x2            x(ring)
        (read)                2          3          4             2         (two cycles ahead of the pixel)
        (written)             0          1          2             0
        o_copies              x0 -- --   x1 -- --   x2 -- --      x(ring) x0 --

    A word is written RING_LEAST (3) cycles before the pixel it goes with at the latest: one to be written,
    one to be read and one for the RAM's slow output, which has a register behind it.

    Parameters
    ----------
    fabric : Fabric
        Gives line_depth, not 0, the longest ring, and rows and cols: columns from R on have no pixels.
    family : str
        Cells.family, of the RAMs.

    Members
    -------
    i_swap : ``In(1)``
        A new tile begins with the next cycle, in column 0.
    i_mode : ``In(FirMode)``
        Its mode; counts with i_swap only.
    i_pixels : ``In(ArrayLayout(signed(8), min(R, C)))``
        Column c's pixel is c cycles late.
    o_copies : ``Out(ArrayLayout(ArrayLayout(signed(8), copies), min(R, C)))``
        In each column the pixel itself, in the same cycle, and its copies.
    """

    def __init__(self, *, fabric: Fabric, family: str = "portable"):
        self._family = family
        self._depth = fabric.line_depth
        self._copies = copies_in(0, fabric)
        columns = min(fabric.rows, fabric.cols)
        super().__init__({
            "i_swap": In(1), "i_mode": In(FirMode),
            "i_pixels": In(data.ArrayLayout(signed(8), columns)),
            "o_copies": Out(data.ArrayLayout(data.ArrayLayout(signed(8), self._copies), columns)),
        })

    def elaborate(self, platform):
        m = Module()
        columns = len(self.i_pixels)
        # Entry n is the position of the pixel that column 0 sees in two cycles, n cycles ago: where column n
        # reads, and where column n - 2 writes.
        place = [Signal(range(self._depth), name=f"place_{n}", reset_less=True) for n in range(columns + 2)]
        moving = Signal(columns + 2)  # bit n: place[n] counts
        last = Signal(range(self._depth), reset_less=True)
        turns = Signal()  # the next tile uses the rings

        m.d.comb += turns.eq(self.i_mode.fir & (self.i_mode.groups > 1))
        m.d.sync += moving.eq(Cat(moving[0], moving))
        m.d.sync += [later.eq(sooner) for sooner, later in zip(place, place[1:], strict=False)]
        with m.If(moving[0]):
            m.d.sync += place[0].eq(Mux(place[0] == last, 0, place[0] + 1))
        with m.If(self.i_swap):
            m.d.sync += moving[:RING_LEAST].eq(turns.replicate(RING_LEAST))
            with m.If(turns):
                m.d.sync += last.eq(self.i_mode.ring - 1)
                m.d.sync += [place[n].eq(RING_LEAST - 1 - n) for n in range(RING_LEAST)]

        for c in range(columns):
            # The positions read and written are never the same.
            m.submodules[f"memory_{c}"] = memory = TrueDualPort(
                depth=self._depth, width=8 * (self._copies - 1), family=self._family,
                style="distributed" if self._depth <= SHORT else "auto")
            # Edges t-2 -> t-1 -> t: out of the RAM and its register, for the pixel of cycle t.
            copies = Cat(self.i_pixels[c], memory.o_a_data)
            m.d.comb += [
                memory.i_a_address.eq(place[c]), memory.i_a_enable.eq(moving[c]),
                memory.i_b_address.eq(place[c + 2]), memory.i_b_data.eq(copies),
                memory.i_b_enable.eq(moving[c + 2]), memory.i_b_write.eq(moving[c + 2]),
                self.o_copies[c].eq(copies),
            ]
        return m
