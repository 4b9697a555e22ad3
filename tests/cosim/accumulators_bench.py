"""cocotb bench of Accumulators: sums in any order of first, last and index; NumPy int64 is the model."""
import cocotb
import numpy as np
from blocks import PATTERNS, Bench, Sink, packed, seeds, unpacked
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.numerics import wrap
from celosia.rtl.signatures import pixel_tags
from celosia.sim.cosim import parameters

FABRIC = Fabric(**parameters()["fabric"])
COLS, WIDTH = FABRIC.cols, FABRIC.acc_width
TAGS = pixel_tags(FABRIC)
HALF = 1 << WIDTH - 1
CORNERS = [-HALF, 1 - HALF, -1, 0, 1, HALF - 1]


class Array:
    """In place of the array and the feeder's books: random pixels, column c's sum c cycles later."""

    def __init__(self, bench, chance):
        self.bench, self.chance = bench, chance
        self.pixels = 0  # still to come
        bench.models.append(self)
        self.forget()

    def forget(self):
        """As after a reset: all credits are there, what is stored does not count."""
        self.credits, self.stored, self.want = FABRIC.fifo_depth, {}, []
        self.before = [None, None]  # indices one and two cycles ago
        self.psums = [np.zeros(COLS, np.int64)] * COLS  # newest first

    def pixel(self):
        """A pixel that is legal now: its tags, and what must become of its sums."""
        rng, bench = self.bench.rng, self.bench
        near = rng.random() < 0.7  # so that an index returns within a few cycles
        index = int(rng.integers(min(3, FABRIC.acc_depth) if near else FABRIC.acc_depth))
        first = index not in self.stored or bench.chance(0.1)
        last = self.credits > 0 and bench.chance(0.5)
        maximum, psum = bench.chance(0.4), self.psums[0]
        if first:
            total = psum
        elif maximum:
            total = np.maximum(psum, self.stored[index])
        else:
            total = wrap(psum + self.stored[index], WIDTH)
        if last:
            self.credits -= 1
            self.want.append(total.tolist())
            self.stored.pop(index, None)
        else:
            self.stored[index] = total
        return {"valid": 1, "first": int(first), "last": int(last), "maximum": int(maximum), "index": index,
                "again_1": int(self.before[0] == index), "again_2": int(self.before[1] == index)}

    def drive(self):
        bench, rng = self.bench, self.bench.rng
        psum = rng.choice(CORNERS, COLS) if rng.random() < 0.4 else rng.integers(-HALF, HALF, COLS)
        self.psums = [psum, *self.psums[:-1]]
        tags = None
        if self.pixels and bench.chance(self.chance):
            self.pixels -= 1
            tags = self.pixel()
        self.before = [tags and tags["index"], self.before[0]]
        bench.dut.sums__tags.value = (
            TAGS.const(tags).as_bits() if tags else bench.noise(TAGS.size) & ~1)  # valid is the lowest bit
        bench.dut.sums__psum.value = packed((self.psums[c][c] for c in range(COLS)), WIDTH)

    def sample(self):
        self.credits += int(self.bench.dut.credit.value)
        assert self.credits <= FABRIC.fifo_depth, "more credits than the FIFO has places"


class AccumulatorsBench(Bench):
    def __init__(self, dut, seed, offer, take):
        super().__init__(dut, seed)
        self.array = Array(self, offer)
        self.results = Sink(self, "results", chance=take)

    async def pixels(self, count):
        """So many pixels; every finished one must come out, and all credits come back."""
        array = self.array
        array.pixels = count
        await self.run(lambda: not array.pixels and len(self.results.taken) >= len(array.want)
                       and array.credits == FABRIC.fifo_depth, limit=60 * count + 200)
        assert [unpacked(value, WIDTH, COLS) for _, value in self.results.taken] == array.want
        assert array.want or count < 20


@cocotb.test()
@cocotb.parametrize(seed=seeds(5, 60))
async def random_pixels(dut, seed):
    bench = AccumulatorsBench(dut, [1, seed], *PATTERNS[seed % len(PATTERNS)])
    await bench.start()
    await bench.pixels(600)


@cocotb.test()
async def a_result_comes_at_its_latency(dut):
    bench = AccumulatorsBench(dut, 2, 1, 1)
    await bench.start()
    for _ in range(4):
        bench.array.forget()
        bench.results.forget()
        while not bench.array.want:  # until there is one that is finished
            bench.array.pixels, began = 1, bench.cycle
            await bench.step()
        await bench.run(lambda: bench.results.taken, limit=COLS + 20)
        assert bench.results.taken[0][0] - began == parameters()["latency"]
        await bench.pixels(0)


@cocotb.test()
async def reset_in_the_middle(dut):
    """At any moment, with results waiting and columns half way through."""
    bench = AccumulatorsBench(dut, 3, 0.9, 0.2)
    await bench.start()
    for _ in seeds(12, 120):
        bench.array.pixels = 50
        for _ in range(int(bench.rng.integers(1, 60))):
            await bench.step()
        bench.array.pixels = 0
        await bench.reset()
        await bench.pixels(15)
        bench.results.forget()
        bench.array.want.clear()
