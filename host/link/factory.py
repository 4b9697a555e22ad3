"""Links by the name a user types."""
from ...rtl.contract.errors import InputError, MismatchError
from ...rtl.contract.fabric import Fabric
from ...rtl.contract.link import BOARDS
from ...sim.native.build import Progress
from ...sim.native.model import Memory
from .emulator import EmulatorLink
from .known import name_of, preset_of
from .link import DEFAULT_MEMORY, Link
from .native import NativeLink
from .serial import BAUD, SerialLink
from .session import Session
from .wire import SerialWire

DEVICES = {
    "sim": "the fabric's RTL, compiled; exact in every byte and cycle",
    "emulator": "the instruction set in NumPy; exact in every byte, knows no cycles",
    "serial:PORT": "a board on a serial port, such as serial:/dev/ttyUSB0",
}
"""What ``open_link`` accepts, with a line for help texts."""


SERIAL = "serial:"


def is_board(device: str) -> bool:
    """Whether a device is hardware (or poses as such) with a fabric of its own."""
    return device.startswith(SERIAL)


def open_board(device: str, fabric: Fabric | None = None) -> tuple[Link, Fabric]:
    """Open a link to a board.

    Parameters
    ----------
    device : str
        "serial:PORT"
    fabric : Fabric
        What it must have; None for the preset that it says it has.

    Raises
    ------
    InputError
        If no port is named.
    DeviceError
        If there is no such port or board, or no right to it.
    MismatchError
        If the board has another fabric, or none of the presets.
    """
    if not (port := device.removeprefix(SERIAL)):
        raise InputError(f"the device {device!r} names no port; say {SERIAL}/dev/ttyUSB0 or the like "
                         "(`celosia doctor` lists the ports that there are)")
    wire = SerialWire(port, baud=BAUD)
    try:
        board = Session(wire, baud=BAUD).info
        if fabric is None:
            fabric = preset_of(board.fingerprint)
        elif fabric.fingerprint != board.fingerprint:
            who = BOARDS.get(board.board, f"board {board.board}")
            raise MismatchError(
                f"the {who} on {port} has {name_of(board.fingerprint)}, not {fabric.name} "
                f"({fabric.fingerprint:#018x}); leave --fabric out to take what it has, or build and flash "
                f"{fabric.name}")
        return SerialLink(wire, fabric), fabric
    except BaseException:
        wire.close()  # a port that stays open is taken for the next one who tries
        raise


def open_link(device: str, fabric: Fabric, *, memory_size: int = DEFAULT_MEMORY, memory: Memory | None = None,
              progress: Progress | None = None) -> Link:
    """Open a link to a device.

    Parameters
    ----------
    device : str
        One of DEVICES.
    fabric : Fabric
        The fabric to simulate; a board has its own.
    memory_size : int
        Bytes of memory behind it; a board has its own.
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
    DeviceError
        If there is no such board.
    """
    if is_board(device):
        return open_board(device, fabric)[0]
    match device:
        case "sim":
            return NativeLink(fabric, memory_size=memory_size, memory=memory, progress=progress)
        case "emulator":
            return EmulatorLink(fabric, memory_size=memory_size)
    raise InputError(f"there is no device {device!r}; choose one of {', '.join(DEVICES)}")
