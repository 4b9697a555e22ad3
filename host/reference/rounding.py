"""Requantisation as TFLite's reference kernels do it: fixed-point multipliers and the rounding rules.

Sources: tflite/kernels/internal/quantization_util.cc (QuantizeMultiplier), tflite/kernels/internal/common.cc
(MultiplyByQuantizedMultiplier), gemmlowp/fixedpoint/fixedpoint.h (SaturatingRoundingDoublingHighMul,
RoundingDivideByPOT). Everything here is vectorised over int64 arrays that hold int32 values.
"""
from math import frexp

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def round_half_away(value: float) -> int:
    """std::round: the nearest integer, ties away from zero (Python's own round goes to even)."""
    whole = int(value)
    return whole + (1 if value > 0 else -1) * (abs(value - whole) >= 0.5)


def round_array(value: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """std::round of each element, in the array's own precision."""
    whole = np.trunc(value)
    step = np.copysign(np.abs(value - whole) >= 0.5, value).astype(value.dtype)
    rounded: npt.NDArray[np.floating] = whole + step
    return rounded


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(mantissa, shift) with real = mantissa * 2**(shift - 31) as closely as 31 bits allow.

    The mantissa is in [2**30, 2**31), or 0 where ``real`` is below 2**-32.
    """
    if real == 0.0:
        return 0, 0
    fraction, shift = frexp(real)
    mantissa = round_half_away(fraction * 2**31)
    if mantissa == 2**31:
        mantissa, shift = mantissa // 2, shift + 1
    return (mantissa, shift) if shift >= -31 else (0, 0)


def wrap32(value: Ints) -> Ints:
    """Two's complement of 32 bits: what int32 arithmetic leaves of a value."""
    return ((value + 2**31) & (2**32 - 1)) - 2**31


def srdhm(a: Ints, b: int | Ints) -> Ints:
    """SaturatingRoundingDoublingHighMul: the integer nearest to a * b / 2**31, ties up, saturated."""
    high: Ints = (a * np.asarray(b, np.int64) + 2**30) >> 31
    return np.minimum(high, INT32_MAX)  # only -2**31 * -2**31 exceeds it


def rounding_divide_by_pot(value: Ints, exponent: int | Ints) -> Ints:
    """value / 2**exponent to the nearest integer, ties away from zero."""
    power = np.asarray(exponent, np.int64)
    mask = (np.int64(1) << power) - 1
    quotient: Ints = (value >> power) + ((value & mask) > (mask >> 1) + (value < 0))
    return quotient


def multiply_double(acc: Ints, multiplier: int | Ints, shift: int | Ints) -> Ints:
    """acc * multiplier * 2**(shift - 31), rounded twice: srdhm, then rounding_divide_by_pot.

    ``multiplier`` and ``shift`` are numbers, or one per element of the last axis of ``acc``.
    """
    power = np.asarray(shift, np.int64)
    left, right = np.maximum(power, 0), np.maximum(-power, 0)
    return rounding_divide_by_pot(srdhm(wrap32(acc << left) if left.any() else acc, multiplier), right)


def multiply_single(acc: Ints, multiplier: int | Ints, shift: int | Ints) -> Ints:
    """The same product rounded once, ties up: (acc * multiplier + 2**(t - 1)) >> t with t = 31 - shift.

    Builds of TFLite with TFLITE_SINGLE_ROUNDING do this. It is close to, but not, what LiteRT's
    FULLY_CONNECTED does (multiply_real): the two differ on negative ties.
    """
    total = 31 - np.asarray(shift, np.int64)
    product: Ints = (acc * np.asarray(multiplier, np.int64) + (np.int64(1) << (total - 1))) >> total
    return product


def multiply_real(acc: Ints, scale: float | Floats) -> Ints:
    """acc * scale in float64, then std::round: LiteRT's reference FULLY_CONNECTED (1.3 and later)."""
    product = np.asarray(acc, np.float64) * scale
    rounded: Ints = np.clip(round_array(product), INT32_MIN, INT32_MAX).astype(np.int64)
    return rounded
