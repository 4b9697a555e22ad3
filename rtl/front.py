"""The array's front in a small fabric: everything between the shared memory and the finished sums."""
from amaranth import EnableInserter, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from .accumulate.lean import SUM_TAGS, LeanAccumulators
from .contract.fabric import Fabric
from .contract.isa import Unit
from .feeder.lean import LeanStreamer, LeanWeights
from .memory.delay import delay
from .memory.shared import FrontPort, WordPort
from .primitives.cells import PORTABLE, Cells
from .signatures import UnitPort, result_stream
from .systolic.array import SystolicArray


class LeanFront(wiring.Component):
    """WEIGHTS and STREAM with array and accumulators, all of which stand still while others use the memory.

    A pixel a cycle, and a pause of a cycle before each visit of a Stream::

        cycle        t           t+1               t+2            t+2+R
        taken tile   o_take      swap
        pixel                    addressed         at the array   numbered, a cycle before its sum

    Parameters
    ----------
    fabric : Fabric
        With a shared memory, 8-bit weights and a line_depth of 0.
    cells : Cells

    Members
    -------
    weights, stream : ``In(UnitPort(Unit.WEIGHTS))``, ``In(UnitPort(Unit.STREAM))``
    words : ``Out(WordPort(fabric))``
        For the weights: client 0 of the shared memory.
    memory : ``Out(FrontPort(fabric))``
    results : ``Out(result_stream(fabric))``
    """

    def __init__(self, *, fabric: Fabric, cells: Cells = PORTABLE):
        self.fabric, self.cells = fabric, cells
        super().__init__({
            "weights": In(UnitPort(Unit.WEIGHTS)), "stream": In(UnitPort(Unit.STREAM)),
            "words": Out(WordPort(fabric)), "memory": Out(FrontPort(fabric)),
            "results": Out(result_stream(fabric)),
        })

    def elaborate(self, platform):
        m = Module()
        fabric, memory = self.fabric, self.memory
        loader = LeanWeights(fabric=fabric)
        streamer, array = LeanStreamer(fabric=fabric), SystolicArray(fabric=fabric, cells=self.cells)
        accumulators = LeanAccumulators(fabric=fabric)
        m.submodules.loader, m.submodules.accumulators = loader, accumulators
        m.submodules.streamer = streamer  # which stands still by itself
        moves = EnableInserter(memory.enable)
        m.submodules.array = moves(array)
        connect(m, flipped(self.weights), loader.unit)
        connect(m, flipped(self.stream), streamer.unit)
        connect(m, loader.memory, flipped(self.words))
        connect(m, accumulators.results, flipped(self.results))

        # The result FIFO's places that no pixel under way has claimed.
        room = Signal(range(fabric.fifo_depth + 1), init=fabric.fifo_depth)
        m.d.sync += room.eq(room - streamer.o_claim + accumulators.o_left)

        # What is used while a tile's pixels are addressed.
        base, jump, far_row = (Signal.like(out, reset_less=True) for out in (
            loader.o_base, loader.o_jump, loader.o_far_row))
        with m.If(streamer.o_take):
            m.d.sync += [base.eq(loader.o_base), jump.eq(loader.o_jump), far_row.eq(loader.o_far_row)]
        place = Signal.like(base)
        lanes = ceil_log2(fabric.rows)
        m.d.comb += [
            place.eq(streamer.o_pixel + base), memory.lane.eq(place[:lanes]), memory.near.eq(place[lanes:]),
            memory.far.eq(memory.near + jump), memory.far_row.eq(far_row),
        ]

        feed = array.feed
        m.d.comb += [
            streamer.i_enable.eq(memory.enable), streamer.i_full.eq(loader.o_full),
            streamer.i_room.eq(room), loader.i_take.eq(streamer.o_take),
            feed.act.eq(memory.data), feed.swap.eq(streamer.o_swap),
            feed.mode.fir.eq(streamer.o_fir), feed.mode.groups.eq(1),
            feed.mode.taps.eq(fabric.rows),  # rows that no tap uses have weights of zero
            feed.weight.eq(self.words.data), feed.weight_valid.eq(loader.o_weight_valid),
            feed.weight_start.eq(loader.o_weight_start),
        ]

        # The tags meet the sums a cycle before these come.
        held = Module()
        tags = Signal(SUM_TAGS)
        held.d.comb += tags.eq(delay(held, streamer.o_tags, array.LATENCY_PSUM - 1, name="tags"))
        m.submodules.tags = moves(held)
        m.d.comb += [
            accumulators.i_enable.eq(memory.enable), accumulators.i_tags.eq(tags),
            accumulators.i_psum.eq(array.sums.psum),
        ]
        if hasattr(array, "i_enable"):
            m.d.comb += array.i_enable.eq(memory.enable)
        return m
