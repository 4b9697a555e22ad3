"""Exponential and its kin in gemmlowp's fixed point, on 32-bit or 16-bit numbers.

Sources: gemmlowp/fixedpoint/fixedpoint.h, tflite/kernels/internal/common.h. "Qi" is a fixed-point number with
i integer bits and a sign; the product of Qi and Qj is a Q(i+j). Arrays are int64 and hold the raw values.
"""
from dataclasses import dataclass

import numpy as np

from .rounding import Ints, rounding_divide_by_pot

EXPONENTIALS = {-2: 1672461947, -1: 1302514674, 0: 790015084, 1: 290630308, 2: 39332535, 3: 720401, 4: 242}
"""exp(-2**k) in Q0, for each bit k of a remainder."""


@dataclass(frozen=True)
class FixedPoint:
    """Arithmetic on numbers of ``bits`` (16 or 32) bits."""

    bits: int

    @property
    def limit(self) -> int:
        """The greatest raw value; 1 in Q0."""
        return (1 << (self.bits - 1)) - 1

    def constant(self, raw: int) -> int:
        """A constant that is given with 32 bits."""
        return int(rounding_divide_by_pot(np.array(raw, np.int64), 32 - self.bits))

    def multiply(self, a: Ints, b: int | Ints) -> Ints:
        """SaturatingRoundingDoublingHighMul: a * b with ties up."""
        high: Ints = (a * np.asarray(b, np.int64) + (1 << (self.bits - 2))) >> (self.bits - 1)
        result: Ints = np.minimum(high, self.limit)
        return result

    def shift_left(self, value: Ints, by: int | Ints) -> Ints:
        """value * 2**by, saturated."""
        shifted: Ints = np.clip(value << by, -self.limit - 1, self.limit)
        return shifted

    def _exp_near_zero(self, a: Ints) -> Ints:
        """exp(a) for -1/4 <= a < 0 (Q0): Taylor around -1/8 to the fourth power."""
        eighth, third = self.constant(1895147668), self.constant(715827883)  # exp(-1/8), 1/3
        x = a + (1 << (self.bits - 4))
        x2 = self.multiply(x, x)
        x3, x4 = self.multiply(x2, x), self.multiply(x2, x2)
        sum_of_two = self.multiply(rounding_divide_by_pot(x4, 2) + x3, third) + x2
        return eighth + self.multiply(x + rounding_divide_by_pot(sum_of_two, 1), eighth)

    def exp_of_negative(self, a: Ints, integer_bits: int) -> Ints:
        """exp(a), Q0, for a <= 0 with at most five integer bits."""
        fraction = self.bits - 1 - integer_bits
        quarter = 1 << (fraction - 2)
        reduced = (a & (quarter - 1)) - quarter
        result = self._exp_near_zero(self.shift_left(reduced, integer_bits))
        remainder = reduced - a
        for power, factor in EXPONENTIALS.items():
            if power < integer_bits:
                smaller = self.multiply(result, self.constant(factor))
                result = np.where(remainder & (1 << (fraction + power)), smaller, result)
        return np.where(a == 0, self.limit, result)

    def _newton(self, a: Ints) -> Ints:
        """2 / (1 + a) in Q2, for 0 <= a < 1 in Q0: three steps."""
        half_denominator = (a + self.limit + 1) >> 1
        # 48/17 - 32/17 * d
        x = self.constant(1515870810) + self.multiply(half_denominator, self.constant(-1010580540))
        for _ in range(3):
            error = (1 << (self.bits - 3)) - self.multiply(half_denominator, x)
            x = x + self.shift_left(self.multiply(x, error), 2)
        return x

    def one_over_one_plus(self, a: Ints) -> Ints:
        """1 / (1 + a) in Q0, for 0 <= a < 1 in Q0."""
        return self.shift_left(self._newton(a), 1)

    def logistic(self, a: Ints, integer_bits: int) -> Ints:
        """1 / (1 + exp(-a)) in Q0."""
        positive = self.one_over_one_plus(self.exp_of_negative(-np.abs(a), integer_bits))
        return np.where(a == 0, (self.limit + 1) // 2, np.where(a > 0, positive, self.limit - positive))

    def tanh(self, a: Ints, integer_bits: int) -> Ints:
        """tanh(a) in Q0, for at most four integer bits; (1 - e) / (1 + e) with e = exp(-2 |a|)."""
        e = self.exp_of_negative(-np.abs(a), integer_bits + 1)
        size = self.shift_left(self._newton(e) - (1 << (self.bits - 3)), 2)
        return np.where(a == 0, 0, np.where(a > 0, size, -size))


Q32, Q16 = FixedPoint(32), FixedPoint(16)


def _leading_zeros(value: Ints) -> Ints:
    """Of 32 bits, for 0 < value < 2**32."""
    zeros: Ints = 32 - np.frexp(value.astype(np.float64))[1].astype(np.int64)
    return zeros


def log_of_at_least_one(a: Ints, integer_bits: int, result_bits: int) -> Ints:
    """log(a) in Q(result_bits), for a >= 1 in Q(integer_bits) of 32 bits.

    A rational fit around the fourth root of 1/2. Source: log_x_for_x_greater_than_or_equal_to_1_impl.
    """
    mul, point = Q32.multiply, 31 - (result_bits + 1)
    root_half, root_root_half, quarter = 1518500250, 1805811301, 1 << (point - 2)

    zeros = _leading_zeros(a)
    mantissa_a = Q32.shift_left(mul(Q32.shift_left(a, zeros - 1), root_half), 1)
    power_a = ((integer_bits - zeros) << point) + quarter
    room = _leading_zeros(mul(a, root_half)) - 1
    mantissa_b = Q32.shift_left(a, room)
    power_b = ((integer_bits - room) << point) - quarter
    r, power = np.minimum(mantissa_a, mantissa_b), np.maximum(power_a, power_b)

    p, q = (r + root_root_half + 1) >> 1, 2 * (r - root_root_half)
    square = mul(q, q)
    above = mul(q, r) + mul(mul(q, square), 117049297)
    below = mul(p, 1057819769 + q + mul(square, 127690142)) + mul(q, 638450708)
    ratio = mul(rounding_divide_by_pot(above, result_bits + 1), Q32.one_over_one_plus(below))
    return Q32.shift_left(mul(power, 1488522236) + ratio, 1)  # log(2)


def inverse_root(value: Ints) -> tuple[Ints, Ints]:
    """(multiplier, shift) of 1 / sqrt(value), as multiply_double takes them; 0 and less count as 1.

    Source: GetInvSqrtQuantizedMultiplierExp.
    """
    mul, one = Q32.multiply, value <= 1
    value, right = np.where(one, 2, value), np.full(value.shape, 11, np.int64)
    while (large := value >= 1 << 29).any():
        value, right = np.where(large, value // 4, value), right + large
    pairs = (_leading_zeros(value) - 1) // 2 - 1
    value, right = value << 2 * pairs, right - pairs
    half, one_and_half = rounding_divide_by_pot(value >> 1, 1), (1 << 28) + (1 << 27)
    x = np.full(value.shape, 1 << 28, np.int64)  # 1 in Q3
    for _ in range(5):
        cube = Q32.shift_left(mul(mul(x, x), x), 6)
        x = Q32.shift_left(mul(x, one_and_half) - mul(half, cube), 3)
    multiplier = mul(x, 1518500250) << np.maximum(-right, 0)
    return np.where(one, Q32.limit, multiplier), np.where(one, 0, -np.maximum(right, 0))
