"""Quantising small float models: what comes out, what it is said to lose, and what is refused."""
from math import inf

import numpy as np
import onnx
import onnxruntime
import pytest
from celosia.host.quantise import quantise
from celosia.host.quantise.loss import decibels, requantised
from celosia.rtl.contract.errors import InputError, ModelError, ToolError, UnsupportedError
from onnx import helper
from onnxruntime.quantization import qdq_loss_debug
from support import float_models

METHODS = ["minmax", "entropy", "percentile"]
TYPES = [("int8", "int8"), ("uint8", "uint8"), ("uint8", "int8")]


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((24, 1, 8, 8), np.float32)


@pytest.fixture
def classifier(tmp_path):
    return float_models.classifier(tmp_path / "float.onnx")


def run(model, samples, input_name="image", optimise=False):
    """First outputs by ONNX Runtime alone."""
    options = onnxruntime.SessionOptions()
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return np.array([session.run(None, {input_name: sample[None]})[0] for sample in samples])


def ops(model):
    return [node.op_type for node in onnx.load(model).graph.node]


@pytest.mark.parametrize("activations,weights", TYPES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_every_choice_makes_a_sound_model_that_is_close(classifier, images, tmp_path, form, method,
                                                        activations, weights):
    made = quantise(classifier, tmp_path / "q.onnx", images, format=form, method=method,
                    activations=activations, weights=weights)
    onnx.checker.check_model(made.file)
    assert ("QLinearConv" in ops(made.file)) == (form == "qoperator")
    np.testing.assert_allclose(run(made.file, images, optimise=True), run(classifier, images), atol=0.05)
    assert made.calibrated == made.measured == 24
    assert made.outputs[0].tensor == "scores" and made.outputs[0].total > 20
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor)
              for tensor in onnx.load(made.file).graph.initializer}
    kept = weights if form == "qdq" else "int8"  # ONNX Runtime's integer convolutions, per channel
    assert stored["w0_quantized"].dtype == kept and stored["w0_scale"].shape == (6,)
    assert stored["image_zero_point"].dtype == activations


def test_one_scale_for_a_tensor_loses_more_than_one_for_a_channel(classifier, images, tmp_path):
    lost = {kind: quantise(classifier, tmp_path / "q.onnx", images, per_channel=kind).layers
            for kind in (True, False)}
    stem = {kind: next(layer for layer in lost[kind] if layer.name == "stem") for kind in lost}
    assert stem[True].weights > stem[False].weights + 3


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_layers_are_those_of_the_float_model_with_merged_activations(classifier, images, tmp_path, form):
    layers = quantise(classifier, tmp_path / "q.onnx", images, format=form).layers
    assert [layer.op for layer in layers] == ["input", "Conv+Relu", "Conv", "Add", "MaxPool",
                                              "GlobalAveragePool", "Flatten", "Gemm", "Softmax"]
    assert [layer.tensor for layer in layers] == ["image", "r0", "c1", "sum", "pooled", "mean", "flat",
                                                  "logits", "scores"]
    assert [layer.op for layer in layers if layer.weights] == ["Conv+Relu", "Conv", "Gemm"]
    assert all(layer.scale and layer.rounding > 30 and layer.total > 20 for layer in layers)
    assert layers[0].rounding == pytest.approx(layers[0].total)  # nothing was lost before the input


def test_the_loss_is_what_onnx_runtime_s_own_tool_says(classifier, images, tmp_path):
    float_model = tmp_path / "fixed.onnx"
    float_models.classifier(float_model, batch=1)
    made = quantise(float_model, tmp_path / "q.onnx", images)

    def collected(model):
        qdq_loss_debug.modify_model_output_intermediate_tensors(str(model), str(tmp_path / "more.onnx"))
        return qdq_loss_debug.collect_activations(str(tmp_path / "more.onnx"),
                                                  ({"image": image[None]} for image in images))

    told = qdq_loss_debug.compute_activation_error(
        qdq_loss_debug.create_activation_matching(collected(made.file), collected(float_model)))
    ours = {layer.tensor: layer for layer in made.layers}
    assert set(ours) <= set(told)
    for name in ours:
        assert ours[name].total == pytest.approx(told[name]["xmodel_err"], abs=0.01), name
    weights = qdq_loss_debug.compute_weight_error(
        qdq_loss_debug.create_weight_matching(str(float_model), str(made.file)))
    for tensor, name in (("r0", "w0"), ("c1", "w1"), ("logits", "w2")):
        assert ours[tensor].weights == pytest.approx(weights[name], abs=0.01)


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_weights_of_a_matrix_product_have_scales_along_the_last_axis(images, tmp_path, form):
    float_models.products(tmp_path / "float.onnx")
    rng = np.random.default_rng(2)
    data = {name: rng.standard_normal((9, 3, 5)).astype(np.float32) for name in "ab"}
    made = quantise(tmp_path / "float.onnx", tmp_path / "q.onnx", data, format=form)
    product = next(layer for layer in made.layers if layer.tensor == "aw")
    assert product.weights > 35 and made.same is not None and made.accuracy is None


