# amaranth: UnusedElaboratable=no
"""SerialLink through pyserial and a pseudo terminal: speed, and every way in which a port can fail."""
import os
import stat
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "support"))

from celosia.host.driver.fabric_driver import FabricDriver  # noqa: E402
from celosia.host.link.serial import SerialLink  # noqa: E402
from celosia.host.link.wire import SerialWire, _why_not  # noqa: E402
from celosia.rtl.contract.errors import LinkError  # noqa: E402
from celosia.rtl.contract.fabric import Fabric  # noqa: E402
from celosia.rtl.contract.isa import ISA_VERSION  # noqa: E402
from celosia.rtl.contract.link import Info  # noqa: E402
from celosia.rtl.contract.registers import MAGIC_WORD, Reg  # noqa: E402
from link_board import Board, board_on_a_pty  # noqa: E402

FABRIC = Fabric(rows=4, cols=4)
INFO = Info(board=1, clock=100_000_000, memory_bytes=1 << 20, fingerprint=FABRIC.fingerprint)
BAUD = 3_000_000


def fabric_board() -> Board:
    board = Board(INFO)
    for reg, value in ((Reg.MAGIC, MAGIC_WORD), (Reg.VERSION, ISA_VERSION),
                       (Reg.FINGERPRINT_LO, FABRIC.fingerprint & 0xFFFF_FFFF),
                       (Reg.FINGERPRINT_HI, FABRIC.fingerprint >> 32)):
        board.registers[reg // 4] = value
    return board


def test_a_driver_works_over_a_serial_port():
    with board_on_a_pty(board := fabric_board()) as (port, _):
        driver = FabricDriver(SerialLink(port, FABRIC), FABRIC)
        data = np.random.default_rng(1).integers(0, 256, 50_000, np.uint8)
        driver.write_memory(123, data)
        np.testing.assert_array_equal(driver.read_memory(123, data.size), data)
        np.testing.assert_array_equal(board.memory[123:][:data.size], data)
        assert driver.link.memory_size == 1 << 20 and driver.link.session.repeated == 0
        driver.close()
        driver.close()


def test_bulk_transfers_over_a_port_of_3_mbaud_come_close_to_its_speed():
    """The host, pyserial, and a far end that takes as long as its bytes would; both on this machine."""
    with board_on_a_pty(fabric_board(), baud=BAUD) as (port, _):
        link = SerialLink(port, FABRIC)
        data = np.zeros(300_000, np.uint8)
        rates = []
        for access in (lambda: link.write_memory(0, data), lambda: link.read_memory(0, data.size)):
            start = time.perf_counter()
            access()
            rates.append(data.size / (time.perf_counter() - start))
        link.close()
    print(f"write {rates[0] / 1e3:.0f} kB/s, read {rates[1] / 1e3:.0f} kB/s of {BAUD / 1e4:.0f}")
    assert min(rates) > 0.15 * BAUD / 10  # on an idle machine above 0.8


def test_a_port_that_does_not_exist_is_named_and_others_are_listed():
    with pytest.raises(LinkError, match=r"there is no serial port /dev/nowhere \(found: .*plug the board in"):
        SerialLink("/dev/nowhere", FABRIC)


def test_a_port_without_permission_says_what_to_type(tmp_path):
    port = tmp_path / "port"
    port.touch()
    port.chmod(0)
    if os.access(port, os.R_OK):  # root may all
        assert "dialout" in _why_not("/dev/x", BAUD, PermissionError(13, "Permission denied"))
        return
    with pytest.raises(LinkError, match="no permission to use .*dialout"):
        SerialLink(str(port), FABRIC)
    assert stat.S_IMODE(port.stat().st_mode) == 0


def test_what_is_no_port_at_all_is_refused(tmp_path):
    (file := tmp_path / "file").write_text("text")
    with pytest.raises(LinkError, match="does not work as a serial port"):
        SerialLink(str(file), FABRIC)


def test_a_port_that_another_link_has_is_refused_and_free_again_after_its_close():
    with board_on_a_pty(fabric_board()) as (port, _):
        link = SerialLink(port, FABRIC)
        with pytest.raises(LinkError, match=f"{port} is in use by another program; close it"):
            SerialLink(port, FABRIC)
        link.close()
        SerialLink(port, FABRIC).close()


def test_a_link_that_was_refused_gives_its_port_back():
    with board_on_a_pty(fabric_board()) as (port, _):
        for _ in range(2):
            with pytest.raises(Exception, match="has fabric"):
                SerialLink(port, Fabric(rows=3, cols=3))


def test_a_board_unplugged_in_the_middle_is_an_error_within_seconds():
    with board_on_a_pty(fabric_board(), baud=BAUD) as (port, unplug):
        link = SerialLink(port, FABRIC)
        timer = threading.Timer(0.3, unplug)
        timer.start()
        start = time.perf_counter()
        with pytest.raises(LinkError, match=f"{port} (is gone|has taken nothing)"):
            for _ in range(100):
                link.write_memory(0, np.zeros(1 << 20, np.uint8))
        assert time.perf_counter() - start < 10
        timer.join()
        link.close()


def test_a_closed_wire_says_so():
    with board_on_a_pty(fabric_board()) as (port, _):
        wire = SerialWire(port, baud=BAUD)
        wire.close()
        with pytest.raises(LinkError, match="is gone"):
            wire.send(b"x")
        with pytest.raises(LinkError, match="is gone"):
            wire.receive(0.01)
