"""cocotb bench of a whole fabric: the AXI models of cocotbext-axi around it, NumPy int64 as the judge."""
import logging

import cocotb
import numpy as np
from axi_memory import Memory, pause
from blocks import SOAK, seeds
from celosia.host.emit.emit import emit
from celosia.host.schedule.schedule import schedule
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import (
    INSTRUCTION_BYTES,
    ISA_VERSION,
    Cause,
    Instruction,
    Load,
    Store,
    Stream,
    Unit,
)
from celosia.rtl.contract.registers import MAGIC_WORD, Control, Fault, Reg, Status
from celosia.sim.cosim import parameters
from celosia.sim.emulator import Emulator
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, Timer
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiResp
from support.networks import Network, get_tensor, put_program, put_tensor
from support.wide_networks import WideNetwork, random_network

FABRIC = Fabric(**parameters()["fabric"])
PERIOD = 10  # ns
MOST_CYCLES = 400_000 if SOAK else 20_000  # of one run
TEST = {"timeout_time": 10 * MOST_CYCLES * PERIOD, "timeout_unit": "ns"}
MEMORY_BYTES = 1 << 16
POLL = 40  # cycles between looks at STATUS

OFFERS = {  # the channels on which the fabric offers something, and what
    "s_axil": {"b": ["bresp"], "r": ["rdata", "rresp"]},
    "m_axi": {"aw": ["awaddr", "awlen", "awsize", "awburst"], "w": ["wdata", "wstrb", "wlast"],
              "ar": ["araddr", "arlen", "arsize", "arburst"]},
}


