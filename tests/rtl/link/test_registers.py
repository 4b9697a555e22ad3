# amaranth: UnusedElaboratable=no
"""Register block over AXI4-Lite with random handshakes, against a plain model of the register map."""
import random

import pytest
from amaranth.sim import Simulator
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import ISA_VERSION
from celosia.rtl.contract.registers import MAGIC_WORD, Control, Fault, Reg, Status
from celosia.rtl.link.axi import RESP_OKAY, RESP_SLVERR
from celosia.rtl.link.registers import Registers

FABRIC = Fabric(rows=4, cols=4)
WRITABLE = {Reg.PROGRAM_ADDRESS: 32, Reg.PROGRAM_COUNT: 32, Reg.WATCHDOG: 32, Reg.PROFILE_INDEX: 17}
PULSES = {"start": Control.START, "reset": Control.RESET, "clear_profile": Control.CLEAR_PROFILE}
MOST_CYCLES = 200


class Manager:
    """Drives the bus; every valid and ready comes after a random delay, address and data in random order."""

    def __init__(self, dut, rng, *, longest: int):
        self.bus, self.rng, self.longest = dut.axil, rng, longest
        self.control = dut.control
        self.pulses = {name: 0 for name in PULSES}

    async def tick(self, ctx):
        for name in PULSES:
            self.pulses[name] += ctx.get(getattr(self.control, name))
        await ctx.tick()

    async def until(self, ctx, signal):
        for _ in range(MOST_CYCLES):
            if ctx.get(signal):
                return
            await self.tick(ctx)
        raise AssertionError(f"no {signal.name} within {MOST_CYCLES} cycles")

    def delay(self) -> int:
        return self.rng.randint(0, self.longest)

    async def write(self, ctx, address: int, value: int, strobe: int = 0b1111) -> int:
        bus = self.bus
        start = {"aw": self.delay(), "w": self.delay()}
        ctx.set(bus.awaddr, address)
        ctx.set(bus.wdata, value)
        ctx.set(bus.wstrb, strobe)
        waiting = {"aw", "w"}
        for cycle in range(MOST_CYCLES):
            assert not ctx.get(bus.bvalid), "answered before address and data were taken"
            for way in ("aw", "w"):
                ctx.set(getattr(bus, way + "valid"), way in waiting and start[way] <= cycle)
            taken = {way for way in waiting if start[way] <= cycle and ctx.get(getattr(bus, way + "ready"))}
            await self.tick(ctx)
            waiting -= taken
            if not waiting:
                break
        assert not waiting
        ctx.set(bus.awvalid, 0)
        ctx.set(bus.wvalid, 0)
        for _ in range(self.delay()):
            await self.tick(ctx)
        await self.until(ctx, bus.bvalid)
        for _ in range(self.delay()):
            assert ctx.get(bus.bvalid), "a response holds until taken"
            await self.tick(ctx)
        ctx.set(bus.bready, 1)
        response = ctx.get(bus.bresp)
        await self.tick(ctx)
        ctx.set(bus.bready, 0)
        assert not ctx.get(bus.bvalid)
        return response

    async def read(self, ctx, address: int) -> tuple[int, int]:
        bus = self.bus
        for _ in range(self.delay()):
            await self.tick(ctx)
        ctx.set(bus.araddr, address)
        ctx.set(bus.arvalid, 1)
        await self.until(ctx, bus.arready)
        await self.tick(ctx)
        ctx.set(bus.arvalid, 0)
        await self.until(ctx, bus.rvalid)
        answer = ctx.get(bus.rdata), ctx.get(bus.rresp)
        for _ in range(self.delay()):
            await self.tick(ctx)
            assert (ctx.get(bus.rdata), ctx.get(bus.rresp)) == answer and ctx.get(bus.rvalid)
        ctx.set(bus.rready, 1)
        await self.tick(ctx)
        ctx.set(bus.rready, 0)
        return answer


def run(body, *, seed=0, longest=3):
    print(f"seed {seed}")
    dut = Registers(fabric=FABRIC)
    rng = random.Random(seed)
    manager = Manager(dut, rng, longest=longest)

    async def bench(ctx):
        await body(ctx, dut, manager, rng)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("longest", [0, 4])
