"""The RTL beside the emulator: the same program, the same memories behind each instruction.

An observed build (celosia.sim.native.build) shows where its memories lie and when a unit retires an
instruction. In that cycle the effects of the instruction are visible and nothing that waits for it has begun.
"""
import ctypes
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from celosia.rtl.contract.fabric import PARAMETER_BYTES, Fabric
from celosia.rtl.contract.isa import Instruction, Unit
from celosia.rtl.contract.machine import Machine
from celosia.rtl.contract.registers import Control, Fault, Reg, Status
from celosia.sim.native import build
from celosia.sim.native.model import Memory, NativeModel

MOST_CYCLES = 3_000_000
"""The longest an instruction may take: the largest transfers of a byte a row are below a million."""
THROUGH = 24
"""Cycles, with one for each row and column, from the last read of a Stream to the last sum in its memory."""

FABRICS = {
    fabric.name: fabric for fabric in (
        Fabric(name="3x5", rows=3, cols=5, lanes=2, am_words=171, wm_words=37, pm_words=29, acc_depth=19,
               fifo_depth=7, line_depth=9, tables=2, bus_bytes=4, max_burst=8, outstanding=2, queue_depth=2,
               profile_layers=3),
        # The least of everything.
        Fabric(name="1x1", rows=1, cols=1, am_words=8, wm_words=2, pm_words=4, acc_depth=4, fifo_depth=4,
               acc_width=20, weight_bits=8, line_depth=0, tables=0, bus_bytes=16, max_burst=1, outstanding=1,
               queue_depth=1, profile_layers=0, ties_to_even=False),
    )
}
"""Small, odd, and each other's opposite in what can be left out."""

Arrays = dict[str, np.ndarray]
Changes = dict[str, tuple[np.ndarray, np.ndarray]]
"""By memory: places (of the flat array), and their values behind the instruction."""


class Difference(AssertionError):
    """RTL and emulator differ; ``instruction`` is its index, ``memory`` and ``address`` the first place."""

    def __init__(self, instruction: int, what: Instruction | str, memory: str = "", address: str = "",
                 detail: str = ""):
        super().__init__(f"instruction {instruction}: {memory} {address}: {detail}; {what}")
        self.instruction, self.memory, self.address = instruction, memory, address


