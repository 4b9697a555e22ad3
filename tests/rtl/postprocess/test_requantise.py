# amaranth: UnusedElaboratable=no
"""Requantiser against numerics.Channel: corners, random channels, and records that change between values."""
from dataclasses import replace
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from celosia.rtl.contract.numerics import MULT_BITS, PRODUCT_DROP, Channel
from celosia.rtl.postprocess.requantise import Requantiser
from support.pipe import Pipe

INT32 = (-(2**31), 2**31 - 1)
MOST = 2**MULT_BITS - 1
CORNER_CHANNELS = [
    Channel(bias=bias, mult=mult, round_pos=round_pos, round_neg=round_neg, shift=shift)
    for bias in (INT32[0], -1, 0, INT32[1])
    for mult, round_pos, round_neg, shift in (
        (0, 0, 0, 0), (0, *INT32, 31), (MOST, INT32[1], INT32[1], 0), (MOST, *INT32, 31),
        (MOST, INT32[0], INT32[0], 31), (2**30, 2**30, 2**30 - 1, 31), (1, -1, 1, 1), (2**15, 0, -1, 0))
]


def random_channel(rng, acc_width):
    """A channel whose values spread over int8 and a bit beyond, for partial sums of random size."""
    size = int(rng.integers(4, acc_width))
    shift = int(rng.integers(max(0, size - 22), min(31, size + 6), endpoint=True))
    mult = int(2.0 ** (shift + PRODUCT_DROP + 8 - size) * (1 + rng.random()))
    rounding = rng.integers(0, max(1, 1 << shift), 2) if rng.random() < 0.7 else rng.integers(*INT32, 2)
    return Channel(bias=int(rng.integers(*INT32) >> rng.integers(32)), mult=mult, round_pos=int(rounding[0]),
                   round_neg=int(rounding[1]), shift=shift), size


def tie_channel(rng, side):
    """One that rounds to even, and a biased sum whose product lies beside the end of a tie's reach.

    ``side`` is that of the tie: -1, 0 or 1 for the one end, the tie itself, and the other.
    """
    shift = int(rng.choice([7, 15, 23, 31]))
    point = shift + PRODUCT_DROP
    bits = int(rng.integers(8))
    tie = Fraction(int(rng.integers(1 << bits >> 1, 1 << bits)) * 2 + 1, 2)
    reach = Fraction(2) ** (bits - 25)  # 2**(bits - 1) <= tie < 2**bits
    goal = floor((tie + side * reach) * 2**point) + int(rng.integers(-1, 2)) * int(rng.integers(1, 3))
    size = 1 << max(0, goal.bit_length() - MULT_BITS)  # of the sum: the product is exact to this
    biased = size * int(rng.choice([-1, 1]))
    half = 1 << shift - 1
    return Channel(bias=int(rng.integers(-9999, 9999)), mult=goal // size, round_pos=half, round_neg=half,
                   shift=shift, even=1), biased


def record(channel):
    return int.from_bytes(channel.pack(), "little")


def values_for(rng, channel, size, count, acc_width):
    """Partial sums: the ends of the range, around the change of sign, and random ones, mostly in range."""
    half = 1 << acc_width - 1
    bias = channel.bias
    corners = [-half, half - 1, 0, -1, 1, -bias, -bias - 1, -bias + 1, half - bias]
    drawn = rng.integers(-(1 << size - 1), 1 << size - 1, count) - bias
    drawn[:len(corners)] = corners[:count]
    return ((drawn + half) & (2 * half - 1)) - half


