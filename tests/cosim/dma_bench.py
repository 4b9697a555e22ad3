"""cocotb bench of DMA: cocotbext-axi's RAM behind it, the rules of the bus watched, NumPy as the model."""
import logging
from collections import deque
from types import SimpleNamespace

import cocotb
import numpy as np
from axi_memory import Memory, pause
from blocks import PATTERNS, Bench, Later, Sink, Source, Unit, packed, seeds
from celosia.rtl.contract.fabric import PARAMETER_BYTES, TABLE_BYTES, Fabric
from celosia.rtl.contract.isa import Fill, Load, Space, Store
from celosia.rtl.contract.numerics import wrap
from celosia.rtl.contract.registers import Fault
from celosia.rtl.link.axi import BURST_INCR
from celosia.rtl.memory.activation import ActivationMemory
from celosia.rtl.signatures import am_request
from celosia.sim.cosim import parameters
from cocotbext.axi import AxiBus

FABRIC = Fabric(**parameters()["fabric"])
ROWS, COLS, BUS, BITS = FABRIC.rows, FABRIC.cols, FABRIC.bus_bytes, FABRIC.weight_bits
REQUEST = am_request(FABRIC)
DRAM_BYTES = 1 << 14
MOST_CYCLES = 20_000
PAYLOADS = {"ar": ("addr", "len", "size", "burst"), "aw": ("addr", "len", "size", "burst"),
            "w": ("data", "strb", "last")}


class Port:
    """Watches the memory port: AMBA AXI4, A3.2.1 (an offer stands), A3.4.1 (bursts), and what is under way.

    Attributes
    ----------
    strobed : int
        Bytes written since it was set to 0.
    silent : bool
        No transaction may begin and no byte be written any more, but those on offer.
    """

    def __init__(self, bench):
        self.bench, self.strobed, self.silent = bench, 0, False
        names = [channel + each for channel, payload in PAYLOADS.items()
                 for each in ("valid", "ready", *payload)]
        names += ["rvalid", "rready", "rlast", "bvalid", "bready"]
        self.pins = {name: getattr(bench.dut, f"axi__{name}") for name in names}
        self.offered = {}
        self.reads, self.writes, self.lengths, self.beats = 0, 0, deque(), deque()
        bench.models.append(self)

    def drive(self):
        pass

    def forget(self):
        assert not self.open, "reset with a transaction under way"
        self.offered = {}

    @property
    def open(self):
        """Whether something is under way."""
        return bool(self.reads or self.writes or self.beats or self.offered)

    def sample(self):
        now = {name: int(pin.value) for name, pin in self.pins.items()}
        taken = set()
        for channel, payload in PAYLOADS.items():
            before = self.offered.pop(channel, None)
            if not now[f"{channel}valid"]:
                assert before is None, f"{channel} takes back what it offered"
                continue
            offer = [now[channel + each] for each in payload]
            assert offer == (before or offer), f"{channel} changes while it waits"
            if before is None and self.silent:
                assert channel == "w" and not now["wstrb"], f"{channel} offers something new after an abort"
            if now[f"{channel}ready"]:
                taken.add(channel)
            else:
                self.offered[channel] = offer
        for channel in taken & {"ar", "aw"}:
            self.burst(*(now[channel + each] for each in PAYLOADS[channel]))
        if "ar" in taken:
            self.reads += 1
            assert self.reads <= FABRIC.outstanding
        if "aw" in taken:
            self.writes += 1
            self.lengths.append(now["awlen"] + 1)
        if "w" in taken:
            self.strobed += now["wstrb"].bit_count()
            self.beats.append(now["wlast"])
        while self.lengths and len(self.beats) >= self.lengths[0]:
            lasts = [self.beats.popleft() for _ in range(self.lengths.popleft())]
            assert lasts == [0] * (len(lasts) - 1) + [1], "WLAST disagrees with AWLEN"
        self.reads -= now["rvalid"] & now["rready"] & now["rlast"]
        self.writes -= now["bvalid"] & now["bready"]
        if int(self.bench.dut.quiet.value):
            assert not self.open, "says that it is quiet"

    @staticmethod
    def burst(address, length, size, burst):
        count = (length + 1) * BUS
        assert burst == BURST_INCR and 1 << size == BUS and address % BUS == 0
        assert length < FABRIC.max_burst
        assert address // 4096 == (address + count - 1) // 4096, "crosses 4 KB"
        assert address + count <= DRAM_BYTES


