"""Fixed-point formulas against exact rational arithmetic, corners first."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from celosia.host.graph.ir import Kind
from celosia.host.importers.tflite import load_tflite
from celosia.host.importers.tflite_writer import ModelSpec, OpSpec, TensorSpec
from celosia.host.reference import (
    add_function,
    average_pool_function,
    channel_scales,
    real_scales,
    requantize_function,
    run_op,
)
from celosia.host.reference.rounding import (
    INT32_MAX,
    INT32_MIN,
    multiply_double,
    multiply_real,
    multiply_single,
    quantize_multiplier,
    round_half_away,
    rounding_divide_by_pot,
    srdhm,
)
from support import single_ops
from support.litert import LiteRt

CORNERS = [INT32_MIN, INT32_MIN + 1, -(2**30), -3, -2, -1, 0, 1, 2, 3, 2**30, INT32_MAX - 1, INT32_MAX]


def half_up(value):
    return floor(value + Fraction(1, 2))


def half_away(value):
    return half_up(value) if value >= 0 else -half_up(-value)


def samples(rng):
    return CORNERS + rng.integers(INT32_MIN, INT32_MAX, 200).tolist()


def test_srdhm_rounds_ties_up_and_saturates_one_product():
    rng = np.random.default_rng(1)
    for a in samples(rng):
        for b in CORNERS:
            want = min(half_up(Fraction(a * b, 2**31)), INT32_MAX)
            assert srdhm(np.array(a), b) == want, (a, b)


@pytest.mark.parametrize("exponent", [0, 1, 2, 7, 30, 31])
def test_rounding_divide_by_pot_rounds_ties_away_from_zero(exponent):
    for value in samples(np.random.default_rng(2)):
        assert rounding_divide_by_pot(np.array(value), exponent) == half_away(Fraction(value, 2**exponent))


@pytest.mark.parametrize("real", [2.0**-32, 2.0**-31, 1e-9, 0.3, 0.5, 0.99999999999, 1.0, 1.5, 7.0, 2.0**20])
def test_quantize_multiplier_is_within_half_a_unit_in_the_31st_bit(real):
    mantissa, shift = quantize_multiplier(real)
    assert 2**30 <= mantissa < 2**31
    assert abs(mantissa * 2.0 ** (shift - 31) / real - 1) <= 2.0**-31


@pytest.mark.parametrize("real", [0.0, 2.0**-33, 1e-30])
def test_multipliers_that_are_too_small_become_zero(real):
    assert quantize_multiplier(real) == (0, 0)


def test_multiply_double_is_srdhm_then_rounding_divide():
    rng = np.random.default_rng(3)
    acc = np.array([-5, -1, 0, 1, 5, *rng.integers(-(2**20), 2**20, 300)])
    for real in (0.003, 0.4999, 0.5, 1.0, 3.7):
        multiplier, shift = quantize_multiplier(real)
        for value, got in zip(acc.tolist(), multiply_double(acc, multiplier, shift).tolist(), strict=True):
            high = half_up(Fraction((value << max(shift, 0)) * multiplier, 2**31))
            assert got == half_away(Fraction(high, 2 ** max(-shift, 0)))


def test_single_rounding_and_real_rounding_differ_only_on_negative_ties():
    acc = np.arange(-64, 65)
    single, real = multiply_single(acc, *quantize_multiplier(0.25)), multiply_real(acc, 0.25)
    ties = (acc % 4 == 2) & (acc < 0)
    assert (single[~ties] == real[~ties]).all()
    assert (single[ties] == real[ties] + 1).all()


@pytest.mark.parametrize(
    "value, want",
    [(0.5, 1), (-0.5, -1), (1.5, 2), (2.5, 3), (-2.5, -3), (0.49999999999999994, 0), (2.0**31 - 0.5, 2**31)],
)
def test_round_half_away(value, want):
    assert round_half_away(value) == want


def constant_sums(bias, scales, outputs_scale, kind, zero=3, dtype="int8"):
    """A network whose accumulators are just its bias."""
    n = len(bias)
    shape = (n, 1, 1, 1)
    x = TensorSpec((1, 1, 1, 1), dtype, scales[0], 0)
    w = TensorSpec(shape, dtype, [scales[1]] * n if dtype == "int8" else scales[1], 0, data=np.zeros(shape))
    y = TensorSpec((1, 1, 1, n), dtype, outputs_scale, zero)
    options = {"StrideW": 1, "StrideH": 1}
    source, table = "CONV_2D", "Conv2DOptions"
    if kind == Kind.FULLY_CONNECTED:
        x.shape, w.shape, y.shape, w.scale = (1, 1), (n, 1), (1, n), scales[1]
        options, source, table = {}, "FULLY_CONNECTED", "FullyConnectedOptions"
    product = float(np.float32(scales[0]) * np.float32(scales[1]))
    b = TensorSpec((n,), "int32", product, 0, data=bias)
    return ModelSpec([x, w, b, y], [OpSpec(source, [0, 1, 2], [3], options, table, 3)], [0], [3]).build()


SCALES = [
    (0.5, 0.5, 1.0), (0.5, 0.25, 8.0),  # powers of two: ties, on which every rule of rounding shows
    (1 / 3, 1 / 7, 3.0), (0.0123, 0.00456, 0.11),
    (0.0013, 0.0011, 1.3), (0.0017, 0.0007, 1.1),  # a millionth: the last bits of the multiplier show
]


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("kind", [Kind.CONV, Kind.FULLY_CONNECTED])
@pytest.mark.parametrize("scales", SCALES)
def test_requantize_function_equals_litert_beside_every_threshold(kind, scales, dtype):
    steps = scales[0] * scales[1] / scales[2]
    near = np.round((np.arange(-260, 261) + 0.5) / steps).astype(np.int64)
    acc = np.unique((near[:, None] + np.arange(-20, 21)).ravel())
    model = constant_sums(acc, scales[:2], scales[2], kind, dtype=dtype)
    graph = load_tflite(model, "constant sums")
    x = np.zeros(graph.tensors[0].shape, dtype)
    want = LiteRt(model).run([x])[0].ravel()
    np.testing.assert_array_equal(requantize_function(graph, graph.ops[0])(acc), want)
    assert len(np.unique(want)) == 256
    multipliers = [m * 2.0 ** (s - 31) for m, s in channel_scales(graph, graph.ops[0])]
    np.testing.assert_allclose(multipliers, real_scales(graph, graph.ops[0]), rtol=1e-6)


def test_tflm_rounding_of_fully_connected_is_double():
    acc = np.arange(-300, 301)
    model = constant_sums(acc, (0.5, 0.5), 1.0, Kind.FULLY_CONNECTED)
    graph = load_tflite(model, "constant sums", rounding="tflm")
    multiplier, shift = channel_scales(graph, graph.ops[0])[0]
    want = np.clip(multiply_double(acc, multiplier, shift) + 3, -128, 127)
    np.testing.assert_array_equal(requantize_function(graph, graph.ops[0])(acc), want)


def test_add_function_equals_litert_on_all_pairs():
    rng = np.random.default_rng(4)
    spec = single_ops.pairwise(rng, "ADD", a=(256, 256), b=(256, 256), activation="RELU6")
    model = spec.build()
    graph = load_tflite(model, "add")
    a, b = (v.astype(np.int8) for v in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128), indexing="ij"))
    got = add_function(graph, graph.ops[0])(a.astype(np.int64), b.astype(np.int64))
    np.testing.assert_array_equal(got, LiteRt(model).run([a, b])[0])


@pytest.mark.parametrize("count", [1, 2, 3, 49, 64])
def test_average_pool_function_rounds_ties_away_from_zero(count):
    total = np.arange(-128 * count, 127 * count + 1)
    want = [min(100, max(-120, half_away(Fraction(int(t), count)))) for t in total]
    np.testing.assert_array_equal(average_pool_function(count, -120, 100)(total), want)


def test_average_pool_function_is_what_the_operator_does_on_full_windows():
    rng = np.random.default_rng(5)
    spec = single_ops.pool(rng, "AVERAGE_POOL_2D", window=(7, 6), padding="VALID", activation="RELU")
    graph = load_tflite(spec.build(), "pool")
    op = graph.ops[0]
    x = rng.integers(-128, 128, graph.tensors[0].shape).astype(np.int8)
    function = average_pool_function(42, op.attrs["low"], op.attrs["high"])
    np.testing.assert_array_equal(
        run_op(graph, op, [x])[0], function(x.astype(np.int64).sum(axis=(1, 2), keepdims=True))
    )