@pytest.mark.parametrize(("acc_width", "groups"), [(32, 1), (20, 2), (24, 5)])
def test_q_equals_the_contract_at_its_stated_latency(acc_width, groups):
    dut = Requantiser(acc_width=acc_width, groups=groups)
    rng = np.random.default_rng(acc_width)
    channels = [(channel, acc_width) for channel in CORNER_CHANNELS]
    channels += [random_channel(rng, acc_width) for _ in range(64 // groups * groups)]
    channels += [(replace(channel, even=1), size) for channel, size in channels[::2]]
    sets = [channels[i:i + groups] for i in range(0, len(channels) - groups + 1, groups)]
    limits = [(0, -128, 127), (-128, -128, 127), (127, -128, 127), (-128, -128, -128), (-3, -3, 127),
              (5, -20, 30)]
    pipe = Pipe(dut, dut.o_q)
    per_set = 24 * groups

    async def bench(ctx):
        for number, members in enumerate(sets):
            # Records follow the last value of the set before at the shortest distance that is allowed ...
            for _ in range(Requantiser.LATENCY_LAST - 1):
                ctx.set(dut.i_group, int(rng.integers(groups)))
                await pipe.tick(ctx)
            for group, (channel, _) in enumerate(members):
                ctx.set(dut.load.valid, 1)
                ctx.set(dut.load.group, group)
                ctx.set(dut.load.record.as_value(), record(channel))
                await pipe.tick(ctx)
            ctx.set(dut.load.valid, 0)
            ctx.set(dut.load.record.as_value(), int.from_bytes(rng.bytes(20), "little"))
            zero, low, high = limits[number // 2 % len(limits)] if number % 2 else limits[0]
            still = Requantiser.LATENCY - groups - Requantiser.LATENCY_LAST
            await pipe.tick(ctx, still)  # ... but the instruction's values hold until the lane is empty
            ctx.set(dut.i_zero, zero)
            ctx.set(dut.i_low, low)
            ctx.set(dut.i_high, high)
            order, want = rng.integers(groups, size=per_set), {}
            for group in range(groups):
                channel, size = members[group]
                places = np.flatnonzero(order == group)
                acc = values_for(rng, channel, size, len(places), acc_width)
                q = channel.apply(acc, zero=zero, low=low, high=high, acc_width=acc_width)
                want |= {int(place): (int(a), int(b)) for place, a, b in zip(places, acc, q, strict=True)}
            for place in range(per_set):
                ctx.set(dut.i_group, int(order[place]))
                ctx.set(dut.i_acc, want[place][0])
                pipe.expect(want[place][1])
                await pipe.tick(ctx)

    pipe.run(bench)
    assert len(pipe.expected) > 1000, "the stimulus exercises too little"
    assert len(set(pipe.expected.values())) > 150, "the stimulus exercises too little"


@pytest.mark.parametrize("ties_to_even", [True, False])
def test_ties_of_float32_go_to_even_where_the_lane_can(ties_to_even):
    dut = Requantiser(groups=1, ties_to_even=ties_to_even)
    rng = np.random.default_rng(seed=9)
    pipe = Pipe(dut, dut.o_q)
    moved = {-1: 0, 0: 0, 1: 0}

    async def bench(ctx):
        for zero, low, high in ((0, -128, 127), (-128, -128, 127), (127, -128, 127), (-5, -20, 99)):
            ctx.set(dut.i_zero, zero)
            ctx.set(dut.i_low, low)
            ctx.set(dut.i_high, high)
            for number in range(150):
                channel, biased = tie_channel(rng, number % 3 - 1)
                ctx.set(dut.load.valid, 1)
                ctx.set(dut.load.record.as_value(), record(channel))
                await pipe.tick(ctx)
                ctx.set(dut.load.valid, 0)
                for step in (0, -1, 1) if number % 8 == 0 else (0,):
                    acc = np.array([biased + step - channel.bias])
                    plain, even = (int(each.apply(acc, zero=zero, low=low, high=high)[0])
                                   for each in (replace(channel, even=0), channel))
                    moved[even - plain] += 1
                    ctx.set(dut.i_acc, int(acc[0]))
                    pipe.expect(even if ties_to_even else plain)
                    await pipe.tick(ctx)
                await pipe.tick(ctx, Requantiser.LATENCY_LAST - 1)
            await pipe.tick(ctx, Requantiser.LATENCY)

    pipe.run(bench)
    assert min(moved.values()) > 20, f"the stimulus exercises too little: {moved}"


def test_the_contract_rounds_products_of_float32_as_float32_does():
    """With the exact scale and constants of one half; but for products at the very end of a tie's reach."""
    rng = np.random.default_rng(seed=2)
    ties = 0
    for _ in range(3000):
        bits = int(rng.integers(1, 25))
        mantissa = int(rng.integers(1 << bits - 1, 1 << bits)) << 24 - bits
        exponent = int(rng.integers(-40, -14))  # the scale is mantissa * 2**exponent: 2**-17 to 2**10
        shift = next(s for s in (31, 23, 15, 7) if exponent + s + PRODUCT_DROP <= MULT_BITS - 24)
        mult = mantissa << exponent + shift + PRODUCT_DROP
        channel = Channel(bias=0, mult=mult, round_pos=1 << shift - 1, round_neg=1 << shift - 1, shift=shift,
                          even=1)
        scale = np.float32(np.ldexp(mantissa, exponent))
        ends = (rng.integers(-256, 256, 40) + 0.5) / np.float64(scale)
        sums = np.rint(ends[np.abs(ends) < 2**24]).astype(np.int64)
        product = sums.astype(np.float32) * scale
        exact = sums * np.float64(scale)
        tie = np.floor(exact) + 0.5
        reach = np.ldexp(1.0, np.frexp(tie)[1] - 25)
        ties += np.count_nonzero((product == tie) & (exact != tie))
        inside = np.abs(exact - tie) != reach
        want = np.clip(np.rint(product).astype(np.int64), -128, 127)
        got = channel.apply(sums, zero=0, low=-128, high=127)
        np.testing.assert_array_equal(got[inside], want[inside])
    assert ties > 20, "the stimulus exercises too little"


def test_even_is_packed_and_of_no_effect_with_other_shifts():
    for shift in range(32):
        channel = Channel(bias=0, mult=0, round_pos=0, round_neg=-(1 << shift), shift=shift, even=1)
        assert Channel.unpack(channel.pack()) == channel
        got = channel.apply(np.array([-1]), zero=0, low=-128, high=127)
        assert got == (-2 if shift in (7, 15, 23, 31) else -1)
