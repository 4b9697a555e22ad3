"""celosia quantize: what it takes, prints and refuses."""
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from celosia.host.quantise.samples import InputSpec
from PIL import Image
from support import float_models

from celosia.cli.calibration import Pixels, read_picture


@pytest.fixture
def classifier(tmp_path):
    return float_models.classifier(tmp_path / "net.onnx")


@pytest.fixture
def images():
    return np.random.default_rng(1).random((12, 1, 8, 8), np.float32)


@pytest.fixture
def samples(tmp_path, images):
    """An .npz of 12 samples."""
    np.savez(tmp_path / "samples.npz", image=images)
    return tmp_path / "samples.npz"


def scores(model, image):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


def refused(celosia_cli, *arguments, code=2):
    outcome = celosia_cli("quantize", *arguments)
    assert outcome.code == code and outcome.stdout == "", outcome.stderr
    return outcome.complaint


def test_help_has_a_description_and_examples(celosia_cli):
    text = celosia_cli("quantize", "--help").stdout
    assert "celosia quantize model.onnx --calibration" in text and "--json" in text and "--debug" in text


def test_a_float_model_becomes_an_int8_one_with_a_table_of_losses(celosia_cli, classifier, samples, images,
                                                                  tmp_path):
    outcome = celosia_cli("quantize", classifier, "--calibration", samples, "-o", tmp_path / "q.onnx")
    assert outcome.code == 0, outcome.stderr
    for told in ("stem", "Conv+Relu", "Gemm", "weights", "rounding", " dB", "output", "12 samples", "q.onnx"):
        assert told in outcome.stdout
    assert "accuracy" not in outcome.stdout and "onnxruntime" not in outcome.stdout + outcome.stderr
    onnx.checker.check_model(tmp_path / "q.onnx")
    np.testing.assert_allclose(scores(tmp_path / "q.onnx", images[:1]), scores(classifier, images[:1]),
                               atol=0.05)


def test_json_is_all_of_stdout(celosia_cli, classifier, samples, tmp_path):
    told = celosia_cli("quantize", classifier, "-c", samples, "-o", tmp_path / "q.onnx", "--json",
                       "--method", "percentile", "--samples", "5", "--format", "qoperator").json
    assert (told["calibrated"], told["measured"]) == (5, 12) and told["outputs"] == ["scores"]
    assert told["bytes"] == (tmp_path / "q.onnx").stat().st_size
    stem = next(layer for layer in told["layers"] if layer["name"] == "stem")
    assert stem["op"] == "Conv+Relu" and min(stem[key] for key in ("weights", "rounding", "total")) > 25
    assert "weights" not in told["layers"][0] and told["accuracy"] is None
    assert any("Percentile" in notice for notice in told["notices"])


@pytest.mark.parametrize("form", ["npz", "csv", "plain csv", "npy"])
def test_labels_tell_the_accuracy_before_and_after(celosia_cli, classifier, images, tmp_path, form):
    folder = tmp_path / "images"
    folder.mkdir()
    labels = [int(scores(classifier, image[None]).argmax()) for image in images]
    labels[-3:] = [(label + 1) % 4 for label in labels[-3:]]
    arguments = []
    if form == "npz":
        np.savez(folder / "all.npz", image=images, labels=labels)
    else:
        for k, image in enumerate(images):
            np.save(folder / f"img{k:02}.npy", image)
        file = tmp_path / f"labels.{form[-3:]}"
        if form == "csv":  # in any order, with a headline and a column that does not matter
            file.write_text("file,classes,label\n" + "".join(
                f"img{k:02}.bin,4,{labels[k]}\n" for k in reversed(range(12))))
        elif form == "npy":
            np.save(file, labels)
        else:
            file.write_text("".join(f"{label}\n" for label in labels))
        arguments = ["--labels", file]
    told = celosia_cli("quantize", classifier, "-c", folder, "-o", tmp_path / "q.onnx", "--json", *arguments)
    after = [int(scores(tmp_path / "q.onnx", image[None]).argmax()) for image in images]
    assert told.json["accuracy"] == {"before": 9, "samples": 12,
                                     "after": sum(a == b for a, b in zip(after, labels, strict=True))}
    readable = celosia_cli("quantize", classifier, "-c", folder, "-o", tmp_path / "q.onnx", *arguments)
    assert "accuracy: 75.00% before" in readable.stdout


