# amaranth: UnusedElaboratable=no
"""Multiplier: every int8 product, LATENCY cycles after its operands."""
import numpy as np
import pytest
from amaranth.sim import Simulator
from celosia.rtl.primitives.multiplier import Multiplier


@pytest.mark.parametrize("width", [1, 4, 8])
def test_products_match_numpy_at_the_stated_latency(width):
    dut = Multiplier(width=width)
    assert dut.LATENCY == 1
    low, high = -(1 << width - 1), (1 << width - 1) - 1
    corners = np.unique([low, low + 1, -1, 0, high - 1, high])
    corners = corners[(corners >= low) & (corners <= high)]
    rng = np.random.default_rng(seed=width)
    a = np.concatenate([np.repeat(corners, len(corners)), rng.integers(low, high + 1, 300)])
    b = np.concatenate([np.tile(corners, len(corners)), rng.integers(low, high + 1, 300)])
    got = []

    async def bench(ctx):
        for t in range(len(a) + dut.LATENCY):
            ctx.set(dut.i_a, int(a[t]) if t < len(a) else 0)
            ctx.set(dut.i_b, int(b[t]) if t < len(a) else 0)
            got.append(ctx.get(dut.o_product))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    np.testing.assert_array_equal(got[dut.LATENCY:], a * b)


def test_refuses_operands_of_no_bits():
    with pytest.raises(ValueError, match="width is 0"):
        Multiplier(width=0)
