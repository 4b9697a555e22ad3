# amaranth: UnusedElaboratable=no
"""SystolicArray against NumPy: every sum, in the cycle and with the tags it must have, in both modes."""
import numpy as np
import pytest
from amaranth import EnableInserter, ResetInserter, Signal
from amaranth.sim import Simulator
from celosia.rtl.contract.fabric import RING_LEAST, Fabric
from celosia.rtl.primitives.cells import PORTABLE, Cells
from celosia.rtl.primitives.stationary import LATENCIES
from celosia.rtl.signatures import ArrayFeed
from celosia.rtl.systolic.array import SystolicArray
from support.feed import Fir, Tile, schedule
from support.twins import MODELS, WRITTEN, differences

SHAPES = [(1, 1), (3, 5), (5, 3), (4, 4), (8, 16)]
LINE_DEPTH = 11


def fabric_of(shape, **changes):
    sizes = {"acc_depth": 64, "line_depth": LINE_DEPTH}
    return Fabric(rows=shape[0], cols=shape[1], **{**sizes, **changes})


def random_tile(rng, shape, count, *, fir=None, weight_bits=9):
    """A tile of so many pixels with tags."""
    rows, cols = shape
    half = 1 << weight_bits - 1
    weights = rng.integers(-half, half, (rows, cols), np.int16)
    if fir:
        weights[fir.groups * fir.taps:] = 0
        count += fir.warm + fir.tail
    return Tile(weights=weights, acts=rng.integers(-128, 128, (count, rows), np.int8), fir=fir,
                **{name: bool(rng.integers(2)) for name in ("first", "last", "maximum")})


def random_tiles(rng, shape, counts):
    return [random_tile(rng, shape, count) for count in counts]


