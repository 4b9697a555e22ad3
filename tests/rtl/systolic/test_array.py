# amaranth: UnusedElaboratable=no
"""SystolicArray against NumPy: every sum, in the cycle and with the tags it must have."""
import numpy as np
import pytest
from amaranth import ResetInserter, Signal
from amaranth.sim import Simulator
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.systolic.array import SystolicArray
from support.feed import Tile, schedule

SHAPES = [(1, 1), (3, 5), (5, 3), (4, 4), (8, 16)]
FIELDS = ("valid", "first", "last", "index", "again_1", "again_2")


def fabric_of(shape):
    return Fabric(rows=shape[0], cols=shape[1], acc_depth=64)


def random_tiles(rng, shape, counts):
    rows, cols = shape
    return [Tile(weights=rng.integers(-128, 128, (rows, cols), np.int8),
                 acts=rng.integers(-128, 128, (count, rows), np.int8),
                 first=bool(rng.integers(2)), last=bool(rng.integers(2))) for count in counts]


def check(fabric, tiles, feed):
    """Play the feed; every sum must come at its stated latency, its tags with column 0."""
    dut = SystolicArray(fabric=fabric)
    assert dut.LATENCY_PSUM == fabric.rows + 1
    cycles = len(feed) + dut.LATENCY_PSUM + fabric.cols
    tags = {"valid": feed.valid, "first": feed.first, "last": feed.last, "index": feed.index,
            "again_1": feed.again(1), "again_2": feed.again(2)}
    psum = np.zeros((cycles, fabric.cols), np.int64)
    seen = {name: np.zeros(cycles, np.int64) for name in FIELDS}

    async def bench(ctx):
        for t in range(cycles):
            inside = t < len(feed)
            if inside:
                ctx.set(dut.feed.act, feed.act[t].tolist())
                ctx.set(dut.feed.weight, feed.weight[t].tolist())
            for port, values in ((dut.feed.swap, feed.swap), (dut.feed.weight_valid, feed.weight_valid),
                                 (dut.feed.weight_start, feed.weight_start)):
                ctx.set(port, int(inside and values[t]))
            ctx.set(dut.feed.tags, {name: int(inside and values[t] * 1) for name, values in tags.items()})
            psum[t] = [ctx.get(dut.sums.psum[c]) for c in range(fabric.cols)]
            for name in FIELDS:
                seen[name][t] = ctx.get(dut.sums.tags[name])
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()

    for name in FIELDS:
        np.testing.assert_array_equal(seen[name][dut.LATENCY_PSUM:][:len(feed)], tags[name], err_msg=name)
        assert not seen[name][:dut.LATENCY_PSUM].any()
    when = np.flatnonzero(feed.valid) + dut.LATENCY_PSUM
    want = np.concatenate([tile.sums for tile in tiles])
    for c in range(fabric.cols):
        np.testing.assert_array_equal(psum[when + c, c], want[:, c], err_msg=f"column {c}")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_corner_operands_are_exact(shape):
    rows, cols = shape
    corners = np.array([-128, -127, -1, 0, 1, 127], np.int8)
    tiles = [Tile(weights=np.full((rows, cols), weight, np.int8),
                  acts=np.repeat(corners, rows).reshape(-1, rows)) for weight in corners]
    check(fabric_of(shape), tiles, schedule(tiles, noise=np.random.default_rng(seed=0)))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_tiles_of_rows_or_more_pixels_stream_without_a_bubble(shape):
    rng = np.random.default_rng(seed=1)
    rows = shape[0]
    tiles = random_tiles(rng, shape, [rows, rows + 1, rows, 2 * rows, rows + 3, rows])
    feed = schedule(tiles, noise=rng)
    streamed = np.flatnonzero(feed.valid)
    assert len(streamed) == streamed[-1] - streamed[0] + 1
    check(fabric_of(shape), tiles, feed)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_tiles_of_one_pixel_stream_at_the_weight_ports_rate(shape):
    rng = np.random.default_rng(seed=2)
    tiles = random_tiles(rng, shape, [1] * 8)
    feed = schedule(tiles, noise=rng)
    assert (np.diff(np.flatnonzero(feed.valid)) == shape[0]).all()
    assert feed.weight_valid[:8 * shape[0]].all()
    check(fabric_of(shape), tiles, feed)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gaps_between_words_and_pixels_change_nothing(shape):
    rng = np.random.default_rng(seed=3)
    tiles = random_tiles(rng, shape, rng.integers(1, 2 * shape[0] + 3, 10))
    feed = schedule(tiles, noise=rng, pause=lambda: int(rng.integers(4)) // 2)
    check(fabric_of(shape), tiles, feed)


def test_the_largest_sum_is_exact_in_the_narrowest_accumulator_that_holds_it():
    shape = (32, 1)
    tiles = [Tile(weights=np.full(shape, -128, np.int8), acts=np.full((2, 32), -128, np.int8))]
    check(fabric_of(shape).but(acc_width=21), tiles, schedule(tiles, noise=np.random.default_rng(seed=4)))


def test_reset_drops_every_pixel_word_and_swap_under_way():
    fabric = fabric_of((3, 3))
    rng = np.random.default_rng(seed=5)
    tiles = random_tiles(rng, (3, 3), [4])
    feed = schedule(tiles, noise=rng)
    reset = Signal()
    dut = SystolicArray(fabric=fabric)

    async def play(ctx, cycles):
        got = []
        for t in range(cycles):
            inside = t < len(feed)
            if inside:
                ctx.set(dut.feed.act, feed.act[t].tolist())
                ctx.set(dut.feed.weight, feed.weight[t].tolist())
            ctx.set(dut.feed.tags.valid, int(inside and feed.valid[t]))
            ctx.set(dut.feed.swap, int(inside and feed.swap[t]))
            ctx.set(dut.feed.weight_valid, int(inside and feed.weight_valid[t]))
            ctx.set(dut.feed.weight_start, int(inside and feed.weight_start[t]))
            if ctx.get(dut.sums.tags.valid):
                got.append(ctx.get(dut.sums.psum[0]))
            await ctx.tick()
        return got

    async def bench(ctx):
        for cut in range(1, len(feed)):  # a reset at any moment, then the same tile from the start
            await play(ctx, cut)
            for port in (dut.feed.tags.valid, dut.feed.swap, dut.feed.weight_valid, dut.feed.weight_start):
                ctx.set(port, 0)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            got = await play(ctx, len(feed) + dut.LATENCY_PSUM)
            assert got == tiles[0].sums[:, 0].tolist(), f"after a reset at cycle {cut}"

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
