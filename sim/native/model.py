"""One compiled fabric in this process: its clock, its memory and its registers."""
import ctypes
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...rtl.contract.errors import DeviceError, DeviceTimeout, ToolError

Bytes = npt.NDArray[np.uint8]
RunProgress = Callable[[int, float], None]
"""Called with the cycles of the wait so far and its seconds."""

CHANNELS = ("AR", "R", "AW", "W", "B")
INTERFACE = 1
"""Of harness.h; a library with another one is refused."""
PROGRESS_SECONDS = 2.0
SLICE_SECONDS = 0.1
POLL_CYCLES = 64

_DONE, _UNDER_WAY, _BROKEN, _NO_ANSWER, _REFUSED = range(5)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """How the memory behind the AXI4 port behaves.

    Parameters
    ----------
    read_latency : int
        Cycles from the one that accepts an address to the one that shows the first data, at least 1.
    write_latency : int
        Cycles from the one that accepts the last data to the one that shows the response, at least 1.
    bytes_per_cycle : Fraction, int or None
        Limit for both directions together (16-bit SDR memory: 2); None is the bus's own.
    outstanding : int
        Bursts of each direction that are accepted before the first is finished.
    stall : float or dict
        Chance, 0 to below 1, that a channel does not move in a cycle; for all, or by name in CHANNELS.
    seed : int
        Of the stalls: a run with the same seed is the same run.
    failing : sequence of (first, last, response)
        Addresses, last included, where an access gets this response (2 SLVERR, 3 DECERR) and moves no data.
        Beyond the end of the memory it is always DECERR.
    frozen : sequence of str
        Channels that never move.
    """

    read_latency: int = 20
    write_latency: int = 10
    bytes_per_cycle: Fraction | int | None = None
    outstanding: int = 8
    stall: float | dict[str, float] = 0.0
    seed: int = 0
    failing: Sequence[tuple[int, int, int]] = ()
    frozen: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("read_latency", "write_latency", "outstanding"):
            if not 1 <= getattr(self, name) < 1 << 31:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.bytes_per_cycle is not None and not 0 < self.bytes_per_cycle < 1 << 16:
            raise ValueError(f"bytes_per_cycle is {self.bytes_per_cycle}; it must be above 0, or None for no "
                             "limit")
        for name, chance in self._stalls().items():
            if name not in CHANNELS or not 0 <= chance < 1:
                raise ValueError(f"stall of {name!r} is {chance}; it must be 0 to below 1, of "
                                 f"{', '.join(CHANNELS)}")
        for name in self.frozen:
            if name not in CHANNELS:
                raise ValueError(f"frozen names {name!r}; there are {', '.join(CHANNELS)}")
        for first, last, response in self.failing:
            if not (0 <= first <= last and response in (2, 3)):
                raise ValueError(f"failing holds {(first, last, response)}; it must be (first, last, 2 or 3)")

    def _stalls(self) -> dict[str, float]:
        return self.stall if isinstance(self.stall, dict) else dict.fromkeys(CHANNELS, self.stall)

    def settings(self) -> "_Settings":
        """The same as the harness takes it."""
        rate = Fraction(self.bytes_per_cycle or 0)
        stalls = self._stalls()
        return _Settings(
            self.seed & (1 << 64) - 1, self.read_latency, self.write_latency, self.outstanding,
            rate.numerator, rate.denominator, sum(1 << CHANNELS.index(name) for name in set(self.frozen)),
            (ctypes.c_uint32 * len(CHANNELS))(*(int(stalls.get(name, 0) * 2**32) for name in CHANNELS)))


