"""Operators of two values each: ADD, SUB, MUL, PRELU, MAXIMUM and MINIMUM.

Sources: tflite/kernels/{add,sub,mul,activations,maximum_minimum}.cc,
tflite/kernels/internal/reference/integer_ops/{add,mul}.h and reference/prelu.h.
"""
from collections.abc import Callable

import numpy as np

from ...rtl.contract.errors import UnsupportedError
from ..graph.ir import Array, Graph, Kind, Op
from .onnxruntime_kernel import pair_table
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
    if graph.framework == "onnx":
        return _asked(graph, op)
    return _sum_function(graph, op, +1)


def sub_function(graph: Graph, op: Op) -> Pairwise:
    """The same for SUB: first input minus second."""
    if graph.framework == "onnx":
        return _asked(graph, op)
    return _sum_function(graph, op, -1)


def _asked(graph: Graph, op: Op) -> Pairwise:
    """What ONNX Runtime makes of all pairs."""
    table = pair_table(graph, op)
    return lambda a, b: table[a & 255, b & 255]


def _of_products(graph: Graph, op: Op) -> Callable[[Ints], Ints]:
    """ONNX Runtime's product as a step function of the exact one. Products that no two bytes have get what
    the scales say, as far as their neighbours leave room.

    Raises UnsupportedError where the same product gives different values, or a greater one a smaller.
    """
    stored = np.arange(256, dtype=np.uint8)
    x, y = (tensor_of(graph, i) for i in op.inputs)
    a, b = (stored.view(tensor.dtype).astype(np.int64) - quant_of(tensor).zero_point[0] for tensor in (x, y))
    products, results = (a[:, None] * b).reshape(-1), pair_table(graph, op).reshape(-1)
    order = np.lexsort((results, products))
    products, results = products[order], results[order]
    if (np.diff(results) < 0).any() or ((np.diff(products) == 0) & (np.diff(results) != 0)).any():
        raise UnsupportedError("its results are no function of the product")
    out = quant_of(graph.tensors[op.outputs[0]])
    slope = quant_of(x).scale[0] * quant_of(y).scale[0] / out.scale[0]

    def function(wanted: Ints) -> Ints:
        below = np.maximum(np.searchsorted(products, wanted, side="right") - 1, 0)
        above = np.minimum(np.searchsorted(products, wanted), len(products) - 1)
        said = np.rint(np.clip(wanted * slope, -1e6, 1e6)).astype(np.int64) + out.zero_point[0]
        stored: Ints = np.clip(said, results[below], results[above])
        return stored

    return function


def mul_function(graph: Graph, op: Op) -> Callable[[Ints], Ints]:
    """The framework's MUL as a function of the products (a - zero point of a) * (b - zero point of b): stored
    outputs, including the clamp. It never falls as the product grows.

    The scales are multiplied and divided in float32, as the kernel does.

    Raises UnsupportedError if an ONNX operator is no such function.
    """
    if graph.framework == "onnx":
        return _of_products(graph, op)
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
