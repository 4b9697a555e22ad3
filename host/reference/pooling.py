"""AVERAGE_POOL_2D and MAX_POOL_2D."""
from collections.abc import Callable

from .rounding import Ints


def average_pool_function(count: int, low: int, high: int) -> Callable[[Ints], Ints]:
    """Sum of ``count`` stored values -> stored average: nearest, ties away from zero, then clamped."""
    raise NotImplementedError
