"""The frames between a host and a board: the one definition that gateware and driver read.

A frame is ``FLAG, body, check, FLAG``: the check is the CRC-32 of the body, low byte first. In body and check
a byte that equals FLAG or ESCAPE is sent as ESCAPE and the byte exclusive-or FLIP. So FLAG means the edge of
a frame and nothing else, and whatever came before, a receiver is in step again with the next one. A body
whose check is wrong is dropped without an answer.

Every request is answered, in order, and gets one answer for each time it arrives::

    request  kind, sequence, address (4 bytes, low first), count - 1, data if it writes
    answer   ANSWER | status, sequence of the request, last one carried out, data if it read and all is well

A board carries out the request whose sequence number follows the last one, modulo 256. The last one again is
answered again and not carried out again, so a host repeats what was not answered. Any other is refused with
Status.SEQUENCE. After power-on or a reset a board refuses all with Status.CLOSED until it has been asked to
identify itself; that answer is always given, and sets the last sequence number to that of the request. So no
request of one session is carried out in another, and a host notices that a board was reset.

Two requests can be on their way to the board while it answers a third: one that waits and one that arrives.
More are lost, so a host that reads keeps two outstanding. Writes take the board less time than the wire.
"""

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

FLAG = 0x7E
ESCAPE = 0x7D
FLIP = 0x20

CRC_POLYNOMIAL = 0xEDB88320
"""CRC-32 of IEEE 802.3, low bit first: the one of zlib."""
CRC_RESIDUE = 0xDEBB20E3
"""What the register, all ones at the start, holds after a body and its check."""
CRC_BYTES = 4

VERSION = 1
"""Of these frames."""
MAX_DATA = 256
"""Bytes that one frame reads or writes at most. They lie within one page of so many bytes."""
REGISTER_BYTES = 4
"""Bytes of a register: the only count for one."""

FABRIC_PAGE = 0x0000
"""Registers of the fabric (contract/registers.py) are at these addresses of the register space."""
BOARD_PAGE = 0x1000
"""Registers of the board, such as those of its memory controller."""

ANSWER = 0x80
"""Bit of an answer's first byte, so that an echo is no answer."""

REQUEST = struct.Struct("<BBIB")
REPLY = struct.Struct("<BBB")
MAX_REQUEST = REQUEST.size + MAX_DATA
MAX_REPLY = REPLY.size + MAX_DATA


class Kind(IntEnum):
    """What a request asks for. Bit 0: it writes; bit 1: memory, else a register."""

    READ_REGISTER = 0
    WRITE_REGISTER = 1
    READ_MEMORY = 2
    WRITE_MEMORY = 3
    IDENTIFY = 4  # the board's Info; the address plays no part

    @property
    def writes(self) -> bool:
        return self in (Kind.WRITE_REGISTER, Kind.WRITE_MEMORY)


class Status(IntEnum):
    """How a request went. From SEQUENCE on it was not carried out."""

    OK = 0
    SLAVE_ERROR = 2  # AXI: what was addressed refused
    DECODE_ERROR = 3  # AXI: nothing is there
    SEQUENCE = 4  # neither the next sequence number nor the last one
    CLOSED = 5  # the board has not been asked to identify itself since it was reset
    MALFORMED = 6  # no such kind, or the count and the length of the frame disagree


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request.

    ``count`` bytes from ``address`` on; ``data`` holds them if it writes. A register's address is a multiple
    of 4 below 2**16.
    """

    kind: Kind
    sequence: int
    address: int = 0
    count: int = REGISTER_BYTES
    data: bytes = b""

    def pack(self) -> bytes:
        return REQUEST.pack(self.kind, self.sequence, self.address, self.count - 1) + self.data


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer."""

    status: Status
    sequence: int
    last: int
    data: bytes = b""

    def pack(self) -> bytes:
        return REPLY.pack(ANSWER | self.status, self.sequence, self.last) + self.data

    @classmethod
    def unpack(cls, body: bytes) -> "Answer | None":
        """The answer in a frame's body, or None if it is none."""
        if len(body) < REPLY.size or not body[0] & ANSWER or body[0] ^ ANSWER not in list(Status):
            return None
        return cls(
            status=Status(body[0] ^ ANSWER), sequence=body[1], last=body[2], data=bytes(body[REPLY.size :])
        )


