"""Float operators by integer sums, error bounds and settlement: every stored value is ONNX Runtime's."""
import os
from dataclasses import replace

import numpy as np
import pytest
from celosia.host.graph.ir import Graph, Kind, Op, Quant, Tensor
from celosia.host.graph.passes.bracket import bracket
from celosia.host.reference.float_bound import bound_function, dequantised, float_error, half_of_last_place
from celosia.host.reference.float_bound import quantised as quantise
from celosia.host.reference.float_order import Kernel, Order, matrix_order, operator_order
from celosia.host.reference.settle import float_results, settle
from celosia.host.reference.windows import windows

onnx = pytest.importorskip("onnx", reason="needs the packages onnx and onnxruntime")
pytest.importorskip("onnxruntime", reason="needs the packages onnx and onnxruntime")

from support.qdq import random_layer, session  # noqa: E402  (it imports both)

SOAK = os.environ.get("CELOSIA_SOAK") == "1"
CONV, DEPTHWISE, FULL, MATMUL = Kind.CONV, Kind.DEPTHWISE_CONV, Kind.FULLY_CONNECTED, Kind.MATMUL
SAME = (1, 1, 1, 1)

LAYERS = {
    "3x3, K 27": (CONV, dict(shape=(1, 9, 7, 3), weights=(16, 3, 3, 3), padding=SAME)),
    "3x3, K 144, uint8, ReLU6": (CONV, dict(shape=(1, 8, 8, 16), weights=(16, 3, 3, 16), padding=SAME,
                                            dtype="uint8", per_channel=False, activation=(0.0, 6.0))),
    "3x3, K 288, ReLU": (CONV, dict(shape=(1, 8, 8, 32), weights=(32, 3, 3, 32), stride=(2, 2),
                                    padding=(0, 1, 0, 1), activation=(0.0, np.inf))),
    "3x3, K 576": (CONV, dict(shape=(1, 8, 8, 64), weights=(24, 3, 3, 64), padding=SAME, bias=None)),
    "3x3, more filters than pixels": (CONV, dict(shape=(1, 4, 4, 40), weights=(70, 3, 3, 40), padding=SAME)),
    "3x3, dilation, float bias": (CONV, dict(shape=(1, 9, 9, 8), weights=(5, 3, 3, 8), dilation=(2, 1),
                                             bias_type="float32")),
    "groups": (CONV, dict(shape=(1, 8, 8, 12), weights=(6, 3, 3, 4), padding=SAME)),
    "groups of one filter": (CONV, dict(shape=(1, 8, 8, 12), weights=(3, 3, 3, 4), padding=SAME)),
    "1x1": (CONV, dict(shape=(1, 8, 8, 64), weights=(32, 1, 1, 64))),
    "whole image": (CONV, dict(shape=(1, 5, 5, 17), weights=(11, 5, 5, 17))),
    "groups, whole image": (CONV, dict(shape=(1, 4, 4, 12), weights=(21, 4, 4, 4))),
    "depthwise": (DEPTHWISE, dict(shape=(1, 9, 9, 6), weights=(1, 3, 3, 6), padding=SAME)),
    "depthwise, two outputs each": (DEPTHWISE, dict(shape=(1, 9, 9, 4), weights=(1, 5, 3, 8), stride=(2, 1))),
    "depthwise of rows": (DEPTHWISE, dict(shape=(1, 9, 5, 4), weights=(1, 3, 5, 4))),
    "Gemm, one row": (FULL, dict(shape=(1, 172), weights=(19, 172), bias="first")),
    "Gemm, one row, transposed": (FULL, dict(shape=(1, 640), weights=(131, 640), bias="first",
                                             transposed=True)),
    "Gemm, many rows, transposed": (FULL, dict(shape=(9, 300), weights=(33, 300), bias="first",
                                               transposed=True, dtype="uint8", per_channel=False)),
    "Gemm, one column": (FULL, dict(shape=(13, 200), weights=(1, 200), bias=None)),
    "MatMul and Add": (FULL, dict(shape=(2, 5, 64), weights=(48, 64), operator="MatMul",
                                  bias_type="float32")),
    "MatMul, K 8": (FULL, dict(shape=(64, 8), weights=(20, 8), operator="MatMul", bias=None)),
    "computed matrices": (MATMUL, dict(shape=(8, 16, 64), weights=(8, 64, 9), bias=None)),
    "computed matrices, single rows": (MATMUL, dict(shape=(3, 1, 100), weights=(3, 100, 9), bias=None)),
    "computed matrices, one shared": (MATMUL, dict(shape=(3, 1, 100), weights=(1, 100, 9), bias=None)),
    "computed column": (MATMUL, dict(shape=(2, 3, 5, 40), weights=(1, 1, 40, 1), bias=None)),
}


