# amaranth: UnusedElaboratable=no
"""WeightSteering: each row keeps its own word, wherever the gaps between the words are."""
import numpy as np
import pytest
from amaranth.sim import Simulator
from celosia.rtl.systolic.weights import WeightSteering


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 32])
@pytest.mark.parametrize("gaps", [False, True])
def test_row_r_keeps_word_r_of_every_tile_r_cycles_after_it_entered(rows, gaps):
    dut = WeightSteering(rows=rows)
    rng = np.random.default_rng(seed=rows)
    enters = np.cumsum(1 + (rng.integers(0, 3, 6 * rows) if gaps else np.zeros(6 * rows, int))) - 1
    want = {(int(cycle) + word % rows, word % rows) for word, cycle in enumerate(enters)}
    starts = {int(cycle) for cycle in enters[::rows]}
    got = set()

    async def bench(ctx):
        for t in range(enters[-1] + rows + 1):
            ctx.set(dut.i_valid, t in enters)
            ctx.set(dut.i_start, t in starts or (t not in enters and int(rng.integers(2))))
            keep = ctx.get(dut.o_keep)
            got.update((t, row) for row in range(rows) if keep >> row & 1)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert got == want
