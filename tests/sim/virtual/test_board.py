"""The virtual board's wires, its sleep and its end, on a small stand-in for a board's gateware."""
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import serial
from celosia.boards.board import find_board
from celosia.host.link.wire import SerialWire
from celosia.rtl.contract.errors import DeviceError, InputError, LinkError, ToolError
from celosia.rtl.sdram.timing import SDRAMTiming
from celosia.sim.native import build as native
from celosia.sim.virtual import board as board_module
from celosia.sim.virtual import build
from celosia.sim.virtual.board import VirtualBoard, Wire, compiled_board

VERILOG = (Path(__file__).parent / "stand_in.v").read_text()
BOARD = find_board("ulx3s_85f")
SECONDS = 20
PAYLOAD = bytes(value for value in range(256) if value not in (0xF0, 0xF2))


def library(cycles):
    text = f"`define CYCLES {cycles}\n{VERILOG}"
    return native.compiled(build.harness(BOARD), ("stand-in", text), lambda folder: text)


@pytest.fixture(scope="module")
def stand_in():
    """A board of 8 cycles a bit."""
    return library(8), Wire(clock=100_000_000, baud=12_500_000, memory_bytes=BOARD.memory_bytes,
                              sdram=SDRAMTiming().at(100e6))


@pytest.fixture
def board(stand_in):
    with VirtualBoard(BOARD, library=stand_in) as running:
        yield running


@pytest.fixture
def port(board):
    with serial.Serial(board.port, 3_000_000, timeout=SECONDS) as opened:
        yield opened


def until(condition):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_bytes_come_back_in_order(board, port):
    for _ in range(3):
        port.write(PAYLOAD)
        assert port.read(len(PAYLOAD)) == bytes((value + 1) % 256 for value in PAYLOAD)
    counters = board.counters
    assert counters.bytes_in == counters.bytes_out == 3 * len(PAYLOAD)
    assert counters.dropped == counters.broken == 0
    assert counters.cycles > 3 * len(PAYLOAD) * 80  # 10 bits of 8 cycles


@pytest.mark.parametrize("baud", [12_200_000, 12_800_000])
def test_ends_that_are_two_percent_apart_understand_each_other(stand_in, baud):
    path, wire = stand_in
    with VirtualBoard(BOARD, library=(path, replace(wire, baud=baud))) as running:
        with serial.Serial(running.port, timeout=SECONDS) as port:
            for value in PAYLOAD[::8]:
                port.write(bytes([value]))
                assert port.read(1) == bytes([value + 1])


def test_ends_that_are_far_apart_do_not(stand_in):
    path, wire = stand_in
    slower = replace(wire, baud=9_000_000)
    with VirtualBoard(BOARD, library=(path, slower)) as running:
        with serial.Serial(running.port, timeout=1) as port:
            port.write(PAYLOAD)
            assert port.read(len(PAYLOAD)) != bytes((value + 1) % 256 for value in PAYLOAD)


def test_time_stands_still_when_nothing_happens(board, port):
    port.write(b"a")
    assert port.read(1) == b"b"
    last = 0

    def still():
        nonlocal last
        before, last = last, board.cycles
        time.sleep(0.1)
        return before == last

    until(still)
    cycles, processor = board.cycles, time.process_time()
    time.sleep(0.5)
    assert board.cycles == cycles and time.process_time() - processor < 0.2
    port.write(b"b")
    assert port.read(1) == b"c" and board.cycles > cycles


def test_the_fabrics_clock_rests_but_not_while_it_works(board, port):
    port.write(b"a" * 50)
    assert port.read(50) == b"b" * 50
    idle = board.counters
    assert idle.fabric_cycles < 200 < idle.cycles
    port.write(b"\xf0")
    assert port.read(1) == b"\xf1"
    assert 1000 <= board.counters.fabric_cycles - idle.fabric_cycles < 1200


