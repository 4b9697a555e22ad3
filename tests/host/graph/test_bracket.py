"""The pass that takes float operators apart: what it makes, and what it leaves alone."""
from dataclasses import replace

import numpy as np
import pytest
from celosia.host.graph.ir import Kind
from celosia.host.graph.passes.bracket import bracket
from celosia.host.graph.verify import verify

pytest.importorskip("onnx", reason="needs the packages onnx and onnxruntime")
pytest.importorskip("onnxruntime", reason="needs the packages onnx and onnxruntime")

from support.qdq import random_layer  # noqa: E402  (it imports both)


def convolution(seed=0, **options):
    options = {"shape": (1, 6, 6, 8), "weights": (5, 3, 3, 8), "padding": (1, 1, 1, 1), **options}
    return random_layer(np.random.default_rng(seed), Kind.CONV, **options).graph


def with_tensor(graph, index, **changes):
    tensors = list(graph.tensors)
    tensors[index] = replace(tensors[index], **changes)
    return replace(graph, tensors=tuple(tensors))


def test_one_operator_becomes_two_bounds_and_a_settlement():
    graph = convolution()
    (op,), y = graph.ops, graph.tensors[graph.outputs[0]]
    made = bracket(graph)
    verify(made)
    low, high, settle = made.ops
    assert [low.kind, high.kind, settle.kind] == [Kind.CONV, Kind.CONV, Kind.HOST]
    assert [low.attrs["bound"], high.attrs["bound"]] == ["low", "high"]
    assert settle.inputs == (*low.outputs, *high.outputs, *op.inputs) and settle.outputs == op.outputs
    assert settle.attrs["ort"] == op.attrs["ort"] and "ort" not in low.attrs
    assert made.outputs == graph.outputs and made.tensors[:len(graph.tensors)] == graph.tensors
    for bound in (low, high):
        out = made.tensors[bound.outputs[0]]
        assert (out.shape, out.dtype, out.quant) == (y.shape, y.dtype, y.quant)
        assert bound.attrs["stride"] == op.attrs["stride"] and bound.index == op.index


def test_the_bias_becomes_integer_steps_of_the_sum():
    graph = convolution(bias_type="float32")
    made = bracket(graph)
    low = made.ops[0]
    x, w, bias = (graph.tensors[i] for i in graph.ops[0].inputs)
    integer = made.tensors[low.inputs[2]]
    assert integer.dtype == "int32"
    np.testing.assert_allclose(integer.data * x.quant.scale * w.quant.scale, bias.data,
                               atol=0.51 * np.max(x.quant.scale * w.quant.scale))
    assert len(bracket(convolution(bias=None)).ops[0].inputs) == 2


@pytest.mark.parametrize("activation, limits", [((0.0, np.inf), ("zero", 127)), (None, (-128, 127))])
def test_limits_are_those_of_the_activation(activation, limits):
    graph = convolution(activation=activation)
    zero = int(graph.tensors[graph.outputs[0]].quant.zero_point[0])
    low = bracket(graph).ops[0]
    assert (low.attrs["low"], low.attrs["high"]) == tuple(zero if v == "zero" else v for v in limits)


def doubt(low, high):
    """Share of the results between two bounds."""
    spread = np.subtract(*(bound.attrs["float"]["rounding"] for bound in (high, low)))
    return np.mean(np.ldexp(spread, -np.array(low.attrs["float"]["shift"])))


def error_behind(activation, padding=(0, 0, 0, 0)):
    """Of a second convolution, behind one with an activation."""
    first = convolution(activation=activation, weights=(8, 3, 3, 8))
    (op,), out = first.ops, len(first.tensors)
    second = replace(op, inputs=(op.outputs[0], *op.inputs[1:]), outputs=(out,), attrs={
        **op.attrs, "padding": padding, "float": {**op.attrs["float"], "activation": None}})
    size = 4 + padding[0] + padding[1]
    y = replace(first.tensors[op.outputs[0]], shape=(1, size, size, 8))
    made = bracket(replace(first, tensors=(*first.tensors, y), ops=(op, second), outputs=(out,)))
    assert [o.source for o in made.ops] == ["Conv", "Conv", "Settle"] * 2
    return doubt(*made.ops[3:5])


def test_a_layer_behind_a_rectifier_has_a_smaller_error():
    """The settled values have the limits of their bounds."""
    assert error_behind((0.0, np.inf)) < 0.8 * error_behind(None)


def test_the_zeros_of_padding_are_within_reach():
    """Values from 50 steps on, of both signs of weights, add up to less than these and zeros can."""
    step = convolution().tensors[3].quant.scale[0]
    far = (float(np.float32(50 * step)), np.inf)
    assert error_behind(far, (1, 1, 1, 1)) > 1.1 * error_behind(far)


def test_operators_without_float_stay():
    graph = convolution()
    (op,) = graph.ops
    plain = replace(graph, ops=(replace(op, attrs={k: v for k, v in op.attrs.items() if k != "float"}),))
    assert bracket(plain) == plain


def test_a_result_finer_than_the_float_error_stays():
    graph = convolution()
    y = graph.tensors[graph.outputs[0]]
    fine = with_tensor(graph, graph.outputs[0], quant=replace(y.quant, scale=y.quant.scale * 1e-5))
    assert len(bracket(graph).ops) == 3
    assert bracket(fine) == fine


def test_sums_beyond_float32_stay():
    graph = convolution()
    x, w = (graph.tensors[i].quant for i in (0, 1))
    huge = with_tensor(with_tensor(graph, 0, quant=replace(x, scale=x.scale * 1e20)), 1,
                       quant=replace(w, scale=w.scale * 1e20))
    huge = with_tensor(huge, graph.outputs[0], quant=replace(
        graph.tensors[graph.outputs[0]].quant, scale=np.array([1e38])))
    assert bracket(huge) == huge


def test_weights_with_several_zero_points_stay():
    graph = convolution()
    quant = graph.tensors[1].quant
    zeros = np.zeros_like(quant.zero_point)
    zeros[1] = 1
    several = with_tensor(graph, 1, quant=replace(quant, zero_point=zeros))
    assert bracket(several) == several


def test_a_bias_beyond_32_bits_stays():
    graph = convolution(bias_type="float32")
    bias = graph.tensors[2].data.copy()
    bias[1] = 1e9
    y = graph.tensors[graph.outputs[0]].quant
    far = with_tensor(with_tensor(graph, 2, data=bias), graph.outputs[0],
                      quant=replace(y, scale=np.array([1e7])))
    assert bracket(far) == far
