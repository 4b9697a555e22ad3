"""cocotb bench of Feeder: what must enter the array, pixel by pixel and word by word, by the ISA's loops."""
import cocotb
import numpy as np
from blocks import PATTERNS, Bench, Later, Unit, packed, seeds, unpacked
from celosia.rtl.contract.fabric import WORD_BITS, Fabric
from celosia.rtl.feeder.feeder import Feeder
from celosia.rtl.memory.activation import ActivationMemory
from celosia.rtl.memory.wide import WideMemory
from celosia.rtl.signatures import FirMode, pixel_tags
from celosia.sim.cosim import parameters
from support.streams import executed, random_program

FABRIC = Fabric(**parameters()["fabric"])
ROWS, COLS, BITS = FABRIC.rows, FABRIC.cols, FABRIC.weight_bits
TAGS = pixel_tags(FABRIC)
MOST_CYCLES = 30_000


class Memories:
    """Activation and weight memory; what nobody asked for, or what the memory lacks, is noise."""

    def __init__(self, bench):
        self.bench, self.dut = bench, bench.dut
        self.am = self.wm = None
        self.acts, self.words = Later(bench), Later(bench)
        bench.models.append(self)

    def forget(self):
        self.acts.clear()
        self.words.clear()

    def drive(self):
        dut, bench = self.dut, self.bench
        acts, word = self.acts.now(), self.words.now()
        dut.am__data.value = bench.noise(8 * ROWS) if acts is None else acts
        dut.wm__data.value = bench.noise(BITS * COLS) if word is None else word

    def sample(self):
        words, data = int(self.dut.am__word.value), self.bench.noise(8 * ROWS)
        for bank in range(ROWS):
            word = words >> WORD_BITS * bank & (1 << WORD_BITS) - 1
            if word < FABRIC.am_words:
                data &= ~(255 << 8 * bank)
                data |= (int(self.am[word * ROWS + bank]) & 255) << 8 * bank
        self.acts.put(ActivationMemory.LATENCY_READ, data)
        if int(self.dut.wm__enable.value):
            address = int(self.dut.wm__address.value)
            assert address < FABRIC.wm_words
            self.words.put(WideMemory.LATENCY_READ, packed(self.wm[address], BITS))


class Array:
    """In place of the array: writes down what enters it. Gives credits back as a result FIFO does."""

    def __init__(self, bench, chance):
        self.bench, self.chance = bench, chance
        bench.models.append(self)
        self.forget()

    def forget(self):
        self.waiting = 0  # results
        self.acts, self.tags, self.swaps, self.words = {}, {}, [], []  # acts and tags by cycle

    def drive(self):
        leaves = self.waiting > 0 and self.bench.chance(self.chance)
        self.waiting -= leaves
        self.bench.dut.credit.value = int(leaves)

    def sample(self):
        dut, t = self.bench.dut, self.bench.cycle
        self.acts[t] = int(dut.feed__act.value)
        tags = int(dut.feed__tags.value)
        if tags & 1:
            self.tags[t] = TAGS.from_bits(tags)
            self.waiting += self.tags[t].last
            assert self.waiting <= FABRIC.fifo_depth, "the result FIFO overflows"
        if int(dut.feed__swap.value):
            self.swaps.append((t, FirMode.from_bits(int(dut.feed__mode.value))))
        if int(dut.feed__weight_valid.value):
            self.words.append((t, int(dut.feed__weight_start.value), int(dut.feed__weight.value)))


def expected_pixels(stream, offsets, tile):
    """For each pixel of a tile: its addresses, one per row, and its tags (index, first, last) or None."""
    pixels, offsets = [], np.array(offsets)
    clear, emit = stream.clear and tile == 0, stream.emit and tile == stream.tiles - 1
    if stream.fir:
        tagged = {(stream.groups - 1) * (stream.line - stream.taps) + y * stream.stride_y * stream.line
                  + x * stream.stride_x: y * stream.x_count + x
                  for y in range(stream.y_count) for x in range(stream.x_count)}
        for j in range(max(tagged) + stream.groups * stream.taps):
            start = stream.base + j // stream.line * stream.y_step + j % stream.line * stream.x_step
            pixels.append((start + offsets, (tagged[j], clear, emit) if j in tagged else None))
        return pixels
    visits = [v * stream.v_step + u * stream.u_step for v in range(stream.v_count)
              for u in range(stream.u_count)]
    for visit, shift in enumerate(visits):
        for y in range(stream.y_count):
            for x in range(stream.x_count):
                start = stream.base + shift + y * stream.y_step + x * stream.x_step
                tags = (y * stream.x_count + x, clear and visit == 0, emit and visit == len(visits) - 1)
                pixels.append((start + offsets, tags))
    return pixels