def sums_of(graph, op, x, w, bias):
    """Exact integer sums, the bias added."""
    x, w = (v.astype(np.int64) - graph.tensors[i].quant.zero_point[0]
            for v, i in zip((x, w), op.inputs, strict=False))
    if op.kind == MATMUL:
        return x @ w
    if op.kind == FULL:
        sums = x @ w.T
    else:
        seen = windows(x, w.shape[1:3], op.attrs["stride"], op.attrs["dilation"], op.attrs["padding"], 0)
        taps = w[0].transpose(2, 0, 1)[..., None] if op.kind == DEPTHWISE else w
        depth, groups = taps.shape[3], x.shape[3] // taps.shape[3]
        seen = seen.reshape(*seen.shape[:-1], groups, depth)
        taps = taps.reshape(groups, -1, *taps.shape[1:])
        sums = np.einsum("nyxklgd,gokld->nyxgo", seen, taps)
        sums = sums.reshape(*sums.shape[:3], -1)
    return sums if bias is None else sums + bias


def bounds_of(graph, image):
    """Both bounds, and the operands of Settle."""
    values = dict(zip(graph.inputs, image, strict=True))

    def value(index):
        return None if index is None else values.get(index, graph.tensors[index].data)

    *bounds, last = graph.ops
    found = []
    for op in bounds:
        out = graph.tensors[op.outputs[0]]
        operands = [value(i) for i in op.inputs] + [None] * (3 - len(op.inputs))
        found.append(bound_function(graph, op)(sums_of(graph, op, *operands)).astype(out.dtype))
    return found, [*found, *(value(i) for i in last.inputs[2:])]


def corners(layer):
    """Images of the least, the greatest and alternating values."""
    tensors = [layer.graph.tensors[i] for i in layer.graph.inputs]
    limits = [np.iinfo(t.dtype) for t in tensors]
    for ends in [(0, 0), (1, 1), (0, 1)]:
        yield [np.resize(np.array([(lim.min, lim.max)[e] for e in ends], t.dtype), t.shape)
               for t, lim in zip(tensors, limits, strict=True)]


def every_one(graph, operands, want):
    """Were all in doubt, all would be ONNX Runtime's float results."""
    op = graph.ops[2]
    order = operator_order(op.attrs["options"], operands[2].shape, operands[3].shape, want.shape)
    got = float_results(graph, op, operands, order, np.arange(want.size))
    np.testing.assert_array_equal(got.reshape(want.shape), want)


@pytest.mark.parametrize("name", LAYERS)
def test_every_value_is_onnxruntimes(name):
    kind, options = LAYERS[name]
    rng = np.random.default_rng(seed=len(name))
    doubtful = 0
    for _ in range(40 if SOAK else 2):
        layer = random_layer(rng, kind, **options)
        graph = bracket(layer.graph)
        assert [op.source for op in graph.ops[2:]] == ["Settle"]
        for image in (*corners(layer), *(layer.image(rng) for _ in range(10 if SOAK else 3))):
            (low, high), operands = bounds_of(graph, image)
            want = layer.expected(*image)
            assert (low <= want).all() and (want <= high).all(), "the bounds do not hold"
            (got,) = settle(graph, graph.ops[2], operands)
            np.testing.assert_array_equal(got, want)
            every_one(graph, operands, layer.real(*image))
            doubtful += np.mean(low != high)
    assert doubtful < 0.25 * (3 + 3) * 2 or SOAK


def test_an_operator_of_unknown_order_is_onnxruntimes():
    rng = np.random.default_rng(seed=1)
    layer = random_layer(rng, DEPTHWISE, shape=(1, 20, 20, 4), weights=(1, 7, 7, 8), stride=(2, 2),
                         padding=(3, 3, 3, 3))
    assert bracket(layer.graph) == layer.graph
    (op,), (image,) = layer.graph.ops, layer.image(rng)
    options = {**op.attrs["float"], "kind": op.kind.value, "stride": (2, 2), "dilation": (1, 1),
               "padding": (3, 3, 3, 3)}
    want = layer.expected(image)
    held = Op(Kind.HOST, "Settle", (4, 5, *op.inputs), op.outputs,
              {"options": options, "ort": op.attrs["ort"]})
    operands = [want - 1, want, image, *(layer.graph.tensors[i].data for i in op.inputs[1:])]
    np.testing.assert_array_equal(settle(layer.graph, held, operands)[0], want)


# The bound itself

def constant_product(k, n, x_scale, w_scale, x, w, rows=2):
    """An operator whose products are all the same, so that its roundings all go the same way."""
    one, zero = np.ones(1), np.zeros(1, np.int64)
    tensors = (Tensor("x", (rows, k), "int8", Quant(one * float(np.float32(x_scale)), zero)),
               Tensor("w", (n, k), "int8", Quant(one * float(np.float32(w_scale)), zero),
                      np.full((n, k), w, np.int8)),
               Tensor("y", (rows, n), "int8", Quant(one, zero)))
    op = Op(FULL, "MatMul", (0, 1), (2,), {"low": -128, "high": 127, "ort": "", "float": {
        "operator": "MatMul", "transposed": False, "bias": None, "activation": None}})
    return Graph("constant", "onnx", tensors, (op,), (0,), (2,)), op


