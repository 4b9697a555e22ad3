"""Boards on serial ports: a pseudo terminal with the link's rules and an emulated fabric behind it."""
import json
from importlib.resources import files

import numpy as np
import pytest
from celosia.rtl.contract.presets import PRESETS
from support.emulated_board import EmulatedBoard
from support.link_board import board_on_a_pty
from support.shared import lean

import celosia
import celosia.doctor

DIGITS = str(files("celosia") / "demo" / "digits.tflite")
TINY = PRESETS["tiny"]


@pytest.fixture
def tiny():
    with board_on_a_pty(EmulatedBoard(TINY)) as (port, _):
        yield f"serial:{port}"


def test_run_takes_the_fabric_that_the_board_says_it_has(celosia_cli, tiny):
    outcome = celosia_cli("run", DIGITS, "--device", tiny, "--check", "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["exact"] and outcome.json["fabric"]["name"] == "tiny"
    assert outcome.json["device"] == tiny and outcome.json["memory"] is None
    assert "sending weights and instructions to the board: 16,8" in outcome.stderr


def test_run_says_what_a_person_wants_to_know(celosia_cli, tiny):
    outcome = celosia_cli("run", DIGITS, "--device", tiny, "--fabric", "tiny", "--check")
    assert outcome.code == 0 and f"tiny (4x4, {tiny})" in outcome.stdout and "exact" in outcome.stdout


def test_another_fabric_than_the_board_has_is_refused_with_both_names(celosia_cli, tiny):
    outcome = celosia_cli("run", DIGITS, "--device", tiny, "--fabric", "sim8x8")
    assert outcome.code == 2
    for part in ("has fabric tiny", "not sim8x8", "leave --fabric out"):
        assert part in outcome.complaint
    assert celosia_cli("run", DIGITS, "--device", tiny).code == 0, "the port was let go"


def test_a_fabric_that_is_no_preset_must_be_named(celosia_cli, tmp_path):
    fabric = lean(4, 20000, rom=False)
    changes = {key: value for key, value in vars(fabric).items() if value != vars(TINY)[key]}
    file = tmp_path / "lean.toml"
    file.write_text("\n".join(['base = "tiny"', *(f"{key} = {json.dumps(value)}"
                                                 for key, value in changes.items())]))
    with board_on_a_pty(EmulatedBoard(fabric)) as (port, _):
        command = ("run", DIGITS, "--device", f"serial:{port}")
        outcome = celosia_cli(*command)
        assert outcome.code == 2 and f"{fabric.fingerprint:#018x}" in outcome.complaint
        assert "no preset" in outcome.complaint
        outcome = celosia_cli(*command, "--fabric", file, "--check", "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["exact"] and outcome.json["fabric"]["name"] == "lean"


@pytest.mark.parametrize("device,told", [
    ("serial:", "names no port"), ("serial:/dev/none", "there is no serial port /dev/none"),
    ("cereal:/dev/ttyUSB0", "choose one of sim, emulator, serial:PORT")])
def test_devices_that_are_not_there(celosia_cli, device, told):
    outcome = celosia_cli("run", DIGITS, "--device", device)
    assert outcome.code in (2, 3) and told in outcome.complaint


def test_a_board_has_its_own_memory(celosia_cli, tiny):
    outcome = celosia_cli("run", DIGITS, "--device", tiny, "--memory", "sdram16")
    assert outcome.code == 2 and "a board has its own memory" in outcome.complaint
    with pytest.raises(celosia.InputError, match="a board has its own memory"):
        celosia.open(tiny, memory="sdram16")


def test_a_board_opened_in_python_tells_its_fabric_and_how_far_an_upload_is(tiny):
    seen = []
    with celosia.open(tiny, progress=lambda *told: seen.append(told)) as device:
        assert device.fabric == TINY
        program = celosia.compile(DIGITS, fabric=device.fabric)
        image = np.zeros((1, 8, 8, 1), np.int8)
        outputs = device.run(program, image).outputs
    with celosia.open("emulator", fabric="tiny") as device:
        np.testing.assert_array_equal(device.run(program, image).outputs[0], outputs[0])
    total = sum(blob.size for _, blob in program.blobs)
    assert seen[-1] == ("upload", total, total)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_a_board_that_is_unplugged_is_named(celosia_cli):
    board = EmulatedBoard(TINY)
    with board_on_a_pty(board) as (port, unplug), celosia.open(f"serial:{port}") as device:
        program = celosia.compile(DIGITS, fabric=device.fabric)
        device.run(program, np.zeros((1, 8, 8, 1), np.int8))
        unplug()
        with pytest.raises(celosia.DeviceError, match="unplugged"):
            device.run(program, np.zeros((1, 8, 8, 1), np.int8))


class Port:
    """As pyserial lists it."""

    def __init__(self, device, product, vid=0x0403):
        self.device, self.product, self.description, self.vid = device, product, product, vid


def test_doctor_lists_ports_and_who_may_open_them(celosia_cli, monkeypatch, tmp_path):
    mine, other = tmp_path / "ttyUSB0", tmp_path / "ttyUSB1"
    mine.touch()
    ports = [Port(str(mine), "ULX3S FPGA 85K"), Port("/dev/ttyS0", "", vid=None)]
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: ports)

    def found():
        listed = {each["name"]: each for each in celosia_cli("doctor", "--json").json}
        return listed["serial ports"]

    assert found()["ok"] and found()["found"] == f"{mine} (ULX3S FPGA 85K)"
    ports.append(Port(str(other), "iCEBreaker"))  # not there for this user
    assert not found()["ok"] and f"no right to open {other}" in found()["found"]
    assert "usermod -aG" in found()["remedy"]
    ports.clear()
    assert not found()["ok"] and "connect a board" in found()["remedy"]
