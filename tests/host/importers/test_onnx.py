"""ONNX layers of both quantised styles: graph, passes and plan give what ONNX Runtime gives, bit for bit."""
import numpy as np
import pytest
from celosia.host.graph.passes import run_passes
from celosia.host.importers.onnx import load_onnx
from celosia.host.lower.check import run_plan
from celosia.host.lower.lower import lower
from celosia.host.lower.plan import HostStep
from celosia.host.reference import Reference
from celosia.rtl.contract.presets import load_fabric
from onnx import TensorProto, helper, numpy_helper
from support.onnx_models import NEWEST, build

FABRIC = load_fabric("sim8x8")
PADS = {"pads": (1, 1, 1, 1)}

CONVOLUTIONS = {
    "3x3": PADS,
    "valid": {},
    "int8": {"dtype": "int8", **PADS},
    "per channel": {"per_channel": True, **PADS},
    "int8 per channel": {"dtype": "int8", "per_channel": True, "bias": "", **PADS},
    "uint8 weights": {"weights": "uint8", **PADS},
    "1x1": {"kernel": (1, 1), "shape": (1, 9, 5, 4)},
    "strides, pads of any size": {"strides": (2, 1), "pads": (0, 1, 2, 1)},
    "same upper": {"auto_pad": "SAME_UPPER", "strides": (2, 2)},
    "same lower": {"auto_pad": "SAME_LOWER", "strides": (2, 2), "kernel": (2, 3)},
    "auto valid": {"auto_pad": "VALID", "strides": (3, 2)},
    "dilated": {"dilations": (2, 3), "pads": (2, 3, 2, 3)},
    "groups": {"shape": (1, 6, 7, 5), "group": 3, "filters": 2, "per_channel": True, **PADS},
    "depthwise": {"shape": (1, 6, 7, 5), "group": 6, "filters": 1, **PADS},
    "depthwise per channel, two of each": {"shape": (1, 4, 7, 6), "group": 4, "filters": 2,
                                           "per_channel": True,
                                           "strides": (2, 2), **PADS},
    "one dimension": {"shape": (1, 3, 20), "kernel": (5,), "pads": (2, 2), "strides": (2,)},
    "one dimension, depthwise": {"shape": (1, 4, 20), "kernel": (3,), "group": 4, "filters": 1},
}
PRODUCTS = {
    "one row": {"shape": (1, 33)},
    "rows": {},
    "int8 per channel": {"dtype": "int8", "per_channel": True},
    "uint8 weights": {"weights": "uint8"},
    "a stack of matrices": {"shape": (2, 3, 16)},
}
PAIRS = {
    "same shape": {},
    "int8": {"dtype": "int8"},
    "channels": {"b": (1, 3, 1, 1), "constant": True, "pooled": True},
    "one value": {"b": (1,), "constant": True},
    "vectors": {"a": (1, 12), "b": (12,), "constant": True},
    "a factor for each channel": {"b": (1, 3, 1, 1), "pooled": True},
}
ACTIVATIONS = {"Relu": {"activation": "Relu"}, "Clip": {"activation": "Clip"}}