@pytest.mark.parametrize("k, n, rows", [(1, 16, 2), (2, 16, 2), (100, 17, 2), (128, 130, 2), (576, 8, 3),
                                        (300, 20, 1), (640, 1, 9)])
def test_the_bound_holds_and_is_near_what_happens(k, n, rows):
    rng = np.random.default_rng(seed=k)
    node = onnx.helper.make_node("MatMul", ["a", "b"], ["y"])
    runtime = session([node], [("a", "float32"), ("b", "float32")], [("y", "float32")])[0]
    nearest = 0.0
    for _ in range(20):
        x, w = int(rng.integers(64, 128)), int(rng.integers(64, 128))
        graph, op = constant_product(k, n, *rng.uniform(0.01, 0.02, 2), x, w, rows)
        bound = float_error(graph, op, matrix_order(rows, n, k, transposed=False), (0, x))
        stored = [np.full((rows, k), x, np.int8), graph.tensors[1].data]
        a, b = (dequantised(value, tensor) for value, tensor in zip(stored, graph.tensors, strict=False))
        got = runtime.run(None, {"a": a, "b": b.T.copy()})[0].astype(np.float64)
        exact = k * (x * graph.tensors[0].quant.scale[0]) * (w * graph.tensors[1].quant.scale[0])
        assert (np.abs(got - exact) <= bound).all()
        nearest = max(nearest, np.max(np.abs(got - exact) / bound))
    assert nearest > 0.2


def test_scales_that_are_powers_of_two_leave_no_doubt_of_dequantisation():
    graph, op = constant_product(1, 4, 2.0**-5, 2.0**-7, 100, 100)
    (error, *_) = float_error(graph, op, Order(Kernel.CHAIN, (1,)), (-128, 127))
    size = 128 * 100 * 2.0**-12
    assert half_of_last_place(np.array(size)) <= error < 1.01 * half_of_last_place(np.array(size))


@pytest.mark.parametrize("size, half", [(1.0, 2.0**-24), (1.999, 2.0**-24), (2.0, 2.0**-23), (0.0, 0.0),
                                        (2.0**-140, 2.0**-150), (2.0**127, np.inf)])
def test_half_of_the_last_place(size, half):
    assert half_of_last_place(np.array(size)) == half


@pytest.mark.parametrize("name", ["3x3, K 576", "3x3, K 144, uint8, ReLU6", "Gemm, one row", "1x1"])
def test_bounds_never_fall_and_never_cross(name):
    kind, options = LAYERS[name]
    layer = random_layer(np.random.default_rng(seed=4), kind, **options)
    graph = bracket(layer.graph)
    sums = np.arange(-5_000_000, 5_000_000, 473)[:, None] + np.zeros(options["weights"][0], np.int64)
    low, high = (bound_function(graph, op)(sums) for op in graph.ops[:2])
    assert (np.diff(low, axis=0) >= 0).all() and (np.diff(high, axis=0) >= 0).all()
    assert (low <= high).all() and (high - low).max() <= 1
    assert low.min() == graph.ops[0].attrs["low"] and high.max() == graph.ops[0].attrs["high"]


# Quantisation

@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_quantisation_of_single_and_double_precision_equals_onnxruntime(dtype):
    rng = np.random.default_rng(seed=6)
    scale, zero = np.float32(0.0371), 3
    tensor = Tensor("y", (), dtype, Quant(np.array([scale], np.float64), np.array([zero])))
    halves = (np.arange(-300, 300) + np.float32(0.5)).astype(np.float32) * scale
    near = np.nextafter(halves, np.float32([[np.inf], [-np.inf]]))
    values = np.concatenate([halves, *near, rng.normal(0, 5, 5000), [0, 1e30, -1e30]]).astype(np.float32)
    node = onnx.helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])
    runtime = session([node], [("x", "float32")], [("y", dtype)],
                      [("s", scale), ("z", np.asarray(zero, dtype))])[0]
    want = runtime.run(None, {"x": values})[0]
    np.testing.assert_array_equal(quantise(values, tensor, None), want)
    np.testing.assert_array_equal(quantise(values.astype(np.float64), tensor, None), want)


def test_options_decide_the_order():
    """Settle reads what the pass wrote: the order is that of the operator itself."""
    layer = random_layer(np.random.default_rng(seed=8), FULL, shape=(1, 64), weights=(9, 64), bias="first",
                         transposed=True)
    graph = bracket(layer.graph)
    options = graph.ops[2].attrs["options"]
    assert operator_order(options, (1, 64), (9, 64), (1, 9)).kernel == Kernel.LANES
    assert operator_order({**options, "transposed": False}, (1, 64), (9, 64), (1, 9)).kernel == Kernel.ROWS
    assert replace(graph.ops[2], attrs={}).inputs == (4, 5, 0, 1, 2)
