"""Link to the compiled RTL in this process."""
import numpy as np

from ...rtl.contract.fabric import Fabric
from ...rtl.contract.registers import Reg, Status
from ...sim.native import build
from ...sim.native.model import Memory, NativeModel
from .link import DEFAULT_MEMORY, PROFILE_CYCLES, Bytes, RunProgress, check_range


class NativeLink:
    """A simulated fabric and its memory: registers through the AXI4-Lite pins, memory accessed directly.

    Parameters
    ----------
    fabric : Fabric
        Compiled on first use, then taken from the cache.
    memory_size : int
        Bytes behind the memory port.
    memory : Memory
        Latency, bandwidth and back-pressure of that memory.
    progress : callable
        Told about the stages of the build, see build.Progress.

    Attributes
    ----------
    model : NativeModel
        For what only a simulation can tell: counters, speed, settings of the memory.
    """

    def __init__(self, fabric: Fabric, *, memory_size: int = DEFAULT_MEMORY, memory: Memory | None = None,
                 progress: build.Progress | None = None):
        self._dram = np.zeros(memory_size, np.uint8)
        self.model = NativeModel(build.library(fabric, progress), self._dram, memory)

    @property
    def memory_size(self) -> int:
        return self._dram.size

    def read(self, reg: Reg) -> int:
        return self.model.read(reg)

    def write(self, reg: Reg, value: int) -> None:
        self.model.write(reg, value)
        if reg == Reg.PROFILE_INDEX:
            self.model.step(PROFILE_CYCLES)

    def read_memory(self, address: int, count: int) -> Bytes:
        check_range(address, count, self.memory_size)
        return self._dram[address:address + count].copy()

    def write_memory(self, address: int, data: Bytes) -> None:
        check_range(address, data.size, self.memory_size)
        self._dram[address:address + data.size] = data

    def wait_idle(self, *, max_cycles: int, progress: RunProgress | None = None) -> None:
        self.model.wait_clear(Reg.STATUS, Status.BUSY, max_cycles=max_cycles, progress=progress)

    def fault_detail(self) -> str:
        return ""

    def close(self) -> None:
        self.model.close()