def check(array, memories, weights, streams, done):
    """Everything that entered the array, and the rules of ArrayFeed."""
    words = [(t, start, unpacked(word, BITS, COLS)) for t, start, word in array.words]
    want = [memories.wm[w.base + n].tolist() for w in weights for n in range(w.tiles * ROWS)]
    assert [word for *_, word in words] == want
    assert [start for _, start, _ in words] == ([1] + [0] * (ROWS - 1)) * (len(want) // ROWS)
    offsets = [tile for each in weights for tile in each.walk(ROWS)]
    tiles = [(stream, tile) for stream in streams for tile in range(stream.tiles)]
    assert len(array.swaps) == len(tiles)
    ends = [t for t, _ in array.swaps[1:]] + [max(array.acts)]
    tags_left = dict(array.tags)
    last_pixels = []
    for number, ((stream, tile), (swap, mode), end) in enumerate(zip(tiles, array.swaps, ends, strict=True)):
        first, last = words[number * ROWS][0], words[number * ROWS + ROWS - 1][0]
        assert first + ROWS <= swap and last < swap, "swapped before the tile was there"
        if number + 1 < len(tiles):
            assert words[(number + 1) * ROWS][0] >= swap, "the next tile came too early"
        assert mode.fir == stream.fir
        pixels = expected_pixels(stream, offsets[number], tile)
        if stream.fir:
            assert (mode.taps, mode.groups) == (stream.taps, stream.groups)
            assert stream.groups == 1 or mode.ring == stream.line - stream.taps
            cycles = range(swap + 1, swap + 1 + len(pixels))
            assert cycles[-1] <= end, "the next tile's weights came into the pass"
        else:
            cycles = [t for t in sorted(tags_left) if swap < t <= end]
            assert cycles[0] == swap + 1 and len(cycles) == len(pixels)
        lanes = min(ROWS, COLS) if stream.fir else ROWS
        for t, (places, tags) in zip(cycles, pixels, strict=True):
            seen = unpacked(array.acts[t], 8, ROWS)
            for lane, place in enumerate(places[:lanes].tolist()):
                if place < FABRIC.am_bytes:
                    assert seen[lane] == memories.am[place], f"tile {number}, lane {lane}, cycle {t}"
            got = tags_left.pop(t, None)
            assert (got is None) == (tags is None), f"tile {number}, cycle {t}: {got}"
            if tags:
                assert (got.first, got.last, got.maximum) == (*tags[1:], stream.maximum)
                if stream.pixels <= FABRIC.acc_depth:
                    assert got.index == tags[0]
                if not (got.first and got.last):
                    for back, again in ((1, got.again_1), (2, got.again_2)):
                        before = array.tags.get(t - back)
                        assert again == (before is not None and before.index == got.index)
        last_pixels.append(cycles[-1])
    assert not tags_left, "tags that belong to no pixel"
    issued = Feeder.LATENCY_ACT - Feeder.LATENCY_DONE_STREAM
    at = np.cumsum([stream.tiles for stream in streams]) - 1
    assert done["stream"] == [last_pixels[n] - issued for n in at]
    entered = Feeder.LATENCY_WEIGHT - Feeder.LATENCY_DONE_WEIGHTS
    at = np.cumsum([each.tiles for each in weights]) * ROWS - 1
    assert done["weights"] == [words[n][0] - entered for n in at]


class FeederBench(Bench):
    def __init__(self, dut, seed, offer, credit):
        super().__init__(dut, seed)
        self.memories = Memories(self)
        self.units = {name: Unit(self, name, FABRIC, chance=offer) for name in ("weights", "stream")}
        self.array = Array(self, credit)

    async def program(self, *, tiles, stop=None, **options):
        """A random program, checked, or broken off after so many cycles by a reset."""
        am, wm, weights, streams = random_program(self.rng, FABRIC, tiles=tiles, **options)
        executed(FABRIC, am, wm, weights, streams)  # that it is legal
        self.memories.am, self.memories.wm = am, wm
        for model in (*self.units.values(), self.array):
            model.forget()
        self.units["weights"].give(weights)
        self.units["stream"].give(streams)
        if stop is not None:
            for _ in range(stop):
                await self.step()
            await self.reset(2)
            return
        await self.run(lambda: all(unit.idle for unit in self.units.values()), limit=MOST_CYCLES)
        for _ in range(Feeder.LATENCY_ACT + 2):
            await self.step()
        check(self.array, self.memories, weights, streams,
              {name: unit.done for name, unit in self.units.items()})
        await self.run(lambda: not self.array.waiting, limit=MOST_CYCLES)
        await self.step()


@cocotb.test()
@cocotb.parametrize(seed=seeds(5, 60))
async def random_programs(dut, seed):
    offer, credit = PATTERNS[seed % len(PATTERNS)]
    bench = FeederBench(dut, [1, seed], offer, credit)
    bench.memories.am = np.zeros(FABRIC.am_bytes, np.int8)
    await bench.start()
    for fir in (0, 0.5, 1):
        await bench.program(tiles=8, fir=fir)


@cocotb.test()
async def reset_in_the_middle(dut):
    bench = FeederBench(dut, 2, 0.9, 0.5)
    bench.memories.am = np.zeros(FABRIC.am_bytes, np.int8)
    await bench.start()
    for stop in (1, 7, 20, 50, *(int(n) for n in bench.rng.integers(5, 120, len(seeds(2, 30))))):
        await bench.program(tiles=8, stop=stop)
        await bench.program(tiles=4)