@dataclass(frozen=True, kw_only=True)
class Info:
    """What a board says of itself.

    Parameters
    ----------
    board : int
        Which board, see BOARDS.
    clock : int
        Cycles a second of the fabric.
    memory_bytes : int
        Memory that can be written, from address 0 on.
    rom_base, rom_bytes : int
        Memory that only the board's own registers can write; 0 and 0 for none.
    fingerprint : int
        Of the fabric in the bitstream.
    version : int
        VERSION of the gateware.
    """

    board: int
    clock: int
    memory_bytes: int
    rom_base: int = 0
    rom_bytes: int = 0
    fingerprint: int
    version: int = VERSION

    # Version is first, and fields are added behind: the start of the answer means the same for ever.
    LAYOUT = struct.Struct("<HHIIIIQ")

    def pack(self) -> bytes:
        return self.LAYOUT.pack(
            self.version,
            self.board,
            self.clock,
            self.memory_bytes,
            self.rom_base,
            self.rom_bytes,
            self.fingerprint,
        )

    @classmethod
    def unpack(cls, data: bytes) -> "Info":
        version, board, clock, memory_bytes, rom_base, rom_bytes, fingerprint = cls.LAYOUT.unpack(data)
        return cls(
            version=version,
            board=board,
            clock=clock,
            memory_bytes=memory_bytes,
            rom_base=rom_base,
            rom_bytes=rom_bytes,
            fingerprint=fingerprint,
        )


INFO_BYTES = Info.LAYOUT.size

BOARDS = {1: "ulx3s_85f", 2: "ulx3s_25f", 3: "icebreaker"}
"""Names of the boards by the number in Info."""


def encode(body: bytes) -> bytes:
    """The bytes of a frame on the wire."""
    plain = body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")
    # ESCAPE first: the other way round would escape the escapes.
    for byte in (ESCAPE, FLAG):
        plain = plain.replace(bytes([byte]), bytes([ESCAPE, byte ^ FLIP]))
    return bytes([FLAG]) + plain + bytes([FLAG])


class Decoder:
    """Finds the bodies of good frames in the bytes of a wire.

    Attributes
    ----------
    dropped : int
        Frames that were not good: a wrong check, too short or too long.
    """

    def __init__(self, *, longest: int):
        self._longest = longest + CRC_BYTES
        self._pending = bytearray()
        self.dropped = 0

    def feed(self, received: bytes) -> list[bytes]:
        """The bodies that these bytes complete."""
        *ended, rest = bytes(received).split(bytes([FLAG]))
        bodies = []
        for piece in ended:
            frame = bytes(self._pending) + piece
            self._pending.clear()
            if frame:
                body = self._check(frame)
                if body is None:
                    self.dropped += 1
                else:
                    bodies.append(body)
        # Garbage without an end must not grow for ever; one byte too many still makes the frame a bad one.
        self._pending += rest[: max(0, 2 * self._longest + 1 - len(self._pending))]
        return bodies

    def _check(self, frame: bytes) -> bytes | None:
        plain = bytearray()
        pieces = frame.split(bytes([ESCAPE]))
        plain += pieces[0]
        for piece in pieces[1:]:
            if not piece:  # an escape in front of an escape or of the end
                return None
            plain.append(piece[0] ^ FLIP)
            plain += piece[1:]
        if not CRC_BYTES < len(plain) <= self._longest:
            return None
        body, check = plain[:-CRC_BYTES], plain[-CRC_BYTES:]
        return bytes(body) if zlib.crc32(body).to_bytes(CRC_BYTES, "little") == bytes(check) else None
