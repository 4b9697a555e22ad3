"""Operators of one value each: QUANTIZE, DEQUANTIZE, rectifiers and other activations, ABS, EXP, LOG.

Sources: tflite/kernels/{quantize,dequantize,activations,elementwise,exp}.cc,
tflite/kernels/internal/common.h (LUTPopulate),
tflite/kernels/internal/reference/{quantize,requantize,dequantize,hard_swish,leaky_relu,gelu}.h.
"""
from collections.abc import Callable
from math import inf, pi, sqrt

import numpy as np

from ..graph.ir import Array, Graph, Op, Tensor
from . import libm
from .fixed_point import Q16
from .operands import quant_of, tensor_of, value_of
from .rounding import (
    INT32_MAX,
    INT32_MIN,
    Ints,
    multiply_double,
    quantize_multiplier,
    round_array,
    rounding_divide_by_pot,
    wrap32,
)


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


RELU_LIMITS = {"RELU": (0.0, inf), "RELU6": (0.0, 6.0), "RELU_0_TO_1": (0.0, 1.0),
               "RELU_N1_TO_1": (-1.0, 1.0)}


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


def _centred(graph: Graph, op: Op, values: list[Array | None]) -> Ints:
    given = quant_of(tensor_of(graph, op.inputs[0]))
    centred: Ints = value_of(values[0]).astype(np.int64) - given.zero_point[0]
    return centred


def scale_ratio(graph: Graph, op: Op) -> np.float32:
    """Input scale / output scale, in float32."""
    given, out = quant_of(tensor_of(graph, op.inputs[0])), quant_of(graph.tensors[op.outputs[0]])
    return np.float32(given.scale[0]) / np.float32(out.scale[0])


def stored(y: Tensor, centred: Array) -> Array:
    """Adds the zero point and clamps to the type."""
    limits = np.iinfo(y.dtype)
    clipped: Array = np.clip(centred + quant_of(y).zero_point[0], limits.min, limits.max).astype(y.dtype)
    return clipped


def leaky_relu(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    x, given, out = _centred(graph, op, values), tensor_of(graph, op.inputs[0]), graph.tensors[op.outputs[0]]
    slope = np.float32(op.attrs["options"]["alpha"]) * np.float32(quant_of(given).scale[0])
    below = quantize_multiplier(float(slope / np.float32(quant_of(out).scale[0])))
    above = quantize_multiplier(float(scale_ratio(graph, op)))
    return (stored(out, np.where(x >= 0, multiply_double(x, *above), multiply_double(x, *below))),)


def absolute(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    x, ratio = np.abs(_centred(graph, op, values)), scale_ratio(graph, op)
    scaled = x if ratio == 1 else multiply_double(x, *quantize_multiplier(float(ratio)))
    return (stored(graph.tensors[op.outputs[0]], scaled),)


def hard_swish_scales(graph: Graph, op: Op) -> tuple[tuple[int, int], tuple[int, int]]:
    """(multiplier of 16 bits, shift) of inputs with seven more bits: into the output's scale, and into thirds
    of 2**15."""
    fine = np.float32(1 / 128) * np.float32(quant_of(tensor_of(graph, op.inputs[0])).scale[0])
    out = np.float32(quant_of(graph.tensors[op.outputs[0]]).scale[0])
    pairs = (quantize_multiplier(float(real)) for real in (fine / out, fine / np.float32(3 / 32768)))
    to_output, to_thirds = ((min((mantissa + 2**15) >> 16, 2**15 - 1), shift) for mantissa, shift in pairs)
    return to_output, to_thirds


def hard_swish(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """x * clip(x / 6 + 1/2, 0, 1) on 16 bits."""
    (to_output, output_shift), (to_thirds, shift) = hard_swish_scales(graph, op)
    fine = _centred(graph, op, values) << 7
    share = Q16.shift_left(fine, shift - 1) if shift > 0 else fine
    share = Q16.multiply(share, to_thirds)
    share = Q16.shift_left(share, 1) if shift > 0 else rounding_divide_by_pot(share, -shift)
    share = (share + 2**15) >> 1
    product = share * Q16.multiply(fine, to_output)
    product = np.sign(product) * (np.abs(product) >> 15)  # this one truncates
    return (stored(graph.tensors[op.outputs[0]], rounding_divide_by_pot(product, -output_shift)),)


def _logistic(x: Array) -> Array:
    # Each step is rounded to float32; exp overflows to infinity.
    return np.float32(1) / (np.float32(1) + libm.exp(-x))


def _elu(x: Array) -> Array:
    return np.where(x < 0, libm.expm1(x), x)


def _gelu(x: Array) -> Array:
    return np.float32(0.5) * x * libm.erfc(x * np.float32(-sqrt(0.5)))


def _gelu_by_tanh(x: Array) -> Array:
    inner = np.float32(sqrt(2 / pi)) * (x + np.float32(0.044715) * x * x * x)
    return np.float32(0.5) * x * (np.float32(1) + libm.tanh(inner))


def _log(x: Array) -> Array:
    """The least output, which is clamped, stands for the logarithm of what is not positive."""
    return np.where(x > 0, libm.log(np.where(x > 0, x, np.float32(1))), np.float32(-inf))


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "ELU": _elu, "EXP": libm.exp, "GELU": _gelu, "GELU approximate": _gelu_by_tanh, "LOG": _log,
    "LOGISTIC": _logistic, "TANH": libm.tanh}
"""On float32 arrays."""


def table(graph: Graph, op: Op) -> Array:
    """Stored output of all 256 stored inputs, least to greatest; float32 step by step, as LUTPopulate."""
    x, y = tensor_of(graph, op.inputs[0]), graph.tensors[op.outputs[0]]
    given, out, limits = quant_of(x), quant_of(y), np.iinfo(y.dtype)
    approximate = op.attrs["options"].get("approximate", False)
    inverse = np.float32(1) / np.float32(out.scale[0])
    places = np.arange(limits.min, limits.max + 1)
    with np.errstate(all="ignore"):
        real = np.float32(given.scale[0]) * (places - given.zero_point[0]).astype(np.float32)
        result = FUNCTIONS[op.source + (" approximate" if approximate else "")](real)
        rescaled = round_array(result * inverse) + np.float32(out.zero_point[0])
    entries: Array = np.clip(rescaled, limits.min, limits.max).astype(y.dtype)
    return entries


def lookup(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    x = value_of(values[0])
    return (table(graph, op)[x.astype(np.int64) - np.iinfo(x.dtype).min],)
