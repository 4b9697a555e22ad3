"""cocotb bench of PostProcess: memory at every ``done`` equals NumPy's, whatever waits for whatever."""
import cocotb
import numpy as np
from blocks import PATTERNS, Bench, Later, Sink, Source, Unit, packed, seeds
from celosia.rtl.contract.fabric import PARAMETER_BYTES, Fabric
from celosia.rtl.contract.isa import Post
from celosia.rtl.contract.isa import Unit as UnitName
from celosia.rtl.contract.numerics import PRODUCT_DROP, Add, Channel, Product, wrap
from celosia.rtl.memory.activation import ActivationMemory
from celosia.rtl.memory.wide import WideMemory
from celosia.rtl.signatures import am_request
from celosia.sim.cosim import parameters

FABRIC = Fabric(**parameters()["fabric"])
ROWS, COLS, WIDTH = FABRIC.rows, FABRIC.cols, FABRIC.acc_width
REQUEST = am_request(FABRIC)
OWN = 1 << UnitName.POST


class ParameterMemory:
    """Answers reads after its latency; at other times its data is noise."""

    def __init__(self, bench):
        self.bench, self.answers = bench, Later(bench)
        self.records = [bench.noise(8 * PARAMETER_BYTES) for _ in range(FABRIC.pm_words)]
        bench.models.append(self)

    def put(self, place, record):
        self.records[place] = int.from_bytes(record.pack(), "little")

    def drive(self):
        answer = self.answers.now()
        self.bench.dut.pm__data.value = (
            self.bench.noise(8 * PARAMETER_BYTES) if answer is None else answer)

    def sample(self):
        dut = self.bench.dut
        if int(dut.pm__enable.value):
            self.answers.put(WideMemory.LATENCY_READ, self.records[int(dut.pm__address.value)])

    def forget(self):
        self.answers.clear()


class ActivationPort:
    """Both clients of the memory: a write is there after its latency, not before; a read's bytes for a cycle.
    """

    def __init__(self, bench, chance):
        self.bench = bench
        self.bytes = bench.rng.integers(-128, 128, FABRIC.am_bytes)
        self.answers, self.writes = Later(bench), Later(bench)
        bench.models.append(self)
        self.ports = [Sink(bench, "write__request", chance=chance, take=self.write),
                      Sink(bench, "other__request", chance=chance, take=self.read)]

    def drive(self):
        if (due := self.writes.now()) is not None:
            start, data = due
            self.bytes[start:start + len(data)] = data
        answer = self.answers.now()
        self.bench.dut.other__data.value = self.bench.noise(8 * ROWS) if answer is None else answer

    def sample(self):
        pass

    def forget(self):
        self.answers.clear()
        self.writes.clear()

    @staticmethod
    def place(request):
        assert request.address.lane < ROWS
        return request.address.word * ROWS + request.address.lane

    def write(self, payload):
        request = REQUEST.from_bits(payload)
        assert request.write and 1 <= request.count <= ROWS
        data = [(request.data[n] ^ 128) - 128 for n in range(request.count)]
        self.writes.put(ActivationMemory.LATENCY_WRITE, (self.place(request), data))

    def read(self, payload):
        request = REQUEST.from_bits(payload)
        assert not request.write
        start = self.place(request)
        seen = np.resize(self.bytes[start:start + ROWS], ROWS)  # behind the end: anything
        self.answers.put(ActivationMemory.LATENCY_ACCESS, packed(seen, 8))


def golden(memory, post, sums, channels, second, table):
    """The memory after a Post, by its definition."""
    memory = memory.copy()
    for number in range(post.x_count * post.y_count):
        y, x = divmod(number, post.x_count)
        for c in range(post.channels):
            acc = sums[number, c]
            if post.add or post.multiply:
                other = memory[post.other + y * post.other_y_step + x * post.other_x_step + c]
            if post.multiply:
                acc = (wrap(acc, 8) + second.offset_q) * (other + second.offset_other)
            value = int(channels[c].apply(acc, zero=post.zero, low=post.low, high=post.high, acc_width=WIDTH))
            if post.add:
                total = value * second.mult_q + int(other) * second.mult_other + second.constant
                value = min(max(total >> second.shift, second.low), second.high)
            if post.table:
                value = (int(table[value & 255]) ^ 128) - 128
            memory[post.out + y * post.y_step + x * post.x_step + c] = value
    return memory


