"""Networks written as NNEF: read back, they compute the same; Khronos' interpreter agrees with the text."""
from dataclasses import replace

import numpy as np
import pytest
from celosia.host.emit.emit import emit
from celosia.host.graph.ir import Graph, Kind, Quant
from celosia.host.graph.passes import run_passes
from celosia.host.importers import load
from celosia.host.importers.nnef import load_nnef
from celosia.host.importers.nnef_file import GRAPH
from celosia.host.importers.nnef_writer import WRITERS, write_nnef
from celosia.host.importers.tflite import load_tflite
from celosia.host.lower.lower import lower
from celosia.host.reference import Reference
from celosia.host.schedule.schedule import schedule
from celosia.rtl.contract.errors import UnsupportedError
from celosia.rtl.contract.fabric import Fabric
from support import single_ops
from support.lowering import Builder
from support.random_graphs import random_graph

nnef = pytest.importorskip("nnef")


def graph_of(spec):
    return load_tflite(spec.build(), "model")


def round_trip(graph, folder, *inputs):
    """The graph after writing and reading; its outputs equal those of the first."""
    write_nnef(graph, folder)
    again = load_nnef(folder)
    assert again.framework == "tflite"
    for graphs in ((graph, again), (run_passes(graph), run_passes(again))):
        for given in inputs:
            for a, b in zip(*(Reference(one).run(given) for one in graphs), strict=True):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)
    return again


def random_inputs(rng, graph):
    return [rng.integers(*(getattr(np.iinfo(graph.tensors[i].dtype), side) for side in ("min", "max")),
                         graph.tensors[i].shape, endpoint=True).astype(graph.tensors[i].dtype)
            for i in graph.inputs]


def kept(spec):
    """All activations with the quantisation of the first, for operators that only move values."""
    first = spec.tensors[spec.inputs[0]]
    for tensor in spec.tensors:
        if tensor.dtype == first.dtype:
            tensor.scale, tensor.zero = first.scale, first.zero
    return spec


def singles(rng, dtype):
    """One operator each."""
    for activation in ("NONE", "RELU", "RELU6", "RELU_N1_TO_1"):
        yield single_ops.convolution(rng, dtype, activation=activation, dilation=(1, 2))
        yield single_ops.convolution(rng, dtype, activation=activation, stride=(2, 1), bias=False)
        yield single_ops.depthwise(rng, dtype, activation=activation, multiplier=2)
        yield single_ops.fully_connected(rng, dtype, activation=activation)
        yield single_ops.pool(rng, "AVERAGE_POOL_2D", dtype, activation=activation)
        yield single_ops.pool(rng, "MAX_POOL_2D", dtype, activation=activation, padding="VALID")
        yield single_ops.pairwise(rng, "ADD", dtype, activation=activation)
        yield single_ops.pairwise(rng, "SUB", dtype, activation=activation, b=(3,))
        yield single_ops.pairwise(rng, "MUL", dtype, activation=activation, b=(1, 4, 1, 3))
    yield single_ops.depthwise(rng, dtype, channels=1, multiplier=3)
    yield single_ops.fully_connected(rng, dtype, bias=False, per_channel=dtype == "int8")
    yield single_ops.softmax(rng, dtype)
    for source in ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LOGISTIC", "TANH", "QUANTIZE"):
        yield single_ops.unary(rng, source, dtype)
    yield single_ops.unary(rng, "QUANTIZE", dtype, "uint8" if dtype == "int8" else "int8")
    yield single_ops.mean(rng, dtype)
    yield single_ops.mean(rng, dtype, axes=(1, -1), keep=True)
    yield single_ops.reduction(rng, "REDUCE_MAX", dtype, axes=(3,))
    yield single_ops.reduction(rng, "REDUCE_MIN", dtype, keep=True)
    yield single_ops.concatenation(rng, dtype)
    yield single_ops.pad(rng, dtype)
    yield single_ops.pad_with(rng, dtype)
    yield single_ops.prelu(rng)
    yield single_ops.activation(rng, "LEAKY_RELU", dtype)
    for source in ("ABS", "ELU", "EXP", "LOG"):
        yield single_ops.activation(rng, source)
    for make in (single_ops.transpose, single_ops.split, single_ops.reshape):
        yield kept(make(rng, dtype))
    for source in ("MAXIMUM", "MINIMUM"):
        yield kept(single_ops.two_inputs(rng, source, dtype))
    for symmetric in (0, 1):
        widths = single_ops.indices((0, 0), (2, 2), (1, 0), (0, 1))
        yield single_ops.one_input(rng, "MIRROR_PAD", dtype, (1, 3, 4, 2), (1, 7, 5, 3), (widths,),
                                   {"Mode": symmetric}, "MirrorPadOptions")


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_every_operator_computes_the_same_after_a_round_trip(dtype, tmp_path):
    rng = np.random.default_rng(21)
    seen = set()
    for number, spec in enumerate(singles(rng, dtype)):
        graph = graph_of(spec)
        again = round_trip(graph, tmp_path / str(number), *(single_ops.inputs_of(rng, spec, extreme)
                                                            for extreme in (False, True)))
        assert [op.source for op in again.ops if op.kind != Kind.RESHAPE] in (
            [op.source for op in graph.ops if op.kind != Kind.RESHAPE], [])  # [] for a transposed output
        seen |= {op.source if op.kind == Kind.HOST else op.kind for op in graph.ops}
    assert set(WRITERS) - seen <= {"SPLIT_V", "QUANTIZE"}


