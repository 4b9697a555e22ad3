"""Stream buffers of the DMA: a two-entry one made of registers, and a deep one made of memory."""
from amaranth import Module, Shape, Signal
from amaranth.hdl import ShapeLike
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out


class Queue(wiring.Component):
    """Two entries in registers: cuts every path between its two sides.

    Full throughput, one cycle from ``i`` to ``o``; ``i.ready`` depends on a register only.

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.
    """

    LATENCY = 1

    def __init__(self, shape: ShapeLike):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        spare = Signal.like(self.i.payload)
        spare_valid = Signal()
        m.d.comb += self.i.ready.eq(~spare_valid)
        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += [self.o.valid.eq(spare_valid | self.i.valid), spare_valid.eq(0)]
            with m.If(spare_valid):
                m.d.sync += self.o.payload.eq(spare)
            with m.Else():
                m.d.sync += self.o.payload.eq(self.i.payload)
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += [spare.eq(self.i.payload), spare_valid.eq(1)]
        return m


class Fifo(wiring.Component):
    """``depth`` entries in a synchronous-read memory behind an output register.

    Full throughput from a depth of 3 on, half of it below; two cycles from ``i`` to ``o`` (one if depth is
    1). ``i.ready`` and ``o.valid`` depend on registers only.

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.
    depth : int
        Entries, at least 1. From 3 on ``i.ready`` is only low when all of them are filled.
    """

    LATENCY = 2

    def __init__(self, shape: ShapeLike, *, depth: int):
        if depth < 1:
            raise ValueError(f"depth is {depth}; a queue holds at least 1 entry")
        self._shape, self._depth = shape, depth
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        width = Shape.cast(self._shape).width
        m.submodules.fifo = buffer = fifo.SyncFIFOBuffered(width=width, depth=self._depth)
        m.d.comb += [
            buffer.w_data.eq(self.i.payload), buffer.w_en.eq(self.i.valid), self.i.ready.eq(buffer.w_rdy),
            self.o.payload.eq(buffer.r_data), self.o.valid.eq(buffer.r_rdy), buffer.r_en.eq(self.o.ready),
        ]
        return m
