"""The verifier: every structural rule, and one operator's rules one by one."""
from dataclasses import replace

import numpy as np
import pytest
from celosia.host.graph.ir import Kind, Op, Quant
from celosia.host.graph.verify import ONNX_RULES, RULES, verify
from celosia.host.importers.tflite import load_tflite
from celosia.rtl.contract.errors import GraphError, ModelError
from support import single_ops


@pytest.fixture
def graph():
    return load_tflite(single_ops.convolution(np.random.default_rng(12)).build(), "conv")


def with_op(graph, **changes):
    return replace(graph, ops=(replace(graph.ops[0], **changes),))


def with_attr(graph, **changes):
    return with_op(graph, attrs={**graph.ops[0].attrs, **changes})


def with_tensor(graph, index, **changes):
    tensors = list(graph.tensors)
    tensors[index] = replace(tensors[index], **changes)
    return replace(graph, tensors=tuple(tensors))


def quant(*scale, axis=None):
    return Quant(np.array(scale, np.float64), np.zeros(len(scale), np.int64), axis)


@pytest.mark.parametrize("change, text", [
    (lambda g: replace(g, inputs=(9,)), "the network refers to tensor 9 of 4"),
    (lambda g: replace(g, outputs=(-1,)), "the network refers to tensor -1"),
    (lambda g: replace(g, outputs=()), "no output"),
    (lambda g: replace(g, inputs=(0, 0)), "is an input twice"),
    (lambda g: replace(g, inputs=(0, 1)), "or a constant too"),
    (lambda g: replace(g, inputs=()), "nothing before it makes its input 't0'"),
    (lambda g: replace(g, ops=()), "no operator makes the output 't3'"),
    (lambda g: replace(g, ops=g.ops * 2), "'t3' is made twice"),
    (lambda g: with_op(g, outputs=(0,)), "'t0' is made twice, an input or a constant"),
    (lambda g: with_op(g, outputs=()), "at least one output"),
    (lambda g: with_op(g, inputs=(0, 1, 7)), "it refers to tensor 7 of 4"),
    (lambda g: with_op(g, inputs=(0, None, 2)), "types int8 none int32 -> int8"),
    (lambda g: with_op(g, inputs=(0,)), "types int8 -> int8; accepted are int8 int8 int32"),
    (lambda g: with_op(g, kind=Kind.HOST), "no operator of kind host is called CONV_2D"),
    (lambda g: with_op(g, attrs={}), "attributes .*; it has"),
    (lambda g: with_attr(g, extra=1), "attributes"),
    (lambda g: with_attr(g, stride=(0, 1)), "stride is .0, 1.; it must be a pair"),
    (lambda g: with_attr(g, stride=(1,)), "stride is"),
    (lambda g: with_attr(g, stride=[1, 1]), "stride is"),
    (lambda g: with_attr(g, padding=(1, 1, 1)), "padding is"),
    (lambda g: with_attr(g, padding=(-1, 1, 1, 1)), "padding is"),
    (lambda g: with_attr(g, padding=(9, 9, 1, 1)), "wider than its window"),
    (lambda g: with_attr(g, padding=(0, 0, 0, 0)),
     r"has shape \[1, 7, 6, 5\], its operands give \[1, 5, 4, 5\]"),
    (lambda g: with_attr(g, dilation=(9, 9)), "does not fit an image"),
    (lambda g: with_attr(g, low=-129), "limits -129 to 127"),
    (lambda g: with_attr(g, low=5, high=4), "limits 5 to 4"),
    (lambda g: with_attr(g, low=0.5), "low is 0.5"),
    (lambda g: with_tensor(g, 0, shape=(1, 7, 6, -3)), "each dimension must be a positive number"),
    (lambda g: with_tensor(g, 0, shape=(1,) * 9), "9 dimensions, more than 8"),
    (lambda g: with_tensor(g, 0, dtype="string"), "type string; supported are"),
    (lambda g: with_tensor(g, 1, data=g.tensors[1].data[1:]), "its data int8"),
    (lambda g: with_tensor(g, 1, data=g.tensors[1].data.astype(np.int16)), "its data int16"),
    (lambda g: with_tensor(g, 0, quant=None), "tensor 't0' .int8. has no quantisation"),
    (lambda g: with_tensor(g, 0, quant=quant(0.1, 0.2)), "2 scales but no axis"),
    (lambda g: with_tensor(g, 0, quant=quant(0.0)), "zero, negative or not a number"),
    (lambda g: with_tensor(g, 1, quant=quant(*[0.1] * 3, axis=3)), "output channels are axis 0"),
    (lambda g: with_tensor(g, 1, quant=quant(*[0.1] * 5, axis=4)), "5 scales along axis 4"),
    (lambda g: with_tensor(g, 3, quant=quant(1e-20)), r"2\*\*30 times"),
    (lambda g: with_tensor(g, 2, shape=(4,), data=np.zeros(4, np.int32), quant=None),
     "bias must have 5 elements"),
])
def test_a_broken_rule_is_named(graph, change, text):
    verify(graph)
    with pytest.raises(GraphError, match=text):
        verify(change(graph))


