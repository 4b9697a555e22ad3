"""Windows over each channel: average and max pools of any padding, and means."""
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import prod

import numpy as np

from ...rtl.contract.numerics import Channel
from ..graph.ir import Graph, Op, Tensor
from ..graph.shapes import reduced_axes
from ..reference import average_pool_function, mean_function
from .layers import (
    IDENTITY,
    INT8,
    LAYERS_MOST,
    Draft,
    Refused,
    flip,
    image,
    image_axis,
    limits,
    need_bytes,
    need_computed,
    operand,
    requantise,
    scale_of,
    several,
    value_range,
    zero_point,
)
from .plan import Layer, Part, Proof
from .requantise import Function, Ints, reach

Records = tuple[Channel, ...]


@dataclass(frozen=True)
class Run:
    """Neighbouring places of a window along one axis that hold equally many elements of the image."""

    first: int  # place
    places: int
    start: int  # first element of the image in the first place
    length: int  # elements in each

    def padding(self, size: int, stride: int) -> tuple[int, int]:
        """What to leave out on either side, as negative padding, so that only these places remain."""
        return -self.start, self.start + (self.places - 1) * stride + self.length - size


def runs(size: int, places: int, window: int, stride: int, before: int) -> list[Run]:
    """Cuts the places of a window over a padded axis into runs without padding."""
    found: list[Run] = []
    for place in range(places):
        start = max(place * stride - before, 0)
        length = min(place * stride - before + window, size) - start
        last = found[-1] if found else None
        if last is not None and last.length == length and start == last.start + last.places * stride:
            found[-1] = replace(last, places=last.places + 1)
        else:
            found.append(Run(place, 1, start, length))
    return found


def lower_average_pool(draft: Draft, position: int) -> None:
    """A window of ones; the requantiser divides by the count. Windows at a padded border average fewer
    values, so they are layers of their own."""
    graph, op, x, out = _operands(draft, position)
    limit, away, channels = limits(op, out), flip(x), image(out.shape)[2]
    records: dict[int, Records] = {}
    texts: list[str] = []
    layers = []
    for part in _regions(graph, position):
        count = prod(part.kernel)
        if count not in records:
            average = average_pool_function(count, op.attrs["low"], op.attrs["high"])
            records[count], proof = _records(
                draft, position, partial(_less, average, away), count, bias=away * count, scale=1 / count,
                zero=-away, limit=limit, copies=channels)
            texts.append(proof.text)
        layers.append(replace(part, channels=records[count], zero=-away, low=limit[0], high=limit[1]))
    draft.layers[position] = several(layers)
    draft.proofs[position] = Proof(position, channels, channels, "; ".join(texts))


def lower_max_pool(draft: Draft, position: int) -> None:
    """The greatest of a window. A border that cannot win is as good as none."""
    _need_maxima(draft)
    graph, op, x, out = _operands(draft, position)
    source, (low, high) = operand(op, 0), limits(op, out)
    border = None
    if zero_point(x) <= value_range(graph, source)[0]:
        border = zero_point(x)  # what other readers of the image want around it
    elif graph.uses(source) == [position]:
        border = INT8[0]
    draft.layers[position] = several([
        replace(part, maximum=True, channels=(IDENTITY,) * len(part.weights), low=low, high=high)
        for part in _regions(graph, position, border)])


def lower_mean(draft: Draft, position: int) -> None:
    """MEAN and SUM: a window as large as the image, or a sum over all channels; the requantiser divides."""
    graph, op, x, out = _operands(draft, position)
    reduction, axes = _reduction(graph, position)
    shape, channels = reduction.in_shape, reduction.out_shape[2]
    count = prod(shape[axis] for axis in axes)
    among = count if op.source == "MEAN" else 1
    centre, zero, limit = (zero_point(x) + flip(x)) * among, zero_point(out), limits(op, out)
    mean = mean_function(graph, op, among)
    records, draft.proofs[position] = _records(
        draft, position, lambda sums: mean(sums + centre) - flip(out), count, bias=-zero_point(x) * count,
        scale=scale_of(x) / (scale_of(out) * among), zero=zero, limit=limit, copies=channels)
    layer = replace(reduction, channels=records, zero=zero, low=limit[0], high=limit[1])
    if 2 in axes:
        layer = replace(layer, mode="dense", weights=np.ones((*layer.kernel, shape[2], 1), np.int16))
    draft.layers[position] = [layer]


