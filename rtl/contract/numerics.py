"""Rounding, written once: what post-processing computes, for gateware tests, compiler and emulator alike."""

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .errors import ProgramError

Ints = npt.NDArray[np.int64]

PRODUCT_DROP = 15
"""Low bits of the product ``biased * mult`` that are dropped before the rounding constant is added."""
MULT_BITS = 31
SHIFT_BITS = 5
TIE_BITS = 25
"""Bits of a fraction that tell whether float32 makes a tie of it: its 24, and one more for 1/2 itself."""
TIE_SPARE = TIE_BITS - PRODUCT_DROP - 7
"""So many bits less has the shortest fraction; zeros take their places."""
ADD_MULT_BITS = 27
ADD_CONSTANT_BITS = 48
ADD_SHIFT_BITS = 6
OFFSET_BITS = 9


def wrap(value: Ints, bits: int) -> Ints:
    """Two's complement of ``bits`` bits."""
    half = np.int64(1) << np.int64(bits - 1)
    return ((value + half) & ((np.int64(1) << np.int64(bits)) - 1)) - half


@dataclass(frozen=True, kw_only=True)
class Channel:
    """Requantisation of one output channel; one record of the parameter memory.

    ``q = clamp((((((acc + bias) * mult) >> PRODUCT_DROP) + round) >> shift) + zero)`` where round is
    ``round_neg`` if acc + bias is negative and ``round_pos`` otherwise; ``>>`` rounds towards minus infinity.
    zero, low and high come from the POST instruction.

    Dropping PRODUCT_DROP bits early loses nothing: it equals a rounding constant that is a multiple of
    2**PRODUCT_DROP. The scale is mult / 2**(shift + PRODUCT_DROP).

    With ``even`` it rounds as float32 does, a tie to the even neighbour. Let n be what the shift leaves and f
    the fraction that it drops (of the whole product, plus the rounding constant). With a rounding constant of
    one half, n is the product rounded; it is close to the tie t = n - 1/2 if f is close to 0, and to
    t = n + 1/2 if f is close to 1. A float32 product becomes t if it is within 2**(e - 24) of it, where
    2**e <= abs(t) < 2**(e + 1). So n - 1 takes the place of an odd n if f < 2**(e - 24), and n + 1 does if
    f >= 1 - 2**(e - 24). Here e is at most 7, f has TIE_BITS = 25 bits, and the shift must be 7, 15, 23 or
    31: with others, or on a fabric without ``ties_to_even``, ``even`` is ignored.

    Parameters
    ----------
    bias : int
        Signed 32 bits, added modulo 2**acc_width.
    mult : int
        0 to 2**31 - 1.
    round_pos, round_neg : int
        Signed 32 bits.
    shift : int
        0 to 31.
    even : int
        1 for ties to even.
    """

    bias: int
    mult: int
    round_pos: int
    round_neg: int
    shift: int
    even: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("bias", -(2**31), 2**31 - 1),
            ("mult", 0, 2**MULT_BITS - 1),
            ("round_pos", -(2**31), 2**31 - 1),
            ("round_neg", -(2**31), 2**31 - 1),
            ("shift", 0, 2**SHIFT_BITS - 1),
            ("even", 0, 1),
        ):
            if not low <= getattr(self, name) <= high:
                raise ProgramError(f"{name} is {getattr(self, name)}; a channel record holds {low} to {high}")

    def pack(self) -> bytes:
        """The record: little-endian bias, mult, round_pos, round_neg, 32 bits each, shift (8), even (24)."""
        last = self.shift | self.even << 8
        return struct.pack("<iIiiI", self.bias, self.mult, self.round_pos, self.round_neg, last)

    @classmethod
    def unpack(cls, record: bytes) -> "Channel":
        """The inverse of pack; bits that mean nothing are ignored, as the hardware does."""
        bias, mult, round_pos, round_neg, last = struct.unpack("<iIiiI", record)
        return cls(
            bias=bias,
            mult=mult & (2**MULT_BITS - 1),
            round_pos=round_pos,
            round_neg=round_neg,
            shift=last & (2**SHIFT_BITS - 1),
            even=last >> 8 & 1,
        )

    def apply(self, acc: Ints, *, zero: int, low: int, high: int, acc_width: int = 32) -> Ints:
        """Requantised int8 values of partial sums ``acc`` (any shape)."""
        return self.apply_biased(wrap(acc + self.bias, acc_width), zero=zero, low=low, high=high)

    def apply_biased(self, biased: Ints, *, zero: int, low: int, high: int) -> Ints:
        """The same from acc + bias on."""
        rounding = np.where(biased < 0, np.int64(self.round_neg), np.int64(self.round_pos))
        product = biased * np.int64(self.mult)
        shifted = ((product >> np.int64(PRODUCT_DROP)) + rounding) >> np.int64(self.shift)
        if np.any(self.even):
            total = product + (rounding << np.int64(PRODUCT_DROP))
            shifted = shifted + to_even(total, shifted, np.int64(self.shift)) * np.int64(self.even)
        out: Ints = np.clip(shifted + zero, low, high)
        return out


