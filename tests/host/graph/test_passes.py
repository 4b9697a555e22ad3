"""Passes: what they remove, what they must leave, and that results stay the same."""
from dataclasses import replace

import numpy as np
import pytest
from celosia.host.graph.passes import run_passes
from celosia.host.graph.passes.fold_relu import fold_relu
from celosia.host.graph.passes.fold_reshape import fold_reshape
from celosia.host.graph.passes.remove_dead import remove_dead
from celosia.host.graph.passes.split_sum import split_sum
from celosia.host.graph.verify import verify
from celosia.host.importers.tflite import load_tflite
from celosia.host.importers.tflite_writer import ModelSpec, OpSpec, TensorSpec
from celosia.host.reference import Reference
from celosia.rtl.contract.errors import GraphError


def sources(graph):
    return [op.source for op in graph.ops]


def network(ops, tensors, outputs, inputs=(0,)):
    return load_tflite(ModelSpec(tensors, ops, list(inputs), list(outputs)).build(), "network")


def same_results(before, after):
    rng = np.random.default_rng(14)
    for _ in range(5):
        values = [rng.integers(-128, 128, before.tensors[i].shape).astype(np.int8) for i in before.inputs]
        for a, b in zip(Reference(before).run(values), Reference(after).run(values), strict=True):
            np.testing.assert_array_equal(a, b)


def add_then(relu, *, outputs=(3,), scale=0.1, zero=-7, activation=0, more=()):
    """ADD of the input to itself, then a rectifier whose output has the given quantisation."""
    tensors = [TensorSpec((1, 64), scale=0.1), TensorSpec((1, 64), scale=0.1),
               TensorSpec((1, 64), scale=0.1, zero=-7),
               TensorSpec((1, 64), scale=scale, zero=zero), TensorSpec((1, 64), scale=scale, zero=zero)]
    ops = [OpSpec("ADD", [0, 1], [2], {"FusedActivationFunction": activation}, "AddOptions"),
           OpSpec(relu, [2], [3]), *more]
    return network(ops, tensors, outputs, inputs=(0, 1))


@pytest.mark.parametrize("relu", ["RELU", "RELU6", "RELU_N1_TO_1"])
@pytest.mark.parametrize("activation", [0, 1, 2, 3])
def test_a_rectifier_of_the_same_quantisation_becomes_a_clamp(relu, activation):
    graph = add_then(relu, activation=activation)
    folded = run_passes(graph)
    assert sources(folded) == ["ADD"] and folded.ops[0].outputs == (3,)
    same_results(graph, folded)


def test_a_chain_of_rectifiers_folds_into_one_operator():
    graph = add_then("RELU", outputs=(4,), more=[OpSpec("RELU6", [3], [4])])
    folded = run_passes(graph)
    assert sources(folded) == ["ADD"]
    same_results(graph, folded)


@pytest.mark.parametrize("changes", [{"scale": 0.2}, {"zero": -8}, {"outputs": (3, 2)},
                                     {"outputs": (3, 4), "more": [OpSpec("RELU", [2], [4])]}])
def test_a_rectifier_that_rescales_or_whose_input_is_read_elsewhere_stays(changes):
    graph = add_then("RELU", **changes)
    assert sources(fold_relu(graph)) == sources(graph)


def reshapes(*shapes, zeros=None, outputs=None):
    tensors = [TensorSpec(shape, scale=0.1, zero=zero) for shape, zero in
               zip(shapes, zeros or [0] * len(shapes), strict=True)]
    last = len(tensors) - 1
    tensors.append(TensorSpec(shapes[-1], scale=0.2))
    ops = [OpSpec("RESHAPE", [i], [i + 1]) for i in range(last)] + [OpSpec("RELU", [last], [last + 1])]
    return network(ops, tensors, outputs or [last + 1])


