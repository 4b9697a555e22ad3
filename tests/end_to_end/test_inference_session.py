"""Scripts for ONNX Runtime, run twice with nothing changed but the import."""
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from support.onnx_models import build

import celosia

LAYERS = {
    "QOperator": ("network of QOperators", {}),
    "QDQ": ("network", {}),
    "QDQ with real ends": ("network", {"ends": "float", "dtype": "int8"}),
    "two inputs": ("QLinearAdd", {"b": (1, 3, 1, 1)}),
}


def theirs(path):
    """ONNX Runtime's session with graph optimisations disabled."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def ours(path, **options):
    return celosia.InferenceSession(path, providers=["CPUExecutionProvider"], device="emulator",
                                    fabric="sim8x8",
                                    **options)


def evaluate(session, batch=1, count=2):
    """What scripts of this kind do: find out what the model takes, make it up, run."""
    kinds = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}
    rng = np.random.default_rng(3)
    found = []
    for _ in range(count):
        feeds = {}
        for value in session.get_inputs():
            shape = [size if isinstance(size, int) else batch for size in value.shape]
            feeds[value.name] = (rng.normal(0, 40, shape)).astype(kinds[value.type])
        found.append(session.run(None, feeds))
        names = [value.name for value in session.get_outputs()]
        found.append(session.run(names[-1:], feeds))
    return found


def same(mine, others):
    assert len(mine) == len(others)
    for one, other in zip(mine, others, strict=True):
        assert isinstance(one, list) and len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", LAYERS)
def test_the_script_gets_the_same_values(name, tmp_path):
    kind, options = LAYERS[name]
    path = build(kind, np.random.default_rng(2), **options).save(tmp_path / "model.onnx")
    same(evaluate(ours(str(path))), evaluate(theirs(str(path))))


def test_a_model_may_be_given_as_bytes_or_as_a_path(tmp_path):
    layer = build("Gemm", np.random.default_rng(1))
    content = layer.model.SerializeToString()
    path = layer.save(tmp_path / "model.onnx")
    wanted = evaluate(theirs(content))
    for given in (content, path, str(path)):
        same(evaluate(ours(given)), wanted)


@pytest.mark.parametrize("kind, options", [
    ("QLinearConv", {"dtype": "int8", "pads": (1, 1, 1, 1)}),
    ("Conv", {"ends": "float", "activation": "Relu"}),
    ("network", {}),
    ("network of QOperators", {}),
    ("Gemm", {"shape": (1, 20)}),
])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_is_computed_sample_by_sample(kind, options, batch):
    layer = build(kind, np.random.default_rng(2), open_batch=True, **options)
    content = layer.model.SerializeToString()
    same(evaluate(ours(content), batch), evaluate(theirs(content), batch))


@pytest.mark.parametrize("name, more", [
    *((name, {}) for name in LAYERS),
    *((name, {"open_batch": True}) for name in LAYERS if name != "two inputs"),
])
def test_the_script_is_told_the_same(name, more):
    kind, options = LAYERS[name]
    layer = build(kind, np.random.default_rng(2), **options, **more)
    content = layer.model.SerializeToString()
    mine, others = ours(content), theirs(content)
    for method in ("get_inputs", "get_outputs"):
        told, wanted = getattr(mine, method)(), getattr(others, method)()
        assert [value.name for value in told] == [value.name for value in wanted]
        assert [value.type for value in told] == [value.type for value in wanted]
        assert [list(value.shape) for value in told] == [list(value.shape) for value in wanted]
    assert "CPUExecutionProvider" in mine.get_providers()


@pytest.mark.parametrize("element, word", [
    (TensorProto.FLOAT, "tensor(float)"), (TensorProto.DOUBLE, "tensor(double)"),
    (TensorProto.BOOL, "tensor(bool)"), (TensorProto.INT64, "tensor(int64)"),
    (TensorProto.UINT16, "tensor(uint16)"), (TensorProto.FLOAT16, "tensor(float16)"),
])
def test_types_are_called_what_onnx_runtime_calls_them(element, word):
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "copy", [
        helper.make_tensor_value_info("x", element, ["N", 3])], [
        helper.make_tensor_value_info("y", element, ["N", 3])])
    content = helper.make_model(graph, ir_version=8, opset_imports=[
        helper.make_opsetid("", 17)]).SerializeToString()
    mine, others = ours(content), theirs(content)
    assert mine.get_inputs()[0].type == others.get_inputs()[0].type == word
    x = np.arange(6).reshape(2, 3).astype(helper.tensor_dtype_to_np_dtype(element))
    same([mine.run(None, {"x": x})], [others.run(None, {"x": x})])


def test_outputs_come_in_the_order_they_are_asked_for():
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Neg", ["a"], ["b"])], "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "ab"])
    content = helper.make_model(graph, ir_version=8, opset_imports=[
        helper.make_opsetid("", 17)]).SerializeToString()
    mine, others, feeds = ours(content), theirs(content), {"x": np.float32([-1, 2])}
    for names in (None, ["b"], ["b", "a"], []):
        same([mine.run(names, feeds)], [others.run(names, feeds)])


def test_the_last_inference_has_its_cycles_and_layers():
    layer = build("network", np.random.default_rng(2))
    session = ours(layer.model.SerializeToString())
    assert session.result is None
    session.run(None, layer.feeds(np.random.default_rng(1)))
    assert session.result.layers


def test_misuse_is_refused(tmp_path):
    layer = build("QLinearConv", np.random.default_rng(2))
    session, x = ours(layer.model.SerializeToString()), layer.feeds(np.random.default_rng(1))["x"]
    for names, feeds, text in (
            (["nothing"], {"x": x}, "no output"),
            (None, {}, "x"),
            (None, {"x": x, "more": x}, "more"),
            (None, {"other": x}, "other|x"),
            (None, {"x": x[:, :2]}, r"takes uint8\[1, 3, 8, 7\]"),
            (None, {"x": np.concatenate([x, x])}, r"takes uint8\[1, 3, 8, 7\]"),
            (None, {"x": x.astype(np.float32)}, "float32")):
        with pytest.raises(celosia.InputError, match=text):
            session.run(names, feeds)
    with pytest.raises(celosia.InputError, match="device"):
        celosia.InferenceSession(layer.model.SerializeToString(), device="abacus").run(None, {"x": x})


@pytest.mark.parametrize("content", [b"", b"hello, world", b"\x08\x08"])
def test_what_is_no_model_is_refused(content, tmp_path):
    with pytest.raises(celosia.ModelError):
        ours(content)
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(celosia.ModelError, match="model.onnx"):
        ours(str(tmp_path / "model.onnx"))


def test_a_path_to_nothing_and_an_operator_beyond_us_are_refused(tmp_path):
    with pytest.raises(celosia.ModelError, match="gone.onnx: cannot be read"):
        ours(tmp_path / "gone.onnx")
    model = onnx.ModelProto()
    model.CopyFrom(build("Gemm", np.random.default_rng(1)).model)
    model.graph.node[-1].op_type = "Magic"
    with pytest.raises(celosia.UnsupportedError, match="Magic"):
        ours(model.SerializeToString())
