"""ONNX models that are damaged, inconsistent or beyond us: typed errors that name node and tensor."""
import hashlib

import numpy as np
import onnx
import pytest
from celosia.host.importers import load
from celosia.host.importers.onnx import load_onnx
from celosia.host.reference import Reference
from celosia.rtl.contract.errors import ModelError, UnsupportedError
from onnx import TensorProto, helper, numpy_helper
from support.onnx_models import NEWEST, build

FLOAT = TensorProto.FLOAT


def info(name, shape=(1, 4), element=FLOAT):
    return helper.make_tensor_value_info(name, element, shape)


def model(nodes, inputs=(("x", (1, 4)),), outputs=("y",), held=(), opset=17, domain="", **more):
    """A small float network; ``inputs`` are names and shapes, perhaps with an element type."""
    graph = helper.make_graph(
        nodes, "network", [info(*each) for each in inputs],
        [onnx.ValueInfoProto(name=name,
                             type=onnx.TypeProto(tensor_type=onnx.TypeProto.Tensor(elem_type=FLOAT)))
         for name in outputs], [numpy_helper.from_array(value, name) for name, value in held])
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid(domain, opset)], **more)


def relu(name="y", of="x", **more):
    return helper.make_node("Relu", [of], [name], name=f"make {name}", **more)


def refused(proto, error, text, **options):
    with pytest.raises(error, match=text) as caught:
        load_onnx(proto, **options)
    assert str(caught.value).startswith("network: ")


def test_the_plain_network_is_taken():
    assert load_onnx(model([relu()])).framework == "onnx"


# What is inconsistent


@pytest.mark.parametrize("proto, text", [
    (model([relu(of="w")]),
     r"node 'make y' \(Relu\) reads 'w', which is no input, no initialiser and made by no"),
    (model([helper.make_node("Conv", ["x", "weights"], ["y"], name="first")]),
     r"node 'first' \(Conv\) reads 'weights', which is no input, no initialiser"),
    (model([relu(of="a"), relu("a", of="y")]),
     r"node 'make \w' \(Relu\) waits for its own result: the graph has a cycle"),
    (model([relu(of="y")]), r"node 'make y' \(Relu\) waits for its own result"),
    (model([relu(), relu()]), "'y' is made twice"),
    (model([relu()], outputs=("z",)), "nothing makes the output 'z'"),
    (model([relu()], outputs=()), "the network has no output"),
    (model([helper.make_node("Relu", ["x"], ["y"], name="it", slope=2.0)]),
     r"node 'it' \(Relu\) is not sound: Unrecognized attribute: slope"),
    (model([helper.make_node("Concat", ["x", ""], ["y"], name="it", axis=1)]),
     r"node 'it' \(Concat\) lacks its operand 1, 'inputs'"),
    (model([helper.make_node("QLinearAdd", ["x"] * 9, ["y"], name="it", domain="com.microsoft")]),
     r"node 'it' \(QLinearAdd\) has 9 operands, not 7 to 8"),
    (model([helper.make_node("QLinearAdd", ["", *["x"] * 7], ["y"], name="it", domain="com.microsoft")]),
     r"node 'it' \(QLinearAdd\) lacks its operand 0, 'A'"),
    (model([helper.make_node("Conv", ["x"], ["y"], name="it")]),
     r"node 'it' \(Conv\) is not sound: .* input size 1"),
])
def test_inconsistent_networks_name_node_and_tensor(proto, text):
    refused(proto, ModelError, text)


def test_a_model_without_a_graph_is_refused():
    with pytest.raises(ModelError, match="it has no graph"):
        load_onnx(onnx.ModelProto(ir_version=8))


def test_nodes_out_of_order_are_put_in_order():
    graph = load_onnx(model([relu("y", of="a"), relu("a")]))
    assert [op.source for op in graph.ops] == ["Relu", "Relu"]


def test_a_damaged_initialiser_is_named():
    proto = model([helper.make_node("Add", ["x", "w"], ["y"])], held=[("w", np.zeros((1, 4), np.float32))])
    proto.graph.initializer[0].raw_data = b"123"
    refused(proto, ModelError, "initialiser.*'w'")