def test_chains_of_reshapes_become_one():
    graph = reshapes((1, 4, 6), (1, 24), (2, 12), (3, 8))
    folded = run_passes(graph)
    assert sources(folded) == ["RESHAPE", "RELU"] and folded.ops[0].inputs == (0,)
    same_results(graph, folded)


def test_a_reshape_that_changes_nothing_goes():
    graph = reshapes((1, 24), (1, 24))
    folded = run_passes(graph)
    assert sources(folded) == ["RELU"] and folded.ops[0].inputs == (0,)
    same_results(graph, folded)


def test_a_round_trip_of_reshapes_goes():
    graph = reshapes((1, 24), (2, 12), (1, 24))
    folded = run_passes(graph)
    assert sources(folded) == ["RELU"]
    same_results(graph, folded)


def test_a_reshape_to_another_quantisation_stays():
    graph = reshapes((1, 24), (1, 24), zeros=[0, 5])
    assert sources(run_passes(graph)) == ["RESHAPE", "RELU"]
    same_results(graph, run_passes(graph))


def test_a_reshape_that_is_an_output_stays():
    graph = reshapes((1, 24), (1, 24), outputs=[1, 2])
    folded = run_passes(graph)
    assert sources(folded) == ["RESHAPE", "RELU"]
    same_results(graph, folded)


def padded(kernel=(3, 3), pad=((0, 0), (1, 1), (2, 0), (0, 0)), *, depthwise=False, outputs=(6,), readers=1):
    """PAD, then a convolution (or two) that pads by itself as well."""
    rng = np.random.default_rng(3)
    _, rows, columns, front = pad
    inner = (1, 6 + sum(rows), 5 + sum(columns), 4 + sum(front))
    w = (1, *kernel, inner[3]) if depthwise else (2, *kernel, inner[3])
    count = w[3] if depthwise else 2
    tensors = [TensorSpec((1, 6, 5, 4), scale=0.1, zero=-7),
               TensorSpec((4, 2), "int32", data=pad), TensorSpec(inner, scale=0.1, zero=-7),
               TensorSpec(w, scale=[0.01] * count, zero=0, axis=3 if depthwise else 0,
                          data=rng.integers(-127, 128, w)),
               TensorSpec((count,), "int32", scale=[0.001] * count, zero=0, data=[5] * count),
               *[TensorSpec((*inner[:3], count), scale=0.3, zero=4) for _ in range(3)]]
    source, options = (("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions") if depthwise else
                       ("CONV_2D", "Conv2DOptions"))
    fields = {"Padding": 0, "StrideW": 1, "StrideH": 1, **({"DepthMultiplier": 1} if depthwise else {})}
    ops = [OpSpec("PAD", [0, 1], [2], {}, "PadOptions"),
           *[OpSpec(source, [2, 3, 4], [6 - i], fields, options) for i in range(readers)]]
    return network(ops, tensors, outputs)


@pytest.mark.parametrize("depthwise", [False, True])
def test_a_border_becomes_padding_of_the_convolution(depthwise):
    graph = padded((5, 5), depthwise=depthwise)
    folded = run_passes(graph)
    assert len(folded.ops) == 1 and folded.ops[0].inputs[0] == 0
    assert folded.ops[0].attrs["padding"] == (3, 3, 4, 2)
    same_results(graph, folded)


def test_a_border_of_two_convolutions_goes_only_as_a_whole():
    graph = padded((5, 5), outputs=(5, 6), readers=2)
    assert sources(run_passes(graph)) == ["CONV_2D", "CONV_2D"]
    same_results(graph, run_passes(graph))


@pytest.mark.parametrize("changes", [
    {"kernel": (1, 1)}, {"kernel": (3, 2)}, {"pad": ((0, 0), (1, 1), (1, 1), (1, 0)), "kernel": (5, 5)},
    {"kernel": (5, 5), "outputs": (6, 2)}])
def test_a_border_that_is_too_wide_or_of_channels_or_read_elsewhere_stays(changes):
    graph = padded(**changes)
    assert sources(run_passes(graph)) == ["PAD", "CONV_2D"]


