"""SOFTMAX and LOG_SOFTMAX.

Sources: tflite/kernels/activations.cc, tflite/kernels/internal/reference/{softmax,log_softmax}.h and
integer_ops/log_softmax.h, tflite/kernels/internal/quantization_util.cc.
"""
import numpy as np

from ..graph.ir import Array, Graph, Op
from . import libm
from .fixed_point import Q32, log_of_at_least_one
from .operands import quant_of, tensor_of, value_of
from .rounding import Ints, multiply_double, quantize_multiplier, rounding_divide_by_pot, srdhm

DIFFERENCE_BITS = 5  # integer bits of scaled differences
SUM_BITS = 12  # integer bits of the sum of exponentials
LOG_BITS = 4  # integer bits of a stored logarithm


def difference_scale(beta: float, scale: float) -> float:
    """Real multiplier of the difference of two stored values into Q5."""
    return min(float(beta * scale * 2.0 ** (31 - DIFFERENCE_BITS)), 2.0**31 - 1)


def _radius(left: int) -> int:
    """The greatest difference that Q5 can hold; beyond it, exp() counts as 0."""
    return int((2**DIFFERENCE_BITS - 1) * 2 ** (31 - DIFFERENCE_BITS) / 2**left)


def softmax(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """Along the last axis. The output's scale is 1/256 and its zero point the least value of its type."""
    x = value_of(values[0])
    scale = quant_of(tensor_of(graph, op.inputs[0])).scale[0]
    multiplier, left = quantize_multiplier(difference_scale(op.attrs["beta"], scale))
    least = -_radius(left)
    stored = x.astype(np.int64)
    difference = stored - stored.max(axis=-1, keepdims=True)
    counted = difference >= least
    scaled = srdhm(np.maximum(difference, least) << left, multiplier)
    exponential = Q32.exp_of_negative(scaled, DIFFERENCE_BITS)
    total = np.where(counted, rounding_divide_by_pot(exponential, SUM_BITS), 0).sum(axis=-1, keepdims=True)
    # total is in [2**19, 2**31): scale it to [1, 2) and divide.
    headroom = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
    reciprocal = Q32.one_over_one_plus((total << headroom) - 2**31)
    exponent = SUM_BITS - headroom + 31 - 8
    limits = np.iinfo(x.dtype)
    result = rounding_divide_by_pot(srdhm(reciprocal, exponential), exponent) + limits.min
    result = np.where(counted, np.clip(result, limits.min, limits.max), limits.min)
    return (result.astype(graph.tensors[op.outputs[0]].dtype),)


def log_softmax(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """Along the last axis. Stored outputs have a scale of 1/16 and the greatest zero point."""
    x = value_of(values[0])
    return (_log_softmax_of_reals(x) if x.dtype == np.float32 else _log_softmax_of_stored(graph, op, x),)


def _log_softmax_of_reals(x: Array) -> Array:
    with np.errstate(all="ignore"):
        difference = x - x.max(axis=-1, keepdims=True)
        # One after the other: float32 sums depend on their order.
        total = np.cumsum(libm.exp(difference), axis=-1, dtype=np.float32)[..., -1:]
        result: Array = difference - libm.log(total)
    return result


def _log_softmax_of_stored(graph: Graph, op: Op, x: Array) -> Array:
    scale, limits = quant_of(tensor_of(graph, op.inputs[0])).scale[0], np.iinfo(x.dtype)
    multiplier, left = quantize_multiplier(difference_scale(1.0, scale))
    back = quantize_multiplier(2.0 ** (31 - left) / multiplier)
    least = -_radius(left)

    stored = x.astype(np.int64)
    difference = stored - stored.max(axis=-1, keepdims=True)
    scaled: Ints = srdhm(np.maximum(difference, least) << left, multiplier)
    exponential = rounding_divide_by_pot(Q32.exp_of_negative(scaled, DIFFERENCE_BITS), SUM_BITS)
    total = np.where(difference >= least, exponential, 0).sum(axis=-1, keepdims=True)
    log = log_of_at_least_one(total, SUM_BITS, DIFFERENCE_BITS)
    counted = difference > np.maximum(least - 1, multiply_double(log - 2**31, *back))
    result = rounding_divide_by_pot(scaled - log, 31 - DIFFERENCE_BITS - LOG_BITS) + limits.max
    return np.where(counted, np.clip(result, limits.min, limits.max), limits.min).astype(x.dtype)
