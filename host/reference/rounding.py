"""Requantisation as TFLite's reference kernels do it: fixed-point multipliers and the two rounding rules.

Sources: tflite/kernels/internal/quantization_util.cc (QuantizeMultiplier), tflite/kernels/internal/common.cc
(MultiplyByQuantizedMultiplier), gemmlowp/fixedpoint/fixedpoint.h (SaturatingRoundingDoublingHighMul,
RoundingDivideByPOT). Everything here is vectorised over int64 arrays that hold int32 values.
"""
from collections.abc import Sequence
from math import frexp

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def round_half_away(value: float) -> int:
    """std::round: the nearest integer, ties away from zero (Python's own round goes to even)."""
    whole = int(value)
    return whole + (1 if value > 0 else -1) * (abs(value - whole) >= 0.5)


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(mantissa, shift) with real = mantissa * 2**(shift - 31) as closely as 31 bits allow.

    The mantissa is in [2**30, 2**31) or 0. Multipliers below 2**-32 become 0.
    """
    if real == 0.0:
        return 0, 0
    fraction, shift = frexp(real)
    mantissa = round_half_away(fraction * 2**31)
    if mantissa == 2**31:
        mantissa, shift = mantissa // 2, shift + 1
    return (mantissa, shift) if shift >= -31 else (0, 0)


def wrap32(value: Ints) -> Ints:
    """Two's complement of 32 bits: what the kernels' int32 arithmetic leaves of a value."""
    return ((value + 2**31) & (2**32 - 1)) - 2**31


def srdhm(a: Ints, b: int | Ints) -> Ints:
    """SaturatingRoundingDoublingHighMul: round(a * b / 2**31), ties away from zero, saturated to int32.

    (The nudge is +2**30 or 1 - 2**30 and the division truncates towards zero.)
    """
    product = a * np.int64(b) if isinstance(b, int) else a * b
    high = np.where(product >= 0, (product + 2**30) >> 31, -((-product + (2**30 - 1)) >> 31))
    return np.minimum(high, INT32_MAX)  # only -2**31 * -2**31 exceeds it


def rounding_divide_by_pot(value: Ints, exponent: int | Ints) -> Ints:
    """Nearest integer of value / 2**exponent, ties away from zero."""
    power = np.asarray(exponent, np.int64)
    mask = (np.int64(1) << power) - 1
    return (value >> power) + ((value & mask) > (mask >> 1) + (value < 0))


def multiply_double(acc: Ints, multiplier: int | Ints, shift: int | Ints) -> Ints:
    """acc * multiplier * 2**(shift - 31), rounded twice: SRDHM, then RoundingDivideByPOT.

    ``multiplier`` and ``shift`` are numbers, or one per element of the last axis of ``acc``.
    """
    power = np.asarray(shift, np.int64)
    left, right = np.maximum(power, 0), np.maximum(-power, 0)
    return rounding_divide_by_pot(srdhm(wrap32(acc << left), multiplier), right)


def multiply_single(acc: Ints, multiplier: int | Ints, shift: int | Ints) -> Ints:
    """The same product rounded once: (acc * multiplier + 2**(total - 1)) >> total with total = 31 - shift."""
    total = 31 - np.asarray(shift, np.int64)
    return (acc * np.asarray(multiplier, np.int64) + (np.int64(1) << (total - 1))) >> total


def requantize_reference(acc: Ints, scales: Sequence[tuple[int, int]], zero: int, low: int, high: int,
                         rounding: str) -> Ints:
    """Stored output values of accumulators (bias already added).

    Parameters
    ----------
    acc : int64[..., channels]
    scales : one (multiplier, shift) per channel, or a single one for all
    zero, low, high : zero point of the output, and the limits of the fused activation
    rounding : "double" or "single"
    """
    multiplier = np.array([m for m, _ in scales], np.int64)
    shift = np.array([s for _, s in scales], np.int64)
    multiply = multiply_double if rounding == "double" else multiply_single
    return np.clip(multiply(acc, multiplier, shift) + zero, low, high)
