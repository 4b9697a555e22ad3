"""What a perfect feeder presents to the array, cycle by cycle, for tests and studies of the array alone."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int8 = npt.NDArray[np.int8]
Bits = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A weight tile and the pixels that meet it.

    Parameters
    ----------
    weights : int8[R, C]
    acts : int8[pixels, R]
    first, last : bool
        The sums start from zero with this tile; they are finished after it.
    """

    weights: Int8
    acts: Int8
    first: bool = True
    last: bool = True

    @property
    def sums(self) -> npt.NDArray[np.int64]:
        """What the array makes of it, int64[pixels, C]."""
        return self.acts.astype(np.int64) @ self.weights.astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Feed:
    """The members of ArrayFeed in each cycle t; where nothing is valid the data is noise.

    ``act`` int8[t, R], ``weight`` int8[t, C], ``index`` int64[t], all others bool[t].
    """

    act: Int8
    swap: Bits
    valid: Bits
    first: Bits
    last: Bits
    index: npt.NDArray[np.int64]
    weight: Int8
    weight_valid: Bits
    weight_start: Bits

    def __len__(self) -> int:
        return len(self.swap)

    def again(self, distance: int) -> Bits:
        """bool[t]: a valid pixel whose index a valid pixel ``distance`` cycles before it had."""
        found = np.zeros(len(self), np.bool_)
        found[distance:] = (self.index[distance:] == self.index[:-distance]) & self.valid[:-distance]
        return found & self.valid


def schedule(tiles: Sequence[Tile], *, noise: np.random.Generator,
             pause: Callable[[], int] = lambda: 0) -> Feed:
    """Feed the tiles as early as the array allows, with ``pause()`` idle cycles before each word and pixel.

    The array's two rules: a tile's swap comes after its last word and not before the last tile's last
    pixel; a tile's first word comes not before the last tile's swap. Pixel p of a tile has index p.
    """
    rows, cols = tiles[0].weights.shape
    words: dict[int, tuple[Int8, bool]] = {}
    pixels: dict[int, tuple[Int8, bool, bool, int]] = {}
    swaps: list[int] = []
    next_word, last_pixel = 0, 0
    for tile in tiles:
        for row, word in enumerate(tile.weights):
            next_word += pause()
            words[next_word] = (word, row == 0)
            next_word += 1
        swap = max(next_word, last_pixel)
        swaps.append(swap)
        next_word, last_pixel = swap, swap
        for place, pixel_act in enumerate(tile.acts):
            last_pixel += 1 + pause()
            pixels[last_pixel] = (pixel_act, tile.first, tile.last, place)

    cycles = last_pixel + 1

    def bits(where: Sequence[int]) -> Bits:
        found = np.zeros(cycles, np.bool_)
        found[list(where)] = True
        return found

    act = noise.integers(-128, 128, (cycles, rows), np.int8)
    weight = noise.integers(-128, 128, (cycles, cols), np.int8)
    index = np.zeros(cycles, np.int64)
    for t, (word, _) in words.items():
        weight[t] = word
    for t, pixel in pixels.items():
        act[t], index[t] = pixel[0], pixel[3]
    return Feed(
        act=act, weight=weight, index=index, swap=bits(swaps),
        valid=bits(list(pixels)),
        first=bits([t for t, pixel in pixels.items() if pixel[1]]),
        last=bits([t for t, pixel in pixels.items() if pixel[2]]),
        weight_valid=bits(list(words)),
        weight_start=bits([t for t, (_, start) in words.items() if start]))
