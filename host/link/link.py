"""What a driver needs from a transport: registers, memory, and waiting for the end of a run."""
from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ...rtl.contract.errors import DeviceError, InputError
from ...rtl.contract.fabric import Fabric
from ...rtl.contract.registers import Reg

Bytes = npt.NDArray[np.uint8]
RunProgress = Callable[[int, float], None]
"""Called in long waits with the cycles (on the emulator: instructions) done and the seconds they took."""

DEFAULT_MEMORY = 64 << 20
"""Bytes of memory behind a simulated fabric."""

PROFILE_CYCLES = 8
"""Cycles after a write to PROFILE_INDEX before PROFILE_DATA is valid; links keep this distance."""


class Link(Protocol):
    """Access to one fabric. One implementation per transport; not for two threads at once."""

    @property
    def memory_size(self) -> int:
        """Bytes of the memory behind the fabric, from address 0 on."""

    @property
    def rom_size(self) -> int:
        """Bytes of the memory that the fabric cannot write, from Fabric.rom_base on; 0 if it has none."""

    def read(self, reg: Reg) -> int:
        """A control register."""

    def write(self, reg: Reg, value: int) -> None:
        """Write a control register."""

    def read_memory(self, address: int, count: int) -> Bytes:
        """A copy of ``count`` bytes."""

    def write_memory(self, address: int, data: Bytes) -> None:
        """Write the bytes of a one-dimensional array; also to memory that only the fabric cannot write."""

    def wait_idle(self, *, max_cycles: int, progress: RunProgress | None = None) -> None:
        """Return when STATUS shows no BUSY.

        Raises
        ------
        DeviceTimeout
            If it does after ``max_cycles`` cycles of the fabric.
        """

    def fault_detail(self) -> str:
        """What the link knows about the last fault beyond the registers; empty if nothing."""

    def close(self) -> None:
        """Release the transport; a second call does nothing."""


class HostMemory:
    """The memory behind a simulated fabric, in this process: what a link's memory methods do.

    Attributes
    ----------
    dram, rom : uint8 array
        From address 0 on, and what the fabric cannot write, from ``rom_base`` on.
    """

    def __init__(self, fabric: Fabric, memory_size: int):
        size = fabric.am_bytes if fabric.shared_words and fabric.rom_base else memory_size
        if size < fabric.am_bytes * bool(fabric.shared_words):
            raise InputError(f"memory_size is {memory_size}; the fabric {fabric.name} has its own "
                             f"{fabric.am_bytes} bytes at the start of that memory")
        self.dram: Bytes = np.zeros(size, np.uint8)
        self.rom: Bytes = np.zeros(memory_size if fabric.rom_base else 0, np.uint8)
        self.rom_base = fabric.rom_base

    def read(self, address: int, count: int) -> Bytes:
        """A copy of ``count`` bytes."""
        return self._part(address, count).copy()

    def write(self, address: int, data: Bytes) -> None:
        """Write the bytes of a one-dimensional array."""
        self._part(address, data.size)[:] = data

    def _part(self, address: int, count: int) -> Bytes:
        if self.rom_base and address >= self.rom_base:
            check_range(address, count, self.rom.size, self.rom_base)
            address -= self.rom_base
            return self.rom[address:address + count]
        check_range(address, count, self.dram.size)
        return self.dram[address:address + count]


def check_range(address: int, count: int, memory_size: int, base: int = 0) -> None:
    """Raise DeviceError unless the bytes lie in the memory that starts at ``base``."""
    if address < base or count < 0 or address + count > base + memory_size:
        where = f", which starts at {base:#x}" if base else ""
        raise DeviceError(f"bytes {address:#x} to {address + count - 1:#x} are outside the {memory_size} "
                          f"bytes of the device's memory{where}; open it with more memory, or use a smaller "
                          "model")
