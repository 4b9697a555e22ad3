"""The TFLite importer: attributes of what is well formed, and a clear refusal of what is not."""
import struct

import numpy as np
import pytest
from celosia.host.graph.ir import Kind
from celosia.host.importers import load
from celosia.host.importers.tflite import load_tflite
from celosia.host.importers.tflite_writer import ModelSpec, OpSpec, TensorSpec
from celosia.rtl.contract.errors import ModelError, UnsupportedError
from support import single_ops
from support.litert import LiteRt


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def graph_of(spec):
    return load_tflite(spec.build(), "model")


def refused(spec, error, text):
    with pytest.raises(error, match=text) as caught:
        graph_of(spec)
    assert str(caught.value).startswith("model: ")


# What is well formed


@pytest.mark.parametrize("size, kernel, stride, dilation, padding", [
    # (height, width) …, then (top, bottom, left, right) by TensorFlow's own rule: the odd one comes last
    ((7, 6), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    ((7, 6), (3, 3), (2, 2), (1, 1), (1, 1, 0, 1)),
    ((8, 8), (4, 2), (1, 1), (1, 1), (1, 2, 0, 1)),
    ((9, 9), (3, 3), (1, 1), (2, 3), (2, 2, 3, 3)),
    ((49, 10), (10, 4), (2, 2), (1, 1), (4, 5, 1, 1)),
    ((5, 5), (1, 1), (2, 2), (1, 1), (0, 0, 0, 0)),
])
def test_same_padding_becomes_numbers(rng, size, kernel, stride, dilation, padding):
    graph = graph_of(single_ops.convolution(rng, size=size, kernel=kernel, stride=stride, dilation=dilation))
    op = graph.ops[0]
    assert op.kind == Kind.CONV and op.source == "CONV_2D"
    assert (op.attrs["stride"], op.attrs["dilation"], op.attrs["padding"]) == (stride, dilation, padding)


def test_depthwise_options_are_read_from_their_own_places(rng):
    op = graph_of(single_ops.depthwise(rng, multiplier=2, stride=(2, 3), dilation=(1, 2), padding="VALID",
                                       activation="RELU")).ops[0]
    assert op.kind == Kind.DEPTHWISE_CONV
    assert (op.attrs["stride"], op.attrs["dilation"], op.attrs["padding"]) == ((2, 3), (1, 2), (0, 0, 0, 0))


def test_pool_options(rng):
    op = graph_of(single_ops.pool(rng, "MAX_POOL_2D", window=(2, 3), stride=(3, 1), padding="VALID")).ops[0]
    assert (op.kind, op.attrs["window"], op.attrs["stride"]) == (Kind.MAX_POOL, (2, 3), (3, 1))


@pytest.mark.parametrize("activation, scale, zero, limits", [
    ("NONE", 0.1, 5, (-128, 127)), ("RELU", 0.1, 5, (5, 127)), ("RELU", 0.1, -128, (-128, 127)),
    ("RELU6", 0.1, -100, (-100, -40)), ("RELU6", 0.02, -128, (-128, 127)),
    ("RELU_N1_TO_1", 0.1, 0, (-10, 10)),
    ("RELU6", 4.0, 0, (0, 2)),  # 1.5 steps: ties go away from zero
])
def test_a_fused_activation_becomes_limits(rng, activation, scale, zero, limits):
    spec = single_ops.convolution(rng, activation=activation)
    spec.tensors[-1].scale, spec.tensors[-1].zero = scale, zero
    attrs = graph_of(spec).ops[0].attrs
    assert (attrs["low"], attrs["high"]) == limits


def test_scales_keep_their_float32_value_and_their_axis(rng):
    graph = graph_of(single_ops.depthwise(rng))
    weights = graph.tensors[1]
    assert weights.quant.axis == 3 and weights.quant.scale.dtype == np.float64
    np.testing.assert_array_equal(weights.quant.scale.astype(np.float32), weights.quant.scale)
    assert graph.tensors[0].quant.axis is None


def test_an_optional_bias_left_out_is_none(rng):
    for spec in (single_ops.fully_connected(rng, bias=False), single_ops.fully_connected(rng, bias=False)):
        spec.ops[0].inputs.append(-1)
        assert graph_of(spec).ops[0].inputs == (0, 1, None)


def test_reshape_loses_its_shape_operand(rng):
    op = graph_of(single_ops.reshape(rng)).ops[0]
    assert (op.kind, op.inputs, op.attrs) == (Kind.RESHAPE, (0,), {})


def test_an_open_batch_is_one(rng):
    spec = single_ops.convolution(rng)
    spec.tensors[0].signature = (-1, 7, 6, 3)
    spec.tensors[0].shape = (-1, 7, 6, 3)
    assert graph_of(spec).tensors[0].shape == (1, 7, 6, 3)


def test_graph_knows_name_rounding_and_size(rng):
    data = single_ops.fully_connected(rng).build()
    graph = load_tflite(data, "net.tflite", rounding="tflm")
    assert (graph.name, graph.framework, graph.rounding) == ("net.tflite", "tflite", "tflm")
    assert graph.source_bytes == len(data)


def test_operator_codes_of_new_files_are_read_from_the_new_field(models):
    # Its writer left the old field out, which flatc's generated reader takes for 0, ADD.
    graph = load(models / "cfu_presence_0_320_240_1_20220415_172145_201k_26k_96ops.tflite")
    assert {op.source for op in graph.ops} >= {"PAD", "STRIDED_SLICE", "CONCATENATION"}
    assert Kind.ADD not in {op.kind for op in graph.ops}


# What is no model


def test_files_that_are_not_models(tmp_path):
    for name, data, error, text in (
            ("missing", None, ModelError, "cannot be read"),
            ("empty.tflite", b"", ModelError, "not a TFLite file"),
            ("text.tflite", b"hello, world, this is text", ModelError, "are b'o, w', expected b'TFL3'"),
            ("net.onnx", b"\x08\x0a\x12\x04test", ModelError, "no ONNX model"),
            ("net.bin", b"\x08\x0a\x12\x04test", ModelError, "no ONNX model"),
            ("short.tflite", struct.pack("<I", 8) + b"TFL3", ModelError, "truncated or damaged")):
        path = tmp_path / name
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(error, match=text) as caught:
            load(path)
        assert name in str(caught.value)
    with pytest.raises(ModelError, match="cannot be read"):
        load(tmp_path)


def test_every_truncation_is_refused(rng):
    data = single_ops.convolution(rng, size=(2, 2), kernel=(1, 1)).build()
    whole = load_tflite(data, "model")
    for size in range(len(data)):
        try:
            graph = load_tflite(data[:size], "model")
        except ModelError as error:
            assert str(error).startswith("model: ")
        else:  # what was cut off is padding
            assert size > len(data) - 8 and len(graph.ops) == len(whole.ops)


# What is inconsistent


@pytest.mark.parametrize("change, text", [
    (lambda s: setattr(s.tensors[1], "data", s.tensors[1].data[:1]),
     r"'t1' is int8 \[5, 3, 3, 3\], but its buffer has 27"),
    (lambda s: setattr(s.tensors[0], "scale", None),
     r"operator 0 \(CONV_2D\), which makes 't3': .*'t0'.*no quantisation"),
    (lambda s: setattr(s.tensors[3], "scale", 0.0), "'t3' has a scale that is zero"),
    (lambda s: setattr(s.tensors[3], "scale", -0.5), "'t3' has a scale that is zero, negative"),
    (lambda s: setattr(s.tensors[0], "scale", float("nan")), "'t0' has a scale .* not a number"),
    (lambda s: setattr(s.tensors[0], "scale", float("inf")), "'t0' has a scale"),
    (lambda s: setattr(s.tensors[0], "zero", 128),
     "zero point 128 of tensor 't0' does not fit its type int8"),
    (lambda s: setattr(s.tensors[1], "zero", [0, 0, 1, 0, 0]),
     "int8 weights 't1' must have zero points of 0"),
    (lambda s: setattr(s.tensors[1], "axis", 3), r"'t1' of shape \[5, 3, 3, 3\] has 5 scales along axis 3"),
    (lambda s: setattr(s.tensors[0], "scale", [0.1, 0.2]), "'t0'.*2 scales"),
    (lambda s: setattr(s.tensors[0], "shape", (1, 7, 6)), r"input has shape \[1, 7, 6\], not 4 dimensions"),
    (lambda s: setattr(s.tensors[0], "shape", (1, 7, 6, 4)),
     "weights of 3 input channels do not fit an input of 4"),
    (lambda s: setattr(s.tensors[3], "shape", (1, 7, 6, 4)),
     r"'t3' has shape \[1, 7, 6, 4\], its operands give \[1, 7, 6, 5\]"),
    (lambda s: setattr(s.tensors[0], "shape", (1, 0, 6, 3)), r"'t0' has shape \[1, 0, 6, 3\]"),
    (lambda s: setattr(s.tensors[0], "shape", (2**20, 2**20, 1, 3)), "elements, more than 2147483647"),
    (lambda s: s.ops[0].options.update(StrideW=0), r"stride \(1, 0\).* must be positive"),
    (lambda s: s.ops[0].options.update(DilationHFactor=-1), "must be positive"),
    (lambda s: s.ops[0].inputs.__setitem__(1, 9), "refers to tensor 9 of 4"),
    (lambda s: s.ops[0].inputs.__setitem__(0, -1), "no input"),
    (lambda s: s.ops[0].inputs.__setitem__(0, 3), "nothing before it makes its input 't3'"),
    (lambda s: s.inputs.__setitem__(0, -7), "the network refers to tensor -7 of 4"),
    (lambda s: s.inputs.clear(), "nothing before it makes its input 't0'"),
    (lambda s: s.outputs.clear(), "no output"),
    (lambda s: s.ops.append(s.ops[0]), r"operator 1 \(CONV_2D\).*'t3' is made twice"),
    (lambda s: setattr(s.ops[0], "options_type", "Pool2DOptions") or s.ops[0].options.clear(),
     "options of type"),
])
def test_inconsistent_networks_name_operator_tensor_and_rule(rng, change, text):
    spec = single_ops.convolution(rng)
    change(spec)
    refused(spec, ModelError, text)


def test_operators_out_of_order_are_refused():
    tensors = [TensorSpec((1, 4), scale=0.1) for _ in range(3)]
    spec = ModelSpec(tensors, [OpSpec("RELU", [1], [2]), OpSpec("RELU", [0], [1])], [0], [2])
    refused(spec, ModelError, r"operator 0 \(RELU\), which makes 't2': nothing before it makes its input")
    spec.ops = [OpSpec("RELU", [2], [1]), OpSpec("RELU", [1], [2])]  # a cycle
    refused(spec, ModelError, "nothing before it makes its input 't2'")


# What is sound but beyond us


@pytest.mark.parametrize("change, text", [
    (lambda s: setattr(s.ops[0], "source", "CONV_3D"),
     r"operator 0 \(CONV_3D\), which makes tensor 't3'.*supported are ABS, ADD"),
    (lambda s: setattr(s.ops[0], "source", "CUSTOM"), r"operator 0 \(CUSTOM ''\)"),
    (lambda s: [setattr(t, "dtype", "float32") for t in s.tensors],
     "has types float32 float32 float32 -> float32; supported are int8 int8 int32"),
    (lambda s: [setattr(s.tensors[i], "dtype", "int16") for i in (0, 3)], "types int16 int8 int32 -> int16"),
    (lambda s: setattr(s.tensors[2], "dtype", "int64"), "types int8 int8 int64 -> int8"),
    (lambda s: setattr(s.tensors[0], "variable", True), "uses tensor 't0', which keeps its value"),
    (lambda s: setattr(s.tensors[0], "signature", (1, -1, -1, 3)), r"input 't0' has shape \[1, -1, -1, 3\]"),
    (lambda s: s.ops[0].options.update(FusedActivationFunction=4),
     "activation TANH; supported are NONE, RELU"),
    (lambda s: setattr(s.tensors[0], "shape", (1, 7, 6, 6)), "convolution in 2 groups"),
])
def test_unsupported_features_are_named_with_what_is_supported(rng, change, text):
    spec = single_ops.convolution(rng)
    change(spec)
    refused(spec, UnsupportedError, text)


def test_a_computed_shape_is_unsupported(rng):
    spec = single_ops.reshape(rng)
    spec.tensors[1].data = None
    spec.inputs.append(1)
    refused(spec, UnsupportedError, "shape that is computed while the network runs")


def test_a_computed_operand_of_a_host_operator_is_refused(rng):
    spec = single_ops.pad(rng)
    spec.tensors[1].data = None
    spec.inputs.append(1)
    refused(spec, ModelError, r"its padding \(tensor 't1'\) must be a constant")


def test_the_builder_writes_what_litert_reads(rng):
    spec = single_ops.convolution(rng)
    x = single_ops.inputs_of(rng, spec, extreme=False)
    assert LiteRt(spec.build()).run(x)[0].shape == spec.tensors[3].shape


# Operators with features of their own


def test_a_transposed_convolution_gets_its_operands_in_the_order_of_a_convolution(rng):
    op = graph_of(single_ops.transpose_conv(rng, kernel=(4, 3), stride=(2, 3))).ops[0]
    assert (op.kind, op.inputs) == (Kind.HOST, (2, 1, 3))
    assert (op.attrs["stride"], op.attrs["padding"]) == ((2, 3), (1, 1, 0, 0))
    assert graph_of(single_ops.transpose_conv(rng, bias=False)).ops[0].inputs == (2, 1, None)


def test_states_of_an_lstm_become_constants(rng):
    graph = graph_of(single_ops.lstm(rng, hidden_zero=5, time_major=True))
    op = graph.ops[0]
    state, cell = (graph.tensors[i] for i in op.inputs[-2:])
    assert len(op.inputs) == 15 and op.attrs["options"]["time_major"] is True
    assert state.data.dtype == "int8" and (state.data == 5).all()
    assert cell.data.dtype == "int16" and not cell.data.any()


def test_a_reshape_and_its_kin_are_one_kind(rng):
    for source in ("SQUEEZE", "EXPAND_DIMS"):
        spec = single_ops.reshape(rng)
        spec.ops[0].source, spec.ops[0].options_type, spec.ops[0].options = source, "", {}
        assert graph_of(spec).ops[0].kind == Kind.RESHAPE


@pytest.mark.parametrize("spec, change, error, text", [
    (single_ops.lstm, lambda s: s.ops[0].inputs.__setitem__(9, 1), UnsupportedError, "has peepholes"),
    (single_ops.lstm, lambda s: s.ops[0].inputs.__setitem__(16, 1), UnsupportedError, "has a projection"),
    (single_ops.lstm, lambda s: s.ops[0].inputs.__setitem__(20, 1), UnsupportedError, "has normalisation"),
    (single_ops.lstm, lambda s: s.ops[0].options.update(FusedActivationFunction=1), UnsupportedError,
     r"operator 0 \(UNIDIRECTIONAL_SEQUENCE_LSTM\), which makes tensor 't20'.*activation other than TANH"),
    (single_ops.lstm, lambda s: s.ops[0].inputs.pop(), ModelError, "has 23 inputs, not 24"),
    (single_ops.lstm, lambda s: s.ops[0].intermediates.pop(), ModelError, "4 intermediate tensors, not 5"),
    (single_ops.lstm, lambda s: setattr(s.tensors[14], "scale", 0.001), ModelError, "a power of two"),
    (single_ops.lstm, lambda s: setattr(s.tensors[14], "shape", (2**16, 2**16)), ModelError,
     r"state 't14' has shape \[65536, 65536\]"),
    (single_ops.lstm, lambda s: setattr(s.tensors[1], "shape", (5, 4)), ModelError, r"must be \[4, 5\]"),
    (single_ops.transpose_conv, lambda s: setattr(s.tensors[0], "data", np.array([1, 2, 3, 4])), ModelError,
     r"asks for shape \[1, 2, 3, 4\], its output has"),
    (lambda r: single_ops.activation(r, "LEAKY_RELU", alpha=-1.0), lambda s: None, UnsupportedError,
     "a slope of -1.0"),
    (lambda r: single_ops.reduction(r, "SUM"), lambda s: None, UnsupportedError,
     "has types int8 int32 -> int8; supported are uint8"),
    (lambda r: single_ops.resize(r, "RESIZE_BILINEAR", corners=True, centers=True), lambda s: None,
     ModelError, "corners and pixel centres at once"),
    (lambda r: single_ops.resize(r, "RESIZE_BILINEAR"),
     lambda s: setattr(s.tensors[1], "data", np.array([8, 0])), ModelError, "no pair of positive numbers"),
    (lambda r: single_ops.arg(r, "ARG_MAX", axis=3), lambda s: setattr(s.tensors[1], "data", np.array(4)),
     ModelError, "axis 4 is outside a tensor of rank 4"),
    (lambda r: single_ops.log_softmax(r), lambda s: setattr(s.tensors[1], "zero", 0), ModelError,
     "a scale of 1/16 and the greatest zero point"),
    (lambda r: single_ops.l2_normalization(r), lambda s: setattr(s.tensors[1], "scale", 0.5), ModelError,
     "a scale of 1/128"),
    (single_ops.pad_with, lambda s: setattr(s.tensors[2], "zero", 99), ModelError,
     "border 't2' must have the quantisation of 't3'"),
    (lambda r: single_ops.activation(r, "HARD_SWISH"), lambda s: setattr(s.tensors[1], "scale", 1e-9),
     ModelError, "too far apart"),
    (single_ops.pack, lambda s: setattr(s.tensors[1], "shape", (2, 3, 5)), ModelError, "differ"),
    (single_ops.batch_matmul, lambda s: setattr(s.tensors[1], "shape", (2, 6, 3)), ModelError,
     "5 columns and 6 rows"),
])
def test_features_beyond_the_kernels_are_refused(rng, spec, change, error, text):
    model = spec(rng)
    change(model)
    refused(model, error, text)