class Bench:
    """A fabric out of reset, its host and its memory."""

    def __init__(self, dut, seed):
        dut._log.setLevel(logging.ERROR)  # the models log every transfer below it
        self.dut, self.rng = dut, np.random.default_rng(seed)
        self.host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self.memory = Memory(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=MEMORY_BYTES)

    @classmethod
    async def start(cls, dut, *, seed):
        dut.clk.value = 0
        dut.rst.value = 0
        bench = cls(dut, seed)
        cocotb.log.info("seed %s", seed)
        await Timer(1, "ns")
        dut.rst.value = 1  # before the first edge of the clock; the models see it rise
        await Timer(1, "ns")
        Clock(dut.clk, PERIOD, unit="ns").start()
        await ClockCycles(dut.clk, 3)
        dut.rst.value = 0
        cocotb.start_soon(watch(dut))
        return bench

    def pause(self, chance):
        """From now on every channel of both buses rests, at the bench's end, in so many of the cycles."""
        for model in (self.host, self.memory):
            pause(model, lambda: self.rng.random() < chance)

    async def read(self, reg, size=4):
        """A register, or with ``size`` 8 it and the next as one number."""
        answer = await self.host.read(reg, size)
        assert answer.resp == AxiResp.OKAY, f"reading {reg!r}: {answer.resp!r}"
        return int.from_bytes(answer.data, "little")

    async def write(self, reg, value):
        answer = await self.host.write(reg, value.to_bytes(4, "little"))
        assert answer.resp == AxiResp.OKAY, f"writing {reg!r}: {answer.resp!r}"

    async def start_run(self, address, count, *, watchdog=MOST_CYCLES):
        for reg, value in ((Reg.PROGRAM_ADDRESS, address), (Reg.PROGRAM_COUNT, count),
                           (Reg.WATCHDOG, watchdog), (Reg.CONTROL, Control.START)):
            await self.write(reg, value)

    async def end_run(self):
        """STATUS once BUSY is clear."""
        for _ in range(MOST_CYCLES // POLL):
            status = await self.read(Reg.STATUS)
            if not status & Status.BUSY:
                return status
            await ClockCycles(self.dut.clk, POLL)
        raise AssertionError(f"still busy after {MOST_CYCLES} cycles: STATUS {status:#x}")

    async def good_run(self, address, count):
        """A run that must end well; returns its cycles."""
        await self.start_run(address, count)
        status = await self.end_run()
        assert status == Status.DONE, f"{status!r}, fault {await self.fault()}"
        assert await self.read(Reg.RETIRED) == count
        assert await self.fault() == (Fault.NONE, 0, 0)
        return await self.read(Reg.CYCLES_LO, size=8)

    async def fault(self):
        """Code, address, unit."""
        return tuple([await self.read(reg) for reg in (Reg.FAULT, Reg.FAULT_ADDRESS, Reg.FAULT_UNIT)])


async def watch(dut):
    """AXI, A3.2.1: what the fabric offers stays until it is taken."""
    channels = {f"{bus}_{channel}": [getattr(dut, f"{bus}_{name}") for name in payload]
                for bus, channels in OFFERS.items() for channel, payload in channels.items()}
    handshakes = [(name, getattr(dut, f"{name}valid"), getattr(dut, f"{name}ready")) for name in channels]
    offered = {}
    edge = RisingEdge(dut.clk)
    while True:
        await edge
        before, offered = offered, {}
        for name, valid, ready in handshakes:
            if valid.value:
                if name in before or not ready.value:
                    offered[name] = [int(signal.value) for signal in channels[name]]
                    assert offered[name] == before.get(name, offered[name]), f"{name} changes while it waits"
                if ready.value:
                    offered.pop(name, None)
            else:
                assert name not in before, f"{name} takes back what it offered"
        if dut.rst.value:
            offered = {}


class Case:
    """A network as a program in the bench's memory, with the values it must compute."""

    def __init__(self, bench, network, outputs=None):
        self.bench, self.network = bench, network
        self.program = emit(schedule(network.plan(outputs), FABRIC))
        self.run, = self.program.steps
        assert self.program.dram_bytes <= MEMORY_BYTES
        put_program(bench.memory.data, self.program)
        self.model = Emulator(FABRIC, bench.memory.data.copy())  # for what else a run leaves in memory

    def instructions(self, kind):
        """Those of one kind in the run (not the setup)."""
        dram = self.bench.memory.data
        places = self.run.address + np.arange(self.run.count) * INSTRUCTION_BYTES
        decoded = [Instruction.decode(dram[p:p + INSTRUCTION_BYTES].tobytes(), FABRIC) for p in places]
        return [item for item in decoded if isinstance(item, kind)]

    async def set_up(self):
        address, count = self.program.setup
        if count:
            await self.bench.good_run(address, count)
            self.model.run(address, count)

    async def check(self):
        """A new image through the network; returns the cycles it took."""
        image, memory = self.network.image(), self.bench.memory.data
        for dram in (memory, self.model.machine.dram):
            for home in self.run.inputs:
                put_tensor(dram, home, image)
        self.model.run(self.run.address, self.run.count)
        cycles = await self.bench.good_run(self.run.address, self.run.count)
        values = self.network.values(image)
        for home in self.run.outputs:
            got = get_tensor(memory, home)
            np.testing.assert_array_equal(got, values[home.tensor].reshape(got.shape))
        np.testing.assert_array_equal(memory, self.model.machine.dram)
        return cycles


async def checked(bench, network, outputs=None):
    """Set up, and one good run."""
    case = Case(bench, network, outputs)
    await case.set_up()
    await case.check()
    return case


def residual_network(rng):
    """Convolutions with a residual add, a depthwise one, an average pool, a fully connected layer."""
    net = Network(rng, (6, 5, 3))
    a = net.conv(0, 8)
    b = net.conv(a, 8, other=a)
    c = net.conv(b, 8, mode="depthwise", stride=(1, 2))
    d = net.conv(c, 8, (2, 3), mode="window", stride=(2, 1), padding=(0, 0, 0, 0))
    net.conv(d, 10, net.shapes[d][:2], padding=(0, 0, 0, 0))
    return net


def fir_network(rng):
    """Depthwise layers of several forms, tables, a product, a maximum, and parts of images."""
    net = WideNetwork(rng, (5, 6, 4))
    a = net.depthwise(0, (3, 1), table=True)
    b = net.depthwise(a, (2, 3), stride=(2, 1), weight_zero=-60, pad_value=-8)
    c = net.depthwise(b, (1, 2), dilation=(1, 2), times=b)
    d = net.conv(c, 4, (2, 2), mode="window", maximum=True, padding=(0, 0, 0, 0), table=True)
    e = net.conv(b, 3, (2, 2), padding=(0, 0, 0, 0), read=(1, 3))
    net.concat([d, e])
    return net


def small_network(rng):
    """Two layers, for runs that are broken off."""
    net = Network(rng, (4, 3, 5))
    net.conv(net.conv(0, 6), 7, (2, 1))
    return net


def burst_start(start, place):
    """Address of the burst of a transfer from ``start`` on that has the byte at ``place``."""
    block = (1 << FABRIC.max_burst.bit_length() - 1) * FABRIC.bus_bytes  # a power of two
    return max(start, place // block * block)


@cocotb.test(**TEST)
async def registers_say_what_it_is(dut):
    bench = await Bench.start(dut, seed=1)
    assert await bench.read(Reg.MAGIC) == MAGIC_WORD
    assert await bench.read(Reg.VERSION) == ISA_VERSION
    assert await bench.read(Reg.FINGERPRINT_LO, size=8) == FABRIC.fingerprint
    kept = Reg.PROGRAM_ADDRESS, Reg.PROGRAM_COUNT, Reg.WATCHDOG
    for reg in (*kept, Reg.STATUS, Reg.FAULT, Reg.CYCLES_LO, Reg.RETIRED, Reg.CONTROL):
        assert await bench.read(reg) == 0, reg
    for value, reg in enumerate(kept, 0xDEADBEEF):
        await bench.write(reg, value)
    await bench.host.write(Reg.WATCHDOG + 1, b"\x55")  # one byte, by its strobe
    assert [await bench.read(reg) for reg in kept] == [0xDEADBEEF, 0xDEADBEF0, 0xDEAD55F1]
    for reg in (Reg.MAGIC, Reg.STATUS, max(Reg) + 4):
        assert (await bench.host.write(reg, bytes(4))).resp == AxiResp.SLVERR
    assert (await bench.host.read(max(Reg) + 4, 4)).resp == AxiResp.SLVERR
    assert await bench.read(Reg.MAGIC) == MAGIC_WORD


@cocotb.test(**TEST)
async def matrix_products_of_any_shape(dut):
    bench = await Bench.start(dut, seed=2)
    rng = bench.rng
    rows, cols = FABRIC.rows, FABRIC.cols
    shapes = [(1, 1, 1), (rows, rows, cols), (1, 3 * rows + 1, 2 * cols + 1)]
    shapes += [tuple(rng.integers(1, most) for most in (40, 30, 14)) for _ in seeds(3, 30)]
    for pixels, depth, channels in shapes:
        network = Network(rng, (1, int(pixels), int(depth)))
        network.gemm(0, int(channels))
        await checked(bench, network)


@cocotb.test(**TEST)
async def convolutions_of_any_shape(dut):
    bench = await Bench.start(dut, seed=3)
    rng = bench.rng
    for index in seeds(6, 60):
        height, width, depth, channels, *kernel = (int(n) for n in rng.integers(1, (7, 7, 8, 10, 4, 4)))
        dilation = tuple(int(n) for n in rng.integers(1, 3, 2))
        reach = [(size - 1) * step for size, step in zip(kernel, dilation, strict=True)]
        padding = tuple(int(rng.integers(reach[i // 2] + 1)) for i in range(4))
        network = Network(rng, (height + reach[0], width + reach[1], depth))
        mode, multiplier = [("dense", 1), ("depthwise", int(rng.integers(1, 3))), ("window", 1)][index % 3]
        network.conv(0, channels if mode == "dense" else depth * multiplier, tuple(kernel), mode=mode,
                     multiplier=multiplier, dilation=dilation, padding=padding,
                     stride=tuple(int(n) for n in rng.integers(1, 3, 2)), pad_value=int(rng.integers(-9, 9)))
        await checked(bench, network)


@cocotb.test(**TEST)
async def depthwise_layers_of_any_shape(dut):
    """One kernel row a pass, or several; 9-bit weights; sums, products and tables behind; one maximum."""
    bench = await Bench.start(dut, seed=14)
    rng = bench.rng

    def number(low, high):
        return int(rng.integers(low, high + 1))

    firs = 0
    for index in seeds(5, 60):
        behind = [{}, {"table": True}, {"other": 0}, {"times": 0, "table": True}, {}][index % 5]
        kernel = number(1, 4), number(1, 4)
        network = WideNetwork(rng, (number(4, 7), number(4, 7), number(1, 6)))
        if behind:
            network.depthwise(0, kernel, weight_zero=number(-128, 127), pad_value=number(-9, 9), **behind)
        else:
            network.depthwise(0, kernel, stride=(number(1, 2), number(1, 2)), dilation=(1, number(1, 2)))
        case = await checked(bench, network)
        firs += any(stream.fir for stream in case.instructions(Stream))
    assert firs
    network = WideNetwork(rng, (6, 6, 5))
    network.conv(0, 5, (3, 2), mode="window", maximum=True, stride=(number(1, 2), 1), padding=(0, 0, 0, 0))
    case = await checked(bench, network)
    assert all(stream.maximum for stream in case.instructions(Stream))


@cocotb.test(**TEST)
async def images_that_pass_in_strips(dut):
    """Two images of which not even one fits twice, and a sum of both."""
    if FABRIC.name != "3x5" and not SOAK:
        return  # once is enough
    bench = await Bench.start(dut, seed=15)
    network = WideNetwork(bench.rng, (FABRIC.am_bytes * 4 // 5 // 48, 6, 8))
    a = network.conv(0, 8, (3, 1), padding=(1, 1, 0, 0))
    network.conv(a, 8, (1, 1), padding=(0, 0, 0, 0), other=a)
    case = await checked(bench, network)
    assert any(segment["strips"] for segment in case.program.memory["segments"])


@cocotb.test(skip=not SOAK, **TEST)
@cocotb.parametrize(seed=seeds(1, 16))
async def networks_of_any_ten_layers(dut, seed):
    """Of int8 images: the flip of uint8 is the host's."""
    bench = await Bench.start(dut, seed=[16, seed])
    bench.pause(0.1 * (seed % 4))
    await checked(bench, *random_network(2 * seed))


@cocotb.test(**TEST)
async def a_network_with_every_kind_of_layer(dut):
    """Twice without a new setup; then the profile accounts for its cycles, and can be cleared."""
    bench = await Bench.start(dut, seed=4)
    case = await checked(bench, residual_network(bench.rng))
    await bench.write(Reg.CONTROL, Control.CLEAR_PROFILE)
    assert await bench.end_run() == Status.DONE
    cycles = await case.check()
    cocotb.log.info("%d cycles, predicted %d", cycles, case.program.predicted)

    async def profile(unit, *causes):
        """Cycles of a unit in all layers."""
        total = 0
        for layer in range(FABRIC.profile_layers):
            for cause in causes:
                await bench.write(Reg.PROFILE_INDEX, layer << 7 | unit << 4 | cause)
                await ClockCycles(dut.clk, 8)
                total += await bench.read(Reg.PROFILE_DATA)
        return total

    for unit in (Unit if SOAK else (Unit.LOAD, Unit.POST)) if FABRIC.profile_layers else []:
        assert 0 < await profile(unit, Cause.BUSY) <= await profile(unit, *Cause) <= cycles
    await bench.write(Reg.CONTROL, Control.CLEAR_PROFILE)
    assert await bench.end_run() == Status.DONE
    for unit in Unit:
        assert await profile(unit, Cause.BUSY) == 0


@cocotb.test(**TEST)
async def depthwise_layers_tables_and_parts_of_images(dut):
    bench = await Bench.start(dut, seed=13)
    case = await checked(bench, fir_network(bench.rng))
    assert any(stream.fir for stream in case.instructions(Stream))
    bench.pause(0.4)
    await case.check()


@cocotb.test(**TEST)
async def a_network_while_every_channel_rests_now_and_then(dut):
    bench = await Bench.start(dut, seed=5)
    bench.pause(0.7)
    await checked(bench, small_network(bench.rng))
    bench.pause(0.3)
    await checked(bench, residual_network(bench.rng))


@cocotb.test(**TEST)
async def bus_errors_are_reported_and_survived(dut):
    """Resident weights survive too: there is no new setup."""
    bench = await Bench.start(dut, seed=6)
    case = await checked(bench, small_network(bench.rng))
    load, store, run = case.instructions(Load)[0], case.instructions(Store)[0], case.run
    last_byte = run.address + run.count * INSTRUCTION_BYTES - 1
    for code, unit, start, broken in [
        (Fault.READ_RESPONSE, Unit.LOAD, load.dram, load.dram + load.row_bytes - 1),
        (Fault.READ_RESPONSE, Unit.LOAD, run.address, run.address),
        (Fault.READ_RESPONSE, Unit.LOAD, run.address, last_byte),
        (Fault.WRITE_RESPONSE, Unit.STORE, store.dram, store.dram),
        (Fault.WRITE_RESPONSE, Unit.STORE, store.dram, store.dram + store.row_bytes - 1),
    ]:
        bench.memory.broken = broken
        await bench.start_run(run.address, run.count)
        assert await bench.end_run() == Status.FAULT
        assert await bench.fault() == (code, burst_start(start, broken), unit)
        assert await bench.read(Reg.RETIRED) < run.count
        bench.memory.broken = None
        await case.check()


@cocotb.test(**TEST)
async def an_access_outside_the_memory_is_a_bus_error(dut):
    bench = await Bench.start(dut, seed=7)
    await bench.start_run(MEMORY_BYTES, 5)
    assert await bench.end_run() == Status.FAULT
    assert await bench.fault() == (Fault.READ_RESPONSE, MEMORY_BYTES, Unit.LOAD)
    await bench.write(Reg.CONTROL, Control.RESET)  # takes the fault back
    assert await bench.end_run() == 0
    assert await bench.fault() == (Fault.NONE, 0, 0)
    await checked(bench, small_network(bench.rng))


@cocotb.test(**TEST)
async def an_illegal_instruction_is_named(dut):
    bench = await Bench.start(dut, seed=8)
    case = await checked(bench, small_network(bench.rng))
    index = int(bench.rng.integers(1, case.run.count))
    place = case.run.address + index * INSTRUCTION_BYTES
    kept = bench.memory.data[place]
    bench.memory.data[place] |= 0xF  # the opcode
    await bench.start_run(case.run.address, case.run.count)
    assert await bench.end_run() == Status.FAULT
    assert (await bench.fault())[:2] == (Fault.ILLEGAL_INSTRUCTION, index)
    bench.memory.data[place] = kept
    await case.check()


@cocotb.test(**TEST)
async def reset_by_register_in_the_middle_of_a_run(dut):
    bench = await Bench.start(dut, seed=9)
    case = await checked(bench, small_network(bench.rng))
    cycles = await case.check()
    for chance in [0, 0.4] * len(seeds(1, 10)):
        bench.pause(chance)
        await bench.start_run(case.run.address, case.run.count)
        await ClockCycles(dut.clk, int(bench.rng.integers(1, cycles // 2)))
        await bench.write(Reg.CONTROL, Control.RESET)
        assert await bench.end_run() == Status.FAULT
        assert (await bench.fault())[0] == Fault.ABORTED
        await case.check()


@cocotb.test(**TEST)
async def reset_by_wire_in_the_middle_of_a_run(dut):
    bench = await Bench.start(dut, seed=10)
    case = await checked(bench, small_network(bench.rng))
    cycles = await case.check()
    for chance in [0, 0.4] * len(seeds(1, 10)):
        bench.pause(chance)
        await bench.start_run(case.run.address, case.run.count)
        await ClockCycles(dut.clk, int(bench.rng.integers(1, cycles // 2)))
        dut.rst.value = 1
        await ClockCycles(dut.clk, int(bench.rng.integers(1, 4)))
        dut.rst.value = 0
        for reg in (Reg.STATUS, Reg.PROGRAM_COUNT, Reg.CYCLES_LO, Reg.RETIRED, Reg.FAULT):
            assert await bench.read(reg) == 0, reg
        await case.set_up()
        await case.check()


@cocotb.test(**TEST)
async def the_watchdog_ends_a_run(dut):
    bench = await Bench.start(dut, seed=11)
    case = await checked(bench, small_network(bench.rng))
    cycles = await case.check()
    for watchdog in (1, cycles // 2):
        await bench.start_run(case.run.address, case.run.count, watchdog=watchdog)
        assert await bench.end_run() == Status.FAULT
        assert (await bench.fault())[0] == Fault.WATCHDOG
        assert await bench.read(Reg.CYCLES_LO) == watchdog
        await case.check()


@cocotb.test(**TEST)
async def a_memory_that_is_silent_keeps_it_busy(dut):
    """The watchdog speaks at once, but until the memory has answered nothing can be cleared."""
    bench = await Bench.start(dut, seed=12)
    case = await checked(bench, small_network(bench.rng))
    silent = bench.memory.read_if.r_channel
    silent.pause = True
    await bench.start_run(case.run.address, case.run.count, watchdog=100)
    await ClockCycles(dut.clk, 300)
    assert await bench.read(Reg.STATUS) == Status.BUSY | Status.FAULT
    assert (await bench.fault())[0] == Fault.WATCHDOG
    silent.pause = False
    assert await bench.end_run() == Status.FAULT
    await case.check()
