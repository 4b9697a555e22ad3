"""Link to the emulator: the register map in Python, so that a driver cannot tell it from hardware."""
import time

from ...rtl.contract.errors import DeviceError, ProgramError
from ...rtl.contract.fabric import Fabric
from ...rtl.contract.isa import ISA_VERSION, Instruction
from ...rtl.contract.machine import Machine
from ...rtl.contract.registers import MAGIC_WORD, Control, Fault, Reg, Status
from ...sim.emulator import Emulator
from .link import DEFAULT_MEMORY, Bytes, HostMemory, RunProgress

PROGRESS_SECONDS = 2.0
WRITABLE = (Reg.PROGRAM_ADDRESS, Reg.PROGRAM_COUNT, Reg.WATCHDOG, Reg.PROFILE_INDEX)


class EmulatorLink:
    """The fabric as its instruction set defines it: right bytes, no cycles (CYCLES and the profile read 0).

    A started program runs when somebody asks how it is doing. What breaks a rule of the ISA is a fault of
    kind ILLEGAL_INSTRUCTION; ``fault_detail`` says which rule.

    Parameters
    ----------
    fabric : Fabric
    memory_size : int
        Bytes behind the memory port; from ``rom_base`` on, if the fabric has such memory.
    """

    def __init__(self, fabric: Fabric, *, memory_size: int = DEFAULT_MEMORY):
        self._memory = HostMemory(fabric, memory_size)
        self._machine = _CountingMachine(fabric, self._memory.dram, self._memory.rom)
        self._emulator = Emulator(fabric, self._memory.dram, self._memory.rom)
        self._emulator.machine = self._machine
        self._registers = {reg: 0 for reg in Reg} | {
            Reg.MAGIC: MAGIC_WORD, Reg.VERSION: ISA_VERSION,
            Reg.FINGERPRINT_LO: fabric.fingerprint & 0xFFFF_FFFF,
            Reg.FINGERPRINT_HI: fabric.fingerprint >> 32}
        self._detail = ""
        self._closed = False

    @property
    def memory_size(self) -> int:
        return self._memory.dram.size

    @property
    def rom_size(self) -> int:
        return self._memory.rom.size

    def read(self, reg: Reg) -> int:
        self._check_open()
        if self._registers[Reg.STATUS] & Status.BUSY and reg not in WRITABLE:
            self._run()
        return self._registers[reg]

    def write(self, reg: Reg, value: int) -> None:
        self._check_open()
        if reg in WRITABLE:
            self._registers[reg] = value & 0xFFFF_FFFF
        elif reg != Reg.CONTROL:
            raise DeviceError(f"register {reg.name} cannot be written")
        elif value & Control.RESET:
            busy = self._registers[Reg.STATUS] & Status.BUSY
            self._machine.restart()
            self._finish(Fault.ABORTED if busy else Fault.NONE, done=False)
        elif value & Control.START and not self._registers[Reg.STATUS] & Status.BUSY:
            self._machine.restart()
            self._finish(Fault.NONE, done=False)
            self._registers[Reg.STATUS] = Status.BUSY

    def read_memory(self, address: int, count: int) -> Bytes:
        return self._memory.read(address, count)

    def write_memory(self, address: int, data: Bytes) -> None:
        self._memory.write(address, data)

    def wait_idle(self, *, max_cycles: int, progress: RunProgress | None = None) -> None:
        """As in Link; an emulated program always ends, so ``max_cycles`` plays no part."""
        self._check_open()
        if self._registers[Reg.STATUS] & Status.BUSY:
            self._run(progress)

    def fault_detail(self) -> str:
        return self._detail

    def close(self) -> None:
        self._closed = True

    def _run(self, progress: RunProgress | None = None) -> None:
        self._machine.watch(progress)
        try:
            self._emulator.run(self._registers[Reg.PROGRAM_ADDRESS], self._registers[Reg.PROGRAM_COUNT])
        except ProgramError as error:
            retired = self._machine.retired
            self._finish(Fault.ILLEGAL_INSTRUCTION, done=False, address=retired, unit=self._machine.unit)
            self._detail = str(error)
        except BaseException:
            self._finish(Fault.ABORTED, done=False)
            raise
        else:
            self._finish(Fault.NONE, done=True)
        self._registers[Reg.RETIRED] = self._machine.retired

    def _finish(self, fault: Fault, *, done: bool, address: int = 0, unit: int = 0) -> None:
        self._registers |= {Reg.FAULT: fault, Reg.FAULT_ADDRESS: address, Reg.FAULT_UNIT: unit, Reg.STATUS: (
            Status.DONE if done else Status.FAULT if fault else 0)}
        self._detail = ""

    def _check_open(self) -> None:
        if self._closed:
            raise DeviceError("this link is closed; open a new one")


class _CountingMachine(Machine):
    """A machine that knows how far it is."""

    retired = 0
    unit = 0
    _progress: RunProgress | None = None
    _start = 0.0

    def watch(self, progress: RunProgress | None) -> None:
        self._progress, self._start = progress, time.monotonic()

    def restart(self) -> None:
        """What happens at START and RESET: everything but the memories is as after power-on."""
        self.tiles.clear()
        self.results.clear()
        self.tokens[:] = 0
        self.retired = self.unit = 0

    def step(self, instruction: Instruction) -> None:
        self.unit = instruction.UNIT
        super().step(instruction)
        self.retired += 1
        if self._progress is not None and (seconds := time.monotonic() - self._start) >= PROGRESS_SECONDS:
            self._progress(self.retired, seconds)
