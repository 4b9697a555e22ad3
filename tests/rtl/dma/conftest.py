# amaranth: UnusedElaboratable=no
"""A bench around the DMA: an AXI memory that checks the rules, the activation memory, the sequencer."""
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import pytest
from amaranth import Cat, Module, ResetInserter, Signal
from amaranth.sim import Simulator
from celosia.rtl.contract.fabric import PARAMETER_BYTES, TABLE_BYTES
from celosia.rtl.contract.isa import Fill, Load, Space, Store, Unit, unit_bits
from celosia.rtl.contract.machine import Machine
from celosia.rtl.contract.numerics import wrap
from celosia.rtl.dma.dma import DMA
from celosia.rtl.link.axi import BURST_INCR, RESP_SLVERR
from celosia.rtl.signatures import State

PORT_FIELDS = ("arvalid", "araddr", "arlen", "arsize", "arburst", "arcache", "arprot", "arid",
               "awvalid", "awaddr", "awlen", "awsize", "awburst", "awcache", "awprot", "awid",
               "wvalid", "wdata", "wstrb", "wlast", "bready", "rready")
DRIVEN_FIELDS = ("arready", "awready", "wready", "bvalid", "bresp", "rvalid", "rdata", "rresp", "rlast")


@dataclass
class Pace:
    """Chance per cycle that each party of the bench moves, and the memory's latency in cycles."""

    ar: float = 1
    r: float = 1
    aw: float = 1
    w: float = 1
    b: float = 1
    am: float = 1
    issue: float = 1
    fetch: float = 1
    latency: int = 2

    @classmethod
    def random(cls, rng):
        chances = (float(rng.choice([0.15, 0.5, 0.9, 1])) for _ in range(8))
        return cls(*chances, latency=int(rng.integers(0, 20)))


@dataclass
class Burst:
    address: int
    beats: int
    due: int = 0
    sent: int = 0


