"""``celosia build`` and ``celosia flash``; the tools themselves are in tests/boards."""
import json
from pathlib import Path

import pytest
from celosia.boards.board import BOARDS
from celosia.boards.build import Build
from celosia.rtl.contract.errors import DeviceError

import celosia.cli.build

PLACED = {
    "fmax": {"clk": {"achieved": 41.5, "constraint": 30.0}},
    "utilization": {"ICESTORM_LC": {"used": 4000, "available": 5280}},
    "critical_paths": [{"from": "posedge clk", "to": "posedge clk", "path": [
        {"type": "clk-to-q", "delay": 1.5, "from": {"cell": "a"}},
        {"type": "routing", "delay": 2.5, "from": {"cell": "a"}}]}]}


@pytest.fixture
def builds(tmp_path, monkeypatch):
    """Stands in for the tools; returns the calls, and takes what the clock shall be."""
    calls = []

    def fake(board, *, seed, synthesis_only=False, progress):
        calls.append((board.name, seed, synthesis_only))
        progress("synthesise", "")
        progress("place", "iteration 1")
        places, bitstream, log = (tmp_path / name for name in ("places.json", "top.bin", "nextpnr.log"))
        places.write_text(json.dumps({"a": ("core.fabric.post", "sum")}))
        bitstream.write_text("bits")
        log.write_text("said")
        cells = {"core.fabric.post": {"SB_LUT4": 12, "SB_DFF": 3}}
        if synthesis_only:
            return Build(board, seed, cells, places, None, None, log)
        return Build(board, seed, cells, places, PLACED, bitstream, log)

    monkeypatch.setattr(celosia.cli.build, "build_board", fake)
    monkeypatch.setattr(celosia.cli.build, "budget", lambda board: {"lut": 20.0})
    monkeypatch.setattr(celosia.cli.build, "check_budget", lambda report, built: None)
    monkeypatch.delenv("CELOSIA_MODELS", raising=False)
    return calls


@pytest.mark.parametrize("command", ["build", "flash"])
def test_help_has_examples_and_the_boards(celosia_cli, command):
    shown = celosia_cli(command, "--help").stdout
    assert f"celosia {command} icebreaker" in shown and all(name in shown for name in BOARDS)


def test_build_tells_blocks_clock_path_and_what_to_do_next(celosia_cli, builds, tmp_path):
    outcome = celosia_cli("build", "icebreaker", "--seed", "4", "--out", tmp_path / "out")
    assert outcome.code == 0 and builds == [("icebreaker", 4, False)]
    for text in ("fabric.post", "Fmax 41.5 MHz, the board runs at 30 MHz", "logic cells 4,000 of 5,280",
                 "4.0 ns: post.sum (1.5 + 2.5)", "no predictions: CELOSIA_MODELS",
                 "celosia flash icebreaker --seed 4"):
        assert text in outcome.stdout, text
    assert "icebreaker: synthesis" in outcome.stderr and "icebreaker: placing, iteration 1" in outcome.stderr
    assert (tmp_path / "out" / "icebreaker.bin").read_text() == "bits"
    assert (tmp_path / "out" / "icebreaker.log").read_text() == "said"


def test_build_as_json_is_one_object(celosia_cli, builds):
    told = celosia_cli("build", "icebreaker", "--json").json
    assert told["totals"] == {"lut": 12, "ff": 3, "dsp": 0, "ram": 0, "spram": 0}
    assert told["fmax_mhz"] == 41.5 and told["clock_mhz"] == 30 and told["budget"] == {"lut": 20.0}
    assert told["blocks"] == [{"name": "fabric.post", "lut": 12, "ff": 3}]
    assert told["critical_path"] == [{"block": "post", "signal": "sum", "logic": 1.5, "routing": 2.5}]
    assert told["networks"] == [] and Path(told["bitstream"]).name == "top.bin"


def test_synthesis_only_has_no_bitstream(celosia_cli, builds):
    outcome = celosia_cli("build", "ulx3s_85f", "--synthesis-only")
    assert builds == [("ulx3s_85f", 1, True)]
    assert "bitstream" not in outcome.stdout and "Fmax" not in outcome.stdout


def test_networks_are_predicted_at_the_clock_that_is_met(celosia_cli, builds, tmp_path, monkeypatch):
    monkeypatch.setenv("CELOSIA_MODELS", str(tmp_path))
    assert f"CELOSIA_MODELS={tmp_path} holds no network" in celosia_cli("build", "icebreaker").stdout
    (tmp_path / "mlperf_kws_dscnn.tflite").write_text("")

    class Program:
        predicted = 150_000

    monkeypatch.setattr(celosia.cli.build, "compile_model", lambda file, fabric: Program)
    assert celosia_cli("build", "icebreaker", "--json").json["networks"] == [
        {"model": "mlperf_kws_dscnn", "cycles": 150_000, "milliseconds": 5.0, "per_second": 200.0}]
    assert "mlperf_kws_dscnn" in celosia_cli("build", "icebreaker").stdout


@pytest.mark.parametrize("arguments, words", [
    (("build", "arty"), "there is no board 'arty'; choose one of ulx3s_85f"),
    (("flash", "arty"), "there is no board 'arty'"),
    (("flash", "icebreaker", "--bitstream", "none.bin"), "--bitstream none.bin: there is no such file"),
    (("flash", "icebreaker", "--to", "sram"), "the iCEBreaker, iCE40UP5K loads only from flash"),
])
def test_bad_input_is_refused_before_anything_is_built(celosia_cli, builds, arguments, words):
    outcome = celosia_cli(*arguments)
    assert outcome.code == 2 and words in outcome.complaint and builds == []


def test_flash_builds_what_is_missing_and_programs_it(celosia_cli, builds, tmp_path, monkeypatch):
    programmed = []

    def program(board, bitstream, *, to, log_folder, line):
        programmed.append((board.name, bitstream.name, to))
        line("Writing: 100%")
        return "flash"

    monkeypatch.setattr(celosia.cli.build, "program", program)
    outcome = celosia_cli("flash", "icebreaker")
    assert outcome.code == 0 and builds == [("icebreaker", 1, False)]
    assert programmed == [("icebreaker", "top.bin", None)]
    assert "iCEBreaker, iCE40UP5K is programmed" in outcome.stdout and "Writing: 100%" in outcome.stderr
    mine = tmp_path / "mine.bin"
    mine.write_text("bits")
    told = celosia_cli("flash", "icebreaker", "--bitstream", mine, "--json").json
    assert told == {"board": "icebreaker", "bitstream": str(mine), "to": "flash"} and len(builds) == 1


def test_a_board_that_is_not_there_is_device_trouble(celosia_cli, builds, tmp_path, monkeypatch):
    def program(*arguments, **options):
        raise DeviceError("no iCEBreaker is on USB")

    monkeypatch.setattr(celosia.cli.build, "program", program)
    outcome = celosia_cli("flash", "icebreaker")
    assert outcome.code == 3 and "no iCEBreaker is on USB" in outcome.complaint
