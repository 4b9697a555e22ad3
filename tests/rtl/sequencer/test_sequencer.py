# amaranth: UnusedElaboratable=no
"""Sequencer with scripted units: order, tokens, faults, restart, and where the profile puts every cycle."""
import random
from collections import Counter, deque
from dataclasses import dataclass, field, replace

import pytest
from amaranth.sim import Simulator
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import (
    INSTRUCTION_BYTES,
    TOKEN_MAX,
    Cause,
    Fill,
    Instruction,
    Load,
    Post,
    Store,
    Stream,
    Unit,
    Weights,
    unit_bits,
)
from celosia.rtl.contract.registers import Fault
from celosia.rtl.sequencer.issue import IN_FLIGHT
from celosia.rtl.sequencer.lean import LeanSequencer
from celosia.rtl.sequencer.profile import Profile
from celosia.rtl.sequencer.sequencer import Sequencer
from celosia.rtl.signatures import State

FABRIC = Fabric(rows=4, cols=4, bus_bytes=4, queue_depth=2, profile_layers=0)
LEAN = FABRIC.but(queue_depth=3)
BOTH = pytest.mark.parametrize("make, fabric", [(Sequencer, FABRIC), (LeanSequencer, LEAN)])
PROFILED = FABRIC.but(profile_layers=5)
PROGRAM_ADDRESS = 0x1240
KINDS = (Load, Weights, Stream, Post, Store)
MOST_CYCLES = 30_000


@dataclass
class FakeUnit:
    """A unit whose instructions show ``actions`` states at the front and complete some cycles after that."""

    port: object
    rng: random.Random
    eager: float = 0.5  # probability of being ready when it could be
    actions: tuple[int, int] = (1, 8)
    latency: tuple[int, int] = (1, 12)
    front: deque = field(default_factory=deque)
    pipeline: deque = field(default_factory=deque)
    taken: list = field(default_factory=list)  # (cycle, payload)
    done: list = field(default_factory=list)  # cycle
    history: list = field(default_factory=list)  # (state, taken) of each cycle
    stalled: bool = False
    driven: dict = field(default_factory=dict)

    def drive(self, ctx, cycle: int) -> None:
        self.state = self.front.popleft() if self.front else State.IDLE
        ready = not self.front and self.rng.random() < self.eager and not self.stalled
        complete = bool(self.pipeline) and self.pipeline[0] <= cycle and not self.stalled
        if complete:
            self.pipeline.popleft()
            self.done.append(cycle)
        for signal, value in ((self.port.state, self.state), (self.port.instruction.ready, ready),
                              (self.port.done, complete)):
            if self.driven.get(id(signal)) != value:  # setting a signal costs the simulator time
                ctx.set(signal, value)
                self.driven[id(signal)] = value
        self.ready = ready

    def sample(self, ctx, cycle: int) -> None:
        taken = bool(self.ready and ctx.get(self.port.instruction.valid))
        self.history.append((self.state, taken))
        if taken:
            self.taken.append((cycle, ctx.get(self.port.instruction.payload)))
            self.front.extend(self.rng.choices((State.BUSY, State.OPERAND, State.RESULT),
                                               k=self.rng.randint(*self.actions)))
            last = cycle + len(self.front)
            earliest = max(last, self.pipeline[-1] + 1 if self.pipeline else 0)
            self.pipeline.append(earliest + self.rng.randint(*self.latency))

    def reset(self) -> None:
        self.front.clear()
        self.pipeline.clear()


