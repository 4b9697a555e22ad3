"""ADD, SUB and MUL on int8 and uint8.

Sources: tflite/kernels/{add,sub,mul}.cc and tflite/kernels/internal/reference/integer_ops/{add,mul}.h.
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


def mul_function(graph: Graph, op: Op) -> Pairwise:
    """The same for MUL. The scales are multiplied and divided in float32, as the kernel does."""
    a, b, y = (quant_of(tensor_of(graph, i)) for i in (*op.inputs, *op.outputs))
    scale = np.float32(a.scale[0]) * np.float32(b.scale[0]) / np.float32(y.scale[0])
    multiplier, shift = quantize_multiplier(float(scale))
    zero_a, zero_b, zero = (int(quant.zero_point[0]) for quant in (a, b, y))
    low, high = op.attrs["low"], op.attrs["high"]

    def function(p: Ints, q: Ints) -> Ints:
        product = (p - zero_a) * (q - zero_b)
        return np.clip(multiply_double(product, multiplier, shift) + zero, low, high)

    return function


FUNCTIONS = {Kind.ADD: add_function, Kind.SUB: sub_function, Kind.MUL: mul_function}


def pairwise(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    a, b = (value_of(value) for value in values)
    result = FUNCTIONS[op.kind](graph, op)(a.astype(np.int64), b.astype(np.int64))
    return (result.astype(graph.tensors[op.outputs[0]].dtype),)
