"""``celosia run``: the JSON object, inputs of every kind, outputs, --check and what a person sees."""
import numpy as np
import pytest
from celosia.host.reference.framework import LiteRT
from celosia.rtl.contract.errors import FaultError
from celosia.rtl.contract.presets import PRESETS
from PIL import Image
from support import single_ops

import celosia.cli.job

EMULATOR = ("--device", "emulator", "--fabric", "tiny")
NUMBER = (int, float)
OBJECT = {"model": str, "fabric": dict, "device": str, "samples": int, "macs": int, "macs_on_fabric": int,
          "cycles": int, "utilisation": (float, type(None)), "exact": (bool, type(None)),
          "mismatches": (int, type(None)), "seconds": dict,
          "sim_cycles_per_second": (int, type(None)), "layers": list}
LAYER = {"index": int, "name": str, "op": str, "where": str, "reason": str, "macs": int, "cycles": int,
         "stalls": dict}


def outputs(file):
    with np.load(file) as held:
        return dict(held)


def test_json_has_every_key_of_the_contract_and_nothing_else_is_on_stdout(celosia_cli, digits):
    outcome = celosia_cli("run", digits, *EMULATOR, "--json")
    assert outcome.code == 0
    told = outcome.json
    for key, kind in OBJECT.items():
        assert isinstance(told[key], kind), key
    assert set(told) - set(OBJECT) <= {"predicted", "memory"}
    assert told["memory"] is None  # the emulator has none
    assert told["fabric"] == {"name": "tiny", "rows": 4, "cols": 4,
                              "fingerprint": f"{PRESETS['tiny'].fingerprint:016x}"}
    assert set(told["seconds"]) == {"compile", "build", "simulate"}
    assert all(isinstance(value, NUMBER) and value >= 0 for value in told["seconds"].values())
    assert (told["model"], told["device"]) == ("digits.tflite", "emulator")
    assert (told["samples"], told["exact"], told["mismatches"]) == (1, None, None)
    for place, layer in enumerate(told["layers"]):
        for key, kind in LAYER.items():
            assert isinstance(layer[key], kind), key
        assert set(layer) - set(LAYER) <= {"predicted", "seconds", "proof"}
        assert layer["index"] == place and layer["where"] in ("fabric", "host")
        assert bool(layer["reason"]) == (layer["where"] == "host")
    assert sum(layer["macs"] for layer in told["layers"]) == told["macs"]
    assert sum(layer["macs"] for layer in told["layers"]
               if layer["where"] == "fabric") == told["macs_on_fabric"]


def test_check_says_exact_for_one_sample_and_for_several(celosia_cli, digits, images, tmp_path):
    np.save(tmp_path / "three.npy", images[:3])
    told = celosia_cli("run", digits, *EMULATOR, "--inputs", tmp_path / "three.npy", "--check", "--json").json
    assert (told["samples"], told["exact"], told["mismatches"]) == (3, True, 0)
    readable = celosia_cli("run", digits, *EMULATOR, "--check")
    assert readable.code == 0 and "exact: every output equals" in readable.stdout


class Wrong:
    """A reference that disagrees in one value of each sample."""

    def __init__(self, path, rounding, framework):
        self.right = LiteRT(path)

    def run(self, inputs):
        (output,) = self.right.run(inputs)
        output = output.copy()
        output.flat[3] ^= 1
        return [output]


def test_a_difference_is_counted_and_ends_with_code_1(celosia_cli, digits, images, tmp_path, monkeypatch):
    monkeypatch.setattr(celosia.cli.job, "_reference", Wrong)
    np.save(tmp_path / "two.npy", images[:2])
    outcome = celosia_cli("run", digits, *EMULATOR, tmp_path / "two.npy", "--check", "--json",
                          "--out", tmp_path / "out.npz")
    assert outcome.code == 1
    assert (outcome.json["exact"], outcome.json["mismatches"]) == (False, 2)
    assert "2 output values differ" in outcome.complaint
    assert len(outputs(tmp_path / "out.npz")) == 2