def test_random_reads_and_writes_match_the_register_map(longest):
    async def body(ctx, dut, manager, rng):
        control = dut.control
        inputs = {"fault_address": 32, "cycles": 64, "retired": 32, "profile_data": 32, "busy": 1,
                  "finished": 1}
        state = {name: rng.getrandbits(bits) for name, bits in inputs.items()}
        for name, value in state.items():
            ctx.set(getattr(control, name), value)
        ctx.set(control.fault, Fault.WATCHDOG)
        ctx.set(control.fault_unit, 4)
        model = {
            Reg.MAGIC: MAGIC_WORD, Reg.VERSION: ISA_VERSION, Reg.CONTROL: 0,
            Reg.FINGERPRINT_LO: FABRIC.fingerprint % 2**32, Reg.FINGERPRINT_HI: FABRIC.fingerprint >> 32,
            Reg.STATUS: Status.BUSY * state["busy"] | Status.DONE * state["finished"] | Status.FAULT,
            Reg.FAULT: Fault.WATCHDOG, Reg.FAULT_ADDRESS: state["fault_address"], Reg.FAULT_UNIT: 4,
            Reg.CYCLES_LO: state["cycles"] % 2**32, Reg.CYCLES_HI: state["cycles"] >> 32,
            Reg.RETIRED: state["retired"], Reg.PROFILE_DATA: state["profile_data"],
            **dict.fromkeys(WRITABLE, 0)}
        assert set(model) == set(Reg)
        for _ in range(300):
            address = rng.choice([*Reg, *Reg, 0x44, 0x80, 0xFC])
            if rng.random() < 0.5:
                value, strobe = rng.getrandbits(32), rng.choice([15, 15, rng.randint(0, 15)])
                known = address in WRITABLE or address == Reg.CONTROL
                if address == Reg.CONTROL:
                    value &= ~7  # pulses have their own test
                expected = RESP_OKAY if known else RESP_SLVERR
                assert await manager.write(ctx, address, value, strobe) == expected, hex(address)
                if address in WRITABLE:
                    mask = sum(0xFF << 8 * i for i in range(4) if strobe >> i & 1)
                    mask &= (1 << WRITABLE[address]) - 1
                    model[address] = model[address] & ~mask | value & mask
            else:
                expected = (model[address], RESP_OKAY) if address in model else (0, RESP_SLVERR)
                assert await manager.read(ctx, address) == expected, Reg(address).name
            for reg, signal in ((Reg.PROGRAM_ADDRESS, control.program_address),
                                (Reg.PROGRAM_COUNT, control.program_count), (Reg.WATCHDOG, control.watchdog),
                                (Reg.PROFILE_INDEX, control.profile_index)):
                assert ctx.get(signal) == model[reg]
        assert not any(manager.pulses.values())

    run(body, seed=longest, longest=longest)


@pytest.mark.parametrize("bits", range(8))
def test_control_bits_pulse_once_each_and_only_if_strobed(bits):
    async def body(ctx, dut, manager, rng):
        assert await manager.write(ctx, Reg.CONTROL, bits, 0b1110) == RESP_OKAY
        assert not any(manager.pulses.values())
        assert await manager.write(ctx, Reg.CONTROL, bits) == RESP_OKAY
        for _ in range(3):
            await manager.tick(ctx)
        assert manager.pulses == {name: int(bool(bits & bit)) for name, bit in PULSES.items()}
        assert await manager.read(ctx, Reg.CONTROL) == (0, RESP_OKAY)

    run(body, seed=bits)


def test_a_second_write_waits_for_the_first_response():
    async def body(ctx, dut, manager, rng):
        bus = dut.axil
        ctx.set(bus.awaddr, Reg.WATCHDOG)
        ctx.set(bus.wstrb, 15)
        for value in (1, 2):
            ctx.set(bus.wdata, value)
            ctx.set(bus.awvalid, 1)
            ctx.set(bus.wvalid, 1)
            await manager.until(ctx, bus.awready)
            await manager.tick(ctx)
            ctx.set(bus.awvalid, 0)
            ctx.set(bus.wvalid, 0)
        for _ in range(10):
            await manager.tick(ctx)
            assert ctx.get(bus.bvalid) and ctx.get(dut.control.watchdog) == 1
        for _ in range(2):
            ctx.set(bus.bready, 1)
            await manager.until(ctx, bus.bvalid)
            await manager.tick(ctx)
            ctx.set(bus.bready, 0)
        assert ctx.get(dut.control.watchdog) == 2
        await manager.tick(ctx)
        assert not ctx.get(bus.bvalid)

    run(body)
