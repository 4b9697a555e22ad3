"""Functions for the fabric: tables of one byte, MEAN of sums, MUL of products, against the kernels."""
import numpy as np
import pytest
from celosia.host.importers.tflite import load_tflite
from celosia.host.reference import Reference, mean_function, mul_function, unary_table
from support import single_ops

UNARY = ["RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "LOGISTIC", "TANH"]
ACTIVATIONS = ["HARD_SWISH", "LEAKY_RELU", "GELU"]
ONLY_INT8 = ["ELU", "ABS", "EXP", "LOG"]


def graph_of(spec):
    return load_tflite(spec.build(), "one")


def check(graph, seed=1):
    """The table gives what the whole operator gives, on all bytes."""
    table = unary_table(graph, graph.ops[0])
    assert table is not None and table.dtype == np.uint8 and table.shape == (256,)
    (index,) = graph.inputs
    x = graph.tensors[index]
    flat = np.resize(np.random.default_rng(seed).permutation(256).astype(np.uint8), x.size)
    values = flat.view(x.dtype).reshape(x.shape)
    y = Reference(graph).run([values])[0]
    np.testing.assert_array_equal(table[values.view(np.uint8)], y.view(np.uint8))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("source", [*UNARY, *ACTIVATIONS])
def test_activations_are_tables(source, dtype):
    maker = single_ops.unary if source in UNARY else single_ops.activation
    check(graph_of(maker(np.random.default_rng(2), source, dtype)))


@pytest.mark.parametrize("source", ONLY_INT8)
def test_int8_functions_are_tables(source):
    check(graph_of(single_ops.activation(np.random.default_rng(3), source)))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("to", ["int8", "uint8"])
def test_requantisation_is_a_table(dtype, to):
    check(graph_of(single_ops.unary(np.random.default_rng(4), "QUANTIZE", dtype, to)))


def with_constant(spec, place, value):
    """Makes one of two inputs a constant of one value."""
    tensor = spec.tensors[place]
    tensor.data = np.full(tensor.shape, value)
    spec.inputs.remove(place)
    return spec


@pytest.mark.parametrize("source", ["ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM"])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("shape", [(1,), (1, 1, 1, 3), (1, 4, 5, 3)])
def test_an_operator_with_a_constant_of_one_value_is_a_table(source, place, shape):
    rng = np.random.default_rng(5)
    maker = single_ops.two_inputs if "IMUM" in source else single_ops.pairwise
    shapes = {"ab"[place]: shape, "ab"[1 - place]: (1, 4, 5, 3)}
    check(graph_of(with_constant(maker(rng, source, **shapes), place, -77)))


def test_a_square_is_a_table():
    spec = single_ops.pairwise(np.random.default_rng(6), "MUL")
    spec.ops[0].inputs[:] = [0, 0]
    spec.inputs[:] = [0]
    check(graph_of(spec))


def test_a_rectifier_with_one_slope_is_a_table():
    spec = single_ops.prelu(np.random.default_rng(7), "uint8")
    spec.tensors[1].data = np.full(spec.tensors[1].shape, 9)
    check(graph_of(spec))


@pytest.mark.parametrize("spec", [
    lambda rng: single_ops.pairwise(rng, "ADD"),  # two computed inputs
    lambda rng: single_ops.prelu(rng),  # a slope for each channel
    lambda rng: single_ops.unary(rng, "QUANTIZE", "float32", "int8"),
    lambda rng: single_ops.unary(rng, "DEQUANTIZE", "int8", "float32"),
    lambda rng: single_ops.softmax(rng),  # looks at its neighbours
    lambda rng: single_ops.pad(rng),
    lambda rng: single_ops.reshape(rng),
])
def test_other_operators_are_no_tables(spec):
    graph = graph_of(spec(np.random.default_rng(8)))
    assert unary_table(graph, graph.ops[0]) is None


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("seed", range(4))
def test_mean_is_a_rising_function_of_the_sum(dtype, seed):
    rng = np.random.default_rng(seed)
    graph = graph_of(single_ops.mean(rng, dtype, shape=(1, 7, 6, 5)))
    function = mean_function(graph, graph.ops[0], 42)
    limits = np.iinfo(dtype)
    for values in (np.full((1, 7, 6, 5), limits.min), np.full((1, 7, 6, 5), limits.max),
                   rng.integers(limits.min, limits.max + 1, (1, 7, 6, 5))):
        y = Reference(graph).run([values.astype(dtype)])[0]
        np.testing.assert_array_equal(function(values.sum(axis=(1, 2))), y)
    assert (np.diff(function(np.arange(42 * limits.min, 42 * limits.max + 1))) >= 0).all()


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("seed", range(4))
def test_mul_is_a_rising_function_of_the_product(dtype, seed):
    rng = np.random.default_rng(seed)
    graph = graph_of(single_ops.pairwise(rng, "MUL", dtype, b=(1, 1, 1, 3), activation="RELU6"))
    function, limits = mul_function(graph, graph.ops[0]), np.iinfo(dtype)
    a, b = (rng.integers(limits.min, limits.max + 1, shape) for shape in ((1, 4, 5, 3), (1, 1, 1, 3)))
    zero_a, zero_b = (graph.tensors[i].quant.zero_point[0] for i in graph.ops[0].inputs)
    y = Reference(graph).run([a.astype(dtype), b.astype(dtype)])[0]
    np.testing.assert_array_equal(function((a - zero_a) * (b - zero_b)), y)
    assert (np.diff(function(np.arange(-255 * 255, 255 * 255 + 1))) >= 0).all()
