# amaranth: UnusedElaboratable=no
"""The host's side of the link against the compiled gateware, over a wire that flips, loses and doubles.

A board in plain Python (support/link_board.py) takes the gateware's place where what matters is the host's
own behaviour.
"""
import random
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "support"))

from celosia.host.link.serial import SerialLink  # noqa: E402
from celosia.host.link.session import MOST_PATIENCE, TRIES, Order, Session  # noqa: E402
from celosia.rtl.contract.errors import DeviceError, DeviceTimeout, LinkError, MismatchError  # noqa: E402
from celosia.rtl.contract.fabric import Fabric  # noqa: E402
from celosia.rtl.contract.link import INFO_BYTES, Answer, Info, Kind, Request, Status, encode  # noqa: E402
from celosia.rtl.contract.registers import Control, Reg  # noqa: E402
from celosia.rtl.contract.registers import Status as FabricStatus  # noqa: E402
from link_bench import BAUD, CLOCK, Bench, Meddler  # noqa: E402
from link_board import Board, BoardWire  # noqa: E402

FABRIC = Fabric(rows=4, cols=4)
INFO = Info(board=3, clock=CLOCK, memory_bytes=1 << 16, fingerprint=FABRIC.fingerprint)
TRANSFERS = 10_000


@pytest.fixture
def bench():
    bench = Bench(INFO, seed=1)
    yield bench
    assert bench.broken == 0
    bench.close()


def use(link, far, *, transfers: int, seed: int, longest: int = 40):
    """Random accesses; each read is compared, in the end all memory and the count of writes to registers."""
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    memory, registers, writes = far.memory.copy(), far.registers.copy(), far.writes.copy()
    for n in range(transfers):
        what, place = rng.integers(4), int(rng.integers(len(registers)))
        count = int(rng.integers(1, longest)) if n % 16 else int(rng.integers(200, 257))
        address = int(rng.integers(0, memory.size - count))
        if what == 0:
            data = rng.integers(0, 256, count, np.uint8)
            link.write_memory(address, data)
            memory[address:address + count] = data
        elif what == 1:
            np.testing.assert_array_equal(link.read_memory(address, count), memory[address:address + count])
        elif what == 2:
            value = int(rng.integers(1 << 32))
            link.write_register(4 * place, value)
            registers[place] = value
            writes[place] += 1
        else:
            assert link.read_register(4 * place) == registers[place]
    np.testing.assert_array_equal(far.memory, memory)
    np.testing.assert_array_equal(far.writes, writes)


def test_ten_thousand_transfers_with_one_bit_in_ten_thousand_wrong(bench):
    """Not one wrong byte, and each register write exactly once."""
    bench.conditions(error_rate=1e-4, stall=0.1)
    link = SerialLink(bench, FABRIC)
    use(link, bench, transfers=TRANSFERS, seed=3)
    print(f"{bench.sent} bytes to the board, {bench.received} back, {link.session.repeated} frames repeated, "
          f"{link.session.dropped} answers bad, {bench.now():.1f} s on the wire")
    assert link.session.repeated > 100 and link.session.dropped > 100


def test_lost_doubled_changed_and_swapped_bytes(bench):
    link = SerialLink(Meddler(bench, chance=3e-4, seed=1), FABRIC)
    use(link, bench, transfers=1500, seed=4)
    assert link.session.repeated > 30 and link.session.dropped > 30


def test_a_wire_without_errors_repeats_nothing(bench):
    bench.conditions(stall=0.3)
    link = SerialLink(bench, FABRIC)
    use(link, bench, transfers=400, seed=5)
    data = np.random.default_rng(6).integers(0, 256, 20_000, np.uint8)
    link.write_memory(333, data)
    np.testing.assert_array_equal(link.read_memory(333, data.size), data)
    assert link.session.repeated == link.session.dropped == 0


@pytest.mark.parametrize("drift", [0.975, 1.025])
def test_clocks_may_differ_by_two_and_a_half_percent(drift):
    bench = Bench(INFO, seed=1, drift=drift)
    use(link := SerialLink(bench, FABRIC), bench, transfers=100, seed=7)
    assert link.session.repeated == 0