# What is sound but beyond us


@pytest.mark.parametrize("opset", [1, 9, NEWEST + 1, 1000])
def test_opsets_out_of_range_are_refused(opset):
    refused(model([relu()], opset=opset), UnsupportedError,
            f"is of opset {opset}; supported are 10 to {NEWEST}. Convert it with onnx.version_converter")


def test_a_model_without_standard_operators_is_refused():
    refused(model([relu()], domain="ai.onnx.ml", opset=3), UnsupportedError, "imports no standard operators")


@pytest.mark.parametrize("node, text", [
    (helper.make_node("Magic", ["x"], ["y"], name="it"), r"node 'it' \(Magic\) is no operator of opset 17"),
    (helper.make_node("Magic", ["x"], ["y"], name="it", domain="com.microsoft"),
     r"node 'it' \(Magic\) is no operator of com.microsoft"),
    (helper.make_node("BitwiseNot", ["x"], ["y"], name="it"),
     r"node 'it' \(BitwiseNot\) is no operator of opset"),
    (helper.make_node("Magic", ["x"], ["y"], name="it", domain="my.own"),
     r"node 'it' \(Magic\) is of domain 'my.own'; supported are the standard operators and com"),
    (helper.make_node("RandomNormalLike", ["x"], ["y"], name="it"),
     r"node 'it' \(RandomNormalLike\) has results that"),
    (helper.make_node("If", ["x"], ["y"], name="it", then_branch=helper.make_graph([], "a", [], []),
                      else_branch=helper.make_graph([], "b", [],
                                                    [])), r"node 'it' \(If\) holds a graph of its own"),
    (helper.make_node("MatMul", ["x", "x"], ["y"], name="it"), "MatMul"),
])
def test_unsupported_operators_are_named(node, text):
    proto = model([node])
    if node.domain:
        proto.opset_import.append(helper.make_opsetid(node.domain, 1))
    refused(proto, UnsupportedError, text)


@pytest.mark.parametrize("element, word", [
    (TensorProto.STRING, "object"), (TensorProto.COMPLEX64, "complex64"),
    (TensorProto.UNDEFINED, "UNDEFINED"), (77, "77"),
])
def test_types_that_no_kernel_here_takes_are_named(element, word):
    proto = model([helper.make_node("Identity", ["x"], ["y"])], inputs=[("x", (1, 4), element)])
    refused(proto, UnsupportedError, f"'x' has type {word}; supported are")


@pytest.mark.parametrize("node, dtype", [
    (helper.make_node("Conv", ["x", "w"], ["y"], name="it"), np.int32),
    (helper.make_node("Add", ["x", "w"], ["y"], name="it"), np.int64),
    (helper.make_node("MatMul", ["x", "w"], ["y"], name="it"), np.bool_),
])
def test_types_that_an_operator_is_not_defined_for_are_refused(node, dtype):
    """Whatever the onnx package's evaluator would make of them."""
    proto = model([node], inputs=[("x", (1, 1, 4, 4))], held=[("w", np.ones((1, 1, 4, 4), dtype))])
    refused(proto, UnsupportedError, r"Type Error: .*\bit\b")


@pytest.mark.parametrize("shape, text", [
    ((1, "T", 4), r"dimension 1 \(T\) of input 'x' is open; fix it, .*make_dynamic_shape_fixed"),
    ((1, None), "dimension 1 of input 'x' is open"),
    (None, "input 'x' is no tensor of known rank"),
    ((2,) * 9, r"'x' has shape \[2, 2, 2, 2, 2, 2, 2, 2, 2\]; supported are up to 8 dimensions"),
])
def test_shapes_that_stay_open_are_refused(shape, text):
    refused(model([relu()], inputs=[("x", shape)]), UnsupportedError, text)


def test_open_dimensions_can_be_given():
    proto = model([relu()], inputs=[("x", ("N", "T"))])
    assert load_onnx(proto, examples={"x": np.zeros((3, 5), np.float32)}).tensors[0].shape == (3, 5)
    proto = model([relu()], inputs=[("x", ("N", 4))])
    assert load_onnx(proto).tensors[0].shape == (1, 4)
    assert load_onnx(proto, batch=6).tensors[0].shape == (6, 4)


