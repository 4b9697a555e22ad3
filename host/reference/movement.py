"""Operators that only move values: reshape, pad, join, split, cut, gather; blocks to channels or batches."""
import numpy as np

from ..graph.ir import Array, Graph, Op
from ..graph.shapes import (
    batch_blocks,
    cuts,
    gathered,
    join_axis,
    pads,
    permutation,
    slices,
    split_axis,
    split_sizes,
)
from .operands import quant_of, tensor_of, value_of
from .rounding import round_array


def reshape(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    return (value_of(values[0]).reshape(graph.tensors[op.outputs[0]].shape),)


def pad(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """The border is a real zero: the zero point."""
    y = graph.tensors[op.outputs[0]]
    zero = int(y.quant.zero_point[0]) if y.quant else 0
    return (np.pad(value_of(values[0]), pads(graph, op), constant_values=zero),)


def pad_with(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """PADV2: the border is the third operand."""
    fill = value_of(values[2]).ravel()[0]
    return (np.pad(value_of(values[0]), pads(graph, op), constant_values=fill),)


def mirror_pad(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """The border mirrors the inside: without the outermost element (reflect) or with it."""
    mode = "symmetric" if op.attrs["options"]["symmetric"] else "reflect"
    return (np.pad(value_of(values[0]), pads(graph, op), mode=mode),)  # type: ignore[call-overload]


def concatenation(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """uint8 inputs are rescaled, in float32, where their quantisation is not the output's."""
    parts, y = [value_of(value) for value in values], graph.tensors[op.outputs[0]]
    if y.dtype == "uint8":
        parts = [_rescaled(graph, op, i, part) for i, part in enumerate(parts)]
    return (np.concatenate(parts, axis=op.attrs["options"]["axis"]),)


def _rescaled(graph: Graph, op: Op, position: int, part: Array) -> Array:
    # tflite/kernels/internal/reference/concatenation.h, ConcatenationWithScaling
    given, out = quant_of(tensor_of(graph, op.inputs[position])), quant_of(graph.tensors[op.outputs[0]])
    if given.scale[0] == out.scale[0] and given.zero_point[0] == out.zero_point[0]:
        return part
    scale = np.float32(given.scale[0]) * (np.float32(1) / np.float32(out.scale[0]))
    bias = np.float32(-given.zero_point[0]) * scale
    value = round_array(part.astype(np.float32) * scale + bias).astype(np.int64) + out.zero_point[0]
    stored: Array = np.clip(value, 0, 255).astype(np.uint8)
    return stored


def transpose(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    return (np.ascontiguousarray(value_of(values[0]).transpose(permutation(graph, op))),)


def strided_slice(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    return (np.ascontiguousarray(value_of(values[0])[slices(graph, op)]),)


def split(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    return tuple(np.split(value_of(values[1]), len(op.outputs), axis=split_axis(graph, op)))


def split_unequally(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    axis, sizes = split_sizes(graph, op)
    return tuple(np.split(value_of(values[0]), np.cumsum(sizes)[:-1], axis=axis))


def cut(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """SLICE."""
    return (np.ascontiguousarray(value_of(values[0])[cuts(graph, op)]),)


def pack(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    return (np.stack([value_of(value) for value in values], axis=join_axis(graph, op)),)


def unpack(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    parts = np.moveaxis(value_of(values[0]), op.attrs["options"]["axis"], 0)
    return tuple(np.ascontiguousarray(part) for part in parts)


def gather(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    axis, places = gathered(graph, op)
    return (np.take(value_of(values[0]), places, axis=axis),)


def depth_to_space(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    x, block = value_of(values[0]), op.attrs["options"]["block_size"]
    n, h, w, c = x.shape
    parts = x.reshape(n, h, w, block, block, c // block**2).transpose(0, 1, 3, 2, 4, 5)
    return (parts.reshape(graph.tensors[op.outputs[0]].shape),)


def space_to_depth(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    x, block = value_of(values[0]), op.attrs["options"]["block_size"]
    n, h, w, c = x.shape
    parts = x.reshape(n, h // block, block, w // block, block, c).transpose(0, 1, 3, 2, 4, 5)
    return (parts.reshape(graph.tensors[op.outputs[0]].shape),)


def space_to_batch(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """Pads with real zeros, then makes each place in a block an image of its own."""
    blocks, margins = batch_blocks(graph, op)
    x, y = value_of(values[0]), graph.tensors[op.outputs[0]]
    rest = x.shape[1 + len(blocks):]
    x = np.pad(x, ((0, 0), *margins, *((0, 0) for _ in rest)),
               constant_values=int(y.quant.zero_point[0]) if y.quant else 0)
    counts = [size // block for size, block in zip(x.shape[1:], blocks, strict=False)]
    split = x.reshape(x.shape[0], *(n for pair in zip(counts, blocks, strict=True) for n in pair), *rest)
    order = (*range(2, 2 * len(blocks) + 1, 2), 0, *range(1, 2 * len(blocks), 2))
    return (split.transpose(*order, *range(len(order), split.ndim)).reshape(y.shape),)


def batch_to_space(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """The way back: images become blocks, then margins are cut off."""
    blocks, margins = batch_blocks(graph, op)
    x, dims = value_of(values[0]), len(blocks)
    split = x.reshape(*blocks, -1, *x.shape[1:])
    order = (dims, *(axis for i in range(dims) for axis in (dims + 1 + i, i)))
    whole = split.transpose(*order, *range(len(order), split.ndim)).reshape(
        split.shape[dims], *(size * block for size, block in zip(x.shape[1:], blocks, strict=False)),
        *x.shape[1 + dims:])
    keep = (slice(before, size - after)
            for (before, after), size in zip(margins, whole.shape[1:], strict=False))
    return (np.ascontiguousarray(whole[(slice(None), *keep)]),)