def test_decibels_at_the_ends():
    assert decibels(1, 0) == inf and decibels(0, 0) == inf
    assert decibels(1, 0.01) == pytest.approx(20)
    assert -inf < decibels(0, 1) < -1000


def test_requantised_rounds_half_to_even_and_saturates():
    zero = np.array(-3, np.int8)
    values = np.array([0.25, 0.75, -0.25, 1e9, -1e9])
    np.testing.assert_array_equal(requantised(values, np.float32(0.5), zero), [0, 1, 0, 65, -62.5])


def test_accuracy_counts_the_largest_output(classifier, images, tmp_path):
    before, rng = run(classifier, images).reshape(24, 4).argmax(1), np.random.default_rng(3)
    labels = np.where(rng.random(24) < 0.7, before, (before + 1) % 4).tolist()
    made = quantise(classifier, tmp_path / "q.onnx", images[:8], test=images, labels=labels)
    after = run(made.file, images).reshape(24, 4).argmax(1)
    assert (made.accuracy.before, made.accuracy.after, made.accuracy.samples) == (
        (before == labels).sum(), (after == labels).sum(), 24)
    assert made.same == (before == after).sum()
    assert (made.calibrated, made.measured) == (8, 24)


def test_a_percentile_cuts_outliers(classifier, images, tmp_path):
    wild = images.copy()
    wild[0, 0, 0, 0] = 50
    scales = {share: quantise(classifier, tmp_path / "q.onnx", wild, method="percentile",
                              percentile=share).layers[0].scale for share in (100.0, 99.0)}
    assert scales[100.0] == pytest.approx(50 / 255, rel=0.01) and scales[99.0] < 0.01


def test_an_excluded_operator_stays_float(classifier, images, tmp_path):
    made = quantise(classifier, tmp_path / "q.onnx", images, exclude=["head"])
    head = next(layer for layer in made.layers if layer.name == "head")
    assert head.weights is None
    assert "head" in {node.name for node in onnx.load(made.file).graph.node
                      if any(name == "w2" for name in node.input)}
    with pytest.raises(InputError, match="no operator 'tail'; there are stem, "):
        quantise(classifier, tmp_path / "q.onnx", images, exclude=["tail"])


def test_open_dimensions_become_those_of_the_samples(tmp_path):
    model = float_models.embedding(tmp_path / "float.onnx")
    tokens = np.random.default_rng(4).integers(0, 9, (6, 1, 5))
    made = quantise(model, tmp_path / "q.onnx", tokens)
    (value,) = onnx.load(made.file).graph.input
    assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == [1, 5]
    assert made.outputs[0].total > 25
    ragged = [{"tokens": np.zeros((1, size), np.int64)} for size in (5, 4)]
    with pytest.raises(InputError, match="all samples need the same shape"):
        quantise(model, tmp_path / "q.onnx", ragged)


def test_an_old_opset_is_raised_to_one_with_scales_per_channel(images, tmp_path):
    model = float_models.save(
        tmp_path / "float.onnx",
        [helper.make_node("Conv", ["image", "w"], ["y"])], [("image", [1, 1, 8, 8])], [("y", [1, 2, 6, 6])],
        [float_models.constant(np.random.default_rng(0), "w", 2, 1, 3, 3)], opset=11)
    made = quantise(model, tmp_path / "q.onnx", images)
    assert onnx.load(made.file).opset_import[0].version >= 13 and made.outputs[0].total > 30


@pytest.mark.parametrize("method", METHODS)
def test_a_layer_that_is_always_zero_does_no_harm(classifier, tmp_path, method):
    model = onnx.load(classifier)
    next(node for node in model.graph.node if node.name == "stem").output[0] = "early"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1, np.float32), "nothing"))
    model.graph.node.insert(1, helper.make_node("Mul", ["early", "nothing"], ["c0"]))
    onnx.save(model, classifier)
    images = np.random.default_rng(1).random((4, 1, 8, 8), np.float32)
    made = quantise(classifier, tmp_path / "q.onnx", images, method=method)
    assert next(layer for layer in made.layers if layer.tensor == "r0").total == inf
    assert all(np.isfinite(run(made.file, images)).reshape(-1))