class ObservedModel:
    """A fabric in native code whose memories can be read at any time.

    Parameters
    ----------
    library : Path
        Of an observed build.
    fabric : Fabric
    dram : uint8 array
    memory : Memory or None
    """

    def __init__(self, library, fabric: Fabric, dram: np.ndarray, memory: Memory | None = None):
        self.fabric, self.dram = fabric, dram
        self.model = NativeModel(library, dram, memory)
        self._code = ctypes.CDLL(str(library))
        pointer = ctypes.c_void_p
        self._code.celosia_inside.restype = pointer
        self._code.celosia_inside.argtypes = [ctypes.c_char_p, pointer]
        self._code.celosia_reset.argtypes = [pointer]
        self._code.celosia_step_until.argtypes = [pointer, pointer, ctypes.c_uint32, ctypes.c_uint64, pointer]
        retired = [self._inside(f"sequencer.issue_{unit.name.lower()}.o_retired")[0] for unit in Unit]
        self._retired = (pointer * len(Unit))(*retired)
        self._banks = [self._array(f"activation_memory.bank_{row}.ram", fabric.am_words)
                       for row in range(fabric.rows)]
        self._wm = self._array("weight_memory.memory.ram", fabric.wm_words)
        self._pm = self._array("parameter_memory.memory.ram", fabric.pm_words)
        self._acc = [self._array(f"accumulators.column_{column}.memory", fabric.acc_depth)
                     for column in range(fabric.cols)]
        self._tables = [self._array(f"post.table_{lane}.memory", fabric.tables)
                        for lane in range(fabric.lanes) if fabric.tables]

    def _inside(self, name: str) -> tuple[int, int]:
        size = ctypes.c_uint64()
        place = self._code.celosia_inside(f"\\{name} ".encode(), ctypes.byref(size))
        if not place:
            raise LookupError(f"the build shows no {name}")
        return place, size.value

    def _array(self, name: str, words: int) -> np.ndarray:
        """The bytes of a memory as they change, uint8[words, bytes of a word]."""
        place, size = self._inside(name)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(place)).reshape(words, -1)

    def step_until_retired(self, cycles: int = MOST_CYCLES) -> list[Unit]:
        """The units that retire an instruction in the cycle reached; none if that does not happen."""
        high = ctypes.c_uint32()
        self.model._judge(self._code.celosia_step_until(self.model._handle, self._retired, len(Unit), cycles,
                                                        ctypes.byref(high)))
        return [unit for unit in Unit if high.value >> unit & 1]

    def reset(self) -> None:
        """Pull the reset wire, of the fabric and of the memory behind it, for some cycles."""
        self.model._judge(self._code.celosia_reset(self.model._handle))

    def start(self, count: int, watchdog: int = 0) -> None:
        self.model.write(Reg.PROGRAM_ADDRESS, 0)
        self.model.write(Reg.PROGRAM_COUNT, count)
        self.model.write(Reg.WATCHDOG, watchdog)
        self.model.write(Reg.CONTROL, Control.START)

    def finish(self, cycles: int = MOST_CYCLES) -> tuple[int, Fault, int]:
        """STATUS, FAULT and FAULT_ADDRESS once the fabric is idle."""
        self.model.wait_clear(Reg.STATUS, Status.BUSY, max_cycles=cycles)
        return (self.model.read(Reg.STATUS), Fault(self.model.read(Reg.FAULT)),
                self.model.read(Reg.FAULT_ADDRESS))

    def state(self) -> Arrays:
        """All memories, in the shapes of Machine."""
        fabric = self.fabric
        bits = np.unpackbits(self._wm, axis=1, bitorder="little")[:, :fabric.cols * fabric.weight_bits]
        weights = bits.reshape(fabric.wm_words, fabric.cols, fabric.weight_bits).astype(np.int16)
        values = np.left_shift(1, np.arange(fabric.weight_bits), dtype=np.int16)
        values[-1] *= -1
        acc = np.stack([column.copy().view(np.uint32).reshape(-1) for column in self._acc], axis=1)
        half = 1 << fabric.acc_width - 1
        found = {
            "AM": np.stack(self._banks, axis=1).reshape(-1).view(np.int8),
            "WM": (weights * values).sum(axis=2, dtype=np.int16),
            "PM": self._pm[:, :PARAMETER_BYTES].copy(),
            "ACC": ((acc.astype(np.int64) + half) & 2 * half - 1) - half,
            "DRAM": self.dram,
        }
        for lane, table in enumerate(self._tables):
            found[f"TABLE of lane {lane}"] = table.copy()
        return found

    def close(self) -> None:
        self.model.close()


def machine_state(machine: Machine) -> Arrays:
    """The memories of the emulator under the same names; only those sums that a Stream left to go on with."""
    found = {"AM": machine.am, "WM": machine.wm, "PM": machine.pm, "ACC": machine.acc[:machine.kept],
             "DRAM": machine.dram}
    if machine.fabric.tables:
        found |= {f"TABLE of lane {lane}": machine.tables for lane in range(machine.fabric.lanes)}
    return found


def place_name(machine: Machine, memory: str, place: int) -> str:
    """Where a flat place is, as people count."""
    if memory in ("AM", "DRAM"):
        return f"{place:#x}" if memory == "DRAM" else str(place)
    width = {"WM": machine.fabric.cols, "ACC": machine.fabric.cols, "PM": PARAMETER_BYTES}.get(memory, 256)
    what = {"WM": "word {} column {}", "ACC": "sum {} column {}", "PM": "record {} byte {}"}
    return what.get(memory, "table {} entry {}").format(*divmod(place, width))


def check_state(index: int, instruction: Instruction, machine: Machine, got: Arrays,
                sums: bool = True) -> None:
    """Raise a Difference at the first place where the memories differ; ``sums``: the accumulators as well."""
    for memory, want in machine_state(machine).items():
        if memory == "ACC" and not sums:
            continue
        have = got[memory][:len(want)]
        if not np.array_equal(want, have):
            place = int(np.flatnonzero((want != have).reshape(-1))[0])
            raise Difference(index, instruction, memory, place_name(machine, memory, place),
                             f"emulator {want.reshape(-1)[place]}, RTL {have.reshape(-1)[place]}")


def retirements(model: ObservedModel, program: Sequence[Instruction]) -> Iterator[int]:
    """Start a program; the index of each instruction as it retires, once all of that cycle are known."""
    waiting = {unit: [index for index, instruction in enumerate(program) if instruction.UNIT == unit][::-1]
               for unit in Unit}
    model.start(len(program))
    left = len(program)
    while left:
        units = model.step_until_retired()
        if not units:
            stuck = min(queue[-1] for queue in waiting.values() if queue)
            raise Difference(stuck, program[stuck], detail=f"does not complete in {MOST_CYCLES} cycles")
        for unit in units:
            if not waiting[unit]:
                raise Difference(len(program), f"{unit.name} retires more than it was given")
            left -= 1
            yield waiting[unit].pop()


