"""cocotb bench of Sequencer: a program served beat by beat, units of any speed, and the order they see."""
from collections import Counter, deque

import cocotb
from blocks import PATTERNS, Bench, Sink, Source, seeds, unit_code
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import (
    INSTRUCTION_BYTES,
    TOKEN_MAX,
    Cause,
    Fill,
    Load,
    Post,
    Store,
    Stream,
    Unit,
    Weights,
)
from celosia.rtl.contract.registers import Fault
from celosia.rtl.sequencer.issue import IN_FLIGHT
from celosia.rtl.sequencer.profile import Profile
from celosia.rtl.signatures import State
from celosia.sim.cosim import parameters

FABRIC = Fabric(**parameters()["fabric"])
BUS = FABRIC.bus_bytes
KINDS = (Load, Fill, Weights, Stream, Post, Store)
KIND = {unit: next(kind for kind in KINDS if kind.UNIT == unit) for unit in Unit}
PROGRAM_ADDRESS = 0x1240
MOST_CYCLES = 40_000
ACTIVE = (State.BUSY.value, State.OPERAND.value, State.RESULT.value)


class FakeUnit:
    """Is busy at its front for a while with each instruction, and completes it some time later.

    Attributes
    ----------
    taken : list of (cycle, payload)
    done : list of cycles
    """

    def __init__(self, bench, unit):
        self.bench, name = bench, unit.name.lower()
        self.eager, self.front_cycles, self.latency = 0.5, (1, 8), (1, 12)
        self.state, self.done_pin, self.valid, self.ready, self.payload = (
            getattr(bench.dut, f"{name}__{pin}") for pin in (
                "state", "done", "instruction__valid", "instruction__ready", "instruction__payload"))
        self.busy, self.ends, self.stalled = 0, deque(), False
        self.states, self.driven = Counter(), {}
        self.forget()
        bench.models.append(self)

    def forget(self):
        self.busy = 0
        self.ends.clear()
        self.taken, self.done, self.held = [], [], None

    def drive(self):
        bench = self.bench
        state = bench.quick.choice(ACTIVE) if self.busy else State.IDLE.value
        self.states[state] += 1
        self.busy -= self.busy > 0
        self.willing = not self.busy and not self.stalled and bench.chance(self.eager)
        complete = bool(self.ends) and self.ends[0] <= bench.cycle and not self.stalled
        if complete:
            self.ends.popleft()
            self.done.append(bench.cycle)
        for pin, value in ((self.state, state), (self.ready, self.willing), (self.done_pin, complete)):
            if self.driven.get(pin) != value:
                pin.value = self.driven[pin] = int(value)

    def sample(self):
        offer = int(self.payload.value) if int(self.valid.value) else None
        assert self.held is None or offer in (self.held, None), "an instruction on offer changes"
        if self.held is not None and offer is None:
            assert int(self.bench.dut.clear.value) or self.bench.cleared == self.bench.cycle - 1, "taken back"
        self.held = offer
        if offer is None or not self.willing:
            return
        self.held = None
        self.taken.append((self.bench.cycle, offer))
        assert len(self.taken) - len(self.done) <= IN_FLIGHT
        self.busy = self.bench.quick.randint(*self.front_cycles)
        after = max([self.bench.cycle + self.busy, *[end + 1 for end in self.ends]])
        self.ends.append(after + self.bench.quick.randint(*self.latency))


