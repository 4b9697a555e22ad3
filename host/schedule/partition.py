"""How the memory of a fabric with ``shared_words`` is divided: activations, weights, parameters, the rest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ...rtl.contract.errors import CapacityError
from ...rtl.contract.fabric import Fabric
from ...rtl.contract.isa import Instruction, Load, Post, Space, Weights
from .constants import Constants, Store


@dataclass(frozen=True)
class Partition:
    """One Program's division, from address 0 up: ``am_words`` words of activations, ``wm_words`` of weights,
    ``pm_words`` parameter records, and what the memory port reads and writes from byte ``ports`` on.

    A schedule is made as if these were memories of their own; ``placed`` then moves its addresses.
    """

    am_words: int
    wm_words: int
    pm_words: int
    first_record: int
    ports: int

    @property
    def first_weight(self) -> int:
        return self.am_words

    def placed(self, instruction: Instruction) -> Instruction:
        """An instruction with the addresses of weights and parameters in the shared memory."""
        match instruction:
            case Weights():
                return replace(instruction, base=instruction.base + self.first_weight)
            case Post():
                return replace(instruction, params=instruction.params + self.first_record)
            case Load(space=Space.WM):
                return replace(instruction, word=instruction.word + self.first_weight)
            case Load(space=Space.PM):
                return replace(instruction, word=instruction.word + self.first_record)
        return instruction


def with_own_memory(fabric: Fabric, am_words: int) -> Fabric:
    """The fabric as the scheduler sees it: activations in a memory of their own."""
    name = f"{fabric.name}, with {am_words} of its {fabric.shared_words} words for activations,"
    return fabric.but(name=name, shared_words=0, am_words=am_words)


def least_words(fabric: Fabric) -> int:
    """What weights and parameters take at least: two tiles, two sets of records, and a gap between them."""
    return 2 * fabric.rows + (2 * (fabric.cols + 1) + 1) * fabric.parameter_words


def divide(fabric: Fabric, am_words: int, port_bytes: int, constants: Constants,
           culprit: tuple[int, ...]) -> Partition:
    """Divide the memory, for images of ``am_words`` words and ``port_bytes`` bytes that the port moves.

    All weights and parameters stay if they fit. Else each memory gets a ring, and the rest goes where it
    spares the array most waiting.

    Raises
    ------
    CapacityError
        If not even the rings fit; ``culprit`` are the operators that it names.
    """
    weights, params = constants.weights, constants.params
    each, least = fabric.parameter_words, least_words(fabric)
    ports = (fabric.am_bytes - port_bytes) // 64 * 64 if port_bytes else fabric.am_bytes
    free = ports // fabric.rows - am_words
    if free < least:
        raise CapacityError(
            f"images of {am_words * fabric.rows} bytes, {port_bytes} bytes of inputs, outputs and what else "
            f"the memory port moves, and {least * fabric.rows} for weights and parameters on their way are "
            f"beyond the {fabric.am_bytes} bytes of the fabric {fabric.name}", ops=culprit)
    records = max(params.size, 2 * (fabric.cols + 1))
    words = max(weights.size, 2 * fabric.rows)
    if words + (records + 1) * each > free:
        words, records = _shares(fabric, free, weights, params)
    first_record = -(-(am_words + words) // each)
    return Partition(am_words, words, records, first_record, ports)


def _shares(fabric: Fabric, free: int, weights: Store, params: Store) -> tuple[int, int]:
    """Words and records: the rings, and the blocks whose loads the array would wait for longest."""
    each = fabric.parameter_words
    left = free - each
    records = max(2 * (fabric.cols + 1), min(params.ring_wanted, left // 8 // each))
    words = max(2 * fabric.rows, min(weights.ring_wanted, left // 4))
    left -= words + records * each
    if left < 0:
        return 2 * fabric.rows, 2 * (fabric.cols + 1)
    for _, is_weight, size in sorted(_blocks(fabric, weights, params)):
        taken = size if is_weight else size * each
        if taken <= left:
            left -= taken
            words, records = (words + size, records) if is_weight else (words, records + size)
    return words + left, records


def _blocks(fabric: Fabric, weights: Store, params: Store) -> Iterator[tuple[float, bool, int]]:
    """(cycles of work for each byte that would be loaded, whether it is weights, words or records)."""
    for store, is_weight in ((weights, True), (params, False)):
        for block in store.blocks:
            if not block.changing:
                size = len(block.data)
                work = block.uses * (size / fabric.rows if is_weight else 1)
                yield work / (size * store.stride * block.rounds), is_weight, size


def smaller(fabric: Fabric, words: int, *more: int) -> Sequence[int]:
    """Sizes of the images' part to try below one of so many words, the largest first."""
    few = fabric.shared_words // 32  # what it spares is not worth a try
    found = {*more, words * 3 // 4, words // 2, words * 3 // 8, words // 4}
    return sorted({size for size in found if few < size < words - few}, reverse=True)
