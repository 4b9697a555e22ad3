"""Products of two computed matrices: layers whose weights come while the network runs, against the kernel."""
import numpy as np
import pytest
from celosia.host.lower.lower import lower
from celosia.host.lower.plan import HostStep
from celosia.rtl.contract.fabric import Fabric
from support.lowering import Builder, check, layers_of, on_host
from support.products import attention, heads, linear, product, product_of, reshaped, transposed

ZEROS = (-128, -1, 0, 127)


@pytest.mark.parametrize("a,b,out,layers", [
    ((4, 5), (5, 3), (4, 3), 1),
    ((1, 1), (1, 1), (1, 1), 1),
    ((2, 4, 5), (2, 5, 3), (2, 4, 3), 2),
    ((1, 3, 4, 5), (1, 3, 5, 7), (1, 3, 4, 7), 3),
    ((1, 3, 4, 5), (3, 5, 7), (1, 3, 4, 7), 3),
    ((2, 4, 5), (5, 3), (2, 4, 3), 1),  # one matrix of weights for all pixels
    ((3, 4, 5), (1, 5, 2), (3, 4, 2), 1),
    ((1, 4, 5), (3, 5, 2), (3, 4, 2), 3),  # one image by several matrices
    ((1, 5), (3, 5, 2), (3, 1, 2), 3),
], ids=str)
@pytest.mark.parametrize("adj_y", [False, True])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_every_shape_equals_the_kernel(a, b, out, layers, adj_y, dtype):
    b = (*b[:-2], *b[:-3:-1]) if adj_y else b
    plan = check(product_of(a, b, out, adj_y=adj_y, dtype=dtype))
    assert len(layers_of(plan)) == layers
    assert all(layer.computed is not None for layer in layers_of(plan))
    assert sum(layer.macs for layer in layers_of(plan)) == np.prod(out) * a[-1]


@pytest.mark.parametrize("zero_a", ZEROS)
@pytest.mark.parametrize("zero_b", ZEROS)
def test_every_zero_point_equals_the_kernel(zero_a, zero_b):
    (layer,) = layers_of(check(product_of((6, 17), (17, 4), (6, 4), zeros=(zero_a, zero_b))))
    assert (layer.pad_value, layer.weight_zero) == (zero_a, zero_b)


@pytest.mark.parametrize("seed", range(8))
def test_random_products_equal_the_kernel(seed):
    rng = np.random.default_rng(seed)
    batch, rows, depth, columns = (int(n) for n in rng.integers(1, [5, 9, 70, 9]))
    several, adj_y = rng.integers(0, 2, 2)
    b = (columns, depth) if adj_y else (depth, columns)
    graph = product_of((batch, rows, depth), (batch if several else 1, *b), (batch, rows, columns), seed=seed,
                       adj_y=bool(adj_y))
    assert not on_host(check(graph, seed))


@pytest.mark.parametrize("constant,computed", [(0, True), (1, False)])
@pytest.mark.parametrize("zeros", [(-128, 0), (3, -100)])
def test_one_operand_may_be_constant(constant, computed, zeros):
    layers = layers_of(check(product_of((2, 4, 9), (2, 9, 3), (2, 4, 3), constant=constant, zeros=zeros)))
    assert [layer.computed is not None for layer in layers] == [computed] * 2
    assert any(layer.weights.any() for layer in layers) != computed


@pytest.mark.parametrize("a,b,out,options,reason", [
    ((5, 4), (5, 3), (4, 3), {"adj_x": True}, "takes 't0' transposed"),
    ((4, 5), (3, 5, 2), (3, 4, 2), {}, "multiplies one matrix"),
    ((2, 3, 4, 5), (2, 3, 5, 6), (2, 3, 4, 6), {}, "batch of 2"),
    ((65, 1, 2), (65, 2, 1), (65, 1, 1), {}, "65 matrices by one each"),
])
def test_what_the_fabric_leaves_to_the_host(a, b, out, options, reason):
    (why,) = on_host(check(product_of(a, b, out, **options)))
    assert reason in why


def test_weights_of_nine_bits_take_a_fabric_that_has_them():
    for zero, bits, reasons in ((0, 8, 0), (1, 8, 1), (1, 9, 0)):
        plan = check(product_of((4, 5), (5, 3), (4, 3), zeros=(7, zero)), fabric=Fabric(weight_bits=bits))
        assert len(on_host(plan)) == reasons
        assert all("weight_bits = 9" in why for why in on_host(plan))


