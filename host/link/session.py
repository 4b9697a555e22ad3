"""Requests and answers over a wire that may lose or change bytes: each done once, or an error in time."""
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ...rtl.contract.errors import DeviceError, LinkError, MismatchError
from ...rtl.contract.link import (
    INFO_BYTES,
    MAX_DATA,
    MAX_REPLY,
    VERSION,
    Answer,
    Decoder,
    Info,
    Kind,
    Request,
    Status,
    encode,
)
from .wire import Wire

TRIES = 20
"""Times that a request is sent before the link is given up. With one bit in 10,000 wrong a quarter of the
long frames are lost, and a request fails so often in a row once in 10**11."""
OPENING_TRIES = 5
PATIENCE = 0.1
"""Seconds that an answer may take beyond its time on the wire, to begin with: adapters and systems keep bytes
back for some milliseconds. It follows what the answers do take, and doubles while none come."""
MOST_PATIENCE = 1.0
READ_WINDOW = 2
"""Requests under way that are answered with data: as many as the board keeps (contract/link.py)."""
WRITE_WINDOW = 8
REGISTER_WINDOW = 32
MOST_STALE = 1000
"""Answers in a row that bring nothing: more cannot come from what this side has sent."""
BITS_PER_BYTE = 10
CARRIED_OUT = (Status.OK, Status.SLAVE_ERROR, Status.DECODE_ERROR)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a request asks for, before it has its number."""

    kind: Kind
    address: int = 0
    count: int = 4
    data: bytes = b""


@dataclass
class _UnderWay:
    index: int
    sequence: int
    frame: bytes
    sent: float


class Session:
    """The host's end of the link, from identification on.

    A sequence number stands for one request and no other, so that whatever comes twice or late does no harm.
    What was not answered is sent again. A board that refuses a number as out of sequence says which it
    carried out last: later ones are sent again; earlier ones, whose answers were lost, are asked for anew if
    they read or write memory, and are done if they wrote a register.

    Parameters
    ----------
    wire : Wire
    baud : int
        Its speed.

    Attributes
    ----------
    info : Info
        What the board said of itself.
    repeated : int
        Frames that were sent again.
    """

    def __init__(self, wire: Wire, *, baud: int):
        self._wire, self._baud = wire, baud
        self._decoder = Decoder(longest=MAX_REPLY)
        self._answers: deque[Answer] = deque()
        self._patience = PATIENCE
        self.repeated = 0
        self._next = os.urandom(1)[0]
        self._unsure = False  # an order was broken off, so the board may have missed a number
        self.info = self._identify()

    @property
    def dropped(self) -> int:
        """Answers that were not good."""
        return self._decoder.dropped

    def ask(self, order: Order) -> Answer:
        """Carry out one order, once."""
        return self._carry_out([order], window=1, tries=TRIES)[0]

    def read_memory(self, address: int, count: int) -> list[Answer]:
        """``count`` bytes from ``address`` on, page by page."""
        orders = [Order(kind=Kind.READ_MEMORY, address=at, count=size) for at, size in _pages(address, count)]
        return self._carry_out(orders, window=READ_WINDOW, tries=TRIES)

    def write_memory(self, address: int, data: bytes) -> list[Answer]:
        """Write ``data`` from ``address`` on, page by page."""
        orders = [Order(kind=Kind.WRITE_MEMORY, address=at, count=size, data=data[at - address:][:size])
                  for at, size in _pages(address, len(data))]
        return self._carry_out(orders, window=WRITE_WINDOW, tries=TRIES)

    def write_registers(self, values: Sequence[tuple[int, int]]) -> None:
        """Write registers, address and value, in this order and each once.

        That a bus error was the answer to one may go unnoticed if its answer was lost: see to it that what
        the writes should do was done.

        Raises
        ------
        DeviceError
            If a bus error was the answer.
        """
        orders = [Order(kind=Kind.WRITE_REGISTER, address=address, data=value.to_bytes(4, "little"))
                  for address, value in values]
        for order, answer in zip(orders, self._carry_out(orders, window=REGISTER_WINDOW, tries=TRIES),
                                 strict=True):
            if answer.status != Status.OK:
                raise DeviceError(f"the board refused a write to register {order.address:#06x} "
                                  f"({answer.status.name}); flash it again with this software")

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        end = self._wire.now() + seconds
        while (left := end - self._wire.now()) > 0:
            self._decoder.feed(self._wire.receive(left))  # nothing is asked, so nothing is answered

    def now(self) -> float:
        """Seconds since some moment, as the wire has it."""
        return self._wire.now()

    def close(self) -> None:
        self._wire.close()

    def _identify(self) -> Info:
        order = Order(kind=Kind.IDENTIFY, count=INFO_BYTES)
        try:
            data = self._carry_out([order], window=1, tries=OPENING_TRIES)[0].data
        except LinkError as error:
            if self._decoder.dropped:
                raise LinkError(f"something answers, but no frame of it is good ({self._decoder.dropped} "
                                "were not); check the baud rate and that this is the board's port") from error
            raise
        version = int.from_bytes(data[:2], "little")
        if version != VERSION:
            raise MismatchError(f"the board speaks version {version} of the link, this software version "
                                f"{VERSION}; build and flash the board again with this software")
        return Info.unpack(data)

    def _carry_out(self, orders: Sequence[Order], *, window: int, tries: int) -> list[Answer]:
        """The answers to all orders, in their order; at most ``window`` are under way."""
        if self._unsure:
            self._catch_up()
        self._unsure = True
        answers = self._exchange(orders, window=window, tries=tries)
        self._unsure = False
        return answers

    def _exchange(self, orders: Sequence[Order], *, window: int, tries: int) -> list[Answer]:
        answers: list[Answer | None] = [None] * len(orders)
        to_do = deque(range(len(orders)))
        under_way: deque[_UnderWay] = deque()
        failures, stale, resent = 0, 0, False

        def forget(count: int) -> None:
            """The first ones were carried out, and their answers did not come."""
            for item in [under_way.popleft() for _ in range(count)]:
                order = orders[item.index]
                if order.kind in (Kind.READ_MEMORY, Kind.WRITE_MEMORY):
                    to_do.append(item.index)  # does no harm a second time
                elif order.kind == Kind.WRITE_REGISTER and window > 1:
                    answers[item.index] = Answer(status=Status.OK, sequence=item.sequence, last=item.sequence)
                else:
                    raise LinkError("the board has carried out a request that this program did not send: "
                                    "another one uses its port; close that, and start again")

        while to_do or under_way:
            while to_do and len(under_way) < window:
                under_way.append(self._send(orders[to_do[0]], to_do[0]))
                to_do.popleft()
            answer = self._await(under_way, doublings=failures)
            if answer is None:
                failures += 1
                if failures >= tries:
                    raise LinkError(self._silence(orders[under_way[0].index], tries))
                self._resend(under_way)
                resent = True
                continue
            if (stale := stale + 1) > MOST_STALE:
                raise LinkError(f"the board keeps answering what it was not asked ({MOST_STALE} times in a "
                                "row); another program uses its port: close that, and start again")
            place = next((n for n, item in enumerate(under_way) if item.sequence == answer.sequence), None)
            if place is None:
                continue  # to something that is answered already
            if answer.status in CARRIED_OUT:
                # Those before it were carried out too, but their answers were lost.
                forget(place)
                item = under_way.popleft()
                if len(answer.data) == _expected(orders[item.index], answer):
                    answers[item.index] = answer
                else:
                    raise LinkError(f"the board answered a request for {orders[item.index].count} bytes with "
                                    f"{len(answer.data)}; build and flash it again with this software")
                if failures == 0:
                    took = self._wire.now() - item.sent
                    self._patience = min(max(PATIENCE, 0.9 * self._patience, 2 * took), MOST_PATIENCE)
                failures, stale, resent = 0, 0, False
            elif answer.status == Status.SEQUENCE:
                done = sum((answer.last - item.sequence) % 256 < 128 for item in under_way)
                forget(done)
                if not resent:  # else this may be the answer to a frame sent before
                    self._resend(under_way)
                    resent = True
            elif answer.status == Status.CLOSED:
                raise LinkError("the board has been reset since it was opened, and has lost what was in its "
                                "memory; open it and load the program again")
            else:
                raise LinkError("the board does not understand this software; build and flash it again with "
                                "this software")
        return [answer for answer in answers if answer is not None]

    def _catch_up(self) -> None:
        """Find out which number the board expects, when nothing sent before can still arrive."""
        self.pause(MOST_PATIENCE)
        self._answers.clear()
        order = Order(kind=Kind.READ_REGISTER)
        item = self._send(order, 0)
        for failures in range(TRIES):
            answer = self._await(deque([item]), doublings=failures)
            if answer is None:
                self._resend(deque([item]))
            elif answer.sequence == item.sequence:
                self._next = (answer.last + 1) % 256
                self._unsure = False
                return
        raise LinkError(self._silence(order, TRIES))

    def _send(self, order: Order, index: int) -> _UnderWay:
        sequence, self._next = self._next, (self._next + 1) % 256
        frame = encode(Request(kind=order.kind, sequence=sequence, address=order.address, count=order.count,
                               data=order.data).pack())
        self._wire.send(frame)
        return _UnderWay(index, sequence, frame, self._wire.now())

    def _resend(self, under_way: "deque[_UnderWay]") -> None:
        for item in under_way:
            self.repeated += 1
            self._wire.send(item.frame)

    def _await(self, under_way: "deque[_UnderWay]", *, doublings: int) -> Answer | None:
        """The next answer, or None if none comes in time."""
        on_wire = sum(len(item.frame) for item in under_way) + len(under_way) * 2 * MAX_REPLY
        patience = min(self._patience * 2**min(doublings, 10), MOST_PATIENCE)
        end = self._wire.now() + patience + BITS_PER_BYTE * on_wire / self._baud
        while not self._answers:
            left = end - self._wire.now()
            if left <= 0:
                return None
            for body in self._decoder.feed(self._wire.receive(left)):
                if (answer := Answer.unpack(body)) is not None:
                    self._answers.append(answer)
        return self._answers.popleft()

    def _silence(self, order: Order, tries: int) -> str:
        what = "identify itself" if order.kind == Kind.IDENTIFY else (
            f"{order.kind.name.lower().replace('_', ' ')} at {order.address:#x}")
        advice = ("check that this is its port, and flash the bitstream" if order.kind == Kind.IDENTIFY else
                  "it was unplugged or held in reset, or its memory does not answer: power it off and on")
        return f"the board has not answered {tries} requests to {what}; {advice}"


def _expected(order: Order, answer: Answer) -> int:
    return 0 if order.kind.writes or answer.status != Status.OK else order.count


def _pages(address: int, count: int) -> list[tuple[int, int]]:
    """Address and size of the pieces of a range that lie within one page each."""
    end = address + count
    edges = [address, *range((address // MAX_DATA + 1) * MAX_DATA, end, MAX_DATA), end]
    return [(low, high - low) for low, high in zip(edges, edges[1:], strict=False)] if count else []