def test_other_samples_can_be_measured(celosia_cli, classifier, samples, images, tmp_path):
    np.savez(tmp_path / "test.npz", image=images[:4], labels=[0, 1, 2, 3])
    told = celosia_cli("quantize", classifier, "-c", samples, "-o", tmp_path / "q.onnx", "--json",
                       "--test", tmp_path / "test.npz").json
    assert (told["calibrated"], told["measured"], told["accuracy"]["samples"]) == (12, 4, 4)


def test_samples_may_be_numbered_as_other_commands_take_them(celosia_cli, tmp_path):
    model = float_models.products(tmp_path / "net.onnx")
    rng = np.random.default_rng(0)
    arrays = {f"in{i}_{k}": rng.standard_normal((1, 3, 5)).astype(np.float32)
              for i in range(2) for k in range(3)}
    np.savez(tmp_path / "in.npz", **arrays)
    told = celosia_cli("quantize", model, "-c", tmp_path / "in.npz", "-o", tmp_path / "q.onnx", "--json").json
    assert told["calibrated"] == 3
    for lacking in ("in1_2", "in0_0"):
        np.savez(tmp_path / "in.npz", **{name: arrays[name] for name in arrays if name != lacking})
        assert "without a gap" in refused(celosia_cli, model, "-c", tmp_path / "in.npz", "-o",
                                          tmp_path / "q.onnx")


@pytest.mark.parametrize("shape", [(1, 3, 6, 5), (1, 6, 5, 3)], ids=["NCHW", "NHWC"])
def test_pictures_are_resized_scaled_and_laid_out(celosia_cli, tmp_path, shape):
    rng = np.random.default_rng(0)
    first = shape[1] == 3
    model = float_models.save(
        tmp_path / "net.onnx", [onnx.helper.make_node("MatMul", ["image", "w"], ["y"])],
        [("image", shape)], [("y", [*shape[:3], 2])], [float_models.constant(rng, "w", shape[3], 2)])
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "notes.txt").write_text("not a picture, and not looked at")
    colour = np.array([200, 100, 0], np.uint8)
    Image.fromarray(np.broadcast_to(colour, (12, 10, 3)).copy()).save(folder / "flat.png")
    Image.fromarray(np.zeros((12, 10, 3), np.uint8)).save(folder / "black.png")
    told = celosia_cli("quantize", model, "-c", folder, "-o", tmp_path / "q.onnx", "--json",
                       "--mean", "0.5,0.25,0.5", "--std", "0.5,0.25,0.25")
    assert told.code == 0, told.stderr
    seen = [value for mean, std, top in ((.5, .5, 200), (.25, .25, 100), (.5, .25, 0))
            for value in ((0 - mean) / std, (top / 255 - mean) / std)]
    scale = next(layer["scale"] for layer in told.json["layers"] if layer["op"] == "input")
    assert scale == pytest.approx((max(seen) - min(seen)) / 255, rel=1e-3)
    values = read_picture([InputSpec("image", "float32", shape)], folder / "flat.png", Pixels())["image"]
    assert values.shape == shape and values.dtype == np.float32
    np.testing.assert_allclose(values[0, :, 2, 1] if first else values[0, 2, 1], colour / 255, rtol=1e-6)
    pixels = Pixels(0.5, (1.0, 2.0, 3.0), (1.0, 10.0, 2.0))
    values = read_picture([InputSpec("image", "float32", shape)], folder / "flat.png", pixels)["image"]
    np.testing.assert_allclose(values[0, :, 2, 1] if first else values[0, 2, 1], [99, 4.8, -1.5], rtol=1e-6)


def test_missing_calibration_says_what_is_needed_and_how_to_make_it(celosia_cli, classifier, tmp_path):
    complaint = refused(celosia_cli, classifier, "-o", tmp_path / "q.onnx")
    for told in ("calibration data is missing", "image: float32[?, 1, 8, 8]", "--calibration FILE.npz",
                 "numpy.savez('FILE.npz', **{'image': array})", "--calibration DIR"):
        assert told in complaint


