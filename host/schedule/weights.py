"""Weights and parameters of a layer, cut and packed the way the array takes them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...rtl.contract.fabric import PARAMETER_BYTES, Fabric
from ..lower.plan import Layer
from .layout import Walk, walk_of

Words = npt.NDArray[np.int8]


@dataclass(frozen=True)
class ColumnTile:
    """Up to C output channels of a layer: what WEIGHTS and POST need for them.

    Attributes
    ----------
    first, count : int
        Output channels first to first + count - 1.
    channel : int
        First input channel of the walk (0 in dense mode).
    walk : Walk
    tiles : int
        Weight tiles of R rows.
    words : int8[tiles * R, C]
    records : uint8[count + add, PARAMETER_BYTES]
    """

    first: int
    count: int
    channel: int
    walk: Walk
    tiles: int
    words: Words
    records: npt.NDArray[np.uint8]


def column_tiles(layer: Layer, pitch: int, fabric: Fabric) -> list[ColumnTile]:
    """Cut a layer into column tiles, for an input of the given row pitch."""
    found = []
    for first in range(0, layer.out_shape[2], fabric.cols):
        count = min(fabric.cols, layer.out_shape[2] - first)
        if layer.mode == "dense":
            channel, block = 0, layer.in_shape[2]
        else:
            channel = first // layer.multiplier
            block = (first + count - 1) // layer.multiplier - channel + 1
        walk = walk_of(layer, pitch, fabric.rows, block)
        words = np.zeros((walk.tiles(fabric.rows) * fabric.rows, fabric.cols), np.int8)
        words[:, :count] = _pack(_taps(layer, first, count, channel, block), walk, fabric.rows)
        packed = b"".join(record.pack() for record in layer.channels[first : first + count])
        if layer.add is not None:
            packed += layer.add.pack()
        found.append(
            ColumnTile(
                first,
                count,
                channel,
                walk,
                len(words) // fabric.rows,
                words,
                np.frombuffer(packed, np.uint8).reshape(-1, PARAMETER_BYTES),
            )
        )
    return found


def _taps(layer: Layer, first: int, count: int, channel: int, block: int) -> Words:
    """The weights in order of the walk: int8[taps, count]."""
    part = layer.weights[..., first : first + count]
    if layer.mode == "dense":
        return part.reshape(-1, count)
    columns = np.arange(first, first + count) // layer.multiplier - channel
    diagonal = columns[None, :] == np.arange(block)[:, None]
    taps: Words = (part.reshape(-1, 1, count) * diagonal).astype(np.int8).reshape(-1, count)
    return taps


def _pack(taps: Words, walk: Walk, rows: int) -> Words:
    """Taps with the gaps of a ragged walk, filled up with zeros to whole tiles."""
    if walk.ragged:
        padded = np.zeros((walk.count, -(-walk.run // rows) * rows, taps.shape[1]), np.int8)
        padded[:, : walk.run] = taps.reshape(walk.count, walk.run, -1)
        return padded.reshape(-1, taps.shape[1])
    whole = np.zeros((-(-len(taps) // rows) * rows, taps.shape[1]), np.int8)
    whole[: len(taps)] = taps
    return whole


def walk_start(walk: Walk, tile: int, rows: int) -> tuple[int, int, int]:
    """Where the walk stands before a tile: offset, bytes of the run and runs of the group behind it."""
    if walk.ragged:
        runs, part = divmod(tile, -(-walk.run // rows))
        done = part * rows
    else:
        runs, done = divmod(tile * rows, walk.run)
    y, x = divmod(runs, walk.runs_x)
    group = walk.runs_x * walk.run + (walk.runs_x - 1) * walk.jump_x + walk.jump_y
    return y * group + x * (walk.run + walk.jump_x) + done, done, x
