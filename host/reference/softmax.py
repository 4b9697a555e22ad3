"""SOFTMAX on int8 and uint8, in gemmlowp's fixed point.

Sources: tflite/kernels/internal/reference/softmax.h, gemmlowp/fixedpoint/fixedpoint.h. "Qi" is a 32-bit
fixed-point number with i integer bits; the product of Qi and Qj is srdhm, a Q(i+j).
"""
import numpy as np

from ..graph.ir import Array, Graph, Op
from .operands import quant_of, tensor_of, value_of
from .rounding import INT32_MAX, INT32_MIN, Ints, quantize_multiplier, rounding_divide_by_pot, srdhm

DIFFERENCE_BITS = 5  # integer bits of scaled differences
SUM_BITS = 12  # integer bits of the sum of exponentials

EXPONENTIALS = {-2: 1672461947, -1: 1302514674, 0: 790015084, 1: 290630308, 2: 39332535, 3: 720401, 4: 242}
"""exp(-2**k) in Q0, for each bit k of a remainder."""


def _shift_left(value: Ints, bits: int) -> Ints:
    shifted: Ints = np.clip(value << bits, INT32_MIN, INT32_MAX)
    return shifted


def _exp_near_zero(a: Ints) -> Ints:
    """exp(a) for -1/4 <= a < 0 (Q0): Taylor around -1/8 to the fourth power."""
    constant, third = 1895147668, 715827883  # exp(-1/8), 1/3
    x = a + 2**28
    x2 = srdhm(x, x)
    x3, x4 = srdhm(x2, x), srdhm(x2, x2)
    tail = rounding_divide_by_pot(srdhm(rounding_divide_by_pot(x4, 2) + x3, third) + x2, 1)
    return constant + srdhm(x + tail, constant)


def exp_of_negative(a: Ints) -> Ints:
    """exp(a), Q0, for a <= 0 in Q5."""
    quarter = 2 ** (31 - DIFFERENCE_BITS - 2)
    reduced = (a & (quarter - 1)) - quarter
    result = _exp_near_zero(_shift_left(reduced, DIFFERENCE_BITS))
    remainder = reduced - a
    for power, factor in EXPONENTIALS.items():
        bit = 1 << (31 - DIFFERENCE_BITS + power)
        result = np.where(remainder & bit, srdhm(result, factor), result)
    return np.where(a == 0, INT32_MAX, result)


def _one_over_one_plus(a: Ints) -> Ints:
    """1 / (1 + a) in Q0, for 0 <= a < 1 in Q0: three Newton steps in Q2."""
    half_denominator = (a + INT32_MAX + 1) >> 1
    x = 1515870810 + srdhm(half_denominator, -1010580540)  # 48/17 - 32/17 * d
    for _ in range(3):
        error = 2**29 - srdhm(half_denominator, x)
        x = x + _shift_left(srdhm(x, error), 2)
    return _shift_left(x, 1)


def difference_scale(beta: float, scale: float) -> float:
    """Real multiplier of the difference of two stored values into Q5."""
    return min(float(beta * scale * 2.0 ** (31 - DIFFERENCE_BITS)), 2.0**31 - 1)


def softmax(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """Along the last axis. The output's scale is 1/256 and its zero point the least value of its type."""
    x = value_of(values[0])
    scale = quant_of(tensor_of(graph, op.inputs[0])).scale[0]
    multiplier, left = quantize_multiplier(difference_scale(op.attrs["beta"], scale))
    # Differences that Q5 cannot hold count as exp() = 0.
    least = -int((2**DIFFERENCE_BITS - 1) * 2 ** (31 - DIFFERENCE_BITS) / 2**left)

    stored = x.astype(np.int64)
    difference = stored - stored.max(axis=-1, keepdims=True)
    counted = difference >= least
    exponential = exp_of_negative(srdhm(np.maximum(difference, least) << left, multiplier))
    total = np.where(counted, rounding_divide_by_pot(exponential, SUM_BITS), 0).sum(axis=-1, keepdims=True)
    # total is in [2**19, 2**31): scale it to [1, 2) and divide.
    headroom = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
    reciprocal = _one_over_one_plus((total << headroom) - 2**31)
    exponent = SUM_BITS - headroom + 31 - 8
    limits = np.iinfo(x.dtype)
    result = rounding_divide_by_pot(srdhm(reciprocal, exponential), exponent) + limits.min
    result = np.where(counted, np.clip(result, limits.min, limits.max), limits.min)
    return (result.astype(graph.tensors[op.outputs[0]].dtype),)
