"""Whatever goes wrong in a run, the engine stops, says what and where, and the next run is right."""
import os

import numpy as np
import pytest
from celosia.rtl.contract.isa import BY_OPCODE, INSTRUCTION_BYTES, INSTRUCTIONS, Instruction, Load, Store
from celosia.rtl.contract.machine import Machine
from celosia.rtl.contract.registers import Control, Fault, Reg, Status
from celosia.sim.native.model import CHANNELS, Memory
from support.lockstep import ObservedModel, check_state
from support.programs import Generator

SOAK = os.environ.get("CELOSIA_SOAK") == "1"
SEEDS = range(5) if SOAK else [0]
PAGE = 4096
WATCHDOG = 60_000


class Bench:
    """A program of every instruction that sets up all memories itself, and what it leaves.

    The model lives on from run to run.
    """

    def __init__(self, library, fabric, seed):
        made: list[Instruction] = []
        while {type(instruction) for instruction in made} != set(INSTRUCTIONS):
            seed += 1000
            program = Generator(fabric, seed, 20, extreme=0.0).program()
            made = program.overlapped(np.random.default_rng(seed))
        self.code, self.fabric = made, fabric
        self.start = program.placed(self.code)
        self.machine = Machine(fabric, self.start.copy())
        for instruction in self.code:
            self.machine.step(instruction)
        self.dram = self.start.copy()
        self.observed = ObservedModel(library, fabric, self.dram)
        self.model = self.observed.model

    def begin(self, memory=None, watchdog=WATCHDOG):
        self.dram[:] = self.start
        self.model.configure(memory or Memory())
        self.observed.start(len(self.code), watchdog)

    def ends_well(self, memory=None):
        """A run that nothing disturbs leaves what the emulator leaves, and no trace of a fault."""
        self.begin(memory)
        assert self.observed.finish() == (Status.DONE, Fault.NONE, 0)
        assert self.model.read(Reg.RETIRED) == len(self.code)
        check_state(len(self.code) - 1, self.code[-1], self.machine, self.observed.state(), sums=False)

    def beats(self):
        """Addresses of all beats that are read, and of all that are written."""
        bus, reads, writes = self.fabric.bus_bytes, set(range(0, len(self.code) * INSTRUCTION_BYTES,
                                                              self.fabric.bus_bytes)), set()
        for instruction in self.code:
            if isinstance(instruction, Load | Store):
                beats = reads if isinstance(instruction, Load) else writes
                for row in range(instruction.rows):
                    first = instruction.dram + row * instruction.dram_stride
                    beats |= set(range(first, first + instruction.row_bytes, bus))
        return reads, writes


@pytest.fixture(scope="module", params=SEEDS)
def bench(request, odd, built):
    bench = Bench(built(odd), odd, request.param)
    yield bench
    bench.observed.close()


def test_a_bus_error_on_any_beat_is_reported_with_its_burst(bench):
    reads, writes = bench.beats()
    assert reads and writes
    bench.ends_well()
    longest = bench.fabric.max_burst * bench.fabric.bus_bytes
    codes = []
    # All reads take a while; a step of 7 meets every position in a burst, too.
    for count, beat in enumerate([*sorted(reads)[::1 if SOAK else 7], *sorted(writes)[::1 if SOAK else 3]]):
        bench.begin(Memory(failing=[(beat, beat + count % bench.fabric.bus_bytes, 2 + count % 2)], stall=0.2,
                           seed=count))
        status, fault, address = bench.observed.finish()
        assert status == Status.FAULT, f"beat {beat:#x}"
        expected = {Fault.READ_RESPONSE} if beat in reads else set()
        expected |= {Fault.WRITE_RESPONSE} if beat in writes else set()
        assert fault in expected, f"beat {beat:#x}"
        codes.append(fault)
        assert 0 <= beat - address < longest and beat // PAGE == address // PAGE, f"{beat:#x}, {address:#x}"
        bench.ends_well()
    assert Fault.READ_RESPONSE in codes
    assert Fault.WRITE_RESPONSE in codes or writes <= reads  # what is read first fails as a read
    print(f"{len(codes)} beats")


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_memory_that_stalls_for_ever_ends_in_the_watchdog(bench, channel):
    """From the start, and from cycles in the middle on; BUSY lasts until the memory has answered."""
    bench.ends_well()
    total = bench.model.read(Reg.CYCLES_LO)
    stopped = 0
    for cycle in (0, *range(100, total, 300)):
        bench.begin(watchdog=2 * total)
        bench.model.step(cycle)
        bench.model.configure(Memory(frozen=[channel]))
        bench.model.step(3 * total)
        status, fault = bench.model.read(Reg.STATUS), bench.model.read(Reg.FAULT)
        if fault == Fault.NONE:  # there was nothing more to move on that channel
            assert status == Status.DONE
        else:
            assert fault == Fault.WATCHDOG and bench.model.read(Reg.CYCLES_LO) <= 2 * total + 10
            stopped += 1
        bench.model.configure(Memory())
        bench.model.wait_clear(Reg.STATUS, Status.BUSY, max_cycles=10_000)
        assert bench.model.read(Reg.FAULT) == fault
        bench.ends_well()
    assert stopped


