"""The residual add's solver: equal on all 65,536 pairs or refused."""
import numpy as np
import pytest
from celosia.host.lower.add import solve_add
from celosia.host.reference.rounding import multiply_double, quantize_multiplier

FULL = (-128, 127)


def tflite_add(scales, zeros, low=-128, high=127):
    """TFLite's int8 ADD for scales and zero points (first, second, output)."""
    twice = 2 * max(scales[:2])
    first, second = (quantize_multiplier(s / twice) for s in scales[:2])
    output = quantize_multiplier(twice / (2**20 * scales[2]))

    def function(a, b):
        total = multiply_double((a - zeros[0]) << 20, *first) + multiply_double((b - zeros[1]) << 20, *second)
        return np.clip(multiply_double(total, *output) + zeros[2], low, high)

    return function


def solve_scales(scales, zeros, low=-128, high=127, q_range=FULL, other_range=FULL):
    function = tflite_add(scales, zeros, low, high)
    add = solve_add(function, slope_q=scales[0] / scales[2], slope_other=scales[1] / scales[2],
                    q_range=q_range, other_range=other_range, low=low, high=high)
    if add is not None:
        q, other = np.meshgrid(*(np.arange(first, last + 1) for first, last in (q_range, other_range)))
        np.testing.assert_array_equal(add.apply(q, other), function(q, other))
    return add


@pytest.mark.parametrize("seed", range(12))
def test_random_scales_are_solved(seed):
    rng = np.random.default_rng(seed)
    scales = rng.uniform(0.01, 0.1, 3).astype(np.float32).astype(np.float64)
    assert solve_scales(scales, rng.integers(-128, 128, 3)) is not None


@pytest.mark.parametrize("scales", [(1, 1, 1), (1, 1, 2), (1, 2, 2), (0.25, 0.5, 1), (2, 0.25, 0.5),
                                    (1, 1, 0.5)])
@pytest.mark.parametrize("zeros", [(0, 0, 0), (-128, -128, -128), (3, -7, 127)])
def test_sums_that_tie_on_both_sides_of_zero_are_solved(scales, zeros):
    assert solve_scales(scales, zeros) is not None


def test_a_fused_activation_and_smaller_ranges():
    add = solve_scales((0.05, 0.04, 0.06), (-128, 5, -128), low=-128, high=20, q_range=(-128, 100),
                       other_range=(-50, 127))
    assert (add.low, add.high) == (-128, 20)


@pytest.mark.parametrize("scales", [(1e-4, 1.0, 1.0), (1.0, 1.0, 1e4), (1.0, 1.0, 0.02)])
def test_far_apart_scales_are_solved_or_refused_never_wrong(scales):
    solve_scales(scales, (1, 2, 3))


def test_a_function_that_is_no_sum_is_refused():
    assert solve_add(np.maximum, slope_q=0.5, slope_other=0.5, q_range=FULL, other_range=FULL, low=-128,
                     high=127) is None


def test_ties_that_no_plane_can_follow_are_refused():
    # 0.5a + 0.75b: with b even and odd the ties of both signs leave no room for any slope.
    assert solve_scales((0.5, 0.75, 1.0), (-120, 67, 58)) is None
