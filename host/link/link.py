"""What a driver needs from a transport: registers, memory, and waiting for the end of a run."""
from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ...rtl.contract.errors import DeviceError
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

    def read(self, reg: Reg) -> int:
        """A control register."""

    def write(self, reg: Reg, value: int) -> None:
        """Write a control register."""

    def read_memory(self, address: int, count: int) -> Bytes:
        """A copy of ``count`` bytes."""

    def write_memory(self, address: int, data: Bytes) -> None:
        """Write the bytes of a one-dimensional array."""

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


def check_range(address: int, count: int, memory_size: int) -> None:
    """Raise DeviceError unless the bytes lie in the memory."""
    if address < 0 or count < 0 or address + count > memory_size:
        raise DeviceError(f"bytes {address:#x} to {address + count - 1:#x} are outside the {memory_size} "
                          "bytes of the device's memory; open it with more memory, or use a smaller model")
