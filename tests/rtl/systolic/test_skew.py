# amaranth: UnusedElaboratable=no
"""Skew: lane i comes out i cycles later, whatever the shape."""
import numpy as np
import pytest
from amaranth import ClockDomain, Module, signed
from amaranth.sim import Simulator
from celosia.rtl.systolic.skew import Skew


@pytest.mark.parametrize("lanes", [1, 2, 5, 16])
@pytest.mark.parametrize("shape", [signed(8), signed(3)], ids=["8 bits", "3 bits"])
def test_lane_i_is_delayed_i_cycles(lanes, shape):
    dut = Skew(shape=shape, lanes=lanes)
    rng = np.random.default_rng(seed=lanes)
    high = 1 << shape.width - 1
    sent = rng.integers(-high, high, (40, lanes))
    got = []

    async def bench(ctx):
        for vector in sent:
            ctx.set(dut.i, vector.tolist())
            got.append([ctx.get(dut.o[lane]) for lane in range(lanes)])
            await ctx.tick()

    top = Module()
    top.domains.sync = ClockDomain()  # one lane is a wire: the skew alone would have no clock
    top.submodules.dut = dut
    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    for lane in range(lanes):
        np.testing.assert_array_equal(np.array(got)[lane:, lane], sent[:len(sent) - lane, lane])


def test_refuses_no_lanes():
    with pytest.raises(ValueError, match="lanes is 0"):
        Skew(shape=8, lanes=0)