class SequencerBench(Bench):
    def __init__(self, dut, seed, offer=1.0, take=1.0):
        super().__init__(dut, seed)
        self.cleared = self.clears = self.aborts = 0
        self.units = {unit: FakeUnit(self, unit) for unit in Unit}
        self.memory = b""
        self.beats = Source(self, "fetch_data", chance=offer)
        self.commands = Sink(self, "fetch_command", chance=take, take=self.serve)
        self.models.append(self)

    def serve(self, command):
        address, count = command & 0xFFFFFFFF, command >> 32 & 0xFFFFFFFF
        assert address == PROGRAM_ADDRESS and count == len(self.memory)
        self.beats.items.extend(
            int.from_bytes(self.memory[at:at + BUS], "little") for at in range(0, count, BUS))

    def drive(self):
        pass

    def forget(self):
        pass

    def sample(self):
        """``clear`` resets the units and the DMA, as the fabric wires it."""
        self.aborts += int(self.dut.abort.value)
        if int(self.dut.clear.value):
            self.clears, self.cleared = self.clears + 1, self.cycle
            for unit in self.units.values():
                unit.busy, unit.held = 0, None
                unit.ends.clear()
            self.beats.forget()

    def get(self, name):
        return int(getattr(self.dut, f"control__{name}").value)

    async def pulse(self, *names):
        for name in names:
            getattr(self.dut, f"control__{name}").value = 1
        await self.step()
        for name in names:
            getattr(self.dut, f"control__{name}").value = 0

    async def begin(self, program, *, watchdog=0):
        self.program = program
        self.memory = b"".join(item if isinstance(item, bytes) else item.encode(FABRIC) for item in program)
        for unit in self.units.values():
            unit.taken.clear()
            unit.done.clear()
        dut = self.dut
        dut.control__program_address.value = PROGRAM_ADDRESS
        dut.control__program_count.value = len(program)
        dut.control__watchdog.value = watchdog
        dut.quiet.value = 1
        self.began = self.cycle
        await self.pulse("start")

    async def end(self):
        await self.run(lambda: not self.get("busy"), limit=MOST_CYCLES)

    async def good_run(self, program):
        await self.begin(program)
        clears, aborts = self.clears, self.aborts
        assert self.get("busy") and self.get("fault") == Fault.NONE
        await self.end()
        assert self.get("finished") and self.get("fault") == Fault.NONE
        assert self.get("retired") == len(program)
        assert self.clears == clears + 1 and self.aborts == aborts
        self.check_order()
        last = max((unit.done[-1] for unit in self.units.values() if unit.done), default=self.began)
        assert self.get("cycles") == last - self.began + 1

    def check_order(self):
        """Every unit got its instructions, in order, and none before what it waits for was complete."""
        at, given, completed = Counter(), {}, {}
        for instruction in self.program:
            unit = instruction.UNIT
            cycle, payload = self.units[unit].taken[at[unit]]
            assert payload == unit_code(instruction, FABRIC)
            for other in Unit:
                if instruction.wait >> other & 1 and other != unit:
                    assert cycle > given[other, unit].popleft(), "started without its token"
            if instruction.wait >> unit & 1:
                assert cycle > completed.get(unit, -1), "started before its predecessor was complete"
            completed[unit] = self.units[unit].done[at[unit]]
            for other in Unit:
                if instruction.signal >> other & 1:
                    given.setdefault((unit, other), deque()).append(completed[unit])
            at[unit] += 1
        for unit, fake in self.units.items():
            assert len(fake.taken) == len(fake.done) == at[unit]

    def random_program(self, count):
        """Tokens are there in program order; a part of them is never taken."""
        rng, tokens, program = self.rng, Counter(), []
        for index in range(count):
            kind = KINDS[rng.integers(len(KINDS))]
            unit = kind.UNIT
            wait = [u for u in Unit if u != unit and tokens[u, unit] and self.chance(0.6)]
            tokens.subtract((u, unit) for u in wait)
            wait += [unit] * self.chance(0.2)
            signal = [v for v in Unit if v != unit and tokens[unit, v] < TOKEN_MAX and self.chance(0.3)]
            tokens.update((unit, v) for v in signal)
            program.append(code(kind, wait=wait, signal=signal, layer=index * 5 // count))
        return program


async def started(dut, seed, **options):
    bench = SequencerBench(dut, seed, **options)
    await bench.start()
    dut.quiet.value = 1
    return bench


def code(kind, *, wait=(), signal=(), layer=0):
    return kind(wait=sum(1 << unit for unit in wait), signal=sum(1 << unit for unit in signal), layer=layer)


@cocotb.test()
@cocotb.parametrize(seed=seeds(5, 60))
async def random_programs(dut, seed):
    """Three runs: what the first leaves, tokens too, must not help the second; units of different speeds."""
    offer, take = PATTERNS[seed % len(PATTERNS)]
    bench = await started(dut, [1, seed], offer=offer, take=take)
    for _ in range(3):
        for unit in bench.units.values():
            unit.eager = float(bench.rng.choice([0.1, 0.5, 1]))
            unit.front_cycles = (1, int(bench.rng.choice([1, 8, 25])))
            unit.latency = (1, int(bench.rng.choice([1, 12, 60])))
        await bench.good_run(bench.random_program(40))
    await bench.good_run([])


@cocotb.test()
async def a_token_for_each_pair_and_waiting_for_the_own_unit(dut):
    """For each pair of units: the waiting one starts after the other is done, however slow that is."""
    bench = await started(dut, 2)
    for giver in Unit:
        for taker in Unit:
            bench.units[giver].latency = (40, 60)
            first = code(KIND[giver], signal=[taker] if taker != giver else [])
            program = [code(KIND[taker]), first, code(KIND[taker], wait=[giver])]
            await bench.good_run(program)
            taken = bench.units[taker].taken
            assert taken[-1][0] > bench.units[giver].done[-2 if giver == taker else -1]
            if giver != taker:
                assert taken[0][0] < bench.units[giver].done[0], "waited for nothing"
            bench.units[giver].latency = (1, 12)


@cocotb.test()
async def a_full_counter_holds_its_giver_back(dut):
    """WEIGHTS runs ahead of a slow STREAM by more tokens than a counter holds; none is lost."""
    bench = await started(dut, 3)
    giver, taker = bench.units[Unit.WEIGHTS], bench.units[Unit.STREAM]
    giver.eager, giver.front_cycles, giver.latency = 1, (1, 1), (1, 1)
    taker.front_cycles = (40, 50)
    gives, takes = code(Weights, signal=[Unit.STREAM]), code(Stream, wait=[Unit.WEIGHTS])
    program = [gives] * TOKEN_MAX + [takes, gives] * 8 + [takes] * TOKEN_MAX
    await bench.good_run(program)
    ahead = max(index + 1 - sum(cycle < done for cycle, _ in taker.taken)
                for index, done in enumerate(giver.done))
    assert ahead > TOKEN_MAX, "the counter never was full"


@cocotb.test()
async def illegal_instructions(dut):
    bench = await started(dut, 4)
    for opcode in (0, *range(len(KINDS) + 1, 16)):
        program = bench.random_program(20)
        index = int(bench.rng.integers(20))
        program[index] = bytes([opcode]) + bench.rng.bytes(INSTRUCTION_BYTES - 1)
        await bench.begin(program)
        await bench.end()
        assert (bench.get("fault"), bench.get("fault_address")) == (Fault.ILLEGAL_INSTRUCTION, index)
        assert not bench.get("finished")
        before = Counter(item.UNIT for item in program[:index])
        for unit, fake in bench.units.items():
            assert len(fake.taken) <= before[unit], "something behind it was carried out"
        await bench.good_run(bench.random_program(8))


@cocotb.test()
async def the_watchdog(dut):
    bench = await started(dut, 5)
    for limit in (1, 2, 3, 50, 99):
        for unit in bench.units.values():
            unit.latency = (200, 300)
        await bench.begin(bench.random_program(30), watchdog=limit)
        await bench.end()
        assert bench.get("fault") == Fault.WATCHDOG and bench.get("cycles") == limit
        for unit in bench.units.values():
            unit.latency = (1, 12)
        await bench.good_run(bench.random_program(10))
    await bench.begin(bench.random_program(10), watchdog=MOST_CYCLES)
    await bench.end()
    assert bench.get("finished")


@cocotb.test()
async def faults_and_aborts(dut):
    """A bus fault or RESET at any moment, while the memory owes answers: busy until it has."""
    bench = await started(dut, 6, offer=0.8, take=0.5)
    for number in seeds(9, 150):
        what = (Fault.READ_RESPONSE, Fault.WRITE_RESPONSE, Fault.ABORTED)[number % 3]
        await bench.begin(bench.random_program(60))
        for _ in range(int(bench.rng.integers(1, 200))):
            await bench.step()
        assert bench.get("busy") and bench.get("fault") == Fault.NONE
        place, clears = int(bench.rng.integers(1 << 32)), bench.clears
        dut.quiet.value = 0
        if what == Fault.ABORTED:
            await bench.pulse("reset")
        else:
            dut.fault__code.value, dut.fault__address.value, dut.fault__valid.value = what.value, place, 1
            await bench.step()
            dut.fault__valid.value = 0
        taken = sum(len(fake.taken) for fake in bench.units.values())
        owed = int(bench.rng.integers(60))
        for cycle in range(owed):
            await bench.step()
            assert bench.get("fault") == what and bench.get("busy") and bench.clears == clears
            assert int(dut.abort.value)
            if cycle == 3:  # a later fault does not count
                dut.fault__code.value, dut.fault__address.value = Fault.READ_RESPONSE.value, 0
                dut.fault__valid.value = 1
            else:
                dut.fault__valid.value = 0
        dut.fault__valid.value = 0
        now = sum(len(fake.taken) for fake in bench.units.values())
        assert now - taken <= len(Unit), "issued behind the fault"
        dut.quiet.value = 1
        await bench.end()
        assert bench.clears == clears + 1 and not bench.get("finished") and bench.get("fault") == what
        if what != Fault.ABORTED:
            unit = Unit.STORE if what == Fault.WRITE_RESPONSE else Unit.LOAD
            assert (bench.get("fault_address"), bench.get("fault_unit")) == (place, unit)
        if number % 2:
            await bench.pulse("reset")
            await bench.step()
            assert bench.get("fault") == Fault.NONE and not bench.get("busy")
        await bench.good_run(bench.random_program(12))


@cocotb.test()
async def reset_by_wire_in_the_middle(dut):
    bench = await started(dut, 7)
    for _ in seeds(5, 60):
        await bench.begin(bench.random_program(60))
        for _ in range(int(bench.rng.integers(1, 200))):
            await bench.step()
        await bench.reset()
        for name in ("busy", "finished", "fault", "cycles", "retired"):
            assert bench.get(name) == 0
        await bench.good_run(bench.random_program(12))


@cocotb.test()
async def the_profile(dut):
    """Cycles of the units' states, added up over layers, are what the units showed."""
    if not FABRIC.profile_layers:
        return
    bench = await started(dut, 8)
    await bench.pulse("clear_profile")
    await bench.end()
    for unit in bench.units.values():
        unit.front_cycles = (30, 60)
        unit.states.clear()
    await bench.good_run(bench.random_program(30))
    shown = {unit: Counter(fake.states) for unit, fake in bench.units.items()}
    for unit in Unit:
        found = Counter()
        for layer in range(FABRIC.profile_layers):
            for cause in Cause:
                dut.control__profile_index.value = layer << 7 | unit << 4 | cause
                for _ in range(Profile.LATENCY_READ):
                    await bench.step()
                found[cause] += bench.get("profile_data")
        for cause, state in ((Cause.BUSY, State.BUSY), (Cause.OPERAND, State.OPERAND),
                             (Cause.RESULT, State.RESULT)):
            assert found[cause] == shown[unit][state.value], (unit, cause)
        assert found.total() <= bench.get("cycles")