class Bench:
    """The device under test among fake units and a fake DMA that serves ``memory``."""

    def __init__(self, *, fabric: Fabric = FABRIC, seed: int = 0, make=Sequencer, **unit_options):
        print(f"seed {seed}")
        self.rng = random.Random(seed)
        self.fabric = fabric
        self.dut = make(fabric=fabric)
        self.lean = make is LeanSequencer
        self.memory = {}
        self.options = unit_options
        self.units = {}
        self.cycle = 0
        self.beats = deque()
        self.fetching = True
        self.quiet = True
        self.commands = []
        self.pulses = {}
        self.aborts = self.clears = 0
        self.fault = None
        self.rejects_abort = False

    def place(self, program) -> int:
        code = [item if isinstance(item, bytes) else item.encode(self.fabric) for item in program]
        step = self.fabric.bus_bytes
        for index, instruction in enumerate(code):
            for offset in range(0, INSTRUCTION_BYTES, step):
                address = PROGRAM_ADDRESS + index * INSTRUCTION_BYTES + offset
                self.memory[address] = int.from_bytes(instruction[offset:offset + step], "little")
        return len(code)

    def renew_units(self):
        self.units = {unit: FakeUnit(getattr(self.dut, unit.name.lower()), self.rng,
                                     **{**self.options.get("every", {}), **self.options.get(unit.name, {})})
                      for unit in Unit}
        self.beats.clear()

    async def tick(self, ctx):
        dut, rng = self.dut, self.rng
        for unit in self.units.values():
            unit.drive(ctx, self.cycle)
        pulses, self.pulses = self.pulses, {}
        for name in pulses:
            ctx.set(getattr(dut.control, name), 1)
        beat = self.beats and rng.random() < 0.7 and self.fetching
        accepts = rng.random() < 0.3 and self.fetching
        if self.lean:
            ctx.set(dut.i_word_valid, bool(beat))
            ctx.set(dut.i_word, self.beats[0] if beat else rng.getrandbits(32))
            ctx.set(dut.fetch.ready, accepts)
        else:
            ctx.set(dut.fetch_data.valid, bool(beat))
            if beat:
                ctx.set(dut.fetch_data.payload, self.beats[0])
            ctx.set(dut.fetch_command.ready, accepts)
        ctx.set(dut.quiet, self.quiet)
        fault, self.fault = self.fault, None
        if fault is not None:
            ctx.set(dut.fault.valid, 1)
            ctx.set(dut.fault.code, fault[0])
            ctx.set(dut.fault.address, fault[1])
        for unit in self.units.values():
            unit.sample(ctx, self.cycle)
        if beat and (self.lean or ctx.get(dut.fetch_data.ready)):
            self.beats.popleft()
        if accepts and (ctx.get(dut.fetch.valid) if self.lean else ctx.get(dut.fetch_command.valid)):
            if self.lean:
                address, count = ctx.get(dut.fetch.payload), INSTRUCTION_BYTES
            else:
                command = ctx.get(dut.fetch_command.payload)
                address, count = command.address, command.bytes
            self.commands.append((address, count))
            self.beats.extend(self.memory[address + offset]
                              for offset in range(0, count, self.fabric.bus_bytes))
        self.aborts += ctx.get(dut.abort)
        if ctx.get(dut.clear):
            self.clears += 1
            for unit in self.units.values():
                unit.reset()
            self.beats.clear()
        await ctx.tick()
        self.cycle += 1
        for name in pulses:
            ctx.set(getattr(dut.control, name), 0)
        if fault is not None:
            ctx.set(dut.fault.valid, 0)

    async def start(self, ctx, program, watchdog=0):
        count = self.place(program)
        self.renew_units()
        for name, value in (("program_address", PROGRAM_ADDRESS), ("program_count", count),
                            ("watchdog", watchdog)):
            ctx.set(getattr(self.dut.control, name), value)
        self.pulses["start"] = 1
        await self.tick(ctx)
        self.began = self.cycle  # the first cycle that counts

    async def finish(self, ctx):
        for _ in range(MOST_CYCLES):
            if not ctx.get(self.dut.control.busy):
                return
            await self.tick(ctx)
        raise AssertionError(f"still busy after {MOST_CYCLES} cycles: a deadlock")

    async def read_profile(self, ctx, layer, unit, cause):
        ctx.set(self.dut.control.profile_index, layer << 7 | unit << 4 | cause)
        for _ in range(Profile.LATENCY_READ):
            await self.tick(ctx)
        return ctx.get(self.dut.control.profile_data)

    def run(self, body):
        simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(body)
        simulator.run()