def test_many_samples_go_through_histograms_in_equal_parts(classifier, images, tmp_path, monkeypatch):
    whole = quantise(classifier, tmp_path / "whole.onnx", images, method="percentile", percentile=99)
    monkeypatch.setattr("celosia.host.quantise.flow.CALIBRATION_BYTES", 30_000)
    parts = quantise(classifier, tmp_path / "parts.onnx", images[:23], method="percentile", percentile=99)
    assert 15 <= parts.calibrated < 23 and any("left out" in notice for notice in parts.notices)
    for one, other in zip(whole.layers, parts.layers, strict=True):
        assert one.scale == pytest.approx(other.scale, rel=0.2)


def test_progress_counts_every_stage_and_nothing_is_printed(classifier, images, tmp_path, capfd):
    told = []
    made = quantise(classifier, tmp_path / "q.onnx", images[:3], method="entropy",
                    progress=lambda *step: told.append(step))
    assert told == [*(("calibrate", k, 3) for k in (1, 2, 3)), ("ranges", 0, 0),
                    *(("measure", k, 3) for k in (1, 2, 3))]
    assert capfd.readouterr() == ("", "") and made.notices  # what the tools said is kept


def refused(error, told, model, *arguments, **options):
    with pytest.raises(error) as caught:
        quantise(model, *arguments, **options)
    assert told in str(caught.value), str(caught.value)


@pytest.mark.parametrize("content", [b"", b"GIF89a" * 50, b"\x18\0\0\0TFL3" + bytes(40)])
def test_what_is_no_onnx_model_is_refused(images, tmp_path, content):
    (tmp_path / "net.onnx").write_bytes(content)
    refused(ModelError, "is no ONNX model", tmp_path / "net.onnx", tmp_path / "q.onnx", images)
    refused(ModelError, "cannot be read", tmp_path / "none.onnx", tmp_path / "q.onnx", images)
    assert not (tmp_path / "q.onnx").exists()


def test_an_unsound_model_is_refused(classifier, images, tmp_path):
    model = onnx.load(classifier)
    del model.graph.node[0]
    onnx.save(model, classifier)
    refused(ModelError, "not a sound ONNX model", classifier, tmp_path / "q.onnx", images)


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_a_quantised_model_is_refused(classifier, images, tmp_path, form):
    quantise(classifier, tmp_path / "q.onnx", images, format=form)
    refused(UnsupportedError, "is quantised already", tmp_path / "q.onnx", tmp_path / "qq.onnx", images)


def test_a_model_of_which_nothing_can_be_quantised_is_refused(tmp_path):
    model = float_models.save(tmp_path / "float.onnx", [helper.make_node("Floor", ["x"], ["y"])],
                              [("x", [1, 3])], [("y", [1, 3])], [])
    refused(UnsupportedError, "can be quantised", model, tmp_path / "q.onnx", np.ones((4, 3), np.float32))


def test_arguments_that_do_not_fit_are_refused(classifier, images, tmp_path):
    out = tmp_path / "q.onnx"
    refused(InputError, "there is no sample; the model takes image: float32[?, 1, 8, 8]", classifier, out, [])
    refused(InputError, "no such operators", classifier, out, images, activations="int8", weights="uint8")
    refused(InputError, "percentile is 0", classifier, out, images, percentile=0)
    refused(InputError, "is the float model itself", classifier, classifier, images)
    refused(InputError, "3 labels for 24 samples", classifier, out, images, labels=[0, 1, 2])
    refused(InputError, "labels are 0 to 4, and the model's first output has 4 values", classifier, out,
            images[:3], labels=[0, 4, 1])
    refused(InputError, "cannot be written", classifier, tmp_path / "none" / "q.onnx", images[:2])
    refused(InputError, "float32[1, 8, 9]", classifier, out, images[0][..., :1].repeat(9, 2))
    assert not out.exists()


def test_a_failure_of_the_tools_is_a_tool_error(classifier, images, tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError("no luck")

    monkeypatch.setattr("celosia.host.quantise.flow.ort_quantize", broken)
    refused(ToolError, "the quantiser failed (RuntimeError: no luck)", classifier, tmp_path / "q.onnx",
            images)
