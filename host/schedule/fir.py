"""Depthwise layers in FIR mode (isa.Stream): which taps share a pass, and how an image is cut into passes."""

from collections.abc import Iterator
from dataclasses import dataclass

from ...rtl.contract.fabric import FIR_GROUPS, RING_LEAST, Fabric
from ..lower.plan import Layer
from .layout import Layout, Walk


@dataclass(frozen=True)
class Grid:
    """Output pixels ``(y + i*step_y, x + j*step_x)``, i < height, j < width."""

    y: int
    height: int
    x: int
    width: int
    step_y: int = 1
    step_x: int = 1

    def turned(self) -> "Grid":
        """The same with rows for columns."""
        return Grid(self.x, self.width, self.y, self.height, self.step_x, self.step_y)


@dataclass(frozen=True)
class Fir:
    """The passes of one depthwise kernel.

    A pass sums ``groups`` kernel rows of ``taps`` taps. ``across`` passes make up a kernel row that is longer
    than the array, ``down`` passes all kernel rows.
    """

    taps: int
    groups: int
    across: int
    down: int

    @property
    def passes(self) -> int:
        return self.across * self.down

    def walk(self, layer: Layer, pitch: int) -> Walk:
        """From one pass to the next: over a kernel row, then to the next rows."""
        step_x = self.taps * layer.dilation[1] * layer.in_shape[2]
        step_y = self.groups * layer.dilation[0] * pitch
        jump_y = step_y - (self.across - 1) * step_x - 1 if self.down > 1 else 0
        return Walk(1, self.across, step_x - 1, jump_y, True, self.passes)


def fir_of(layer: Layer, fabric: Fabric) -> Fir | None:
    """How a layer runs in FIR mode; None if it is no depthwise layer, or one that mode cannot do."""
    if layer.mode != "depthwise" or layer.multiplier != 1:
        return None
    if any(step > 1 and stride > 1 for step, stride in zip(layer.dilation, layer.stride, strict=True)):
        return None
    if max(layer.stride) > 15:
        return None
    kh, kw = layer.kernel
    taps = min(kw, fabric.rows)
    across = -(-kw // taps)
    groups = 1
    if across == 1 and fabric.line_depth >= RING_LEAST:
        groups = min(kh, FIR_GROUPS, fabric.rows // taps)
    down = -(-kh // groups)
    return Fir(taps, -(-kh // down), across, down)


def line_of(layer: Layer, fir: Fir, layout: Layout, width: int) -> int:
    """Pixels in a line of a pass that makes ``width`` outputs a row.

    Enough for all taps; or, where the lines of the image follow each other without a gap, as many as lie
    between the starts of two: taps beyond the right border then read the next line's left border, which holds
    the same padding.
    """
    stride = layer.stride[1] if layer.dilation[1] == 1 else 1
    line = (width - 1) * stride + fir.taps
    between = layout.pitch // layout.channels
    contiguous = layer.dilation == (1, 1) and layout.regular and between > (width - 1) * stride
    if contiguous and between < line and (fir.groups == 1 or between - fir.taps >= RING_LEAST):
        line = between
    return max(line, fir.taps + RING_LEAST) if fir.groups > 1 else line


def fir_grids(layer: Layer, fir: Fir, first: int, last: int, fabric: Fabric) -> Iterator[Grid]:
    """Cut output rows first to last-1 into what one pass can make.

    A dilated kernel sees every dilation-th row and column: these make an image of their own. All outputs of a
    pass must fit into the result FIFO, those of several passes into the accumulators, and a line into the
    delay between kernel rows.
    """
    most = fabric.fifo_depth if fir.passes == 1 else min(fabric.fifo_depth, fabric.acc_depth)
    stride = layer.stride[1] if layer.dilation[1] == 1 else 1
    widest = most if fir.groups == 1 else min(most, fabric.line_depth // stride + 1)
    step_y, step_x = layer.dilation
    for phase_y in range(step_y):
        y = first + (phase_y - first) % step_y
        rows = len(range(y, last, step_y))
        for phase_x in range(step_x):
            columns = len(range(phase_x, layer.out_shape[1], step_x))
            if not rows or not columns:
                continue
            width = _even(columns, widest)
            height = _even(rows, max(1, most // width))
            for i in range(0, rows, height):
                for j in range(0, columns, width):
                    yield Grid(y + i * step_y, min(height, rows - i), phase_x + j * step_x,
                               min(width, columns - j), step_y, step_x)


def _even(count: int, most: int) -> int:
    """The largest piece when ``count`` is cut into as few pieces of at most ``most`` as can be, all alike."""
    return -(-count // -(-count // most))
