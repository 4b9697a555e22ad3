"""Weights and parameters of a layer, cut and packed the way the array takes them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...rtl.contract.fabric import PARAMETER_BYTES, Fabric
from ..lower.plan import Layer
from .fir import Fir, fir_of
from .layout import Walk, walk_of

Taps = npt.NDArray[np.int16] | npt.NDArray[np.int32]
"""Weights, or for each the place that it is taken from plus 1: 0 is a weight of 0 in both."""


@dataclass(frozen=True)
class ColumnTile:
    """Up to C output channels of a layer: what WEIGHTS and POST need for them.

    Attributes
    ----------
    first, count : int
        Output channels first to first + count - 1.
    channel, reads : int
        First input channel that the walk reads, and how many.
    walk : Walk
    fir : Fir or None
        FIR mode: each tile is a pass.
    tiles : int
        Weight tiles of R rows.
    words : int8[tiles * R, C]
        As stored: Layer.weight_zero is added.
    places : int32[tiles * R, count] or None
        For computed weights: 1 + the place in Computed.tensor of each, 0 for a weight of 0.
    records : uint8[count (+ 1), PARAMETER_BYTES]
    """

    first: int
    count: int
    channel: int
    reads: int
    walk: Walk
    fir: Fir | None
    tiles: int
    words: npt.NDArray[np.int8]
    places: npt.NDArray[np.int32] | None
    records: npt.NDArray[np.uint8]


def column_tiles(layer: Layer, pitch: int, fabric: Fabric) -> list[ColumnTile]:
    """Cut a layer into column tiles, for an input of the given row pitch."""
    found = []
    weights = layer.weights if layer.computed is None else layer.computed.index + np.int32(1)
    fir = fir_of(layer, fabric)
    # A FIR column needs a row's byte of its own; a column that no row serves would sum to 0, which may be the
    # greatest.
    most = min(fabric.rows, fabric.cols) if fir or layer.maximum else fabric.cols
    for first in range(0, layer.out_shape[2], most):
        count = min(most, layer.out_shape[2] - first)
        columns = slice(first, first + count)
        if layer.mode == "dense":
            channel, block = 0, layer.weights.shape[2]
        else:
            channel = first // layer.multiplier
            block = (first + count - 1) // layer.multiplier - channel + 1
        if fir:
            walk, taps = fir.walk(layer, pitch), _fir_rows(layer, weights[..., columns], fir, fabric.rows)
        else:
            # The weight unit of a fabric with one memory for everything knows one jump in a tile.
            walk = walk_of(layer, pitch, fabric.rows, block, short_runs=not fabric.shared_words)
            taps = _pack(_taps(layer, weights[..., columns], first, channel, block), walk, fabric.rows)
        words = np.zeros((len(taps), fabric.cols), np.int16)
        if layer.computed is None:
            words[:, :count] = taps
        packed = b"".join(record.pack() for record in layer.channels[columns])
        combined = layer.add or layer.multiply
        if combined is not None:
            packed += combined.pack()
        found.append(
            ColumnTile(
                first,
                count,
                layer.in_channel + channel,
                block,
                walk,
                fir,
                len(words) // fabric.rows,
                (words + layer.weight_zero).astype(np.int8),
                None if layer.computed is None else taps.astype(np.int32),
                np.frombuffer(packed, np.uint8).reshape(-1, PARAMETER_BYTES),
            )
        )
    return found


def _taps(layer: Layer, part: Taps, first: int, channel: int, block: int) -> Taps:
    """The weights ``part`` of outputs ``first`` on, in order of the walk: [taps, outputs]."""
    count = part.shape[-1]
    if layer.mode == "dense":
        return part.reshape(-1, count)
    columns = np.arange(first, first + count) // layer.multiplier - channel
    diagonal = columns[None, :] == np.arange(block)[:, None]
    taps: Taps = (part.reshape(-1, 1, count) * diagonal).astype(part.dtype).reshape(-1, count)
    return taps


def _fir_rows(layer: Layer, part: Taps, fir: Fir, rows: int) -> Taps:
    """The weights ``part`` of all passes, each filled up to R rows: [passes * R, outputs]."""
    (kh, kw), count = layer.kernel, part.shape[-1]
    whole = np.zeros((fir.down * fir.groups, fir.across * fir.taps, count), part.dtype)
    whole[:kh, :kw] = part
    passes = whole.reshape(fir.down, fir.groups, fir.across, fir.taps, count).transpose(0, 2, 1, 3, 4)
    packed = np.zeros((fir.passes, rows, count), part.dtype)
    packed[:, : fir.groups * fir.taps] = passes.reshape(fir.passes, -1, count)
    return packed.reshape(-1, count)


def _pack(taps: Taps, walk: Walk, rows: int) -> Taps:
    """Taps with the gaps of a ragged walk, filled up with zeros to whole tiles."""
    if walk.ragged:
        padded = np.zeros((walk.count, -(-walk.run // rows) * rows, taps.shape[1]), taps.dtype)
        padded[:, : walk.run] = taps.reshape(walk.count, walk.run, -1)
        return padded.reshape(-1, taps.shape[1])
    whole = np.zeros((-(-len(taps) // rows) * rows, taps.shape[1]), taps.dtype)
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