def test_sums_that_narrow_accumulators_cannot_hold_go_to_the_host():
    for depth, refused in ((31, False), (33, True)):  # times 2**14 and its negative, in 2**20
        graph = product_of((2, depth), (depth, 3), (2, 3), zeros=(0, 0))
        (step,) = lower(graph, Fabric(acc_width=20)).steps
        assert isinstance(step, HostStep) == refused
        assert not refused or "20-bit accumulators" in step.reason
        check(graph, fabric=Fabric())


def test_layers_ride_on_a_product_and_it_takes_what_they_make():
    builder = Builder((4, 6))
    x = builder.inputs[0]
    a, b = linear(builder, x, 5), linear(builder, x, 5)
    scores = product(builder, a, b, (4, 4), adj_y=True)
    total = builder.add(scores, linear(builder, x, 4))
    builder.host("TANH", [total], (4, 4))
    plan = check(builder.graph())
    assert not on_host(plan) and len(layers_of(plan)) == 4
    assert layers_of(plan)[-1].computed is not None


def test_products_wait_for_each_other():
    """All weights come before the first product that takes some, if that takes no more memory at once than
    the network does anyway: two runs, not three."""
    builder = Builder((4, 6))
    x = builder.inputs[0]
    weights, image = linear(builder, x, 6), linear(builder, x, 6)
    first = product(builder, x, weights, (4, 4), adj_y=True)
    second = product(builder, image, linear(builder, x, 6), (4, 4), adj_y=True)
    plan = check(builder.graph(first, second, linear(builder, x, 50)))
    assert [layer.source for layer in layers_of(plan)] == [
        *["FULLY_CONNECTED"] * 3, "BATCH_MATMUL", "BATCH_MATMUL", "FULLY_CONNECTED"]


def test_what_makes_weights_comes_before_the_run_that_takes_them():
    """All that does not need the product comes first, so that the fabric stops only once before it."""
    plan = check(attention(6, 8))
    kinds = ["host" if isinstance(step, HostStep) else step.source for step in plan.steps]
    assert kinds == ["FULLY_CONNECTED"] * 3 + ["BATCH_MATMUL", "host", "BATCH_MATMUL", "FULLY_CONNECTED"]


def test_packing_weights_moves_them_too():
    """Reshape and transpose in front of the second operand are no work; those of the first are a copy."""
    plan = check(heads(6, 3, 4))
    assert on_host(plan) == ["the fabric has no SOFTMAX"]
    sources = [layer.source for layer in layers_of(plan)]
    assert sources.count("RESHAPE+TRANSPOSE+BATCH_MATMUL") == 2 * 3
    assert sources.count("TRANSPOSE") == 2 and len(sources) == 3 + 2 * 3 + 2 + 1


@pytest.mark.parametrize("kept", ["", "output", "reader", "forced"])
def test_what_only_moves_weights_stays_where_others_want_it(kept):
    builder = Builder((4, 6), (5, 3))
    x, w = builder.inputs
    w = linear(builder, w, 6)
    moved = transposed(builder, w, 1, 0)
    outputs = [product(builder, x, moved, (4, 5))]
    if kept == "output":
        outputs.append(moved)
    elif kept == "reader":
        outputs.append(linear(builder, moved, 2))
    plan = check(builder.graph(*outputs), on_host={1: "told so"} if kept == "forced" else None)
    taken = [layer.computed.tensor for layer in layers_of(plan) if layer.computed is not None]
    assert taken == [moved if kept else w]


def test_weights_are_taken_from_a_slice():
    builder = Builder((4, 6), (8, 9))
    x, w = builder.inputs
    part = builder.host("SLICE", (w, builder.integers(1, 2), builder.integers(6, 5)), (6, 5), kept=w)
    (layer,) = layers_of(check(builder.graph(product(builder, x, part, (4, 5)))))
    assert layer.computed.tensor == w and layer.computed.index[0, 0, 0, 0] == 9 + 2


def test_one_tensor_may_be_both_operands():
    builder = Builder((5, 6))
    y = reshaped(builder, linear(builder, builder.inputs[0], 6), 2, 5, 3)
    plan = check(builder.graph(product(builder, y, y, (2, 5, 5), adj_y=True)))
    assert not on_host(plan)
    assert {layer.computed.tensor for layer in layers_of(plan) if layer.computed is not None} == {y}
