"""Operators that only move values: aliases, borders, joins, and anything that is a few regular copies."""
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import prod

import numpy as np
import numpy.typing as npt

from ...rtl.contract.errors import CelosiaError
from ..graph.ir import Graph, Op
from ..graph.shapes import pads
from ..reference import run_op
from .layers import (
    LAYERS_MOST,
    Draft,
    Refused,
    carried,
    flip,
    identity,
    image,
    image_axis,
    moved,
    need_bytes,
    need_computed,
    operand,
    several,
    zero_point,
)
from .plan import Alias, Layer, Part, Shape
from .unary import Table, in_fabric, tabulated

Ints = npt.NDArray[np.int64]

STEPS = tuple(range(1, 9))
"""Distances of the places in the output that one copy may write."""


def lower_reshape(draft: Draft, position: int) -> None:
    """No work."""
    op = draft.graph.ops[position]
    need_computed(draft.graph.tensors[operand(op, 0)])
    draft.aliases[position] = Alias(position, operand(op, 0), op.outputs[0])


def lower_pad(draft: Draft, position: int) -> None:
    """What makes the image writes it into the middle of a filled one; a copy does where others read it too.
    """
    graph = draft.graph
    op = graph.ops[position]
    source, output = operand(op, 0), op.outputs[0]
    x, out = graph.tensors[source], graph.tensors[output]
    need_bytes(x, out)
    need_computed(x)
    if any(graph.tensors[t].data is None for t in op.inputs[1:] if t is not None):
        raise Refused("has a border whose value is computed while the network runs")
    whole, by = image(out.shape), [0, 0, 0]
    for axis, (before, _) in enumerate(pads(graph, op)):
        if (place := image_axis(len(x.shape), axis)) >= 0:
            by[place] = before
    fill = zero_point(out)
    if len(op.inputs) > 2:  # PADV2
        value = graph.tensors[operand(op, 2)].data
        assert value is not None
        fill = int(value.flat[0]) - flip(out)
    makers = draft.makers(source, position)
    rides = bool(makers) and all(layer.fill is None for layer in makers)
    if not rides:
        makers = draft.layers[position] = [replace(identity(graph, position, source, source), name=out.name)]
    placed = [moved(layer, output, whole, (by[0], by[1], by[2])) for layer in makers]
    placed[0] = replace(carried(placed[0], position, op) if rides else placed[0], fill=fill)
    draft.rewrite(makers, placed)


def lower_concatenation(draft: Draft, position: int) -> None:
    """What makes the parts writes them into the whole; copies do for parts that others read too."""
    graph = draft.graph
    op = graph.ops[position]
    output = op.outputs[0]
    out = graph.tensors[output]
    parts = [operand(op, i) for i in range(len(op.inputs))]
    need_bytes(out, *(graph.tensors[part] for part in parts))
    for part in parts:
        need_computed(graph.tensors[part])
    whole, axis = image(out.shape), image_axis(len(out.shape), op.attrs["options"]["axis"])
    by, placed, copies = [0, 0, 0], list[tuple[Layer, Layer]](), list[Layer]()
    for part in parts:
        extents = image(graph.tensors[part].shape)
        table = _rescaling(graph, op, part)
        makers = draft.makers(part, position) if parts.count(part) == 1 else []
        made = None if any(layer.fill is not None for layer in makers) else tabulated(draft, makers, table)
        if made is not None:
            placed += [(old, moved(new, output, whole, (by[0], by[1], by[2])))
                       for old, new in zip(makers, made, strict=True)]
        else:
            copy = replace(identity(graph, position, part, part), name=out.name)
            made = tabulated(draft, [copy], table)
            if made is None:
                raise Refused(f"rescales {graph.tensors[part].name!r} by a table of 256 bytes; this fabric "
                              "has no tables")
            copies += [moved(layer, output, whole, (by[0], by[1], by[2])) for layer in made]
        by[axis] += extents[axis]
    if copies:
        draft.layers[position] = several(copies)
    else:
        old, new = placed[-1]
        placed[-1] = old, carried(new, position, op)
    draft.rewrite([old for old, _ in placed], [new for _, new in placed])


def _rescaling(graph: Graph, op: Op, part: int) -> Table:
    """What a concatenation does to the values of one part: the kernel itself, on all of them."""
    x, out = graph.tensors[part], graph.tensors[op.outputs[0]]
    values = np.arange(256, dtype=np.uint8)
    if graph.framework == "onnx":  # its importer rescales before
        return in_fabric(values, x, out)
    alone = replace(op, inputs=(part,), attrs={"options": {**op.attrs["options"], "axis": 0}})
    (stored,) = run_op(graph, alone, [values.view(x.dtype)])
    return in_fabric(stored.view(np.uint8), x, out)