def random_fir(rng, rows, *, line_depth=LINE_DEPTH):
    groups = int(rng.integers(1, min(3, rows) + 1)) if line_depth else 1
    return Fir(taps=int(rng.integers(1, rows // groups + 1)), groups=groups,
               ring=int(rng.choice([RING_LEAST, line_depth, rng.integers(RING_LEAST, line_depth + 1)]))
               if line_depth else 0)


def check(fabric, tiles, feed, *, cells=PORTABLE):
    """Play the feed; every sum must come at its stated latency, its tags with column 0."""
    dut = SystolicArray(fabric=fabric, cells=cells)
    assert dut.LATENCY_PSUM == fabric.rows + LATENCIES[cells.array]
    cycles = len(feed) + dut.LATENCY_PSUM + fabric.cols
    tags = feed.tags
    psum = np.zeros((cycles, fabric.cols), np.int64)
    seen = {name: np.zeros(cycles, np.int64) for name in tags}

    async def bench(ctx):
        for t in range(cycles):
            for name, value in feed.present(t).items():
                ctx.set(getattr(dut.feed, name), value)
            psum[t] = [ctx.get(dut.sums.psum[c]) for c in range(fabric.cols)]
            for name in tags:
                seen[name][t] = ctx.get(dut.sums.tags[name])
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()

    for name in tags:
        np.testing.assert_array_equal(seen[name][dut.LATENCY_PSUM:][:len(feed)], tags[name], err_msg=name)
        assert not seen[name][:dut.LATENCY_PSUM].any()
    when = np.flatnonzero(feed.valid) + dut.LATENCY_PSUM
    want = np.concatenate([tile.sums for tile in tiles])
    for c in range(fabric.cols):
        np.testing.assert_array_equal(psum[when + c, c], want[:, c], err_msg=f"column {c}")


@pytest.mark.parametrize("shape, weight_bits", [*((shape, 9) for shape in SHAPES), ((3, 5), 8)])
def test_corner_operands_are_exact(shape, weight_bits):
    rows, cols = shape
    low = -1 << weight_bits - 1
    corners = np.array([-128, -127, -1, 0, 1, 127], np.int8)
    tiles = [Tile(weights=np.full((rows, cols), weight, np.int16),
                  acts=np.repeat(corners, rows).reshape(-1, rows))
             for weight in (low, low + 1, -128, -1, 0, 1, -low - 1)]
    check(fabric_of(shape, weight_bits=weight_bits), tiles,
          schedule(tiles, noise=np.random.default_rng(seed=0)))


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


@pytest.mark.parametrize("shape, line_depth", [
    *((shape, LINE_DEPTH) for shape in [*SHAPES, (2, 2), (9, 9)]), ((1, 1), 0), ((4, 4), 0)])
def test_tiles_of_both_modes_follow_each_other_without_a_bubble(shape, line_depth):
    rng = np.random.default_rng(seed=[6, *shape])
    rows = shape[0]
    tiles = [random_tile(rng, shape, rows + int(rng.integers(3)),
                         fir=random_fir(rng, rows, line_depth=line_depth) if kind else None)
             for kind in (0, 1, 0, 1, 1, 1, 0, 0, 1, 0)]
    feed = schedule(tiles, noise=rng)
    assert (np.diff(np.flatnonzero(feed.swap)) == [len(tile.acts) for tile in tiles[:-1]]).all()
    check(fabric_of(shape, line_depth=line_depth), tiles, feed)


@pytest.mark.parametrize("shape", SHAPES[:-1], ids=str)
def test_fir_passes_of_one_sum_and_tiles_of_one_pixel_share_the_array(shape):
    rng = np.random.default_rng(seed=7)
    tiles = [random_tile(rng, shape, 1, fir=random_fir(rng, shape[0]) if rng.integers(2) else None)
             for _ in range(10)]
    check(fabric_of(shape), tiles, schedule(tiles, noise=rng, pause=lambda: int(rng.integers(4)) // 2))


@pytest.mark.parametrize("rings", [
    [RING_LEAST], [LINE_DEPTH], [RING_LEAST, LINE_DEPTH, RING_LEAST], [LINE_DEPTH, 4, LINE_DEPTH - 1, 5]],
    ids=str)
@pytest.mark.parametrize("groups, taps", [(2, 1), (2, 4), (3, 1), (3, 3)])
def test_rings_of_any_length_turn_several_times(rings, groups, taps):
    rng = np.random.default_rng(seed=8)
    shape = (9, 4)
    tiles = [random_tile(rng, shape, 2 * ring + 5, fir=Fir(taps=taps, groups=groups, ring=ring))
             for ring in rings]
    check(fabric_of(shape), tiles, schedule(tiles, noise=rng))


@pytest.mark.parametrize("weight_bits", [8, 9])
def test_the_largest_sum_is_exact_in_the_narrowest_accumulator_that_holds_it(weight_bits):
    shape = (32, 1)
    low = -1 << weight_bits - 1
    tiles = [Tile(weights=np.full(shape, low, np.int16), acts=np.full((2, 32), -128, np.int8))]
    check(fabric_of(shape, weight_bits=weight_bits, acc_width=13 + weight_bits), tiles,
          schedule(tiles, noise=np.random.default_rng(seed=4)))


def test_reset_drops_every_pixel_word_and_swap_under_way():
    fabric = fabric_of((3, 3))
    rng = np.random.default_rng(seed=5)
    tiles = [random_tile(rng, (3, 3), 2, fir=Fir(taps=1, groups=3, ring=3)), random_tile(rng, (3, 3), 4)]
    feed = schedule(tiles, noise=rng)
    reset = Signal()
    dut = SystolicArray(fabric=fabric)

    async def play(ctx, cycles):
        got = []
        for t in range(cycles):
            for name, value in feed.present(t).items():
                ctx.set(getattr(dut.feed, name), value)
            if ctx.get(dut.sums.tags.valid):
                got.append(ctx.get(dut.sums.psum[0]))
            await ctx.tick()
        return got

    async def bench(ctx):
        for cut in range(1, len(feed)):  # a reset at any moment, then the same tiles from the start
            await play(ctx, cut)
            for port in (dut.feed.tags.valid, dut.feed.swap, dut.feed.weight_valid, dut.feed.weight_start):
                ctx.set(port, 0)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            got = await play(ctx, len(feed) + dut.LATENCY_PSUM)
            want = [tile.sums[p, 0] for tile in tiles for p in range(len(tile.sums))]
            assert got == want, f"after a reset at cycle {cut}"

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("kind", ["logic", "cell"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (5, 3)], ids=str)
def test_multipliers_of_several_cycles_change_nothing_but_the_latency(shape, kind):
    rng = np.random.default_rng(seed=[9, *shape])
    rows = shape[0]
    tiles = [random_tile(rng, shape, count, fir=random_fir(rng, rows) if rng.integers(2) else None)
             for count in (1, 1, rows, rows + 1, 1, 2 * rows, 1)]
    for pause in (lambda: 0, lambda: int(rng.integers(4)) // 2):
        check(fabric_of(shape), tiles, schedule(tiles, noise=rng, pause=pause),
              cells=Cells(array=kind))


@pytest.mark.parametrize(("cells", "models", "defines", "weight_bits"), [
    (Cells(family="ecp5", array="logic"), [MODELS / "ecp5" / "cells_sim.v"], "", 9),
    (Cells(family="ecp5", array="cell"), [WRITTEN / "mult18x18d.v"], "", 8),
    (Cells(family="ice40", array="cell"), [MODELS / "ice40" / "cells_sim.v"], "-DICE40_U -DEQUIV", 8),
], ids=lambda value: f"{value.family} {value.array}" if isinstance(value, Cells) else "")
def test_an_array_of_a_chips_cells_does_the_same_as_its_twin(cells, models, defines, weight_bits, tmp_path):
    # The compiler takes long over carry chains bit by bit.
    shape = (2, 1) if cells.array == "logic" else (3, 3)
    fabric = fabric_of(shape, line_depth=0, weight_bits=weight_bits)

    def build(m, noise, count):
        dut, twin = SystolicArray(fabric=fabric, cells=cells), SystolicArray(fabric=fabric,
                                                                            cells=Cells(array=cells.array))
        assert dut.LATENCY_PSUM == twin.LATENCY_PSUM
        enable = noise[-2:].any()  # the clock stands still now and then
        m.submodules.dut, m.submodules.twin = (EnableInserter(enable)(one) for one in (dut, twin))
        for one in (dut, twin):
            m.d.comb += one.i_enable.eq(enable)
            taken = 0
            for _, _, value in ArrayFeed(fabric).flatten(one.feed):
                bits = getattr(value, "as_value", lambda value=value: value)()
                m.d.comb += bits.eq(noise[taken:taken + len(bits)])
                taken += len(bits)
        return (dut.sums.psum.as_value() != twin.sums.psum.as_value()) | (
            dut.sums.tags.as_value() != twin.sums.tags.as_value())

    assert differences(build, tmp_path, cycles=100_000, models=models, defines=defines) == (0, -1)


@pytest.mark.parametrize("cells", [Cells(family="ice40", array="logic"), Cells(family="ice40", array="pair")])
def test_multipliers_that_the_chip_has_not_are_refused(cells):
    with pytest.raises(ValueError, match="there is no array of '(logic|pair)' multipliers for ice40"):
        SystolicArray(fabric=fabric_of((2, 2), weight_bits=8), cells=cells)
