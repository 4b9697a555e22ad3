"""Writes the flash behind a board's memory port, sector by sector, and only what differs."""
from collections.abc import Callable

import numpy as np

from ...rtl.contract.errors import DeviceError, DeviceTimeout
from ...rtl.contract.flash import (
    PAGE_BYTES,
    SECTOR_BYTES,
    STATUS_BUSY,
    FlashCommand,
    FlashReg,
    gather,
    quad,
    spread,
)
from ...rtl.contract.link import BOARD_PAGE, Kind
from .link import Bytes
from .session import Order, Session

ERASED = 0xFF
WRITE_SECONDS = 3.0
"""The longest that a page or a sector may take; the slowest parts state 0.4 s for a sector."""
ADDRESS_MASK = (1 << 24) - 1

Words = list[tuple[int, int]]


class FlashWriter:
    """The flash of one board, through its command registers.

    Parameters
    ----------
    session : Session
    read : callable
        Gives ``count`` bytes at an address of the memory port.
    """

    def __init__(self, session: Session, read: Callable[[int, int], Bytes]):
        self._session, self._read = session, read

    def write(self, address: int, data: Bytes) -> None:
        """Make the flash hold ``data`` at a bus address; other bytes of its sectors stay as they are.

        Raises
        ------
        DeviceError
            If the flash does not answer, or holds something else afterwards.
        """
        first = address // SECTOR_BYTES * SECTOR_BYTES
        last = -(-(address + data.size) // SECTOR_BYTES) * SECTOR_BYTES
        before = self._read(first, last - first)
        after = before.copy()
        after[address - first:][:data.size] = data
        changed = [n for n in range(0, last - first, SECTOR_BYTES)
                   if not np.array_equal(before[n:n + SECTOR_BYTES], after[n:n + SECTOR_BYTES])]
        if not changed:
            return
        try:
            self._check_present()
            for n in changed:
                self._write_sector(first + n, before[n:n + SECTOR_BYTES], after[n:n + SECTOR_BYTES])
        finally:
            self._session.write_registers([_select(0)])
        for n in changed:
            found = self._read(first + n, SECTOR_BYTES)
            if (wrong := np.flatnonzero(found != after[n:n + SECTOR_BYTES])).size:
                at = int(wrong[0])
                raise DeviceError(f"the flash holds {found[at]:#04x} at {first + n + at:#x} after "
                                  f"{after[n + at]:#04x} was written ({wrong.size} bytes of the sector are "
                                  "wrong); it may be write-protected or worn: try again, then replace the "
                                  "board")

    def _write_sector(self, address: int, before: Bytes, after: Bytes) -> None:
        if ((before & after) != after).any():  # programming only clears bits
            erase = _command(FlashCommand.ERASE_SECTOR, address)
            self._session.write_registers([*_enable(), *erase, _select(1)])
            self._wait(f"erase the sector at {address:#x}")
            before = np.full_like(after, ERASED)
        for n in range(0, SECTOR_BYTES, PAGE_BYTES):
            page = after[n:n + PAGE_BYTES]
            if not np.array_equal(page, before[n:n + PAGE_BYTES]):
                words = [(BOARD_PAGE + FlashReg.SEND_QUAD, quad(page[k:k + 4].tobytes()))
                         for k in range(0, PAGE_BYTES, 4)]
                program = _command(FlashCommand.PROGRAM_QUAD, address + n)
                self._session.write_registers([*_enable(), *program, *words, _select(1)])
                self._wait(f"program the page at {address + n:#x}")

    def _check_present(self) -> None:
        self._session.write_registers([_select(1), _send(FlashCommand.READ_ID)])
        identity = [self._receive() for _ in range(3)]
        if len(set(identity)) == 1 and identity[0] in (0x00, ERASED):
            raise DeviceError("no flash answers on this board (its identification reads "
                              f"{identity[0]:#04x} three times); power the board off and on")

    def _wait(self, what: str) -> None:
        end = self._session.now() + WRITE_SECONDS
        self._session.write_registers([_select(1), _send(FlashCommand.READ_STATUS)])
        while self._receive() & STATUS_BUSY:
            if self._session.now() > end:
                raise DeviceTimeout(f"the flash took more than {WRITE_SECONDS:g} s to {what}; power the "
                                    "board off and on")

    def _receive(self) -> int:
        self._session.write_registers([(BOARD_PAGE + FlashReg.RECEIVE, 0)])
        answer = self._session.ask(Order(kind=Kind.READ_REGISTER, address=BOARD_PAGE + FlashReg.RECEIVE))
        return gather(int.from_bytes(answer.data, "little"))


def _select(host: int) -> tuple[int, int]:
    return BOARD_PAGE + FlashReg.SELECT, host


def _send(byte: int) -> tuple[int, int]:
    return BOARD_PAGE + FlashReg.SEND, spread(byte)


def _enable() -> Words:
    return [_select(1), _send(FlashCommand.WRITE_ENABLE), _select(1)]


def _command(code: FlashCommand, address: int) -> Words:
    return [_send(code), *(_send(byte) for byte in (address & ADDRESS_MASK).to_bytes(3, "big"))]
