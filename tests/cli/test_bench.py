"""``celosia bench``: models by name, rows for what fails, records and comparisons, exit codes."""
import io
import json
from dataclasses import replace
from fractions import Fraction

import click
import numpy as np
import pytest
from celosia.host.driver.device import Device
from celosia.rtl.contract.errors import FaultError
from rich.console import Console
from support import single_ops

import celosia
import celosia.cli.job
from celosia.cli import bench
from celosia.cli.record import FIGURES, compare, read_record, write_record
from celosia.cli.tables import bench_table, difference_table


class Simulated:
    """The emulator, with the predicted cycles as if they had been counted, times ``slower``."""

    def __init__(self, device: Device, slower: float):
        self.device, self.slower = device, slower

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.device.close()

    def run(self, program, sample, **options):
        result = self.device.run(program, sample, **options)
        layers = tuple(replace(layer, cycles=layer.predicted, stalls={"weights": layer.predicted // 2,
                                                                      "load": layer.predicted // 10})
                       for layer in result.layers)
        return replace(result, cycles=round(program.predicted * self.slower), layers=layers)


@pytest.fixture
def simulator(monkeypatch):
    """What ``sim`` opens here; ``slower`` can be changed, ``trouble`` is raised for fabrics by name."""

    class Settings:
        slower = 1.0
        trouble: dict[str, Exception] = {}

    def opened(_device, *, memory, fabric, **options):
        if fabric.name in Settings.trouble:
            raise Settings.trouble[fabric.name]
        return Simulated(celosia.open("emulator", fabric=fabric, **options), Settings.slower)

    monkeypatch.setattr(celosia.cli.job, "open_device", opened)
    return Settings


@pytest.fixture
def folder(tmp_path, digits, adder, monkeypatch):
    """$CELOSIA_MODELS with three models."""
    models = tmp_path / "models"
    models.mkdir()
    for name, file in (("net_digits", digits), ("net_adder", adder), ("other", digits)):
        (models / f"{name}.tflite").write_bytes(file.read_bytes())
    monkeypatch.setenv("CELOSIA_MODELS", str(models))
    return models


TINY = ("--fabric", "tiny")


def test_every_pair_gets_a_row_with_its_figures(celosia_cli, simulator, folder):
    outcome = celosia_cli("bench", "net_*", *TINY, "--fabric", "sim8x8", "--json")
    assert outcome.code == 0, outcome.stderr
    results = outcome.json["results"]
    assert [(row["model"], row["fabric"]["name"]) for row in results] == [
        (f"net_{name}.tflite", fabric) for fabric in ("tiny", "sim8x8") for name in ("adder", "digits")]
    assert outcome.json["celosia"] == celosia.__version__ and "against" not in outcome.json
    for row in results:
        assert row["error"] is None and row["cycles"] == row["predicted"] > 0
        assert row["memory"]["name"] == "bus" and row["device"] == "sim" and row["samples"] == 1
        assert list(row["stalls"]) == ["weights", "load"] and set(FIGURES) - set(row) == {"fingerprint"}
    assert "1 of 4: net_adder.tflite on tiny" in outcome.stderr


def test_what_a_person_sees(celosia_cli, simulator, folder):
    outcome = celosia_cli("bench", "net_digits", *TINY, "--layers", "2")
    assert outcome.code == 0, outcome.stderr
    head, _, row = outcome.stdout.splitlines()[:3]
    assert head.split() == ["model", "fabric", "memory", "cycles", "used", "predicted", "on", "fabric",
                            "host", "waited", "for"]
    assert row.split()[:3] == ["net_digits", "tiny", "bus"] and "+0.0%" in row and "weights 50%" in row
    layers = outcome.stdout.split("of its cycles\n")[1].splitlines()[2:]
    cycles = [int(line.split("fabric")[1].split()[1].replace(",", "")) for line in layers if "fabric" in line]
    assert len(cycles) == 2 and cycles == sorted(cycles, reverse=True)
    assert "of its cycles" not in celosia_cli("bench", "net_digits", *TINY, "--layers", "0").stdout


def test_models_are_found_by_file_name_part_and_pattern(folder, digits, monkeypatch):
    def names(name):
        return [model.name for model in bench.find_models(name)]

    assert bench.find_models(str(digits)) == [digits]
    assert names("other") == names("other.tflite") == ["other.tflite"]
    assert names("net") == names("net_*") == ["net_adder.tflite", "net_digits.tflite"]
    assert names("adder") == ["net_adder.tflite"] and len(names("*")) == 3
    (folder / "other2.tflite").touch()
    assert names("other") == ["other.tflite"]  # a whole name before a part of one
    with pytest.raises(celosia.InputError, match="no model in .* has that name; it holds net_adder, net_dig"):
        names("resnet8")
    monkeypatch.delenv("CELOSIA_MODELS")
    with pytest.raises(celosia.InputError, match="CELOSIA_MODELS is not set"):
        names("other")


def test_without_a_model_the_networks_of_mlperf_tiny_run(celosia_cli, simulator, folder, digits):
    for name in bench.MLPERF_TINY:
        (folder / f"{name}.tflite").write_bytes(digits.read_bytes())
    told = celosia_cli("bench", *TINY, "--json").json
    assert [row["model"].removesuffix(".tflite") for row in told["results"]] == list(bench.MLPERF_TINY)
    assert len({row["sha256"] for row in told["results"]}) == 1


def test_samples_are_counted_and_checked(celosia_cli, simulator, folder, images, tmp_path):
    np.save(tmp_path / "in.npy", images[:5])
    for options, count in (((), 1), (("--samples", 3), 3), (("--inputs", tmp_path / "in.npy"), 5),
                           (("--inputs", tmp_path / "in.npy", "--samples", 2), 2)):
        (row,) = celosia_cli("bench", "other", *TINY, "--check", *options, "--json").json["results"]
        assert (row["samples"], row["exact"]) == (count, True)


FAULT = FaultError("the fabric stopped: a read from address 0x40", code=2, address=0x40, unit=0)


def test_what_fails_is_a_row_and_loses_nothing(celosia_cli, simulator, folder, tmp_path, monkeypatch):
    def compiled(model, fabric, rounding, make=bench.make_program):
        if fabric.name == "sim8x8" and model.stem == "net_digits":
            raise celosia.CapacityError("layer stem does not fit; raise am_words")
        return make(model, fabric, rounding)

    monkeypatch.setattr(bench, "make_program", compiled)
    (folder / "net_broken.tflite").write_bytes(b"no model")
    arguments = ("bench", "net_broken", "net_digits", *TINY, "--fabric", "sim8x8",
                 "--record", tmp_path / "record.json")
    outcome = celosia_cli(*arguments, "--json")
    assert outcome.code == 2
    errors = [row["error"] and row["error"]["kind"] for row in outcome.json["results"]]
    assert errors == ["ModelError", None, "ModelError", "CapacityError"]
    assert "not a TFLite file" in outcome.complaint and "am_words" in outcome.complaint
    assert [kept["model"] for kept in read_record(tmp_path / "record.json")] == ["net_digits.tflite"]
    readable = celosia_cli(*arguments)
    assert readable.code == 2 and "CapacityError: layer" in " ".join(readable.stdout.split())


@pytest.mark.parametrize("trouble,code,kind", [(FAULT, 3, "FaultError"), (KeyError("oops"), 3, "KeyError")])
def test_device_trouble_is_the_gravest(celosia_cli, simulator, folder, monkeypatch, trouble, code, kind):
    monkeypatch.setattr(simulator, "trouble", {"tiny": trouble})
    (folder / "net_broken.tflite").write_bytes(b"no model")
    outcome = celosia_cli("bench", "net_broken", "net_digits", *TINY, "--fabric", "sim8x8", "--json")
    assert outcome.code == code
    assert [row["error"] and row["error"]["kind"] for row in outcome.json["results"]] == [
        "ModelError", kind, "ModelError", None]


def test_a_wrong_result_ends_with_code_1_and_is_not_recorded(celosia_cli, simulator, folder, monkeypatch,
                                                             tmp_path):
    class Wrong:
        def __init__(self, *_):
            pass

        def run(self, _):
            return [np.full((1, 10), 99, np.int8)]

    monkeypatch.setattr(celosia.cli.job, "_reference", Wrong)
    outcome = celosia_cli("bench", "other", *TINY, "--check", "--record", tmp_path / "record.json")
    assert outcome.code == 1 and "output values differ" in outcome.complaint
    assert "other (wrong)" in outcome.stdout and not (tmp_path / "record.json").exists()


def test_ctrl_c_shows_what_was_measured(celosia_cli, simulator, folder, monkeypatch):
    measure = bench.measure

    def once(model, *arguments, **options):
        if model.stem == "other":
            raise KeyboardInterrupt
        return measure(model, *arguments, **options)

    monkeypatch.setattr(bench, "measure", once)
    outcome = celosia_cli("bench", "net_digits", "other", *TINY, "--json")
    assert outcome.code == 130 and len(outcome.json["results"]) == 1


@pytest.mark.parametrize("slower,tolerance,code,verdict", [
    (1.0, "0", 0, "same"), (1.019, "2%", 0, "same"), (1.03, "2%", 1, "slower"), (1.03, "5", 0, "same"),
    (1.001, "0%", 1, "slower"), (0.9, "2%", 0, "faster")])
def test_slower_than_recorded_beyond_the_tolerance_ends_with_code_1(celosia_cli, simulator, folder, tmp_path,
                                                                    slower, tolerance, code, verdict):
    record = tmp_path / "record.json"
    assert celosia_cli("bench", "net_digits", *TINY, "--record", record).code == 0
    simulator.slower = slower
    arguments = ("bench", "net_digits", *TINY, "--against", record, "--tolerance", tolerance)
    outcome = celosia_cli(*arguments, "--json")
    assert outcome.code == code, outcome.stderr
    (found,) = outcome.json["against"]["differences"]
    assert found["verdict"] == verdict and found["change"] == pytest.approx(slower - 1, abs=1e-3)
    if code:
        assert "% slower than recorded" in outcome.complaint
    readable = celosia_cli(*arguments)
    assert f"{slower - 1:+.1%}"[:4] in readable.stdout.splitlines()[-1]


@pytest.mark.parametrize("change,remark", [
    ({"sha256": "0" * 64}, "the model file is another one"),
    ({"model": "another.tflite"}, "not in the record"), ({"fabric": "sim8x8"}, "not in the record"),
    ({"memory": {"name": "sdram16"}}, "recorded with memory sdram16 only"),
    ({"memory": {"name": "bus", "read_latency": 1}}, "the memory behaves differently")])
def test_what_cannot_be_compared_is_said(celosia_cli, simulator, folder, tmp_path, change, remark):
    record = tmp_path / "record.json"
    celosia_cli("bench", "net_digits", *TINY, "--record", record)
    held = json.loads(record.read_text())
    held["figures"][0] |= {"cycles": 1} | change
    record.write_text(json.dumps(held))
    outcome = celosia_cli("bench", "net_digits", *TINY, "--against", record, "--json")
    (found,) = outcome.json["against"]["differences"]
    assert outcome.code == 0 and (found["verdict"], found["remark"]) == ("not compared", remark)
    assert found["now"] and found["before"] in (None, 1)


def test_a_fabric_that_has_changed_is_compared_and_remarked_upon(celosia_cli, simulator, folder, tmp_path):
    record = tmp_path / "record.json"
    celosia_cli("bench", "net_digits", *TINY, "--record", record)
    held = json.loads(record.read_text())
    held["figures"][0]["fingerprint"] = "0" * 16
    (result,) = celosia_cli("bench", "net_digits", *TINY, "--json").json["results"]
    (found,) = compare([result], held["figures"], Fraction(0))
    assert (found.verdict, found.remark) == ("same", "the fabric has changed")
    (found,) = compare([result | {"error": {}, "cycles": 0}], held["figures"], Fraction(0))
    assert (found.verdict, found.remark) == ("not compared", "failed")


def test_a_record_is_a_line_for_each_figure(celosia_cli, simulator, folder, tmp_path):
    celosia_cli("bench", "net_*", *TINY, "--record", tmp_path / "record.json")
    text = (tmp_path / "record.json").read_text()
    assert sum(line.startswith('  {"model"') for line in text.splitlines()) == 2
    figures = read_record(tmp_path / "record.json")
    write_record(tmp_path / "again.json", figures)
    assert (tmp_path / "again.json").read_text() == text
    assert figures[1]["fingerprint"] == f"{celosia.PRESETS['tiny'].fingerprint:016x}"
    assert celosia.__version__ in text


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"format": "celosia-bench", "version": 2}',
                                  '{"format": "celosia-bench", "version": 1, "figures": [{}]}',
                                  '{"format": "celosia-bench", "version": 1, "figures": [3]}'])