def test_a_watchdog_of_any_length_stops_a_run_that_is_longer(bench):
    bench.ends_well()
    total = bench.model.read(Reg.CYCLES_LO)
    for limit in (1, 2, 3, 50, total // 2, total - 20):
        bench.begin(watchdog=limit)
        assert bench.observed.finish()[:2] == (Status.FAULT, Fault.WATCHDOG), limit
        bench.ends_well()


def test_an_unknown_opcode_anywhere_is_reported_with_its_index(bench):
    unknown = [code for code in range(1 << Instruction.OPCODE_BITS) if code not in BY_OPCODE]
    for index in range(len(bench.code)):
        for opcode in unknown if SOAK else [unknown[index % len(unknown)]]:
            bench.begin()  # not yet fetched: the memory's latency is longer than the answer to START
            place = index * INSTRUCTION_BYTES
            bench.dram[place] = bench.dram[place] & 0xF0 | opcode
            assert bench.observed.finish() == (Status.FAULT, Fault.ILLEGAL_INSTRUCTION, index), opcode
            bench.ends_well()


def test_noise_instead_of_a_program_is_stopped_and_the_next_run_is_right(bench):
    """Any code at all, most of it breaking the rules: something stops it, and nothing is left of it."""
    rng = np.random.default_rng(5)
    ends = set()
    for _ in range(400 if SOAK else 60):
        bench.dram[:] = bench.start
        size = len(bench.code) * INSTRUCTION_BYTES
        if rng.random() < 0.5:
            bench.dram[:size] ^= (rng.random(size) < 0.01).astype(np.uint8) << rng.integers(0, 8, size,
                                                                                              dtype=np.uint8)
        else:
            bench.dram[:size] = rng.integers(0, 256, size)
        bench.model.configure(Memory(stall=0.1, seed=int(rng.integers(1 << 30))))
        bench.observed.start(len(bench.code), 20_000)
        status, fault, _ = bench.observed.finish()
        assert status == (Status.FAULT if fault else Status.DONE)
        ends.add(fault)
        bench.ends_well()
    assert {Fault.ILLEGAL_INSTRUCTION, Fault.READ_RESPONSE} <= ends


@pytest.mark.parametrize("stall", [0.0, 0.4] if SOAK else [0.2])
def test_a_reset_at_every_tenth_cycle_is_followed_by_a_right_run(bench, stall):
    memory = Memory(stall=stall, seed=9)
    bench.ends_well(memory)
    total = bench.model.read(Reg.CYCLES_LO)
    aborted = 0
    for cycle in range(0, total, 10):
        bench.begin(memory)
        bench.model.step(cycle)
        bench.model.write(Reg.CONTROL, Control.RESET)
        status, fault, address = bench.observed.finish()
        assert (status, fault, address) in ((Status.FAULT, Fault.ABORTED, 0), (Status.DONE, Fault.NONE, 0))
        aborted += fault == Fault.ABORTED
        bench.ends_well()
    assert aborted >= total // 10 - 3
    print(f"{aborted} runs aborted of {total} cycles")


@pytest.mark.parametrize("stall", [0.0, 0.4] if SOAK else [0.2])
def test_the_reset_wire_at_every_tenth_cycle_is_followed_by_a_right_run(bench, stall):
    """Of the fabric and the memory behind it, with whatever was under way on the bus."""
    memory = Memory(stall=stall, seed=11)
    bench.ends_well(memory)
    for cycle in range(0, bench.model.read(Reg.CYCLES_LO), 10):
        bench.begin(memory)
        bench.model.step(cycle)
        bench.observed.reset()
        for register in (Reg.STATUS, Reg.FAULT, Reg.PROGRAM_COUNT, Reg.CYCLES_LO, Reg.RETIRED):
            assert bench.model.read(register) == 0, register
        bench.ends_well(memory)
