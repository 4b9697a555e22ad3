"""Networks on whole boards: gateware from serial wire to memory pins, and the driver that hardware has."""
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import serial
from celosia.boards.board import find_board
from celosia.host.driver.device import Device
from celosia.host.link.serial import SerialLink
from celosia.rtl.contract.errors import LinkError, MismatchError
from celosia.rtl.contract.isa import INSTRUCTION_BYTES, Load, Store, Unit
from celosia.rtl.contract.link import MAX_REPLY, Answer, Decoder, Kind, Request, encode
from celosia.rtl.contract.link import Status as LinkStatus
from celosia.rtl.contract.registers import Control, Reg, Status
from celosia.sim.virtual.board import VirtualBoard, compiled_board

import celosia

BOARDS = ["ulx3s_85f", "icebreaker"]
NETWORKS = ["mlperf_kws_dscnn", "mlperf_ic_resnet8"]
SECONDS = 60
WATCHDOG = 5_000_000
"""Several times the cycles of the slowest network on the slowest board."""


@pytest.fixture(scope="module", params=BOARDS)
def built(request):
    """A board and its library."""
    board = find_board(request.param)
    return board, compiled_board(board)


@pytest.fixture
def running(built):
    board, library = built
    with VirtualBoard(board, library=library) as virtual:
        yield virtual


def golden(models, name, sample):
    with np.load(models / "goldens" / f"{name}.npz") as held:
        return held[f"in0_{sample}"], held[f"ref0_{sample}"]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_runs_exactly(built, models, name):
    """Constants that belong into a flash are there from an earlier day: the driver finds nothing to write."""
    board, library = built
    program = celosia.compile(models / f"{name}.tflite", fabric=board.fabric)
    virtual = VirtualBoard(board, library=library)
    for address, blob in program.blobs:
        if 0 < board.fabric.rom_base <= address:
            virtual.poke(address % board.memory_bytes, blob.tobytes())
    with virtual:
        link = SerialLink(virtual.port, board.fabric)
        with Device(link, board.fabric, watchdog=WATCHDOG) as device:
            for sample in (0, 1):
                image, wanted = golden(models, name, sample)
                result = device.run(program, image)
                np.testing.assert_array_equal(result.outputs[0].reshape(wanted.shape), wanted)
                assert result.cycles > 0
            assert link.session.dropped == 0
        counters = virtual.counters
        assert counters.broken == counters.dropped == 0


def test_the_command_line_meets_the_driver(built, tmp_path, digits):
    """Two processes that know each other by a name in the file system only; a flash is programmed."""
    board, _ = built
    name = tmp_path / "board"
    command = Path(sys.executable).with_name("celosia")
    served = subprocess.Popen([command, "board", board.name, "--link", name, "--json", "--idle", "300"],
                              stdout=subprocess.PIPE, text=True)
    try:
        told = json.loads(served.stdout.readline())
        assert told["board"] == board.name and os.path.realpath(name) == told["port"]
        said = subprocess.run([command, "run", digits, "--device", f"serial:{name}", "--fabric",
                               board.fabric.name, "--check", "--json"], capture_output=True, text=True,
                              timeout=4 * SECONDS)
        assert said.returncode == 0, said.stderr
        assert json.loads(said.stdout)["exact"] is True
    finally:
        served.terminate()
    rest, _ = served.communicate(timeout=SECONDS)
    assert served.returncode == 0 and json.loads(rest)["cycles"] > 10_000
    assert not name.is_symlink()


def test_a_board_unplugged_in_the_middle_of_a_run_is_a_link_error(built, models):
    board, library = built
    program = celosia.compile(models / f"{NETWORKS[1]}.tflite", fabric=board.fabric)
    image, _ = golden(models, NETWORKS[1], 0)
    with VirtualBoard(board, library=library) as virtual:
        device = Device(SerialLink(virtual.port, board.fabric), board.fabric)
        plug = threading.Thread(target=unplug_after, args=(virtual, 1000))
        plug.start()
        with pytest.raises(LinkError, match="is gone"):
            device.run(program, image)
        plug.join(SECONDS)
        device.close()


