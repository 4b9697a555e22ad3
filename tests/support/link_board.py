"""The far end of the link in plain Python: what rtl/contract/link.py says it does, and a pty to reach it."""
import contextlib
import os
import threading
import time
import tty
from collections import deque

import numpy as np
from celosia.rtl.contract.link import (
    MAX_DATA,
    MAX_REQUEST,
    REGISTER_BYTES,
    REQUEST,
    Answer,
    Decoder,
    Info,
    Kind,
    Request,
    Status,
    encode,
)

MOST_LATE = 0.003
"""Seconds that a wire on a pty makes good when its thread was not given the processor."""


class Board:
    """Memory, 64 registers of which ``writes`` counts the writes, and the rules of the link."""

    def __init__(self, info: Info):
        self.info = info
        self.memory = np.zeros(info.memory_bytes, np.uint8)
        self.registers = np.zeros(64, np.uint32)
        self.writes = np.zeros(64, np.uint32)
        self.reset()

    def reset(self) -> None:
        self._decoder = Decoder(longest=MAX_REQUEST)
        self._opened, self._last = False, 0
        self._kept = Status.OK, b""

    def feed(self, data: bytes) -> bytes:
        """What goes back."""
        return b"".join(encode(self.answer(body).pack()) for body in self._decoder.feed(data))

    def answer(self, body: bytes) -> Answer:
        kind, sequence, address, count = REQUEST.unpack(body[:REQUEST.size])
        data, count = body[REQUEST.size:], count + 1
        status, out = self._decide(kind, sequence, address, count, data)
        return Answer(status=status, sequence=sequence, last=self._last, data=out)

    def _decide(self, kind, sequence, address, count, data):
        if kind not in list(Kind) or len(data) != count * Kind(kind).writes:
            return Status.MALFORMED, b""
        kind = Kind(kind)
        if kind == Kind.IDENTIFY:
            self._opened, self._last = True, sequence
            return Status.OK, self.info.pack().ljust(count, b"\0")[:count]
        if kind in (Kind.READ_REGISTER, Kind.WRITE_REGISTER) and count != REGISTER_BYTES:
            return Status.MALFORMED, b""
        if not self._opened:
            return Status.CLOSED, b""
        if sequence == self._last:
            return self._kept
        if sequence != (self._last + 1) % 256:
            return Status.SEQUENCE, b""
        self._last = sequence
        self._kept = self._carry_out(kind, address, count, data)
        return self._kept

    def _carry_out(self, kind, address, count, data):
        if kind in (Kind.READ_REGISTER, Kind.WRITE_REGISTER):
            number = address % (1 << 16) // 4
            if number >= len(self.registers):
                return Status.SLAVE_ERROR, b""
            if kind == Kind.READ_REGISTER:
                return Status.OK, int(self.registers[number]).to_bytes(4, "little")
            self.registers[number] = int.from_bytes(data, "little")
            self.writes[number] += 1
            return Status.OK, b""
        # Within the page, at whose end the address starts over.
        places = address // MAX_DATA * MAX_DATA + (address + np.arange(count)) % MAX_DATA
        if places.max() >= self.memory.size:
            return Status.DECODE_ERROR, b""
        if kind == Kind.READ_MEMORY:
            return Status.OK, self.memory[places].tobytes()
        self.memory[places] = np.frombuffer(data, np.uint8)
        return Status.OK, b""


class BoardWire:
    """A Board as a Wire, with a clock of its own; ``latency`` seconds pass before an answer is there."""

    def __init__(self, board: Board, *, latency: float = 0.001):
        self.board, self.latency = board, latency
        self._time, self._waiting = 0.0, []

    def send(self, data: bytes) -> None:
        if answer := self.board.feed(data):
            self._waiting.append((self._time + self.latency, answer))

    def receive(self, seconds: float) -> bytes:
        if not self._waiting or self._waiting[0][0] > self._time + seconds:
            self._time += seconds
            return b""
        when, answer = self._waiting.pop(0)
        self._time = max(self._time, when)
        return answer

    def now(self) -> float:
        return self._time

    def close(self) -> None:
        pass


@contextlib.contextmanager
def board_on_a_pty(board, *, baud: int = 0):
    """The name of a serial port with the board behind it, and a function that unplugs it.

    With ``baud`` no direction is faster than such a wire.
    """
    master, slave = os.openpty()
    tty.setraw(slave)
    name = os.ttyname(slave)
    stop = threading.Event()

    def unplug():
        stop.set()
        thread.join(5)

    def pump():
        free_in = free_out = time.monotonic()
        waiting = deque()  # when they may go, and the bytes
        try:
            while not stop.is_set():
                now, moved = time.monotonic(), False
                if free_in <= now:
                    with contextlib.suppress(BlockingIOError):
                        data = os.read(master, 1024)
                        moved = True
                        free_in = max(free_in, now - MOST_LATE) + (10 * len(data) / baud if baud else 0)
                        if out := board.feed(data):
                            free_out = max(free_out, free_in) + (10 * len(out) / baud if baud else 0)
                            waiting.append((free_out, out))
                while waiting and waiting[0][0] <= now:
                    out = waiting.popleft()[1]
                    moved = True
                    while out and not stop.is_set():
                        with contextlib.suppress(BlockingIOError):
                            out = out[os.write(master, out):]
                if not moved:
                    time.sleep(0.0001)
        except OSError:
            pass
        finally:
            os.close(master)
            with contextlib.suppress(OSError):
                os.close(slave)

    os.set_blocking(master, False)
    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    try:
        yield name, unplug
    finally:
        unplug()


def order(kind: Kind, sequence: int, address: int = 0, count: int = 4, data: bytes = b"") -> bytes:
    """The frame of a request."""
    return encode(Request(kind=kind, sequence=sequence, address=address, count=count, data=data).pack())
