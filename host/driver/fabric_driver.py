"""Runs programs on one fabric over any link: the one place that knows what the registers mean."""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...rtl.contract.errors import DeviceError, DeviceTimeout, FaultError, InputError, MismatchError
from ...rtl.contract.fabric import Fabric
from ...rtl.contract.isa import ISA_VERSION, Cause, Unit
from ...rtl.contract.registers import MAGIC_WORD, Control, Fault, Reg, Status
from ..link.known import name_of
from ..link.link import Bytes, Link, RunProgress

GRACE_CYCLES = 100_000
"""Cycles a fabric gets beyond its watchdog, or after RESET, to end its bus transactions."""
MAX_WATCHDOG = (1 << 32) - 1


@dataclass(frozen=True)
class RunStats:
    """One run: cycles from doorbell to done (0 on the emulator) and instructions completed."""

    cycles: int
    retired: int


def identify(link: Link) -> int:
    """The fingerprint of the fabric behind a link.

    Raises
    ------
    DeviceError
        If what answers is no fabric.
    MismatchError
        If it speaks another version of the instruction set.
    """
    if (magic := link.read(Reg.MAGIC)) != MAGIC_WORD:
        raise DeviceError(f"no fabric answers on this link: MAGIC reads {magic:#010x}, expected "
                          f"{MAGIC_WORD:#010x}; check the port and flash the board")
    if (version := link.read(Reg.VERSION)) != ISA_VERSION:
        raise MismatchError(f"the fabric speaks version {version} of the instruction set, this software "
                            f"version {ISA_VERSION}; build and flash the board again with this software")
    return link.read(Reg.FINGERPRINT_LO) | link.read(Reg.FINGERPRINT_HI) << 32


