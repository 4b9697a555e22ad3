"""The flash behind a board's memory port: its command registers, and what is said through them.

The registers are in the board's page of the register space (link.BOARD_PAGE). A word that is sent or received
is eight steps of the flash's clock, the first in the highest nibble: the lines IO3 to IO0 in each. In the
flash's single mode a byte takes a word (`spread`, `gather`), in its quad mode four bytes do (`quad`).

The bus address of a byte is its address in the flash; only bits 23:0 count.
"""

from enum import IntEnum

PAGE_BYTES = 256
"""What one program command can write: it wraps at the end of the page."""
SECTOR_BYTES = 4096
"""What one erase command sets to 0xFF."""
CONSTANTS = 1 << 20
"""Where a board keeps a Program's constants; the bitstream lies below."""
JEDEC_ID = 0xEF7018
"""Winbond W25Q128JV-DTR (IM); the IQ parts say 0xEF4018."""


class FlashReg(IntEnum):
    """Byte addresses in the board's page. Writes are answered when they are carried out.

    Only SELECT may be written while the flash is not the host's: SLVERR else. A read of any of them gives
    what was received last.
    """

    SELECT = 0x0  # W  ends the command under way; bit 0: the flash is the host's, and the bus waits
    SEND = 0x4  # W  a word in single mode; the first one after SELECT begins a command
    SEND_QUAD = 0x8  # W  a word on all four lines
    RECEIVE = 0xC  # W  eight steps in which the lines are the flash's; then read what came


class FlashCommand(IntEnum):
    """First byte of a command (Winbond W25Q128JV datasheet, 8.1)."""

    WRITE_STATUS_2 = 0x31
    READ_STATUS = 0x05
    READ_STATUS_2 = 0x35
    WRITE_ENABLE = 0x06
    VOLATILE_ENABLE = 0x50
    READ = 0x03
    READ_QUAD_IO = 0xEB
    PROGRAM = 0x02
    PROGRAM_QUAD = 0x32
    ERASE_SECTOR = 0x20
    ERASE_BLOCK = 0xD8
    READ_ID = 0x9F
    POWER_DOWN = 0xB9
    WAKE = 0xAB


STATUS_BUSY = 1 << 0
STATUS_WRITE_ENABLED = 1 << 1
STATUS_2_QUAD = 1 << 1
SINGLE_IDLE = 0xC
"""IO3 and IO2 high: neither HOLD nor write protection."""


def spread(byte: int) -> int:
    """The word that sends a byte in single mode: on IO0, high bit first."""
    return sum((SINGLE_IDLE | byte >> bit & 1) << 4 * bit for bit in range(8))


def gather(word: int) -> int:
    """The byte received in single mode: on IO1."""
    return sum((word >> 4 * bit + 1 & 1) << bit for bit in range(8))


def quad(data: bytes) -> int:
    """The word that sends four bytes on all lines."""
    if len(data) != 4:
        raise ValueError(f"a word holds 4 bytes, not {len(data)}")
    return int.from_bytes(data, "big")
