"""Finds the record of a fused residual add, and proves it equal to the framework's ADD on every pair.

The hardware computes ``(q*mult_q + other*mult_other + constant) >> shift`` and clamps. With S the sum of the
two products, it gives v at a pair exactly if ::

    (v << shift) - S  <=  constant  <  ((v + 1) << shift) - S

with one half only where v is a limit of the clamp. All pairs together leave an interval for the constant.
Where it is empty, the pair that bounds it from below and the one that bounds it from above show a
half-plane that the two multipliers must lie in. Cutting a small box around the scales' ratios with these
half-planes, and trying the centre of what is left, either finds multipliers soon or shows that there are
none near.
"""
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ...rtl.contract.numerics import Add
from .multiplier import LARGE, Multiplier

Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

BOX = 2.0**-10
"""How far the multipliers may stray from the scales' ratios, as a share of the greater one."""
TRIALS = 64


def solve_add(function: Callable[[Ints, Ints], Ints], *, slope_q: float, slope_other: float,
              q_range: tuple[int, int], other_range: tuple[int, int], low: int, high: int,
              multiplier: Multiplier = LARGE) -> Add | None:
    """A record equal to ``function(q, other)`` on the whole rectangle of stored values, or None.

    Parameters
    ----------
    function : callable
        The framework's formula on broadcasting arrays of stored values; results in [low, high].
    slope_q, slope_other : float
        Scale of each input divided by that of the output.
    q_range, other_range : tuple
        First and last value that each input can have.
    low, high : int
        Limits of the sum.
    multiplier : Multiplier
        The fabric's.
    """
    greater = max(abs(slope_q), abs(slope_other))
    if not 0 < greater < 2 ** (multiplier.add_bits - 2):
        return None
    constant_limit = 2 ** (multiplier.constant_bits - 1)
    shift = min(multiplier.add_bits - 2 - int(np.frexp(greater)[1]),  # leaves one bit of room
                multiplier.constant_bits - 10,  # so that the greatest level, shifted, fits the constant
                2**multiplier.add_shift_bits - 1)
    if shift < 0:
        return None
    q = np.arange(q_range[0], q_range[1] + 1, dtype=np.int64)[:, None]
    other = np.arange(other_range[0], other_range[1] + 1, dtype=np.int64)[None, :]
    want = np.broadcast_to(function(q, other), (q.size, other.size))
    # What the constant must reach, and what it must not exceed, before the products are taken off.
    floor = np.where(want > low, want << shift, -4 * constant_limit)
    ceiling = np.where(want < high, ((want + 1) << shift) - 1, 4 * constant_limit)

    centre = np.ldexp(np.array([slope_q, slope_other]), shift)
    reach = np.ldexp(greater, shift) * BOX
    polygon = centre + reach * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    tried = set()
    for _ in range(TRIALS):
        first, second = multiplier.nearest(centre)
        pair = int(first), int(second)
        if pair in tried:
            return None
        tried.add(pair)
        products = q * pair[0] + other * pair[1]
        lower, upper = floor - products, ceiling - products
        p, u = int(lower.argmax()), int(upper.argmin())
        least, most = max(int(lower.flat[p]), -constant_limit), min(int(upper.flat[u]), constant_limit - 1)
        if least <= most:
            add = Add(mult_q=pair[0], mult_other=pair[1], constant=(least + most) // 2, shift=shift, low=low,
                      high=high)
            return add if np.array_equal(add.apply(q, other), want) else None
        (p_q, p_other), (u_q, u_other) = divmod(p, other.size), divmod(u, other.size)
        normal = np.array([p_q - u_q, p_other - u_other], float)
        polygon = _clip(polygon, normal, float(floor.flat[p] - ceiling.flat[u]))
        if len(polygon) < 3:
            return None
        centre = _centroid(polygon)
    return None


def _clip(polygon: Reals, normal: Reals, least: float) -> Reals:
    """The part of a convex polygon [corners, 2] where ``normal . point >= least``."""
    depth = polygon @ normal - least
    kept = []
    for i in range(len(polygon)):
        if depth[i - 1] * depth[i] < 0:
            share = depth[i - 1] / (depth[i - 1] - depth[i])
            kept.append(polygon[i - 1] + share * (polygon[i] - polygon[i - 1]))
        if depth[i] >= 0:
            kept.append(polygon[i])
    return np.array(kept).reshape(-1, 2)


def _centroid(polygon: Reals) -> Reals:
    """Centre of area of a convex polygon; the mean of its corners where it has no area."""
    first, *rest = polygon
    total, weight = np.zeros(2), 0.0
    for a, b in zip(rest, rest[1:], strict=False):
        area = float((a[0] - first[0]) * (b[1] - first[1]) - (a[1] - first[1]) * (b[0] - first[0]))
        total, weight = total + area * (first + a + b) / 3, weight + area
    return np.asarray(total / weight if weight else polygon.mean(axis=0), np.float64)
