"""From what instructions read and write to the tokens that keep dependent ones in order."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

from ...rtl.contract.isa import TOKEN_MAX, Instruction, Unit


class Memory(IntEnum):
    """A memory that instructions can meet in."""

    AM = 0
    WM = 1
    PM = 2
    DRAM = 3
    TABLE = 4


class Window(NamedTuple):
    """Of every ``period`` bytes, the ``width`` whose address is ``phase`` or more modulo period.

    Some channels of an image of ``period`` channels whose rows are a whole number of pixels apart.
    """

    period: int
    phase: int
    width: int

    def meets(self, other: "Window") -> bool:
        """Whether the two may have a byte in common; of another period they may."""
        period, phase, width = self
        if period != other[0]:
            return True
        ahead = (other[1] - phase) % period
        return ahead < width or ahead + other[2] > period


@dataclass(frozen=True)
class Access:
    """Places ``low`` to ``high - 1`` of a memory, read or written; only those in the window, if any."""

    memory: Memory
    low: int
    high: int
    write: bool
    window: Window | None = None


@dataclass(frozen=True)
class Item:
    """An instruction without tokens, and a safe (not too small) statement of what it touches."""

    instruction: Instruction
    accesses: tuple[Access, ...]


@dataclass(frozen=True, slots=True)
class Touch:
    """What an instruction did to all places of a range (in some window)."""

    instruction: int
    unit: Unit
    write: bool


Touches = dict[Window | None, dict[tuple[Unit, bool], Touch]]
"""By window, and by unit and kind of access: the last of its kind stands for those before it, because a unit
completes its instructions in order."""


class History:
    """Who touched each place of one memory: the writes and reads that nothing later hides.

    Places are kept as disjoint ranges that cover everything; range i starts at ``starts[i]``. A write hides
    what was before it, because it is itself ordered behind that.
    """

    def __init__(self) -> None:
        self.starts = [0]
        self.touches: list[Touches] = [{}]

    def _split(self, place: int) -> int:
        """Index of the range that starts at ``place``, made if there is none."""
        index = bisect_left(self.starts, place)
        if index == len(self.starts) or self.starts[index] != place:
            self.starts.insert(index, place)
            before = self.touches[index - 1]
            self.touches.insert(index, {window: dict(kinds) for window, kinds in before.items()})
        return index

    def conflicts(self, access: Access, beyond: Sequence[int] = (-1,) * len(Unit)) -> Iterator[Touch]:
        """What must be complete before this access is made; of each unit, what comes after ``beyond``."""
        window, write = access.window, access.write
        first = bisect_right(self.starts, access.low) - 1
        for touches in self.touches[first : bisect_left(self.starts, access.high)]:
            for other, kinds in touches.items():
                for touch in kinds.values():
                    if touch.instruction > beyond[touch.unit] and (touch.write or write) and (
                            window is None or other is None or window.meets(other)):
                        yield touch

    def note(self, access: Access, instruction: int, unit: Unit) -> None:
        """Remember an access."""
        first, end = self._split(access.low), self._split(access.high)
        touch = Touch(instruction, unit, access.write)
        if access.write and access.window is None:
            self.starts[first:end] = [access.low]
            self.touches[first:end] = [{None: {(unit, True): touch}}]
            return
        for touches in self.touches[first:end]:
            if access.write:
                touches[access.window] = {(unit, True): touch}
            else:
                touches.setdefault(access.window, {})[unit, False] = touch


def with_tokens(items: Sequence[Item]) -> list[Instruction]:
    """The instructions of a program with ``wait`` and ``signal`` set.

    Two instructions conflict if they touch the same place and one of them writes. For each instruction and
    each other unit, the last earlier conflicting instruction of that unit has to be complete, unless that
    follows from a token taken before (vector clocks: what is known to be complete when an instruction
    starts). The orders that need no token are those of the text of rtl/contract/isa.py.
    """
    histories = {memory: History() for memory in Memory}
    waits = [0] * len(items)
    signals = [0] * len(items)
    tokens: dict[tuple[Unit, Unit], list[tuple[int, int]]] = {}  # (from, to) -> signalled by, waited for by
    clocks: list[
        list[int]
    ] = []  # per instruction: the last instruction of each unit known complete at its start
    latest = dict.fromkeys(Unit, -1)  # the instruction before, per unit
    for index, item in enumerate(items):
        own = item.instruction.UNIT
        clock = list(clocks[latest[own]]) if latest[own] >= 0 else [-1] * len(Unit)
        need = list(clock)
        for access in item.accesses:
            for touch in histories[access.memory].conflicts(access, need):
                if not _ordered_by_hardware(touch, own, access):
                    need[touch.unit] = touch.instruction
        for other in sorted(Unit, key=lambda unit: -need[unit]):  # the latest first: it may imply the others
            if need[other] <= clock[other]:
                continue
            done = latest[own] if other == own else need[other]
            if other == own:
                waits[index] |= 1 << own
            else:
                tokens.setdefault((other, own), []).append((done, index))
            clock = [max(a, b) for a, b in zip(clock, clocks[done], strict=True)]
            clock[other] = max(clock[other], done)
        clocks.append(clock)
        latest[own] = index
        for access in item.accesses:
            histories[access.memory].note(access, index, own)
    for (giver, taker), pairs in tokens.items():
        for done, index in _few_at_once(pairs):
            signals[done] |= 1 << taker
            waits[index] |= 1 << giver
    return [
        replace(item.instruction, wait=wait, signal=signal)
        for item, wait, signal in zip(items, waits, signals, strict=True)
    ]


def _few_at_once(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The tokens of one counter so that it never holds too many.

    Where it would, the first of those that wait waits for the second's token, and the second, being behind
    it in the same unit, for none.
    """
    kept: list[tuple[int, int]] = []
    for done, index in pairs:
        kept.append((done, index))
        while sum(waiting > done for _, waiting in kept[-TOKEN_MAX - 1 :]) > TOKEN_MAX:
            first = next(i for i, (_, waiting) in enumerate(kept) if waiting > done)
            kept[first : first + 2] = [(kept[first + 1][0], kept[first][1])]
    return kept


def _ordered_by_hardware(earlier: Touch, later: Unit, access: Access) -> bool:
    """Whether a conflict needs no token: see rtl/contract/isa.py, Order."""
    if earlier.unit == later:
        # A Post reads operands before the writes of the one in front of it are done.
        return later != Unit.POST or access.write
    return earlier.unit == Unit.STREAM and later == Unit.POST
