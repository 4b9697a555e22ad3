"""Finds each channel's requantisation record, and proves it equal to the framework's formula.

Why a proof is possible. The framework's formula f, from biased sum to stored value, is non-decreasing and has
at most 256 levels, so it is fully described by its thresholds: T_v, the least sum with f >= v. The hardware
computes ``((P(x) + r) >> shift) + zero`` with ``P(x) = (x * mult) >> PRODUCT_DROP``, non-decreasing as
well on either side of zero, where r is constant. With ``R = r << PRODUCT_DROP``, so that nothing need be
dropped, it reaches v exactly if ::

    x * mult + R >= K_v        with K_v = (v - zero) << (shift + PRODUCT_DROP)

so it equals f on one side of zero if and only if, for each v, the first sum there that must reach v does
and the last that must not does not::

    K_v - T_v * mult  <=  R  <  K_v - (T_v - 1) * mult

(with one half only where T_v lies beyond an end of that side). For given mult and shift each rounding
constant thus lies in the intersection of 255 intervals. Eliminating r from pairs of these instead gives the
exact interval of multipliers that can work at all.

A record with ``even`` makes n - 1 of an odd n whose fraction is near 0, and n + 1 where it is near 1.
So as the sum grows, the result goes from an even number to the odd one above a little later, and from an odd
one to the even one above a little earlier: by w, the reach of the tie between them, far below one half. That
is non-decreasing still, and all of the above holds with K_v + w for odd and K_v - w for even v - zero. With
the exact scale and r = 1/2 it is the rounding of a float32 product itself, save two things. Sums beyond 2**24
are rounded in float32, too. And a product at exactly w from its tie must become the tie on both sides, but in
the record does so on one: a constant or a multiplier a little beside the exact one mends that.

Sums are arrays of shape [points, channels] throughout.
"""
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import numpy as np
import numpy.typing as npt

from ...rtl.contract.numerics import MULT_BITS, PRODUCT_DROP, SHIFT_BITS, TIE_BITS, Channel
from .multiplier import LARGE, Multiplier

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Function = Callable[[Ints], Ints]
"""Stored values of biased sums int64[points, channels]; non-decreasing in each sum."""

MULT_MAX = 2**MULT_BITS - 1
SHIFT_MAX = 2**SHIFT_BITS - 1
ROUND_MIN, ROUND_MAX = -(2**31), 2**31 - 1