class PostBench(Bench):
    """Outputs go to the lower half of the memory; operands come from the upper half, or from in place."""

    def __init__(self, dut, seed, offer, take):
        super().__init__(dut, seed)
        self.pm = ParameterMemory(self)
        self.am = ActivationPort(self, take)
        self.results = Source(self, "results", chance=offer)
        self.posts, self.wanted = [], []
        self.unit = Unit(self, "unit", FABRIC, chance=offer, gate=self.may_start, on_done=self.compare)
        self.tables = self.rng.integers(0, 256, (FABRIC.tables, 256))

    def may_start(self):
        """An instruction that waits for its own unit, as the sequencer holds it back."""
        begun = len(self.unit.source.taken)
        return not self.posts[begun].wait & OWN or len(self.unit.done) == begun

    def compare(self, number):
        np.testing.assert_array_equal(self.am.bytes, self.wanted[number], f"at done of {self.posts[number]}")

    async def load_tables(self):
        dut, size = self.dut, FABRIC.bus_bytes
        for beat, data in enumerate(self.tables.reshape(-1, size)):
            dut.table__enable.value, dut.table__address.value = 1, beat
            dut.table__data.value = packed(data, 8)
            await self.step()
        dut.table__enable.value = 0
        dut.table__data.value = self.noise(8 * size)
        await self.step()

    def channel(self, size):
        """A record that spreads sums of about 2**size over int8 and beyond; now and then any record."""
        rng, shift = self.rng, int(self.rng.integers(14))
        if self.chance(0.1):
            return Channel.unpack(rng.bytes(PARAMETER_BYTES))
        if self.chance(0.3):  # a power of two: many a product is a tie, to be rounded to even
            half = 1 << 14
            return Channel(bias=int(rng.integers(-2000, 2000)), mult=half << PRODUCT_DROP + 8 - size,
                           round_pos=half, round_neg=half, shift=15, even=1)
        return Channel(bias=int(rng.integers(-2000, 2000)), round_pos=1 << shift >> 1, shift=shift,
                       mult=int(2.0 ** (shift + PRODUCT_DROP + 8 - size) * rng.uniform(0.5, 1.5)),
                       round_neg=int(rng.integers(1 << shift)))

    def second(self, kind):
        """The record behind those of the channels."""
        rng = self.rng
        if kind == "multiply":
            offsets = rng.choice([-256, -128, -1, 0, 127, 128, 255], 2)
            return Product(offset_q=int(offsets[0]), offset_other=int(offsets[1]))
        if self.chance(0.1):
            return Add.unpack(rng.bytes(PARAMETER_BYTES))
        shift = int(rng.integers(10, 24))
        mult_q, mult_other = (int(2**shift * each) for each in rng.uniform(-1, 1, 2))
        return Add(mult_q=mult_q, mult_other=mult_other, constant=int(2**(shift + 5) * rng.uniform(-1, 1)),
                   shift=shift, low=int(rng.choice([-128, -128, -50])), high=int(rng.choice([127, 60])))

    def draw(self, *, size=6):
        """A random Post of at most ``size`` by 3 pixels, its sums and what it makes of the memory."""
        rng, half = self.rng, FABRIC.am_bytes // 2
        kind = str(rng.choice(["plain", "add", "multiply"]))
        channels = int(rng.integers(1, COLS + 1))
        x_count, y_count = int(rng.integers(1, size + 1)), int(rng.integers(1, 4))
        x_step = channels + int(rng.integers(5))
        y_step = x_step * x_count + int(rng.integers(9))
        out = int(rng.integers(half - y_step * y_count + 1))
        in_place = kind != "plain" and self.chance(0.3)
        if in_place:
            other = {"other": out, "other_x_step": x_step, "other_y_step": y_step}
        else:
            step_x, step_y = int(rng.integers(channels + 2)), int(rng.integers(half // 10))
            reach = (x_count - 1) * step_x + (y_count - 1) * step_y + channels
            assert reach <= half
            other = {"other": half + int(rng.integers(half - reach + 1)), "other_x_step": step_x,
                     "other_y_step": step_y}
        table = int(rng.integers(FABRIC.tables + 1))
        low, high = (int(n) for n in rng.choice([[-128, 127], [-90, 100], [0, 127], [5, 5]]))
        post = Post(params=self.next_params(channels), channels=channels, x_count=x_count, y_count=y_count,
                    out=out, x_step=x_step, y_step=y_step, zero=int(rng.integers(-128, 128)), low=low,
                    high=high, add=int(kind == "add"), multiply=int(kind == "multiply"), table=table,
                    wait=OWN if in_place or self.chance(0.2) else 0, layer=int(rng.integers(2)), **other)
        records = [self.channel(15 if kind == "multiply" else 12) for _ in range(channels)]
        second = self.second(kind) if kind != "plain" else None
        for n, record in enumerate([*records, second] if second else records):
            self.pm.put(post.params + n, record)
        sums = rng.integers(-2**12, 2**12, (x_count * y_count, COLS))
        ends = rng.random(sums.shape) < 0.05
        sums = np.where(ends, rng.choice([-(1 << WIDTH - 1), (1 << WIDTH - 1) - 1], sums.shape), sums)
        before = self.wanted[-1] if self.wanted else self.am.bytes
        self.wanted.append(golden(before, post, sums, records, second, self.tables[table - 1]
                                  if table else None))
        self.posts.append(post)
        self.results.items.extend(packed(row, WIDTH) for row in sums)

    def next_params(self, channels):
        """Room for records that no instruction of the same program uses."""
        self.pm_used += channels + 1
        assert self.pm_used <= FABRIC.pm_words
        return self.pm_used - channels - 1

    def program(self, count, *, size=6):
        """Random Posts, given to the unit with their results."""
        self.posts.clear()
        self.wanted.clear()
        self.pm_used = 0
        for model in self.models:
            model.forget()
        for _ in range(count):
            self.draw(size=size)
        self.unit.give(self.posts)

    async def check(self):
        await self.run(lambda: self.unit.idle, limit=60_000)
        assert len(self.unit.done) == len(self.posts) and not self.results.items


@cocotb.test()
@cocotb.parametrize(seed=seeds(5, 60))
async def random_programs(dut, seed):
    bench = PostBench(dut, [1, seed], *PATTERNS[seed % len(PATTERNS)])
    await bench.start()
    await bench.load_tables()
    bench.program(12)
    await bench.check()
    bench.program(16, size=1)  # short ones overlap most
    await bench.check()


@cocotb.test()
async def reset_in_the_middle(dut):
    bench = PostBench(dut, 2, 0.9, 0.5)
    await bench.start()
    await bench.load_tables()
    for stop in (1, 5, 12, 25, 40, *(int(n) for n in bench.rng.integers(5, 200, len(seeds(2, 30))))):
        bench.program(6)
        for _ in range(stop):
            await bench.step()
        await bench.reset()
        for _ in range(ActivationMemory.LATENCY_WRITE):
            await bench.step()
        bench.program(3)
        await bench.check()