def lower_move(draft: Draft, position: int) -> None:
    """Any operator whose outputs are made of the values of one input.

    The reference kernel, run on the numbers of the input's places, says where each value comes from; that
    map is cut into copies of regular parts. So SPLIT, STRIDED_SLICE, DEPTH_TO_SPACE and their like need no
    rules of their own, and a transposition that moves nothing is found to be none.
    """
    graph = draft.graph
    op = graph.ops[position]
    source = next((t for t in op.inputs if t is not None and graph.tensors[t].data is None), None)
    if source is None:
        raise Refused("works on constants; the fabric works on what the network computes")
    x = graph.tensors[source]
    need_bytes(x, *(graph.tensors[t] for t in op.outputs))
    shape = image(x.shape)
    places = origins(graph, op, source)
    if len(places) == 1 and np.array_equal(places[0].reshape(-1), np.arange(x.size)):
        draft.aliases[position] = Alias(position, source, op.outputs[0])
        return
    copies: list[Layer] = []
    for output, origin in zip(op.outputs, places, strict=True):
        whole = image(graph.tensors[output].shape)
        base = identity(graph, position, source, output)
        found = list(_copies(base, shape, origin.reshape(whole)))
        if not found or len(copies) + len(found) > LAYERS_MOST:
            raise Refused(f"{op.source} from {list(x.shape)} to {list(graph.tensors[output].shape)} is not "
                          "made of a few regular copies")
        copies += found
    draft.layers[position] = several(copies)


def origins(graph: Graph, op: Op, source: int) -> list[Ints]:
    """For each output, the place in the input's memory that each value comes from."""
    places = np.arange(graph.tensors[source].size, dtype=np.int64).reshape(graph.tensors[source].shape)
    values = [None if t is None else places if t == source else graph.tensors[t].data for t in op.inputs]
    try:
        results = run_op(graph, op, values)
    except CelosiaError as error:
        raise Refused(f"the fabric has no {op.source}") from error
    if any(result.dtype != np.int64 for result in results):
        raise Refused(f"the fabric has no {op.source}")
    return [np.asarray(result) for result in results]


def _copies(base: Layer, shape: Shape, origin: Ints) -> Iterator[Layer]:
    """The copies that make an image of values from the given places; none if it takes too many."""
    height, width, channels = origin.shape
    together = ((np.diff(origin, axis=2) == 1) & (origin[..., 1:] % shape[2] != 0)).all(axis=(0, 1))
    cuts = [0, *(np.flatnonzero(~together) + 1).tolist(), channels]
    if len(cuts) > LAYERS_MOST:
        return
    for begin, end in zip(cuts, cuts[1:], strict=False):
        pixel, channel = np.divmod(origin[..., begin], shape[2])
        row, column = np.divmod(pixel, shape[1])
        parts = _regular(row, column, channel)
        turned = False
        if parts is None or len(parts) > 1:
            other = _regular(row.T, column.T, channel.T)
            if other is not None and (parts is None or len(other) < len(parts)):
                parts, turned = other, True
        if parts is None:
            return
        for down, across in parts:
            y, x = (across, down) if turned else (down, across)  # in the output
            top, left = int(row[y.first, x.first]), int(column[y.first, x.first])
            yield replace(
                base, in_channel=int(channel[y.first, x.first]),
                out_shape=(down.count, across.count, end - begin), out_image=origin.shape,
                out_part=Part(y.first, x.first, y.step, x.step, begin, turned),
                stride=(down.stride, across.stride),
                padding=(-top, top + (down.count - 1) * down.stride + 1 - shape[0],
                         -left, left + (across.count - 1) * across.stride + 1 - shape[1]),
                weights=base.weights[:end - begin], channels=base.channels[:end - begin])


@dataclass(frozen=True)
class Places:
    """Places first, first + step, … of the output along one axis; their values lie ``stride`` apart."""

    first: int
    count: int
    step: int
    stride: int

    def among(self, first: int, step: int) -> "Places":
        """The same, if the places are themselves every ``step``-th from ``first`` on."""
        return Places(first + self.first * step, self.count, self.step * step, self.stride)


def _regular(row: Ints, column: Ints, channel: Ints) -> list[tuple[Places, Places]] | None:
    """Cuts an output, given where each pixel comes from, into parts that are one copy each.

    Pixels that lie a step apart are looked at together, for the smallest step that makes rows and columns
    independent of each other (1, unless channels turn into pixels).
    """
    for step_y, step_x in sorted(product(STEPS, STEPS), key=prod):
        parts: list[tuple[Places, Places]] = []
        for y, x in product(range(min(step_y, len(row))), range(min(step_x, row.shape[1]))):
            rows, columns, channels = (values[y::step_y, x::step_x] for values in (row, column, channel))
            if ((rows != rows[:, :1]).any() or (columns != columns[:1]).any()
                    or (channels != channels[0, 0]).any()):
                break
            down, across = _cut(rows[:, 0]), _cut(columns[0])
            if len(parts) + len(down) * len(across) > LAYERS_MOST:
                break
            parts += [(a.among(y, step_y), b.among(x, step_x)) for a, b in product(down, across)]
        else:
            return parts
    return None


def _cut(origin: Ints) -> list[Places]:
    """Cuts one axis into runs that step forward evenly, of every second or third … place if that is fewer."""
    cuts = []
    for step in STEPS:
        runs: list[Places] = []
        for first in range(min(step, len(origin))):
            runs += [run.among(first, step) for run in _runs(origin[first::step].tolist())]
        cuts.append(runs)
    return min(cuts, key=len)


def _runs(origin: list[int]) -> list[Places]:
    runs: list[Places] = []
    for place, value in enumerate(origin):
        last = runs[-1] if runs else None
        if last is not None:
            stride = value - origin[place - 1]
            if stride > 0 and (last.count == 1 or stride == last.stride):
                runs[-1] = replace(last, count=last.count + 1, stride=stride)
                continue
        runs.append(Places(place, 1, 1, 1))
    return runs
