# amaranth: UnusedElaboratable=no
"""Accumulators against NumPy: any order of first, last and index, any distance, any back-pressure."""
import numpy as np
import pytest
from amaranth import ResetInserter, Signal
from amaranth.sim import Simulator
from celosia.rtl.accumulate.accumulators import Accumulators
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.numerics import wrap

IDLE = {"valid": 0, "first": 0, "last": 0, "maximum": 0, "index": 0, "again_1": 0, "again_2": 0}


def fabric_of(*, cols, acc_depth=8, fifo_depth=16, acc_width=32):
    return Fabric(rows=3, cols=cols, acc_depth=acc_depth, fifo_depth=fifo_depth, acc_width=acc_width)


class Bench:
    """Presents pixels as the array does, keeps the books a feeder keeps, and the sums NumPy makes."""

    def __init__(self, fabric, rng):
        self.fabric, self.rng = fabric, rng
        self.dut = Accumulators(fabric=fabric)
        self.reset = Signal()
        self.forget()

    def forget(self):
        """As after a reset; the accumulators' contents do not count."""
        fabric = self.fabric
        self.stored = {}
        self.want, self.got = [], []
        self.credits = fabric.fifo_depth
        self.before = [None, None]  # index one and two cycles ago, None where there was no pixel
        self.psums = [np.zeros(fabric.cols, np.int64)] * fabric.cols  # newest first

    async def cycle(self, ctx, pixel=None, *, psum=None, ready=True):
        """One cycle; ``pixel`` is (index, first, last[, maximum]) or None.

        Returns whether a result was taken.
        """
        fabric, dut = self.fabric, self.dut
        half = 1 << fabric.acc_width - 1
        if psum is not None:
            psum = np.full(fabric.cols, psum, np.int64)
        elif self.rng.integers(4) == 0:
            psum = np.where(self.rng.integers(2, size=fabric.cols), half - 1, -half)
        else:
            psum = self.rng.integers(-half, half, fabric.cols)
        if pixel is None:
            noise = {name: int(self.rng.integers(2)) for name in IDLE}
            ctx.set(dut.sums.tags, {**noise, "valid": 0})
        else:
            index, first, last, maximum = (*pixel, False)[:4]
            if first:
                total = psum
            elif maximum:
                total = np.maximum(psum, self.stored[index])
            else:
                total = psum + self.stored[index]
            total = wrap(total, fabric.acc_width)
            if last:
                assert self.credits > 0
                self.credits -= 1
                self.want.append(total.tolist())
                self.stored.pop(index, None)
            else:
                self.stored[index] = total
            ctx.set(dut.sums.tags, {
                "valid": 1, "first": int(first), "last": int(last), "maximum": int(maximum), "index": index,
                "again_1": int(self.before[0] == index), "again_2": int(self.before[1] == index)})
        self.before = [None if pixel is None else pixel[0], self.before[0]]
        self.psums = [psum, *self.psums[:-1]]
        ctx.set(dut.sums.psum, [int(self.psums[c][c]) for c in range(fabric.cols)])

        ctx.set(dut.results.ready, ready)
        taken = bool(ready and ctx.get(dut.results.valid))
        if taken:
            self.got.append([ctx.get(dut.results.payload[c]) for c in range(fabric.cols)])
        self.credits += ctx.get(dut.credit)
        await ctx.tick()
        return taken

    async def drain(self, ctx):
        for _ in range(self.fabric.fifo_depth + self.dut.LATENCY_RESULT + 4):
            await self.cycle(ctx)

    def run(self, play):
        simulator = Simulator(ResetInserter(self.reset)(self.dut))
        simulator.add_clock(1e-6)
        simulator.add_testbench(play)
        simulator.run()

    def check(self):
        assert self.got == self.want
        assert self.credits == self.fabric.fifo_depth


@pytest.mark.parametrize("cols", [1, 3, 5, 16])
def test_a_result_appears_at_the_stated_latency(cols):
    bench = Bench(fabric_of(cols=cols), np.random.default_rng(seed=cols))
    assert bench.dut.LATENCY_RESULT == cols + 5

    async def play(ctx):
        await bench.cycle(ctx, (0, True, True))
        for _ in range(bench.dut.LATENCY_RESULT - 1):
            assert not await bench.cycle(ctx)
        assert await bench.cycle(ctx)
        await bench.drain(ctx)

    bench.run(play)
    bench.check()


