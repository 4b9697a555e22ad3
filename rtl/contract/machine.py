"""The state that instructions act on: memories, accumulators, queues and tokens, as NumPy arrays."""

from collections import deque

import numpy as np
import numpy.typing as npt

from .errors import ProgramError
from .fabric import PARAMETER_BYTES, TABLE_BYTES, Fabric
from .isa import TOKEN_MAX, Instruction, Unit

Bytes = npt.NDArray[np.uint8]
Tile = tuple[npt.NDArray[np.int16] | npt.NDArray[np.int8], npt.NDArray[np.int64]]
"""Weights [R, C] of weight_bits bits, and the offset of each row."""


class Machine:
    """Everything a program can see of one fabric and its DRAM.

    Parameters
    ----------
    fabric : Fabric
    dram : uint8 array
        The memory that the AXI port reaches from address 0 on; shared, not copied. With ``shared_words`` it
        starts with the memory for everything, which then is the activation, weight and parameter memory.
    rom : uint8 array
        What the port reaches from ``rom_base`` on; shared, not copied, and never written.

    Attributes
    ----------
    am : int8[R * am_words]
    wm : int16[wm_words, C], of weight_bits bits (int8 where memory is shared)
    pm : uint8[pm_words, PARAMETER_BYTES]
    tables : uint8[tables, TABLE_BYTES]
    acc : int64[acc_depth, C]
    tiles : queue of Tile
    results : queue of int64[pixels, C]
    """

    am: npt.NDArray[np.int8]
    wm: npt.NDArray[np.int16] | npt.NDArray[np.int8]
    pm: npt.NDArray[np.uint8]

    def __init__(self, fabric: Fabric, dram: Bytes, rom: Bytes | None = None):
        self.fabric = fabric
        self.dram = dram
        self.rom = np.zeros(0, np.uint8) if rom is None else rom
        if fabric.shared_words:
            shared = dram[: fabric.am_bytes]
            if len(shared) < fabric.am_bytes or not shared.flags.c_contiguous:
                raise ValueError(
                    f"a fabric whose memory of {fabric.am_bytes} bytes serves for everything has it at the "
                    f"start of the DRAM, which has {len(dram)}"
                )
            self.am = shared.view(np.int8)
            self.wm = self.am.reshape(fabric.wm_words, fabric.cols)
            records = shared[: fabric.pm_words * fabric.parameter_words * fabric.rows]
            self.pm = records.reshape(fabric.pm_words, -1)[:, :PARAMETER_BYTES]
        else:
            self.am = np.zeros(fabric.am_bytes, np.int8)
            self.wm = np.zeros((fabric.wm_words, fabric.cols), np.int16)
            self.pm = np.zeros((fabric.pm_words, PARAMETER_BYTES), np.uint8)
        self.tables = np.zeros((fabric.tables, TABLE_BYTES), np.uint8)
        self.acc = np.zeros((fabric.acc_depth, fabric.cols), np.int64)
        self.tiles: deque[Tile] = deque()
        self.results: deque[npt.NDArray[np.int64]] = deque()
        self.kept = 0  # partial sums that the last Stream left to go on with
        self.tokens = np.zeros((len(Unit), len(Unit)), np.int64)

    def step(self, instruction: Instruction) -> None:
        """Take its tokens, carry it out, give its tokens."""
        own = instruction.UNIT
        for unit in Unit:
            if instruction.wait >> unit & 1 and unit != own:
                self.require(
                    instruction,
                    self.tokens[unit, own] > 0,
                    f"waits for a token from {unit.name} that nothing before it gives: it would never start",
                )
                self.tokens[unit, own] -= 1
        instruction.execute(self)
        for unit in Unit:
            if instruction.signal >> unit & 1:
                self.require(instruction, unit != own, "signals its own unit")
                self.tokens[own, unit] += 1
                self.require(
                    instruction,
                    self.tokens[own, unit] <= TOKEN_MAX,
                    f"more than {TOKEN_MAX} tokens from {own.name} to {unit.name} are not taken",
                )

    def finish(self) -> None:
        """Check that a program left no tile, result or token behind."""
        if self.tiles or self.results or self.tokens.any():
            raise ProgramError(
                f"the program ends with {len(self.tiles)} weight tiles, {len(self.results)} result "
                f"sets and {int(self.tokens.sum())} tokens that nothing took"
            )

    def require(self, instruction: Instruction, condition: bool, problem: str) -> None:
        """Raise ProgramError naming the instruction unless the condition holds."""
        if not condition:
            raise ProgramError(f"{instruction}: {problem}")

    def read_am(self, instruction: Instruction, place: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
        """Bytes at addresses of any shape."""
        self._inside(instruction, place, len(self.am), "activation memory")
        return self.am[place]

    def write_am(self, instruction: Instruction, start: int, data: Bytes) -> None:
        self.require(
            instruction,
            start + len(data) <= len(self.am),
            f"bytes {start} to {start + len(data) - 1} of an activation memory of {len(self.am)}",
        )
        self.am[start : start + len(data)] = data.view(np.int8)

    def scatter_am(
        self, instruction: Instruction, place: npt.NDArray[np.int64], data: npt.NDArray[np.int64]
    ) -> None:
        self._inside(instruction, place, len(self.am), "activation memory")
        self.am[place] = data

    def memory(self, start: int, count: int) -> Bytes | None:
        """Bytes as the memory port reads them; None if some of them do not exist."""
        if self.fabric.rom_base and start >= self.fabric.rom_base:
            start -= self.fabric.rom_base
            return self.rom[start : start + count] if start + count <= len(self.rom) else None
        return self.dram[start : start + count] if start + count <= len(self.dram) else None

    def read_dram(self, instruction: Instruction, start: int, count: int) -> Bytes:
        data = self.memory(start, count)
        if data is None:
            self.require(instruction, False, f"bytes {start} to {start + count - 1} of {self._behind_port()}")
        assert data is not None
        return data

    def write_dram(self, instruction: Instruction, start: int, data: Bytes) -> None:
        end = start + len(data)
        if end > len(self.dram):
            what = f"bytes {start} to {end - 1} of {self._behind_port()}"
            base = self.fabric.rom_base
            readable = base and base <= start and end <= base + len(self.rom)
            self.require(instruction, False, f"{what}: they can only be read" if readable else what)
        self.dram[start:end] = data

    def _behind_port(self) -> str:
        """What the memory port reaches, in words."""
        rom = f" and {len(self.rom)} from {self.fabric.rom_base:#x} on" if self.fabric.rom_base else ""
        return f"a DRAM of {len(self.dram)}{rom}"

    def take_results(self, instruction: Instruction, count: int) -> npt.NDArray[np.int64]:
        """The next ``count`` pixels of the result FIFO, int64[count, C]."""
        taken: list[npt.NDArray[np.int64]] = []
        have = 0
        while have < count and self.results:
            taken.append(self.results.popleft())
            have += len(taken[-1])
        self.require(instruction, have == count, f"takes {count} results where {have} were made")
        return np.concatenate(taken)

    def _inside(self, instruction: Instruction, place: npt.NDArray[np.int64], size: int, what: str) -> None:
        if place.size:
            low, high = int(place.min()), int(place.max())
            self.require(
                instruction, 0 <= low and high < size, f"bytes {low} to {high} of an {what} of {size}"
            )
