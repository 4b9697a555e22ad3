# amaranth: UnusedElaboratable=no
"""LeanDMA against the ISA on one memory for everything: random transfers, fetches in between, faults."""
import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import Fill, Load, Space, Store, Unit
from celosia.rtl.contract.machine import Machine
from celosia.rtl.contract.registers import Fault
from celosia.rtl.dma.lean import LeanDMA

WORDS = 512
ROM = 1 << 16
FABRIC = Fabric(rows=4, cols=4, lanes=1, am_words=WORDS, wm_words=WORDS, pm_words=WORDS // 5, weight_bits=8,
                line_depth=0, tables=2, bus_bytes=4, profile_layers=0, shared_words=WORDS, rom_base=ROM)


def random_transfer(rng):
    """Within the upper half of the memory, from and to the lower half or the ROM."""
    kind = rng.choice(["am", "wm", "pm", "table", "fill", "store"])
    rows, row_bytes = int(rng.integers(1, 5)), int(rng.choice([1, 3, 4, 8, *rng.integers(1, 60, 4)]))
    aligned = int(rng.choice([1, 4]))
    pitch = (row_bytes + int(rng.integers(0, 9))) // aligned * aligned + aligned
    local = 1024 + int(rng.integers(0, 400)) // aligned * aligned
    stride = (row_bytes + 3) // 4 * 4 + 4 * int(rng.integers(0, 3))
    source = int(rng.choice([0, ROM])) + 4 * int(rng.integers(0, 80))
    region = {"rows": rows, "row_bytes": row_bytes, "local": local, "pitch": pitch}
    if kind == "fill":
        return Fill(value=int(rng.integers(-128, 128)), **region)
    if kind == "store":
        return Store(dram=4 * int(rng.integers(0, 80)), dram_stride=stride, **region)
    if kind == "am":
        return Load(space=Space.AM, dram=source, dram_stride=stride, **region)
    words = int(rng.integers(1, 9))
    if kind == "table":
        return Load(space=Space.TABLE, dram=source, row_bytes=256, word=int(rng.integers(2)))
    if kind == "wm":
        return Load(space=Space.WM, dram=source, row_bytes=4 * words, word=256 + int(rng.integers(0, 200)))
    return Load(space=Space.PM, dram=source, row_bytes=20 * words, word=52 + int(rng.integers(0, 30)))


