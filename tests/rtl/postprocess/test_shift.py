# amaranth: UnusedElaboratable=no
"""SaturatingShift against Python's ``>>`` and NumPy's clip: every shift, around every power of two."""
from fractions import Fraction
from math import floor, frexp

import numpy as np
import pytest
from celosia.rtl.postprocess.shift import SaturatingShift
from support.pipe import Pipe


@pytest.mark.parametrize(("width", "shift_width", "out_width"),
                         [(49, 5, 9), (37, 5, 9), (49, 6, 8), (12, 4, 2)])
def test_shifted_and_limited_value_is_exact_at_its_stated_latency(width, shift_width, out_width):
    dut = SaturatingShift(width=width, shift_width=shift_width, out_width=out_width)
    rng = np.random.default_rng(width)
    low, high = -(1 << width - 1), (1 << width - 1) - 1
    half = 1 << out_width - 1
    pairs = []
    for shift in range(1 << shift_width):
        edge = half << shift  # the first value that is out of range
        values = {low, high, -1, 0, 1, edge, edge - 1, -edge, -edge - 1, edge >> 1, -edge + 1}
        values |= {int(value) >> int(rng.integers(width)) for value in rng.integers(low, high, 20)}
        # One bit that differs from the sign, anywhere, must be enough.
        values |= {1 << int(rng.integers(width - 1)), ~(1 << int(rng.integers(width - 1)))}
        pairs += [(value, shift) for value in sorted(values) if low <= value <= high]
    pipe = Pipe(dut, dut.o_value)

    async def bench(ctx):
        for value, shift in pairs:
            ctx.set(dut.i_value, value)
            ctx.set(dut.i_shift, shift)
            pipe.expect(min(max(value >> shift, -half), half - 1))
            await pipe.tick(ctx)

    pipe.run(bench)


def beside_ties(point, out_width, tie_bits):
    """Values of ``point`` fraction bits around both ends of the reach of ties."""
    for number in (n for n in (1, 2, 3, 4, 5, 31, 127, 128, 129, 254, 255, 256, 257) if n < 1 << out_width):
        reach = Fraction(2) ** (frexp(number - 0.5)[1] - tie_bits)
        for sign in (1, -1):
            tie = sign * (Fraction(number) - Fraction(1, 2))
            for end in (tie - reach, tie, tie + reach):
                yield from (floor((end + Fraction(1, 2)) * 2**point) + step for step in (-1, 0, 1))


def to_even(total, point, width, tie_bits):
    """``total / 2**point`` rounded down, but odd results near a tie as numerics.Channel says; limited."""
    value = Fraction(total, 2**point)
    result = floor(value)
    fraction = Fraction(floor((value - result) * 2**tie_bits), 2**tie_bits)
    half = Fraction(1, 2)
    if result % 2:
        tie = result - half if fraction < half else result + half
        reach = Fraction(2) ** (min(frexp(abs(tie))[1] - 1, width - 2) - (tie_bits - 1))
        if fraction < reach:
            result -= 1
        elif fraction >= 1 - reach:
            result += 1
    return result


@pytest.mark.parametrize(("width", "shift_width", "out_width", "tie_bits", "below"),
                         [(49, 5, 9, 25, 15), (41, 5, 9, 25, 18), (39, 5, 6, 13, 0), (33, 4, 4, 14, 7)])
def test_odd_results_near_a_tie_become_even(width, shift_width, out_width, tie_bits, below):
    dut = SaturatingShift(width=width, shift_width=shift_width, out_width=out_width, tie_bits=tie_bits,
                          below=below)
    rng = np.random.default_rng(width)
    half = 1 << out_width - 1
    low, high = -(1 << width + below - 1), (1 << width + below - 1) - 1
    pipe = Pipe(dut, dut.o_value + dut.o_up)
    moved = {-1: 0, 0: 0, 1: 0}

    async def bench(ctx):
        for shift in range(1 << shift_width):
            point = shift + below
            totals = {*beside_ties(point, out_width, tie_bits), low, high, -1, 0, 1}
            totals |= {int(rng.integers(-half, half)) << point | int(rng.integers(1 << point)) >> zeros
                       for zeros in range(min(30, point))}
            matter = shift % 8 == 7
            for total in sorted(total for total in totals if low <= total <= high):
                if not matter and rng.random() < 0.8:
                    continue
                for even in (1,) if matter and rng.random() < 0.8 else (0, 1):
                    ctx.set(dut.i_value, total >> below)
                    ctx.set(dut.i_below, total & (1 << below) - 1)
                    ctx.set(dut.i_shift, shift)
                    ctx.set(dut.i_even, even)
                    plain = total >> point
                    result = to_even(total, point, out_width, tie_bits) if even and matter else plain
                    if -half <= plain < half:
                        moved[result - plain] += 1
                        pipe.expect(result)
                    else:  # beyond the limits nothing moves
                        pipe.expect(min(max(plain, -half), half - 1))
                    await pipe.tick(ctx)

    pipe.run(bench)
    assert min(moved[-1], moved[1]) >= 8, f"the stimulus exercises too little: {moved}"


def test_widths_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="out_width is 9; it must be 2 to 8"):
        SaturatingShift(width=9, shift_width=5, out_width=9)
    with pytest.raises(ValueError, match="shift_width is 3"):
        SaturatingShift(width=20, shift_width=3, out_width=9)
    with pytest.raises(ValueError, match="tie_bits is 15; it must be 16 or more"):
        SaturatingShift(width=49, shift_width=5, out_width=9, tie_bits=15)
    with pytest.raises(ValueError, match="below is 19; it must be 0 to 18"):
        SaturatingShift(width=49, shift_width=5, out_width=9, tie_bits=25, below=19)
