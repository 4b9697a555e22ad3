"""The STREAM unit: says which pixel goes through the array, and what becomes of its sum."""
from amaranth import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..contract import isa
from ..contract.fabric import Fabric
from ..memory.address import add
from ..memory.delay import delay
from ..signatures import Address, FirMode, State, UnitPort, instruction_layout, pixel_tags
from .countdown import Countdown
from .fir import FirWalk


class PixelStreamer(wiring.Component):
    """Issue the pixels of Stream instructions: one per cycle, no bubble between tiles or instructions.

    Five nested loops, outermost first: tile, v, u, y, x (isa.Stream.execute). The first pixel of a tile waits
    until one is loaded (``i_full``, State.OPERAND) and takes it. A pixel whose sum goes to the result FIFO
    waits for a credit (State.RESULT); there are fifo_depth of them after reset, and ``i_credit`` gives one
    back. In FIR mode the pixels are those of FirWalk, and a pass that emits waits before its first pixel
    until there are credits for all its sums; each is spent with its sum, so none runs short on the way.
    ``o_take``, ``unit.state`` and ``unit.instruction.ready`` depend combinationally on ``i_full``::

        cycle    t                t+1              t+1+latency_address    t+2+latency_address
        pixel    issued, o_take   o_base, o_tags   memory is addressed    unit.done (last pixel)

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

        active = Signal()
        tile, v, u, y, x = loops = [
            Countdown(m, layout[name].width, name=name)
            for name in ("tiles", "v_count", "u_count", "y_count", "x_count")]
        base, v_step, u_step, y_step, x_step = [
            Signal(Address, name=name) for name in ("base", "v_step", "u_step", "y_step", "x_step")]
        # The pixel under way, and where its line, its u visit and its v visit started.
        pixel, line, visit_u, visit_v = [
            Signal(Address, name=name) for name in ("pixel", "line", "visit_u", "visit_v")]
        index = Signal(range(self.fabric.acc_depth))
        tile_first, clear, emit, maximum = Signal(), Signal(), Signal(), Signal()
        walk = FirWalk(m, x=x, y=y)
        fir = walk.mode.fir
        counts = Signal()  # the pixel has tags: in FIR mode, a sum comes out with it

        # Credits left, minus one: negative when there are none.
        credits = Signal(range(-1, self.fabric.fifo_depth), init=self.fabric.fifo_depth - 1)
        outputs = Signal(layout["outputs"].width)  # of a FIR pass, minus one too
        goes_out, short, issue, end = Signal(), Signal(), Signal(), Signal()
        x_ends, y_ends, u_ends, v_ends = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            counts.eq(~fir | walk.output),
            x_ends.eq(Mux(fir, walk.line_ends, x.last)),
            y_ends.eq(Mux(fir, walk.pass_ends, x.last & y.last)),
            u_ends.eq(y_ends & u.last),
            v_ends.eq(u_ends & v.last),
            goes_out.eq(emit & tile.last & v.last & u.last),
            short.eq(Mux(fir, tile_first & (credits < outputs), credits < 0)),
            issue.eq(active & ~(tile_first & ~self.i_full) & ~(goes_out & short)),
            end.eq(issue & v_ends & tile.last),
            self.o_take.eq(issue & tile_first),
            self.o_mode.eq(walk.mode),
            self.unit.instruction.ready.eq(~active | end),
            self.unit.done.eq(delay(m, end, self.LATENCY_PIXEL + self.latency_address + 1, name="end")),
        ]
        with m.If(issue):
            m.d.comb += self.unit.state.eq(State.BUSY)
        with m.Elif(active):
            m.d.comb += self.unit.state.eq(Mux(tile_first & ~self.i_full, State.OPERAND, State.RESULT))
        m.d.sync += credits.eq(credits + self.i_credit - (issue & goes_out & counts))

        start, step, following = Signal(Address), Signal(Address), Signal(Address)
        with m.If(~x_ends):
            m.d.comb += [start.eq(pixel), step.eq(x_step)]
        with m.Elif(~y_ends):
            m.d.comb += [start.eq(line), step.eq(y_step)]
        with m.Elif(~u_ends):
            m.d.comb += [start.eq(visit_u), step.eq(u_step)]
        with m.Else():
            m.d.comb += [start.eq(visit_v), step.eq(v_step)]
        m.d.comb += following.eq(add(start, step, rows=rows))
        with m.If(v_ends):
            m.d.comb += following.eq(base)

        with m.If(issue):
            m.d.sync += [pixel.eq(following), tile_first.eq(v_ends)]
            with m.If(fir):
                walk.step()
            with m.If(counts):
                m.d.sync += index.eq(index + 1)
                x.step()
            with m.If(counts & x.last):
                y.step()
            with m.If(x_ends):
                m.d.sync += line.eq(following)
            with m.If(y_ends):
                m.d.sync += [visit_u.eq(following), index.eq(0), clear.eq(0)]
                u.step()
            with m.If(u_ends):
                m.d.sync += visit_v.eq(following)
                v.step()
            with m.If(v_ends):
                tile.step()

        with m.If(self.unit.instruction.ready):
            m.d.sync += active.eq(self.unit.instruction.valid)
        with m.If(self.unit.instruction.ready & self.unit.instruction.valid):
            m.d.sync += [
                *(at.eq(instruction.base) for at in (base, pixel, line, visit_u, visit_v)),
                v_step.eq(instruction.v_step), u_step.eq(instruction.u_step),
                y_step.eq(instruction.y_step), x_step.eq(instruction.x_step),
                clear.eq(instruction.clear), emit.eq(instruction.emit), maximum.eq(instruction.maximum),
                tile_first.eq(1), index.eq(0), outputs.eq(instruction.outputs - 1),
            ]
            walk.start(instruction)
            for loop, name in zip(loops, ("tiles", "v_count", "u_count", "y_count", "x_count"), strict=True):
                loop.start(instruction[name])

        # Edge t -> t+1.
        before = delay(m, self.o_tags, 1, name="tags")
        m.d.sync += [
            self.o_base.eq(pixel),
            self.o_tags.valid.eq(issue & counts),
            self.o_tags.first.eq(clear),
            self.o_tags.last.eq(goes_out),
            self.o_tags.maximum.eq(maximum),
            self.o_tags.index.eq(index),
            self.o_tags.again_1.eq(self.o_tags.valid & (self.o_tags.index == index)),
            self.o_tags.again_2.eq(before.valid & (before.index == index)),
        ]
        return m
