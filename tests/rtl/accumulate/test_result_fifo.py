# amaranth: UnusedElaboratable=no
"""ResultFifo: order, stream rules, credits, its stated latency; columns written one after the other."""
from collections import deque

import numpy as np
import pytest
from amaranth.sim import Simulator
from celosia.rtl.accumulate.result_fifo import ResultFifo


def run(dut, bench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


class Bench:
    """Claims with credits, writes column c in the c-th cycle after the claim, takes with random ``ready``."""

    def __init__(self, dut, depth, cols, rng):
        self.dut, self.depth, self.cols, self.rng = dut, depth, cols, rng
        self.credits = depth
        self.sent, self.got = [], []
        self.under_way = deque([None] * cols, cols)  # newest first
        self.held = None

    async def cycle(self, ctx, *, offer, ready):
        dut = self.dut
        claim = offer and self.credits > 0
        result = None
        if claim:
            self.credits -= 1
            result = (ctx.get(dut.slot), self.rng.integers(-(2**31), 2**31, self.cols).tolist())
            self.sent.append(result[1])
        ctx.set(dut.claim, claim)
        self.under_way.appendleft(result)
        for c, entry in enumerate(self.under_way):
            ctx.set(dut.write[c].valid, entry is not None)
            ctx.set(dut.write[c].slot, entry[0] if entry else int(self.rng.integers(self.depth)))
            ctx.set(dut.write[c].data, entry[1][c] if entry else 0x55)

        ctx.set(dut.results.ready, not ready)
        other = ctx.get(dut.results.valid)
        ctx.set(dut.results.ready, ready)
        valid = ctx.get(dut.results.valid)
        assert valid == other, "valid depends on ready"
        payload = [ctx.get(dut.results.payload[c]) for c in range(self.cols)] if valid else None
        if self.held is not None:
            assert payload == self.held, "the payload changed before it was taken"
        self.held = None if ready else payload
        if valid and ready:
            self.got.append(payload)
        self.credits += ctx.get(dut.credit)
        assert self.credits <= self.depth, "more credits than slots"
        await ctx.tick()
        return valid and ready


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("cols", [1, 3])
@pytest.mark.parametrize("offered, taken", [(1.0, 1.0), (1.0, 0.3), (0.3, 1.0), (0.6, 0.6)])
def test_results_come_in_order_and_complete_with_every_credit(depth, cols, offered, taken):
    rng = np.random.default_rng(seed=depth)
    dut = ResultFifo(depth=depth, width=32, cols=cols)
    bench = Bench(dut, depth, cols, rng)

    async def play(ctx):
        for _ in range(200):
            await bench.cycle(ctx, offer=rng.random() < offered, ready=bool(rng.random() < taken))
        for _ in range(depth + cols + 10):
            await bench.cycle(ctx, offer=False, ready=True)

    run(dut, play)
    assert len(bench.sent) > 20
    assert bench.got == bench.sent
    assert bench.credits == depth


def test_a_full_fifo_keeps_everything_until_it_is_taken():
    depth, cols = 6, 3
    dut = ResultFifo(depth=depth, width=32, cols=cols)
    bench = Bench(dut, depth, cols, np.random.default_rng(seed=7))

    async def play(ctx):
        for _ in range(40):
            await bench.cycle(ctx, offer=True, ready=False)
        # The RAM is full; two results more are in the registers behind it, their slots in use again.
        assert bench.credits == 0
        assert len(bench.sent) == depth + 2
        for _ in range(depth + 2):  # full rate: one each cycle
            assert await bench.cycle(ctx, offer=False, ready=True)
        for _ in range(3):
            assert not await bench.cycle(ctx, offer=False, ready=True)

    run(dut, play)
    assert bench.got == bench.sent
    assert bench.credits == depth


def test_latency_of_an_empty_fifo():
    dut = ResultFifo(depth=4, width=32, cols=2)
    assert dut.LATENCY_READ == 3
    seen = []

    async def play(ctx):
        for t in range(6):
            ctx.set(dut.write[1].valid, t == 0)
            seen.append((ctx.get(dut.results.valid), ctx.get(dut.credit)))
            await ctx.tick()

    run(dut, play)
    assert [t for t, (valid, _) in enumerate(seen) if valid][0] == dut.LATENCY_READ
    assert [t for t, (_, credit) in enumerate(seen) if credit] == [2]


@pytest.mark.parametrize("depth, cols", [(0, 4), (4, 0)])
def test_refuses_to_hold_nothing(depth, cols):
    with pytest.raises(ValueError, match="holds nothing"):
        ResultFifo(depth=depth, width=32, cols=cols)