class FabricDriver:
    """A fabric that is known to be the one that programs were compiled for.

    Parameters
    ----------
    link : Link
    fabric : Fabric
        What the programs were compiled for.

    Raises
    ------
    DeviceError
        If what answers is no fabric.
    MismatchError
        If it is another fabric, or speaks another version of the instruction set. Nothing was written then.
    """

    def __init__(self, link: Link, fabric: Fabric):
        if (found := identify(link)) != fabric.fingerprint:
            raise MismatchError(f"the program is for fabric {fabric.name} ({fabric.fingerprint:#018x}), the "
                                f"device has {name_of(found)}; compile the model for the device's fabric, or "
                                f"flash the board with {fabric.name}")
        self.link = link
        self.fabric = fabric
        if link.read(Reg.STATUS) & Status.BUSY:
            self.reset()

    def run_program(self, address: int, count: int, *, watchdog: int,
                    progress: RunProgress | None = None) -> RunStats:
        """Run ``count`` instructions that lie in memory at ``address``.

        Parameters
        ----------
        address : int
            A multiple of the bus width.
        watchdog : int
            Cycles the run may take, 1 to MAX_WATCHDOG.
        progress : callable
            Told how far it is, if the run takes long.

        Raises
        ------
        FaultError
            If the fabric stopped: which unit, where, why. It has been reset and takes the next program.
        DeviceTimeout
            If the run took longer than ``watchdog`` cycles.
        DeviceError
            If the fabric contradicts itself.
        InputError
            If address, count or watchdog is out of range.
        """
        self._check_run(address, count, watchdog)
        link = self.link
        link.write(Reg.PROGRAM_ADDRESS, address)
        link.write(Reg.PROGRAM_COUNT, count)
        link.write(Reg.WATCHDOG, watchdog)
        link.write(Reg.CONTROL, Control.START)
        try:
            link.wait_idle(max_cycles=watchdog + GRACE_CYCLES, progress=progress)
        except DeviceTimeout as error:
            self.reset()
            raise DeviceTimeout(f"the fabric is still busy {GRACE_CYCLES} cycles after its watchdog of "
                                f"{watchdog} cycles went off: the memory behind it does not "
                                "answer") from error
        except KeyboardInterrupt:
            self.reset()
            raise
        status = link.read(Reg.STATUS)
        cycles = link.read(Reg.CYCLES_LO) | link.read(Reg.CYCLES_HI) << 32
        retired = link.read(Reg.RETIRED)
        if status & Status.FAULT:
            self._raise_fault(cycles, retired, count, watchdog)
        if not status & Status.DONE or retired != count:
            self.reset()
            raise DeviceError(f"the fabric stopped without a fault after {retired} of {count} instructions "
                              f"(STATUS={status:#x}); this is a fault of the hardware: please report it")
        return RunStats(cycles, retired)

    def read_profile(self, layers: int, units: Sequence[Unit] = tuple(Unit)) -> npt.NDArray[np.int64]:
        """Cycles of the first ``layers`` layers since clear_profile: int64[layers, len(Unit), len(Cause)].

        Zero for units not asked for, and for layers, or fabrics, that have no counters.
        """
        profile = np.zeros((layers, len(Unit), len(Cause)), np.int64)
        for layer in range(min(layers, self.fabric.profile_layers)):
            for unit in units:
                for cause in Cause:
                    self.link.write(Reg.PROFILE_INDEX, layer << 7 | unit << 4 | cause)
                    profile[layer, unit, cause] = self.link.read(Reg.PROFILE_DATA)
        return profile

    def clear_profile(self) -> None:
        """Set all counters of the profile to 0."""
        self.link.write(Reg.CONTROL, Control.CLEAR_PROFILE)
        self.link.wait_idle(max_cycles=GRACE_CYCLES)

    def reset(self) -> None:
        """Abort whatever runs; the memories keep their contents.

        Raises
        ------
        DeviceTimeout
            If the fabric stays busy: a bus transaction is never answered.
        """
        self.link.write(Reg.CONTROL, Control.RESET)
        try:
            self.link.wait_idle(max_cycles=GRACE_CYCLES)
        except DeviceTimeout as error:
            raise DeviceTimeout(f"the fabric is still busy {GRACE_CYCLES} cycles after a reset: the memory "
                                "behind it does not answer; power the board off and on, or open the "
                                "simulation anew") from error

    def read_memory(self, address: int, count: int) -> Bytes:
        """A copy of ``count`` bytes of the memory behind the fabric."""
        return self.link.read_memory(address, count)

    def write_memory(self, address: int, data: Bytes) -> None:
        """Write bytes to the memory behind the fabric."""
        self.link.write_memory(address, data)

    def close(self) -> None:
        """Close the link."""
        self.link.close()

    def _check_run(self, address: int, count: int, watchdog: int) -> None:
        if address < 0 or address % self.fabric.bus_bytes or address >= 1 << 32:
            raise InputError(f"a program cannot start at {address:#x}; it must be a 32-bit multiple of "
                             f"{self.fabric.bus_bytes}")
        if not 1 <= count < 1 << 32:
            raise InputError(f"a program has 1 to {(1 << 32) - 1} instructions, not {count}")
        if not 1 <= watchdog <= MAX_WATCHDOG:
            raise InputError(f"the watchdog takes 1 to {MAX_WATCHDOG} cycles, not {watchdog}")

    def _raise_fault(self, cycles: int, retired: int, count: int, watchdog: int) -> None:
        code, address, unit = (self.link.read(reg) for reg in (Reg.FAULT, Reg.FAULT_ADDRESS, Reg.FAULT_UNIT))
        detail = self.link.fault_detail()
        self.reset()
        who = Unit(unit).name if unit in list(Unit) else f"unit {unit}"
        after = f"after {cycles} cycles and {retired} of {count} instructions"
        if code == Fault.WATCHDOG:
            raise DeviceTimeout(f"the fabric had completed {retired} of {count} instructions when its "
                                f"watchdog of {watchdog} cycles stopped it; allow more cycles, or report a "
                                "program that never ends")
        match code:
            case Fault.ILLEGAL_INSTRUCTION:
                text = (f"instruction {address} is illegal ({who}, {after}); the program is damaged or made "
                        "by another compiler: compile the model again")
            case Fault.READ_RESPONSE | Fault.WRITE_RESPONSE:
                way = "read from" if code == Fault.READ_RESPONSE else "write to"
                text = (f"a {way} address {address:#x} by {who} was answered with a bus error {after}; the "
                        f"memory has {self.link.memory_size} bytes: give the device more memory, or compile "
                        "the model again")
            case Fault.ABORTED:
                text = f"the run was aborted {after}; start it again"
            case _:
                text = (f"fault {code} at {address:#x} ({who}, {after}) is unknown to this software; flash "
                        "the board again")
        raise FaultError(f"the fabric stopped: {detail or text}", code=code, address=address, unit=unit)
