"""Link to the compiled RTL in this process."""
import numpy as np

from ...rtl.contract.fabric import Fabric
from ...rtl.contract.registers import Reg, Status
from ...sim.native import build
from ...sim.native.model import Memory, NativeModel
from .link import DEFAULT_MEMORY, PROFILE_CYCLES, Bytes, HostMemory, RunProgress


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
        self._memory = HostMemory(fabric, memory_size)
        self._own = self._memory.dram.size if fabric.shared_words and fabric.rom_base else 0
        # What the port reaches, as one array; of the gap up to the ROM nothing is ever touched.
        dram = self._memory.dram
        if fabric.rom_base:
            dram = np.zeros(fabric.rom_base + memory_size, np.uint8)
            self._memory.dram, self._memory.rom = dram[:self._memory.dram.size], dram[fabric.rom_base:]
        self.model = NativeModel(build.library(fabric, progress), dram, memory)

    @property
    def memory_size(self) -> int:
        return self._memory.dram.size

    @property
    def rom_size(self) -> int:
        return self._memory.rom.size

    def read(self, reg: Reg) -> int:
        return self.model.read(reg)

    def write(self, reg: Reg, value: int) -> None:
        self.model.write(reg, value)
        if reg == Reg.PROFILE_INDEX:
            self.model.step(PROFILE_CYCLES)

    def read_memory(self, address: int, count: int) -> Bytes:
        data = self._memory.read(address, count)
        if address < self._own:
            self.model.window(address, data, write=False)
        return data

    def write_memory(self, address: int, data: Bytes) -> None:
        self._memory.write(address, data)
        if address < self._own:
            self.model.window(address, np.ascontiguousarray(data), write=True)

    def wait_idle(self, *, max_cycles: int, progress: RunProgress | None = None) -> None:
        self.model.wait_clear(Reg.STATUS, Status.BUSY, max_cycles=max_cycles, progress=progress)

    def fault_detail(self) -> str:
        return ""

    def close(self) -> None:
        self.model.close()