MIDDLES = (1 / 2, 3 / 8, 5 / 8, 1 / 4, 3 / 4)
"""Shares of a channel's steps that a small multiplier has on the negative side, tried in turn. The sides have
rounding constants of their own, so a bias that puts both to work doubles what a multiplier may be off."""
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
        reach_it = -((self.must * mult - goals) >> PRODUCT_DROP)
        stay_below = (goals - 1 - self.not_yet * mult) >> PRODUCT_DROP
        return (np.max(reach_it, axis=0, initial=ROUND_MIN, where=self.must_bound),
                np.min(stay_below, axis=0, initial=ROUND_MAX, where=self.not_yet_bound))

    def multipliers(self, goals: Ints, channel: int) -> tuple[int, int]:
        """The interval of multipliers of one channel that leave room for r; empty if least > most.

        Level i must be reached at ``must[i]`` and level j not at ``not_yet[j]``:
        ``goal_i - m*must_i <= R < goal_j - m*not_yet_j``, so ``m * (must_i - not_yet_j) > goal_i - goal_j``.
        """
        up, down = self.must_bound[:, channel], self.not_yet_bound[:, channel]
        run = self.must[up, channel][:, None] - self.not_yet[down, channel]
        rise = goals[up, channel][:, None] - goals[down, channel]
        ahead, behind = run > 0, run < 0
        if (~ahead & ~behind & (rise >= 0)).any():
            return 1, 0
        least = np.max(rise[ahead] // run[ahead] + 1, initial=0)
        most = np.min((-rise[behind] - 1) // -run[behind], initial=MULT_MAX)
        return int(least), int(most)


def nominal_scale(scale: npt.NDArray[np.float64], even: bool = False,
                  multiplier: Multiplier = LARGE) -> tuple[Ints, Ints]:
    """(mult, shift) nearest to each scale, with the greatest shift and so the finest multiplier.

    With ``even`` the greatest that such a record can have. Then the multiplier has 24 bits at least, those
    of a float32, for scales from 2**-22 to 2**9.
    """
    exponent = np.frexp(scale)[1].astype(np.int64)  # scale < 2**exponent
    shift = np.clip(multiplier.bits - exponent - PRODUCT_DROP, 7 if even else 0, SHIFT_MAX)
    if even:
        shift -= (shift - 7) % 8
    mult = multiplier.nearest(np.ldexp(scale, shift + PRODUCT_DROP))
    return np.minimum(mult, (1 << multiplier.bits) - 1), shift


@dataclass(frozen=True)
class _Records:
    """Channel records as arrays, for the contract's own arithmetic on all channels at once."""

    mult: Ints
    round_pos: Ints
    round_neg: Ints
    shift: Ints
    even: Ints


def prove(mult: Ints, rounds: Ints, shift: Ints, even: Ints, expected: Ints, sums: Ints, *, zero: int,
          low: int, high: int) -> Flags:
    """Which channels' records (rounds are [2, channels]) give ``expected`` at each of their ``sums``.

    The sums are both ends of every run on which neither sign nor expected value changes. Hardware and formula
    being non-decreasing, they are then equal in between too.
    """
    records = cast(Channel, _Records(mult, rounds[0], rounds[1], shift, even))
    made = Channel.apply_biased(records, sums, zero=zero, low=low, high=high)
    equal: Flags = (made == expected).all(axis=0)
    return equal


def solve(function: Function, *, bias: Ints, least: Ints, most: Ints, scale: npt.NDArray[np.float64],
          zero: int, low: int, high: int, ties_to_even: bool = False,
          multiplier: Multiplier = LARGE) -> list[Solution | None]:
    """Records of a layer's channels that provably equal ``function``, None for a channel without one.

    Tries the multiplier nearest to ``scale``, without and then with ``even``. Channels that still have no
    record cost more time: MULTIPLIERS_TRIED from the interval of those that the thresholds allow.

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
    ties_to_even : bool
        Whether the fabric knows ``even``.
    multiplier : Multiplier
        The fabric's.
    """
    levels = np.arange(low + 1, high + 1, dtype=np.int64)
    safe = np.maximum(scale, 2.0**-60)
    guess = np.ceil(np.clip((levels[:, None] - zero - 0.5) / safe, -(2.0**40), 2.0**40)).astype(np.int64)
    thresholds = find_thresholds(function, least, most, levels=levels, guess=guess)

    found, rounds = np.zeros(len(scale), np.bool_), np.zeros((2, len(scale)), np.int64)
    mult, shift, even, moved = (np.zeros(len(scale), np.int64) for _ in range(4))
    for share in (None, *(MIDDLES if multiplier.odd else ())):
        if share is not None and not found.all():
            moved[~found] = _middle(thresholds, least, most, share, multiplier.sum_bits)[~found]
        sides = (_Side.of(thresholds - moved, np.maximum(least - moved, 0), most - moved),
                 _Side.of(thresholds - moved, least - moved, np.minimum(most - moved, -1)))
        for find in (_nominal, partial(_search, multiplier=multiplier)):
            for kind in range(1 + ties_to_even):
                left = np.flatnonzero(~found)
                mult[left], shift[left] = nominal_scale(scale[left], bool(kind), multiplier)
                goals = _goals(levels - zero, shift[left], even=bool(kind))
                found[left], mult[left], rounds[:, left] = find(
                    [side.take(left) for side in sides], goals, mult[left], shift[left])
                even[left] = kind

    value = function(np.stack([least, most]))
    if multiplier.odd:  # none can be left out, but a sum of 24 bits does not show behind this shift
        few, middle = _two_valued(value, thresholds, least, most, multiplier.sum_bits)
        few &= ~found
        moved[few], mult[few], shift[few] = middle[few], 1, 15
        rounds[:, few] = ((value[::-1, few] - zero) * 2 + 1) << 14
    else:
        few = ~found & (value[0] == value[1])  # one level needs no multiplier
        mult[few], shift[few], rounds[:, few] = 0, 0, value[0, few] - zero
    even[few] = 0
    found |= few

    ends = np.concatenate([thresholds, thresholds - 1, [least, most, moved - 1, moved]])
    ends = np.clip(ends, least, most)
    expected = function(ends)
    steps = ((thresholds > least) & (thresholds <= most)).sum(axis=0)
    found &= prove(mult, rounds, shift, even, expected, ends - moved, zero=zero, low=low, high=high)
    columns = zip(*(values.tolist() for values in (
        found, bias - moved, mult, *rounds, shift, even, steps, least - moved, most - moved)), strict=True)
    return [Solution(Channel(bias=b, mult=m, round_pos=pos, round_neg=neg, shift=s, even=e), count, *ends)
            if ok else None for ok, b, m, pos, neg, s, e, count, *ends in columns]


def _middle(thresholds: Ints, least: Ints, most: Ints, share: float, bits: int) -> Ints:
    """The sum of each channel that such a share of its steps lies below, but all sums, relative to it, have
    so many bits."""
    reached = np.sort(np.clip(thresholds, least, most + 1), axis=0)
    first, last = (reached <= least).sum(axis=0), (reached <= most).sum(axis=0)
    index = np.clip(first + np.floor((last - first) * share).astype(np.int64), 0, len(reached) - 1)
    limit = 1 << bits - 1
    middle: Ints = np.take_along_axis(reached, index[None], axis=0)[0]
    return np.clip(middle, most - limit + 1, least + limit)


def _two_valued(value: Ints, thresholds: Ints, least: Ints, most: Ints, bits: int) -> tuple[Flags, Ints]:
    """Channels of one level, or of two, told apart by their sign relative to the sum that is returned."""
    step = np.max(np.where(thresholds <= most, thresholds, least), axis=0, initial=np.iinfo(np.int64).min)
    middle: Ints = np.where(value[0] == value[1], 0, step)
    limit = 1 << bits - 1
    few: Flags = (value[1] - value[0] <= 1) & (middle - least <= limit) & (most - middle < limit)
    return few, middle


def _goals(steps: Ints, shift: Ints, even: bool = False) -> Ints:
    """K[i, c]: what product and rounding constant must come to for the shifted value ``steps[i]``."""
    point = shift + PRODUCT_DROP
    goals = steps[:, None] << point
    if not even:
        return goals
    tie = np.where(steps > 0, steps - 1, -steps)  # the size, without its half, of the one at steps - 1/2
    reach = np.frexp(np.minimum(tie, 255))[1].astype(np.int64)[:, None] - TIE_BITS + point  # log2 of w
    unit = np.int64(1) << np.maximum(reach, 0)
    return np.where((steps & 1 == 1)[:, None], goals + unit, goals - np.where(reach < 0, 0, unit))


def _nominal(sides: Sequence[_Side], goals: Ints, mult: Ints, shift: Ints) -> tuple[Flags, Ints, Ints]:
    """Which channels have rounding constants for their multiplier; it; and the constants [2, channels]."""
    bounds = [side.roundings(goals, mult) for side in sides]
    half = (np.int64(1) << shift) >> 1
    return (np.all([first <= last for first, last in bounds], axis=0), mult,
            np.array([np.clip(half, first, last) for first, last in bounds]))


def _search(sides: Sequence[_Side], goals: Ints, mult: Ints, shift: Ints, *,
            multiplier: Multiplier) -> tuple[Flags, Ints, Ints]:
    """The same with another multiplier in place of the nominal one."""
    found, mult, rounds = np.zeros(len(mult), np.bool_), mult.copy(), np.zeros((2, len(mult)), np.int64)
    for c in range(len(mult)):
        candidates = _candidates([side.multipliers(goals, c) for side in sides], multiplier)
        copies = np.full(len(candidates), c)  # the same channel once for each candidate
        good, _, choice = _nominal([side.take(copies) for side in sides], goals[:, copies], candidates,
                                   shift[copies])
        if good.any():
            best = int(good.argmax())
            found[c], mult[c], rounds[:, c] = True, candidates[best], choice[:, best]
    return found, mult, rounds


def _candidates(intervals: Sequence[tuple[int, int]], multiplier: Multiplier) -> Ints:
    """Multipliers spread over the intersection of the intervals, its middle first; none if it is empty."""
    least, most = max(a for a, _ in intervals), min(b for _, b in intervals)
    most = min(most, (1 << multiplier.bits) - 1)
    if multiplier.odd:
        halves = _candidates([(least >> 1, (most - 1) >> 1)], replace(multiplier, odd=False))
        return 2 * halves + 1
    count = min(MULTIPLIERS_TRIED, max(0, most - least + 1))
    spread = {least + (most - least) * i // max(count - 1, 1) for i in range(count)}
    return np.array(sorted(spread, key=lambda m: abs(2 * m - least - most)), np.int64)