def carry_out(memory, instruction):
    """The effect of Load, Fill or Store on the arrays am, wm, pm, tables, dram."""
    i = instruction
    if isinstance(i, Fill):
        for row in range(i.rows):
            memory.am[i.local + row * i.pitch:][:i.row_bytes] = i.value & 255
        return
    if isinstance(i, Store) or i.space == Space.AM:
        for row in range(i.rows):
            inside = memory.am[i.local + row * i.pitch:][:i.row_bytes]
            outside = memory.dram[i.dram + row * i.dram_stride:][:i.row_bytes]
            if isinstance(i, Store):
                outside[:] = inside
            else:
                inside[:] = outside
        return
    stride = {Space.WM: FABRIC.wm_word_stride, Space.PM: FABRIC.pm_word_stride,
              Space.TABLE: TABLE_BYTES}[i.space]
    for n in range(i.row_bytes // stride):
        word = memory.dram[i.dram + n * stride:][:stride]
        if i.space == Space.WM:
            weights = word[:COLS].view(np.int8).astype(np.int64) - i.offset
            memory.wm[i.word + n] = wrap(weights, BITS)
        elif i.space == Space.PM:
            memory.pm[i.word + n] = word[:PARAMETER_BYTES]
        else:
            memory.tables[i.word + n] = word


class OnChip:
    """Activation memory at the two clients' ports, and what is written to the wide memories."""

    def __init__(self, bench):
        self.bench, rng = bench, bench.rng
        self.am = rng.integers(0, 256, FABRIC.am_bytes, np.uint8)
        self.wm = rng.integers(-128, 128, (FABRIC.wm_words, COLS))
        self.pm = rng.integers(0, 256, (FABRIC.pm_words, PARAMETER_BYTES), np.uint8)
        self.tables = rng.integers(0, 256, (FABRIC.tables, TABLE_BYTES), np.uint8)
        self.beats = self.tables.reshape(-1, BUS)
        self.writes, self.answers = Later(bench), Later(bench)
        bench.models.append(self)
        self.ports = [Sink(bench, "am_load__request", take=self.write),
                      Sink(bench, "am_store__request", take=self.read)]

    def settle(self):
        if (due := self.writes.now()) is not None:
            start, data = due
            self.am[start:start + len(data)] = data

    def drive(self):
        self.settle()
        answer = self.answers.now()
        self.bench.dut.am_store__data.value = self.bench.noise(8 * ROWS) if answer is None else answer

    def sample(self):
        dut = self.bench.dut
        if int(dut.wm__enable.value):
            word = int(dut.wm__data.value)
            lanes = [word >> BITS * c & (1 << BITS) - 1 for c in range(COLS)]
            self.wm[int(dut.wm__address.value)] = wrap(np.array(lanes), BITS)
        for port, memory in (("pm", self.pm), ("table", self.beats)):
            if int(getattr(dut, f"{port}__enable").value):
                data = int(getattr(dut, f"{port}__data").value).to_bytes(memory.shape[1], "little")
                memory[int(getattr(dut, f"{port}__address").value)] = np.frombuffer(data, np.uint8)

    def forget(self):
        """Writes on their way are in the memory's own registers."""
        for start, data in self.writes.due.values():
            self.am[start:start + len(data)] = data
        self.writes.clear()
        self.answers.clear()

    def request(self, payload):
        request = REQUEST.from_bits(payload)
        assert request.address.lane < ROWS and 1 <= request.count <= ROWS
        return request, request.address.word * ROWS + request.address.lane

    def write(self, payload):
        request, start = self.request(payload)
        assert request.write and start + request.count <= FABRIC.am_bytes
        data = [request.data[n] for n in range(request.count)]
        self.writes.put(ActivationMemory.LATENCY_WRITE, (start, data))

    def read(self, payload):
        request, start = self.request(payload)
        assert not request.write
        seen = np.resize(self.am[start:start + ROWS], ROWS)  # behind the end: anything
        self.answers.put(ActivationMemory.LATENCY_ACCESS, packed(seen, 8))


class DMABench(Bench):
    def __init__(self, dut, seed):
        super().__init__(dut, seed)
        dut._log.setLevel(logging.ERROR)  # the RAM logs every transfer below it
        self.memory = Memory(AxiBus.from_prefix(dut, "axi_"), dut.clk, dut.rst, size=DRAM_BYTES)
        self.memory.data[:] = self.rng.integers(0, 256, DRAM_BYTES, np.uint8)
        self.chip = OnChip(self)
        self.load, self.store = Unit(self, "load", FABRIC), Unit(self, "store", FABRIC)
        self.commands, self.fetched = Source(self, "fetch_command"), Sink(self, "fetch_data")
        self.port = Port(self)
        self.faults, self.round = [], 0
        self.models.append(self)

    def drive(self):
        pass

    def sample(self):
        dut = self.dut
        if int(dut.fault__valid.value):
            self.faults.append((int(dut.fault__code.value), int(dut.fault__address.value)))

    def forget(self):
        self.faults.clear()

    def pace(self, rest, offer, take):
        """How often the bus rests, instructions are offered, and memory and fetch take what they get."""
        pause(self.memory, lambda: self.quick.random() < rest)
        for unit in (self.load, self.store):
            unit.source.chance = offer
        for sink in (*self.chip.ports, self.fetched):
            sink.chance = take

    def snapshot(self):
        chip = self.chip
        return SimpleNamespace(am=chip.am.copy(), wm=chip.wm.copy(), pm=chip.pm.copy(),
                               tables=chip.tables.copy(), dram=self.memory.data.copy())

    def compare(self, want):
        got = self.snapshot()
        for name, expected in vars(want).items():
            np.testing.assert_array_equal(getattr(got, name), expected, name)

    def draw_rows(self, am_half, dram_half):
        """Rows of any length between a half of the activation memory and one of the DRAM."""
        rng, room, blocks = self.rng, FABRIC.am_bytes // 2, DRAM_BYTES // 2 // BUS
        rows = int(rng.choice([1, 1, 2, 5]))
        longest = max(1, min(room // rows, 40 * BUS if rows > 1 else 300))
        row_bytes = int(rng.choice([1, BUS, BUS + 1, *rng.integers(1, longest + 1, 3)]))
        row_bytes = min(row_bytes, longest)
        pitch = int(rng.integers(row_bytes, room // rows + 1))  # rows of a Store may not overlap in DRAM
        local = int(rng.integers(room - pitch * (rows - 1) - row_bytes + 1))
        beats = -(-row_bytes // BUS)
        stride = int(rng.integers(beats, beats + 30))
        span = stride * (rows - 1) + beats
        near = 4096 // BUS - int(rng.integers(span + 1))  # around a 4 KB boundary
        first = near if self.chance(0.4) and 0 <= near <= blocks - span else int(
            rng.integers(blocks - span + 1))
        return {"rows": rows, "row_bytes": row_bytes, "local": am_half * room + local, "pitch": pitch,
                "dram": dram_half * (DRAM_BYTES // 2) + first * BUS, "dram_stride": stride * BUS}

    def draw_load(self, am_half, dram_half):
        rng = self.rng
        kind = int(rng.choice([Space.AM, Space.AM, Space.WM, Space.PM, Space.TABLE, 9]))
        if kind == 9 or (kind == Space.TABLE and not FABRIC.tables):
            rows = self.draw_rows(am_half, dram_half)
            return Fill(value=int(rng.integers(-128, 128)),
                        **{name: rows[name] for name in ("rows", "row_bytes", "local", "pitch")})
        if kind == Space.AM:
            return Load(space=kind, **self.draw_rows(am_half, dram_half))
        stride, depth = {Space.WM: (FABRIC.wm_word_stride, FABRIC.wm_words),
                         Space.PM: (FABRIC.pm_word_stride, FABRIC.pm_words),
                         Space.TABLE: (TABLE_BYTES, FABRIC.tables)}[kind]
        words = int(rng.integers(1, min(depth, 2 if kind == Space.TABLE else 9) + 1))
        first = int(rng.integers((DRAM_BYTES // 2 - words * stride) // BUS + 1)) * BUS
        return Load(space=kind, dram=dram_half * (DRAM_BYTES // 2) + first, row_bytes=words * stride,
                    word=int(rng.integers(depth - words + 1)), offset=int(rng.choice([0, -128, 127, 5])))

    def give(self, loads, stores, fetches=()):
        """Hand them out; returns the memories as they must become, and the beats that must be fetched."""
        want = self.snapshot()
        for instruction in (*loads, *stores):
            carry_out(want, instruction)
        self.load.forget()
        self.store.forget()
        self.load.give(loads)
        self.store.give(stores)
        self.fetched.forget()
        self.commands.forget()
        self.commands.items.extend(address | count << 32 for address, count in fetches)
        beats = [int.from_bytes(self.memory.data[at:at + BUS].tobytes(), "little")
                 for address, count in fetches for at in range(address, address + count, BUS)]
        self.port.strobed = 0
        return want, beats

    def draw(self, count):
        """Loads, Stores and fetches that may run side by side: they use different halves of everything."""
        self.round += 1
        half = self.round % 2
        loads = [self.draw_load(half, half) for _ in range(count)]
        stores = self.apart([Store(**self.draw_rows(1 - half, 1 - half)) for _ in range(count)])
        fetches = [(half * (DRAM_BYTES // 2) + BUS * int(self.rng.integers(500)),
                    32 * int(self.rng.integers(1, 9))) for _ in range(2)]
        return loads, stores, fetches

    @staticmethod
    def apart(stores):
        """Those that write no byte twice, so that bytes can be counted."""
        seen, kept = set(), []
        for store in stores:
            places = {store.dram + row * store.dram_stride + n for row in range(store.rows)
                      for n in range(store.row_bytes)}
            if not places & seen:
                seen |= places
                kept.append(store)
        return kept

    async def good_round(self, count=5):
        loads, stores, fetches = self.draw(count)
        await self.good(loads, stores, fetches)

    async def good(self, loads, stores, fetches=()):
        """Carried out as they must be: what the last ``done`` says is already so."""
        want, beats = self.give(loads, stores, fetches)
        await self.run(lambda: self.load.idle and self.store.idle and len(self.fetched.taken) == len(beats),
                       limit=MOST_CYCLES)
        self.chip.settle()
        self.compare(want)
        assert [beat for _, beat in self.fetched.taken] == beats
        assert self.port.strobed == sum(store.rows * store.row_bytes for store in stores)
        assert not self.faults
        await self.step()
        assert int(self.dut.quiet.value)

    async def stop(self, before, want, *, torn=0):
        """Abort until it is quiet, then reset; every byte is the old one or the wanted one.

        Where data came with an error, in the first ``torn`` bytes of the activation memory, any is.
        """
        self.dut.abort.value = 1
        await self.step()
        for unit in (self.load, self.store, self.commands):
            unit.forget()
        self.port.silent = True
        self.models = [model for model in self.models if model not in (self.load, self.store)]
        await self.run(lambda: int(self.dut.quiet.value), limit=MOST_CYCLES)
        self.dut.abort.value, self.port.silent = 0, False
        await self.reset()
        self.models += [self.load, self.store]
        got = self.snapshot()
        got.am[:torn] = before.am[:torn]
        for name, old in vars(before).items():
            new, wanted = getattr(got, name), getattr(want, name)
            strange = (new != old) & (new != wanted)
            assert not strange.any(), f"{name} changed at {np.argwhere(strange)[:4].tolist()}"


@cocotb.test()
@cocotb.parametrize(seed=seeds(5, 60))
async def random_rounds(dut, seed):
    bench = DMABench(dut, [1, seed])
    await bench.start()
    offer, take = PATTERNS[seed % len(PATTERNS)]
    bench.pace([0, 0.2, 0.4, 0.7, 0.3][seed % 5], offer, take)
    for _ in range(2):
        await bench.good_round()


@cocotb.test()
async def rows_around_4_kb_boundaries(dut):
    """Up to and over the boundary, by less and by more than a beat."""
    bench = DMABench(dut, 2)
    await bench.start()
    for before in (1, 2, FABRIC.max_burst + 1):
        for row_bytes in sorted({1, BUS, before * BUS - 1, before * BUS, before * BUS + 1, 3 * before * BUS}):
            row_bytes = min(row_bytes, FABRIC.am_bytes // 2)
            where = {"row_bytes": row_bytes, "local": 1}
            await bench.good([Load(space=Space.AM, dram=4096 - before * BUS, **where)], [])
            await bench.good([], [Store(dram=12288 - before * BUS, **where)])


@cocotb.test()
async def error_responses(dut):
    """On the first, a middle and the last beat of loads, stores and fetches, with pauses everywhere."""
    bench = DMABench(dut, 3)
    await bench.start()
    bench.pace(0.3, 0.9, 0.7)
    block = (1 << FABRIC.max_burst.bit_length() - 1) * BUS
    count = min(FABRIC.am_bytes // 2, 20 * BUS)
    for what in ("load", "store", "fetch"):
        for broken in (0, count // 2, count - 1):
            start = 4096 - 5 * BUS
            loads = [Load(space=Space.AM, dram=start, row_bytes=count)] if what == "load" else []
            stores = [Store(dram=start, row_bytes=count)] if what == "store" else []
            fetches = [(start, -(-count // 32) * 32)] if what == "fetch" else []
            before = bench.snapshot()
            bench.memory.broken = start + broken
            want, _ = bench.give(loads, stores, fetches)
            await bench.run(lambda: bench.faults, limit=MOST_CYCLES)
            place = max(start, (start + broken) // block * block)
            code = Fault.WRITE_RESPONSE if what == "store" else Fault.READ_RESPONSE
            assert bench.faults == [(code, place)]
            # In the cycle of the fault at the earliest: the sequencer looks at both.
            assert all(cycle == bench.cycle - 1 for cycle in (*bench.load.done, *bench.store.done))
            await bench.stop(before, want, torn=count if what == "load" else 0)
            bench.memory.broken = None
            await bench.good_round(2)


@cocotb.test()
async def abort_and_reset_in_the_middle(dut):
    bench = DMABench(dut, 4)
    await bench.start()
    for number in seeds(6, 150):
        offer, take = PATTERNS[number % len(PATTERNS)]
        bench.pace([0, 0.5, 0.2][number % 3], offer, take)
        before = bench.snapshot()
        loads, stores, fetches = bench.draw(3)
        want, _ = bench.give(loads[:1], stores, fetches)
        for _ in range(int(bench.rng.integers(1, 200))):
            await bench.step()
        await bench.stop(before, want)
        await bench.good_round(2)
