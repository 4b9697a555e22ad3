"""Loads of weights and parameters that do not stay on chip, early enough to arrive when they are needed."""

from collections.abc import Sequence

from ...rtl.contract.isa import Load, Space, Stream, Weights
from ..emit.tokens import History, Item, Memory

CONSTANTS = Memory.WM, Memory.PM, Memory.TABLE
CYCLES_AHEAD_PER_BYTE = 2
"""How long before its use a byte is asked for: four times what a memory of two bytes a cycle needs for it."""
ROM_CYCLES_AHEAD_PER_BYTE = 8
"""The same for a serial flash of half a byte a cycle."""


def prefetch(items: Sequence[Item], cycles_ahead: int = CYCLES_AHEAD_PER_BYTE, *,
             rows: int = 1) -> list[Item]:
    """The same program with such loads moved to the front, ``cycles_ahead`` for each byte.

    A tile takes the array a cycle for each pixel, and never fewer than ``rows``, in which the next is loaded.

    A load comes behind the last work that touches the places it writes, behind the loads before it, and not
    much earlier than it is of use: LOAD works in order, and what waits behind it must not wait long.
    """
    histories: dict[int, History] = {}
    streamed = [0]  # cycles of the array before each item
    for item in items:
        instruction = item.instruction
        cycles = (instruction.tiles * max(instruction.pass_pixels, rows)
                  if isinstance(instruction, Stream) else 0)
        streamed.append(streamed[-1] + cycles)
    front: dict[int, list[Item]] = {}
    moved: set[int] = set()
    earliest = 0
    for index, item in enumerate(items):
        instruction = item.instruction
        if isinstance(instruction, Load) and instruction.space != Space.AM:
            written = item.accesses[0]
            history = histories.setdefault(written.memory, History())
            behind = max((touch.instruction + 1 for touch in history.conflicts(written)), default=0)
            at, earliest = index, max(earliest, behind)
            wanted = streamed[index] - cycles_ahead * instruction.row_bytes
            while at > earliest and streamed[at - 1] >= wanted:
                at -= 1
            while at < index and isinstance(items[at - 1].instruction, Weights | Stream):
                at += 1  # between a tile's Weights and its Stream nothing may wait for the first
            earliest = at
            front.setdefault(at, []).append(item)
            moved.add(index)
        for access in item.accesses:
            if access.memory in CONSTANTS:
                histories.setdefault(access.memory, History()).note(access, index, instruction.UNIT)
    return [each for index, item in enumerate(items)
            for each in (*front.get(index, ()), *(() if index in moved else (item,)))]
