"""Bad input and trouble: one paragraph on stderr with what was seen and what to do, and the exit code."""
import zipfile

import numpy as np
import pytest
from celosia.host.importers.tflite_writer import ModelSpec, OpSpec, TensorSpec
from support import single_ops

import celosia.cli.commands

EMULATOR = ("--device", "emulator", "--fabric", "tiny")


def refused(celosia_cli, *arguments, code=2):
    """The complaint of a command that must fail and print nothing on stdout."""
    outcome = celosia_cli(*arguments)
    assert outcome.code == code, outcome.stderr
    assert outcome.stdout == ""
    return outcome.complaint


@pytest.mark.parametrize("content,told", [
    (b"", "not a TFLite file"), (b"GIF89a" * 50, "not a TFLite file"), (b"\x08\x07" * 50, "ONNX")])
@pytest.mark.parametrize("command", [("run",), ("inspect",), ("compile", "-o", "out.celosia")])
def test_what_is_no_model_is_refused(celosia_cli, tmp_path, monkeypatch, command, content, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.tflite").write_bytes(content)
    complaint = refused(celosia_cli, command[0], tmp_path / "net.tflite", *command[1:])
    assert told in complaint and "net.tflite" in complaint
    assert not (tmp_path / "out.celosia").exists()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_a_truncated_model_is_refused(celosia_cli, digits, tmp_path, share):
    data = digits.read_bytes()
    (tmp_path / "net.tflite").write_bytes(data[:int(len(data) * share)])
    assert "net.tflite" in refused(celosia_cli, "run", tmp_path / "net.tflite", *EMULATOR)


def test_an_operator_that_nothing_computes_is_named(celosia_cli, tmp_path):
    spec = ModelSpec([TensorSpec((1, 4), scale=0.1), TensorSpec((1, 4), scale=0.1)],
                     [OpSpec("FLOOR", [0], [1])], [0], [1])
    (tmp_path / "net.tflite").write_bytes(spec.build())
    assert "FLOOR" in refused(celosia_cli, "run", tmp_path / "net.tflite", *EMULATOR)


def test_a_missing_model_is_refused_with_a_hint_where_to_look(celosia_cli, tmp_path):
    complaint = refused(celosia_cli, "run", tmp_path / "none.tflite")
    assert "none.tflite" in complaint and "does not exist" in complaint and "celosia run --help" in complaint


@pytest.mark.parametrize("arguments,told", [
    (["fly"], "No such command 'fly'"), (["run"], "Missing argument 'MODEL'"), (["demo", "--fast"], "--fast"),
    (["compile", "MODEL"], "Missing option '-o'"),
    (["run", "MODEL", "--rounding", "up"], "'up' is not one of"),
    (["run", "MODEL", "--watchdog", "0"], "--watchdog"),
    (["run", "MODEL", "--device", "abacus"], "there is no device 'abacus'; choose one of sim, emulator")])
def test_usage_is_refused_in_one_paragraph(celosia_cli, digits, arguments, told):
    assert told in refused(celosia_cli, *[digits if argument == "MODEL" else argument
                                          for argument in arguments])


TOML = [
    ("rows = 3", None), ("rows = 0", "rows is 0; it must be 1 to 32"), ("rows = 33", "rows is 33"),
    ("ties_to_even = 1", "ties_to_even must be true or false, not 1"), ("ties_to_even = false\nrows=3", None),
    ('rows = "3"', "rows must be a whole number"), ("colour = 3", "no parameter 'colour'"),
    ('base = "huge"', "base is 'huge'"), ("rows = = 3", "is not TOML"), ("am_words = 99999999", "am_words")]


@pytest.mark.parametrize("text,told", TOML, ids=[text for text, _ in TOML])
def test_a_fabric_from_toml(celosia_cli, adder, tmp_path, text, told):
    file = tmp_path / "mine.toml"
    file.write_text(text if "base" in text else f'base = "tiny"\n{text}\n')
    if told is None:
        outcome = celosia_cli("run", adder, "--device", "emulator", "--fabric", file, "--check", "--json")
        assert outcome.code == 0 and outcome.json["exact"] is True
        assert (outcome.json["fabric"]["name"], outcome.json["fabric"]["rows"]) == ("mine", 3)
    else:
        complaint = refused(celosia_cli, "run", adder, "--device", "emulator", "--fabric", file)
        assert told in complaint and str(file) in complaint


def test_a_fabric_that_does_not_exist_names_the_presets(celosia_cli, digits):
    complaint = refused(celosia_cli, "run", digits, "--fabric", "sim17x17")
    assert "sim17x17" in complaint and "tiny" in complaint


def test_a_layer_of_which_no_tile_fits_runs_on_the_host_and_says_what_to_raise(celosia_cli, digits, tmp_path):
    (tmp_path / "small.toml").write_text('base = "tiny"\nam_words = 8\n')
    outcome = celosia_cli("run", digits, "--device", "emulator", "--fabric", tmp_path / "small.toml",
                          "--check", "--json")
    assert outcome.code == 0 and outcome.json["exact"] is True
    (stem,) = [layer for layer in outcome.json["layers"] if layer["name"] == "stem"]
    assert stem["where"] == "host" and "layer stem" in stem["reason"] and "am_words" in stem["reason"]


INPUTS = [
    ({"in0_0": np.zeros((1, 8, 9, 1), np.int8)}, "int8[1, 8, 9, 1]"),
    ({"in0_0": np.zeros((1, 8, 8, 1), np.float32)}, "float32[1, 8, 8, 1]"),
    ({"in1_0": np.zeros((1, 8, 8, 1), np.int8)}, "expected arrays named ['input']"),
    ({"in0_0": np.zeros((1, 8, 8, 1), np.int8), "in1_0": np.zeros(3, np.int8)}, "in1_0"),
    ({"in0_0": np.zeros((1, 8, 8, 1), np.int8), "in0_2": np.zeros((1, 8, 8, 1), np.int8)}, "without a gap"),
    ({"in0_0": np.array([{}], object)}, "cannot be read"), ({}, "expected arrays named"),
    (np.zeros((0, 8, 8, 1), np.int8), "holds no sample"),
    (np.zeros((3, 8, 7, 1), np.int8), "int8[3, 8, 7, 1]"),
    (b"", "may be damaged"), (b"PK\x03\x04 nothing", "may be damaged")]


@pytest.mark.parametrize("held,told", INPUTS, ids=[told for _, told in INPUTS])
def test_inputs_that_do_not_fit_are_refused_with_their_file(celosia_cli, digits, tmp_path, held, told):
    file = tmp_path / ("in.npy" if isinstance(held, np.ndarray) else "in.npz")
    if isinstance(held, dict):
        np.savez(file, **held)
    elif isinstance(held, bytes):
        file.write_bytes(held)
    else:
        np.save(file, held)
    complaint = refused(celosia_cli, "run", digits, *EMULATOR, "--inputs", file)
    assert told in complaint and str(file) in complaint


def test_pictures_that_do_not_fit_are_refused(celosia_cli, digits, adder, tmp_path):
    (tmp_path / "photo.png").write_text("not a picture")
    assert "is no picture" in refused(celosia_cli, "run", digits, *EMULATOR, "--inputs",
                                      tmp_path / "photo.png")
    assert "does not fit" in refused(celosia_cli, "run", adder, *EMULATOR, "--inputs", tmp_path / "photo.png")
    assert "no such file" in refused(celosia_cli, "run", digits, *EMULATOR, "--inputs", tmp_path / "none.png")


def test_one_array_for_a_network_of_two_inputs_is_refused(celosia_cli, adder, tmp_path):
    np.save(tmp_path / "in.npy", np.zeros((1, 4, 5, 3), np.int8))
    assert "use .npz" in refused(celosia_cli, "run", adder, *EMULATOR, "--inputs", tmp_path / "in.npy")


@pytest.fixture
def program(celosia_cli, digits, tmp_path):
    file = tmp_path / "digits.celosia"
    assert celosia_cli("compile", digits, "-o", file, "--fabric", "tiny").code == 0
    return file


def test_a_program_for_another_fabric_is_refused(celosia_cli, program):
    complaint = refused(celosia_cli, "run", program, "--device", "emulator", "--fabric", "sim8x8")
    assert "compiled for fabric tiny" in complaint and "sim8x8" in complaint


def test_a_program_cannot_be_checked_against_a_framework(celosia_cli, program):
    assert "give the model" in refused(celosia_cli, "run", program, *EMULATOR, "--check")


def test_a_damaged_program_is_refused(celosia_cli, program, tmp_path):
    data = bytearray(program.read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "flipped").write_bytes(data)
    assert "damaged" in refused(celosia_cli, "run", tmp_path / "flipped", *EMULATOR)
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(tmp_path / "lacking", "w") as new:
        for name in old.namelist()[:-1]:
            new.writestr(name, old.read(name))
    assert "damaged" in refused(celosia_cli, "inspect", tmp_path / "lacking")
    (tmp_path / "cut").write_bytes(program.read_bytes()[:-200])
    assert "cut" in refused(celosia_cli, "run", tmp_path / "cut", *EMULATOR)


def test_a_model_with_an_archive_at_its_end_is_a_model(celosia_cli, digits, tmp_path):
    """As TFLite's metadata library packs files of labels."""
    with zipfile.ZipFile(tmp_path / "labels.zip", "w") as archive:
        archive.writestr("labels.txt", "one\ntwo\n")
    (tmp_path / "net.tflite").write_bytes(digits.read_bytes() + (tmp_path / "labels.zip").read_bytes())
    assert zipfile.is_zipfile(tmp_path / "net.tflite")
    assert celosia_cli("run", tmp_path / "net.tflite", *EMULATOR).code == 0


@pytest.mark.parametrize("arguments", [("run", "MODEL", *EMULATOR, "--out"), ("compile", "MODEL", "-o"),
                                       ("verilog", "-o"), ("verilog", "--header")])
def test_a_folder_that_does_not_exist_is_told_before_the_work_is_done(celosia_cli, digits, tmp_path,
                                                                      arguments, monkeypatch):
    for name in ("make_program", "compile_model"):
        monkeypatch.setattr(celosia.cli.commands, name, lambda *_, **__: pytest.fail("work was done"))
    given = [digits if argument == "MODEL" else argument for argument in arguments]
    assert "no folder" in refused(celosia_cli, *given, tmp_path / "none" / "file")


def test_a_model_that_the_framework_refuses_cannot_be_checked_but_by_our_own_kernels(celosia_cli, tmp_path):
    """As converters of old wrote: per-channel quantisation of a bias along an axis that it lacks."""
    spec = single_ops.depthwise(np.random.default_rng(7), channels=2)
    spec.tensors[2].axis = 3
    (tmp_path / "net.tflite").write_bytes(spec.build())
    arguments = ("run", tmp_path / "net.tflite", *EMULATOR, "--check")
    complaint = celosia_cli(*arguments).complaint
    assert "LiteRT cannot load this model" in complaint and "--rounding tflm" in complaint
    assert celosia_cli(*arguments, "--rounding", "tflm").code == 0


@pytest.mark.parametrize("where", ["before", "after", "without"])
def test_a_traceback_only_with_debug_before_or_after_the_command(celosia_cli, digits, where):
    arguments = ["run", digits, "--fabric", "none"]
    arguments = {"before": ["--debug", *arguments], "after": [*arguments, "--debug"],
                 "without": arguments}[where]
    outcome = celosia_cli(*arguments)
    assert outcome.code == 2 and outcome.stdout == ""
    assert ("Traceback" in outcome.stderr) == (where != "without")
    assert outcome.stderr.splitlines()[-1].startswith("celosia: there is no fabric 'none'")


def test_a_fault_of_our_own_is_one_paragraph_too(celosia_cli, digits, monkeypatch):
    def broken(*_, **__):
        raise KeyError("oops")

    monkeypatch.setattr(celosia.cli.commands, "make_program", broken)
    complaint = refused(celosia_cli, "run", digits, code=3)
    assert "KeyError" in complaint and "--debug" in complaint


def test_ctrl_c_ends_with_its_usual_code(celosia_cli, digits, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(celosia.cli.commands, "make_program", interrupted)
    outcome = celosia_cli("run", digits)
    assert outcome.code == 130 and outcome.stderr.strip() == "celosia: stopped"
