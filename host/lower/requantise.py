"""Finds each channel's requantisation record, and proves it equal to the framework's formula.

Why a proof is possible. The framework's formula f, from biased sum to stored value, is non-decreasing and has
at most 256 levels, so it is fully described by its thresholds: T_v, the least sum with f >= v. The hardware
computes ``((P(x) + r) >> shift) + zero`` with ``P(x) = (x * mult) >> PRODUCT_DROP``, non-decreasing as
well on either side of zero, where r is constant. It reaches v exactly if ::

    P(x) + r >= K_v        with K_v = (v - zero) << shift

so it equals f on one side of zero if and only if, for each v, the first sum there that must reach v does
and the last that must not does not::

    K_v - P(T_v)  <=  r  <  K_v - P(T_v - 1)

(with one half only where T_v lies beyond an end of that side). For given mult and shift each rounding
constant thus lies in the intersection of 255 intervals. Eliminating r from pairs of these instead gives the
exact interval of multipliers that can work at all.

Sums are arrays of shape [points, channels] throughout.
"""
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from ...rtl.contract.numerics import MULT_BITS, PRODUCT_DROP, SHIFT_BITS, Channel

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Function = Callable[[Ints], Ints]
"""Stored values of biased sums int64[points, channels]; non-decreasing in each sum."""

MULT_MAX = 2**MULT_BITS - 1
SHIFT_MAX = 2**SHIFT_BITS - 1
ROUND_MIN, ROUND_MAX = -(2**31), 2**31 - 1

MULTIPLIERS_TRIED = 33
"""Multipliers tried, spread over those that the thresholds allow, when the framework's own does not do."""


@dataclass(frozen=True)
class Solution:
    """A channel record that equals the framework's formula on every sum from ``least`` to ``most``."""

    channel: Channel
    thresholds: int  # steps of the formula within the range, each checked on both sides
    least: int
    most: int
    proved: bool = True


def reach(weights: npt.NDArray[np.signedinteger], bias: Ints, low: int, high: int) -> tuple[Ints, Ints]:
    """Least and greatest biased sum of each channel: weights [taps, channels], inputs within [low, high].

    Only this final sum has to fit the accumulator: a sum that wraps on its way wraps back.
    """
    positive = np.maximum(weights, 0).sum(axis=0, dtype=np.int64)
    negative = np.minimum(weights, 0).sum(axis=0, dtype=np.int64)
    return bias + positive * low + negative * high, bias + positive * high + negative * low


def find_thresholds(function: Function, least: Ints, most: Ints, *, levels: Ints, guess: Ints) -> Ints:
    """T[i, c] = least sum of channel c in [least, most] at which it reaches ``levels[i]``; most + 1 if none.

    A bisection, from a bracket around ``guess`` where the guess is good and from the whole range elsewhere.
    """
    shape = (len(levels), len(least))
    below = np.broadcast_to(least - 1, shape).copy()
    above = np.broadcast_to(most + 1, shape).copy()

    def probe(at: Ints) -> None:
        nonlocal below, above
        at = np.clip(at, least, most)
        reached = function(at) >= levels[:, None]
        above = np.where(reached, np.minimum(above, at), above)
        below = np.where(reached, below, np.maximum(below, at))

    probe(guess - 2)
    probe(guess + 1)
    while (above - below > 1).any():
        probe((above + below) >> 1)
    return above


