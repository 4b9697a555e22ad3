"""The systolic array: R x C cells with their skew, from the feeder's vectors to the accumulators' sums."""
from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..contract.fabric import Fabric
from ..primitives.cells import PORTABLE, Cells
from ..primitives.stationary import stationary_multiplier
from ..signatures import ArrayFeed, FirMode, SumsPort
from .pe import ProcessingElement
from .ring import LineRings, copies_in
from .skew import Skew, delayed
from .weights import WeightSteering


def sum_bits(rows: int, *, weight_bits: int) -> int:
    """Bits that hold the sum of so many products of an int8 and a weight, whatever they are."""
    return (rows << 7 + weight_bits - 1).bit_length() + 1


class SystolicArray(wiring.Component):
    """Multiplies the R activations of a pixel with the R x C weights of a tile: C sums, one pixel a cycle.

    **Matrix mode.** Weight-stationary: row r holds the weights of tap r, column c those of output channel c.
    Activations go right, sums and weights go down, one cell a cycle. There is no back-pressure. A pixel that
    is presented in cycle t, and the swap before it, with multipliers of LATENCY 1::

        cycle        t-1    t      t+R+1           t+R+2    ...  t+R+C
        feed.swap    1
        feed.act            x
        sums.tags                  those of x
        sums.psum                  column 0        column 1      column C-1      (LATENCY_PSUM = R + 1)

    ``feed`` must come from registers: row 0 and column 0 use it in the cycle it comes. The last word of a
    tile must come before its swap, the first word of the next tile not before that swap. R words without
    gaps take R cycles, so tiles follow each other every max(R, pixels) cycles: the multipliers never pause
    where a tile has R pixels or more.

    **FIR mode.** Each column convolves the pixels of its own lane: in column c all rows see the pixel of lane
    c, delayed by c cycles, at once. As a sum takes a cycle from row to row, it meets the next pixel in the
    next row: a kernel row of ``taps`` pixels, which ends up ``taps`` pixels further in the stream. The next
    kernel row is a line further; so its rows see the stream itself, and the rows of the one above, which lie
    ``taps`` rows before, see it ring = line - taps pixels late (LineRings). Row r of kernel row g = r // taps
    takes copy groups - 1 - g, delayed by so many rings. Columns from R on see zero.

    The selection changes in each cell with the first pixel of the tile, as the weight does, a row and a
    column later each cycle. Tiles of both modes follow each other without a bubble: in every row the last sum
    of one is a cycle ahead of the first of the next.

    Parameters
    ----------
    fabric : Fabric
        Gives rows, cols, weight_bits, line_depth, acc_width and, for the tags, acc_depth.
    cells : Cells
        Says which multipliers.

    Members
    -------
    i_enable : ``In(1, init=1)``
        Of an EnableInserter around the array, if any; see StationaryMultiplier.
    feed : ``In(ArrayFeed(fabric))``
    sums : ``Out(SumsPort(fabric))``
        Column c's sum comes c cycles after its tags; it wraps at acc_width.

    Attributes
    ----------
    LATENCY_PSUM : int
        Cycles from ``feed.act`` (and ``feed.tags``) to ``sums.psum[0]`` (and ``sums.tags``).
    """

    def __init__(self, *, fabric: Fabric, cells: Cells = PORTABLE):
        self._fabric, self._family = fabric, cells.family
        self._multipliers = []
        while sum(multiplier.LANES for multiplier in self._multipliers) < fabric.rows * fabric.cols:
            self._multipliers.append(stationary_multiplier(cells, weight_width=fabric.weight_bits))
        # The last row's activation is rows - 1 cycles late; then its cell multiplies and adds.
        self.LATENCY_PSUM = fabric.rows - 1 + self._multipliers[0].LATENCY + ProcessingElement.LATENCY_PSUM
        super().__init__({
            "i_enable": In(1, init=1), "feed": In(ArrayFeed(fabric)), "sums": Out(SumsPort(fabric))})

    def elaborate(self, platform):
        m = Module()
        fabric = self._fabric
        rows, cols = fabric.rows, fabric.cols
        feed, sums = self.feed, self.sums

        m.submodules.act_skew = act_skew = Skew(shape=signed(8), lanes=rows)
        m.submodules.weight_skew = weight_skew = Skew(shape=signed(fabric.weight_bits), lanes=cols)
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

        # The pixel streams of FIR mode: column c's is lane c as late as the column is.
        copies = [copies_in(r, fabric) for r in range(rows)]
        streams = [[act_skew.o[c]] for c in range(min(rows, cols))]
        if max(copies) > 1:
            m.submodules.rings = rings = LineRings(fabric=fabric, family=self._family)
            m.d.comb += [rings.i_swap.eq(feed.swap), rings.i_mode.eq(feed.mode)]
            m.d.comb += [rings.i_pixels[c].eq(act_skew.o[c]) for c in range(len(streams))]
            streams = [list(stream) for stream in rings.o_copies]
        select = self._selections(m, swap, copies)

        # Sums grow from row to row: 16 rows of 8-bit weights take 36 % less carry logic than with 32 bits.
        widths = [min(sum_bits(r + 1, weight_bits=fabric.weight_bits), fabric.acc_width) for r in range(rows)]
        # Multipliers that have several lanes are shared by neighbours.
        lanes = iter([lane for multiplier in self._multipliers for lane in multiplier.lane])
        cell = {
            (r, c): ProcessingElement(
                weight_width=fabric.weight_bits, acc_width=widths[r], copies=copies[r], lane=next(lanes))
            for r in range(rows) for c in range(cols)}
        for n, multiplier in enumerate(self._multipliers):
            m.submodules[f"multiplier_{n}"] = multiplier
            m.d.comb += multiplier.i_enable.eq(self.i_enable)
        for (r, c), pe in cell.items():
            m.submodules[f"pe_{r}_{c}"] = pe
            if c == 0:
                m.d.comb += [
                    pe.i_act.eq(act_skew.o[r]), pe.i_select.eq(select[r]),
                    pe.i_swap.eq(swap[r]), pe.i_keep.eq(steering.o_keep[r])]
            else:
                left = cell[r, c - 1]
                m.d.comb += [
                    pe.i_act.eq(left.o_act), pe.i_select.eq(left.o_select),
                    pe.i_swap.eq(left.o_swap), pe.i_keep.eq(left.o_keep)]
            if c < len(streams):
                m.d.comb += [pe.i_copies[n].eq(streams[c][n]) for n in range(copies[r])]
            if r == 0:
                m.d.comb += pe.i_weight.eq(weight_skew.o[c])  # and i_psum stays 0
            else:
                above = cell[r - 1, c]
                m.d.comb += [pe.i_weight.eq(above.o_weight), pe.i_psum.eq(above.o_psum)]

        m.d.comb += [sums.psum[c].eq(cell[rows - 1, c].o_psum) for c in range(cols)]
        m.d.comb += sums.tags.eq(delayed(m, feed.tags, self.LATENCY_PSUM, name="tags", reset_less=False))
        return m

    def _selections(self, m, swap, copies):
        """For each row, i_select of its cell in column 0: registers that change with the swap at the row."""
        # Swaps are at least R cycles apart, so the mode is still here when the last row takes it.
        mode = Signal(FirMode, reset_less=True)
        with m.If(swap[0]):
            m.d.sync += mode.eq(self.feed.mode)
        found = []
        for r, most in enumerate(copies):
            select = Signal(range(most + 1), name=f"select_{r}", reset_less=True)
            now = self.feed.mode if r == 0 else mode
            # 0 in matrix mode, else 1 + the copy; in rows that no tap uses it may be anything.
            group = (r >= now.taps) + (r >= now.taps << 1) if r else 0
            with m.If(swap[r]):
                m.d.sync += select.eq(Mux(now.fir, now.groups - group, 0))
            found.append(select)
        return found
