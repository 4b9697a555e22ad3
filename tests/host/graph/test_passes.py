"""Passes: what they remove, what they must leave, and that results stay the same."""
from dataclasses import replace

import numpy as np
import pytest
from celosia.host.graph.passes import run_passes
from celosia.host.graph.passes.fold_relu import fold_relu
from celosia.host.graph.passes.fold_reshape import fold_reshape
from celosia.host.graph.passes.remove_dead import remove_dead
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