@dataclass
class AXIMemory:
    """The subordinate: any order of channels that AXI allows, every rule for the manager asserted."""

    bench: "Bench"
    dram: np.ndarray
    bad_reads: set = field(default_factory=set)  # beat addresses that are answered with an error
    bad_writes: set = field(default_factory=set)  # burst addresses that are
    reads: deque = field(default_factory=deque)
    writes: deque = field(default_factory=deque)  # addresses accepted, data not complete
    beats: deque = field(default_factory=deque)  # data accepted ahead of its address
    answers: deque = field(default_factory=deque)
    promised: deque = field(default_factory=deque)  # lengths of AW offered
    drive: dict = field(default_factory=dict)
    seen: dict = field(default_factory=dict)
    bursts: list = field(default_factory=list)

    def before(self):
        """What the memory drives in this cycle; an offer stands until it is taken."""
        bench, pace, chance = self.bench, self.bench.pace, self.bench.chance
        drive = {name: int(chance(getattr(pace, name))) for name in ("ar", "aw", "w")}
        drive = {f"{name}ready": value for name, value in drive.items()}
        for channel in "rb":
            if self.drive.get(f"{channel}valid") and not self.drive[f"{channel}taken"]:
                drive |= {key: value for key, value in self.drive.items() if key.startswith(channel)}
            else:
                drive |= {f"{channel}valid": 0, f"{channel}resp": 0}
                if channel == "r":
                    drive |= {"rdata": int(bench.rng.integers(1 << 30)), "rlast": 0}
        if not drive["rvalid"] and self.reads and self.reads[0].due <= bench.cycle and chance(pace.r):
            burst, size = self.reads[0], bench.fabric.bus_bytes
            at = burst.address + burst.sent * size
            drive |= {"rvalid": 1, "rdata": int.from_bytes(self.dram[at:at + size].tobytes(), "little"),
                      "rresp": RESP_SLVERR if at in self.bad_reads else 0,
                      "rlast": int(burst.sent == burst.beats - 1)}
        if not drive["bvalid"] and self.answers and self.answers[0][0] <= bench.cycle and chance(pace.b):
            drive |= {"bvalid": 1, "bresp": RESP_SLVERR if self.answers[0][1] in self.bad_writes else 0}
        self.drive = drive

    def after(self, port):
        """The handshakes of this cycle, checked."""
        bench, last = self.bench, self.seen
        size = bench.fabric.bus_bytes
        for channel in ("ar", "aw", "w"):
            if last.get(f"{channel}valid") and not last[f"{channel}ready"]:
                for name in PORT_FIELDS:
                    if name.startswith(channel):
                        assert port[name] == last[name], f"{name} changed while {channel} waited"
            elif bench.aborting and bench.cycle > bench.abort_at and channel != "w":
                assert not port[f"{channel}valid"], f"a new {channel} during abort"
            elif channel == "aw" and port["awvalid"]:
                self.promised.append(port["awlen"] + 1)
        for way in "rw":
            if port[f"a{way}valid"]:
                start, beats = port[f"a{way}addr"], port[f"a{way}len"] + 1
                assert beats <= bench.fabric.max_burst and start % size == 0
                assert start // 4096 == (start + beats * size - 1) // 4096, f"{start:#x}+{beats} crosses 4 KB"
                assert start + beats * size <= len(self.dram), "outside the memory"
                assert 1 << port[f"a{way}size"] == size and port[f"a{way}burst"] == BURST_INCR
                assert port[f"a{way}cache"] == 0b0011 and not port[f"a{way}prot"] and not port[f"a{way}id"]
        if port["arvalid"] and self.drive["arready"]:
            self.reads.append(Burst(port["araddr"], port["arlen"] + 1, bench.cycle + 1 + bench.pace.latency))
            self.bursts.append(("r", port["araddr"], port["arlen"] + 1))
        if port["awvalid"] and self.drive["awready"]:
            self.writes.append(Burst(port["awaddr"], port["awlen"] + 1))
            self.bursts.append(("w", port["awaddr"], port["awlen"] + 1))
        self.drive["rtaken"] = self.drive["rvalid"] and port["rready"]
        if self.drive["rtaken"]:
            bench.read_cycles.append(bench.cycle)
            self.reads[0].sent += 1
            if self.drive["rlast"]:
                self.reads.popleft()
        if port["wvalid"] and self.drive["wready"]:
            bench.write_cycles.append(bench.cycle)
            assert self.promised, "data for no burst"
            self.promised[0] -= 1
            assert port["wlast"] == (self.promised[0] == 0), "WLAST disagrees with AWLEN"
            if port["wlast"]:
                self.promised.popleft()
            self.beats.append((port["wdata"], port["wstrb"]))
        if port["wvalid"] and bench.aborting and not (last.get("wvalid") and not last["wready"]):
            assert bench.cycle == bench.abort_at or not port["wstrb"], "data written after an abort"
        while self.writes and self.beats:
            burst = self.writes[0]
            (word, strobe), at = self.beats.popleft(), burst.address + burst.sent * size
            for i in range(size):
                if strobe >> i & 1:
                    self.dram[at + i] = word >> 8 * i & 255
            burst.sent += 1
            if burst.sent == burst.beats:
                self.writes.popleft()
                self.answers.append((bench.cycle + 1 + bench.pace.latency, burst.address))
        self.drive["btaken"] = self.drive["bvalid"] and port["bready"]
        if self.drive["btaken"]:
            self.answers.popleft()
        assert len(self.reads) <= bench.fabric.outstanding
        self.seen = {**port, **{f"{c}ready": self.drive[f"{c}ready"] for c in ("ar", "aw", "w")}}

    @property
    def open(self):
        return bool(self.reads or self.writes or self.beats or self.answers or self.promised)


