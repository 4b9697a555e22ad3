# amaranth: UnusedElaboratable=no
"""RoundRobin: one at a time, nobody starved, and ready never looks at its own valid."""
import numpy as np
import pytest
from amaranth.sim import Simulator
from celosia.rtl.memory.arbiter import RoundRobin


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_exactly_one_valid_requester_passes_and_none_waits_longer_than_the_others_take(count):
    dut = RoundRobin(count=count)
    rng = np.random.default_rng(count)

    async def bench(ctx):
        waited = np.zeros(count, int)
        for _ in range(300):
            valid = int(rng.integers(0, 1 << count))
            # What was not served stays valid, as streams do.
            valid |= sum(1 << i for i in range(count) if waited[i])
            ctx.set(dut.i_valid, valid)
            ready = ctx.get(dut.o_ready)
            for i in range(count):
                ctx.set(dut.i_valid, valid ^ 1 << i)
                assert ctx.get(dut.o_ready) >> i & 1 == ready >> i & 1, "ready depends on its own valid"
            ctx.set(dut.i_valid, valid)
            assert (valid & ready).bit_count() == (valid != 0)
            for i in range(count):
                waited[i] = waited[i] + 1 if (valid & ~ready) >> i & 1 else 0
            assert waited.max() <= count - 1
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def test_refuses_no_requester():
    with pytest.raises(ValueError, match="count is 0"):
        RoundRobin(count=0)