@pytest.mark.parametrize("distance", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("cols", [1, 3])
@pytest.mark.parametrize("maximum", [False, True])
def test_sums_of_any_distance_add_up_or_are_compared(distance, cols, maximum):
    bench = Bench(fabric_of(cols=cols), np.random.default_rng(seed=distance))
    visits = 6

    async def play(ctx):
        # So many pixels, visited again and again without a pause: each returns after ``distance`` cycles.
        for visit in range(visits):
            for index in range(distance):
                await bench.cycle(ctx, (index, visit == 0, visit == visits - 1, maximum))
        # One pixel with pauses between its visits.
        for visit in range(visits):
            await bench.cycle(ctx, (7, visit == 0, visit == visits - 1, maximum))
            for _ in range(distance - 1):
                await bench.cycle(ctx)
        await bench.drain(ctx)

    bench.run(play)
    bench.check()
    assert len(bench.got) == distance + 1


@pytest.mark.parametrize("cols, acc_depth, fifo_depth, acc_width", [
    (1, 4, 4, 32), (3, 5, 7, 32), (4, 8, 16, 24), (5, 13, 4, 20), (16, 512, 6, 32)])
@pytest.mark.parametrize("seed", range(3))
def test_random_first_last_index_and_back_pressure(cols, acc_depth, fifo_depth, acc_width, seed):
    rng = np.random.default_rng(seed=seed)
    fabric = fabric_of(cols=cols, acc_depth=acc_depth, fifo_depth=fifo_depth, acc_width=acc_width)
    bench = Bench(fabric, rng)
    near = rng.integers(0, acc_depth, 4)  # few indices, so that the same return at short distances
    idle, stall = [(0.0, 0.0), (0.3, 0.5), (0.1, 0.9)][seed]

    async def play(ctx):
        for _ in range(400):
            index = int(rng.choice(near)) if rng.random() < 0.8 else int(rng.integers(acc_depth))
            first = index not in bench.stored or rng.random() < 0.1
            last = bench.credits > 0 and rng.random() < 0.4
            pixel = None if rng.random() < idle else (index, first, last, rng.random() < 0.5)
            await bench.cycle(ctx, pixel, ready=rng.random() >= stall)
        await bench.drain(ctx)

    bench.run(play)
    bench.check()
    assert len(bench.got) > 20


@pytest.mark.parametrize("stored", [-2**31, -1, 0, 1, 2**31 - 1])
@pytest.mark.parametrize("wait", [0, 1, 2, 3])
def test_corners_are_compared_as_signed_numbers(stored, wait):
    bench = Bench(fabric_of(cols=1), np.random.default_rng(seed=12))
    corners = [-2**31, -2**31 + 1, -1, 0, 1, 2**31 - 2, 2**31 - 1]

    async def play(ctx):
        for psum in corners:
            await bench.cycle(ctx, (1, True, False, True), psum=stored)  # not compared with the one before
            for _ in range(wait):
                await bench.cycle(ctx)
            await bench.cycle(ctx, (1, False, True, True), psum=psum)
        await bench.drain(ctx)

    bench.run(play)
    assert bench.got == [[max(stored, psum)] for psum in corners]


def test_a_finished_sum_leaves_the_stored_one_alone():
    bench = Bench(fabric_of(cols=3), np.random.default_rng(seed=10))

    async def play(ctx):
        await bench.cycle(ctx, (2, True, False))
        stored = bench.stored[2]
        await bench.cycle(ctx, (2, True, True))
        bench.stored[2] = stored
        for _ in range(3):  # beyond the reach of forwarding
            await bench.cycle(ctx)
        await bench.cycle(ctx, (2, False, True))
        await bench.drain(ctx)

    bench.run(play)
    bench.check()


def test_reset_empties_the_queue_and_gives_all_credits_back():
    bench = Bench(fabric_of(cols=3), np.random.default_rng(seed=11))

    async def play(ctx):
        for cycles in range(1, 20):  # a reset at any moment, then correct work from the start
            for index in range(cycles):
                last = bench.credits > 0
                await bench.cycle(ctx, (index % 4, True, last), ready=index % 3 == 0)
            ctx.set(bench.reset, 1)
            await bench.cycle(ctx)
            ctx.set(bench.reset, 0)
            bench.forget()
            for visit in range(3):
                for index in range(3):
                    await bench.cycle(ctx, (index, visit == 0, visit == 2))
            await bench.drain(ctx)
            bench.check()

    bench.run(play)