def test_differences_are_counted_by_value_whatever_the_type():
    a = np.array([1, 2, 3], np.int32)
    assert celosia.cli.job.differences(a, a + np.array([0, 257, 1], np.int32)) == 2
    nan = np.array([np.nan, 0.0], np.float32)
    assert celosia.cli.job.differences(nan, nan.copy()) == 0
    assert celosia.cli.job.differences(nan, -nan) == 2
    assert celosia.cli.job.differences(a, a[:2]) == 2


@pytest.fixture
def golden(digits, images):
    """Outputs of the framework for the first three images."""
    reference = LiteRT(digits)
    return [reference.run([image[None]])[0] for image in images[:3]]


def test_out_holds_the_outputs_of_every_sample(celosia_cli, digits, images, golden, tmp_path):
    """Stacked .npy, single .npy with and without the leading 1, .npz by number and name, in several files."""
    np.save(tmp_path / "stacked.npy", images[:3])
    np.save(tmp_path / "single.npy", images[:1])
    np.save(tmp_path / "bare.npy", images[1])
    np.savez(tmp_path / "numbered.npz", in0_0=images[2:3], in0_1=images[0:1])
    np.savez(tmp_path / "named.npz", input=images[1:2], something_else=np.zeros(3))
    outcome = celosia_cli(
        "run", digits, "--inputs", tmp_path / "stacked.npy", "--inputs", tmp_path / "single.npy", *EMULATOR,
        "--out", tmp_path / "results", tmp_path / "bare.npy", tmp_path / "numbered.npz",
        tmp_path / "named.npz", "--json")
    assert outcome.code == 0 and outcome.json["samples"] == 8
    found = outputs(tmp_path / "results")  # the very name that was given
    assert list(found) == [f"out0_{k}" for k in range(8)]
    for k, image in enumerate([0, 1, 2, 0, 1, 2, 0, 1]):
        np.testing.assert_array_equal(found[f"out0_{k}"], golden[image])


@pytest.mark.parametrize("names", [("in0_{}", "in1_{}"), None], ids=["numbered", "named"])
def test_a_network_of_two_inputs(celosia_cli, adder, tmp_path, names):
    rng = np.random.default_rng(3)
    samples = rng.integers(-128, 128, (2, 2, 1, 4, 5, 3)).astype(np.int8)
    if names:
        held = {names[i].format(k): samples[k, i] for i in range(2) for k in range(2)}
        np.savez(tmp_path / "in.npz", **held)
        given = [tmp_path / "in.npz"]
    else:
        given = [tmp_path / f"in{k}.npz" for k in range(2)]
        for k, file in enumerate(given):
            np.savez(file, t0=samples[k, 0], t1=samples[k, 1])
    outcome = celosia_cli("run", adder, *given, *EMULATOR, "--check", "--out", tmp_path / "out.npz", "--json")
    assert outcome.code == 0 and outcome.json["exact"] is True
    reference = LiteRT(adder)
    for k in range(2):
        np.testing.assert_array_equal(outputs(tmp_path / "out.npz")[f"out0_{k}"],
                                      reference.run(list(samples[k]))[0])


def test_a_network_of_three_outputs(celosia_cli, splitter, tmp_path):
    outcome = celosia_cli("run", splitter, *EMULATOR, "--check", "--out", tmp_path / "out.npz")
    assert outcome.code == 0, outcome.stderr
    assert list(outputs(tmp_path / "out.npz")) == ["out0_0", "out1_0", "out2_0"]


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("channels,mode", [(1, "L"), (3, "RGB")])
def test_a_picture_is_resized_and_centred(celosia_cli, tmp_path, dtype, channels, mode):
    spec = single_ops.convolution(np.random.default_rng(4), dtype, size=(5, 7), channels=channels)
    (tmp_path / "net.tflite").write_bytes(spec.build())
    pixels = np.random.default_rng(5).integers(0, 256, (40, 21, 4)).astype(np.uint8)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "picture.png")
    outcome = celosia_cli("run", tmp_path / "net.tflite", "--inputs", tmp_path / "picture.png", *EMULATOR,
                          "--check",
                          "--out", tmp_path / "out.npz")
    assert outcome.code == 0, outcome.stderr
    small = np.asarray(Image.open(tmp_path / "picture.png").convert(mode).resize((7, 5)))
    small = small.reshape(1, 5, 7, channels)
    value = small if dtype == "uint8" else (small.astype(np.int16) - 128).astype(np.int8)
    np.testing.assert_array_equal(outputs(tmp_path / "out.npz")["out0_0"],
                                  LiteRT(tmp_path / "net.tflite").run([value])[0])