class Bench:
    """One DMA, its memories, and a sequencer that overlaps whatever does not conflict.

    ``run`` carries out a program and, unless told otherwise, compares all memories with ``Machine``.
    """

    BOUND = 20_000

    def __init__(self, fabric, *, seed=0, pace=None, read_latency=2, write_latency=2, dram_bytes=3 * 4096):
        self.fabric, self.pace = fabric, pace or Pace()
        self.rng = np.random.default_rng(seed)
        self.read_latency, self.write_latency = read_latency, write_latency
        dram = self.rng.integers(0, 256, dram_bytes, np.uint8)
        self.machine = Machine(fabric, dram.copy())
        self.machine.am[:] = self.rng.integers(-128, 128, fabric.am_bytes)
        self.machine.wm[:] = self.rng.integers(-128, 128, self.machine.wm.shape)
        self.machine.pm[:] = self.rng.integers(0, 256, self.machine.pm.shape)
        self.machine.tables[:] = self.rng.integers(0, 256, self.machine.tables.shape)
        self.am = self.machine.am.view(np.uint8).copy()
        self.wm, self.pm = self.machine.wm.copy(), self.machine.pm.copy()
        self.tables = self.machine.tables.copy()
        self.axi = AXIMemory(self, dram)
        self.dut = DMA(fabric=fabric, am_read_latency=read_latency, am_write_latency=write_latency)
        self.reset = Signal()
        self.cycle = 0
        self.aborting, self.abort_at = False, None
        self.read_cycles, self.write_cycles, self.am_cycles, self.wide_cycles = [], [], [], []
        self.done_cycles = []
        self.faults, self.states = [], {Unit.LOAD: [], Unit.STORE: []}
        self.arrivals, self.inputs, self.drive_at = {}, {}, {}

    def chance(self, probability):
        return probability >= 1 or self.rng.random() < probability

    def simulate(self, script):
        """Run an async function of the bench as the only testbench."""
        m = Module()
        m.submodules.dut = ResetInserter(self.reset)(self.dut)

        async def testbench(ctx):
            self.ctx = ctx
            await script(self)

        self.port = Cat(getattr(self.dut.axi, name) for name in PORT_FIELDS)
        self.port_at, at = {}, 0
        for name in PORT_FIELDS:
            width = len(getattr(self.dut.axi, name))
            self.port_at[name] = at, (1 << width) - 1
            at += width
        dut = self.dut
        inputs = {name: getattr(dut.axi, name) for name in DRIVEN_FIELDS} | {
            "am_load_ready": dut.am_load.request.ready, "am_store_ready": dut.am_store.request.ready,
            "am_store_data": dut.am_store.data.as_value(), "fetch_ready": dut.fetch_data.ready,
            "abort": dut.abort, "load_valid": dut.load.instruction.valid,
            "load_code": dut.load.instruction.payload, "store_valid": dut.store.instruction.valid,
            "store_code": dut.store.instruction.payload, "command_valid": dut.fetch_command.valid,
            "command": dut.fetch_command.payload.as_value(), "reset": self.reset}
        self.drive = Signal(sum(len(signal) for signal in inputs.values()))
        at = 0
        for name, signal in inputs.items():
            self.drive_at[name] = at
            m.d.comb += signal.eq(self.drive[at:at + len(signal)])
            at += len(signal)
        sim = Simulator(m)
        sim.add_clock(1e-6)
        sim.add_testbench(testbench)
        sim.run()

    async def step(self, settled=lambda: None):
        """One clock cycle of everything around the DMA; ``settled`` is called when all inputs are set."""
        ctx, dut, axi, pace = self.ctx, self.dut, self.axi, self.pace
        for _, address, payload in [w for w in self.pending if w[0] <= self.cycle]:
            self.am[address] = payload
        self.pending = deque(w for w in self.pending if w[0] > self.cycle)

        axi.before()
        self.inputs |= {name: value for name, value in axi.drive.items() if not name.endswith("taken")}
        ready = {client: int(self.chance(pace.am)) for client in (dut.am_load, dut.am_store)}
        arrived = self.arrivals.pop(self.cycle, None)
        noise = self.rng.integers(0, 256, self.fabric.rows, np.uint8) if arrived is None else arrived
        self.inputs |= {
            "am_load_ready": ready[dut.am_load], "am_store_ready": ready[dut.am_store],
            "am_store_data": int.from_bytes(noise.tobytes(), "little"),
            "fetch_ready": int(self.chance(pace.fetch)), "abort": int(self.aborting),
        }
        # One set for all inputs: the simulator settles after each.
        ctx.set(self.drive, sum(self.inputs.get(name, 0) << at for name, at in self.drive_at.items()))
        settled()
        raw = ctx.get(self.port)
        port = {name: raw >> at & mask for name, (at, mask) in self.port_at.items()}
        axi.after(port)

        for client, is_load in ((dut.am_load, True), (dut.am_store, False)):
            offer = ctx.get(client.request.valid) and ctx.get(client.request.payload.as_value())
            if (held := self.held.get(is_load)) is not None:
                assert offer == held, "an AM request changed while it waited"
            taken = ctx.get(client.request.valid) and ready[client]
            self.held[is_load] = offer if ctx.get(client.request.valid) and not taken else None
            if taken:
                self.am_request(client.request.payload, is_load)
        self.wide_writes()
        if ctx.get(dut.fetch_data.valid) and ctx.get(dut.fetch_data.ready):
            self.fetched.append(ctx.get(dut.fetch_data.payload))
        if ctx.get(dut.fault.valid):
            self.faults.append((self.cycle, ctx.get(dut.fault.code), ctx.get(dut.fault.address)))
        for unit, unit_port in ((Unit.LOAD, dut.load), (Unit.STORE, dut.store)):
            self.states[unit].append(State(ctx.get(unit_port.state)))
            if ctx.get(unit_port.done):
                self.done_cycles.append(self.cycle)
                assert self.running[unit], f"{unit.name} is done with nothing"
                self.running[unit].popleft()
        quiet = ctx.get(dut.quiet)
        if quiet:
            assert not axi.open and not port["arvalid"] and not port["awvalid"] and not port["wvalid"]
        await ctx.tick()
        self.cycle += 1
        return quiet

    def wide_writes(self):
        ctx, dut, fabric = self.ctx, self.dut, self.fabric
        if ctx.get(dut.wm.enable):
            self.wide_cycles.append(self.cycle)
            word, bits = ctx.get(dut.wm.data), fabric.weight_bits
            weights = np.array([word >> c * bits & (1 << bits) - 1 for c in range(fabric.cols)])
            self.wm[ctx.get(dut.wm.address)] = wrap(weights, bits)
        for port, memory in ((dut.pm, self.pm), (dut.table, self.tables.reshape(-1, fabric.bus_bytes))):
            if ctx.get(port.enable):
                self.wide_cycles.append(self.cycle)
                word = ctx.get(port.data).to_bytes(memory.shape[1], "little")
                memory[ctx.get(port.address)] = np.frombuffer(word, np.uint8)

    def am_request(self, request, is_load):
        ctx, rows = self.ctx, self.fabric.rows
        lane, word = ctx.get(request.address.lane), ctx.get(request.address.word)
        count = ctx.get(request.count)
        assert 1 <= count <= rows and lane < rows and ctx.get(request.write) == is_load
        start = word * rows + lane
        if is_load:
            self.am_cycles.append(self.cycle)
            assert start + count <= len(self.am)
            payload = ctx.get(request.data.as_value()).to_bytes(rows, "little")[:count]
            self.pending.append((self.cycle + self.write_latency, np.arange(start, start + count),
                                 np.frombuffer(payload, np.uint8)))
        else:
            place = np.arange(start, start + rows)
            inside = place < len(self.am)
            payload = np.zeros(rows, np.uint8)
            payload[inside] = self.am[place[inside]]
            self.arrivals[self.cycle + self.read_latency] = payload

    def begin(self):
        self.pending, self.held, self.fetched = deque(), {}, []
        self.running = {Unit.LOAD: deque(), Unit.STORE: deque()}

    def footprint(self, instruction):
        """(AM bytes read, AM bytes written, DRAM bytes read, DRAM bytes written) as sets."""
        def rows(start, step):
            return {start + i * step + j
                    for i in range(instruction.rows) for j in range(instruction.row_bytes)}
        if isinstance(instruction, Store):
            return rows(instruction.local, instruction.pitch), set(), set(), rows(
                instruction.dram, instruction.dram_stride)
        am = set()
        if isinstance(instruction, Fill) or instruction.space == Space.AM:
            am = rows(instruction.local, instruction.pitch)
        dram = set() if isinstance(instruction, Fill) else rows(instruction.dram, instruction.dram_stride)
        return set(), am, dram, set()

    @staticmethod
    def conflict(a, b):
        return bool(a[1] & (b[0] | b[1]) or b[1] & a[0] or a[3] & (b[2] | b[3]) or b[3] & a[2])

    async def run(self, program, *, fetches=(), check=True, until=None):
        """Carry out a program and (address, bytes) fetches; False if ``until`` stopped it before the end."""
        ctx, dut = self.ctx, self.dut
        self.begin()
        waiting = {unit: deque((i, p, self.footprint(p)) for i, p in enumerate(program) if p.UNIT == unit)
                   for unit in self.running}
        fetches = deque(fetches)
        expected = [beat for start, count in fetches for beat in self.beats_of(start, count)]
        offered = {}
        begin = self.cycle
        while (any(waiting.values()) or any(self.running.values()) or fetches
               or len(self.fetched) < len(expected)):
            assert self.cycle - begin < self.BOUND, f"not done after {self.BOUND} cycles"
            if until is not None and until(self):
                return False
            for unit in self.running:
                if unit not in offered and waiting[unit] and self.chance(self.pace.issue):
                    index, _, prints = waiting[unit][0]
                    before = [p for queue in (*waiting.values(), *self.running.values()) for i, o, p in queue
                              if i < index and o.UNIT != unit]
                    if not any(self.conflict(prints, p) for p in before):
                        offered[unit] = waiting[unit][0]
                name = unit.name.lower()
                self.inputs[f"{name}_valid"] = int(unit in offered)
                if unit in offered:
                    code = int.from_bytes(offered[unit][1].encode(self.fabric), "little")
                    self.inputs[f"{name}_code"] = code & (1 << unit_bits(unit)) - 1
            self.inputs["command_valid"] = int(bool(fetches))
            if fetches:
                self.inputs["command"] = fetches[0][0] | fetches[0][1] << 32

            def taken():
                if fetches and ctx.get(dut.fetch_command.ready):
                    fetches.popleft()
                for unit, port in ((Unit.LOAD, dut.load), (Unit.STORE, dut.store)):
                    if unit in offered and ctx.get(port.instruction.ready):
                        self.running[unit].append(waiting[unit].popleft())
                        del offered[unit]
            await self.step(taken)
        self.withdraw()
        if check:
            # The last done came a cycle ago: whatever becomes visible later than that came too late.
            for address, payload in [(a, p) for at, a, p in self.pending if at < self.cycle]:
                self.am[address] = payload
            for instruction in program:
                self.machine.step(instruction)
            assert self.fetched == expected
            self.compare()
        return True

    def beats_of(self, start, count):
        size = self.fabric.bus_bytes
        return [int.from_bytes(self.axi.dram[at:at + size].tobytes(), "little")
                for at in range(start, start + count, size)]

    def compare(self):
        np.testing.assert_array_equal(self.am, self.machine.am.view(np.uint8), "activation memory")
        np.testing.assert_array_equal(self.wm, self.machine.wm, "weight memory")
        np.testing.assert_array_equal(self.tables, self.machine.tables, "table memory")
        np.testing.assert_array_equal(self.pm, self.machine.pm[:, :PARAMETER_BYTES], "parameter memory")
        np.testing.assert_array_equal(self.axi.dram, self.machine.dram, "DRAM")

    def withdraw(self):
        self.inputs |= {"load_valid": 0, "store_valid": 0, "command_valid": 0}

    async def abort(self):
        """Hold abort until quiet, reset, and go on from the memories as they are now."""
        self.aborting, self.abort_at = True, self.cycle
        self.withdraw()
        self.pace.am = self.pace.fetch = 0  # nobody needs to help
        while not await self.step():
            assert self.cycle - self.abort_at < 5_000, "not quiet after 5000 cycles"
        for _, address, payload in self.pending:
            self.am[address] = payload
        self.ctx.set(self.drive, 1 << self.drive_at["reset"])
        await self.ctx.tick()
        self.cycle += 1
        self.aborting = False
        self.arrivals.clear()
        self.axi.seen = {}
        self.machine.am[:] = self.am.view(np.int8)
        self.machine.wm[:] = self.wm
        self.machine.pm[:] = self.pm
        self.machine.tables[:] = self.tables
        self.machine.dram[:] = self.axi.dram

    def random_program(self, count):
        """Legal Load, Fill and Store instructions of small size anywhere in the memories."""
        return [self.random_instruction() for _ in range(count)]

    def random_instruction(self):
        fabric, rng = self.fabric, self.rng
        bus, half = fabric.bus_bytes, len(self.axi.dram) // 2 // fabric.bus_bytes
        kinds = ["load", "fill", Space.WM, Space.PM, Space.TABLE, "store"]
        kind = kinds[rng.choice(len(kinds), p=[0.3, 0.15, 0.15, 0.1, 0.1 * (fabric.tables > 0),
                                               0.3 - 0.1 * (fabric.tables > 0)])]
        if kind in (Space.WM, Space.PM, Space.TABLE):
            depth, stride = {Space.WM: (fabric.wm_words, fabric.wm_word_stride),
                             Space.PM: (fabric.pm_words, fabric.pm_word_stride),
                             Space.TABLE: (fabric.tables, TABLE_BYTES)}[kind]
            words = int(rng.integers(1, min(depth, 2 if kind == Space.TABLE else 12) + 1))
            dram = bus * int(rng.integers(half - words * stride // bus + 1))
            # An offset means something to weights only.
            return Load(space=kind, dram=dram, row_bytes=words * stride,
                        word=int(rng.integers(depth - words + 1)), offset=int(rng.integers(-128, 128)))
        rows = int(rng.integers(1, 6))
        row_bytes = int(rng.choice([1, 2, bus - 1, bus, bus + 1, rng.integers(1, 90)]))
        row_bytes = min(row_bytes, fabric.am_bytes)
        pitch = int(rng.integers(0, (fabric.am_bytes - row_bytes) // rows + 1))
        local = int(rng.integers(fabric.am_bytes - row_bytes - pitch * (rows - 1) + 1))
        if kind == "fill":
            return Fill(value=int(rng.integers(-128, 128)), rows=rows, row_bytes=row_bytes, local=local,
                        pitch=pitch)
        # Loads read the lower half of the DRAM or, sometimes, what a Store wrote; a Store's rows may overlap.
        stride = bus * int(rng.integers(0, 40))
        span = stride * (rows - 1) // bus + -(-row_bytes // bus)
        first = half if kind == "store" or rng.random() < 0.2 else 0
        dram = bus * (first + int(rng.integers(half - span + 1)))
        where = dict(dram=dram, dram_stride=stride, rows=rows, row_bytes=row_bytes, local=local, pitch=pitch)
        return Store(**where) if kind == "store" else Load(space=Space.AM, **where)


@pytest.fixture
def bench_class():
    return Bench


@pytest.fixture
def pace_class():
    return Pace
