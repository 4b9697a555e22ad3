"""The walk of a FIR pass: which of the streamed pixels end a line, and which complete a sum."""
from typing import Any

from amaranth import Module, Mux, Signal

from ..contract.isa import PIXEL_COUNT_BITS
from ..signatures import FirMode
from .countdown import Countdown


class FirWalk:
    """The registers of a FIR pass (isa.Stream): three stretches of pixels, one behind the other.

    ``warm``: (groups - 1) * ring pixels that fill the array's delays. Then lines, counted anew from here, of
    ``line`` pixels; in every stride_y-th every stride_x-th pixel is that with which a sum leaves
    (``output``), until there are x_count of them. Behind the last, ``tail``: groups * taps - 1 pixels that
    the lower rows still need. The addresses follow lines of their own, which start with the pass. As a
    Countdown this is no component: ``start`` and ``step`` add statements to the module.

    Parameters
    ----------
    m : Module
    x, y : Countdown
        The outputs of a line, the lines with outputs; the user starts them, and steps x with each output and
        y with the last of a line.

    Attributes
    ----------
    mode : Signal(FirMode)
        Of the instruction under way; with ``mode.fir`` low the others mean nothing.
    output : Signal
        The pixel's cycle is that of a sum.
    line_ends, pass_ends : Signal
        The next pixel starts another line; it starts another pass (then line_ends is high too).
    """

    def __init__(self, m: Module, *, x: Countdown, y: Countdown):
        self._m = m
        self.mode = Signal(FirMode, name="mode")
        self.output, self.line_ends, self.pass_ends = [
            Signal(name=name) for name in ("output", "line_ends", "pass_ends")]
        self._warm = Countdown(m, PIXEL_COUNT_BITS + 1, name="warm")
        self._tail = Countdown(m, len(self.mode.taps) + len(self.mode.groups), name="tail")
        self._place = Countdown(m, PIXEL_COUNT_BITS, name="place")  # in the line of the addresses
        self._line = Countdown(m, PIXEL_COUNT_BITS, name="fir_line")  # in the line of the outputs
        self._stride_x, self._stride_y = [Countdown(m, 4, name=name) for name in ("stride_x", "stride_y")]
        self._has_warm, self._has_tail = Signal(name="has_warm"), Signal(name="has_tail")
        # Before the sums, among them, behind them: one of three.
        self._warming, self._summing, self._trailing = [
            Signal(name=name) for name in ("warming", "summing", "trailing")]
        self._hit_x, self._hit_y = Signal(name="hit_x"), Signal(name="hit_y")  # an output, say the strides
        self._row_done = Signal(name="row_done")  # the line's last output is behind
        self._row_ends, self._sums_end = Signal(name="row_ends"), Signal(name="sums_end")
        m.d.comb += [
            self.output.eq(self._summing & self._hit_x & self._hit_y),
            self._row_ends.eq(self.output & x.last),
            self._sums_end.eq(self._row_ends & y.last),
            self.pass_ends.eq(Mux(self._has_tail, self._trailing & self._tail.last, self._sums_end)),
            self.line_ends.eq(self._place.last | self.pass_ends),
        ]

    def start(self, instruction: Any) -> None:
        """Take over the fields of a Stream, in FIR mode or not."""
        ring = (instruction.line - instruction.taps)[:PIXEL_COUNT_BITS]
        # groups * taps, which are no multiplier's worth.
        taps, groups = instruction.taps, instruction.groups
        tail = Mux(groups[0], taps, 0) + Mux(groups[1], taps << 1, 0) - 1
        self._m.d.sync += [
            self.mode.fir.eq(instruction.fir), self.mode.taps.eq(instruction.taps),
            self.mode.groups.eq(instruction.groups), self.mode.ring.eq(ring),
            self._has_warm.eq(instruction.groups > 1), self._warming.eq(instruction.groups > 1),
            self._summing.eq(instruction.groups <= 1),
            self._has_tail.eq((groups != 1) | (taps != 1)),
        ]
        self._warm.start(Mux(instruction.groups[0], ring << 1, ring))  # of 3 groups, or of 2
        self._tail.start(tail)
        self._place.start(instruction.line)
        self._line.start(instruction.line)
        self._stride_x.start(instruction.stride_x)
        self._stride_y.start(instruction.stride_y)
        self._begin_sums()

    def step(self) -> None:
        """A pixel is issued."""
        m = self._m
        self._place.step()
        with m.If(self._warming):
            self._warm.step()
            m.d.sync += [self._warming.eq(~self._warm.last), self._summing.eq(self._warm.last)]
        with m.Elif(self._trailing):
            self._tail.step()
        with m.Else():
            self._line.step()
            self._stride_x.step()
            m.d.sync += [
                self._hit_x.eq(self._stride_x.last & ~self._row_done & ~self._row_ends),
                self._row_done.eq(self._row_done | self._row_ends),
                self._trailing.eq(self._sums_end), self._summing.eq(~self._sums_end),
            ]
            with m.If(self._line.last):
                self._stride_x.restart()
                self._stride_y.step()
                m.d.sync += [self._hit_x.eq(1), self._hit_y.eq(self._stride_y.last), self._row_done.eq(0)]
        with m.If(self.pass_ends):
            self._place.restart()
            self._line.restart()
            self._stride_x.restart()
            self._stride_y.restart()
            m.d.sync += [self._warming.eq(self._has_warm), self._summing.eq(~self._has_warm)]
            self._begin_sums()

    def _begin_sums(self) -> None:
        self._m.d.sync += [
            self._hit_x.eq(1), self._hit_y.eq(1), self._row_done.eq(0), self._trailing.eq(0)]