def unplug_after(virtual, bytes_in):
    end = time.monotonic() + SECONDS
    while virtual.counters.bytes_in < bytes_in and time.monotonic() < end:
        time.sleep(0.005)
    virtual.close()


def test_another_fabric_is_refused_before_a_byte_moves(running):
    before = running.peek(0, 256)
    with pytest.raises(MismatchError, match="not other"):
        SerialLink(running.port, running.board.fabric.but(name="other", max_burst=8))
    assert running.peek(0, 256) == before


PAUSE = bytes([0x7E]) * 300
"""Flags mean nothing: time passes on the wire, as much as the memory needs."""


def conversation(fabric, code):
    """Bytes of a host that runs a program and reads what came of it, all at once."""
    orders = [(Kind.IDENTIFY, 0, b"", 28), (Kind.WRITE_MEMORY, 1024, bytes(range(200)), 0),
              *([] if fabric.rom_base else [(Kind.WRITE_MEMORY, 0, code, 0)]),
              *((Kind.WRITE_REGISTER, reg, value.to_bytes(4, "little"), 0) for reg, value in (
                  (Reg.PROGRAM_ADDRESS, fabric.rom_base), (Reg.PROGRAM_COUNT, len(code) // INSTRUCTION_BYTES),
                  (Reg.WATCHDOG, 100_000), (Reg.CONTROL, Control.START))),
              *((Kind.READ_REGISTER, reg, b"", 4) for reg in (Reg.CYCLES_LO, Reg.RETIRED, Reg.STATUS)),
              (Kind.READ_MEMORY, 2048, b"", 200)]
    return [encode(Request(kind=kind, sequence=number, address=address, data=data,
                           count=len(data) or count).pack()) + PAUSE
            for number, (kind, address, data, count) in enumerate(orders)]


def test_letting_the_fabrics_clock_rest_changes_nothing(built):
    """The same bytes at the same cycle: the same answers.

    The cycle counter is among them, which on a board with flash may differ by one.
    """
    board, library = built
    fabric = board.fabric
    program = [Load(dram=1024, row_bytes=200, local=4096, signal=1 << Unit.STORE),
               Store(dram=2048, row_bytes=200, local=4096, wait=1 << Unit.LOAD)]
    code = b"".join(instruction.encode(fabric) for instruction in program)
    seen = []
    for rest in (True, False):
        virtual = VirtualBoard(board, library=library, rest=rest)
        if fabric.rom_base:
            virtual.poke(fabric.rom_base % board.memory_bytes, code)
        with virtual:
            with serial.Serial(virtual.port, timeout=SECONDS) as port:
                answers = exchange(virtual, port, conversation(fabric, code))
            counters = virtual.counters
            assert (counters.fabric_cycles < counters.cycles) is rest
        assert [answer.status for answer in answers] == [LinkStatus.OK] * len(answers)
        assert int.from_bytes(answers[-2].data, "little") == Status.DONE
        assert answers[-1].data == bytes(range(200))
        seen.append([answer.data for answer in answers])
    (*_, rested, retired, _, _), (*_, awake, as_many, _, _) = seen
    slack = 1 if fabric.rom_base else 0
    assert abs(int.from_bytes(rested, "little") - int.from_bytes(awake, "little")) <= slack
    assert retired == as_many


def exchange(virtual, port, frames):
    """All frames in one write to a board that is asleep, and the answers."""
    asleep(virtual)
    port.write(b"".join(frames))
    decoder, answers = Decoder(longest=MAX_REPLY), []
    end = time.monotonic() + SECONDS
    while len(answers) < len(frames):
        assert time.monotonic() < end
        answers += [Answer.unpack(body) for body in decoder.feed(port.read(max(1, port.in_waiting)))]
    return answers


def asleep(virtual):
    before, end = -1, time.monotonic() + SECONDS
    while virtual.cycles != before:
        assert time.monotonic() < end
        before = virtual.cycles
        time.sleep(0.2)
