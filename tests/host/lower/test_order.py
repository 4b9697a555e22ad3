"""Execution order: legal, spread, and never dearer in live memory than the model's own."""
import numpy as np
import pytest
from celosia.host.graph.ir import Graph, Kind, Op, Tensor
from celosia.host.lower.order import order_steps, peak, reads, writes
from celosia.host.lower.plan import HostStep, Layer


def layer(name, x, y, other=None):
    return Layer(ops=(0,), name=name, source="", mode="window", input=x, output=y, other=other,
                 in_shape=(1, 1, 1), out_shape=(1, 1, 1), kernel=(1, 1), weights=np.ones(1, np.int8),
                 channels=(), zero=0, low=0, high=0)


def graph(sizes, inputs, outputs, ops=()):
    tensors = tuple(Tensor(f"t{i}", (n,), "int8") for i, n in enumerate(sizes))
    return Graph("test", "tflite", tensors, tuple(ops), tuple(inputs), tuple(outputs))


def names(steps):
    return [s.name if isinstance(s, Layer) else "host" for s in steps]


def test_an_independent_layer_goes_between_two_dependent_ones():
    g = graph([10] * 5, [0], [4])
    steps = [layer("a", 0, 1), layer("b", 1, 2), layer("side", 0, 3), layer("sum", 2, 4, other=3)]
    assert names(order_steps(g, steps)) == ["a", "side", "b", "sum"]


def test_not_at_the_price_of_more_live_memory():
    g = graph([10, 10, 10, 1000, 10], [0], [4])  # a big side result would wait beside everything else
    steps = [layer("a", 0, 1), layer("b", 1, 2), layer("side", 0, 3), layer("sum", 3, 4, other=2)]
    early = [steps[0], steps[2], steps[1], steps[3]]
    assert peak(g, early) == peak(g, steps)
    g = graph([10, 900, 10, 1000, 10], [0], [4])
    assert names(order_steps(g, steps)) == ["a", "b", "side", "sum"]


def test_a_layer_that_reads_a_later_one_is_moved_behind_it():
    g = graph([1] * 4, [0], [3])
    steps = [layer("with add", 0, 3, other=2), layer("x", 0, 1), layer("y", 1, 2)]
    assert names(order_steps(g, steps)) == ["x", "y", "with add"]


def test_all_who_write_a_tensor_come_before_its_readers_and_in_order():
    g = graph([1] * 5, [0], [4])
    steps = [layer("fills", 2, 3), layer("reader", 3, 4), layer("late part", 1, 3), layer("x", 0, 1),
             layer("y", 0, 2)]
    assert names(order_steps(g, steps)) == ["x", "y", "fills", "late part", "reader"]


def test_a_tensor_lives_from_its_first_writer_on():
    g = graph([10, 100, 1, 1], [0], [1, 3])
    steps = [layer("part", 0, 1), layer("between", 0, 2), layer("other part", 2, 1), layer("z", 2, 3)]
    assert peak(g, steps) == 10 + 100 + 1
    assert peak(g, [steps[1], steps[3], steps[0], steps[2]]) == 1 + 1 + 10 + 100


def test_host_steps_do_not_cut_a_run_of_layers_in_two():
    op = Op(Kind.SOFTMAX, "SOFTMAX", (1,), (2,))
    g = graph([1] * 6, [0], [2, 5], [op])
    steps = [layer("a", 0, 1), HostStep(0, ""), layer("b", 1, 3), layer("c", 3, 4), layer("d", 4, 5)]
    assert names(order_steps(g, steps)) == ["a", "b", "c", "d", "host"]


@pytest.mark.parametrize("seed", range(20))
def test_random_networks_stay_legal_and_within_the_models_peak(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 25))
    steps = []
    for i in range(count):
        other = int(rng.integers(0, i + 1)) if rng.random() < 0.4 else None
        steps.append(layer(f"l{i}", int(rng.integers(0, i + 1)), i + 1, other))
    g = graph(rng.integers(1, 100, count + 1).tolist(), [0], [count])
    ordered = order_steps(g, steps)
    assert sorted(names(ordered)) == sorted(names(steps))
    made = {0}
    for step in ordered:
        assert reads(g, step) <= made
        made |= set(writes(g, step))
    assert peak(g, ordered) <= peak(g, steps)
