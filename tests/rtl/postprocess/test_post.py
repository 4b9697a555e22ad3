# amaranth: UnusedElaboratable=no
"""PostProcess against isa.Post on a Machine: memory at every ``done``, throughput, and stated latencies."""
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal, Value
from amaranth.sim import Simulator
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import Post, Unit
from celosia.rtl.contract.machine import Machine
from celosia.rtl.contract.numerics import PRODUCT_DROP, Add, Channel, Product
from celosia.rtl.postprocess.post import PostProcess
from celosia.rtl.signatures import State, am_request

PM_LATENCY = 2


class Bench:
    """The unit with models of everything around it, one Python step per cycle.

    The activation memory is as strict as its port's contract allows: a write is there write_latency cycles
    after it was taken and not earlier, a read's bytes are on the port in one cycle and noise in all others.

    Attributes
    ----------
    states : list of State
        In each cycle.
    accepted, entered, writes, done : list of int
        Cycles in which an instruction was accepted, a group entered, a write was taken, done pulsed.
    """

    def __init__(self, fabric, seed, *, read_latency=7, write_latency=4, result_gap=0, stall=0, offer_gap=0):
        self.fabric, self.rng = fabric, np.random.default_rng(seed)
        self.dut = PostProcess(fabric=fabric, pm_latency=PM_LATENCY, read_latency=read_latency,
                               write_latency=write_latency)
        self.read_latency, self.write_latency = read_latency, write_latency
        self.result_gap, self.stall, self.offer_gap = result_gap, stall, offer_gap
        self.machine = Machine(fabric, np.zeros(0, np.uint8))
        self.machine.am[:] = self.rng.integers(-128, 128, len(self.machine.am))
        self.machine.pm[:] = self.rng.integers(0, 256, self.machine.pm.shape)
        for table in self.machine.tables:
            table[:] = self.rng.permutation(256)
        self.am = self.machine.am.copy()
        self.states, self.writes, self.done, self.accepted = [], [], [], []

    def run(self, posts, results, *, reset_after=None):
        """Carries out posts; results is one int64[pixels, C] for each. Checks memory at each done.

        ``reset_after`` lets the unit begin, stuck at the write port, and resets it after so many cycles.
        """
        wanted = []
        for post, sums in zip(posts, results, strict=True):
            self.machine.results.append(sums)
            post.execute(self.machine)
            wanted.append(self.machine.am.copy())
        self.posts, self.wanted = posts, wanted
        groups = sum(p.x_count * p.y_count * -(-p.channels // self.fabric.lanes) for p in posts)
        slowness = 2 / (1 - max(self.result_gap, self.stall))
        self.bound = 200 + int((groups * 3 + 100 * len(posts)) * slowness)
        self.pixels = deque(self.packed(row) for row in np.concatenate(results))
        self.reset, self.reset_after = Signal(), reset_after
        sim = Simulator(ResetInserter(self.reset)(self.dut))
        sim.add_clock(1e-6)
        sim.add_testbench(self.testbench)
        sim.run()
        assert len(self.done) == len(posts), f"{len(self.done)} of {len(posts)} done in {self.bound} cycles"
        assert not self.pixels, "results were left over"

    def packed(self, row):
        width = self.fabric.acc_width
        return sum((int(value) & (1 << width) - 1) << i * width for i, value in enumerate(row))

    def payload(self, post):
        width = len(self.dut.unit.instruction.payload)
        return int.from_bytes(post.encode(self.fabric), "little") & (1 << width) - 1

    async def start_and_reset(self, ctx):
        dut = self.dut
        ctx.set(dut.unit.instruction.payload, self.payload(self.posts[0]))
        ctx.set(dut.unit.instruction.valid, 1)
        ctx.set(dut.results.valid, 1)
        ctx.set(dut.other.request.ready, 1)
        for _ in range(self.reset_after):
            await ctx.tick()
        ctx.set(self.reset, 1)
        await ctx.tick()
        ctx.set(self.reset, 0)

    async def load_tables(self, ctx):
        port, beats = self.dut.table, self.machine.tables.reshape(-1, self.fabric.bus_bytes)
        for address in self.rng.permutation(len(beats)):
            ctx.set(port.enable, 1)
            ctx.set(port.address, int(address))
            ctx.set(port.data, int.from_bytes(beats[address].tobytes(), "little"))
            await ctx.tick()
        ctx.set(port.enable, 0)
        ctx.set(port.data, 0)

    async def testbench(self, ctx):
        await self.load_tables(ctx)
        if self.reset_after is not None:
            await self.start_and_reset(ctx)
        dut, rng, fabric = self.dut, self.rng, self.fabric
        chance = rng.random
        rows = fabric.rows
        field = am_request(fabric)
        pm_data = deque([0] * PM_LATENCY)
        am_data = deque([None] * self.read_latency)
        am_writes = deque()  # (cycle from which it is visible, places, bytes)
        issued, result_shown = 0, False
        offering = False

        def places(request):
            word = request >> field["address"].offset + 5 & 0xFFFF
            lane = request >> field["address"].offset & 31
            assert lane < rows
            return word * rows + lane

        for cycle in range(self.bound):
            # Inputs of this cycle.
            if not offering and issued < len(self.posts) and chance() >= self.offer_gap:
                post = self.posts[issued]
                offering = not (post.wait >> Unit.POST & 1) or len(self.done) == issued
                if offering:
                    ctx.set(dut.unit.instruction.payload, self.payload(post))
            ctx.set(dut.unit.instruction.valid, offering)
            if not result_shown and self.pixels and chance() >= self.result_gap:
                result_shown = True
                ctx.set(Value.cast(dut.results.payload), self.pixels[0])
            ctx.set(dut.results.valid, result_shown)
            ready_write, ready_other = chance() >= self.stall, chance() >= self.stall
            ctx.set(dut.write.request.ready, ready_write)
            ctx.set(dut.other.request.ready, ready_other)
            ctx.set(dut.pm.data, pm_data.popleft())
            arrived = am_data.popleft()
            noise = int.from_bytes(rng.bytes(rows), "little") if arrived is None else arrived
            ctx.set(Value.cast(dut.other.data), noise)
            while am_writes and am_writes[0][0] <= cycle:
                _, where, data = am_writes.popleft()
                self.am[where] = data

            # What the unit makes of them.
            self.states.append(ctx.get(dut.unit.state))
            if ctx.get(dut.unit.done):
                number = len(self.done)
                np.testing.assert_array_equal(self.am, self.wanted[number], f"at done of {number}")
                self.done.append(cycle)
            address = ctx.get(dut.pm.address) if ctx.get(dut.pm.enable) else None
            pm_data.append(int.from_bytes(rng.bytes(20) if address is None
                                          else self.machine.pm[address].tobytes(), "little"))
            if ctx.get(dut.write.request.valid) and ready_write:
                request = ctx.get(Value.cast(dut.write.request.payload))
                assert request & 1, "a read at the write port"
                count = request >> field["count"].offset & (1 << field["count"].width) - 1
                data = np.frombuffer((request >> field["data"].offset).to_bytes(rows, "little"), np.int8)
                start = places(request)
                self.writes.append(cycle)
                am_writes.append((cycle + self.write_latency, slice(start, start + count), data[:count]))
            if ctx.get(dut.other.request.valid) and ready_other:
                request = ctx.get(Value.cast(dut.other.request.payload))
                assert not request & 1, "a write at the read port"
                start = places(request)
                got = np.resize(self.am[start:start + rows], rows)  # past the end: anything
                am_data.append(int.from_bytes(got.tobytes(), "little"))
            else:
                am_data.append(None)
            if offering and ctx.get(dut.unit.instruction.ready):
                offering, issued = False, issued + 1
                self.accepted.append(cycle)
            if result_shown and ctx.get(dut.results.ready):
                result_shown = False
                self.pixels.popleft()
            if len(self.done) == len(self.posts):
                return
            await ctx.tick()

    @property
    def entered(self):
        return [cycle for cycle, state in enumerate(self.states) if state == State.BUSY]


def channel_for(rng, size=12):
    """A record that gives values in and around int8 for sums of about 2**size."""
    shift = int(rng.integers(0, 14))
    return Channel(bias=int(rng.integers(-2000, 2000)),
                   mult=int(2.0 ** (shift + PRODUCT_DROP + 8 - size) * (0.5 + rng.random())),
                   round_pos=1 << shift >> 1, round_neg=int(rng.integers(1 << shift)), shift=shift)


def add_for(rng):
    shift = int(rng.integers(10, 24))
    low, high = sorted(int(value) for value in rng.integers(-128, 128, 2))
    wide = rng.random() < 0.7
    return Add(mult_q=int(2**shift * rng.uniform(-1, 1)), mult_other=int(2**shift * rng.uniform(-1, 1)),
               constant=int(2**(shift + 5) * rng.uniform(-1, 1)), shift=shift,
               low=-128 if wide else low, high=127 if wide else high)


def product_for(rng):
    offset_q, offset_other = (int(value) for value in rng.choice([-256, -128, -1, 0, 127, 128, 255, 77], 2))
    return Product(offset_q=offset_q, offset_other=offset_other)


class Layout:
    """Draws instructions: outputs in the lower half of the memory, operands in the upper half or in place."""

    def __init__(self, bench):
        self.bench, self.rng, self.half = bench, bench.rng, len(bench.am) // 2

    def draw(self, *, kind=None, table=None, channels=None, x_count=None, y_count=None, ordered=None):
        rng, fabric = self.rng, self.bench.fabric
        channels = channels or int(rng.integers(1, fabric.cols, endpoint=True))
        x_count = x_count or int(rng.integers(1, 7))
        y_count = y_count or int(rng.integers(1, 4))
        kind = str(rng.choice(["plain", "add", "multiply"])) if kind is None else kind
        record = {"add": add_for, "multiply": product_for}.get(kind)
        combines = record is not None
        if table is None:
            table = int(rng.integers(fabric.tables + 1)) * (rng.random() < 0.5)
        ordered = rng.random() < 0.4 if ordered is None else ordered
        x_step = channels + int(rng.integers(0, 5))
        y_step = x_step * x_count + int(rng.integers(0, 9))
        extent = y_step * y_count
        assert extent <= self.half, "the test's activation memory is too small"
        out = int(rng.integers(self.half - extent + 1))
        params = int(rng.integers(fabric.pm_words - channels - combines + 1))
        machine = self.bench.machine
        fresh = rng.random() < 0.8  # else the records lie where others do: noise, or an earlier instruction's
        size = 15 if kind == "multiply" else 12
        for c in range(channels if fresh else 0):
            machine.pm[params + c] = np.frombuffer(channel_for(rng, size).pack(), np.uint8)
        if combines:
            machine.pm[params + channels] = np.frombuffer(record(rng).pack(), np.uint8)
        in_place = combines and ordered and rng.random() < 0.5
        other_x, other_y = (x_step, y_step) if in_place else (
            int(rng.integers(channels + 4)), int(rng.integers(self.half // 8)))
        reach = (x_count - 1) * other_x + (y_count - 1) * other_y + channels
        if reach > self.half:
            other_x, other_y, reach = 0, 0, channels
        low, high = sorted(int(value) for value in rng.integers(-128, 128, 2))
        wide = rng.random() < 0.7
        return Post(params=params, channels=channels, x_count=x_count, y_count=y_count,
                    out=out, x_step=x_step, y_step=y_step, zero=int(rng.integers(-128, 128)), low=-128 if
                    wide else low, high=127 if wide else high, add=int(kind == "add"),
                    multiply=int(kind == "multiply"), table=int(table), other=out if in_place else
                    self.half + int(rng.integers(self.half - reach + 1)), other_x_step=other_x,
                    other_y_step=other_y, wait=int(ordered) << Unit.POST)

    def results(self, post):
        """Sums of ordinary size, some at the ends of their range."""
        width = self.bench.fabric.acc_width
        sums = self.rng.integers(-2**12, 2**12, (post.x_count * post.y_count, self.bench.fabric.cols))
        ends = self.rng.random(sums.shape) < 0.05
        return np.where(ends, self.rng.choice([-(1 << width - 1), (1 << width - 1) - 1], sums.shape), sums)


def small(rows, cols, lanes, **more):
    return Fabric(rows=rows, cols=cols, lanes=lanes, am_words=-(-2048 // rows), pm_words=96, **more)


FABRICS = [small(1, 1, 1, acc_width=20, tables=1), small(3, 5, 3, tables=15),
           small(3, 5, 2, acc_width=24, bus_bytes=4), small(3, 5, 1, tables=0), small(4, 4, 4, bus_bytes=16),
           small(8, 9, 8), small(6, 13, 4, tables=0), small(5, 32, 2)]


def name(fabric):
    return f"{fabric.rows}x{fabric.cols}-{fabric.lanes}"


@pytest.mark.parametrize(("fabric", "pressure"),
                         [(fabric, "all") for fabric in FABRICS]
                         + [(fabric, pressure) for fabric in (FABRICS[2], FABRICS[4])
                            for pressure in ("none", "results", "memory")],
                         ids=lambda value: value if isinstance(value, str) else name(value))
def test_memory_equals_the_emulators_at_every_done(fabric, pressure):
    gap = {"none": (0, 0, 0), "results": (0.7, 0, 0), "memory": (0, 0.6, 0), "all": (0.3, 0.4, 0.5)}[pressure]
    # Latencies at the ends of what the unit takes, and the real ones.
    ends = {"none": (PostProcess.READ_LATENCY_MAX, 1), "results": (1, 9)}
    read_latency, write_latency = ends.get(pressure, (7, 4))
    bench = Bench(fabric, seed=len(pressure) + fabric.cols, read_latency=read_latency,
                  write_latency=write_latency, result_gap=gap[0], stall=gap[1], offer_gap=gap[2])
    layout = Layout(bench)
    posts = [layout.draw() for _ in range(4 if fabric.cols >= 8 else 8)]
    # The shortest instructions, back to back, and with different records: what overlaps most.
    posts += [layout.draw(kind=kind, channels=1, x_count=1, y_count=1, ordered=False)
              for kind in "plain add plain multiply add add multiply multiply plain".split()]
    bench.run(posts, [layout.results(post) for post in posts])


@pytest.mark.parametrize("fabric", [small(4, 4, 4), small(3, 5, 2)], ids=name)
def test_a_group_enters_every_cycle_when_nothing_stalls(fabric):
    bench = Bench(fabric, seed=5)
    layout = Layout(bench)
    post = layout.draw(kind="plain", channels=fabric.cols, x_count=9, y_count=4)
    bench.run([post], [layout.results(post)])
    groups = 36 * -(-fabric.cols // fabric.lanes)
    first = bench.accepted[0] + bench.dut.LATENCY_START + fabric.cols
    assert bench.entered == list(range(first, first + groups))
    assert bench.writes == [cycle + bench.dut.LATENCY_PLAIN for cycle in bench.entered]
    assert bench.done == [bench.writes[-1] + bench.write_latency]


@pytest.mark.parametrize("kind", ["add", "multiply"])
def test_a_group_with_an_operand_enters_every_cycle_when_nothing_stalls(kind):
    bench = Bench(small(4, 4, 4), seed=6)
    layout = Layout(bench)
    post = layout.draw(kind=kind, channels=4, x_count=35, y_count=3, ordered=False)
    bench.run([post], [layout.results(post)])
    latency = bench.dut.LATENCY_ADD if kind == "add" else bench.dut.LATENCY_PLAIN
    assert bench.writes == [cycle + latency for cycle in bench.entered]
    assert bench.entered[-1] - bench.entered[0] == 35 * 3 - 1
    if kind == "add":
        assert bench.entered[0] == bench.accepted[0] + bench.dut.LATENCY_START + 5


KINDS = ["plain plain plain", "add add add", "multiply multiply multiply", "plain add plain",
         "add multiply add", "multiply plain multiply"]


@pytest.mark.parametrize(("fabric", "channels", "pixels", "kinds"),
                         [(small(4, 4, 4), 4, pixels, kinds) for kinds in KINDS for pixels in (1, 40)]
                         + [(small(2, 16, 2), 16, 3, kinds) for kinds in KINDS]
                         + [(small(4, 4, 4, tables=0), 1, 3, kinds) for kinds in KINDS[3:5]]
                         + [(small(16, 16, 16), 16, pixels, KINDS[0]) for pixels in (3, 36)],
                         ids=lambda value: name(value) if isinstance(value, Fabric) else str(value))
def test_the_next_instruction_enters_after_its_stated_cycles(fabric, channels, pixels, kinds):
    bench = Bench(fabric, seed=7)
    dut, layout = bench.dut, Layout(bench)
    posts = [layout.draw(kind=kind, channels=channels, x_count=pixels, y_count=1, ordered=False)
             for kind in kinds.split()]
    bench.run(posts, [layout.results(post) for post in posts])
    per_post = pixels * -(-channels // fabric.lanes)
    for i in (1, 2):
        before, now = posts[i - 1], posts[i]
        first, last, entered = (bench.entered[n * per_post - d] for n, d in ((i - 1, 0), (i, 1), (i, 0)))
        assert first - 1 - bench.read_latency <= bench.accepted[i] <= first, "not early"
        settle = dut.LATENCY_SETTLE_ADD if before.add else dut.LATENCY_SETTLE
        drain = dut.LATENCY_DRAIN_ADD if before.add else dut.LATENCY_DRAIN
        records = channels + now.add + now.multiply
        operand = 1 + bench.read_latency if now.multiply else now.add
        earliest = max(bench.accepted[i] + records + dut.LATENCY_START,
                       last + dut.LATENCY_NEXT + operand, first + settle)
        if (before.add, before.multiply) != (now.add, now.multiply):
            earliest = max(earliest, last + drain)
        assert entered == earliest, f"{entered - last} cycles after the last group"


def test_short_instructions_reload_a_bank_that_was_only_just_read():
    """A long one, then a group at a time: records of the third overwrite those that the first still reads."""
    fabric = small(2, 16, 2)
    bench = Bench(fabric, seed=18)
    layout = Layout(bench)
    posts = [layout.draw(kind="plain", channels=channels, x_count=x_count, y_count=1, ordered=False)
             for channels, x_count in ((16, 6), (1, 1), (16, 6), (2, 1), (1, 1), (16, 1), (1, 1), (16, 4))]
    bench.run(posts, [layout.results(post) for post in posts])


def test_an_instruction_of_another_layer_waits_for_the_last_group():
    """What is accepted is what the profile counts the cycles for."""
    bench = Bench(small(4, 4, 4), seed=17)
    layout = Layout(bench)
    posts = [replace(layout.draw(kind="plain", channels=4, x_count=30, y_count=1, ordered=False), layer=layer)
             for layer in (5, 6, 6)]
    bench.run(posts, [layout.results(post) for post in posts])
    assert bench.accepted[1] == bench.entered[29] + 1
    assert bench.entered[30] == bench.accepted[1] + bench.dut.LATENCY_START + 4
    assert bench.accepted[2] == bench.entered[30]
    assert bench.entered[60] == bench.entered[59] + bench.dut.LATENCY_NEXT


@pytest.mark.parametrize("tables", [1, 15])
@pytest.mark.parametrize("kind", ["plain", "add", "multiply"])
def test_instructions_with_different_tables_follow_each_other(kind, tables):
    bench = Bench(small(4, 4, 4, tables=tables), seed=tables)
    layout = Layout(bench)
    posts = [layout.draw(kind=kind, table=table, channels=4, x_count=x_count, y_count=1, ordered=False)
             for table, x_count in ((tables, 40), (0, 1), (1, 2), (0, 30), (tables, 3), (1, 30))]
    bench.run(posts, [layout.results(post) for post in posts])


def test_states_say_what_the_front_waits_for():
    fabric = small(4, 4, 4)
    bench = Bench(fabric, seed=8, stall=0.9)
    layout = Layout(bench)
    post = layout.draw(kind="plain", channels=4, x_count=24, y_count=2)
    bench.run([post], [layout.results(post)])
    inside = bench.states[bench.accepted[0] + 1:bench.entered[-1] + 1]
    start = bench.dut.LATENCY_START + 4 - 1
    assert set(inside[:start]) == {State.OPERAND}, "records come first"
    assert set(inside[start:]) == {State.BUSY, State.RESULT}, "then the port is the limit"
    assert set(bench.states[:bench.accepted[0] + 1] + bench.states[bench.entered[-1] + 1:]) == {State.IDLE}
    assert len(bench.entered) == 48

    bench = Bench(fabric, seed=9, result_gap=0.9)
    layout = Layout(bench)
    post = layout.draw(kind="plain", channels=4, x_count=12, y_count=2)
    bench.run([post], [layout.results(post)])
    inside = bench.states[bench.accepted[0] + 1:bench.entered[-1] + 1]
    assert set(inside) == {State.BUSY, State.OPERAND}


@pytest.mark.parametrize("reset_after", [5, 12, 20, 60])
def test_reset_leaves_nothing_of_an_instruction_under_way(reset_after):
    fabric = small(3, 5, 2)
    bench = Bench(fabric, seed=reset_after)
    layout = Layout(bench)
    posts = [layout.draw(kind=kind, ordered=False) for kind in ("add", "plain", "multiply")]
    bench.run(posts, [layout.results(post) for post in posts], reset_after=reset_after)


def test_limits_the_wrong_way_round_do_what_the_emulator_does():
    fabric = small(3, 5, 2)
    bench = Bench(fabric, seed=10)
    layout = Layout(bench)
    posts = [replace(layout.draw(kind=kind, ordered=False), low=40, high=-7) for kind in ("plain", "add")]
    for post in posts:
        if post.add:
            record = Add.unpack(bench.machine.pm[post.params + post.channels].tobytes())
            bench.machine.pm[post.params + post.channels] = np.frombuffer(
                replace(record, low=20, high=3).pack(), np.uint8)
    bench.run(posts, [layout.results(post) for post in posts])


def test_latencies_the_unit_cannot_work_with_are_refused():
    with pytest.raises(ValueError, match="read_latency is 15; operands must come within 1 to 14"):
        PostProcess(fabric=small(1, 1, 1), read_latency=15, write_latency=1)
    with pytest.raises(ValueError, match="write_latency is 0"):
        PostProcess(fabric=small(1, 1, 1), read_latency=1, write_latency=0)
