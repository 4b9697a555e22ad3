"""AVERAGE_POOL_2D and MAX_POOL_2D. Source: tflite/kernels/internal/reference/integer_ops/pooling.h."""
from collections.abc import Callable

import numpy as np

from ..graph.ir import Array, Graph, Op
from .operands import value_of
from .rounding import Ints
from .windows import windows


def average(total: Ints, count: int | Ints) -> Ints:
    """total / count to the nearest integer, ties away from zero."""
    half = np.asarray(count, np.int64) // 2
    return np.where(total > 0, (total + half) // count, -((half - total) // count))


def average_pool_function(count: int, low: int, high: int) -> Callable[[Ints], Ints]:
    """Sum of ``count`` stored values -> stored average, clamped to low..high."""
    return lambda total: np.clip(average(total, count), low, high)


def average_pool(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """Places of the window outside the image count for nothing."""
    x = value_of(values[0])
    geometry = (op.attrs["window"], op.attrs["stride"], (1, 1), op.attrs["padding"], 0)
    total = windows(x.astype(np.int64), *geometry).sum(axis=(3, 4))
    count = windows(np.ones((1, *x.shape[1:3], 1), np.int64), *geometry).sum(axis=(3, 4))
    return (np.clip(average(total, count), op.attrs["low"], op.attrs["high"]).astype(x.dtype),)


def max_pool(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    x = value_of(values[0])
    least = int(np.iinfo(x.dtype).min)
    seen = windows(x, op.attrs["window"], op.attrs["stride"], (1, 1), op.attrs["padding"], least)
    return (np.clip(seen.max(axis=(3, 4)), op.attrs["low"], op.attrs["high"]).astype(x.dtype),)