def to_even(total: Ints, whole: Ints, shift: Ints | np.int64) -> Ints:
    """What leads from ``whole``, total >> (shift + PRODUCT_DROP), to the even neighbour of a tie of float32.

    -1, 1, or 0 where there is no tie, as Channel says of ``even``.
    """
    point = shift + PRODUCT_DROP
    fraction = ((total - (whole << point)) << TIE_SPARE) >> np.maximum(point + TIE_SPARE - TIE_BITS, 0)
    above = fraction >> np.int64(TIE_BITS - 1)  # the tie is whole + 1/2; else whole - 1/2
    distance = np.where(above, 2**TIE_BITS - 1 - fraction, fraction)
    tie = np.where(whole < 0, -whole - above, whole - 1 + above)  # its size, without the half
    bits = np.frexp(np.clip(tie, 0, 255))[1]
    near = (whole & 1 == 1) & (distance >> bits.astype(np.int64) == 0) & (shift % 8 == 7)
    out: Ints = np.where(near, 2 * above - 1, 0)
    return out


@dataclass(frozen=True, kw_only=True)
class Add:
    """Residual add in post-processing: ``clamp((q * mult_q + other * mult_other + constant) >> shift)``.

    One record of the parameter memory, right behind the channels of its POST instruction. ``constant``
    carries the zero points and the rounding; q and other are the stored int8 values.

    Parameters
    ----------
    mult_q, mult_other : int
        Signed 27 bits.
    constant : int
        Signed 48 bits.
    shift : int
        0 to 63.
    low, high : int
        int8 limits of the sum.
    """

    mult_q: int
    mult_other: int
    constant: int
    shift: int
    low: int
    high: int

    def __post_init__(self) -> None:
        half = 2 ** (ADD_MULT_BITS - 1)
        for name, least, most in (
            ("mult_q", -half, half - 1),
            ("mult_other", -half, half - 1),
            ("constant", -(2 ** (ADD_CONSTANT_BITS - 1)), 2 ** (ADD_CONSTANT_BITS - 1) - 1),
            ("shift", 0, 2**ADD_SHIFT_BITS - 1),
            ("low", -128, 127),
            ("high", -128, 127),
        ):
            if not least <= getattr(self, name) <= most:
                raise ProgramError(f"{name} is {getattr(self, name)}; an add record holds {least} to {most}")

    def pack(self) -> bytes:
        """Little-endian mult_q (32), mult_other (32), constant (64), shift, low, high, 0 (8 each)."""
        return struct.pack(
            "<iiqBbbx", self.mult_q, self.mult_other, self.constant, self.shift, self.low, self.high
        )

    @classmethod
    def unpack(cls, record: bytes) -> "Add":
        """The inverse of pack; bits that mean nothing are ignored, as the hardware does."""
        mult_q, mult_other, constant, shift, low, high = struct.unpack("<iiqBbbx", record)

        def signed(value: int, bits: int) -> int:
            return ((value + (1 << bits - 1)) & ((1 << bits) - 1)) - (1 << bits - 1)

        return cls(
            mult_q=signed(mult_q, ADD_MULT_BITS),
            mult_other=signed(mult_other, ADD_MULT_BITS),
            constant=signed(constant, ADD_CONSTANT_BITS),
            shift=shift & (2**ADD_SHIFT_BITS - 1),
            low=low,
            high=high,
        )

    def apply(self, q: Ints, other: Ints) -> Ints:
        """The int8 sums of two arrays of stored int8 values."""
        total = q * np.int64(self.mult_q) + other * np.int64(self.mult_other) + np.int64(self.constant)
        out: Ints = np.clip(total >> np.int64(self.shift), self.low, self.high)
        return out


@dataclass(frozen=True, kw_only=True)
class Product:
    """Product of two stored values in post-processing: ``(q + offset_q) * (other + offset_other)``.

    One record of the parameter memory, right behind the channels of its POST instruction. q is the low 8 bits
    of the sum, signed. The product takes the sum's place and is requantised by the channel's record.

    Parameters
    ----------
    offset_q, offset_other : int
        Signed 9 bits: minus the zero points.
    """

    offset_q: int
    offset_other: int

    def __post_init__(self) -> None:
        half = 2 ** (OFFSET_BITS - 1)
        for name in ("offset_q", "offset_other"):
            if not -half <= getattr(self, name) < half:
                raise ProgramError(
                    f"{name} is {getattr(self, name)}; a product record holds {-half} to {half - 1}"
                )

    def pack(self) -> bytes:
        """Little-endian offset_q (16), offset_other (16), 0 (128)."""
        return struct.pack("<hh16x", self.offset_q, self.offset_other)

    @classmethod
    def unpack(cls, record: bytes) -> "Product":
        """The inverse of pack; bits that mean nothing are ignored, as the hardware does."""
        offsets = np.array(struct.unpack("<hh16x", record), np.int64)
        offset_q, offset_other = (int(value) for value in wrap(offsets, OFFSET_BITS))
        return cls(offset_q=offset_q, offset_other=offset_other)

    def apply(self, q: Ints, other: Ints) -> Ints:
        """The products of two arrays; of q only the low 8 bits count."""
        product: Ints = (wrap(q, 8) + self.offset_q) * (other + self.offset_other)
        return product
