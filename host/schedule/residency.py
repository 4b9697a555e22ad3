"""Which weights and parameters stay on chip, and where; the others pass through a ring buffer."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class Residency:
    """Plan of one memory (weight or parameter memory), in its words.

    ``place[i]`` is the address of block i if it stays, None if it is streamed through the ring
    ``ring_start`` … ``capacity - 1``.
    """

    place: list[int | None]
    used: int
    ring_start: int
    capacity: int
    cursor: int = 0

    @property
    def resident(self) -> bool:
        """Whether everything stays."""
        return None not in self.place

    def take(self, words: int) -> int:
        """The next place in the ring; what was there longest ago is overwritten (tokens keep it in order)."""
        if self.ring_start + self.cursor + words > self.capacity:
            self.cursor = 0
        start = self.ring_start + self.cursor
        self.cursor += words
        return start


def plan_residency(sizes: Sequence[int], capacity: int, *, ring_least: int, ring_wanted: int) -> Residency:
    """Keep all blocks if they fit; else as many as fit beside a ring of about ``ring_wanted`` words."""
    if sum(sizes) <= capacity:
        place: list[int | None] = []
        used = 0
        for size in sizes:
            place.append(used)
            used += size
        return Residency(place, used, capacity, capacity)
    ring = min(capacity, max(ring_least, min(ring_wanted, capacity // 2)))
    place, used = [], 0
    for size in sizes:
        if used + size <= capacity - ring:
            place.append(used)
            used += size
        else:
            place.append(None)
    return Residency(place, used, used, capacity)