@dataclass(frozen=True)
class _Side:
    """One sign class of all channels, and the points of it that the thresholds bind."""

    must: Ints  # [levels, channels] least sum of the side that must reach the level
    must_bound: Flags  # there is one
    not_yet: Ints  # greatest sum of the side that must not
    not_yet_bound: Flags

    @classmethod
    def of(cls, thresholds: Ints, first: Ints, last: Ints) -> "_Side":
        at = np.clip(thresholds, first, np.maximum(last + 1, first))
        inhabited = first <= last
        return cls(at, inhabited & (at <= last), at - 1, inhabited & (at - 1 >= first))

    def take(self, channels: Ints) -> "_Side":
        return _Side(self.must[:, channels], self.must_bound[:, channels], self.not_yet[:, channels],
                     self.not_yet_bound[:, channels])

    def roundings(self, goals: Ints, mult: Ints) -> tuple[Ints, Ints]:
        """The interval of rounding constants of each channel, empty where least > most."""
        reach_it = goals - ((self.must * mult) >> PRODUCT_DROP)
        stay_below = goals - 1 - ((self.not_yet * mult) >> PRODUCT_DROP)
        return (np.max(reach_it, axis=0, initial=ROUND_MIN, where=self.must_bound),
                np.min(stay_below, axis=0, initial=ROUND_MAX, where=self.not_yet_bound))

    def multipliers(self, goals: Ints, channel: int) -> tuple[int, int]:
        """The interval of multipliers of one channel that leave room for r; empty if least > most.

        Level i must be reached at ``must[i]`` and level j not at ``not_yet[j]``:
        ``goal_i - m*must_i <= r < goal_j - m*not_yet_j`` (times 2**PRODUCT_DROP), so
        ``m * (must_i - not_yet_j) > goal_i - goal_j``.
        """
        up, down = self.must_bound[:, channel], self.not_yet_bound[:, channel]
        run = self.must[up, channel][:, None] - self.not_yet[down, channel]
        rise = (goals[up, channel][:, None] - goals[down, channel]) << PRODUCT_DROP
        ahead, behind = run > 0, run < 0
        if (~ahead & ~behind & (rise >= 0)).any():
            return 1, 0
        least = np.max(rise[ahead] // run[ahead] + 1, initial=0)
        most = np.min((-rise[behind] - 1) // -run[behind], initial=MULT_MAX)
        return int(least), int(most)


def nominal_scale(scale: npt.NDArray[np.float64]) -> tuple[Ints, Ints]:
    """(mult, shift) nearest to each scale, with the greatest shift and so the finest multiplier."""
    exponent = np.frexp(scale)[1].astype(np.int64)  # scale < 2**exponent
    shift = np.clip(MULT_BITS - exponent - PRODUCT_DROP, 0, SHIFT_MAX)
    mult = np.rint(np.ldexp(scale, shift + PRODUCT_DROP)).astype(np.int64)
    return np.minimum(mult, MULT_MAX), shift


@dataclass(frozen=True)
class _Records:
    """Channel records as arrays, for the contract's own arithmetic on all channels at once."""

    mult: Ints
    round_pos: Ints
    round_neg: Ints
    shift: Ints


def prove(mult: Ints, rounds: Ints, shift: Ints, expected: Ints, sums: Ints, *, zero: int, low: int,
          high: int) -> Flags:
    """Which channels' records (rounds are [2, channels]) give ``expected`` at each of their ``sums``.

    The sums are both ends of every run on which neither sign nor expected value changes. Hardware and formula
    being non-decreasing, they are then equal in between too.
    """
    records = cast(Channel, _Records(mult, rounds[0], rounds[1], shift))
    made = Channel.apply_biased(records, sums, zero=zero, low=low, high=high)
    equal: Flags = (made == expected).all(axis=0)
    return equal


def solve(function: Function, *, bias: Ints, least: Ints, most: Ints, scale: npt.NDArray[np.float64],
          zero: int, low: int, high: int) -> list[Solution | None]:
    """Records of a layer's channels that provably equal ``function``, None for a channel without one.

    Tries the multiplier nearest to ``scale``, then MULTIPLIERS_TRIED from the interval of those that the
    thresholds allow.

    Parameters
    ----------
    function : Function
        The framework's formula, from biased sums [points, channels] to stored values in [low, high].
    bias : int64[channels]
        For the record; must fit 32 bits.
    least, most : int64[channels]
        The biased sums that can occur (see ``reach``), within 32 bits.
    scale : float64[channels]
        Slope of the formula: exact, or a good guess.
    zero, low, high : int
        Output zero point and limits, as the POST instruction will have them.
    """
    levels = np.arange(low + 1, high + 1, dtype=np.int64)
    safe = np.maximum(scale, 2.0**-60)
    guess = np.ceil(np.clip((levels[:, None] - zero - 0.5) / safe, -(2.0**40), 2.0**40)).astype(np.int64)
    thresholds = find_thresholds(function, least, most, levels=levels, guess=guess)
    sides = (_Side.of(thresholds, np.maximum(least, 0), most),
             _Side.of(thresholds, least, np.minimum(most, -1)))

    mult, shift = nominal_scale(scale)
    goals = (levels[:, None] - zero) << shift
    found, rounds = _roundings(sides, goals, mult, shift)
    for c in np.flatnonzero(~found).tolist():
        candidates = _candidates([side.multipliers(goals, c) for side in sides])
        copies = np.full(len(candidates), c)  # the same channel once for each candidate
        good, choice = _roundings([side.take(copies) for side in sides], goals[:, copies], candidates,
                                  shift[copies])
        if good.any():
            best = int(good.argmax())
            found[c], mult[c], rounds[:, c] = True, candidates[best], choice[:, best]

    value = function(np.stack([least, most]))
    flat = ~found & (value[0] == value[1])  # one level needs no multiplier
    mult[flat], shift[flat], rounds[:, flat] = 0, 0, value[0, flat] - zero
    found |= flat

    zeros = np.zeros_like(least)
    ends = np.clip(np.concatenate([thresholds, thresholds - 1, [least, most, zeros - 1, zeros]]), least, most)
    expected = function(ends)
    steps = ((thresholds > least) & (thresholds <= most)).sum(axis=0)
    found &= prove(mult, rounds, shift, expected, ends, zero=zero, low=low, high=high)
    columns = zip(*(values.tolist() for values in (found, bias, mult, *rounds, shift, steps, least, most)),
                  strict=True)
    return [Solution(Channel(bias=b, mult=m, round_pos=pos, round_neg=neg, shift=s), count, first, last)
            if ok else None for ok, b, m, pos, neg, s, count, first, last in columns]


def _roundings(sides: Sequence[_Side], goals: Ints, mult: Ints, shift: Ints) -> tuple[Flags, Ints]:
    """Which channels have rounding constants for their multiplier, and which: int64[2, channels]."""
    bounds = [side.roundings(goals, mult) for side in sides]
    half = (np.int64(1) << shift) >> 1
    return (np.all([first <= last for first, last in bounds], axis=0),
            np.array([np.clip(half, first, last) for first, last in bounds]))


def _candidates(intervals: Sequence[tuple[int, int]]) -> Ints:
    """Multipliers spread over the intersection of the intervals, its middle first; none if it is empty."""
    least, most = max(a for a, _ in intervals), min(b for _, b in intervals)
    count = min(MULTIPLIERS_TRIED, max(0, most - least + 1))
    spread = {least + (most - least) * i // max(count - 1, 1) for i in range(count)}
    return np.array(sorted(spread, key=lambda m: abs(2 * m - least - most)), np.int64)
