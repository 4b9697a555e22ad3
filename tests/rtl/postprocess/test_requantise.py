# amaranth: UnusedElaboratable=no
"""Requantiser against numerics.Channel: corners, random channels, and records that change between values."""
import numpy as np
import pytest
from amaranth.sim import Simulator
from celosia.rtl.contract.numerics import MULT_BITS, PRODUCT_DROP, Channel
from celosia.rtl.postprocess.requantise import Requantiser

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
    sets = [channels[i:i + groups] for i in range(0, len(channels) - groups + 1, groups)]
    limits = [(0, -128, 127), (-128, -128, 127), (127, -128, 127), (-128, -128, -128), (-3, -3, 127),
              (5, -20, 30)]
    expected, got = {}, {}
    per_set = 24 * groups

    async def bench(ctx):
        cycle = 0

        async def tick():
            nonlocal cycle
            got[cycle] = ctx.get(dut.o_q)
            await ctx.tick()
            cycle += 1

        for number, members in enumerate(sets):
            # Records follow the last value of the set before at the shortest distance that is allowed ...
            for _ in range(Requantiser.LATENCY_LAST - 1):
                ctx.set(dut.i_group, int(rng.integers(groups)))
                await tick()
            for group, (channel, _) in enumerate(members):
                ctx.set(dut.load.valid, 1)
                ctx.set(dut.load.group, group)
                ctx.set(dut.load.record.as_value(), record(channel))
                await tick()
            ctx.set(dut.load.valid, 0)
            ctx.set(dut.load.record.as_value(), int.from_bytes(rng.bytes(20), "little"))
            zero, low, high = limits[number // 2 % len(limits)] if number % 2 else limits[0]
            still = Requantiser.LATENCY - groups - Requantiser.LATENCY_LAST
            for _ in range(still):  # ... but the instruction's values must hold until the lane is empty
                await tick()
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
            start = cycle
            for place in range(per_set):
                ctx.set(dut.i_group, int(order[place]))
                ctx.set(dut.i_acc, want[place][0])
                await tick()
            expected.update({start + place + Requantiser.LATENCY: want[place][1] for place in range(per_set)})
        for _ in range(Requantiser.LATENCY):
            await tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert len(expected) > 1000 and len(set(expected.values())) > 150, "the stimulus exercises too little"
    wrong = {cycle: (got[cycle], q) for cycle, q in expected.items() if got[cycle] != q}
    assert not wrong
