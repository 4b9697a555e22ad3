"""cocotb bench of SystolicArray: a driver, a monitor that undoes the skew, and NumPy as the model."""
from collections import deque
from itertools import zip_longest

import cocotb
import numpy as np
from blocks import lane, packed
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.signatures import FirMode, pixel_tags
from celosia.sim.cosim import parameters
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge
from support.feed import Fir, Tile, schedule

FABRIC = Fabric(**parameters())
TAGS = pixel_tags(FABRIC)
IDLE = {"swap": 0, "mode": 0, "weight_valid": 0, "weight_start": 0, "tags": 0}


def drive(dut, values):
    for name, value in values.items():
        getattr(dut, f"feed__{name}").value = value


async def start(dut):
    drive(dut, {**IDLE, "act": 0, "weight": 0})
    dut.rst.value = 1
    dut.clk.value = 0
    Clock(dut.clk, 10, unit="ns").start()
    for _ in range(3):
        await FallingEdge(dut.clk)
    dut.rst.value = 0


async def driver(dut, feed):
    for t in range(len(feed)):
        now = feed.present(t)
        drive(dut, now | {
            "act": packed(now["act"], 8), "weight": packed(now["weight"], FABRIC.weight_bits),
            "mode": FirMode.const(now["mode"]).as_bits(), "tags": TAGS.const(now["tags"]).as_bits()})
        await FallingEdge(dut.clk)
    drive(dut, IDLE)


async def monitor(dut, seen):
    """Append (index, sums of all columns) of each pixel; column c's sum is taken c cycles after the tags."""
    waiting = deque()  # (tags, sums so far)
    while True:
        await FallingEdge(dut.clk)
        psum = dut.sums__psum.value
        waiting.append((TAGS.from_bits(int(dut.sums__tags.value)), []))
        for tags, sums in waiting:
            # Without a tag a sum means nothing, and some simulators know none.
            sums.append(lane(psum, FABRIC.acc_width, len(sums)) if tags.valid else None)
        if len(waiting[0][1]) == FABRIC.cols:
            tags, sums = waiting.popleft()
            if tags.valid:
                seen.append((tags.index, sums))


async def check(dut, counts, *, seed, pause=0, firs=()):
    """Tiles of so many pixels must come out as NumPy has them; the first are in these FIR modes."""
    rng = np.random.default_rng(seed=seed)
    rows, cols = FABRIC.rows, FABRIC.cols
    tiles = []
    for count, fir in zip_longest(counts, firs):
        weights = rng.integers(-1 << FABRIC.weight_bits - 1, 1 << FABRIC.weight_bits - 1, (rows, cols))
        if fir:
            weights[fir.groups * fir.taps:] = 0
        tiles.append(Tile(weights=weights, acts=rng.integers(-128, 128, (count, rows), np.int8), fir=fir))
    feed = schedule(tiles, noise=rng, pause=lambda: int(rng.integers(pause + 1)))
    seen = []
    await start(dut)
    watching = cocotb.start_soon(monitor(dut, seen))
    await driver(dut, feed)
    for _ in range(rows + cols + 4):
        await FallingEdge(dut.clk)
    watching.cancel()
    want = [(index, sums) for tile in tiles for index, sums in enumerate(tile.sums.tolist())]
    assert seen == want


@cocotb.test()
async def tiles_back_to_back(dut):
    await check(dut, [FABRIC.rows + extra for extra in (0, 1, 0, 5, 0)], seed=1)


@cocotb.test()
async def tiles_of_one_pixel(dut):
    await check(dut, [1] * 20, seed=2)


@cocotb.test()
async def tiles_with_pauses(dut):
    await check(dut, [1, 3, 2 * FABRIC.rows, 1, 7, 2], seed=3, pause=3)


@cocotb.test()
async def passes_in_fir_mode(dut):
    modes = [None, Fir(taps=1, groups=3, ring=3), None, Fir(taps=3), Fir(taps=1, groups=2, ring=7)]
    await check(dut, [FABRIC.rows, 20, FABRIC.rows, 9, 30, 5], seed=4, firs=modes)
