"""How images lie in the activation memory: row pitch, halo, and what the layers that read them ask for."""

from collections.abc import Iterable
from dataclasses import dataclass

from ..lower.plan import Layer


@dataclass(frozen=True)
class Walk:
    """How a layer's taps follow each other in memory, for one row pitch (isa.Weights).

    ``count`` runs of ``run`` bytes in all; a tile that ends a run early is filled up if ``ragged``.
    """

    run: int
    runs_x: int
    jump_x: int
    jump_y: int
    ragged: bool
    count: int

    def tiles(self, rows: int) -> int:
        """Tiles of so many rows that the walk takes."""
        if self.ragged:
            return self.count * -(-self.run // rows)
        return -(-self.run * self.count // rows)


def walk_of(layer: Layer, pitch: int, rows: int, block: int, *, short_runs: bool = True) -> Walk:
    """The walk over a layer's taps; ``block`` is the number of input channels a tile of outputs reads.

    A dense kernel that reads all channels of the image has kernel rows that are one run; else each tap is a
    run of ``block`` bytes. With ``pitch = kw*Cin`` modulo R the R rows of a tile lie in R different banks
    also where it runs over several kernel rows (design 4.2); where that does not hold, tiles end at the end
    of a run. They do so, too, where a tile would hold several runs and ``short_runs`` are not wanted.
    """
    kh, kw = layer.kernel
    step_y, step_x = layer.dilation
    channels = layer.in_shape[2]
    if layer.mode == "window":
        return Walk(block, 1, 0, 0, True, 1)
    if layer.mode == "dense" and (kw == 1 or (step_x == 1 and block == channels)):
        run, runs_x, count = kw * block, 1, kh
        jump_x, jump_y = 0, step_y * pitch - run
    else:
        run, runs_x, count = block, kw, kh * kw
        jump_x = step_x * channels - block
        jump_y = step_y * pitch - (kw - 1) * step_x * channels - block
    short = run < rows and not short_runs
    if count == 1:
        return Walk(run, 1, 0, 0, short, 1)
    if kh == 1:
        jump_y = 0
    ragged = jump_x % rows != 0 or jump_y % rows != 0 or short
    return Walk(run, runs_x, jump_x, jump_y, ragged, count)


def reach(layer: Layer) -> tuple[int, int, int, int]:
    """Pixels outside the image that a layer really reads: top, bottom, left, right."""
    (height, width, _), (out_height, out_width, _) = layer.in_shape, layer.out_shape
    top, _, left, _ = layer.padding
    bottom = (out_height - 1) * layer.stride[0] + (layer.kernel[0] - 1) * layer.dilation[0] + 1 - top - height
    right = (out_width - 1) * layer.stride[1] + (layer.kernel[1] - 1) * layer.dilation[1] + 1 - left - width
    return max(0, top), max(0, bottom), max(0, left), max(0, right)


def least_pitch(layer: Layer) -> int:
    """The smallest pitch whose jumps are not negative."""
    span = ((layer.kernel[1] - 1) * layer.dilation[1] + 1) * layer.in_shape[2]
    return -(-span // layer.dilation[0]) if layer.kernel[0] > 1 and layer.mode != "window" else 0


@dataclass(frozen=True)
class Layout:
    """Byte (y, x, c) of an image lies at ``origin + y*pitch + x*channels + c``.

    Around the image is a halo of ``top``, ``bottom``, ``left`` and ``right`` pixels. A row's right halo is
    the next row's left halo, for all of it holds the same value.
    """

    height: int
    width: int
    channels: int
    pitch: int
    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    @property
    def size(self) -> int:
        """Bytes of image and halo."""
        return (
            self.start
            + (self.height + self.bottom - 1) * self.pitch
            + (self.width + self.right) * self.channels
        )

    @property
    def start(self) -> int:
        """Bytes before pixel (0, 0)."""
        return self.top * self.pitch + self.left * self.channels

    @property
    def dense(self) -> bool:
        """Whether the image's bytes are contiguous."""
        return self.height == 1 or self.pitch == self.width * self.channels

    @property
    def regular(self) -> bool:
        """Whether the same channel of all pixels lies at the same place modulo channels."""
        return self.height == 1 or self.pitch % self.channels == 0

    def strip(self, height: int) -> "Layout":
        """The same for an image of another height."""
        return Layout(
            height, self.width, self.channels, self.pitch, self.top, self.bottom, self.left, self.right
        )


def layout_for(shape: tuple[int, int, int], readers: Iterable[Layer], rows: int) -> Layout:
    """The layout that suits the layers reading an image best.

    The halo is the largest any of them reaches for; the pitch, among the R smallest possible ones, lets most
    multiply-accumulates run with densely packed tiles.
    """
    height, width, channels = shape
    readers = list(readers)
    halos = [reach(layer) for layer in readers] or [(0, 0, 0, 0)]
    top, bottom, left, right = (max(side) for side in zip(*halos, strict=True))
    least = max([(width + max(left, right)) * channels, *(least_pitch(layer) for layer in readers)])

    def packed(pitch: int) -> int:
        return sum(
            layer.macs
            for layer in readers
            if layer.mode == "dense" and not walk_of(layer, pitch, rows, layer.weights.shape[2]).ragged
        )

    pitch = max(range(least, least + rows), key=lambda p: (packed(p), -p))
    return Layout(height, width, channels, pitch, top, bottom, left, right)