def test_bulk_transfers_come_close_to_the_speed_of_the_wire(bench):
    """In the clock of the board; FLAG, header and check of a page of 256 bytes take 13 more."""
    link = SerialLink(bench, FABRIC)
    data = np.zeros(1 << 15, np.uint8)
    rates = []
    for access in (lambda: link.write_memory(0, data), lambda: link.read_memory(0, data.size)):
        start = bench.now()
        access()
        rates.append(data.size * 10 / BAUD / (bench.now() - start))
    print(f"write {rates[0]:.1%}, read {rates[1]:.1%} of the wire")
    assert min(rates) > 0.9


@pytest.mark.parametrize("data_bytes", [8])
def test_a_wide_memory_port(data_bytes):
    bench = Bench(INFO, data_bytes=data_bytes, seed=1)
    bench.conditions(stall=0.2)
    use(SerialLink(bench, FABRIC), bench, transfers=300, seed=8)
    assert bench.broken == 0


def test_every_start_and_length_in_a_page_moves_these_bytes_and_no_other(bench):
    link = SerialLink(bench, FABRIC)
    rng = np.random.default_rng(9)
    for start in (0, 1, 2, 3, 250, 255):
        for count in (1, 2, 3, 4, 5, 8, 9, 256, 257):
            bench.memory[:] = 0xAA
            data = rng.integers(0, 256, count, np.uint8)
            link.write_memory(start, data)
            assert (bench.memory[start:start + count] == data).all()
            assert (bench.memory[:start] == 0xAA).all() and (bench.memory[start + count:600] == 0xAA).all()
            assert (link.read_memory(start, count) == data).all()


def answers(far, frames):
    """The bodies a far end sends back, in raw form."""
    far.send(frames)
    received = b""
    while data := far.receive(0.01):
        received += data
    return received


def test_gateware_and_python_board_answer_alike(bench):
    """Frames in and out of sequence, malformed ones, repeated ones and garbage, byte for byte."""
    rng = random.Random(10)
    board = Board(INFO)
    wire = BoardWire(board)
    sequence, body, seen = 0, b"\4\0" + bytes(5), set()
    board_body = body  # of the last request that was carried out
    for n in range(600):
        if n in (5, 300):
            bench.reset()
            board.reset()
        step = rng.choice([0, 1, 1, 1, 1, 1, 2, 200])
        if step:  # else the same again, as a host that repeats a number must
            sequence = (sequence + step) % 256
            kind = rng.choice([0, 1, 2, 3, 3, 2, 4 if n > 20 else 5, 5, 7, 255])
            count = rng.choice([1, 4, 4, 4, 16, 256, 19])
            address = rng.choice([rng.randrange(0, 256, 4), rng.randrange(1 << 16), 1 << 20])
            if kind in (0, 1):
                address &= 0x3FC
            extra = rng.choice([0, 0, 0, 0, int(count < 256), -1] if kind & 1 else [0, 0, 0, 3])
            data = rng.randbytes(count * (kind & 1) + extra)
            body = bytes([kind, sequence]) + address.to_bytes(4, "little") + bytes([count - 1]) + data
        frame = rng.choice([b"", b"", b"\x55\x7d", b"\x7e\x7e", rng.randbytes(5)]) + encode(body)
        want = answers(wire, frame)
        assert answers(bench, frame) == want, (n, body.hex())
        seen.add(want[1])
        if step and want[1] >= 0x80 | Status.SEQUENCE and rng.random() < 0.5:  # be in step again
            sequence, body = board._last, board_body
        else:
            board_body = body if want[1] < 0x80 | Status.SEQUENCE else board_body
    assert seen >= {0x80 | status for status in Status}
    np.testing.assert_array_equal(bench.memory, board.memory)
    np.testing.assert_array_equal(bench.writes, board.writes)