def code(kind: type[Instruction], fabric=FABRIC, *, wait=(), signal=(), layer=0) -> Instruction:
    return kind(wait=sum(1 << unit for unit in wait), signal=sum(1 << unit for unit in signal), layer=layer)


def check_order(program, units):
    """Every instruction was taken by its unit, in order, and not before what it waits for was complete."""
    ready_at = {}  # (u, v): cycles in which u's tokens for v were given
    position = Counter()
    completed = {}
    for instruction in program:
        unit = instruction.UNIT
        at = position[unit]
        position[unit] += 1
        cycle, payload = units[unit].taken[at]
        done = units[unit].done[at]
        expected = int.from_bytes(instruction.encode(FABRIC), "little")
        assert payload == expected & (1 << unit_bits(unit)) - 1
        for other in Unit:
            if instruction.wait >> other & 1:
                if other == unit:
                    assert cycle > completed.get(unit, -1)
                else:
                    assert cycle > ready_at[other, unit].popleft()
        completed[unit] = done
        for other in Unit:
            if instruction.signal >> other & 1:
                ready_at.setdefault((unit, other), deque()).append(done)
    for unit in Unit:
        assert position[unit] == len(units[unit].taken) == len(units[unit].done)


def random_program(rng, count, layers=4):
    """Tokens are there in program order; half of those that are there are taken soon."""
    tokens = Counter()
    program = []
    for index in range(count):
        kind = rng.choice((*KINDS, Fill))
        unit = kind.UNIT
        wait = [u for u in Unit if u != unit and tokens[u, unit] and rng.random() < 0.5]
        wait += [unit] * (rng.random() < 0.2)
        signal = [v for v in Unit if v != unit and tokens[unit, v] < TOKEN_MAX and rng.random() < 0.25]
        for u in wait:
            tokens[u, unit] -= u != unit
        for v in signal:
            tokens[unit, v] += 1
        program.append(code(kind, wait=wait, signal=signal, layer=index * layers // count))
    return program


@pytest.mark.parametrize("seed", range(6))
def test_random_programs_run_in_order_and_never_deadlock(seed):
    fabric = FABRIC.but(queue_depth=(1, 4, 3)[seed // 2], bus_bytes=(4, 8, 16)[seed % 3],
                        profile_layers=(0, 4)[seed % 2])
    bench = Bench(fabric=fabric, seed=seed)
    program = random_program(bench.rng, 60)

    async def body(ctx):
        for run in range(2):  # tokens left over from the first must not help the second
            await bench.start(ctx, program)
            await bench.finish(ctx)
            check_order(program, bench.units)
            control = bench.dut.control
            assert ctx.get(control.finished) and ctx.get(control.fault) == Fault.NONE.value
            assert ctx.get(control.retired) == len(program)
            assert bench.clears == run + 1 and bench.aborts == 0
            assert bench.commands[-1] == (PROGRAM_ADDRESS, len(program) * INSTRUCTION_BYTES)
            last = max(unit.done[-1] for unit in bench.units.values() if unit.done)
            # The run is complete in the cycle after the last completion.
            assert ctx.get(control.cycles) == last + 1 - bench.began + 1

    bench.run(body)


@pytest.mark.parametrize("seed", range(2))
def test_the_lean_one_runs_random_programs_in_order_and_never_deadlocks(seed):
    bench = Bench(fabric=LEAN, make=LeanSequencer, seed=seed)
    program = random_program(bench.rng, 50)

    async def body(ctx):
        for run in range(2):  # tokens left over from the first must not help the second
            await bench.start(ctx, program)
            await bench.finish(ctx)
            check_order(program, bench.units)
            control = bench.dut.control
            assert ctx.get(control.finished) and ctx.get(control.fault) == Fault.NONE.value
            assert ctx.get(control.retired) == len(program)
            assert bench.clears == run + 1 and bench.aborts == 0

    bench.run(body)


@BOTH
def test_an_empty_program_is_done_at_once(make, fabric):
    bench = Bench(make=make, fabric=fabric)

    async def body(ctx):
        await bench.start(ctx, [])
        await bench.finish(ctx)
        assert ctx.get(bench.dut.control.finished) and ctx.get(bench.dut.control.cycles) == 1
        assert not bench.commands

    bench.run(body)


@BOTH
def test_tokens_are_taken_all_at_once_or_not_at_all(make, fabric):
    """POST waits for LOAD and STREAM; its STREAM token must not be gone while LOAD's is missing."""
    bench = Bench(make=make, fabric=fabric, LOAD={"latency": (300, 300)}, every={"eager": 1.0})
    program = [code(Stream, signal=[Unit.POST]), code(Load, signal=[Unit.POST]),
               code(Post, wait=[Unit.LOAD, Unit.STREAM])]

    async def body(ctx):
        await bench.start(ctx, program)
        for _ in range(200):
            await bench.tick(ctx)
        assert bench.units[Unit.STREAM].done and not bench.units[Unit.POST].taken
        await bench.finish(ctx)
        check_order(program, bench.units)
        # One cycle from the token to its taking, one to the offer.
        taken, done = bench.units[Unit.POST].taken[0][0], bench.units[Unit.LOAD].done[0]
        assert make is LeanSequencer or taken == done + 2

    bench.run(body)


def test_waiting_for_its_own_unit_means_until_nothing_is_in_flight():
    bench = Bench(every={"latency": (40, 60), "eager": 1.0})
    program = [code(Load), code(Load), code(Load, wait=[Unit.LOAD]), code(Load)]

    async def body(ctx):
        await bench.start(ctx, program)
        await bench.finish(ctx)
        taken = [cycle for cycle, _ in bench.units[Unit.LOAD].taken]
        done = bench.units[Unit.LOAD].done
        assert taken[1] < done[0], "without the bit they overlap"
        assert taken[2] == done[1] + 2
        assert taken[3] < done[2]

    bench.run(body)


def test_no_more_than_in_flight_instructions_of_a_unit_are_under_way():
    bench = Bench(every={"latency": (400, 400), "actions": (1, 1), "eager": 1.0})
    program = [code(Load) for _ in range(IN_FLIGHT + 2)]

    async def body(ctx):
        await bench.start(ctx, program)
        for _ in range(300):
            await bench.tick(ctx)
        assert len(bench.units[Unit.LOAD].taken) == IN_FLIGHT
        await bench.finish(ctx)
        check_order(program, bench.units)

    bench.run(body)


@pytest.mark.parametrize("make, fabric", [(Sequencer, FABRIC.but(queue_depth=8)), (LeanSequencer, LEAN)])
def test_a_completion_waits_while_a_counter_is_full(make, fabric):
    """Legal in program order (never more than TOKEN_MAX), but WEIGHTS runs ahead of a slow STREAM."""
    bench = Bench(fabric=fabric, make=make, every={"eager": 1.0, "actions": (1, 2), "latency": (1, 2)},
                  STREAM={"actions": (1, 2) if make is LeanSequencer else (30, 40)})
    program = [code(Weights, signal=[Unit.STREAM]) for _ in range(TOKEN_MAX)]
    for _ in range(16):
        program += [code(Stream, wait=[Unit.WEIGHTS]), code(Weights, signal=[Unit.STREAM])]
    program += [code(Stream, wait=[Unit.WEIGHTS]) for _ in range(TOKEN_MAX)]

    async def body(ctx):
        await bench.start(ctx, program)
        ahead = 0
        for _ in range(MOST_CYCLES):
            if not ctx.get(bench.dut.control.busy):
                break
            # The lean one takes long over each of its instructions: hold STREAM up altogether.
            bench.units[Unit.STREAM].stalled = make is LeanSequencer and ahead <= TOKEN_MAX
            await bench.tick(ctx)
            ahead = max(ahead, len(bench.units[Unit.WEIGHTS].done) - len(bench.units[Unit.STREAM].taken))
        assert ahead > TOKEN_MAX, "the counter never was full"
        check_order(program, bench.units)
        assert ctx.get(bench.dut.control.retired) == len(program)

    bench.run(body)


@BOTH
@pytest.mark.parametrize("opcode", [0, 7, 15])
def test_an_illegal_instruction_stops_the_run_and_names_its_index(opcode, make, fabric):
    bench = Bench(make=make, fabric=fabric)
    program = [code(Load), code(Post), bytes([opcode]) + bytes(INSTRUCTION_BYTES - 1), code(Stream)]

    async def body(ctx):
        control = bench.dut.control
        await bench.start(ctx, program)
        await bench.finish(ctx)
        assert ctx.get(control.fault) == Fault.ILLEGAL_INSTRUCTION.value
        assert ctx.get(control.fault_address) == 2
        assert not ctx.get(control.finished) and bench.aborts and bench.clears == 1
        assert not bench.units[Unit.STREAM].taken
        await rerun(ctx, bench)

    bench.run(body)


async def rerun(ctx, bench):
    """A good program runs as if nothing had happened before, and the fault is gone."""
    program = random_program(bench.rng, 25)
    await bench.start(ctx, program)
    assert ctx.get(bench.dut.control.fault) == Fault.NONE.value
    assert ctx.get(bench.dut.control.fault_address) == ctx.get(bench.dut.control.fault_unit) == 0
    await bench.finish(ctx)
    check_order(program, bench.units)
    assert ctx.get(bench.dut.control.finished) and ctx.get(bench.dut.control.retired) == len(program)


@BOTH
@pytest.mark.parametrize("limit", [1, 2, 100])
def test_the_watchdog_stops_a_run_at_its_limit(limit, make, fabric):
    bench = Bench(make=make, fabric=fabric, every={"latency": (500, 500)})

    async def body(ctx):
        control = bench.dut.control
        await bench.start(ctx, [code(Load), code(Load)], watchdog=limit)
        await bench.finish(ctx)
        assert ctx.get(control.fault) == Fault.WATCHDOG.value and ctx.get(control.cycles) == limit
        bench.options = {}
        await rerun(ctx, bench)

    bench.run(body)


@pytest.mark.parametrize(("fault", "unit"),
                         [(Fault.READ_RESPONSE, Unit.LOAD), (Fault.WRITE_RESPONSE, Unit.STORE)])
@BOTH
def test_a_bus_fault_is_readable_while_the_memory_still_owes_answers(fault, unit, make, fabric):
    bench = Bench(seed=3, make=make, fabric=fabric)

    async def body(ctx):
        control = bench.dut.control
        await bench.start(ctx, random_program(bench.rng, 40))
        for _ in range(50):
            await bench.tick(ctx)
        bench.quiet, bench.fault = False, (fault, 0xABCD_1230)
        await bench.tick(ctx)
        taken = sum(len(item.taken) for item in bench.units.values())
        offers = sum(ctx.get(item.port.instruction.valid) for item in bench.units.values())
        for _ in range(100):
            assert ctx.get(control.fault) == fault.value and ctx.get(control.fault_address) == 0xABCD_1230
            assert ctx.get(control.fault_unit) == unit.value
            assert ctx.get(control.busy) and ctx.get(bench.dut.abort) and not bench.clears
            await bench.tick(ctx)
        bench.fault = (Fault.READ_RESPONSE, 0)  # the first one counts
        await bench.tick(ctx)
        now_taken = sum(len(item.taken) for item in bench.units.values())
        assert now_taken <= taken + offers, "issued after the fault"
        bench.quiet = True
        await bench.finish(ctx)
        assert ctx.get(control.fault) == fault.value and bench.clears == 1 and not ctx.get(control.finished)
        await rerun(ctx, bench)

    bench.run(body)


@pytest.mark.parametrize("seed", range(4))
def test_reset_in_the_middle_aborts_and_leaves_nothing_behind(seed):
    bench = Bench(seed=seed)

    async def body(ctx):
        control = bench.dut.control
        await bench.start(ctx, random_program(bench.rng, 60))
        for _ in range(bench.rng.randint(1, 400)):
            await bench.tick(ctx)
        assert ctx.get(control.busy)
        bench.pulses["reset"] = 1
        await bench.tick(ctx)
        assert ctx.get(control.fault) == Fault.ABORTED.value
        await bench.finish(ctx)
        assert ctx.get(control.fault) == Fault.ABORTED.value
        bench.pulses["reset"] = 1
        await bench.tick(ctx)
        assert ctx.get(control.fault) == Fault.NONE.value and not ctx.get(control.busy)
        await rerun(ctx, bench)

    bench.run(body)


def test_start_is_ignored_during_a_run_and_with_reset_and_waits_for_a_profile_clear():
    bench = Bench(fabric=PROFILED)
    program = [code(kind) for kind in KINDS] * 3

    async def body(ctx):
        control = bench.dut.control
        bench.pulses.update(start=1, reset=1)
        await bench.tick(ctx)
        assert not ctx.get(control.busy)
        await bench.start(ctx, program)
        for _ in range(10):
            bench.pulses["start"] = 1
            await bench.tick(ctx)
        await bench.finish(ctx)
        check_order(program, bench.units)
        assert not ctx.get(control.busy)

        bench.pulses["clear_profile"] = 1
        await bench.start(ctx, program)
        waited = 0
        while not any(unit.taken for unit in bench.units.values()):
            assert ctx.get(control.busy)
            waited += 1
            assert waited < 1000
            await bench.tick(ctx)
        assert waited > len(Unit) * len(Cause) * PROFILED.profile_layers
        await bench.finish(ctx)
        assert ctx.get(control.cycles) < waited, "the clear is not part of the run"

        bench.pulses["clear_profile"] = 1
        await bench.start(ctx, program)
        await bench.tick(ctx)
        bench.pulses["reset"] = 1
        await bench.finish(ctx)
        assert not any(unit.taken for unit in bench.units.values()), "RESET takes back the waiting START"

    bench.run(body)


def expected_profile(unit, instructions):
    """(layer, state) -> cycles, (layer, None) -> cycles at all, by the definition: the cycles since the
    previous instruction finished belong to the one that finishes next."""
    counts, since = Counter(), Counter()
    layers = iter(instruction.layer for instruction in instructions)
    layer, active = None, False
    for state, taken in unit.history[1:]:  # history[0] is the cycle of START
        if layer is not None and active and state == State.IDLE:
            for key, cycles in since.items():
                counts[layer, key] += cycles
            layer, active, since = None, False, Counter()
        since[None] += 1
        if state != State.IDLE:
            since[state] += 1
            active = True
        if taken:
            if layer is not None:
                for key, cycles in since.items():
                    counts[layer, key] += cycles
                since = Counter()
            layer, active = next(layers), False
    assert layer is None
    return counts


async def check_profile(ctx, bench, expected):
    """``expected``: (unit, layer, state or None) -> cycles. Active causes and sums per layer are exact."""
    layers = bench.fabric.profile_layers
    bench.units = {}
    for unit in Unit:
        for layer in range(layers + 1):
            found = {cause: await bench.read_profile(ctx, layer, unit, cause) for cause in Cause}
            if layer == layers:  # not counted
                assert not any(found.values())
                continue
            for state in (State.BUSY, State.OPERAND, State.RESULT):
                assert found[Cause[state.name]] == expected[unit, layer, state], (unit, layer)
            assert sum(found.values()) == expected[unit, layer, None], (unit, layer)


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_the_profile_accounts_for_every_cycle(seed):
    """Long instructions, and such short ones that collecting lags behind (seeds 2, 3)."""
    short = seed >= 2
    layers = PROFILED.profile_layers
    bench = Bench(fabric=PROFILED, seed=seed, every={"actions": (1, 3) if short else (70, 110)})
    program = random_program(bench.rng, 40 if short else 15, layers=20 if short else layers + 1)
    if short:
        program = [replace(item, layer=item.layer % layers) for item in program]

    async def body(ctx):
        expected = Counter()
        for _ in range(2):  # counts add up over runs
            await bench.start(ctx, program)
            await bench.finish(ctx)
            for unit in Unit:
                mine = [item for item in program if item.UNIT == unit]
                of_unit = expected_profile(bench.units[unit], mine)
                assert sum(cycles for (_, state), cycles in of_unit.items() if state is None) <= ctx.get(
                    bench.dut.control.cycles)
                expected.update({(unit, *key): cycles for key, cycles in of_unit.items()})
        await check_profile(ctx, bench, expected)

        bench.pulses["clear_profile"] = 1
        await bench.tick(ctx)
        await bench.finish(ctx)
        assert await bench.read_profile(ctx, 1, Unit.STREAM, Cause.BUSY) == 0

    bench.run(body)


def test_layers_that_change_back_to_back_are_accounted_exactly():
    """Short instructions in a full queue, each of another layer: they wait to be collected; none is lost."""
    bench = Bench(fabric=PROFILED.but(queue_depth=8),
                  every={"eager": 1.0, "actions": (1, 2), "latency": (1, 1)})
    program = [code(Load, layer=layer) for layer in (0, 1, 2, 3, 4, 0, 2)]

    async def body(ctx):
        await bench.start(ctx, program)
        bench.units[Unit.LOAD].stalled = True
        for _ in range(200):
            await bench.tick(ctx)
        bench.units[Unit.LOAD].stalled = False
        await bench.finish(ctx)
        expected = expected_profile(bench.units[Unit.LOAD], program)
        expected = Counter({(Unit.LOAD, *key): cycles for key, cycles in expected.items()})
        await check_profile(ctx, bench, expected)

    bench.run(body)


def test_waiting_is_charged_to_the_lowest_missing_unit():
    bench = Bench(fabric=PROFILED.but(queue_depth=4), every={"eager": 1.0, "actions": (5, 5)},
                  LOAD={"latency": (300, 300)}, STREAM={"latency": (600, 600)}, STORE={"latency": (200, 200)})
    program = [code(Stream, signal=[Unit.POST]), code(Load, signal=[Unit.POST]),
               code(Post, wait=[Unit.LOAD, Unit.STREAM], layer=3), code(Store, layer=2),
               code(Store, wait=[Unit.STORE], layer=4)]  # held back first: collecting layer 2 takes its time

    async def body(ctx):
        await bench.start(ctx, program)
        await bench.finish(ctx)
        post, store = bench.units[Unit.POST], bench.units[Unit.STORE]
        load_done, stream_done = bench.units[Unit.LOAD].done[0], bench.units[Unit.STREAM].done[0]
        taken = post.taken[0][0]
        for_load = await bench.read_profile(ctx, 3, Unit.POST, Cause.TOKEN_LOAD)
        for_stream = await bench.read_profile(ctx, 3, Unit.POST, Cause.TOKEN_STREAM)
        fetch = await bench.read_profile(ctx, 3, Unit.POST, Cause.FETCH)
        assert for_stream == stream_done - load_done
        assert 200 < for_load < 300
        assert for_load + for_stream + fetch == taken - bench.began + 1
        own = await bench.read_profile(ctx, 4, Unit.STORE, Cause.TOKEN_STORE)
        assert 100 < own <= store.done[0] - store.taken[0][0]
        assert await bench.read_profile(ctx, 4, Unit.STORE, Cause.BUSY) <= 5
        assert await bench.read_profile(ctx, 2, Unit.STORE, Cause.TOKEN_STORE) == 0

    bench.run(body)