def test_calibration_that_does_not_fit_is_refused(celosia_cli, classifier, tmp_path, images):
    def complaint(*more):
        return refused(celosia_cli, classifier, "-o", tmp_path / "q.onnx", *more)

    file = tmp_path / "in.npz"
    assert "no such file or folder" in complaint("-c", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "holds no sample" in complaint("-c", tmp_path / "empty")
    np.savez(file, picture=images)
    assert "holds ['picture']" in complaint("-c", file)
    np.savez(file, image=images[..., :7])
    assert str(file) in complaint("-c", file) and "float32[12, 1, 8, 7]" in complaint("-c", file)
    np.savez(file, image=images, labels=[1])
    assert "1 labels for 12 samples" in complaint("-c", file)
    file.write_bytes(b"PK\x03\x04 nothing")
    assert "may be damaged" in complaint("-c", file)
    np.save(tmp_path / "in.npy", (images * 255).astype(np.uint8))
    assert "of type uint8" in complaint("-c", tmp_path / "in.npy")
    (tmp_path / "photo.png").write_text("none")
    assert "photo.png: is no picture" in complaint("-c", tmp_path / "photo.png")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "photo.png")
    assert "--mean has 2 values for 1 channels" in complaint("-c", tmp_path / "photo.png", "--mean", "1,2")
    assert "--std is 0" in complaint("-c", tmp_path / "photo.png", "--std", "0")
    assert "is not a number" in complaint("-c", tmp_path / "photo.png", "--std", "one")
    assert not (tmp_path / "q.onnx").exists()


def test_pictures_need_one_input_of_a_fixed_size(celosia_cli, tmp_path):
    model = float_models.products(tmp_path / "net.onnx")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "photo.png")
    assert "a picture does not fit: the model takes a: float32[1, 3, 5], b: " in refused(
        celosia_cli, model, "-c", tmp_path / "photo.png", "-o", tmp_path / "q.onnx")


def test_labels_that_do_not_fit_are_refused(celosia_cli, classifier, samples, tmp_path):
    file = tmp_path / "labels.csv"
    for text, told in (("a.npz,1\n", "no label for samples.npz"), ("1\n2\n", "2 labels for 12 samples"),
                       ("file,label\nsamples.npz,cat\n", "whole number; here is ['samples.npz', 'cat']"),
                       ("samples.npz,4\n", "labels are 4 to 4, and the model's first output has 4 values")):
        file.write_text(text)
        assert told in refused(celosia_cli, classifier, "-c", samples, "-o", tmp_path / "q.onnx", "--labels",
                               file)


def test_models_that_cannot_be_quantised_are_refused(celosia_cli, classifier, digits, samples, tmp_path):
    out = tmp_path / "q.onnx"
    assert "is no ONNX model" in refused(celosia_cli, digits, "-c", samples, "-o", out)
    assert celosia_cli("quantize", classifier, "-c", samples, "-o", out).code == 0
    assert "is quantised already" in refused(celosia_cli, out, "-c", samples, "-o", tmp_path / "qq.onnx")
    assert "there is no folder" in refused(celosia_cli, classifier, "-c", samples, "-o", tmp_path / "a" / "q")
    assert "no such operators" in refused(celosia_cli, classifier, "-c", samples, "-o", out,
                                          "--weights", "uint8")
    assert "no operator 'tail'" in refused(celosia_cli, classifier, "-c", samples, "-o", out,
                                           "--exclude", "tail")


def test_verbose_shows_what_the_tools_say(celosia_cli, classifier, samples, tmp_path):
    arguments = ("quantize", classifier, "-c", samples, "-o", tmp_path / "q.onnx", "--method", "entropy")
    assert "Finding optimal threshold" in celosia_cli(*arguments, "-v").stderr
    quiet = celosia_cli(*arguments)
    assert "Finding" not in quiet.stderr and "running calibration samples" in quiet.stderr


def test_other_commands_do_not_wait_for_onnx():
    """The quantiser's packages take a second to import."""
    done = subprocess.run([sys.executable, "-c", "import sys, celosia.cli.quantize; "
                           "assert 'onnxruntime.quantization' not in sys.modules"], timeout=120)
    assert done.returncode == 0