def in_lockstep(model: ObservedModel, program: Sequence[Instruction], machine: Machine,
                beside: Container[int]) -> int:
    """Run a program whose instructions follow each other; compare all memories after each that changes any.

    ``beside`` are Posts that run beside the Stream before: there is nothing to compare between the two. A
    Stream is complete when it has read its pixels; its last sums are on their way through the array then.
    The accumulators are compared as soon as they have arrived, unless the next Stream comes first, which goes
    on with them or starts anew. Returns the number of instructions after which memories were compared.
    """
    done: set[int] = set()
    at = compared = 0
    through = machine.fabric.rows + machine.fabric.cols + THROUGH
    streamed = -through
    for index in retirements(model, program):
        done.add(index)
        reached = at
        now = model.model.counters.cycles
        if program[index].UNIT == Unit.STREAM:
            streamed = now
        # Weights may complete behind the Streams that take their tiles; they change nothing.
        while reached in done or reached < len(program) and program[reached].UNIT == Unit.WEIGHTS:
            reached += 1
        if reached == at or reached in beside:
            continue
        latest = max((i for i in range(at, reached) if program[i].UNIT != Unit.WEIGHTS), default=at)
        for i in range(at, reached):
            machine.step(program[i])
        at = reached
        check_state(latest, program[latest], machine, model.state(), sums=now - streamed >= through)
        compared += 1
    finish(model, program, machine)
    return compared


@dataclass(frozen=True)
class Trace:
    """What each instruction of a program changes, by the emulator."""

    changes: list[Changes]

    @classmethod
    def of(cls, program: Sequence[Instruction], machine: Machine) -> "Trace":
        changes: list[Changes] = []
        memories = {name: value for name, value in machine_state(machine).items() if name != "ACC"}
        before = {name: value.copy() for name, value in memories.items()}
        for instruction in program:
            machine.step(instruction)
            found: Changes = {}
            for name, value in memories.items():
                flat = np.flatnonzero(value.reshape(-1) != before[name].reshape(-1))
                if flat.size:
                    found[name] = (flat, value.reshape(-1)[flat].copy())
                    before[name].reshape(-1)[flat] = found[name][1]
            changes.append(found)
        return cls(changes)

    def last_writer(self, memory: str, place: int) -> int:
        for index in range(len(self.changes) - 1, -1, -1):
            if memory in self.changes[index] and place in self.changes[index][memory][0]:
                return index
        return len(self.changes) - 1


def overlapped(model: ObservedModel, program: Sequence[Instruction], machine: Machine) -> int:
    """Run a program as it is; compare what each instruction changed when it retires, and all at the end.

    What a later instruction of the same unit changes again is left out: it may have overtaken. Returns the
    number of instructions that changed something that was compared.
    """
    trace = Trace.of(program, machine)
    later: dict[Unit, list[int]] = {unit: [] for unit in Unit}
    for index, instruction in enumerate(program):
        later[instruction.UNIT].append(index)
    compared = 0
    for index in retirements(model, program):
        changes = trace.changes[index]
        later[program[index].UNIT].pop(0)
        if not changes:
            continue
        state = model.state()
        for memory, (flat, values) in changes.items():
            have = state[memory].reshape(-1)[flat]
            for place in np.flatnonzero(have != values):
                again = (trace.changes[i].get(memory) for i in later[program[index].UNIT][:8])
                if any(change is not None and flat[place] in change[0] for change in again):
                    continue
                raise Difference(index, program[index], memory, place_name(machine, memory, int(flat[place])),
                                 f"emulator {values[place]}, RTL {have[place]}")
        compared += 1
    finish(model, program, machine)
    return compared


def finish(model: ObservedModel, program: Sequence[Instruction], machine: Machine) -> None:
    """The run ends well, and everything is as the emulator leaves it.

    But for sums that the last Stream left: a run does not wait for those on their way through the array.
    """
    machine.finish()
    ended = model.finish()
    if ended != (Status.DONE, Fault.NONE, 0):
        raise Difference(len(program) - 1, program[-1], detail=f"the run ends with {ended}")
    check_state(len(program) - 1, program[-1], machine, model.state(), sums=False)


def library(fabric: Fabric):
    """The observed build of a fabric."""
    return build.library(fabric, observed=True)