@pytest.mark.parametrize("seed", range(6))
def test_random_networks_compute_the_same_after_a_round_trip(seed, tmp_path):
    rng = np.random.default_rng(seed)
    graph = random_graph(seed)
    ops = []
    for op in graph.ops:  # NNEF has no hard swish
        ops.append(replace(op, source="TANH") if op.source == "HARD_SWISH" else op)
    graph = replace(graph, ops=tuple(ops))
    round_trip(graph, tmp_path, random_inputs(rng, graph), random_inputs(rng, graph))


@pytest.mark.parametrize("name", ["mlperf_kws_dscnn", "mlperf_ic_resnet8", "mlperf_ad_fcae"])
def test_real_networks_are_the_same_operators_after_a_round_trip(name, models, tmp_path):
    graph = load(models / f"{name}.tflite")
    again = round_trip(graph, tmp_path, random_inputs(np.random.default_rng(5), graph))
    assert [(op.kind, op.source, op.attrs.keys()) for op in again.ops] == [
        (op.kind, op.source, op.attrs.keys()) for op in graph.ops]
    for a, b in zip(graph.ops, again.ops, strict=True):
        assert a.attrs == b.attrs or a.kind == Kind.HOST
    assert [graph.tensors[i].shape for i in (*graph.inputs, *graph.outputs)] == [
        again.tensors[i].shape for i in (*again.inputs, *again.outputs)]


def test_the_program_of_a_network_is_the_same_after_a_round_trip(digits, tmp_path):
    """Same instructions and data for the fabric, so the same cycles."""
    graph = load(digits)
    write_nnef(graph, tmp_path)
    first, second = (emit(schedule(lower(run_passes(one), Fabric()), Fabric()))
                     for one in (graph, load_nnef(tmp_path)))
    assert [(at, bytes(data)) for at, data in first.blobs] == [(at, bytes(data)) for at, data in second.blobs]


# The text itself, as Khronos' interpreter understands it


def real_twin(folder, target):
    """The same text on real numbers: no graph.quant, and tensor files of what the stored values stand for."""
    target.mkdir()
    graph = nnef.load_graph(str(folder))
    (target / GRAPH).write_text((folder / GRAPH).read_text())
    for operation in graph.operations:
        if operation.name == "variable":
            tensor = graph.tensors[operation.outputs["output"]]
            scale, zero = (np.asarray(tensor.quantization[key], np.float64)
                           for key in ("scale", "zero_point"))
            scale, zero = (each.reshape(each.shape + (1,) * (tensor.data.ndim - each.ndim))
                           for each in (scale, zero))
            with (target / f"{operation.attribs['label']}.dat").open("wb") as file:
                nnef.write_tensor(file, ((tensor.data - zero) * scale).astype(np.float32))
    return target