def test_a_request_that_comes_twice_is_carried_out_once(bench):
    session = Session(bench, baud=BAUD)
    session.ask(Order(kind=Kind.WRITE_REGISTER, address=8, data=b"\1\2\3\4"))
    last = encode(Request(kind=Kind.WRITE_REGISTER, sequence=(session._next - 1) % 256, address=8,
                          data=b"\1\2\3\4").pack())
    again = answers(bench, last * 3)
    assert bench.writes[2] == 1 and again.count(again[:len(again) // 3]) == 3


def test_a_reset_board_is_noticed_at_the_next_access(bench):
    link = SerialLink(bench, FABRIC)
    link.write_memory(0, np.arange(100, dtype=np.uint8))
    bench.reset()
    with pytest.raises(LinkError, match="has been reset since it was opened"):
        link.read_memory(0, 100)
    link = SerialLink(bench, FABRIC)  # opened anew
    assert link.read_memory(0, 100)[99] == 99


def test_a_board_reset_in_the_middle_of_a_transfer_is_noticed():
    board = Board(INFO)
    wire = BoardWire(board)
    link = SerialLink(wire, FABRIC)

    class Resetting:
        left = 5

        def feed(self, data):
            self.left -= 1
            if self.left == 0:
                board.reset()
            return board.feed(data)

    wire.board = Resetting()
    with pytest.raises(LinkError, match="has been reset"):
        link.write_memory(0, np.zeros(1 << 14, np.uint8))


def test_a_bus_error_is_an_error_and_the_link_goes_on(bench):
    link = SerialLink(bench, FABRIC)
    with pytest.raises(DeviceError, match="register 0x0400 .*SLVERR"):
        link.read_register(0x400)
    with pytest.raises(DeviceError, match="register 0x0400 .*SLVERR"):
        link.write_register(0x400, 1)
    with pytest.raises(DeviceError, match="outside the 65536 bytes"):
        link.read_memory(1 << 16, 4)
    with pytest.raises(DeviceError, match="DECERR"):  # the board's memory is smaller than it says
        small = Bench(INFO, seed=1)
        other = SerialLink(small, FABRIC)
        other.session.info = Info(board=3, clock=CLOCK, memory_bytes=1 << 20, fingerprint=0)
        other.write_memory(1 << 17, np.zeros(4, np.uint8))
    use(link, bench, transfers=10, seed=11)


def silent_after(board, frames):
    """The board, but nothing comes back after so many frames."""
    class Silent:
        left = frames

        def feed(self, data):
            self.left -= 1
            return board.feed(data) if self.left >= 0 else b""

    return Silent()


def test_a_port_where_nothing_answers_is_given_up_in_seconds():
    wire = BoardWire(silent_after(Board(INFO), 0))
    with pytest.raises(LinkError, match="has not answered 5 requests to identify itself; check that this"):
        SerialLink(wire, FABRIC)
    assert wire.now() < 5


def test_a_board_that_falls_silent_is_given_up_in_bounded_time():
    wire = BoardWire(Board(INFO))
    link = SerialLink(wire, FABRIC)
    wire.board = silent_after(wire.board, 3)
    start = wire.now()
    with pytest.raises(LinkError, match=f"not answered {TRIES} requests to write memory at 0x[23]00"):
        link.write_memory(0, np.zeros(4096, np.uint8))
    assert wire.now() - start < TRIES * (MOST_PATIENCE + 0.1)


def test_an_echo_is_no_board():
    class Echo:
        def feed(self, data):
            return data

    with pytest.raises(LinkError, match="not answered"):
        SerialLink(BoardWire(Echo()), FABRIC)


def test_garbage_without_end_is_given_up():
    class Noise:
        rng = random.Random(1)

        def feed(self, data):
            return self.rng.randbytes(200)

    with pytest.raises(LinkError, match="no frame of it is good .*baud"):
        SerialLink(BoardWire(Noise()), FABRIC)


def test_a_board_that_repeats_itself_for_ever_is_given_up():
    class Parrot:
        def __init__(self):
            self.board = Board(INFO)
            self.opened = False

        def feed(self, data):
            out = self.board.feed(data)
            if self.opened:
                other = self.board._last ^ 0x80
                return encode(Answer(status=Status.OK, sequence=other, last=0).pack()) * 2000
            self.opened = True
            return out

    link = SerialLink(BoardWire(Parrot()), FABRIC)
    with pytest.raises(LinkError, match="was not asked"):
        link.read_register(0)


def test_another_fabric_is_refused_before_anything_is_written():
    board = Board(INFO)
    with pytest.raises(MismatchError, match=r"this board \(icebreaker\) has fabric 0x.*, not other .*--fab"):
        SerialLink(BoardWire(board), Fabric(name="other", rows=3, cols=3))
    assert not board.writes.any()


def test_another_version_of_the_link_is_refused():
    info = Info(board=3, clock=CLOCK, memory_bytes=64, fingerprint=FABRIC.fingerprint, version=2)
    with pytest.raises(MismatchError, match="version 2 of the link, this software version 1"):
        SerialLink(BoardWire(Board(info)), FABRIC)


def test_answers_lost_in_a_window_are_asked_for_anew():
    """The host gets no answer to some requests that were carried out, while later ones are answered."""
    board = Board(INFO)
    rng = random.Random(12)

    class Losing:
        def feed(self, data):
            frames = [frame for frame in data.split(b"\x7e") if frame]
            out = b""
            for frame in frames:
                answer = board.feed(b"\x7e" + frame + b"\x7e")
                out += answer if rng.random() < 0.6 else b""
            return out

    link = SerialLink(BoardWire(Losing()), FABRIC)
    use(link, board, transfers=300, seed=13, longest=2000)


def test_an_access_that_is_broken_off_leaves_the_link_usable():
    """Ctrl-C between frames: some were sent, some not, and some are lost on the way."""
    board = Board(INFO)
    wire = BoardWire(board)
    link = SerialLink(wire, FABRIC)

    class Interrupting:
        def feed(self, data):
            wire.board = board
            raise KeyboardInterrupt

    for seed in range(5):
        wire.board = Interrupting()
        with pytest.raises(KeyboardInterrupt):
            link.write_memory(0, np.zeros(1000, np.uint8))
        use(link, board, transfers=5, seed=seed)


class Runs:
    """A board whose fabric is busy for so many seconds after START."""

    def __init__(self, wire_seconds, seconds, *, counts=True):
        self.board, self.now, self.seconds, self.counts = Board(INFO), wire_seconds, seconds, counts
        self.started = None

    def feed(self, data):
        board = self.board
        passed = self.now() - self.started if self.started is not None else 0.0
        busy = self.started is not None and passed < self.seconds
        board.registers[Reg.STATUS // 4] = FabricStatus.BUSY if busy else FabricStatus.DONE
        board.registers[Reg.CYCLES_LO // 4] = int(passed * CLOCK) & 0xFFFF_FFFF if self.counts else 7
        out = board.feed(data)
        if board.writes[Reg.CONTROL // 4] and self.started is None:
            self.started = self.now()
        return out


def running(seconds, **more):
    wire = BoardWire(None)
    wire.board = Runs(wire.now, seconds, **more)
    link = SerialLink(wire, FABRIC)
    link.write(Reg.CONTROL, Control.START)
    return wire, link


def test_wait_idle_returns_soon_after_the_end_and_tells_how_far_it_is():
    wire, link = running(2.0)
    told = []
    link.wait_idle(max_cycles=int(3 * CLOCK), progress=lambda cycles, seconds: told.append((cycles, seconds)))
    assert 2.0 <= wire.now() < 2.1
    assert len(told) > 10 and told[-1][0] == pytest.approx(told[-1][1] * CLOCK, rel=0.1)


def test_wait_idle_gives_up_after_the_cycles_it_was_allowed():
    wire, link = running(1e9)
    with pytest.raises(DeviceTimeout, match="still busy after"):
        link.wait_idle(max_cycles=CLOCK)
    assert 1.0 <= wire.now() < 1.2


def test_wait_idle_gives_up_a_fabric_whose_counter_stands_still():
    wire, link = running(1e9, counts=False)
    with pytest.raises(DeviceTimeout, match="still busy after 0 cycles"):
        link.wait_idle(max_cycles=1000)
    assert wire.now() < 4


def test_identification_is_as_long_as_the_contract_says():
    board = Board(INFO)
    SerialLink(BoardWire(board), FABRIC)
    assert len(board.info.pack()) == INFO_BYTES