def cases():
    """Kind, options, and operators that the host may keep."""
    for name, options in CONVOLUTIONS.items():
        yield f"QLinearConv {name}", "QLinearConv", options, ()
        yield f"Conv {name}", "Conv", options, ()
    for which, options in ACTIVATIONS.items():
        yield f"Conv {which}", "Conv", {**options, **PADS}, ()
        yield f"Gemm {which}", "Gemm", options, ()
        yield f"MatMul {which}", "MatMul", options, ()
        yield f"Add {which}", "Add", options, ()
    yield "Conv with a float bias", "Conv", {"bias": "float32", "dtype": "int8", "per_channel": True}, ()
    for name, options in PRODUCTS.items():
        for kind in ("QLinearMatMul", "QGemm", "Gemm", "MatMul"):
            if kind in ("QLinearMatMul", "MatMul") or len(options.get("shape", (1, 1))) == 2:
                yield f"{kind} {name}", kind, options, ()
    for kind in ("QGemm", "Gemm"):
        yield f"{kind} turned", kind, {"transB": 1, "per_channel": True}, ()
        yield f"{kind} without bias", kind, {"bias": ""}, ()
    yield "Gemm with a float bias", "Gemm", {"bias": "float32"}, ()
    yield "MatMul without bias", "MatMul", {"bias": ""}, ()
    for kind in ("dynamic QLinearMatMul", "dynamic MatMul"):
        yield kind, kind, {}, ()
        yield f"{kind} int8", kind, {"dtype": "int8", "a": (7, 9), "b": (9, 5)}, ()
        yield f"{kind} heads", kind, {"a": (1, 2, 4, 8), "b": (1, 2, 8, 4)}, ()
    for kind in ("QLinearAdd", "QLinearMul", "Add", "Sub", "Mul"):
        for name, options in PAIRS.items():
            yield f"{kind} {name}", kind, options, ()
    for kind in ("QLinearSigmoid", "QLinearLeakyRelu", "QuantizeLinear", "Relu", "Clip", "Sigmoid", "Tanh",
                 "Exp", "LeakyRelu", "Elu", "Erf", "x * Sigmoid", "HardSwish"):
        yield kind, kind, {}, ()
        yield f"{kind} int8", kind, {"dtype": "int8"}, ()
    for kind in ("MaxPool of bytes", "MaxPool"):
        yield kind, kind, {}, ()
        yield f"{kind} int8", kind, {"dtype": "int8", "kernel_shape": (3, 3), "strides": (2, 2),
                                     "pads": (1, 1, 1, 1)}, ()
        yield f"{kind}, output rounded up", kind, {"kernel_shape": (3, 3), "strides": (2, 2),
                                                   "ceil_mode": 1}, ()
    for kind in ("QLinearConcat", "Concat"):
        yield kind, kind, {}, ()
        yield f"{kind} of the same scale", kind, {"same": True, "dtype": "int8"}, ()
        yield f"{kind} of vectors", kind, {"shapes": ((1, 7), (1, 5), (1, 2)), "axis": -1}, ()
    for kind in ("Reshape", "Flatten"):
        yield kind, kind, {}, ()
        yield f"{kind} of bytes", f"{kind} of bytes", {}, ()
    yield "Transpose", "Transpose", {}, ("Transpose",)
    yield "Transpose of bytes", "Transpose of bytes", {}, ("Transpose",)
    for kind in ("QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearSoftmax", "AveragePool",
                 "GlobalAveragePool"):
        yield kind, kind, {}, (kind,)
    yield "network of QOperators", "network of QOperators", {}, ("QLinearGlobalAveragePool", "Transpose")
    yield "network", "network", {}, ("Transpose",)


CASES = {name: rest for name, *rest in cases()}
BORDERS = {"Transpose", "Settle"}
"""Around operators of the fabric: layouts at the ends, and sums near a rounding threshold."""


def check(layer, allowed=(), exact=True, count=2):
    """Values of graph, passes and plan; and that nothing else than ``allowed`` stays on the host."""
    graph = load_onnx(layer.model, exact=exact)
    passed = run_passes(graph)
    plan = lower(passed, FABRIC)
    rng = np.random.default_rng(5)
    for _ in range(count):
        feeds = layer.feeds(rng)
        wanted = layer.expected(feeds)
        given = [feeds[graph.tensors[i].name] for i in graph.inputs]
        made = run_plan(plan, dict(zip(plan.graph.inputs, given, strict=True)))
        for got in (Reference(graph).run(given), Reference(passed).run(given),
                    [made[i] for i in plan.graph.outputs]):
            for value, want in zip(got, wanted, strict=True):
                assert (value.dtype, value.shape) == (want.dtype, want.shape)
                np.testing.assert_array_equal(value, want)
    host = {plan.graph.ops[step.op].source: step.reason for step in plan.steps if isinstance(step, HostStep)}
    assert set(host) <= BORDERS | set(allowed), host


@pytest.mark.parametrize("name", CASES)
def test_every_stage_gives_what_onnx_runtime_gives(name):
    kind, options, allowed = CASES[name]
    check(build(kind, np.random.default_rng(11), **options), allowed)


OPSETS = ("QLinearConv", "QLinearMatMul", "Conv", "Gemm", "MatMul", "Add", "Clip", "Sigmoid", "MaxPool",
          "network",
          "network of QOperators", "dynamic MatMul", "dynamic QLinearMatMul", "Flatten", "Concat")


@pytest.mark.parametrize("opset", [10, 13, 21, NEWEST])
@pytest.mark.parametrize("kind", OPSETS)
def test_every_opset_gives_what_onnx_runtime_gives(kind, opset):
    """ONNX Runtime itself may lag behind the newest; then its answer is that of the opset before."""
    options = {"activation": "Clip"} if kind == "Conv" else {}
    layer = build(kind, np.random.default_rng(3), opset=opset, **options)
    check(layer, ("QLinearGlobalAveragePool",), count=1)


