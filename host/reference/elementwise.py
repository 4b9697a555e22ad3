"""Operators of two values each: ADD, SUB, MUL, PRELU, MAXIMUM and MINIMUM.

Sources: tflite/kernels/{add,sub,mul,activations,maximum_minimum}.cc,
tflite/kernels/internal/reference/integer_ops/{add,mul}.h and reference/prelu.h.
"""
from collections.abc import Callable

import numpy as np

from ..graph.ir import Array, Graph, Kind, Op
from .operands import quant_of, tensor_of, value_of
from .rounding import Ints, multiply_double, quantize_multiplier

Pairwise = Callable[[Ints, Ints], Ints]

LEFT_SHIFT = 20
"""Fraction bits that the kernels give both inputs before they are scaled and added."""


def sum_scales(graph: Graph, op: Op) -> tuple[float, float, float]:
    """Real multipliers of ADD and SUB: of each input (at most a half), and of their sum."""
    a, b = (quant_of(tensor_of(graph, i)).scale[0] for i in op.inputs)
    twice = 2 * max(a, b)
    return a / twice, b / twice, twice / (2**LEFT_SHIFT * quant_of(graph.tensors[op.outputs[0]]).scale[0])


def _sum_function(graph: Graph, op: Op, sign: int) -> Pairwise:
    zero_a, zero_b, zero = (int(quant_of(tensor_of(graph, i)).zero_point[0])
                            for i in (*op.inputs, *op.outputs))
    scale_a, scale_b, scale = (quantize_multiplier(real) for real in sum_scales(graph, op))
    low, high = op.attrs["low"], op.attrs["high"]

    def function(a: Ints, b: Ints) -> Ints:
        scaled_a = multiply_double((a - zero_a) << LEFT_SHIFT, *scale_a)
        scaled_b = multiply_double((b - zero_b) << LEFT_SHIFT, *scale_b)
        return np.clip(multiply_double(scaled_a + sign * scaled_b, *scale) + zero, low, high)

    return function


def add_function(graph: Graph, op: Op) -> Pairwise:
    """The framework's ADD on stored values of the two inputs, including the clamp; shapes broadcast."""
    return _sum_function(graph, op, +1)


def sub_function(graph: Graph, op: Op) -> Pairwise:
    """The same for SUB: first input minus second."""
    return _sum_function(graph, op, -1)


def mul_function(graph: Graph, op: Op) -> Callable[[Ints], Ints]:
    """The framework's MUL as a function of the products (a - zero point of a) * (b - zero point of b): stored
    outputs, including the clamp. It never falls as the product grows.

    The scales are multiplied and divided in float32, as the kernel does.
    """
    a, b, y = (quant_of(tensor_of(graph, i)) for i in (*op.inputs, *op.outputs))
    scale = np.float32(a.scale[0]) * np.float32(b.scale[0]) / np.float32(y.scale[0])
    multiplier, shift = quantize_multiplier(float(scale))
    zero, low, high = int(y.zero_point[0]), op.attrs["low"], op.attrs["high"]
    return lambda product: np.clip(multiply_double(product, multiplier, shift) + zero, low, high)


def pairwise(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    a, b = (value_of(value).astype(np.int64) for value in values)
    if op.kind == Kind.MUL:
        zero_a, zero_b = (quant_of(tensor_of(graph, i)).zero_point[0] for i in op.inputs)
        result = mul_function(graph, op)((a - zero_a) * (b - zero_b))
    else:
        result = (add_function if op.kind == Kind.ADD else sub_function)(graph, op)(a, b)
    return (result.astype(graph.tensors[op.outputs[0]].dtype),)


def prelu(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """x, or x * slope below zero; the second operand holds the slopes."""
    a, b, y = (quant_of(tensor_of(graph, i)) for i in (*op.inputs, *op.outputs))
    ratio = np.float32(a.scale[0]) / np.float32(y.scale[0])
    product = np.float32(a.scale[0]) * np.float32(b.scale[0]) / np.float32(y.scale[0])
    above, below = (quantize_multiplier(float(scale)) for scale in (ratio, product))
    x, slope = (value_of(value).astype(np.int64) - quant.zero_point[0]
                for value, quant in zip(values, (a, b), strict=True))
    result = np.where(x >= 0, multiply_double(x, *above), multiply_double(x * slope, *below))
    limits, dtype = np.iinfo(value_of(values[0]).dtype), graph.tensors[op.outputs[0]].dtype
    return (np.clip(result + y.zero_point[0], limits.min, limits.max).astype(dtype),)


def extreme(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """MAXIMUM and MINIMUM of stored values, whatever their scales."""
    select = np.maximum if op.source == "MAXIMUM" else np.minimum
    return (select(value_of(values[0]), value_of(values[1])),)
