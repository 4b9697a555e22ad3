"""A serial port as the link sees it: bytes out, bytes in, and errors that say what to do."""
import contextlib
import errno
import time
from collections.abc import Iterator
from typing import Protocol

import serial
from serial.tools import list_ports

from ...rtl.contract.errors import LinkError

WRITE_SECONDS = 5.0
"""A port that takes nothing for so long is dead."""
POLL_SECONDS = 0.005


class Wire(Protocol):
    """Bytes in order, both ways; some may be lost or wrong."""

    def send(self, data: bytes) -> None:
        """Send all; may wait for room."""

    def receive(self, seconds: float) -> bytes:
        """What has come; if nothing has, what comes first within so many seconds, or nothing."""

    def now(self) -> float:
        """Seconds since some moment."""

    def close(self) -> None:
        """Release it; a second call does nothing."""


class SerialWire:
    """A serial port, ours alone.

    Parameters
    ----------
    port : str
        Name or path of the port.
    baud : int

    Raises
    ------
    LinkError
        If there is no such port, it may not be used, or another program has it; and from every access, once
        it is gone.
    """

    def __init__(self, port: str, *, baud: int):
        self._name = port
        try:
            self._port = serial.Serial(port, baud, timeout=POLL_SECONDS, write_timeout=WRITE_SECONDS,
                                       exclusive=True)
        except (serial.SerialException, OSError, ValueError) as error:
            raise LinkError(_why_not(port, baud, error)) from error
        with contextlib.suppress(Exception):  # FTDI's adapters keep bytes back for 16 ms otherwise
            self._port.set_low_latency_mode(True)
        with self._guarded():
            self._port.reset_input_buffer()
            self._port.reset_output_buffer()

    def send(self, data: bytes) -> None:
        with self._guarded():
            self._port.write(data)

    def receive(self, seconds: float) -> bytes:
        end = time.monotonic() + seconds
        with self._guarded():
            while True:
                if data := self._port.read(max(1, self._port.in_waiting)):
                    return bytes(data)
                if time.monotonic() >= end:
                    return b""

    def now(self) -> float:
        return time.monotonic()

    def close(self) -> None:
        with contextlib.suppress(serial.SerialException, OSError):
            self._port.close()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except serial.SerialTimeoutException as error:
            raise LinkError(f"{self._name} has taken nothing for {WRITE_SECONDS:g} s; unplug the board, plug "
                            "it in again, and check that no other device is on this port") from error
        except (serial.SerialException, OSError, TypeError) as error:  # TypeError: closed in the meantime
            raise LinkError(f"{self._name} is gone ({error}): the board was unplugged or the port closed; "
                            "plug it in and start again") from error


def _why_not(port: str, baud: int, error: Exception) -> str:
    number = getattr(error, "errno", None)
    said = str(error)
    if number in (errno.ENOENT, errno.ENXIO, errno.ENODEV) or "FileNotFoundError" in said:
        found = ", ".join(sorted(item.device for item in list_ports.comports())) or "none"
        return f"there is no serial port {port} (found: {found}); plug the board in, or name its port"
    if number in (errno.EACCES, errno.EPERM) or "PermissionError" in said:
        return (f"no permission to use {port}; add yourself to the group that owns it (Debian: sudo adduser "
                "$USER dialout, then log in again)")
    if number in (errno.EBUSY, errno.EAGAIN) or "lock" in said:
        return f"{port} is in use by another program; close it, and start again"
    return f"{port} does not work as a serial port of {baud} baud: {error}"
