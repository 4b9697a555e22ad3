"""What a perfect feeder presents to the array, cycle by cycle, for tests and studies of the array alone."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Int8 = npt.NDArray[np.int8]
Int16 = npt.NDArray[np.int16]
Int64 = npt.NDArray[np.int64]
Bits = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Fir:
    """How a tile is used in FIR mode: taps, groups and ring of isa.Stream and FirMode."""

    taps: int
    groups: int = 1
    ring: int = 0

    @property
    def warm(self) -> int:
        """Pixels before the first with tags."""
        return (self.groups - 1) * self.ring

    @property
    def tail(self) -> int:
        """Pixels behind the last with tags."""
        return self.groups * self.taps - 1


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A weight tile and the pixels that meet it.

    Parameters
    ----------
    weights : int[R, C]
    acts : int8[pixels, R]
        In FIR mode the stream: column c's pixels are acts[:, c].
    first, last, maximum : bool
        The sums start from zero with this tile; they are finished after it; they are compared, not added.
    fir : Fir or None
        None is matrix mode.
    """

    weights: npt.NDArray[Any]
    acts: Int8
    first: bool = True
    last: bool = True
    maximum: bool = False
    fir: Fir | None = None

    @property
    def sums(self) -> Int64:
        """What the array makes of it, int64[sums, C]; in FIR mode each pixel that can have tags has them."""
        weights, acts = self.weights.astype(np.int64), self.acts.astype(np.int64)
        if self.fir is None:
            return acts @ weights
        fir, columns = self.fir, min(weights.shape)
        outputs = len(acts) - fir.warm - fir.tail
        sums = np.zeros((outputs, weights.shape[1]), np.int64)
        for row in range(fir.groups * fir.taps):
            group, tap = divmod(row, fir.taps)
            start = group * (fir.ring + fir.taps) + tap
            sums[:, :columns] += acts[start:start + outputs, :columns] * weights[row, :columns]
        return sums


@dataclass(frozen=True, kw_only=True)
class Feed:
    """The members of ArrayFeed in each cycle t; where nothing is valid the data is noise.

    ``act`` int8[t, R], ``weight`` int16[t, C], ``index`` int64[t], ``mode`` int64[t, 4] in the order of
    FirMode, all others bool[t].
    """

    act: Int8
    swap: Bits
    mode: Int64
    valid: Bits
    first: Bits
    last: Bits
    maximum: Bits
    index: Int64
    weight: Int16
    weight_valid: Bits
    weight_start: Bits

    def __len__(self) -> int:
        return len(self.swap)

    def again(self, distance: int) -> Bits:
        """bool[t]: a valid pixel whose index a valid pixel ``distance`` cycles before it had."""
        found = np.zeros(len(self), np.bool_)
        found[distance:] = (self.index[distance:] == self.index[:-distance]) & self.valid[:-distance]
        return found & self.valid

    @cached_property
    def tags(self) -> dict[str, npt.NDArray[Any]]:
        """The members of pixel_tags."""
        return {"valid": self.valid, "first": self.first, "last": self.last, "maximum": self.maximum,
                "index": self.index, "again_1": self.again(1), "again_2": self.again(2)}

    def present(self, t: int) -> dict[str, Any]:
        """The value of each member of ArrayFeed in cycle t; behind the end nothing is valid."""
        inside, t = t < len(self), min(t, len(self) - 1)
        mode = dict(zip(("fir", "taps", "groups", "ring"), self.mode[t].tolist(), strict=True))
        return {
            "act": self.act[t].tolist(), "weight": self.weight[t].tolist(), "mode": mode,
            "tags": {name: int(inside and values[t]) for name, values in self.tags.items()},
            "swap": int(inside and self.swap[t]),
            "weight_valid": int(inside and self.weight_valid[t]),
            "weight_start": int(inside and self.weight_start[t]),
        }


def schedule(tiles: Sequence[Tile], *, noise: np.random.Generator,
             pause: Callable[[], int] = lambda: 0) -> Feed:
    """Feed the tiles as early as the array allows, with ``pause()`` idle cycles before each word and pixel.

    The array's rules: a tile's swap comes after its last word and not before the last tile's last pixel; a
    tile's first word comes not before the last tile's swap; FIR mode has no pause between pixels, and tags
    with those that complete a sum. Sum p of a tile has index p.
    """
    rows, cols = tiles[0].weights.shape
    words: dict[int, tuple[npt.NDArray[Any], bool]] = {}
    pixels: dict[int, Int8] = {}
    sums: dict[int, tuple[Tile, int]] = {}
    swaps: dict[int, Fir | None] = {}
    next_word, last_pixel = 0, 0
    for tile in tiles:
        for row, word in enumerate(tile.weights):
            next_word += pause()
            words[next_word] = (word, row == 0)
            next_word += 1
        swap = max(next_word, last_pixel)
        swaps[swap] = tile.fir
        next_word, last_pixel = swap, swap
        warm, tail = (tile.fir.warm, tile.fir.tail) if tile.fir else (0, 0)
        for place, pixel_act in enumerate(tile.acts):
            last_pixel += 1 if tile.fir else 1 + pause()
            pixels[last_pixel] = pixel_act
            if warm <= place < len(tile.acts) - tail:
                sums[last_pixel] = (tile, place - warm)

    cycles = last_pixel + 1

    def bits(where: Sequence[int]) -> Bits:
        found = np.zeros(cycles, np.bool_)
        found[list(where)] = True
        return found

    act = noise.integers(-128, 128, (cycles, rows), np.int8)
    weight = noise.integers(-128, 128, (cycles, cols), np.int16)
    mode = noise.integers(0, 2, (cycles, 4))
    index = np.zeros(cycles, np.int64)
    for t, (word, _) in words.items():
        weight[t] = word
    for t, pixel in pixels.items():
        act[t] = pixel
    for t, (_, place) in sums.items():
        index[t] = place
    for t, fir in swaps.items():
        mode[t] = (1, fir.taps, fir.groups, fir.ring) if fir else (0, *noise.integers(0, 4, 3))
    return Feed(
        act=act, weight=weight, index=index, mode=mode, swap=bits(list(swaps)),
        valid=bits(list(sums)),
        first=bits([t for t, (tile, _) in sums.items() if tile.first]),
        last=bits([t for t, (tile, _) in sums.items() if tile.last]),
        maximum=bits([t for t, (tile, _) in sums.items() if tile.maximum]),
        weight_valid=bits(list(words)),
        weight_start=bits([t for t, (_, start) in words.items() if start]))
