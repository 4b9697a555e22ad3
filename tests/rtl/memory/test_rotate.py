# amaranth: UnusedElaboratable=no
"""Rotator against numpy.roll, at its stated latency, with a new amount every cycle."""
import numpy as np
import pytest
from amaranth.sim import Simulator
from celosia.rtl.memory.rotate import Rotator


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 5, 8, 13, 16, 31, 32])
def test_lanes_leave_rotated_after_its_latency(lanes, forward):
    dut = Rotator(lanes=lanes, width=8, forward=forward)
    rng = np.random.default_rng(lanes)
    amounts = np.concatenate([np.arange(lanes), rng.integers(0, lanes, 40)])
    vectors = rng.integers(0, 256, (len(amounts), lanes))

    async def bench(ctx):
        for t in range(len(amounts) + dut.LATENCY):
            if t < len(amounts):
                ctx.set(dut.i_amount, int(amounts[t]))
                ctx.set(dut.i_lanes, vectors[t].tolist())
            if t >= dut.LATENCY:
                then = t - dut.LATENCY
                want = np.roll(vectors[then], amounts[then] if forward else -amounts[then])
                assert list(ctx.get(dut.o_lanes)) == want.tolist()
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def test_refuses_a_rotator_of_nothing():
    with pytest.raises(ValueError, match="0 lanes"):
        Rotator(lanes=0, width=8, forward=True)
