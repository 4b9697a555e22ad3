# amaranth: UnusedElaboratable=no
"""The whole fabric in Amaranth's simulator: a hand-made program leaves the same DRAM as the emulator."""
import random
from collections import deque

import numpy as np
import pytest
from amaranth.sim import Simulator
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import Cause, Fill, Load, Post, Space, Store, Stream, Unit, Weights
from celosia.rtl.contract.numerics import Add, Channel, Product
from celosia.rtl.contract.registers import MAGIC_WORD, Control, Fault, Reg, Status
from celosia.rtl.fabric import FabricTop
from celosia.rtl.link.axi import RESP_OKAY, RESP_SLVERR
from celosia.rtl.primitives.cells import Cells
from celosia.sim.emulator import Emulator

DRAM_BYTES = 1 << 14
PROGRAM, IMAGE, OTHER, WEIGHTS = 0x0000, 0x1000, 0x1400, 0x1800
PARAMETERS, TABLES, RESULT = 0x2000, 0x2800, 0x3000
MOST_CYCLES = 20_000


def mask(*units: Unit) -> int:
    return sum(1 << unit for unit in units)


class Network:
    """A 3x3 convolution with halo and residual add, then a 1x1 convolution, whose results are multiplied by
    the first one's and go through a table, as a program and its DRAM.

    Taps cross kernel rows within a tile (pitch = kw*Cin modulo R); the results outnumber the FIFO.
    """

    HEIGHT, WIDTH, CIN, KERNEL = 5, 4, 2, 3
    ZERO = -9  # of the weights

    def __init__(self, fabric: Fabric, seed: int):
        rng = np.random.default_rng(seed)
        rows, cols, bus = fabric.rows, fabric.cols, fabric.bus_bytes
        self.fabric = fabric
        self.dram = rng.integers(0, 256, DRAM_BYTES).astype(np.uint8)
        height, width, cin, kernel = self.HEIGHT, self.WIDTH, self.CIN, self.KERNEL
        run = kernel * cin
        padded = (width + kernel - 1) * cin
        pitch = padded + (run - padded) % rows
        image = 7  # an odd lane
        first = image + pitch * (height + kernel - 1) + rows
        second_channels = max(1, cols - 2)
        second = first + height * width * cols
        self.tiles = -(-kernel * run // rows), -(-cols // rows)

        # Weights in the order of the taps, zero behind the last; parameters of both layers.
        taps = [kernel * run, cols]
        words = np.full((sum(self.tiles) * rows, fabric.wm_word_stride), self.ZERO % 256, np.uint8)
        at = 0
        for count, tiles in zip(taps, self.tiles, strict=True):
            words[at:at + count, :cols] = rng.integers(0, 256, (count, cols))
            at += tiles * rows
        self.place(WEIGHTS, words)
        records = [Channel(bias=int(rng.integers(-5000, 5000)), mult=int(rng.integers(1 << 29, 1 << 31)),
                           round_pos=1 << 20, round_neg=(1 << 20) - 1, shift=21).pack() for _ in range(cols)]
        records.append(Add(mult_q=int(rng.integers(-9000, 9000)), mult_other=7001, constant=-12345, shift=13,
                           low=-100, high=127).pack())
        records += [Channel(bias=int(rng.integers(-500, 500)), mult=1 << 30, round_pos=1 << 19, round_neg=0,
                            shift=20).pack() for _ in range(second_channels)]
        records.append(Product(offset_q=77, offset_other=-128).pack())
        table = np.zeros((len(records), fabric.pm_word_stride), np.uint8)
        for row, record in zip(table, records, strict=True):
            row[:len(record)] = np.frombuffer(record, np.uint8)
        self.place(PARAMETERS, table)

        row_bytes, row_stride = width * cin, -(-width * cin // bus) * bus
        out_bytes = width * second_channels
        out_stride = -(-out_bytes // bus + 1) * bus
        every = mask(Unit.WEIGHTS, Unit.STREAM, Unit.POST)
        self.program = [
            Fill(value=-3, rows=height + kernel - 1, row_bytes=padded, local=image, pitch=pitch),
            Load(space=Space.WM, dram=WEIGHTS, row_bytes=words.size, offset=self.ZERO, layer=1),
            Load(space=Space.PM, dram=PARAMETERS, row_bytes=table.size, layer=1),
            Load(space=Space.TABLE, dram=TABLES, row_bytes=512, word=1, layer=1),
            Load(space=Space.AM, dram=OTHER, row_bytes=height * width * cols, local=first, layer=1),
            Load(space=Space.AM, dram=IMAGE, dram_stride=row_stride, rows=height, row_bytes=row_bytes,
                 local=image + pitch + cin, pitch=pitch, layer=1, wait=mask(Unit.LOAD), signal=every),
            Weights(base=0, tiles=self.tiles[0], run=run, jump_y=pitch - run, layer=1, wait=mask(Unit.LOAD)),
            Stream(base=image, tiles=self.tiles[0], x_count=width, y_count=height, x_step=cin, y_step=pitch,
                   layer=1, wait=mask(Unit.LOAD)),
            # The sum replaces its operand.
            Post(params=0, channels=cols, x_count=width, y_count=height, out=first, x_step=cols,
                 y_step=width * cols, zero=4, add=1, other=first, other_x_step=cols,
                 other_y_step=width * cols, layer=1, wait=mask(Unit.LOAD), signal=mask(Unit.STREAM)),
            Weights(base=self.tiles[0] * rows, tiles=self.tiles[1], run=cols, layer=2),
            Stream(base=first, tiles=self.tiles[1], x_count=height * width, x_step=cols, layer=2,
                   wait=mask(Unit.POST)),
            Post(params=cols + 1, channels=second_channels, x_count=height * width, out=second,
                 x_step=second_channels, zero=-7, low=-120, high=99, multiply=1, other=first,
                 other_x_step=cols, table=3, layer=2, wait=mask(Unit.POST), signal=mask(Unit.STORE)),
            Store(dram=RESULT, dram_stride=out_stride, rows=height, row_bytes=out_bytes, local=second,
                  pitch=out_bytes, layer=2, wait=mask(Unit.POST)),
        ]
        self.place(PROGRAM, np.frombuffer(b"".join(item.encode(fabric) for item in self.program), np.uint8))

    def place(self, address: int, data: np.ndarray) -> None:
        self.dram[address:address + data.size] = data.reshape(-1)


class AXIMemory:
    """A memory behind the AXI port: random gaps on every channel, SLVERR at ``broken``."""

    def __init__(self, axi, dram, rng, bus_bytes):
        self.axi, self.dram, self.rng, self.bytes = axi, dram, rng, bus_bytes
        self.broken = None
        self.driven = {}

    def set(self, ctx, name, value):
        if self.driven.get(name) != value:
            ctx.set(getattr(self.axi, name), value)
            self.driven[name] = value

    def beats(self, ctx, way):
        address, length = ctx.get(getattr(self.axi, f"a{way}addr")), ctx.get(getattr(self.axi, f"a{way}len"))
        assert address % self.bytes == 0
        assert address // 4096 == (address + (length + 1) * self.bytes - 1) // 4096, "burst crosses 4 KB"
        return [(address + i * self.bytes, i == length) for i in range(length + 1)]

    async def serve(self, ctx):
        axi, rng = self.axi, self.rng
        reads, writes, answers, bad = deque(), deque(), deque(), False
        while True:
            ready = {name: rng.random() < 0.6 for name in ("arready", "awready", "wready")}
            for name, value in ready.items():
                self.set(ctx, name, value)
            if not self.driven.get("rvalid") and reads and rng.random() < 0.6:
                address, last = reads[0]
                word = self.dram[address:address + self.bytes].tobytes()
                self.set(ctx, "rdata", int.from_bytes(word, "little"))
                self.set(ctx, "rresp", RESP_SLVERR if address == self.broken else RESP_OKAY)
                self.set(ctx, "rlast", last)
                self.set(ctx, "rvalid", 1)
            if not self.driven.get("bvalid") and answers and rng.random() < 0.3:
                self.set(ctx, "bresp", answers[0])
                self.set(ctx, "bvalid", 1)
            read_taken = self.driven.get("rvalid") and ctx.get(axi.rready)
            answer_taken = self.driven.get("bvalid") and ctx.get(axi.bready)
            if ready["arready"] and ctx.get(axi.arvalid):
                reads.extend(self.beats(ctx, "r"))
            if ready["awready"] and ctx.get(axi.awvalid):
                writes.append(self.beats(ctx, "w"))
            if ready["wready"] and writes and ctx.get(axi.wvalid):
                (address, last), *rest = writes.popleft()
                data, strobe = ctx.get(axi.wdata), ctx.get(axi.wstrb)
                assert ctx.get(axi.wlast) == last
                for i in range(self.bytes):
                    if strobe >> i & 1:
                        self.dram[address + i] = data >> 8 * i & 0xFF
                if rest:
                    writes.appendleft(rest)
                bad |= address == self.broken
                if last:
                    answers.append(RESP_SLVERR if bad else RESP_OKAY)
                    bad = False
            elif ready["wready"] and not writes:
                assert not ctx.get(axi.wvalid), "this model takes data behind their address only"
            await ctx.tick()
            if read_taken:
                reads.popleft()
                self.set(ctx, "rvalid", 0)
            if answer_taken:
                answers.popleft()
                self.set(ctx, "bvalid", 0)


class Driver:
    """Reads and writes registers."""

    def __init__(self, ctx, axil):
        self.ctx, self.axil = ctx, axil
        ctx.set(axil.bready, 1)
        ctx.set(axil.rready, 1)
        ctx.set(axil.wstrb, 15)

    async def until(self, signal):
        for _ in range(50):
            seen = self.ctx.get(signal)
            await self.ctx.tick()
            if seen:
                return
        raise AssertionError(f"no {signal.name}")

    async def write(self, reg, value):
        ctx, axil = self.ctx, self.axil
        ctx.set(axil.awaddr, reg)
        ctx.set(axil.wdata, value)
        ctx.set(axil.awvalid, 1)
        ctx.set(axil.wvalid, 1)
        await self.until(axil.awready)  # both are ready when idle
        ctx.set(axil.awvalid, 0)
        ctx.set(axil.wvalid, 0)
        await self.until(axil.bvalid)

    async def read(self, reg):
        self.ctx.set(self.axil.araddr, reg)
        self.ctx.set(self.axil.arvalid, 1)
        await self.until(self.axil.arready)
        self.ctx.set(self.axil.arvalid, 0)
        await self.until(self.axil.rvalid)
        return self.ctx.get(self.axil.rdata)

    async def start(self, count):
        await self.write(Reg.PROGRAM_ADDRESS, PROGRAM)
        await self.write(Reg.PROGRAM_COUNT, count)
        await self.write(Reg.CONTROL, Control.START)

    async def finish(self):
        for _ in range(MOST_CYCLES // 50):
            status = await self.read(Reg.STATUS)
            if not status & Status.BUSY:
                return status
            for _ in range(50):
                await self.ctx.tick()
        raise AssertionError(f"still busy after {MOST_CYCLES} cycles: {status}")


def small(rows, cols, **more):
    return Fabric(**{"rows": rows, "cols": cols, "am_words": -(-512 // rows), "wm_words": 64, "pm_words": 64,
                     "acc_depth": 20, "fifo_depth": 6, "queue_depth": 2, "profile_layers": 3, "max_burst": 8,
                     **more})


@pytest.mark.parametrize("fabric,array,recovery", [
    (small(3, 5, bus_bytes=4, lanes=2, line_depth=6, tables=3, profile_layers=0), "inferred", True),
    (small(4, 4, bus_bytes=8, acc_width=24, weight_bits=8, line_depth=0), "inferred", False),
    (small(1, 1, bus_bytes=4, line_depth=4, profile_layers=0, queue_depth=1), "inferred", True),
    (small(3, 5, bus_bytes=4, lanes=2, line_depth=6, tables=3, profile_layers=0), "logic", False),
    (small(4, 4, bus_bytes=8, acc_width=24, weight_bits=8, line_depth=0), "cell", False),
], ids=lambda value: f"{value.rows}x{value.cols}" if isinstance(value, Fabric) else str(value))
def test_a_program_leaves_the_dram_that_the_emulator_leaves(fabric, array, recovery):
    """With ``recovery``, the same again after a read fault, a write fault and a RESET in the middle."""
    seed = fabric.rows
    print(f"seed {seed}")
    network = Network(fabric, seed)
    count = len(network.program)
    expected = network.dram.copy()
    Emulator(fabric, expected).run(PROGRAM, count)
    top = FabricTop(fabric=fabric, cells=Cells(array=array))
    memory = AXIMemory(top.m_axi, network.dram.copy(), random.Random(seed), fabric.bus_bytes)

    async def check(driver):
        memory.broken = None
        memory.dram[:] = network.dram
        assert await driver.finish() in (0, Status.DONE, Status.FAULT)
        await driver.start(count)
        assert await driver.finish() == Status.DONE
        np.testing.assert_array_equal(memory.dram, expected)
        assert await driver.read(Reg.RETIRED) == count

    async def body(ctx):
        driver = Driver(ctx, top.s_axil)
        assert await driver.read(Reg.MAGIC) == MAGIC_WORD
        assert await driver.read(Reg.FINGERPRINT_LO) == fabric.fingerprint % 2**32
        await check(driver)
        cycles = await driver.read(Reg.CYCLES_LO)
        print(f"{cycles} cycles")
        if fabric.profile_layers:
            for unit in Unit:
                total = 0
                for layer in range(fabric.profile_layers):
                    for cause in Cause:
                        await driver.write(Reg.PROFILE_INDEX, layer << 7 | unit << 4 | cause)
                        for _ in range(8):
                            await ctx.tick()
                        total += await driver.read(Reg.PROFILE_DATA)
                assert 0 < total <= cycles, unit

        if not recovery:
            return
        for broken, fault in ((WEIGHTS, Fault.READ_RESPONSE), (RESULT, Fault.WRITE_RESPONSE)):
            memory.broken = broken
            await driver.start(count)
            assert await driver.finish() == Status.FAULT
            assert await driver.read(Reg.FAULT) == fault
            assert await driver.read(Reg.FAULT_ADDRESS) == broken
            await check(driver)
        await driver.start(count)
        for _ in range(memory.rng.randint(50, 600)):
            await ctx.tick()
        await driver.write(Reg.CONTROL, Control.RESET)
        assert await driver.finish() == Status.FAULT
        assert await driver.read(Reg.FAULT) == Fault.ABORTED
        await check(driver)

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(memory.serve, background=True)
    simulator.add_testbench(body)
    simulator.run()