@pytest.mark.parametrize("kind, options", [
    ("Conv", {"dtype": "int8", "per_channel": True, "activation": "Relu", **PADS}),
    ("Conv", {"bias": "float32"}), ("Gemm", {}), ("MatMul", {"activation": "Clip"}), ("Add", {}),
    ("dynamic MatMul", {}), ("network", {}),
])
def test_a_model_with_real_ends_gives_what_onnx_runtime_gives(kind, options):
    layer = build(kind, np.random.default_rng(4), ends="float", **options)
    check(layer, ("QuantizeLinear", "DequantizeLinear"))


@pytest.mark.parametrize("kind, options", [
    ("Conv", {"dtype": "int8", "per_channel": True, **PADS}), ("Conv", {"activation": "Relu"}), ("Gemm", {}),
    ("Gemm", {"transB": 1, "dtype": "int8"}), ("network", {"dtype": "int8"}),
])
def test_fused_sums_are_those_of_the_quantised_operators(kind, options):
    """Without ``exact`` the graph computes what ONNX Runtime computes once it has fused the operators: no
    operator is settled on the host, and no result is further off than the rounding of one step."""
    layer = build(kind, np.random.default_rng(6), **options)
    graph = run_passes(load_onnx(layer.model, exact=False))
    plan = lower(graph, FABRIC)
    assert all(op.source != "Settle" for op in graph.ops)
    feeds = layer.feeds(np.random.default_rng(7))
    given = [feeds[graph.tensors[i].name] for i in graph.inputs]
    made = run_plan(plan, dict(zip(plan.graph.inputs, given, strict=True)))[plan.graph.outputs[0]]
    wanted, = layer.expected(feeds)
    off = np.abs(made.astype(int) - wanted.astype(int))
    assert off.max() <= 1 + (kind == "network") and np.mean(off > 0) < 0.05


@pytest.mark.parametrize("kind, dtype, weights", [
    ("QLinearConv", "uint8", "int8"), ("QLinearMatMul", "uint8", "int8"), ("QGemm", "uint8", "int8"),
    ("QLinearConv", "int8", "uint8"), ("QLinearMatMul", "int8", "uint8"),
])
def test_sums_of_mixed_types_do_not_saturate(kind, dtype, weights):
    """ONNX Runtime's do on some processors, with more than seven bits of weights; on others they are exact,
    as the operators are defined."""
    options = {"shape": (1, 16, 5, 5)} if kind == "QLinearConv" else {"shape": (2, 64)}
    layer = build(kind, np.random.default_rng(8), dtype=dtype, weights=weights, **options)
    model = layer.model
    node = next(node for node in model.graph.node if node.op_type == kind)
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    taps = numpy_helper.to_array(held[node.input[3]])
    limits = np.iinfo(weights)
    held[node.input[3]].CopyFrom(numpy_helper.from_array(
        np.where(taps > taps.mean(), limits.max, limits.min).astype(weights), node.input[3]))
    graph = run_passes(load_onnx(model))
    plan = lower(graph, FABRIC)
    x = np.full(graph.tensors[graph.inputs[0]].shape, np.iinfo(dtype).max, dtype)
    x.reshape(-1)[::7] = 3
    made = run_plan(plan, {plan.graph.inputs[0]: x})
    for got, index in zip(Reference(graph).run([x]), plan.graph.outputs, strict=True):
        np.testing.assert_array_equal(got, made[index])
    assert not any(isinstance(step,
                              HostStep) and plan.graph.ops[step.op].source == kind for step in plan.steps)


def test_a_product_whose_ties_depend_on_more_than_the_product_goes_to_the_host():
    """float32 rounds (a*s)*(b*t) differently for different a and b of one product; on ties it shows."""
    scales = {"s": np.float32(0.037), "t": np.float32(0.061)}
    scales["y_scale"] = scales["s"] * scales["t"] * np.float32(50)
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in scales.items()]
    held.append(numpy_helper.from_array(np.int8(0), "zero"))
    nodes = [helper.make_node("DequantizeLinear", ["a", "s", "zero"], ["real_a"]),
             helper.make_node("DequantizeLinear", ["b", "t", "zero"], ["real_b"]),
             helper.make_node("Mul", ["real_a", "real_b"], ["product"]),
             helper.make_node("QuantizeLinear", ["product", "y_scale", "zero"], ["y"])]
    a, b, y = (helper.make_tensor_value_info(name, TensorProto.INT8, [256, 256]) for name in "aby")
    model = helper.make_model(helper.make_graph(nodes, "ties", [a, b], [y], held), ir_version=8,
                              opset_imports=[helper.make_opsetid("", 17)])
    plan = lower(run_passes(load_onnx(model)), FABRIC)
    (step,) = plan.steps
    assert isinstance(step, HostStep) and step.reason == "its results are no function of the product"
