# amaranth: UnusedElaboratable=no
"""SerialPost against numerics, byte for byte; its multiplier and its shift against plain arithmetic."""
from dataclasses import dataclass

import numpy as np
import pytest
from amaranth.hdl import Module, ResetInserter, Signal, Value
from amaranth.sim import Simulator
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import Post
from celosia.rtl.contract.numerics import Add, Channel
from celosia.rtl.postprocess.serial import (
    KEPT_BITS,
    SERIAL_MULT_BITS,
    Descent,
    SerialMultiplier,
    SerialPost,
)

WORDS = 512
FABRIC = Fabric(rows=4, cols=4, lanes=1, am_words=WORDS, wm_words=WORDS, pm_words=WORDS // 5, acc_depth=64,
                fifo_depth=64, acc_width=24, weight_bits=8, line_depth=0, tables=2, ties_to_even=False,
                bus_bytes=4, profile_layers=0, shared_words=WORDS)
MOST = 1 << SERIAL_MULT_BITS


def test_multiplier_is_exact_for_every_odd_number_it_takes():
    rng, width = np.random.default_rng(1), 24
    dut = SerialMultiplier(width=width)
    half = 1 << width - 1
    corners = [-half, half - 1, 0, -1, 1]
    pairs = [(v, m) for v in corners for m in (1, MOST - 1, -1, 1 - MOST, MOST // 2 + 1)]
    pairs += [(int(v), int(m) | 1) for v, m in zip(rng.integers(-half, half, 100),
                                                   rng.integers(-MOST, MOST, 100), strict=True)]
    found = []

    async def bench(ctx):
        for v, m in [*pairs, (0, 1), (0, 1), (0, 1)]:
            for phase in range(2):
                ctx.set(dut.i_phase, phase)
                ctx.set(dut.i_value, v)
                ctx.set(dut.i_mult, m & 2 * MOST - 1)
                if not phase:
                    found.append(ctx.get(dut.o_product))
                await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert dut.LATENCY == 5
    assert found[3:] == [v * m >> 15 for v, m in pairs]


def test_shift_keeps_what_a_clamp_can_tell_apart():
    rng, width = np.random.default_rng(2), 34
    m = Module()
    m.submodules.dut = dut = Descent(width=width)
    half = 1 << KEPT_BITS - 1

    async def bench(ctx):
        for shift in range(32):
            near = (np.array([-half - 1, -half, half - 1, half, 0, -1]) << shift).tolist()
            for value in [-2**33, 2**33 - 1, *near, *(int(v) >> int(s) for v, s in zip(
                    rng.integers(-2**33, 2**33, 20), rng.integers(0, 33, 20), strict=True))]:
                if not -2**33 <= value < 2**33:
                    continue
                ctx.set(dut.i_value, value)
                ctx.set(dut.i_shift, shift)
                assert ctx.get(dut.o_value) == np.clip(value >> shift, -half, half - 1), (value, shift)

    sim = Simulator(m)
    sim.add_testbench(bench)
    sim.run()


@dataclass
class Case:
    """An instruction, its records and sums."""

    post: Post
    sums: np.ndarray


def effect(memory, tables, case):
    """What isa.Post.execute does, on a memory that holds everything."""
    post, count = case.post, case.post.x_count * case.post.y_count
    y, x = np.divmod(np.arange(count), post.x_count)
    record = lambda n: memory[20 * (post.params + n):20 * (post.params + n + 1)].tobytes()  # noqa: E731
    channel = np.arange(post.channels)
    acc, q = case.sums[:, :post.channels], np.zeros((count, post.channels), np.int64)
    for c in channel:
        q[:, c] = Channel.unpack(record(c)).apply(acc[:, c], zero=post.zero, low=post.low, high=post.high,
                                                  acc_width=FABRIC.acc_width)
    if post.add:
        place = (post.other + y * post.other_y_step + x * post.other_x_step)[:, None] + channel
        q = Add.unpack(record(post.channels)).apply(q, memory.view(np.int8)[place].astype(np.int64))
    if post.table:
        q = tables[post.table - 1].view(np.int8)[q & 255].astype(np.int64)
    place = (post.out + y * post.y_step + x * post.x_step)[:, None] + channel
    memory.view(np.int8)[place] = q


class Bench:
    """The unit, a memory for its three ports, and results, all with gaps."""

    def __init__(self, seed, *, stall=0.0, gap=0.0):
        self.rng = np.random.default_rng(seed)
        self.dut = SerialPost(fabric=FABRIC)
        self.stall, self.gap = stall, gap
        self.memory = self.rng.integers(0, 256, 4 * WORDS).astype(np.uint8)
        self.tables = self.rng.integers(0, 256, (FABRIC.tables, 256)).astype(np.uint8)

    def draw(self, *, add=0, table=0, channels=None, x_count=None, y_count=None):
        """A random instruction; records at the bottom, images above them."""
        rng = self.rng
        channels = channels or int(rng.integers(1, 5))
        x_count, y_count = x_count or int(rng.integers(1, 6)), y_count or int(rng.integers(1, 4))
        x_step = channels + int(rng.integers(0, 4))
        y_step = x_step * x_count + int(rng.integers(0, 5))
        params = int(rng.integers(0, 20))
        low, high = (int(n) for n in rng.choice([-128, -100, -1, 0, 100, 127], 2))
        for n in range(channels):
            shift = int(rng.integers(0, 14))
            self.put(20 * (params + n), Channel(
                bias=int(rng.integers(-2**31, 2**31)) >> int(rng.choice([0, 20])),
                mult=min(int(2.0**(shift + 11) * (0.5 + rng.random())), MOST - 1) | 1,
                round_pos=int(rng.integers(1 << shift)), round_neg=int(rng.integers(-1, 1 << shift)),
                shift=int(rng.choice([shift, 31, 0], p=[.9, .05, .05]))).pack())
        if add:
            shift = int(rng.integers(10, 23))
            low_sum, high_sum = sorted(int(n) for n in rng.integers(-128, 128, 2))
            self.put(20 * (params + channels), Add(
                mult_q=int(2**shift * rng.uniform(-1, 1)) | 1,
                mult_other=int(2**shift * rng.uniform(-1, 1)) | 1,
                constant=int(2**(shift + 5) * rng.uniform(-1, 1)), shift=shift, low=low_sum,
                high=high_sum).pack())
        out, other = 900, (900 if rng.random() < 0.3 else 1500)
        post = Post(params=params, channels=channels, x_count=x_count, y_count=y_count,
                    out=out + int(rng.integers(0, 8)) * (other != out), x_step=x_step, y_step=y_step,
                    zero=int(rng.integers(-128, 128)), low=low, high=high, add=add, table=table, other=other,
                    other_x_step=x_step, other_y_step=y_step)
        size = 1 << int(rng.choice([8, 12, 16, 23]))
        return Case(post, rng.integers(-size, size, (x_count * y_count, FABRIC.cols)))

    def put(self, place, data):
        self.memory[place:place + len(data)] = np.frombuffer(data, np.uint8)

    def run(self, case):
        """Carry it out and compare the whole memory at done; the cycles it took."""
        wanted = self.memory.copy()
        effect(wanted, self.tables, case)
        took = []
        reset = Signal()
        sim = Simulator(ResetInserter(reset)(self.dut))
        sim.add_clock(1e-6)

        async def bench(ctx):
            for address, value in enumerate(self.tables.reshape(-1) if case.post.table else []):
                ctx.set(self.dut.table.enable, 1)
                ctx.set(self.dut.table.address, address)
                ctx.set(self.dut.table.data, int(value))
                await ctx.tick()
            ctx.set(self.dut.table.enable, 0)
            for again in range(2):  # the second time behind a reset in the middle of the first
                took.append(await self.carry_out(ctx, case, stop=7 if not again else None))
                ctx.set(reset, 1)
                await ctx.tick()
                ctx.set(reset, 0)
        self.before = self.memory.copy()
        sim.add_testbench(bench)
        sim.run()
        np.testing.assert_array_equal(self.memory, wanted)
        return took[-1]

    async def carry_out(self, ctx, case, stop):
        dut, rng = self.dut, self.rng
        self.memory[:] = self.before
        code = int.from_bytes(case.post.encode(FABRIC), "little")
        ctx.set(dut.unit.instruction.payload, code & (1 << len(dut.unit.instruction.payload)) - 1)
        ctx.set(dut.unit.instruction.valid, 1)
        pixels, shown = list(case.sums), False
        ports = [dut.write, dut.other, dut.records]
        data = [None] * 3
        bound = 500 + len(pixels) * case.post.channels * 60
        for cycle in range(stop or bound):
            for port, word in zip(ports, data, strict=True):
                ctx.set(port.data, int(rng.integers(1 << 32)) if word is None else word)
            ready = [bool(rng.random() >= self.stall) for _ in ports]
            for port, free in zip(ports, ready, strict=True):
                ctx.set(port.request.ready, free)
            if not shown and pixels and rng.random() >= self.gap:
                shown = True
                ctx.set(Value.cast(dut.results.payload), sum(
                    (int(v) & (1 << 24) - 1) << 24 * n for n, v in enumerate(pixels[0])))
            ctx.set(dut.results.valid, shown)
            data = [None] * 3
            for n, (port, free) in enumerate(zip(ports, ready, strict=True)):
                if free and ctx.get(port.request.valid):
                    word, mask = ctx.get(port.request.p.word), ctx.get(port.request.p.mask)
                    if mask:
                        assert n == 0, "only results are written"
                        for byte in range(4):
                            if mask >> byte & 1:
                                self.memory[4 * word + byte] = ctx.get(port.request.p.data) >> 8 * byte & 255
                    else:
                        data[n] = int.from_bytes(self.memory[4 * word:4 * word + 4].tobytes(), "little")
            if ctx.get(dut.results.ready):
                assert shown, "takes a result that is not there"
                shown = False
                pixels.pop(0)
            done = ctx.get(dut.unit.done)
            assert done == ctx.get(dut.unit.instruction.ready)
            await ctx.tick()
            if done:
                assert not pixels and not shown, "results left over"
                ctx.set(dut.unit.instruction.valid, 0)
                return cycle
        assert stop, f"not done in {bound} cycles"
        return None


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("add, table", [(0, 0), (0, 2), (1, 0), (1, 1)])
def test_values_equal_the_contract(seed, add, table):
    bench = Bench(seed, stall=[0, 0.3, 0.7][seed % 3], gap=[0, 0.5][seed % 2])
    bench.run(bench.draw(add=add, table=table))


@pytest.mark.parametrize("add, slot", [(0, 2), (1, 6)])
def test_a_value_takes_two_cycles_and_an_add_six(add, slot):
    bench = Bench(5)
    few, many = (bench.run(bench.draw(add=add, channels=4, x_count=4, y_count=n)) for n in (2, 6))
    assert many - few == 4 * 4 * 4 * slot
