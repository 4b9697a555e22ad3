"""Placing blocks that live for a while into one memory."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """So many bytes (or words), needed from step ``first`` to step ``last`` inclusive."""

    size: int
    first: int
    last: int


def place(blocks: Sequence[Block], capacity: int, *, align: int = 1) -> list[int] | None:
    """Start of each block so that no two alive at once overlap, or None if no place was found.

    Greedy by size, each at the lowest free place: Pisarchyk and Lee, "Efficient memory management for deep
    neural net inference" (2020), section 4.3.
    """
    starts = [0] * len(blocks)
    placed: list[int] = []
    for index in sorted(range(len(blocks)), key=lambda i: -blocks[i].size):
        block = blocks[index]
        start = 0
        busy = sorted(
            (starts[i], starts[i] + blocks[i].size)
            for i in placed
            if blocks[i].first <= block.last and block.first <= blocks[i].last
        )
        for low, high in busy:
            if start + block.size <= low:
                break
            start = max(start, -(-high // align) * align)
        if start + block.size > capacity:
            return None
        starts[index] = start
        placed.append(index)
    return starts


def peak(blocks: Sequence[Block]) -> int:
    """The most that is alive at any one step: what a perfect placement would need."""
    steps = {block.first for block in blocks}
    return max((sum(b.size for b in blocks if b.first <= step <= b.last) for step in steps), default=0)