def transposed(axes, *, keep=False, outputs=()):
    """An image with its channels brought forward, then a mean over each of the axes, one after the other."""
    order, shape = (0, 3, 1, 2), [1, 8, 4, 3]
    tensors = [TensorSpec((1, 4, 3, 8), scale=0.1, zero=5), TensorSpec((4,), "int32", data=order),
               TensorSpec(tuple(shape), scale=0.1, zero=5)]
    ops = [OpSpec("TRANSPOSE", [0, 1], [2], {}, "TransposeOptions")]
    for axis in axes:
        shape[axis:axis + 1] = [1] if keep else []
        tensors += [TensorSpec((1,), "int32", data=[axis]), TensorSpec(tuple(shape), scale=0.07, zero=-3)]
        last = len(tensors) - 1
        ops.append(OpSpec("MEAN", [ops[-1].outputs[0], last - 1], [last], {"KeepDims": keep},
                          "ReducerOptions"))
    return network(ops, tensors, [last, *outputs])


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("axes", [(3, 2), (2, 2), (1,)])
def test_a_transposition_goes_where_the_means_of_it_keep_their_order(axes, keep):
    graph = transposed(axes, keep=keep)
    means = ["MEAN"] * len(axes)
    if keep and axes == (2, 2):  # the width is left, and lies behind the channels
        assert sources(run_passes(graph)) == ["TRANSPOSE", *means]
    else:
        assert sources(run_passes(graph)) == [*means, "RESHAPE"]
    same_results(graph, run_passes(graph))


@pytest.mark.parametrize("changes", [{"axes": (3,)}, {"axes": (2,)}, {"axes": (3, 2), "outputs": (2,)}])
def test_a_transposition_stays_where_order_changes_or_others_read_it(changes):
    graph = transposed(**changes)
    assert sources(run_passes(graph))[0] == "TRANSPOSE"
    same_results(graph, run_passes(graph))


def a_sum(activation=0):
    """Found in a MobileNetV2: near ties on both sides of zero that no plane rounds right."""
    tensors = [TensorSpec((1, 256, 256, 1), scale=0.18986915051937103, zero=-6),
               TensorSpec((1, 256, 256, 1), scale=0.1699049174785614, zero=-31),
               TensorSpec((1, 256, 256, 1), scale=0.18754954636096954, zero=-14)]
    ops = [OpSpec("ADD", [0, 1], [2], {"FusedActivationFunction": activation}, "AddOptions")]
    return network(ops, tensors, [2], inputs=(0, 1))


def test_a_sum_that_no_record_equals_becomes_three_that_records_equal():
    graph = a_sum()
    split = split_sum(graph)
    verify(split)
    assert sources(split) == ["ADD"] * 3 and split.ops[-1].outputs == (2,)
    a, b = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))
    values = [array.astype(np.int8).reshape(1, 256, 256, 1) for array in (a, b)]
    np.testing.assert_array_equal(Reference(graph).run(values)[0], Reference(split).run(values)[0])
    assert split_sum(split) == split
    assert sources(split_sum(a_sum(activation=1))) == ["ADD"]  # one side is enough


def test_operators_without_readers_go_and_indices_stay():
    graph = add_then("RELU", outputs=(2,))
    kept = remove_dead(graph)
    assert sources(kept) == ["ADD"] and kept.tensors == graph.tensors


def test_passes_do_nothing_to_a_network_without_work():
    graph = add_then("RELU", scale=0.3)
    assert run_passes(graph) == graph and fold_reshape(graph) == graph


def test_a_pass_that_breaks_a_rule_is_named():
    def drop_everything(graph):
        return replace(graph, ops=())

    with pytest.raises(GraphError, match="network, after pass drop_everything: no operator makes the output"):
        run_passes(add_then("RELU"), passes=(drop_everything,))