@pytest.mark.parametrize("make, steps", [
    (lambda rng: single_ops.convolution(rng), 0.51),
    (lambda rng: single_ops.convolution(rng, stride=(2, 1), dilation=(1, 2), kernel=(2, 3)), 0.51),
    (lambda rng: single_ops.depthwise(rng, multiplier=2), 0.51),
    (lambda rng: single_ops.fully_connected(rng), 0.51),
    (lambda rng: single_ops.pool(rng, "AVERAGE_POOL_2D"), 0.51),
    (lambda rng: single_ops.pool(rng, "MAX_POOL_2D"), 0.01),
    (lambda rng: single_ops.pairwise(rng, "ADD", b=(3,)), 0.51),
    (lambda rng: single_ops.pairwise(rng, "SUB"), 0.51),
    (lambda rng: single_ops.pairwise(rng, "MUL", b=(1, 4, 1, 3)), 0.51),
    (lambda rng: single_ops.mean(rng), 1.01),  # TFLite rounds twice
    (lambda rng: single_ops.mean(rng, axes=(1,)), 1.01),
    (lambda rng: single_ops.reduction(rng, "REDUCE_MAX"), 0.01),
    (lambda rng: single_ops.concatenation(rng), 0.01),
    (lambda rng: single_ops.pad(rng), 0.01),
    (lambda rng: single_ops.softmax(rng), 0.51),
    (lambda rng: single_ops.unary(rng, "LOGISTIC"), 0.51),
    (lambda rng: single_ops.activation(rng, "LEAKY_RELU"), 1.01),
])
def test_khronos_interpreter_agrees_to_the_last_rounding(make, steps, tmp_path):
    for seed in range(20):  # until zero points leave enough results between the limits
        rng = np.random.default_rng(seed)
        spec = make(rng)
        graph, given = graph_of(spec), single_ops.inputs_of(rng, spec, False)
        (result,) = Reference(graph).run(given)
        if np.mean((result > -128) & (result < 127)) > 0.4:
            break
    else:
        pytest.fail("every result is saturated")
    write_nnef(graph, tmp_path / "stored")
    (got,) = Reference(load_nnef(tmp_path / "stored")).run(given)
    reals = [((value.astype(np.float64) - graph.tensors[i].quant.zero_point[0])
              * graph.tensors[i].quant.scale[0]).astype(np.float32)
             for i, value in zip(graph.inputs, given, strict=True)]
    twin = real_twin(tmp_path / "stored", tmp_path / "real")
    with nnef.Session(str(twin), stdlib="", lowered=[]) as session:
        (real,) = session(*reals)
    y = graph.tensors[graph.outputs[0]]
    want = np.clip(real.astype(np.float64) / y.quant.scale[0] + y.quant.zero_point[0], -128, 127)
    assert np.abs(want - got).max() < steps


# What NNEF cannot say


def refused(graph, text, folder):
    with pytest.raises(UnsupportedError, match=text) as caught:
        write_nnef(graph, folder)
    assert "cannot be written as NNEF" in str(caught.value)
    assert not list(folder.iterdir())


def test_what_nnef_has_no_words_for_is_refused(tmp_path):
    rng = np.random.default_rng(3)
    refused(graph_of(single_ops.activation(rng, "HARD_SWISH")), "HARD_SWISH.*t1.*none of NNEF's", tmp_path)
    refused(graph_of(single_ops.unary(rng, "QUANTIZE", "float32", "int8")), "'t0' .float32. has no quant",
            tmp_path)
    refused(graph_of(single_ops.softmax(rng, beta=0.5)), "SOFTMAX.*beta of 0.5", tmp_path)
    refused(graph_of(single_ops.transpose(rng)), "TRANSPOSE.*one scale for those of another", tmp_path)
    graph = graph_of(single_ops.convolution(rng))
    refused(replace(graph, framework="onnx"), "a network of onnx", tmp_path)
    wrong = replace(graph.tensors[0], quant=Quant(np.array([0.1]), np.array([0])))
    refused(replace(graph, tensors=(wrong, *graph.tensors[1:])), "'t0' has a scale that is no float32",
            tmp_path)


def test_outputs_that_are_inputs_or_named_twice_are_copied(tmp_path):
    b = Builder((1, 2, 2, 3))
    y = b.conv(0, 3)
    graph = b.graph(y, 0, y)
    again = round_trip(graph, tmp_path, random_inputs(np.random.default_rng(1), graph))
    assert again.outputs[0] == again.outputs[2] and again.outputs[1] == again.inputs[0]


def test_names_become_identifiers(tmp_path):
    graph = graph_of(single_ops.pairwise(np.random.default_rng(1), "ADD"))
    names = ("a/b:0", "a/b:0", "graph")
    graph: Graph = replace(graph, tensors=tuple(
        replace(tensor, name=name) for tensor, name in zip(graph.tensors, names, strict=True)))
    write_nnef(graph, tmp_path)
    assert [load_nnef(tmp_path).tensors[i].name for i in range(3)] == ["a_b_0", "a_b_0_2", "graph_2"]
