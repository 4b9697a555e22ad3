# amaranth: UnusedElaboratable=no
"""Token counters against a plain model, all of them given and taken at random in every cycle."""
import random

import pytest
from amaranth.sim import Simulator
from celosia.rtl.contract.isa import TOKEN_MAX, Unit
from celosia.rtl.sequencer.tokens import Tokens


@pytest.mark.parametrize("eager", [0.2, 0.5, 0.8])  # how often tokens are given: mostly empty ... mostly full
def test_counters_match_a_model_when_given_and_taken_in_one_cycle(eager):
    rng = random.Random(f"{eager}")
    dut = Tokens()
    pairs = [(u, v) for u in Unit for v in Unit if u != v]
    count = dict.fromkeys(pairs, 0)
    seen = set()

    async def bench(ctx):
        for _ in range(400):
            some = [ctx.get(dut.o_some[v]) for v in Unit]
            room = [ctx.get(dut.o_room[u]) for u in Unit]
            for u in Unit:
                assert some[u] >> u & 1 and room[u] >> u & 1
            give, take = [0] * len(Unit), [0] * len(Unit)
            for u, v in pairs:
                assert some[v] >> u & 1 == (count[u, v] > 0) and room[u] >> v & 1 == (count[u, v] < TOKEN_MAX)
                given = count[u, v] < TOKEN_MAX and rng.random() < eager
                taken = count[u, v] > 0 and rng.random() < 0.5
                give[u] |= given << v
                take[v] |= taken << u
                count[u, v] += given - taken
                seen.add(count[u, v])
            for unit in Unit:
                ctx.set(dut.i_give[unit], give[unit])
                ctx.set(dut.i_take[unit], take[unit])
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert 0 in seen and (TOKEN_MAX in seen) == (eager == 0.8)