def lower_reduce_max(draft: Draft, position: int) -> None:
    """A window as large as the image."""
    _need_maxima(draft)
    graph, _, _, out = _operands(draft, position)
    layer, axes = _reduction(graph, position)
    if 2 in axes:
        raise Refused("takes the greatest of several channels; the fabric's windows keep channels apart")
    draft.layers[position] = [replace(layer, maximum=True, channels=(IDENTITY,) * len(layer.weights),
                                      low=INT8[0], high=INT8[1])]


def _need_maxima(draft: Draft) -> None:
    if draft.fabric.shared_words:
        raise Refused(f"the accumulators of the fabric {draft.fabric.name} add up and keep no maxima")


def _reduction(graph: Graph, position: int) -> tuple[Layer, set[int]]:
    """A window over the axes of an image that an operator reduces, without requantisation yet; and these.
    """
    op = graph.ops[position]
    x, out = graph.tensors[operand(op, 0)], graph.tensors[op.outputs[0]]
    shape = image(x.shape)
    axes = {image_axis(len(x.shape), axis) for axis in reduced_axes(graph, op)} - {-1}
    made = (1 if 0 in axes else shape[0], 1 if 1 in axes else shape[1], 1 if 2 in axes else shape[2])
    if image(out.shape) != made:
        raise Refused(f"what it makes of a {shape[0]}x{shape[1]}x{shape[2]} image changes its place when "
                      f"{list(x.shape)} becomes {list(out.shape)}")
    return Layer(
        ops=(position,), name=out.name, source=op.source, mode="window", input=operand(op, 0),
        output=op.outputs[0], in_shape=shape, out_shape=made,
        kernel=(shape[0] if 0 in axes else 1, shape[1] if 1 in axes else 1),
        weights=np.ones(made[2], np.int16), channels=(), zero=0, low=0, high=0,
        pad_value=zero_point(x)), axes


def _less(function: Function, by: int, sums: Ints) -> Ints:
    return function(sums) - by


def _records(draft: Draft, position: int, function: Function, count: int, *, bias: int, scale: float,
             zero: int, limit: tuple[int, int], copies: int) -> tuple[Records, Proof]:
    """The records that turn sums of ``count`` values into averages: the same for all channels."""
    offset = np.array([bias], np.int64)
    source = operand(draft.graph.ops[position], 0)
    least, most = reach(np.ones((count, 1), np.int16), offset, *value_range(draft.graph, source))
    record, proof = requantise(draft.fabric, position, function, offset, least, most, np.array([scale]), zero,
                               *limit, copies=copies)
    return record * copies, proof


def _regions(graph: Graph, position: int, border: int | None = None) -> Iterator[Layer]:
    """Layers for an operator with a window, without requantisation yet. One if nothing is padded or if
    ``border`` may stand around the image; else one for each part of the output where the window holds
    equally many rows and columns of the image."""
    op = graph.ops[position]
    x, out = graph.tensors[operand(op, 0)], graph.tensors[op.outputs[0]]
    in_shape, out_shape, padding = image(x.shape), image(out.shape), op.attrs["padding"]
    whole = Layer(
        ops=(position,), name=out.name, source=op.source, mode="window", input=operand(op, 0),
        output=op.outputs[0], in_shape=in_shape, out_shape=out_shape, kernel=op.attrs["window"],
        stride=op.attrs["stride"], weights=np.ones(out_shape[2], np.int16), channels=(), zero=0, low=0,
        high=0, pad_value=zero_point(x) if border is None else border)
    if border is not None or not any(padding):
        yield replace(whole, padding=padding)
        return
    rows, columns = (runs(*sizes) for sizes in zip(
        in_shape[:2], out_shape[:2], whole.kernel, whole.stride, padding[::2], strict=True))
    if len(rows) * len(columns) > LAYERS_MOST:
        raise Refused(f"its padding of {padding} makes windows of {len(rows)} x {len(columns)} kinds")
    for row in rows:
        for column in columns:
            yield replace(
                whole, kernel=(row.length, column.length), out_image=out_shape,
                out_shape=(row.places, column.places, out_shape[2]), out_part=Part(row.first, column.first),
                padding=(*row.padding(in_shape[0], whole.stride[0]),
                         *column.padding(in_shape[1], whole.stride[1])))


def _operands(draft: Draft, position: int) -> tuple[Graph, Op, Tensor, Tensor]:
    op = draft.graph.ops[position]
    x, out = draft.graph.tensors[operand(op, 0)], draft.graph.tensors[op.outputs[0]]
    need_bytes(x, out)
    need_computed(x)
    return draft.graph, op, x, out
