# amaranth: UnusedElaboratable=no
"""ProcessingElement against NumPy: values, and the cycle each value appears in."""
import numpy as np
import pytest
from amaranth.sim import Simulator
from celosia.rtl.primitives.multiplier import Multiplier
from celosia.rtl.systolic.pe import ProcessingElement


def run(dut, bench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


async def load(ctx, dut, weight):
    """Make ``weight`` the active one, and leave noise on i_weight."""
    ctx.set(dut.i_weight, weight)
    ctx.set(dut.i_keep, 1)
    await ctx.tick()
    ctx.set(dut.i_weight, 85)
    ctx.set(dut.i_keep, 0)
    ctx.set(dut.i_swap, 1)
    await ctx.tick()
    ctx.set(dut.i_swap, 0)


@pytest.mark.parametrize("weight", [-256, -255, -128, -1, 0, 127, 255])  # the corners
def test_psum_matches_numpy_at_its_stated_latency(weight):
    dut = ProcessingElement(weight_width=9)
    assert (dut.LATENCY_ACT, dut.LATENCY_PSUM) == (1, 1)
    rng = np.random.default_rng(seed=weight + 256)
    act = np.concatenate([[-128, -1, 0, 127], rng.integers(-128, 128, 60)])
    psum = rng.integers(-(2**30), 2**30, len(act))
    got = []

    async def bench(ctx):
        await load(ctx, dut, weight)
        for t in range(len(act) + Multiplier.LATENCY + dut.LATENCY_PSUM):
            ctx.set(dut.i_act, int(act[t]) if t < len(act) else 0)
            started = t - Multiplier.LATENCY
            ctx.set(dut.i_psum, int(psum[started]) if 0 <= started < len(act) else 0)
            got.append(ctx.get(dut.o_psum))
            await ctx.tick()

    run(dut, bench)
    np.testing.assert_array_equal(got[Multiplier.LATENCY + dut.LATENCY_PSUM:], psum + act * weight)


def test_sum_wraps_at_its_width():
    dut = ProcessingElement(acc_width=20)

    async def bench(ctx):
        await load(ctx, dut, -128)
        ctx.set(dut.i_act, -128)
        ctx.set(dut.i_psum, 2**19 - 1)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.o_psum) == 2**19 - 1 + 2**14 - 2**20

    run(dut, bench)


def test_a_kept_weight_waits_for_the_swap_and_both_may_come_at_once():
    dut = ProcessingElement()
    seen = []

    async def bench(ctx):
        await load(ctx, dut, 3)
        ctx.set(dut.i_act, 1)
        #          keep 5        swap 5 and keep 7        swap 7
        steps = [(1, 0, 5), (0, 0, 9), (1, 1, 7), (0, 0, 9), (0, 1, 9), (0, 0, 9), (0, 0, 9)]
        for keep, swap, weight in steps:
            ctx.set(dut.i_keep, keep)
            ctx.set(dut.i_swap, swap)
            ctx.set(dut.i_weight, weight)
            await ctx.tick()
            seen.append(ctx.get(dut.o_psum))

    run(dut, bench)
    # The activation in the cycle after a swap is the first that meets the new weight.
    assert seen == [0, 3, 3, 3, 5, 5, 7]


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_the_selection_of_a_cycle_says_which_activation_is_multiplied(copies):
    dut = ProcessingElement(copies=copies)
    rng = np.random.default_rng(seed=copies)
    count = 60
    sources = rng.integers(-128, 128, (count, 1 + copies))  # the activation from the left, and the copies
    select = rng.integers(0, copies + 1, count)
    got = []

    async def bench(ctx):
        await load(ctx, dut, -77)
        for t in range(count + Multiplier.LATENCY + dut.LATENCY_PSUM):
            now = min(t, count - 1)
            ctx.set(dut.i_act, int(sources[now, 0]))
            ctx.set(dut.i_copies, sources[now, 1:].tolist())
            ctx.set(dut.i_select, int(select[now]))
            got.append(ctx.get(dut.o_psum))
            await ctx.tick()

    run(dut, bench)
    want = -77 * sources[np.arange(count), select]
    np.testing.assert_array_equal(got[Multiplier.LATENCY + dut.LATENCY_PSUM:], want)


def test_act_weight_select_swap_and_keep_pass_on_after_latency_act():
    dut = ProcessingElement(weight_width=9, copies=3)
    rng = np.random.default_rng(seed=1)
    names = "act", "weight", "select", "swap", "keep"
    sent = list(zip(*(rng.integers(low, high, 50).tolist() for low, high in [
        (-128, 128), (-256, 256), (0, 4), (0, 2), (0, 2)]), strict=True))
    got = []

    async def bench(ctx):
        for values in [*sent, (0, 0, 0, 0, 0)]:
            got.append(tuple(ctx.get(getattr(dut, f"o_{name}")) for name in names))
            for name, value in zip(names, values, strict=True):
                ctx.set(getattr(dut, f"i_{name}"), value)
            await ctx.tick()

    run(dut, bench)
    assert got[dut.LATENCY_ACT:] == sent


def test_rejects_an_accumulator_too_narrow_for_one_product():
    with pytest.raises(ValueError, match="acc_width 15 cannot hold"):
        ProcessingElement(acc_width=15)
    with pytest.raises(ValueError, match="acc_width 16 cannot hold one product of 8 by 9 bits"):
        ProcessingElement(weight_width=9, acc_width=16)


def test_rejects_a_cell_without_a_pixel_stream():
    with pytest.raises(ValueError, match="copies is 0"):
        ProcessingElement(copies=0)
