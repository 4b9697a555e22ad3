# amaranth: UnusedElaboratable=no
"""The array and the accumulators together: a matrix product in tiles, against NumPy."""
import numpy as np
import pytest
from amaranth import Module
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator
from celosia.rtl.accumulate.accumulators import Accumulators
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.systolic.array import SystolicArray
from support.feed import Tile, schedule


@pytest.mark.parametrize("shape, pixels, tiles", [
    ((1, 1), 1, 5), ((1, 1), 4, 3), ((3, 5), 1, 4), ((3, 5), 2, 7), ((5, 3), 3, 4), ((4, 4), 9, 3),
    ((8, 16), 1, 3), ((8, 16), 12, 2)], ids=str)
@pytest.mark.parametrize("paused", [False, True])
def test_a_product_in_k_tiles_matches_numpy(shape, pixels, tiles, paused):
    """acts[pixels, tiles*R] @ weights[tiles*R, C], twice, the second straight behind the first."""
    rows, cols = shape
    fabric = Fabric(rows=rows, cols=cols, acc_depth=16, fifo_depth=32)
    rng = np.random.default_rng(seed=rows + pixels)
    work, want = [], []
    for _ in range(2):
        acts = rng.integers(-128, 128, (pixels, tiles * rows), np.int8)
        weights = rng.integers(-256, 256, (tiles * rows, cols), np.int16)
        want += (acts.astype(np.int64) @ weights.astype(np.int64)).tolist()
        for k in range(tiles):
            part = slice(k * rows, (k + 1) * rows)
            work.append(Tile(weights=weights[part], acts=acts[:, part], first=k == 0, last=k == tiles - 1))
    feed = schedule(work, noise=rng, pause=lambda: int(rng.integers(3)) if paused else 0)

    top = Module()
    top.submodules.array = array = SystolicArray(fabric=fabric)
    top.submodules.accumulators = accumulators = Accumulators(fabric=fabric)
    connect(top, array.sums, accumulators.sums)
    got = []

    async def bench(ctx):
        ctx.set(accumulators.results.ready, 1)
        for t in range(len(feed) + array.LATENCY_PSUM + accumulators.LATENCY_RESULT + 1):
            for name, value in feed.present(t).items():
                ctx.set(getattr(array.feed, name), value)
            if ctx.get(accumulators.results.valid):
                got.append([ctx.get(accumulators.results.payload[c]) for c in range(cols)])
            await ctx.tick()

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert got == want