def test_what_is_no_record_is_refused_before_the_work_is_done(celosia_cli, folder, tmp_path, monkeypatch,
                                                              text):
    monkeypatch.setattr(bench, "measure", lambda *_, **__: pytest.fail("work was done"))
    (tmp_path / "record.json").write_text(text)
    outcome = celosia_cli("bench", "other", "--against", tmp_path / "record.json")
    assert outcome.code == 2 and "is no record of figures" in outcome.complaint


@pytest.mark.parametrize("arguments,told", [
    (("--tolerance", "little"), "'little' is no percentage"), (("--tolerance", "-1%"), "below 0"),
    (("--memory", "ddr9"), "no memory 'ddr9'"), (("--fabric", "none"), "no fabric 'none'"),
    (("--record", "none/file.json"), "no folder"), (("nothing_like_that",), "has that name")])
def test_bad_arguments_are_refused_before_the_work_is_done(celosia_cli, folder, monkeypatch, arguments, told):
    monkeypatch.setattr(bench, "measure", lambda *_, **__: pytest.fail("work was done"))
    outcome = celosia_cli("bench", "other", *arguments)
    assert outcome.code == 2 and told in outcome.complaint


@pytest.mark.parametrize("text,want", [("2%", Fraction(1, 50)), ("2", Fraction(1, 50)),
                                       ("0.5 %", Fraction(1, 200))])
def test_a_percentage_with_and_without_its_sign(text, want):
    assert bench.percentage(click.Context(bench.bench), bench.bench.params[0], text) == want


@pytest.mark.parametrize("width", [80, 140])
def test_the_tables_fit(celosia_cli, simulator, folder, tmp_path, width):
    (folder / "net_with_a_very_long_name_as_converters_like_to_give_them.tflite").write_bytes(
        single_ops.split(np.random.default_rng(2)).build())
    (folder / "net_broken.tflite").write_bytes(b"no model")
    results = celosia_cli("bench", "net_*", *TINY, "--json").json["results"]
    for table in (bench_table(results, width=width), difference_table(compare(results, [], Fraction(0)))):
        stream = io.StringIO()
        Console(file=stream, width=width).print(table)
        assert max(map(len, stream.getvalue().splitlines())) <= width