MEMORIES = {
    "bus": Memory(),
    "sdram16": Memory(read_latency=14, write_latency=10, bytes_per_cycle=Fraction(2 * (781 - 11), 781)),
}
"""Memories by name.

``bus``: moves what the bus can; the latencies are those of a memory behind an interconnect.

``sdram16``: 16-bit SDR SDRAM at the fabric's clock, taken as 100 MHz. The part is Micron's MT48LC16M16A2-75
(32 MB, data sheet "256Mb: x4, x8, x16 SDRAM"): tRP = tRCD = 20 ns, CAS latency 2, tRFC = 66 ns, 8192
refreshes in 64 ms. A read takes 1 cycle to be registered, 2 + 2 + 2 to close a row, open another and read, 2
in the registers at the pins, 4 for the words of a beat of 64 bits, 1 to the bus. A write takes 1 to be
registered, 2 + 2 to close and open, 4 for the words of the last beat, 1 to be answered. Every 781 cycles a
refresh takes 11 (close, 7, open): transfers feel that as a share of the bandwidth, and it is taken off there.
Rows that follow each other cost nothing: they lie in other banks, opened in advance.
"""


class _Settings(ctypes.Structure):
    """MemorySettings of harness.h."""

    _fields_ = [
        ("seed", ctypes.c_uint64), ("read_latency", ctypes.c_uint32), ("write_latency", ctypes.c_uint32),
        ("outstanding", ctypes.c_uint32), ("bytes_numerator", ctypes.c_uint32),
        ("bytes_denominator", ctypes.c_uint32), ("frozen", ctypes.c_uint32),
        ("stall", ctypes.c_uint32 * len(CHANNELS))]


class Counters(ctypes.Structure):
    """What the harness counted since the start: clock cycles, and bursts and beats on the memory port."""

    cycles: int
    read_bursts: int
    read_beats: int
    write_bursts: int
    write_beats: int
    _fields_ = [(name, ctypes.c_uint64) for name in (
        "cycles", "read_bursts", "read_beats", "write_bursts", "write_beats")]


