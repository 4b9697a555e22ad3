"""Placement of blocks: none that live at once overlap, and what fits perfectly is found."""
import numpy as np
import pytest
from celosia.host.schedule.memory import Block, peak, place


@pytest.mark.parametrize("seed", range(6))
def test_blocks_alive_at_once_never_overlap(seed):
    rng = np.random.default_rng(seed)
    blocks = [Block(int(rng.integers(1, 100)), int(first), int(first + rng.integers(0, 6)))
              for first in rng.integers(0, 20, 30)]
    starts = place(blocks, 2 * peak(blocks), align=4)
    assert starts is not None
    for i, a in enumerate(blocks):
        assert 0 <= starts[i] and starts[i] + a.size <= 2 * peak(blocks) and starts[i] % 4 == 0
        for j, b in enumerate(blocks[:i]):
            if a.first <= b.last and b.first <= a.last:
                assert starts[i] + a.size <= starts[j] or starts[j] + b.size <= starts[i]


def test_memory_is_used_again_and_too_little_is_said():
    blocks = [Block(10, 0, 1), Block(10, 2, 3), Block(5, 1, 2)]
    assert peak(blocks) == 15 and place(blocks, 15) == [0, 0, 10]
    assert place(blocks, 14) is None
