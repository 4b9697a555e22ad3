"""What layers take from weight, parameter and table memory: what stays on chip, and the loads of the rest.

What the network computes itself stands in DRAM among the constants, as zeros until the host writes it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...rtl.contract.errors import CapacityError
from ...rtl.contract.fabric import TABLE_BYTES, Fabric
from ...rtl.contract.isa import ROW_BYTES_BITS, Load, Space
from ..emit.tokens import Access, Item, Memory
from ..lower.plan import Layer
from .residency import Residency, plan_residency
from .weights import ColumnTile

Bytes = npt.NDArray[np.uint8]
RING_BLOCKS = 3
"""Column tiles' weights that a ring holds: one in use, one loaded, one on its way."""
MEMORIES = {Space.WM: Memory.WM, Space.PM: Memory.PM, Space.TABLE: Memory.TABLE}


@dataclass(frozen=True)
class Block:
    """Words that one column tile (or layer) takes; equal ones are kept once, unless they change."""

    data: Bytes  # [words, bytes]
    offset: int  # what the load subtracts (weights)
    rounds: int  # times it would have to be brought in an inference
    uses: int  # cycles of work with each word, each time
    changing: bool  # new in each inference: it cannot stay on chip


class Store:
    """The blocks of one memory: their homes in DRAM, and their places on chip.

    Parameters
    ----------
    space : Space
    stride : bytes that a word takes in DRAM

    Attributes
    ----------
    ring_wanted : words of a ring that is large enough
    ring_blocks : so many blocks of those that pass through are enough too; 0: not known
    """

    def __init__(self, space: Space, stride: int):
        self.space, self.stride = space, stride
        self.ring_wanted = 0
        self.ring_blocks = 0
        self.blocks: list[Block] = []
        self._known: dict[tuple[bytes, int], int] = {}
        self.residency = Residency([], 0, 0, 0)
        self.address: list[int] = []

    def add(self, data: npt.NDArray[np.generic], *, offset: int = 0, rounds: int = 1, uses: int = 0,
            changing: bool = False) -> int:
        """The number of a block."""
        key = data.tobytes(), offset
        if changing or key not in self._known:
            if not changing:
                self._known[key] = len(self.blocks)
            self.blocks.append(Block(data.view(np.uint8), offset, rounds, uses, changing))
            return len(self.blocks) - 1
        number = self._known[key]
        old = self.blocks[number]
        self.blocks[number] = replace(old, rounds=old.rounds + rounds, uses=min(old.uses, uses))
        return number

    @property
    def size(self) -> int:
        """Words of all blocks."""
        return sum(len(block.data) for block in self.blocks)

    def homes(self, changing: bool | None = None) -> int:
        """Bytes that blocks take in DRAM: all, or only those that change or do not."""
        return self.stride * sum(len(block.data) for block in self.blocks
                                 if changing is None or block.changing == changing)

    def plan(self, capacity: int, *, ring_least: int) -> None:
        """Decide what stays in so many words; the ring is for the blocks that do not."""
        self.capacity = capacity
        self.address = [0] * len(self.blocks)
        self.residency = plan_residency(
            [len(block.data) for block in self.blocks], capacity, ring_least=ring_least,
            ring_wanted=self.ring_wanted, ring_blocks=self.ring_blocks,
            gain=[(block.rounds, -block.uses) for block in self.blocks],
            changing=frozenset(i for i, block in enumerate(self.blocks) if block.changing))

    def image(self, base: int, changing: bool | None = None) -> Bytes:
        """Blocks as they lie in DRAM from ``base`` on: resident ones first, in order of their places.

        All of them, or only those that change or do not.
        """
        place = self.residency.place
        chosen = [i for i, block in enumerate(self.blocks) if changing is None or block.changing == changing]
        order = sorted(chosen, key=lambda i: (place[i] is None, place[i] or 0))
        image = np.zeros((self.homes(changing) // self.stride, self.stride), np.uint8)
        row = 0
        for index in order:
            data = self.blocks[index].data
            image[row : row + len(data), : data.shape[1]] = data
            self.address[index] = base + row * self.stride
            row += len(data)
        return image.reshape(-1)

    def follows(self, block: int, following: int) -> bool:
        """Whether two blocks can be loaded as one: next to each other in DRAM, neither stays on chip."""
        end = self.address[block] + len(self.blocks[block].data) * self.stride
        return (self.address[following] == end and self.residency.place[following] is None
                and self.blocks[block].offset == self.blocks[following].offset)

    def setup(self) -> Iterator[Item]:
        """Loads of everything that stays: runs that are contiguous in DRAM and on chip."""
        place = self.residency.place
        resident = sorted((where, index) for index, where in enumerate(place) if where is not None)
        run: list[int] = []
        for _, index in resident:
            if run and self.blocks[run[-1]].offset != self.blocks[index].offset:
                yield from self._load_run(run)
                run = []
            run.append(index)
        if run:
            yield from self._load_run(run)

    def _load_run(self, run: Sequence[int]) -> Iterator[Item]:
        where = self.residency.place[run[0]]
        assert where is not None
        words = sum(len(self.blocks[index].data) for index in run)
        yield from self.load(run[0], 0, words, where, 0)

    def load(self, block: int, first: int, words: int, where: int, tag: int) -> Iterator[Item]:
        """Load so many words from word ``first`` of a block on to word ``where`` on chip."""
        most = ((1 << ROW_BYTES_BITS) - 1) // self.stride
        memory = MEMORIES[self.space]
        for start in range(0, words, most):
            count = min(most, words - start)
            dram = self.address[block] + (first + start) * self.stride
            yield Item(
                Load(layer=tag, space=self.space, dram=dram, row_bytes=count * self.stride,
                     word=where + start, offset=self.blocks[block].offset),
                (Access(memory, where + start, where + start + count, True),
                 Access(Memory.DRAM, dram, dram + count * self.stride, False)))


def biases_change(layer: Layer) -> bool:
    """Whether the sums of computed weights go into a layer's records."""
    return layer.computed is not None and layer.pad_value != 0


class Constants:
    """Weights, parameters and tables of all layers.

    Parameters
    ----------
    fabric : Fabric
    layers : (tag, layer, its column tiles, times its weights are gone through in an inference)

    Raises
    ------
    CapacityError
        If a walk is beyond the instruction's fields.
    """

    def __init__(self, fabric: Fabric, layers: Sequence[tuple[int, Layer, Sequence[ColumnTile], int]]):
        self.fabric = fabric
        self.weights = Store(Space.WM, fabric.wm_word_stride)
        self.params = Store(Space.PM, fabric.pm_word_stride)
        self.tables = Store(Space.TABLE, TABLE_BYTES)
        self.weight_block: dict[tuple[int, int], int] = {}  # (tag, column tile) -> block
        self.param_block: dict[tuple[int, int], int] = {}
        self.table_block: dict[int, int] = {}  # tag -> block
        for tag, layer, tiles, rounds in layers:
            pixels = layer.out_shape[0] * layer.out_shape[1] // rounds
            for number, tile in enumerate(tiles):
                walk = tile.walk
                if walk.run >= 1 << 16 or tile.tiles >= 1 << 14 or walk.runs_x >= 1 << 8:
                    raise CapacityError(
                        f"layer {layer.name} ({layer.source}): a kernel row of {walk.run} bytes in "
                        f"{tile.tiles} tiles is beyond the instruction's fields", ops=layer.ops)
                self.weight_block[tag, number] = self.weights.add(
                    tile.words, offset=layer.weight_zero, rounds=rounds, uses=pixels,
                    changing=layer.computed is not None)
                self.param_block[tag, number] = self.params.add(
                    tile.records, rounds=rounds, uses=pixels * tile.tiles, changing=biases_change(layer))
            if layer.table is not None:
                self.table_block[tag] = self.tables.add(layer.table.reshape(1, -1))
        most = max((len(block.data) for block in self.weights.blocks), default=0)
        self.weights.ring_blocks = RING_BLOCKS
        self.weights.ring_wanted = RING_BLOCKS * most
        self.params.ring_wanted = 48 * (fabric.cols + 1)
        self.params.ring_blocks = 16
        self.tables.ring_wanted = min(2, fabric.tables)

    def plan(self, wm_words: int, pm_words: int) -> None:
        """Decide what stays in weight and parameter memories of these sizes."""
        fabric = self.fabric
        self.weights.plan(wm_words, ring_least=2 * fabric.rows)
        self.params.plan(pm_words, ring_least=2 * (fabric.cols + 1))
        self.tables.plan(fabric.tables, ring_least=min(1, fabric.tables))

    @property
    def stores(self) -> tuple[Store, ...]:
        return self.weights, self.params, self.tables

    def setup(self) -> Iterator[Item]:
        """Loads of everything that stays."""
        for store in self.stores:
            yield from store.setup()
