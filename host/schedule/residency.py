"""Which weights, parameters and tables stay on chip, and where; the others pass through a ring buffer."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

SPREAD = Fraction(610, 987)
"""Steps of the golden ratio, around a circle, come down far apart from each other, however many there are."""


@dataclass
class Residency:
    """Plan of one memory, in its words.

    ``place[i]`` is the address of block i if it stays, None if it is streamed through the ring
    ``ring_start`` … ``capacity - 1``. ``wanted``: words that would keep everything that can stay.
    """

    place: list[int | None]
    used: int
    ring_start: int
    capacity: int
    wanted: int = 0
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


def plan_residency(
    sizes: Sequence[int], capacity: int, *, ring_least: int, ring_wanted: int,
    gain: Sequence[tuple[int, int]], changing: frozenset[int] = frozenset(), ring_blocks: int = 0
) -> Residency:
    """Keep all blocks if they fit; else as many as fit beside a ring of about ``ring_wanted`` words, or fewer
    if they hold ``ring_blocks`` of the largest block that passes through. Those of ``changing`` are new in
    each inference and never stay.

    Those with the greatest ``gain`` stay: that would have to be loaded most often in an inference, then those
    that are used least each time. Loading these takes longest compared with the work they are for, so the
    array would wait for them, while it has much to do with the others as they come. Of equals the larger
    stay, so that the ring can be small; and those that do not are spread over the inference, so that there is
    time to load each.
    """
    lasting = [i for i in range(len(sizes)) if i not in changing]
    wanted = sum(sizes[i] for i in lasting)
    fits = sum(sizes) <= capacity and (not changing or capacity - wanted >= ring_least)
    order = lasting if fits else sorted(
        lasting, key=lambda i: (gain[i], sizes[i], -(i * SPREAD % 1)), reverse=True)
    largest = min(capacity, max(ring_least, min(ring_wanted, capacity // 2)))
    rings = [largest]
    if fits:
        rings = [capacity - wanted if changing else 0]
    elif ring_blocks:
        smaller = {max(ring_least, ring_blocks * size) for size in sizes}
        rings = [*sorted(ring for ring in smaller if ring < largest), largest]
    for ring in rings:
        place: list[int | None] = [None] * len(sizes)
        used = 0
        for index in order:
            if used + sizes[index] <= capacity - ring:
                place[index] = used
                used += sizes[index]
        if all(ring_blocks * size <= ring for size, at in zip(sizes, place, strict=True) if at is None):
            break
    return Residency(place, used, used if ring else capacity, capacity, wanted)