class NativeModel:
    """A fabric compiled by build.py, running in native code on the caller's memory.

    Parameters
    ----------
    library : Path
        From build.library.
    dram : uint8 array
        The memory; byte i is at address i. Shared, not copied.
    memory : Memory
        How it behaves.

    Attributes
    ----------
    seconds : float
        Time spent in native code in ``wait_clear`` and ``step``.

    Raises
    ------
    DeviceError
        From every access, once the fabric has broken a rule of AXI4; and for a register access that is not
        answered, or answered with an error.
    """

    def __init__(self, library: Path, dram: Bytes, memory: Memory | None = None):
        plain = dram.ndim == 1 and dram.flags.c_contiguous and dram.flags.writeable
        if dram.dtype != np.uint8 or not plain:
            raise ValueError("the memory must be a contiguous, writable, one-dimensional uint8 array")
        self.dram = dram
        self.seconds = 0.0
        self._code = _load(library)
        self._memory = memory or Memory()
        self._self: int | None = self._code.celosia_open(dram.ctypes.data, dram.size,
                                                         ctypes.byref(self._memory.settings()))
        self.configure(self._memory)
        self.step(0)  # raises if the reset already broke a rule

    def close(self) -> None:
        """Free the simulation; a second call does nothing."""
        if self._self is not None:
            self._code.celosia_close(self._self)
            self._self = None

    def __del__(self) -> None:
        if getattr(self, "_self", None) is not None:
            self.close()

    @property
    def memory(self) -> Memory:
        """How the memory behaves at the moment."""
        return self._memory

    def configure(self, memory: Memory) -> None:
        """Change how the memory behaves from the next cycle on."""
        self._memory = memory
        self._code.celosia_configure(self._handle, ctypes.byref(memory.settings()))
        self._code.celosia_heal(self._handle)
        for first, last, response in memory.failing:
            self._code.celosia_fail(self._handle, first, last, response)

    def read(self, address: int) -> int:
        """A register, through the AXI4-Lite port; takes some cycles."""
        value = ctypes.c_uint32()
        self._judge(self._code.celosia_read(self._handle, address, ctypes.byref(value)))
        return value.value

    def write(self, address: int, value: int) -> None:
        """Write a register, through the AXI4-Lite port; takes some cycles."""
        self._judge(self._code.celosia_write(self._handle, address, value))

    def window(self, address: int, data: Bytes, *, write: bool) -> None:
        """Read or write bytes of the memory that the fabric has for everything, through its own port."""
        self._judge(self._code.celosia_window(self._handle, address, data.ctypes.data, data.size, write))

    def step(self, cycles: int) -> None:
        """Let so many cycles pass."""
        start = time.perf_counter()
        self._judge(self._code.celosia_step(self._handle, cycles))
        self.seconds += time.perf_counter() - start

    def wait_clear(self, address: int, mask: int, *, max_cycles: int, progress: RunProgress | None = None,
                   progress_after: float = PROGRESS_SECONDS) -> int:
        """Run until the bits of ``mask`` are clear in a register; returns the cycles that took.

        The register is read every POLL_CYCLES cycles. Python gets a turn every tenth of a second, so that
        Ctrl-C works; from ``progress_after`` seconds on ``progress`` is called then.

        Raises
        ------
        DeviceTimeout
            If they are not clear after ``max_cycles``.
        """
        first, start, piece = self.counters.cycles, time.perf_counter(), 4096
        while True:
            before = self.counters.cycles
            left = max_cycles - (before - first)
            began = time.perf_counter()
            outcome = self._code.celosia_wait(self._handle, address, mask, max(0, min(piece, left)),
                                              POLL_CYCLES)
            now = time.perf_counter()
            self.seconds += now - began
            self._judge(outcome)
            done = self.counters.cycles
            if outcome == _DONE:
                return done - first
            if done - first >= max_cycles:
                raise DeviceTimeout(f"register {address:#x} still shows {mask:#x} after {done - first} "
                                    "cycles; allow more cycles, or look at what the memory port waits for")
            piece = max(1024, int(SLICE_SECONDS * (done - before) / max(now - began, 1e-6)))
            if progress is not None and now - start >= progress_after:
                progress(done - first, now - start)

    @property
    def counters(self) -> Counters:
        """A fresh copy of what the harness counted."""
        counters = Counters()
        self._code.celosia_counters(self._handle, ctypes.byref(counters))
        return counters

    @property
    def cycles_per_second(self) -> float:
        """Mean speed of the simulation so far."""
        return self.counters.cycles / self.seconds if self.seconds else 0.0

    @property
    def bus_bytes(self) -> int:
        """Bytes of a beat on the memory port."""
        return int(self._code.celosia_bus_bytes())

    @property
    def _handle(self) -> int:
        if self._self is None:
            raise DeviceError("this simulation is closed; open a new one")
        return self._self

    def _judge(self, outcome: int) -> None:
        if outcome in (_BROKEN, _NO_ANSWER, _REFUSED):
            message = self._code.celosia_message(self._handle).decode(errors="replace")
            what = {_BROKEN: "broke a rule of its buses", _NO_ANSWER: "is silent",
                    _REFUSED: "refused a register access"}[outcome]
            raise DeviceError(f"the simulated fabric {what}: {message}")


def _load(library: Path) -> Any:
    try:
        code = ctypes.CDLL(str(library))
        found = code.celosia_interface()
    except (OSError, AttributeError) as error:
        raise ToolError(f"{library} is no compiled fabric: {error}; delete it and run again") from error
    if found != INTERFACE:
        raise ToolError(f"{library} has interface {found}, expected {INTERFACE}; delete it and run again")
    pointer, u32, u64 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
    for name, result, arguments in (
        ("open", pointer, (pointer, u64, pointer)), ("close", None, (pointer,)),
        ("configure", None, (pointer, pointer)), ("fail", None, (pointer, u64, u64, u32)),
        ("heal", None, (pointer,)), ("read", ctypes.c_int32, (pointer, u32, pointer)),
        ("write", ctypes.c_int32, (pointer, u32, u32)),
        ("wait", ctypes.c_int32, (pointer, u32, u32, u64, u32)),
        ("step", ctypes.c_int32, (pointer, u64)), ("counters", None, (pointer, pointer)),
        ("message", ctypes.c_char_p, (pointer,)), ("bus_bytes", u32, ()),
    ):
        function = getattr(code, f"celosia_{name}")
        function.restype, function.argtypes = result, list(arguments)
    if hasattr(code, "celosia_window"):
        code.celosia_window.restype = ctypes.c_int32
        code.celosia_window.argtypes = [pointer, u32, pointer, u32, ctypes.c_int32]
    return code
