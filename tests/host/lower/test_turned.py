"""Rows that become columns: layers that write their pixels the other way round."""
import numpy as np
import pytest
from celosia.host.lower.plan import Part
from celosia.rtl.contract.fabric import Fabric
from support.lowering import Builder, check, layers_of, on_host
from support.products import check_graph, transposed

FABRICS = [Fabric(rows=4, cols=4),
           Fabric(rows=3, cols=5, am_words=300, acc_depth=8, fifo_depth=4, wm_words=20)]


def both(graph):
    """By definition and on the emulator, with ample and little memory; the layers."""
    plan = check(graph)
    for fabric in FABRICS:
        check_graph(graph, fabric)
    assert not on_host(plan)
    return layers_of(plan)


@pytest.mark.parametrize("shape,axes", [
    ((1, 5, 7, 3), (0, 2, 1, 3)), ((5, 7, 3), (1, 0, 2)), ((1, 4, 4, 3), (0, 2, 1, 3)),
    ((1, 9, 2, 6), (0, 2, 1, 3)), ((1, 2, 9, 1), (0, 2, 1, 3)), ((1, 20, 11, 7), (0, 2, 1, 3))], ids=str)
def test_a_transposed_image_is_one_copy(shape, axes):
    builder = Builder(shape)
    (layer,) = both(builder.graph(transposed(builder, builder.inputs[0], *axes)))
    assert layer.out_part == Part(turned=True)


def test_a_square_image_transposed_is_no_plain_copy():
    """What reads it must not read the source instead."""
    builder = Builder((1, 4, 4, 3))
    moved = transposed(builder, builder.inputs[0], 0, 2, 1, 3)
    assert len(both(builder.graph(builder.conv(moved, 5)))) == 2


def test_channels_may_become_columns():
    builder = Builder((1, 4, 5, 3))
    layers = both(builder.graph(transposed(builder, builder.inputs[0], 0, 3, 1, 2)))
    assert all(layer.out_shape[2] == 1 for layer in layers)


def test_a_strided_slice_of_a_transposed_image():
    builder = Builder((1, 9, 8, 3))
    x = builder.inputs[0]
    moved = transposed(builder, x, 0, 2, 1, 3)
    part = builder.host("STRIDED_SLICE", (moved, *(builder.integers(*v) for v in (
        (0, 1, 2, 0), (1, 8, 9, 3), (1, 3, 2, 1)))), (1, 3, 4, 3), kept=x, begin_mask=0, end_mask=0,
        shrink_axis_mask=0)
    both(builder.graph(part))


@pytest.mark.parametrize("rider", ["table", "pad", "join"])
def test_others_ride_on_a_turned_copy(rider):
    builder = Builder((1, 5, 7, 3), (1, 7, 5, 2))
    x, other = builder.inputs
    moved = transposed(builder, x, 0, 2, 1, 3)
    if rider == "table":
        builder.host("TANH", (moved,), (1, 7, 5, 3))
    elif rider == "pad":
        builder.host("PAD", (moved, builder.integers(*((0, 0), (1, 2), (3, 0), (0, 0)))), (1, 10, 8, 3),
                     kept=moved)
    else:
        builder.tensors[other] = builder.tensors[builder.tensor((1, 7, 5, 2), **builder.like(x))]
        builder.tensors.pop()
        builder.host("CONCATENATION", (moved, other), (1, 7, 5, 5), kept=x, axis=3)
    layers = both(builder.graph())
    assert layers[-1].out_part.turned or layers[0].out_part.turned


def test_random_transpositions():
    rng = np.random.default_rng(0)
    for _ in range(6):
        shape = (1, *(int(n) for n in rng.integers(1, 14, 3)))
        builder = Builder(shape)
        both(builder.graph(transposed(builder, builder.inputs[0], 0, 2, 1, 3)))
