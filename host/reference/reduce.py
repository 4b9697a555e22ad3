"""MEAN, SUM, REDUCE_MAX, REDUCE_MIN, ARG_MAX and ARG_MIN on int8 and uint8.

Sources: tflite/kernels/reduce.cc, tflite/kernels/internal/reference/{reduce,arg_min_max}.h.
"""
from collections.abc import Callable
from math import prod

import numpy as np

from ..graph.ir import Array, Graph, Op
from ..graph.shapes import reduced_axes, single_axis
from .operands import quant_of, tensor_of, value_of
from .rounding import Ints, multiply_double, quantize_multiplier


def mean_function(graph: Graph, op: Op, count: int) -> Callable[[Ints], Ints]:
    """The framework's MEAN as a function of the sum of the ``count`` stored values that one output averages,
    to the stored output. It never falls as the sum grows.

    The division is folded into the fixed-point multiplier.
    """
    y = graph.tensors[op.outputs[0]]
    given, out, limits = quant_of(tensor_of(graph, op.inputs[0])), quant_of(y), np.iinfo(y.dtype)
    multiplier, shift = quantize_multiplier(float(given.scale[0] / out.scale[0]))
    extra = min(count.bit_length() - 1, 32, 31 + shift)
    multiplier, shift = (multiplier << extra) // count, shift - extra
    offset, zero = count * int(given.zero_point[0]), int(out.zero_point[0])
    return lambda total: np.clip(multiply_double(total - offset, multiplier, shift) + zero,
                                 limits.min, limits.max)


def mean(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    x, y, axes = value_of(values[0]), graph.tensors[op.outputs[0]], reduced_axes(graph, op)
    function = mean_function(graph, op, prod(x.shape[axis] for axis in axes))
    return (function(x.astype(np.int64).sum(axis=axes)).astype(y.dtype).reshape(y.shape),)


def total(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """SUM on uint8: rescaled like a mean of one value.

    On int8 there is nothing to be equal to: the framework's reference kernel takes the bytes for uint8.
    """
    x, y = value_of(values[0]), graph.tensors[op.outputs[0]]
    zero = quant_of(tensor_of(graph, op.inputs[0])).zero_point[0]
    centred = (x.astype(np.int64) - zero).sum(axis=reduced_axes(graph, op))
    return (mean_function(graph, op, 1)(centred + zero).astype(y.dtype).reshape(y.shape),)


def extreme(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """REDUCE_MAX and REDUCE_MIN."""
    reduce = np.max if op.source == "REDUCE_MAX" else np.min
    result = reduce(value_of(values[0]), axis=reduced_axes(graph, op))
    return (np.asarray(result).reshape(graph.tensors[op.outputs[0]].shape),)


def place_of_extreme(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """ARG_MAX and ARG_MIN: the first of equal values."""
    find = np.argmax if op.source == "ARG_MAX" else np.argmin
    result = find(value_of(values[0]), axis=single_axis(graph, op))
    return (np.asarray(result, graph.tensors[op.outputs[0]].dtype),)
