"""A virtual board: what build.py compiles, behind a pseudo terminal that a driver opens as a serial port."""
import ctypes
import os
import threading
import tty
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from ...boards.board import Board, find_board
from ...rtl.contract.errors import DeviceError, InputError, ToolError
from ...rtl.sdram.timing import SDRAMCycles, SDRAMTiming
from ..native.build import Progress
from . import build

INTERFACE = 1
"""kInterface of harness.h."""
SERVED, BROKEN, HUNG_UP = range(3)
"""Outcome of harness.h."""
SLICE_MILLISECONDS = 100
"""After so long the native code lets the thread look whether it is to stop."""
CYCLES_PER_BIT = 6
"""Of the wire, as few as the gateware's receiver takes: simulated cycles are dear."""
PROGRAM_SECONDS, ERASE_SECONDS = 20e-6, 0.5e-3
"""Of the flash, a page and a sector: much less than the chip takes (0.4 ms and 45 ms), so that what a driver
does while it waits is simulated, but not for long."""
CLOSE_SECONDS = 30


class _Settings(ctypes.Structure):
    """BoardSettings of harness.h."""

    _fields_ = [
        ("clock", ctypes.c_uint64), ("baud", ctypes.c_uint64), ("pin_delay", ctypes.c_uint32),
        ("always", ctypes.c_uint32), ("memory_bytes", ctypes.c_uint64),
        ("program_seconds", ctypes.c_double), ("erase_seconds", ctypes.c_double),
        *((name, ctypes.c_uint64) for name in ("power_up", "t_ras_max", "t_refresh")),
        *((name, ctypes.c_uint32) for name in (
            "cas", "init_refreshes", "t_rcd", "t_rp", "t_ras", "t_rc", "t_rfc", "t_rrd", "t_wr", "t_mrd",
            "row_bits", "column_bits"))]


class Counters(ctypes.Structure):
    """What the harness counted since the start.

    Cycles of the board's clock and, of them, those in which the fabric's clock ran; bytes from the host and
    to it; bytes to the host that it did not take in time, and that had no stop bit; time spent simulating.
    """

    cycles: int
    fabric_cycles: int
    bytes_in: int
    bytes_out: int
    dropped: int
    broken: int
    nanoseconds: int
    _fields_ = [(name, ctypes.c_uint64) for name in (
        "cycles", "fabric_cycles", "bytes_in", "bytes_out", "dropped", "broken", "nanoseconds")]


@dataclass(frozen=True, kw_only=True)
class Wire:
    """What a library was compiled for: cycles and bits on the wires in a second, and the memory's chip."""

    clock: int
    baud: int
    memory_bytes: int
    pin_delay: int = 0
    sdram: SDRAMCycles | None = None


