"""From the array's partial sums to finished results: accumulation over tiles, and the result FIFO."""
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..contract.fabric import Fabric
from ..signatures import SumsPort, result_stream
from ..systolic.skew import delayed
from .column import Column
from .result_fifo import ResultFifo


class Accumulators(wiring.Component):
    """Adds up each pixel's sums over the tiles of a pass, one pixel a cycle, and queues the finished ones.

    Or keeps the greatest of them, where the tags say ``maximum``.

    A chain of columns, each one cycle behind its neighbour as the array's sums are; nothing is de-skewed,
    the slot in the result FIFO travels with the tags instead. No back-pressure on ``sums``: the feeder has
    fifo_depth credits at reset, spends one for each ``last`` pixel and gets one back with each ``credit``.
    A result appears LATENCY_RESULT cycles after its ``sums.tags`` at the earliest, ``results`` moves one a
    cycle.

    Parameters
    ----------
    fabric : Fabric
        Gives cols, acc_depth, acc_width, fifo_depth.

    Members
    -------
    sums : ``In(SumsPort(fabric))``
    results : ``Out(result_stream(fabric))``
        In the order of the ``last`` pixels.
    credit : ``Out(1)``
        One pulse for each result that made room in the FIFO, on its way to ``results``.

    Attributes
    ----------
    LATENCY_RESULT : int
        Cycles from ``sums.tags`` to ``results.valid`` when the FIFO is empty.
    """

    def __init__(self, *, fabric: Fabric):
        self._fabric = fabric
        self.LATENCY_RESULT = (
            (fabric.cols - 1) * Column.LATENCY_TAGS + Column.LATENCY_SUM + ResultFifo.LATENCY_READ)
        super().__init__({
            "sums": In(SumsPort(fabric)), "results": Out(result_stream(fabric)), "credit": Out(1)})

    def elaborate(self, platform):
        m = Module()
        fabric, tags = self._fabric, self.sums.tags
        m.submodules.fifo = fifo = ResultFifo(
            depth=fabric.fifo_depth, width=fabric.acc_width, cols=fabric.cols)
        connect(m, fifo.results, flipped(self.results))
        m.d.comb += [fifo.claim.eq(tags.valid & tags.last), self.credit.eq(fifo.credit)]

        columns = [Column(fabric=fabric) for _ in range(fabric.cols)]
        before = delayed(m, tags, 3, name="tags", reset_less=False)
        m.d.comb += [
            columns[0].i_tags[name].eq(tags[name]) for name in tags.shape().members]
        m.d.comb += [
            columns[0].i_tags.again_3.eq(before.valid & (before.index == tags.index)),
            columns[0].i_tags.slot.eq(fifo.slot),
        ]
        for c, column in enumerate(columns):
            m.submodules[f"column_{c}"] = column
            m.d.comb += column.i_psum.eq(self.sums.psum[c])
            if c > 0:
                m.d.comb += column.i_tags.eq(columns[c - 1].o_tags)
            connect(m, column.finish, fifo.write[c])
        return m
