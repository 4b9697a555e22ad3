"""Operators that only move values: RESHAPE, PAD, CONCATENATION, TRANSPOSE, STRIDED_SLICE, SPLIT."""
import numpy as np

from ..graph.ir import Array, Graph, Op
from ..graph.shapes import pads, permutation, slices, split_axis
from .operands import quant_of, tensor_of, value_of
from .rounding import round_array


def reshape(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    return (value_of(values[0]).reshape(graph.tensors[op.outputs[0]].shape),)


def pad(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """The border is a real zero: the zero point."""
    y = graph.tensors[op.outputs[0]]
    zero = int(y.quant.zero_point[0]) if y.quant else 0
    return (np.pad(value_of(values[0]), pads(graph, op), constant_values=zero),)


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