class Bench:
    """The DMA between a bus that reaches memory and ROM, and the memory."""

    def __init__(self, seed, *, stall):
        self.rng, self.stall = np.random.default_rng(seed), stall
        self.memory = self.rng.integers(0, 256, 4 * WORDS).astype(np.uint8)
        self.rom = self.rng.integers(0, 256, 4096).astype(np.uint8)
        self.machine = Machine(FABRIC, self.memory.copy(), self.rom)
        self.tables = self.machine.tables.copy()
        self.dut = LeanDMA(fabric=FABRIC)
        self.reset = Signal()
        self.fail = False  # the next answer is an error
        self.faults, self.words, self.expected, self.fetches = [], [], [], 0

    def run(self, body):
        sim = Simulator(ResetInserter(self.reset)(self.dut))
        sim.add_clock(1e-6)
        sim.add_testbench(body)
        self.reads, self.wanted = [], None
        sim.run()

    def at(self, address, size):
        start = address - ROM
        assert 0 <= start and start + size <= len(self.rom), f"{address:#x} is nothing of the bus"
        return self.rom[start:start + size]

    async def tick(self, ctx):
        """One cycle: bus and memory answer, with gaps."""
        axi, memory, rng = self.dut.axi, self.dut.memory, self.rng
        free = [rng.random() >= self.stall for _ in range(3)]
        ctx.set(axi.arready, free[0])
        beat = self.reads and free[1]
        ctx.set(axi.rvalid, bool(beat))
        if beat:
            address, last, bad = self.reads[0]
            ctx.set(axi.rdata, int.from_bytes(self.at(address, 4).tobytes(), "little"))
            ctx.set(axi.rlast, last)
            ctx.set(axi.rresp, 2 * bad)
        ctx.set(memory.request.ready, free[2])
        ctx.set(memory.data, int(rng.integers(1 << 32)) if self.wanted is None else self.wanted)
        self.wanted = None

        if ctx.get(self.dut.fault.valid):
            self.faults.append((ctx.get(self.dut.fault.code), ctx.get(self.dut.fault.address)))
        if ctx.get(self.dut.o_word_valid):
            self.words.append(ctx.get(self.dut.o_word))
        if beat and ctx.get(axi.rready):
            self.reads.pop(0)
        if ctx.get(axi.arvalid) and free[0]:
            start, beats = ctx.get(axi.araddr), ctx.get(axi.arlen) + 1
            assert start % 4 == 0 and start // 4096 == (start + 4 * beats - 1) // 4096, "crosses 4 KB"
            bad, self.fail = self.fail, False
            self.reads += [(start + 4 * n, n == beats - 1, bad) for n in range(beats)]
        if free[2] and ctx.get(memory.request.valid):
            word, mask = ctx.get(memory.request.p.word), ctx.get(memory.request.p.mask)
            if mask:
                for n in range(4):
                    if mask >> n & 1:
                        self.memory[4 * word + n] = ctx.get(memory.request.p.data) >> 8 * n & 255
            else:
                self.wanted = int.from_bytes(self.memory[4 * word:4 * word + 4].tobytes(), "little")
        if ctx.get(self.dut.table.enable):
            self.tables.reshape(-1)[ctx.get(self.dut.table.address)] = ctx.get(self.dut.table.data)
        await ctx.tick()

    def offer(self, ctx, instruction):
        port = self.dut.load if instruction.UNIT == Unit.LOAD else self.dut.store
        code = int.from_bytes(instruction.encode(FABRIC), "little")
        ctx.set(port.instruction.payload, code & (1 << len(port.instruction.payload)) - 1)
        ctx.set(port.instruction.valid, 1)
        return port

    def want(self, ctx):
        """Ask for an instruction."""
        address = 32 * int(self.rng.integers(0, 100))
        ctx.set(self.dut.fetch.valid, 1)
        ctx.set(self.dut.fetch.payload, ROM + address)
        self.expected += self.rom[address:address + 32].view("<u4").tolist()
        self.fetches = 1

    async def carry_out(self, ctx, instruction):
        port = self.offer(ctx, instruction)
        for _ in range(8000):
            if self.rng.random() < 0.1 and not self.fetches:
                self.want(ctx)
            if await self.step(ctx, port):
                ctx.set(port.instruction.valid, 0)
                return
        raise AssertionError(f"never done: {instruction}")

    async def step(self, ctx, port):
        """A cycle; whether the instruction was done in it."""
        seen = []
        tick = ctx.tick

        class Watch:
            """Looks at the unit when all inputs of the cycle are set."""

            get, set = ctx.get, ctx.set

            @staticmethod
            def tick():
                seen.append(ctx.get(port.done))
                assert seen[0] == ctx.get(port.instruction.ready)
                if ctx.get(self.dut.fetch.valid) and ctx.get(self.dut.fetch.ready):
                    self.fetches = 2
                return tick()

        await self.tick(Watch)
        if self.fetches == 2:
            ctx.set(self.dut.fetch.valid, 0)
            self.fetches = 0
        return seen[0]


@pytest.mark.parametrize("seed", range(5))
def test_transfers_equal_the_isa(seed):
    bench = Bench(seed, stall=[0, 0.3, 0.7][seed % 3])

    async def body(ctx):
        for _ in range(7):
            instruction = random_transfer(bench.rng)
            instruction.execute(bench.machine)
            await bench.carry_out(ctx, instruction)
            np.testing.assert_array_equal(bench.memory, bench.machine.dram, str(instruction))
            np.testing.assert_array_equal(bench.tables, bench.machine.tables, str(instruction))
            if not bench.fetches:
                bench.want(ctx)
            for _ in range(200):  # with nothing else to do
                await bench.step(ctx, bench.dut.load)
        assert bench.words == bench.expected and not bench.faults

    bench.run(body)


def test_an_error_is_reported_and_an_abort_ends_in_quiet():
    bench = Bench(7, stall=0.3)
    reads = Load(space=Space.WM, dram=ROM + 64, row_bytes=400, word=256)

    async def body(ctx):
        bench.fail = True
        bench.offer(ctx, reads)
        for _ in range(300):
            await bench.tick(ctx)
            if bench.faults:
                break
        assert bench.faults[0] == (Fault.READ_RESPONSE.value, ROM + 64)
        ctx.set(bench.dut.abort, 1)
        for _ in range(4):
            await bench.tick(ctx)
        for _ in range(200):
            if ctx.get(bench.dut.quiet):
                break
            await bench.tick(ctx)
        assert not bench.reads and ctx.get(bench.dut.quiet)
        for _ in range(20):
            await bench.tick(ctx)
            assert not ctx.get(bench.dut.axi.arvalid)
        ctx.set(bench.reset, 1)
        ctx.set(bench.dut.abort, 0)
        ctx.set(bench.dut.load.instruction.valid, 0)
        ctx.set(bench.dut.store.instruction.valid, 0)
        await ctx.tick()
        ctx.set(bench.reset, 0)
        bench.fail = False
        bench.memory[:] = bench.machine.dram
        instruction = random_transfer(bench.rng)
        instruction.execute(bench.machine)
        await bench.carry_out(ctx, instruction)
        np.testing.assert_array_equal(bench.memory, bench.machine.dram)

    bench.run(body)
