"""cocotb bench of SystolicArray: a driver, a monitor that undoes the skew, and NumPy as the model."""
from collections import deque

import cocotb
import numpy as np
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.signatures import pixel_tags
from celosia.sim.cosim import parameters
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge
from support.feed import Tile, schedule

FABRIC = Fabric(**parameters())
TAGS = pixel_tags(FABRIC)
IDLE = {"swap": 0, "weight_valid": 0, "weight_start": 0, "tags": 0}


def drive(dut, values):
    for name, value in values.items():
        getattr(dut, f"feed__{name}").value = value


def packed(vector):
    """int8 lanes as one integer, lane 0 lowest."""
    return int.from_bytes(vector.tobytes(), "little")


def unpacked(value, width, lanes):
    """Signed lanes of a packed value."""
    half = 1 << width - 1
    return [((value >> lane * width & 2 * half - 1) ^ half) - half for lane in range(lanes)]


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
        tags = {"valid": feed.valid[t], "first": feed.first[t], "last": feed.last[t], "index": feed.index[t],
                "again_1": feed.again(1)[t], "again_2": feed.again(2)[t]}
        drive(dut, {
            "act": packed(feed.act[t]), "weight": packed(feed.weight[t]),
            "swap": int(feed.swap[t]), "weight_valid": int(feed.weight_valid[t]),
            "weight_start": int(feed.weight_start[t]),
            "tags": TAGS.const({name: int(value) for name, value in tags.items()}).as_bits()})
        await FallingEdge(dut.clk)
    drive(dut, IDLE)


async def monitor(dut, seen):
    """Append (index, sums of all columns) of each pixel; column c's sum is taken c cycles after the tags."""
    waiting = deque()  # (tags, sums so far)
    while True:
        await FallingEdge(dut.clk)
        psum = unpacked(int(dut.sums__psum.value), FABRIC.acc_width, FABRIC.cols)
        tags = TAGS.from_bits(int(dut.sums__tags.value))
        waiting.append((tags, []))
        for _, sums in waiting:
            sums.append(psum[len(sums)])
        if len(waiting[0][1]) == FABRIC.cols:
            tags, sums = waiting.popleft()
            if tags.valid:
                seen.append((tags.index, sums))


async def check(dut, counts, *, seed, pause=0):
    """Tiles with so many pixels each must come out as NumPy has them."""
    rng = np.random.default_rng(seed=seed)
    rows, cols = FABRIC.rows, FABRIC.cols
    tiles = [Tile(weights=rng.integers(-128, 128, (rows, cols), np.int8),
                  acts=rng.integers(-128, 128, (count, rows), np.int8)) for count in counts]
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
