"""From what instructions read and write to the tokens that keep dependent ones in order."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from ...rtl.contract.isa import Instruction, Unit


class Memory(IntEnum):
    """A memory that instructions can meet in."""

    AM = 0
    WM = 1
    PM = 2
    DRAM = 3


@dataclass(frozen=True)
class Access:
    """Places ``low`` to ``high - 1`` of a memory, read or written."""

    memory: Memory
    low: int
    high: int
    write: bool


@dataclass(frozen=True)
class Item:
    """An instruction without tokens, and a safe (not too small) statement of what it touches."""

    instruction: Instruction
    accesses: tuple[Access, ...]


class _History:
    """Who touched each place of one memory last: the last write, and the reads since, by unit.

    Places are kept as disjoint ranges that cover everything; range i starts at ``starts[i]``. A write hides
    what was before it, because it is itself ordered behind that.
    """

    def __init__(self) -> None:
        self.starts = [0]
        self.writes: list[tuple[int, Unit] | None] = [None]
        self.reads: list[dict[Unit, int]] = [{}]

    def _split(self, place: int) -> int:
        """Index of the range that starts at ``place``, made if there is none."""
        index = bisect_left(self.starts, place)
        if index == len(self.starts) or self.starts[index] != place:
            self.starts.insert(index, place)
            self.writes.insert(index, self.writes[index - 1])
            self.reads.insert(index, dict(self.reads[index - 1]))
        return index

    def conflicts(self, access: Access) -> Iterator[tuple[int, Unit]]:
        """Instructions that must come before one that makes this access."""
        first = bisect_right(self.starts, access.low) - 1
        for index in range(first, bisect_left(self.starts, access.high)):
            write = self.writes[index]
            if write is not None:
                yield write
            if access.write:
                yield from ((reader, unit) for unit, reader in self.reads[index].items())

    def note(self, access: Access, instruction: int, unit: Unit) -> None:
        """Remember an access."""
        first, end = self._split(access.low), self._split(access.high)
        if access.write:
            self.starts[first:end] = [access.low]
            self.writes[first:end] = [(instruction, unit)]
            self.reads[first:end] = [{}]
        else:
            for index in range(first, end):
                self.reads[index][unit] = instruction


def with_tokens(items: Sequence[Item]) -> list[Instruction]:
    """The instructions of a program with ``wait`` and ``signal`` set.

    Two instructions conflict if they touch the same place and one of them writes. For each instruction and
    each other unit, the last earlier conflicting instruction of that unit has to be complete, unless that
    follows from a token taken before (vector clocks: what is known to be complete when an instruction
    starts). The orders that need no token are those of the text of rtl/contract/isa.py.
    """
    histories = {memory: _History() for memory in Memory}
    waits: list[int] = []
    signals = [0] * len(items)
    clocks: list[
        list[int]
    ] = []  # per instruction: the last instruction of each unit known complete at its start
    latest = dict.fromkeys(Unit, -1)  # the instruction before, per unit
    for index, item in enumerate(items):
        own = item.instruction.UNIT
        clock = list(clocks[latest[own]]) if latest[own] >= 0 else [-1] * len(Unit)
        need = [-1] * len(Unit)
        for access in item.accesses:
            for earlier, unit in histories[access.memory].conflicts(access):
                if not _ordered_by_hardware(unit, own):
                    need[unit] = max(need[unit], earlier)
        wait = 0
        for other in sorted(Unit, key=lambda unit: -need[unit]):  # the latest first: it may imply the others
            if need[other] <= clock[other]:
                continue
            wait |= 1 << other
            done = latest[own] if other == own else need[other]
            if other != own:
                signals[done] |= 1 << own
            clock = [max(a, b) for a, b in zip(clock, clocks[done], strict=True)]
            clock[other] = max(clock[other], done)
        clocks.append(clock)
        waits.append(wait)
        latest[own] = index
        for access in item.accesses:
            histories[access.memory].note(access, index, own)
    return [
        replace(item.instruction, wait=wait, signal=signal)
        for item, wait, signal in zip(items, waits, signals, strict=True)
    ]


def _ordered_by_hardware(earlier: Unit, later: Unit) -> bool:
    """Whether conflicts of these units need no token: see rtl/contract/isa.py, Order."""
    return (earlier == later and later != Unit.POST) or (earlier == Unit.STREAM and later == Unit.POST)
