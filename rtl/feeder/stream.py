"""The STREAM unit: says which pixel goes through the array, and what becomes of its sum."""
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..contract import isa
from ..contract.fabric import Fabric
from ..dma.queue import Queue
from ..memory.address import add
from ..memory.delay import delay
from ..signatures import Address, FirMode, State, UnitPort, instruction_layout, pixel_tags
from .countdown import Countdown
from .fir import FirWalk


class PixelStreamer(wiring.Component):
    """Issue the pixels of Stream instructions: one per cycle, no bubble between tiles or instructions.

    Five nested loops, outermost first: tile, v, u, y, x (isa.Stream.execute). Three stages, so that none has
    a long way: the counters of the loops say which of them a pixel ends; the addresses follow; and behind a
    queue, which hides from both whether it waits, the pixel is issued. The first pixel of a tile waits until
    one is loaded (``i_full``, State.OPERAND) and takes it. A pixel whose sum goes to the result FIFO
    waits for a credit (State.RESULT); there are fifo_depth of them after reset, and ``i_credit`` gives one
    back. In FIR mode the pixels are those of FirWalk, and a pass that emits waits before its first pixel
    until there are credits for all its sums; each is spent with its sum, so none runs short on the way. An
    instruction in FIR mode is followed by a bubble, if none of its last pixels had to wait.
    ``o_take`` and ``unit.state`` depend combinationally on ``i_full``::

        cycle    t                t+1              t+1+latency_address    t+2+latency_address
        pixel    issued, o_take   o_base, o_tags   memory is addressed    unit.done (last pixel)

    The first pixel of an instruction is issued LATENCY_FIRST cycles after the instruction was taken, at the
    earliest; the next instruction is taken while the last two pixels are on the way.

    Parameters
    ----------
    fabric : Fabric
    latency_address : int
        Cycles from ``o_base`` to the addresses at the activation memory.

    Members
    -------
    unit : ``In(UnitPort(Unit.STREAM))``
    i_full : ``In(1)``
        A tile is loaded.
    o_take : ``Out(1)``
        It is taken; the pixels from this cycle on use it.
    o_mode : ``Out(FirMode)``
        How they use it; counts with o_take.
    i_credit : ``In(1)``
        A result has left the FIFO.
    o_base : ``Out(Address)``
        The pixel's base address.
    o_tags : ``Out(pixel_tags(fabric))``
        Mean nothing but ``valid`` while that is low.
    """

    LATENCY_FIRST = 3
    LATENCY_PIXEL = 1
    """From issuing a pixel to ``o_base`` and ``o_tags``."""

    def __init__(self, *, fabric: Fabric, latency_address: int):
        self.fabric, self.latency_address = fabric, latency_address
        super().__init__({
            "unit": In(UnitPort(isa.Unit.STREAM)),
            "i_full": In(1),
            "o_take": Out(1),
            "o_mode": Out(FirMode),
            "i_credit": In(1),
            "o_base": Out(Address),
            "o_tags": Out(pixel_tags(fabric)),
        })

    def elaborate(self, platform):
        m = Module()
        rows = self.fabric.rows
        layout = instruction_layout(isa.Stream)
        instruction = data.View(layout, self.unit.instruction.payload)
        pixel_layout = data.StructLayout({
            "base": Address, "index": range(self.fabric.acc_depth),
            "counts": 1,  # has tags: in FIR mode, a sum comes out with it
            "first": 1, "last": 1, "maximum": 1,
            "tile_first": 1, "end": 1,  # the first of a tile; the last of the instruction
            "mode": FirMode, "outputs": layout["outputs"].width,
            "needs_one": 1,  # waits for a credit; for as many as the pass has outputs
            "needs_all": 1,
        })
        m.submodules.pixels = pixels = Queue(pixel_layout)

        # ---- Counters: ``now`` is the instruction whose pixels they count.
        now = Signal(layout)
        active, begins, tile_first = Signal(), Signal(), Signal()
        tile, v, u, y, x = loops = [
            Countdown(m, layout[name].width, name=name)
            for name in ("tiles", "v_count", "u_count", "y_count", "x_count")]
        walk = FirWalk(m, x=x, y=y)
        fir = walk.mode.fir
        counts, move, end = Signal(), Signal(), Signal()
        x_ends, y_ends, u_ends, v_ends = Signal(), Signal(), Signal(), Signal()
        # The pixel that the addresses are for, and what it ends.
        there = Signal()
        ends = Signal(data.StructLayout({name: 1 for name in (
            "x", "y", "u", "v", "end", "counts", "last", "tile_first")}))
        m.d.comb += [
            counts.eq(~fir | walk.output),
            x_ends.eq(Mux(fir, walk.line_ends, x.last)),
            y_ends.eq(Mux(fir, walk.pass_ends, x.last & y.last)),
            u_ends.eq(y_ends & u.last),
            v_ends.eq(u_ends & v.last),
            move.eq(active & (~there | pixels.i.ready)),
            end.eq(v_ends & tile.last),
            # The end of a FIR pass is known late: its successor is taken a cycle later.
            self.unit.instruction.ready.eq(
                ~active | (move & ~fir & Cat(loop.last for loop in loops).all())),
        ]
        with m.If(move):
            m.d.sync += [
                begins.eq(0), tile_first.eq(v_ends),
                ends.x.eq(x_ends), ends.y.eq(y_ends), ends.u.eq(u_ends), ends.v.eq(v_ends),
                ends.end.eq(end), ends.counts.eq(counts), ends.tile_first.eq(tile_first),
                ends.last.eq(now.emit & tile.last & v.last & u.last),
            ]
            with m.If(fir):
                walk.step()
            with m.If(counts):
                x.step()
            with m.If(counts & x.last):
                y.step()
            with m.If(y_ends):
                u.step()
            with m.If(u_ends):
                v.step()
            with m.If(v_ends):
                tile.step()
        with m.If(move & end):
            m.d.sync += active.eq(0)
        with m.If(self.unit.instruction.ready):
            m.d.sync += active.eq(self.unit.instruction.valid)
        with m.If(self.unit.instruction.ready & self.unit.instruction.valid):
            m.d.sync += [now.eq(instruction), begins.eq(1), tile_first.eq(1)]
            walk.start(instruction)
            for loop, name in zip(loops, ("tiles", "v_count", "u_count", "y_count", "x_count"), strict=True):
                loop.start(instruction[name])

        # ---- Addresses: of the pixel, and where its line, its u visit and its v visit started.
        base, v_step, u_step, y_step, x_step = [
            Signal(Address, name=name) for name in ("base", "v_step", "u_step", "y_step", "x_step")]
        pixel, line, visit_u, visit_v = [
            Signal(Address, name=name) for name in ("pixel", "line", "visit_u", "visit_v")]
        index = Signal(range(self.fabric.acc_depth))
        clear, maximum, mode, outputs = Signal(), Signal(), Signal(FirMode), Signal(layout["outputs"].width)
        start, step, following = Signal(Address), Signal(Address), Signal(Address)
        with m.If(~ends.x):
            m.d.comb += [start.eq(pixel), step.eq(x_step)]
        with m.Elif(~ends.y):
            m.d.comb += [start.eq(line), step.eq(y_step)]
        with m.Elif(~ends.u):
            m.d.comb += [start.eq(visit_u), step.eq(u_step)]
        with m.Else():
            m.d.comb += [start.eq(visit_v), step.eq(v_step)]
        m.d.comb += following.eq(add(start, step, rows=rows))
        with m.If(ends.v):
            m.d.comb += following.eq(base)
        with m.If(there & pixels.i.ready):
            m.d.sync += [there.eq(0), pixel.eq(following)]
            with m.If(ends.counts):
                m.d.sync += index.eq(index + 1)
            with m.If(ends.x):
                m.d.sync += line.eq(following)
            with m.If(ends.y):
                m.d.sync += [visit_u.eq(following), index.eq(0), clear.eq(0)]
            with m.If(ends.u):
                m.d.sync += visit_v.eq(following)
        with m.If(move):
            m.d.sync += there.eq(1)
            with m.If(begins):
                m.d.sync += [
                    *(at.eq(now.base) for at in (base, pixel, line, visit_u, visit_v)),
                    v_step.eq(now.v_step), u_step.eq(now.u_step),
                    y_step.eq(now.y_step), x_step.eq(now.x_step),
                    clear.eq(now.clear), maximum.eq(now.maximum), index.eq(0),
                    mode.eq(walk.mode), outputs.eq(now.outputs - 1),
                ]

        # Credits left, minus one: negative when there are none. Outputs of a FIR pass, minus one too.
        credits = Signal(range(-1, self.fabric.fifo_depth), init=self.fabric.fifo_depth - 1)
        payload = pixels.i.payload
        m.d.comb += [
            pixels.i.valid.eq(there),
            payload.base.eq(pixel), payload.index.eq(index), payload.counts.eq(ends.counts),
            payload.first.eq(clear), payload.last.eq(ends.last), payload.maximum.eq(maximum),
            payload.tile_first.eq(ends.tile_first), payload.end.eq(ends.end),
            payload.mode.eq(mode), payload.outputs.eq(outputs),
            # One pixel may be in front of this one, and spend one.
            payload.needs_all.eq(ends.last & mode.fir & ends.tile_first & ~(credits > outputs)),
            payload.needs_one.eq(ends.last & ~mode.fir),
        ]

        # ---- Issue. Who waits for the credits of a pass needs the comparison of the cycle before; they do
        # not become fewer meanwhile.
        now_out, issue, lacks, short, enough = pixels.o.payload, Signal(), Signal(), Signal(), Signal()
        spend = Signal()
        m.d.comb += [
            lacks.eq(now_out.tile_first & ~self.i_full),
            short.eq((now_out.needs_one & (credits < 0)) | (now_out.needs_all & ~enough)),
            issue.eq(pixels.o.valid & ~lacks & ~short),
            spend.eq(issue & now_out.last & now_out.counts),
            pixels.o.ready.eq(issue),
            self.o_take.eq(issue & now_out.tile_first),
            self.o_mode.eq(now_out.mode),
            self.unit.done.eq(delay(
                m, issue & now_out.end, self.LATENCY_PIXEL + self.latency_address + 1, name="end")),
        ]
        m.d.sync += [
            credits.eq(credits + self.i_credit - spend),
            enough.eq(pixels.o.valid & ~issue & (credits >= now_out.outputs)),
        ]
        with m.If(issue):
            m.d.comb += self.unit.state.eq(State.BUSY)
        with m.Elif(pixels.o.valid & ~lacks):
            m.d.comb += self.unit.state.eq(State.RESULT)
        with m.Elif(active | there | pixels.o.valid):
            m.d.comb += self.unit.state.eq(State.OPERAND)

        # Edge t -> t+1.
        tags_before = delay(m, self.o_tags, 1, name="tags")
        m.d.sync += [
            self.o_base.eq(now_out.base),
            self.o_tags.valid.eq(issue & now_out.counts),
            self.o_tags.first.eq(now_out.first),
            self.o_tags.last.eq(now_out.last),
            self.o_tags.maximum.eq(now_out.maximum),
            self.o_tags.index.eq(now_out.index),
            self.o_tags.again_1.eq(self.o_tags.valid & (self.o_tags.index == now_out.index)),
            self.o_tags.again_2.eq(tags_before.valid & (tags_before.index == now_out.index)),
        ]
        return m
