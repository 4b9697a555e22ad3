"""The other commands: compile, inspect, fabrics, verilog, demo, doctor; readable and as JSON."""
import os
import subprocess
import sys

import numpy as np
import pytest
from celosia.rtl.contract.presets import PRESETS

import celosia
import celosia.doctor

COMMANDS = ["run", "compile", "inspect", "quantize", "bench", "fabrics", "verilog", "demo", "doctor"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_a_description_and_an_example_where_there_are_arguments(celosia_cli, command):
    outcome = celosia_cli(command, "--help")
    assert outcome.code == 0 and "--json" in outcome.stdout and "--debug" in outcome.stdout
    if command not in ("fabrics", "demo", "doctor"):
        assert f"celosia {command} " in outcome.stdout.split("Options:")[0].split("\n", 1)[1]


def test_without_a_command_help_is_shown_and_version_is_the_package_s(celosia_cli):
    assert all(command in celosia_cli("--help").stdout for command in COMMANDS)
    assert "Commands:" in celosia_cli().stderr and celosia_cli().code == 2
    assert celosia.__version__ in celosia_cli("--version").stdout


def test_a_program_file_runs_like_its_model(celosia_cli, digits, images, tmp_path):
    np.save(tmp_path / "in.npy", images[:2])
    outcome = celosia_cli("compile", digits, "-o", tmp_path / "digits.celosia", "--fabric", "tiny", "--json")
    told = outcome.json
    assert told["file"] == str(tmp_path / "digits.celosia") and told["fabric"] == "tiny"
    assert told["bytes"] == (tmp_path / "digits.celosia").stat().st_size
    for model in (digits, tmp_path / "digits.celosia"):
        done = celosia_cli("run", model, tmp_path / "in.npy", "--device", "emulator", "--fabric", "tiny",
                           "--out", f"{tmp_path / model.name}.npz")
        assert done.code == 0, done.stderr
    with np.load(tmp_path / "digits.tflite.npz") as a, np.load(tmp_path / "digits.celosia.npz") as b:
        assert list(a) == list(b) == ["out0_0", "out0_1"]
        assert all((a[name] == b[name]).all() for name in a)
    readable = celosia_cli("compile", digits, "-o", tmp_path / "again", "--fabric", "tiny")
    assert readable.stdout.count("\n") == 1 and "digits.tflite for tiny" in readable.stdout


def test_inspect_shows_placement_proofs_and_memories(celosia_cli, digits, tmp_path):
    outcome = celosia_cli("inspect", digits, "--fabric", "tiny")
    assert outcome.code == 0
    assert "proved equal" in outcome.stdout and "the fabric has no SOFTMAX" in outcome.stdout
    for memory in ("activations", "weights", "parameters", "DRAM"):
        assert memory in outcome.stdout
    assert all(len(line.rstrip()) <= 140 for line in outcome.stdout.splitlines())
    told = celosia_cli("inspect", digits, "--fabric", "tiny", "--json").json
    assert told["model"] == "digits.tflite" and told["fabric"] == "tiny"
    assert told["predicted"] > 0 and told["macs_on_fabric"] == told["macs"]
    assert {layer["where"] for layer in told["layers"]} == {"fabric", "host"}
    celosia_cli("compile", digits, "-o", tmp_path / "digits.celosia", "--fabric", "tiny")
    assert celosia_cli("inspect", tmp_path / "digits.celosia", "--json").json == told


def test_fabrics_lists_every_preset_with_its_size(celosia_cli):
    readable = celosia_cli("fabrics").stdout
    assert all(f"{fabric.rows}x{fabric.cols}" in readable and name in readable
               for name, fabric in PRESETS.items())
    told = {fabric["name"]: fabric for fabric in celosia_cli("fabrics", "--json").json}
    assert list(told) == list(PRESETS)
    assert told["ulx3s_85f"]["am_words"] == PRESETS["ulx3s_85f"].am_words
    assert told["tiny"]["fingerprint"] == f"{PRESETS['tiny'].fingerprint:016x}"


def test_verilog_is_one_file_with_the_module(celosia_cli, tmp_path):
    (tmp_path / "small.toml").write_text('base = "tiny"\nrows = 1\ncols = 1\nprofile_layers = 0\n')
    outcome = celosia_cli("verilog", "--fabric", tmp_path / "small.toml", "-o", tmp_path / "out.v", "--json")
    assert outcome.code == 0, outcome.stderr
    text = (tmp_path / "out.v").read_text()
    assert outcome.json["module"] == "celosia_fabric" and outcome.json["lines"] == len(text.splitlines())
    assert "module celosia_fabric(" in text and outcome.json["fabric"] == "small"
    assert outcome.json["header"] is None


def test_the_c_header_comes_alone_or_with_the_verilog(celosia_cli, tmp_path):
    outcome = celosia_cli("verilog", "--fabric", "tiny", "--header", tmp_path / "celosia.h", "--json")
    assert outcome.code == 0 and outcome.json["file"] is None
    assert "#define CELOSIA_ROWS 4u" in (tmp_path / "celosia.h").read_text()
    readable = celosia_cli("verilog", "--fabric", "tiny", "--header", tmp_path / "celosia.h")
    assert "C header of fabric tiny (4x4)" in readable.stdout
    nothing = celosia_cli("verilog", "--fabric", "tiny")
    assert nothing.code == 2 and "nothing to write" in nothing.stderr


def test_the_demo_reads_every_digit_as_the_framework_does(celosia_cli):
    outcome = celosia_cli("demo", "--device", "emulator", "--fabric", "tiny", "--json")
    told = outcome.json
    assert outcome.code == 0 and told["exact"] is True and told["samples"] == len(told["labels"]) == 36
    assert told["right"] == 36 and told["predictions"] == told["labels"]
    readable = celosia_cli("demo", "--device", "emulator", "--fabric", "tiny")
    assert "36 of 36 digits right" in readable.stdout and "exact: every output" in readable.stdout


def test_doctor_says_what_is_there(celosia_cli):
    outcome = celosia_cli("doctor", "--json")
    told = {finding["name"]: finding for finding in outcome.json}
    assert {"python", "numpy", "amaranth", "verilator", "ai-edge-litert", "cache"} <= set(told)
    assert outcome.code == (0 if all(f["ok"] for f in outcome.json if f["needed"]) else 3)
    readable = celosia_cli("doctor").stdout
    assert all(name in readable for name in told)


def test_doctor_names_what_is_missing_and_what_to_type(celosia_cli, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler --fast")
    outcome = celosia_cli("doctor")
    assert outcome.code == 3 and "apt install g++" in outcome.stdout and "missing" in outcome.complaint
    monkeypatch.delenv("CXX")
    monkeypatch.setattr(celosia.doctor.shutil, "which",
                        lambda name: f"/bin/{name}" if name == "clang++" else None)
    monkeypatch.setattr(celosia.doctor, "_version", lambda command, arguments: "18.1")
    told = {finding.name: finding for finding in celosia.doctor.examine()}
    assert told["clang++"].ok and not told["make"].ok and not told["make"].needed


def test_a_terminal_without_box_characters_is_no_obstacle():
    done = subprocess.run([sys.executable, "-c", "from celosia.cli.main import main; main()", "demo",
                           "--device", "emulator", "--fabric", "tiny"], capture_output=True, timeout=120,
                          env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and b"36 of 36 digits right" in done.stdout, done.stderr


def test_the_installed_command_starts(tmp_path):
    """As another process, with nothing on stdout but JSON."""
    done = subprocess.run([sys.executable, "-c", "from celosia.cli.main import main; main()", "fabrics",
                           "--json"],
                          capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith("[")
