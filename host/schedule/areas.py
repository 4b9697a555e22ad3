"""How the output pixels of a layer are cut: what one Stream and one Post work on."""

from collections.abc import Iterator, Sequence

from ...rtl.contract.fabric import Fabric
from ...rtl.contract.isa import PIXEL_COUNT_BITS
from ..lower.plan import Layer
from .fir import Grid, fir_grids
from .weights import ColumnTile

LATENCY_BESIDE_ARRAY = 38
"""Cycles from a pixel's issue to the first read of its result, without R and C (docs/engine.md)."""
SERIAL_VALUE, SERIAL_COMBINED = 2, 6
"""Cycles of a value, and of one that another is added to, in a fabric with one memory for everything."""
ARRIVING_PIXELS = 128
"""Pixels of an area, at least a row, while the input is on its way from DRAM: work begins with the first."""


def areas_of(layer: Layer, tiles: Sequence[ColumnTile], first: int, last: int, arriving: bool,
             fabric: Fabric) -> list[Grid]:
    """Cut output rows first to last-1 of a layer; ``arriving``: its input is still on its way from DRAM."""
    fir = tiles[0].fir
    if fir is not None:
        return list(fir_grids(layer, fir, first, last, fabric))
    window = layer.kernel[0] * layer.kernel[1] if layer.mode == "window" else 1
    passes = max(tile.tiles for tile in tiles) * window
    # Where instructions come from a slow memory, more and smaller areas cost more than they save.
    pace = 1 if fabric.shared_words else pixel_pace(
        max(tile.count for tile in tiles), layer.other is not None, fabric)
    width = layer.out_shape[1]
    if arriving:
        most = min(ARRIVING_PIXELS, fabric.acc_depth) if passes > 1 else ARRIVING_PIXELS
        step = max(1, most // width)
        if step * width <= fabric.acc_depth:
            return [Grid(y, min(step, last - y), 0, width) for y in range(first, last, step)]
    return [Grid(y, height, x, columns)
            for y, height, x, columns in pixel_tiles(first, last, width, passes, pace, fabric)]


def pixel_pace(channels: int, combines: bool, fabric: Fabric) -> int:
    """Cycles that post-processing takes for a pixel."""
    if fabric.shared_words:  # a value after the other
        return channels * (SERIAL_COMBINED if combines else SERIAL_VALUE)
    return -(-channels // fabric.lanes) * (2 if combines else 1)  # an operand takes the memory port once more


def pixel_tiles(
    first: int, last: int, width: int, passes: int, pace: int, fabric: Fabric
) -> Iterator[tuple[int, int, int, int]]:
    """Cut output rows first to last-1 into areas (y, height, x, width) that the accumulators hold.

    With a single pass nothing stays in the accumulators and an area is only bounded by the counters. The
    last area is small: what follows may depend on it, and waits the shorter. What follows may also depend on
    the area before the last, so that this is small enough for post-processing to be done with it when the
    last has been streamed; and so on towards the front.

    Parameters
    ----------
    passes : times each pixel is streamed
    pace : cycles that post-processing takes for a pixel
    """
    bubble = fabric.rows + fabric.cols + LATENCY_BESIDE_ARRAY
    limit = fabric.acc_depth if passes > 1 else (1 << PIXEL_COUNT_BITS) - 1
    if width > limit:
        for y in range(first, last):
            for x in range(0, width, limit):
                yield y, 1, x, min(limit, width - x)
        return
    most = min(limit // width, (1 << PIXEL_COUNT_BITS) - 1)
    left = last - first
    height = -(-max(fabric.rows, -(-bubble // passes)) // width)
    if 2 * height > left or height > most:
        height = most  # too few rows to keep anything small
    heights: list[int] = []
    while left:
        heights.append(min(height, left))
        left -= heights[-1]
        slack = passes * height * width - bubble
        height = max(height, min(most, slack // (width * (pace - 1)) if pace > 1 else most))
    y = first
    for height in reversed(heights):
        yield y, height, 0, width
        y += height
