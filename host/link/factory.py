"""Links by the name a user types."""
from ...rtl.contract.errors import InputError
from ...rtl.contract.fabric import Fabric
from ...sim.native.build import Progress
from ...sim.native.model import Memory
from .emulator import EmulatorLink
from .link import DEFAULT_MEMORY, Link
from .native import NativeLink

DEVICES = {
    "sim": "the fabric's RTL, compiled; exact in every byte and cycle",
    "emulator": "the instruction set in NumPy; exact in every byte, knows no cycles",
}
"""What ``open_link`` accepts, with a line for help texts."""


def open_link(device: str, fabric: Fabric, *, memory_size: int = DEFAULT_MEMORY, memory: Memory | None = None,
              progress: Progress | None = None) -> Link:
    """Open a link to a device.

    Parameters
    ----------
    device : str
        One of DEVICES.
    fabric : Fabric
        The fabric to simulate.
    memory_size : int
        Bytes of memory behind it.
    memory : Memory
        Behaviour of the memory; only the compiled RTL has one.
    progress : callable
        Told about the stages of a build.

    Raises
    ------
    InputError
        If there is no such device.
    ToolError
        If the RTL cannot be compiled.
    """
    match device:
        case "sim":
            return NativeLink(fabric, memory_size=memory_size, memory=memory, progress=progress)
        case "emulator":
            return EmulatorLink(fabric, memory_size=memory_size)
    raise InputError(f"there is no device {device!r}; choose one of {', '.join(DEVICES)}")
