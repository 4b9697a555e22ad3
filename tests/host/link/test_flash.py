# amaranth: UnusedElaboratable=no
"""Writing the flash behind a board through its command registers: right bytes, no needless erasure."""
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "support"))

from celosia.host.link.serial import SerialLink  # noqa: E402
from celosia.rtl.contract.errors import DeviceError, DeviceTimeout  # noqa: E402
from celosia.rtl.contract.fabric import Fabric  # noqa: E402
from celosia.rtl.contract.flash import SECTOR_BYTES, FlashCommand, FlashReg, gather, spread  # noqa: E402
from celosia.rtl.contract.link import BOARD_PAGE, MAX_DATA, Info, Kind, Status  # noqa: E402
from link_board import Board, BoardWire  # noqa: E402

FABRIC = Fabric(rows=4, cols=4)
BASE = 0x0210_0000
BYTES = 1 << 16
INFO = Info(board=3, clock=30_000_000, memory_bytes=1 << 12, rom_base=BASE, rom_bytes=BYTES,
            fingerprint=FABRIC.fingerprint)
BUSY_READS = 3


class FlashBoard(Board):
    """A board with a W25Q flash: ``rom`` from BASE on, and how many sectors and pages were written."""

    def __init__(self):
        super().__init__(INFO)
        self.rom = np.full(BYTES, 0xFF, np.uint8)
        self.erased = self.programmed = 0
        self.selected = self.enabled = False
        self.busy, self.sent, self.lines, self.received = 0, [], b"", 0
        self.stuck = self.absent = self.protected = False

    def _carry_out(self, kind, address, count, data):
        if kind in (Kind.READ_MEMORY, Kind.WRITE_MEMORY) and address >= BASE:
            assert not self.selected, "the bus would wait for ever"
            if kind == Kind.WRITE_MEMORY:
                return Status.SLAVE_ERROR, b""
            places = (address // MAX_DATA * MAX_DATA + (address + np.arange(count)) % MAX_DATA) - BASE
            return Status.OK, self.rom[places].tobytes()
        if kind in (Kind.READ_REGISTER, Kind.WRITE_REGISTER) and address >= BOARD_PAGE:
            if kind == Kind.READ_REGISTER:
                return Status.OK, self.received.to_bytes(4, "little")
            return self._flash(FlashReg(address - BOARD_PAGE), int.from_bytes(data, "little")), b""
        return super()._carry_out(kind, address, count, data)

    def _flash(self, reg, value):
        if reg == FlashReg.SELECT:
            self._end()
            self.selected, self.sent, self.lines = bool(value), [], b""
            return Status.OK
        if not self.selected:
            return Status.SLAVE_ERROR
        if reg == FlashReg.SEND:
            self.sent.append(next(byte for byte in range(256) if spread(byte) == value))
        elif reg == FlashReg.SEND_QUAD:
            self.lines += value.to_bytes(4, "big")
        else:
            byte = 0xFF
            if self.sent[0] == FlashCommand.READ_STATUS and not self.absent:
                byte = (self.busy > 0) | self.enabled << 1
                self.busy -= (self.busy > 0) and not self.stuck
            elif self.sent[0] == FlashCommand.READ_ID and not self.absent:
                byte = 0xEF7018.to_bytes(3, "big")[len(self.sent) - 1]
                self.sent.append(0)
            self.received = sum((byte >> bit & 1) << 4 * bit + 1 for bit in range(8))
            assert gather(self.received) == byte
        return Status.OK

    def _end(self):
        if not self.sent or self.sent[0] in (FlashCommand.READ_STATUS, FlashCommand.READ_ID):
            return
        assert not self.busy, "a command while busy is lost"
        code, address = self.sent[0], int.from_bytes(bytes(self.sent[1:4]), "big") - (BASE & 0xFF_FFFF)
        if code == FlashCommand.WRITE_ENABLE:
            self.enabled = True
            return
        assert self.enabled and len(self.sent) == 4
        self.enabled, self.busy = False, BUSY_READS
        if code == FlashCommand.ERASE_SECTOR:
            first = address // SECTOR_BYTES * SECTOR_BYTES
            self.rom[first:first + SECTOR_BYTES] |= 0 if self.protected else 0xFF
            self.erased += 1
        else:
            assert code == FlashCommand.PROGRAM_QUAD and len(self.lines) <= 256
            self.rom[address:address + len(self.lines)] &= np.frombuffer(self.lines, np.uint8)
            self.programmed += 1


@pytest.fixture
def board():
    return FlashBoard()


@pytest.fixture
def link(board):
    return SerialLink(BoardWire(board), FABRIC)


def test_bytes_at_any_place_are_written_and_the_others_stay(board, link):
    rng = np.random.default_rng(1)
    board.rom[:] = model = rng.integers(0, 256, BYTES, np.uint8)
    for start, count in ((0, 1), (4095, 2), (5000, 10_000), (BYTES - 7, 7), (300, 256)):
        data = rng.integers(0, 256, count, np.uint8)
        link.write_memory(BASE + start, data)
        model[start:start + count] = data
        np.testing.assert_array_equal(board.rom, model)
        np.testing.assert_array_equal(link.read_memory(BASE + start, count), data)


def test_what_is_there_already_is_not_written_again(board, link):
    data = np.random.default_rng(2).integers(0, 256, 3 * SECTOR_BYTES, np.uint8)
    link.write_memory(BASE, data)
    assert (board.erased, board.programmed) == (0, 48)  # it was erased
    link.write_memory(BASE, data)
    assert (board.erased, board.programmed) == (0, 48)
    data[SECTOR_BYTES + 5] ^= 0xFF
    link.write_memory(BASE, data)
    assert (board.erased, board.programmed) == (1, 64)
    data[7] &= 0x0F  # clears bits only
    link.write_memory(BASE, data)
    assert (board.erased, board.programmed) == (1, 65)
    np.testing.assert_array_equal(board.rom[:data.size], data)


def test_a_flash_that_does_not_answer_is_an_error(board, link):
    board.absent = True
    with pytest.raises(DeviceError, match="no flash answers on this board .*0xff three times"):
        link.write_memory(BASE, np.zeros(4, np.uint8))
    assert not board.selected


def test_a_flash_that_stays_busy_is_an_error_in_bounded_time(board, link):
    board.stuck = True
    with pytest.raises(DeviceTimeout, match="the flash took more than 3 s to program the page at 0x2100000"):
        link.write_memory(BASE, np.zeros(4, np.uint8))


def test_a_flash_that_keeps_its_old_bytes_is_an_error(board, link):
    board.rom[:] = 0
    board.protected = True
    with pytest.raises(DeviceError, match="the flash holds 0x00 at 0x2100003 after 0x10 was written"):
        link.write_memory(BASE + 3, np.full(4, 0x10, np.uint8))


@pytest.mark.parametrize("address,count", [(BASE - 1, 1), (BASE + BYTES - 1, 2), (1 << 12, 1)])
def test_bytes_outside_both_memories_are_refused(link, address, count):
    with pytest.raises(DeviceError, match="are outside the .* bytes of the device's memory"):
        link.read_memory(address, count)
    with pytest.raises(DeviceError, match="are outside the .* bytes of the device's memory"):
        link.write_memory(address, np.zeros(count, np.uint8))
    assert link.rom_size == BYTES and link.memory_size == 1 << 12