class VirtualBoard:
    """A board in this process, which runs in a thread of its own between ``with`` and its end.

    Simulated time passes as fast as it can while bytes are on the wires or the fabric works, and stands
    still otherwise. Leaving the context is like pulling the plug: whoever has the port open is hung up on.

    Parameters
    ----------
    board : str or Board
        One of boards.board.BOARDS.
    baud : int
        Bits a second of the board's clock on its serial wires; 0 for the fastest it takes. The baud rate that
        the other side of the terminal sets plays no part.
    link : Path
        A symbolic link to the terminal, made at the start and removed at the end.
    library : Path and Wire
        Another compiled board and what it was compiled for, instead of this board's.
    rest : bool
        The fabric's clock rests while nothing happens in the fabric, which changes nothing but the speed.
    progress : callable
        Told about the stages of the build, see native.build.Progress.

    Attributes
    ----------
    port : str
        The terminal's name.
    fault : str
        What broke the simulation (a rule of the memory's chip); empty if nothing did.

    Raises
    ------
    InputError
        If there is no such board, it is not that fast, or there is something else where ``link`` is to be.
    ToolError
        If it cannot be compiled.
    """

    def __init__(self, board: str | Board, *, baud: int = 0, link: Path | None = None,
                 library: tuple[Path, Wire] | None = None, rest: bool = True,
                 progress: Progress | None = None):
        self.board = find_board(board) if isinstance(board, str) else board
        if library is None:
            library = compiled_board(self.board, baud, progress)
        path, self.wire = library
        self.port = ""
        self.fault = ""
        self._link = link
        self._code = _load(path)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._files: tuple[int, ...] = ()
        self._thread = threading.Thread(target=self._run, name=f"virtual {self.board.name}", daemon=True)
        self._self: int | None = self._code.celosia_board_open(ctypes.byref(_settings(self.wire, rest)))
        if self._self is None:
            why = self._code.celosia_board_message(None).decode(errors="replace")
            raise ToolError(f"{path} does not run: {why}; delete it and run again")

    def __enter__(self) -> "VirtualBoard":
        master, terminal = os.openpty()
        self._files = master, terminal  # the terminal too, so that it outlives a driver that closes it
        tty.setraw(terminal)
        os.set_blocking(master, False)
        self.port = os.ttyname(terminal)
        if self._link is not None:
            try:
                _replace_link(self._link, self.port)
            except BaseException:
                self._link = None
                self.close()
                raise
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()
        if kind is None:
            self.check()

    def close(self) -> None:
        """Pull the plug; a second call does nothing."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)
        self._unplug()
        if self._link is not None and self._link.is_symlink() and os.readlink(self._link) == self.port:
            self._link.unlink()
        with self._lock:
            if self._self is not None and not self._thread.is_alive():
                self._last = self.counters
                self._code.celosia_board_close(self._self)
                self._self = None

    def check(self) -> None:
        """Raise DeviceError if the simulation broke."""
        if self.fault:
            raise DeviceError(f"the virtual {self.board.name} stopped: {self.fault}; this is a fault of the "
                              "gateware or of the simulation, please report it")

    @property
    def running(self) -> bool:
        """Until it is closed or breaks."""
        return self._thread.is_alive()

    @property
    def counters(self) -> Counters:
        """A copy of what was counted so far."""
        if self._self is None:
            return self._last
        counters = Counters()
        self._code.celosia_board_counters(self._self, ctypes.byref(counters))
        return counters

    @property
    def cycles(self) -> int:
        """Cycles of the board's clock so far."""
        return self.counters.cycles

    @property
    def cycles_per_second(self) -> float:
        """Mean speed while it was not asleep."""
        counters = self.counters
        return counters.cycles / counters.nanoseconds * 1e9 if counters.nanoseconds else 0.0

    def peek(self, address: int, count: int) -> bytes:
        """Bytes of the memory's chip, as they are before the board is opened or after it broke."""
        data = (ctypes.c_uint8 * count)()
        self._outside(self._code.celosia_board_peek(self._self, address, data, count), address, count)
        return bytes(data)

    def poke(self, address: int, data: bytes) -> None:
        """Put bytes into the memory's chip, as if they had been there when the board was switched on."""
        self._outside(self._code.celosia_board_poke(self._self, address, data, len(data)), address, len(data))

    def _outside(self, inside: int, address: int, count: int) -> None:
        if not inside:
            raise InputError(f"{count} bytes at {address:#x} are not in the memory of a {self.board.name}")

    def _run(self) -> None:
        master = self._files[0]
        while not self._stop.is_set():
            outcome = self._code.celosia_board_serve(self._self, master, SLICE_MILLISECONDS)
            if outcome == BROKEN:
                self.fault = self._code.celosia_board_message(self._self).decode(errors="replace")
            if outcome != SERVED:
                break
        self._unplug()

    def _unplug(self) -> None:
        with self._lock:
            files, self._files = self._files, ()
        for file in files:
            os.close(file)


def compiled_board(board: Board, baud: int = 0, progress: Progress | None = None) -> tuple[Path, Wire]:
    """The library of a board, and what it was compiled for."""
    fastest = board.clock // CYCLES_PER_BIT
    if not 0 <= baud <= fastest:
        raise InputError(f"a {board.name} takes up to {fastest:,} bits a second at its {board.clock:,} Hz, "
                         f"not {baud:,}")
    wire = Wire(clock=board.clock, baud=baud or fastest, memory_bytes=board.memory_bytes)
    if board.memory == "sdram":
        from ...boards.ulx3s import PIN_DELAY

        wire = replace(wire, pin_delay=PIN_DELAY, sdram=SDRAMTiming().at(board.clock))
    return build.library(board, baud=wire.baud, pin_delay=wire.pin_delay, progress=progress), wire


def _settings(wire: Wire, rest: bool) -> _Settings:
    settings = _Settings(clock=wire.clock, baud=wire.baud, pin_delay=wire.pin_delay, always=not rest,
                         memory_bytes=wire.memory_bytes, program_seconds=PROGRAM_SECONDS,
                         erase_seconds=ERASE_SECONDS)
    if wire.sdram is not None:
        for name, value in vars(wire.sdram).items():
            setattr(settings, name, value)
    return settings


def _replace_link(link: Path, target: str) -> None:
    """Make the link; one that an earlier board left behind is replaced, anything else is not."""
    try:
        if link.is_symlink():
            link.unlink()
        link.symlink_to(target)
    except OSError as error:
        raise InputError(f"{link} cannot be made a link to {target}: {error.strerror or error}; name another "
                         "place") from error


def _load(library: Path) -> Any:
    try:
        code = ctypes.CDLL(str(library))
        found = code.celosia_board_interface()
    except (OSError, AttributeError) as error:
        raise ToolError(f"{library} is no compiled board: {error}; delete it and run again") from error
    if found != INTERFACE:
        raise ToolError(f"{library} has interface {found}, expected {INTERFACE}; delete it and run again")
    pointer, u32, u64 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
    for name, result, arguments in (
        ("open", pointer, (pointer,)), ("close", None, (pointer,)),
        ("serve", ctypes.c_int32, (pointer, ctypes.c_int32, u32)), ("counters", None, (pointer, pointer)),
        ("message", ctypes.c_char_p, (pointer,)), ("poke", ctypes.c_int32, (pointer, u64, pointer, u64)),
        ("peek", ctypes.c_int32, (pointer, u64, pointer, u64)),
    ):
        function = getattr(code, f"celosia_board_{name}")
        function.restype, function.argtypes = result, list(arguments)
    return code
