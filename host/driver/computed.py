"""Weights that the network has computed, as the array takes them: what a device packs before a run."""
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..emit.program import ComputedWeights, Program

Bytes = npt.NDArray[np.uint8]


def packed(program: Program, weights: ComputedWeights,
           value: npt.NDArray[Any]) -> Iterator[tuple[int, Bytes]]:
    """What to write where in DRAM: the weights' words, and the records that their sums change.

    Parameters
    ----------
    value : the tensor's stored values
    """
    places = program.maps[weights.map]
    count, columns = places.shape
    stored = np.ascontiguousarray(value).view(np.uint8).reshape(-1)
    if weights.flipped:
        stored = stored ^ np.uint8(0x80)
    words = np.zeros((count, weights.stride), np.uint8)
    words[:, :columns] = np.where(places > 0, stored[places + (weights.first - 1)], weights.zero & 0xFF)
    yield weights.address, words.reshape(-1)
    if weights.input_zero:
        sums = words[:, :columns].view(np.int8).sum(axis=0, dtype=np.int64) - count * weights.zero
        records = program.constants(weights.records, columns * weights.record_stride)
        records = records.reshape(columns, weights.record_stride)
        bias = np.ascontiguousarray(records[:, :4]).view("<i4")[:, 0] - weights.input_zero * sums
        records[:, :4] = bias.astype("<i4")[:, None].view(np.uint8)
        yield weights.records, records.reshape(-1)