def test_without_rest_every_cycle_is_simulated(stand_in):
    with VirtualBoard(BOARD, library=stand_in, rest=False) as board:
        with serial.Serial(board.port, timeout=SECONDS) as port:
            port.write(b"a")
            assert port.read(1) == b"b"
        counters = board.counters
        assert counters.fabric_cycles == counters.cycles


def test_a_broken_rule_of_the_memory_ends_it_with_the_rules_name(stand_in):
    with pytest.raises(DeviceError, match="power-up time"):
        with VirtualBoard(BOARD, library=stand_in) as board:
            wire = SerialWire(board.port, baud=3_000_000)
            wire.send(b"\xf2")
            until(lambda: not board.running)
            assert "cycle" in board.fault
            with pytest.raises(LinkError, match="is gone"):
                wire.receive(SECONDS)
            wire.close()


def test_an_unplugged_board_is_an_error_of_the_wire(stand_in):
    board = VirtualBoard(BOARD, library=stand_in)
    with board:
        wire = SerialWire(board.port, baud=3_000_000)
        wire.send(b"a")
        assert wire.receive(SECONDS) == b"b"
    with pytest.raises(LinkError, match="is gone"):
        wire.receive(SECONDS)
    wire.close()
    cycles = board.cycles
    board.close()
    assert not board.running and board.cycles == cycles > 0


def test_a_second_program_is_refused_the_port(board):
    wire = SerialWire(board.port, baud=3_000_000)
    with pytest.raises(LinkError, match="in use"):
        SerialWire(board.port, baud=3_000_000)
    wire.close()


def test_a_driver_may_come_and_go(board):
    for _ in range(3):
        with serial.Serial(board.port, timeout=SECONDS) as port:
            port.write(b"a")
            assert port.read(1) == b"b"


def test_the_link_is_there_while_the_board_is(stand_in, tmp_path):
    link = tmp_path / "board"
    link.symlink_to("/nowhere")  # as a board that was killed leaves it
    with VirtualBoard(BOARD, library=stand_in, link=link) as board:
        assert os.readlink(link) == board.port
        with serial.Serial(str(link), timeout=SECONDS) as port:
            port.write(b"a")
            assert port.read(1) == b"b"
    assert not link.is_symlink()


def test_a_file_in_the_links_place_is_left_alone(stand_in, tmp_path):
    (tmp_path / "board").write_text("mine")
    with pytest.raises(InputError, match="name another place"):
        with VirtualBoard(BOARD, library=stand_in, link=tmp_path / "board"):
            pass
    assert (tmp_path / "board").read_text() == "mine"


def test_the_memory_can_be_seen_from_outside(stand_in):
    board = VirtualBoard(BOARD, library=stand_in)
    board.poke(0x1234, b"hello")
    assert board.peek(0x1233, 7) == b"\0hello\0"
    with pytest.raises(InputError, match="not in the memory"):
        board.poke(BOARD.memory_bytes - 1, b"ab")
    board.close()


def test_bytes_that_nobody_takes_are_dropped_and_counted(board):
    """A terminal holds some kilobytes; the rest waits in the harness, up to a limit."""
    with serial.Serial(board.port, timeout=SECONDS) as port:
        for _ in range(400):
            port.write(PAYLOAD)
        until(lambda: board.counters.dropped > 0)


def test_a_board_that_is_not_that_fast_is_refused():
    with pytest.raises(InputError, match="takes up to 16,666,666 bits a second"):
        compiled_board(BOARD, 20_000_000)
    with pytest.raises(InputError, match="there is no board"):
        VirtualBoard("ulx3s_12f")


def test_what_is_no_board_is_refused(tmp_path, monkeypatch, stand_in):
    (tmp_path / "wrong.so").write_text("this is no library")
    with pytest.raises(ToolError, match="is no compiled board"):
        VirtualBoard(BOARD, library=(tmp_path / "wrong.so", stand_in[1]))
    monkeypatch.setattr(board_module, "INTERFACE", 99)
    with pytest.raises(ToolError, match="expected 99"):
        VirtualBoard(BOARD, library=stand_in)
