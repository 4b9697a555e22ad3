"""Where a segment's images live: whole in activation memory, or in DRAM and strip by strip on chip."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...rtl.contract.errors import CapacityError
from ...rtl.contract.fabric import Fabric
from ..lower.plan import Layer
from .layout import Layout
from .memory import Block, peak, place

FRACTIONS = (1.0, 0.9, 0.8, 0.65, 0.5, 0.35, 0.2)
"""Shares of the free memory that strips are sized for, tried in turn until everything can be placed."""


@dataclass(frozen=True)
class Strips:
    """How a layer that touches spilled images is cut: ``rows`` output rows at a time.

    ``bases`` gives the buffers (one or two) of each spilled image the layer touches.
    """

    rows: int
    bases: Mapping[int, tuple[int, ...]]


@dataclass(frozen=True)
class Images:
    """Placement of a segment.

    ``base``: address of each image that stays on chip (by tensor; aliases share one). ``spilled``: the
    others. ``strips``: per layer position, where it touches spilled ones. ``used``: bytes of activation
    memory; ``wanted``: bytes that would keep everything on chip.
    """

    base: Mapping[int, int]
    spilled: frozenset[int]
    strips: Mapping[int, Strips]
    used: int
    wanted: int


def input_rows(layer: Layer, first: int, last: int) -> tuple[int, int]:
    """Rows (from, to exclusive; may lie outside the image) that output rows first to last-1 read."""
    top = first * layer.stride[0] - layer.padding[0]
    return top, (last - 1) * layer.stride[0] - layer.padding[0] + (layer.kernel[0] - 1) * layer.dilation[
        0
    ] + 1


def strip_layout(layer: Layer, tensor: int, layout: Layout, rows: int) -> Layout:
    """The layout of the part of a spilled image that ``rows`` output rows of a layer touch."""
    height = rows
    if tensor == layer.input:
        first, last = input_rows(layer, 0, rows)
        height = last - first
    return Layout(height, layout.width, layout.channels, layout.pitch, 0, 0, layout.left, layout.right)


def touched(layer: Layer) -> list[int]:
    """The images a layer reads or writes, each once."""
    found = [layer.input, layer.output]
    if layer.other is not None and layer.other not in found:
        found.append(layer.other)
    return found


def plan_images(
    layers: Sequence[Layer], layouts: Mapping[int, Layout], share: Mapping[int, int], fabric: Fabric
) -> Images:
    """Place the images of a segment; spill the largest ones, one at a time, until the rest fits.

    Parameters
    ----------
    layers : the segment's layers in order
    layouts : of every image touched
    share : alias -> the image whose bytes it shares

    Raises
    ------
    CapacityError
        If one output row of a layer, with the input rows it needs, does not fit alone.
    """
    life: dict[int, tuple[int, int]] = {}
    for step, layer in enumerate(layers):
        for tensor in touched(layer):
            owner = share.get(tensor, tensor)
            life[owner] = (life.get(owner, (step, step))[0], step)
    size = {owner: layouts[owner].size for owner in life}
    wanted = peak([Block(size[owner], *life[owner]) for owner in life])
    spilled: set[int] = set()
    while True:
        kept = [owner for owner in life if owner not in spilled]
        blocks = [Block(size[owner], *life[owner]) for owner in kept]
        worst = -1
        for fraction in FRACTIONS:
            worst, heights = _strip_heights(layers, layouts, share, spilled, blocks, fraction, fabric)
            if worst >= 0:
                break
            buffers = [
                (step, tensor, strip_layout(layers[step], tensor, layouts[tensor], rows).size)
                for step, (rows, copies) in heights.items()
                for tensor in touched(layers[step])
                if share.get(tensor, tensor) in spilled
                for _ in range(copies)
            ]
            starts = place(
                [*blocks, *(Block(bytes_, step, step) for step, _, bytes_ in buffers)], fabric.am_bytes
            )
            if starts is not None:
                base = {owner: starts[i] for i, owner in enumerate(kept)}
                for alias, owner in share.items():
                    if owner in base:
                        base[alias] = base[owner]
                strips = {
                    step: Strips(
                        rows,
                        {
                            tensor: tuple(
                                start
                                for start, (s, t, _) in zip(starts[len(kept) :], buffers, strict=True)
                                if (s, t) == (step, tensor)
                            )
                            for tensor in touched(layers[step])
                            if share.get(tensor, tensor) in spilled
                        },
                    )
                    for step, (rows, _) in heights.items()
                }
                used = max(
                    [start + block.size for start, block in zip(starts, blocks, strict=False)]
                    + [start + b[2] for start, b in zip(starts[len(kept) :], buffers, strict=True)]
                )
                gone = frozenset(
                    tensor
                    for layer in layers
                    for tensor in touched(layer)
                    if share.get(tensor, tensor) in spilled
                )
                return Images(base, gone, strips, used, wanted)
            if not spilled:
                break
        alive = [owner for owner in kept if worst < 0 or life[owner][0] <= worst <= life[owner][1]]
        if not alive:
            layer = layers[worst]
            need = sum(strip_layout(layer, t, layouts[t], 1).size for t in touched(layer))
            raise CapacityError(
                f"layer {layer.name} ({layer.source}): one output row and its input rows take {need} "
                f"bytes of activation memory; the fabric {fabric.name} has {fabric.am_bytes}. "
                f"Raise am_words to at least {-(-need // fabric.rows)}"
            )
        if worst < 0:
            totals = [
                sum(size[o] for o in kept if life[o][0] <= step <= life[o][1]) for step in range(len(layers))
            ]
            worst = totals.index(max(totals))
            alive = [owner for owner in kept if life[owner][0] <= worst <= life[owner][1]] or kept
        spilled.add(max(alive, key=lambda owner: size[owner]))


def _strip_heights(
    layers: Sequence[Layer],
    layouts: Mapping[int, Layout],
    share: Mapping[int, int],
    spilled: set[int],
    kept: Sequence[Block],
    fraction: float,
    fabric: Fabric,
) -> tuple[int, dict[int, tuple[int, int]]]:
    """Rows and number of buffers for each layer with spilled images: (-1, {step: (rows, copies)}).

    If one row does not fit at some step, that step instead of -1.
    """
    heights: dict[int, tuple[int, int]] = {}
    for step, layer in enumerate(layers):
        parts = [tensor for tensor in touched(layer) if share.get(tensor, tensor) in spilled]
        if not parts:
            continue
        free = fabric.am_bytes - sum(block.size for block in kept if block.first <= step <= block.last)
        budget = int(free * fraction)

        def need(rows: int, layer: Layer = layer, parts: list[int] = parts) -> int:
            return sum(strip_layout(layer, tensor, layouts[tensor], rows).size for tensor in parts)

        height = layer.out_shape[0]
        if need(height) <= budget:
            heights[step] = (height, 1)
        elif 2 * need(1) <= budget:
            rows = 1
            while rows < height and 2 * need(rows + 1) <= budget:
                rows += 1
            heights[step] = (rows, 2)
        elif need(1) <= free:
            heights[step] = (1, 1)
        else:
            return step, {}
    return -1, heights