def test_messages_name_operator_and_tensor(graph):
    with pytest.raises(GraphError, match=r"operator 0 \(CONV_2D\), which makes 't3': stride"):
        verify(with_attr(graph, stride=(0, 0)))


@pytest.mark.parametrize("maker, change, text", [
    (lambda r: single_ops.softmax(r), lambda g: with_tensor(g, 1, quant=quant(0.5)), "scale of 1/256"),
    (lambda r: single_ops.softmax(r), lambda g: with_attr(g, beta=0.0), "beta is 0.0"),
    (lambda r: single_ops.softmax(r), lambda g: with_attr(g, beta=1e-9), "too small"),
    (lambda r: single_ops.pairwise(r, "ADD"), lambda g: with_tensor(g, 2, quant=quant(1e-9)),
     "too small for its inputs"),
    (lambda r: single_ops.pairwise(r, "ADD"), lambda g: with_tensor(g, 0, shape=(1, 4, 5, 2)),
     "cannot be combined"),
    (lambda r: single_ops.pool(r, "MAX_POOL_2D"), lambda g: with_tensor(g, 1, quant=quant(0.5)),
     "quantisation of 't0'"),
    (lambda r: single_ops.unary(r, "LOGISTIC"), lambda g: with_tensor(g, 1, quant=quant(0.5)),
     "scale of 1/256"),
    (lambda r: single_ops.concatenation(r), lambda g: with_tensor(g, 1, quant=quant(0.5)),
     "quantisation of 't2'"),
    (lambda r: single_ops.reshape(r), lambda g: with_tensor(g, 2, shape=(1, 23)), "cannot become"),
    (lambda r: single_ops.fully_connected(r), lambda g: with_tensor(g, 0, shape=(2, 8)), "rows of 9"),
    (lambda r: single_ops.depthwise(r), lambda g: with_tensor(g, 0, shape=(1, 7, 6, 2)), "no multiple of 2"),
])
def test_rules_of_other_operators(maker, change, text):
    graph = load_tflite(maker(np.random.default_rng(13)).build(), "one")
    with pytest.raises(GraphError, match=text):
        verify(change(graph))


def test_a_window_that_would_pad_a_small_image_without_bound_is_refused():
    # 126 GiB of padding around 7 rows, found by the fuzzer.
    spec = single_ops.pool(np.random.default_rng(15), "AVERAGE_POOL_2D", window=(1409286145, 3))
    with pytest.raises(ModelError, match="an image of 7 is padded by .*; the limit is its size"):
        load_tflite(spec.build(), "pool")


def test_every_kind_has_a_rule():
    assert {kind for kind in Kind if kind != Kind.HOST} <= set(RULES) | set(ONNX_RULES)


def test_op_labels_say_place_and_framework_name():
    assert Op(Kind.ADD, "ADD", (0, 1), (2,), index=4).label == "operator 4 (ADD)"