def test_rounding_tflm_is_the_other_rule_and_checks_against_its_own_reference(celosia_cli, tmp_path):
    rng = np.random.default_rng(6)
    model = tmp_path / "fc.tflite"
    spec = single_ops.fully_connected(rng, rows=1, inputs=40, outputs=30)
    spec.tensors[1].zero = 0
    model.write_bytes(spec.build())
    np.save(tmp_path / "in.npy", rng.integers(-128, 128, (40, 1, 40)).astype(np.int8))
    found = {}
    for rounding in ("litert", "tflm"):
        outcome = celosia_cli("run", model, tmp_path / "in.npy", *EMULATOR, "--rounding", rounding, "--check",
                              "--out", tmp_path / f"{rounding}.npz", "--json")
        assert outcome.code == 0 and outcome.json["exact"] is True, outcome.stderr
        found[rounding] = np.stack(list(outputs(tmp_path / f"{rounding}.npz").values())).astype(int)
    off = np.abs(found["litert"] - found["tflm"])
    assert 0 < off.sum() and off.max() == 1


FAULT = FaultError("the fabric stopped: a read from address 0x40", code=2, address=0x40, unit=0)


@pytest.mark.parametrize("trouble,code,told", [(FAULT, 3, "0x40"), (KeyboardInterrupt(), 130, "stopped")])
def test_a_later_failure_keeps_what_was_computed(celosia_cli, digits, images, golden, tmp_path, monkeypatch,
                                                 trouble, code, told):
    opened = celosia.cli.job.open_device

    def failing(*arguments, **options):
        device = opened(*arguments, **options)
        run, left = device.run, [2]

        def run_twice(*arguments, **options):
            if not left[0]:
                raise trouble
            left[0] -= 1
            return run(*arguments, **options)

        monkeypatch.setattr(device, "run", run_twice)
        return device

    monkeypatch.setattr(celosia.cli.job, "open_device", failing)
    np.save(tmp_path / "three.npy", images[:3])
    outcome = celosia_cli("run", digits, tmp_path / "three.npy", *EMULATOR, "--check", "--out",
                          tmp_path / "out.npz",
                          "--json")
    assert outcome.code == code
    assert told in outcome.complaint and "stopped after 2 of 3 samples" in outcome.stderr
    assert (outcome.json["samples"], outcome.json["exact"]) == (2, True)
    found = outputs(tmp_path / "out.npz")
    assert list(found) == ["out0_0", "out0_1"]
    np.testing.assert_array_equal(found["out0_1"], golden[1])


def test_what_a_person_sees_fits_and_tells(celosia_cli, digits):
    outcome = celosia_cli("run", digits, *EMULATOR)
    lines = outcome.stdout.splitlines()
    assert lines[0].split() == ["#", "layer", "operator", "where", "MACs", "predicted", "remark"]
    assert all(len(line.rstrip()) <= 140 for line in lines) and "…" not in outcome.stdout
    (hosted,) = [line for line in lines if "SOFTMAX" in line]
    assert "on the host" in hosted and "the fabric has no SOFTMAX" in hosted
    assert "digits.tflite on tiny (4x4, emulator), 1 sample\n" in outcome.stdout
    assert "random sample" in outcome.stderr and "random" not in outcome.stdout


def test_a_random_sample_is_the_same_each_time(celosia_cli, digits, tmp_path):
    for name in ("a", "b"):
        celosia_cli("run", digits, *EMULATOR, "--out", tmp_path / name)
    assert (tmp_path / "a").read_bytes() and outputs(tmp_path / "a")["out0_0"].tobytes() == \
        outputs(tmp_path / "b")["out0_0"].tobytes()
