"""Operators of one value each: QUANTIZE, DEQUANTIZE, RELU and its kin, LOGISTIC, TANH.

Sources: tflite/kernels/{quantize,dequantize,activations}.cc, tflite/kernels/internal/common.h (LUTPopulate),
tflite/kernels/internal/reference/{quantize,requantize,dequantize}.h.
"""
from collections.abc import Callable
from math import exp, inf, tanh

import numpy as np

from ..graph.ir import Array, Graph, Op, Tensor
from .operands import quant_of, tensor_of, value_of
from .rounding import INT32_MAX, INT32_MIN, multiply_double, quantize_multiplier, round_array, wrap32


def to_int32(value: Array) -> Array:
    """A float to int32 as x86 converts it: -2**31 for what does not fit, NaN included."""
    fits = (value >= INT32_MIN) & (value < INT32_MAX)
    return np.where(fits, np.where(fits, value, 0).astype(np.int64), INT32_MIN)


def quantize(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """float32 to int8 or uint8, or one of these to the other."""
    x, y = value_of(values[0]), graph.tensors[op.outputs[0]]
    out, limits = quant_of(y), np.iinfo(y.dtype)
    zero = int(out.zero_point[0])
    if x.dtype == np.float32:
        with np.errstate(all="ignore"):
            stored = wrap32(to_int32(round_array(x / np.float32(out.scale[0]))) + zero)
    else:
        given = quant_of(tensor_of(graph, op.inputs[0]))
        scale = quantize_multiplier(float(given.scale[0] / out.scale[0]))
        stored = multiply_double(x.astype(np.int64) - given.zero_point[0], *scale) + zero
    return (np.clip(stored, limits.min, limits.max).astype(y.dtype),)


def dequantize(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    x, quant = value_of(values[0]), quant_of(tensor_of(graph, op.inputs[0]))
    return ((quant.scale[0] * (x.astype(np.int64) - quant.zero_point[0])).astype(np.float32),)


RELU_LIMITS = {"RELU": (0.0, inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}


def relu_limits(source: str, y: Tensor) -> tuple[int, int]:
    """The least and greatest stored value that a rectifier lets through (QuantizedReluX)."""
    limits, zero, scale = np.iinfo(y.dtype), int(quant_of(y).zero_point[0]), np.float32(quant_of(y).scale[0])
    low, high = (limits.max if real == inf else
                 zero + int(to_int32(round_array(np.array(real, np.float32) / scale)))
                 for real in RELU_LIMITS[source])
    return max(int(limits.min), low), min(int(limits.max), high)


def relu(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """A rectifier that stands alone: rescales to its output's quantisation, then clamps."""
    x, y = value_of(values[0]), graph.tensors[op.outputs[0]]
    given, out = quant_of(tensor_of(graph, op.inputs[0])), quant_of(y)
    multiplier = quantize_multiplier(float(np.float32(given.scale[0]) / np.float32(out.scale[0])))
    stored = multiply_double(x.astype(np.int64) - given.zero_point[0], *multiplier) + out.zero_point[0]
    return (np.clip(stored, *relu_limits(op.source, y)).astype(y.dtype),)


def _logistic(value: float) -> float:
    # 1 / (1 + exp(-x)) with each step rounded to float32; exp overflows to infinity.
    power = np.float32(inf) if value < -100 else np.float32(exp(-value))
    return float(np.float32(1) / (np.float32(1) + power))


FUNCTIONS: dict[str, Callable[[float], float]] = {"LOGISTIC": _logistic, "TANH": tanh}


def table(graph: Graph, op: Op) -> Array:
    """Stored output of all 256 stored inputs, least to greatest; float32 step by step, as LUTPopulate."""
    x, y = tensor_of(graph, op.inputs[0]), graph.tensors[op.outputs[0]]
    given, out, limits = quant_of(x), quant_of(y), np.iinfo(y.dtype)
    inverse = np.float32(1) / np.float32(out.scale[0])
    stored = np.arange(limits.min, limits.max + 1)
    real = np.float32(given.scale[0]) * (stored - given.zero_point[0]).astype(np.float32)
    function = FUNCTIONS[op.source]
    result = np.array([function(float(value)) for value in real], np.float32)
    rescaled = round_array(result * inverse) + np.float32(out.zero_point[0])
    stored_out: Array = np.clip(rescaled, limits.min, limits.max).astype(y.dtype)
    return stored_out


def lookup(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    x = value_of(values[0])
    return (table(graph, op)[x.astype(np.int64) - np.iinfo(x.dtype).min],)
