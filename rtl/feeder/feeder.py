"""The feeder: brings weights and activations to the array, in step with each other."""
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..contract.fabric import Fabric
from ..contract.isa import Unit
from ..memory.delay import delay
from ..signatures import AMReadPort, ArrayFeed, UnitPort, WMReadPort
from .gather import TapGather
from .stream import PixelStreamer
from .weights import WeightLoader


class Feeder(wiring.Component):
    """The units WEIGHTS and STREAM, and the way from their addresses to the array.

    One row of weights and one pixel per cycle, no back-pressure from the array. A pixel whose sum goes to the
    result FIFO costs a credit; fifo_depth of them are there after reset, ``credit`` gives one back. A tile
    whose last row was issued in cycle t-1 can be taken in cycle t, and row 0 of the next be issued in the
    same cycle t; both are in step at the array::

        cycle                     t         t+LATENCY_WEIGHT    t+LATENCY_ACT
        take the tile             issued    feed.swap
        its first pixel           issued                        feed.act, feed.tags
        row 0 of the next tile    issued    feed.weight

    ``feed.mode`` comes with ``feed.swap``. With fewer than R pixels per tile a tile takes R cycles, with R or
    more there is no bubble between tiles. Instructions follow each other without a bubble, in both units.

    Parameters
    ----------
    fabric : Fabric

    Members
    -------
    weights, stream : ``In(UnitPort(Unit.WEIGHTS))``, ``In(UnitPort(Unit.STREAM))``
        ``done`` comes when the last byte has been read, LATENCY_DONE_WEIGHTS or LATENCY_DONE_STREAM cycles
        after the last row or pixel was issued.
    wm : ``Out(WMReadPort(fabric))``
    am : ``Out(AMReadPort(fabric))``
        Port A of the activation memory.
    feed : ``Out(ArrayFeed(fabric))``
    credit : ``In(1)``
        A result has left the FIFO.
    """

    LATENCY_ACT = PixelStreamer.LATENCY_PIXEL + TapGather.LATENCY
    LATENCY_WEIGHT = LATENCY_ACT - 1
    LATENCY_DONE_STREAM = PixelStreamer.LATENCY_PIXEL + TapGather.LATENCY_ADDRESS + 1
    LATENCY_DONE_WEIGHTS = LATENCY_WEIGHT - WeightLoader.LATENCY_DONE

    def __init__(self, *, fabric: Fabric):
        self.fabric = fabric
        super().__init__({
            "weights": In(UnitPort(Unit.WEIGHTS)),
            "stream": In(UnitPort(Unit.STREAM)),
            "wm": Out(WMReadPort(fabric)),
            "am": Out(AMReadPort(fabric)),
            "feed": Out(ArrayFeed(fabric)),
            "credit": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.loader = loader = WeightLoader(fabric=self.fabric, latency=self.LATENCY_WEIGHT)
        m.submodules.streamer = streamer = PixelStreamer(
            fabric=self.fabric, latency_address=TapGather.LATENCY_ADDRESS)
        m.submodules.gather = gather = TapGather(fabric=self.fabric)
        wiring.connect(m, wiring.flipped(self.weights), loader.unit)
        wiring.connect(m, wiring.flipped(self.stream), streamer.unit)
        wiring.connect(m, loader.wm, wiring.flipped(self.wm))
        wiring.connect(m, gather.am, wiring.flipped(self.am))
        m.d.comb += [
            streamer.i_credit.eq(self.credit),
            streamer.i_full.eq(loader.o_full),
            loader.i_take.eq(streamer.o_take),
            gather.i_take.eq(streamer.o_take),
            gather.i_offsets.eq(loader.o_offsets),
            gather.i_base.eq(streamer.o_base),
            self.feed.act.eq(gather.o_act),
            self.feed.tags.eq(delay(m, streamer.o_tags, TapGather.LATENCY, name="tags")),
            self.feed.swap.eq(delay(m, streamer.o_take, self.LATENCY_ACT - 1, name="swap")),
            self.feed.mode.eq(delay(m, streamer.o_mode, self.LATENCY_ACT - 1, name="mode")),
            self.feed.weight.eq(loader.o_weight),
            self.feed.weight_valid.eq(loader.o_weight_valid),
            self.feed.weight_start.eq(loader.o_weight_start),
        ]
        return m