def test_shapes_that_hang_on_the_values_are_refused():
    refused(model([helper.make_node("NonZero", ["x"], ["y"], name="places")]), UnsupportedError,
            r"node 'places' \(NonZero\) has results .* whose shape depends on the values")


def test_operands_that_do_not_fit_are_refused_in_onnx_runtime_s_words():
    proto = model([helper.make_node("Add", ["x", "w"], ["y"], name="sum")],
                  held=[("w", np.zeros((1, 3), np.float32))])
    refused(proto, UnsupportedError, "sum")


# Files


def test_files_that_are_no_models(tmp_path):
    sound = build("QLinearConv", np.random.default_rng(1)).model.SerializeToString()
    for name, data, error, text in (
            ("missing.onnx", None, ModelError, "cannot be read"),
            ("cut.onnx", sound[:len(sound) // 2], ModelError, "no ONNX model, or damaged"),
            ("noise.onnx", b"\x08" + bytes(range(256)), ModelError, "no ONNX model, or damaged"),
            ("nothing.onnx", b"\x08\x08", ModelError, "it has no graph")):
        path = tmp_path / name
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(error, match=text) as caught:
            load(path)
        assert name in str(caught.value)


# External data


@pytest.fixture
def outside(tmp_path):
    """A model whose weights lie in a file beside it; its path, the entries that say where, and a way to
    save."""
    weights = np.arange(12, dtype=np.float32).reshape(4, 3)
    proto = model([helper.make_node("MatMul", ["x", "w"], ["y"])], held=[("w", weights)])
    tensor = proto.graph.initializer[0]
    data = b"\0" * 16 + tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    (tmp_path / "w.bin").write_bytes(data)
    entries = {"location": "w.bin", "offset": "16", "length": "48",
               "checksum": hashlib.sha1(data, usedforsecurity=False).hexdigest()}

    def save(**changes):
        del tensor.external_data[:]
        for key, value in (entries | changes).items():
            if value is not None:
                tensor.external_data.add(key=key, value=value)
        path = tmp_path / "network.onnx"
        path.write_bytes(proto.SerializeToString())
        return path

    return save


def test_external_data_is_read_at_its_place(outside):
    for path in (outside(), outside(checksum=None), outside(length=None)):
        (y,) = Reference(load(path)).run([np.float32([[1, 10, 100, 1000]])])
        assert y.tolist() == [[9630, 10741, 11852]]


@pytest.mark.parametrize("changes, text", [
    ({"location": "gone.bin"}, r"tensor 'w' lies in file 'gone.bin', which cannot be read \(No such file"),
    ({"checksum": "0" * 40},
     "tensor 'w' lies in file 'w.bin', whose checksum is [0-9a-f]{40}, not 0{40}: it belongs to"),
    ({"location": "../w.bin"}, "outside the model's own folder"),
    ({"location": "/etc/hostname"}, "outside the model's own folder"),
    ({"location": None}, "no folder to look in"),
    ({"location": "w\0.bin"}, "at no sound place"),
    ({"length": "64"}, "of 64 bytes, but reaches from byte 16 to 80"),
    ({"offset": "1000"}, "of 64 bytes, but reaches from byte 1000 to 1048"),
    ({"offset": "-8"}, "at no sound place"),
    ({"length": "-8"}, "at no sound place"),
    ({"length": "many"}, "at no sound place"),
    ({"length": "44"}, "initialiser.*'w'"),
    ({"length": None, "offset": "20"}, "initialiser.*'w'"),
])
def test_external_data_that_is_missing_or_another_s_is_refused(outside, changes, text):
    with pytest.raises(ModelError, match=text) as caught:
        load(outside(**changes))
    assert str(caught.value).startswith("network.onnx: ")


def test_external_data_of_a_model_in_memory_has_no_folder(outside):
    proto = onnx.load(str(outside()), load_external_data=False)
    refused(proto, ModelError, "there is no folder to look in")
