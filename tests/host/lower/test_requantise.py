"""The per-channel solver against brute force: a record that is called proved must be equal everywhere."""
import numpy as np
import pytest
from celosia.host.lower.requantise import find_thresholds, nominal_scale, prove, reach, solve
from celosia.host.reference.rounding import (
    multiply_double,
    multiply_real,
    multiply_single,
    quantize_multiplier,
)
from celosia.rtl.contract.numerics import Channel


def formula(rule, real, zero, low, high):
    """One of the frameworks' formulas for channels of scale ``real``: sums [points, channels] -> values."""
    mantissa, shift = np.array([quantize_multiplier(float(r)) for r in real], np.int64).T

    def float32(sums):  # ONNX Runtime: float32 product, half to even
        return np.rint(sums.astype(np.float32) * real.astype(np.float32)).astype(np.int64)

    multiply = {"double": lambda sums: multiply_double(sums, mantissa, shift),
                "single": lambda sums: multiply_single(sums, mantissa, shift),
                "real": lambda sums: multiply_real(sums, real), "float32": float32}[rule]
    return lambda sums: np.clip(multiply(sums) + zero, low, high)


def assert_equal_everywhere(solutions, function, *, zero, low, high, dense=3000, real=None):
    """Compares on all sums of a small range, else on a sample that is dense around zero and both ends, and
    around all ties of scales ``real``."""
    least, most = (np.array([getattr(s, name) if s else 0 for s in solutions]) for name in ("least", "most"))
    if (most - least).max() < 50_000:
        sums = np.arange(least.min(), most.max() + 1)
    else:
        spread = np.random.default_rng(7).integers(least.min(), most.max() + 1, 20_000)
        sums = np.concatenate([spread, np.arange(-dense, dense), least.min() + np.arange(dense),
                               most.max() - np.arange(dense)])
    sums = np.broadcast_to(sums[:, None], (len(sums), len(solutions)))
    if real is not None:
        ties = np.rint(np.clip((np.arange(-256, 256) + 0.5)[:, None] / real, -(2.0**40), 2.0**40))
        sums = np.concatenate([sums, *(ties.astype(np.int64) + step for step in range(-2, 3))])
    sums = np.clip(sums, least, most)
    want = function(sums)
    for c, solution in enumerate(solutions):
        if solution is not None:
            got = solution.channel.apply_biased(sums[:, c], zero=zero, low=low, high=high)
            wrong = sums[got != want[:, c], c]
            assert not len(wrong), f"channel {c}: differs at {wrong[:5]}"


def solve_all(rule, real, least, most, *, zero=0, low=-128, high=127, ties_to_even=False):
    function = formula(rule, real, zero, low, high)
    least, most = (np.broadcast_to(np.asarray(v, np.int64), real.shape) for v in (least, most))
    solutions = solve(function, bias=np.zeros(len(real), np.int64), least=least, most=most, scale=real,
                      zero=zero, low=low, high=high, ties_to_even=ties_to_even)
    assert all(s.proved for s in solutions if s is not None)
    assert_equal_everywhere(solutions, function, zero=zero, low=low, high=high, real=real)
    return solutions


@pytest.mark.parametrize("rule", ["double", "single", "real"])
@pytest.mark.parametrize("zero, low, high", [(0, -128, 127), (-128, -128, 127), (127, 0, 127), (-3, -3, 20)])
def test_every_tflite_channel_has_a_record_that_brute_force_confirms(rule, zero, low, high):
    real = 2.0 ** np.random.default_rng(seed=zero + 200).uniform(-14, -2, 24)
    assert all(solve_all(rule, real, -15_000, 17_000, zero=zero, low=low, high=high))
    assert all(solve_all(rule, real, -1_500_000, 1_700_000, zero=zero, low=low, high=high))


@pytest.mark.parametrize("real", [0.5, 0.25, 0.75, 2.0**-10, 3 * 2.0**-9, 1.0, 1.5, 2.0**-15])
@pytest.mark.parametrize("rule", ["double", "single", "real"])
def test_scales_whose_sums_tie_are_solved(rule, real):
    assert all(solve_all(rule, np.array([real]), -9999, 9999, zero=5))


@pytest.mark.parametrize("least, most", [(0, 0), (-1, -1), (-1, 0), (0, 5000), (-5000, -1), (17, 900),
                                         (-900, -17), (-(2**31), 2**31 - 1), (2**31 - 9, 2**31 - 1)])
def test_ranges_on_one_side_of_zero_and_at_the_ends_of_32_bits(least, most):
    (solution,) = solve_all("double", np.array([0.01234]), least, most, zero=-7)
    assert solution is not None and (solution.least, solution.most) == (least, most)


def test_a_step_exactly_at_zero_and_one_just_below():
    for at in (-1, 0, 1):
        def function(sums, at=at):
            return np.where(sums >= at, 1, 0)
        (solution,) = solve(function, bias=np.zeros(1, np.int64), least=np.array([-50]), most=np.array([50]),
                            scale=np.array([0.001]), zero=0, low=0, high=1)
        assert solution is not None and solution.thresholds == 1
        sums = np.arange(-50, 51)
        assert (solution.channel.apply_biased(sums, zero=0, low=0, high=1) == function(sums)).all()


@pytest.mark.parametrize("count", [1, 2, 3, 25, 49, 64, 125])
def test_the_average_of_a_window_is_solved(count):
    def function(total):
        half = count // 2
        return np.clip(np.where(total > 0, (total + half) // count, -((half - total) // count)), -128, 127)

    solutions = solve(function, bias=np.zeros(1, np.int64), least=np.array([-128 * count]),
                      most=np.array([127 * count]), scale=np.array([1 / count]), zero=0, low=-128, high=127)
    assert all(solutions)
    assert_equal_everywhere(solutions, function, zero=0, low=-128, high=127)


def float32(values):
    return np.asarray(values).astype(np.float32).astype(np.float64)


def test_without_ties_to_even_float_rounding_is_solved_or_refused_but_never_wrong():
    real = float32(2.0 ** np.random.default_rng(seed=3).uniform(-13, -3, 200))
    solutions = solve_all("float32", real, -100_000, 100_000)
    assert sum(s is not None for s in solutions) >= 180
    # Halves to even on both sides of zero are no step function of any multiplier.
    assert solve_all("float32", np.array([0.5]), -1000, 1000) == [None]


@pytest.mark.parametrize("zero", [0, -128, 127, 31])
@pytest.mark.parametrize("low, high, limit", [(-16, -3, 2**23), (-13, -7, 2**26), (-8, 8, 15_000),
                                              (-22, -16, 2**22)])
def test_with_ties_to_even_every_float_rounding_has_a_record_that_holds(low, high, limit, zero):
    real = float32(2.0 ** np.random.default_rng(seed=low + zero + 200).uniform(low, high, 60))
    solutions = solve_all("float32", real, -limit, limit - 1, zero=zero, ties_to_even=True)
    assert all(solutions)
    if zero == -128 and high <= -3:
        assert sum(s.channel.even for s in solutions) > 5


@pytest.mark.parametrize("real", [2.0**-k for k in range(0, 16, 3)] + [0.75, 1.5, 7 / 16, 3 * 2.0**-9, 6.5])
def test_scales_of_few_bits_tie_exactly_and_have_a_record_with_even(real):
    for zero in (0, 100):
        (plain,), (solution,) = (
            solve_all("float32", np.array([real]), -20_000, 20_000, zero=zero, ties_to_even=ties)
            for ties in (False, True))
        assert solution is not None
        assert bool(solution.channel.even) == (plain is None)


@pytest.mark.parametrize("real, at, tie, solved", [
    (0.038039923, 6112, 232.5, True), (0.0015513103, 98304, 152.5, True),
    (6.860541e-05, 1056768, 72.5, False)])  # its multiplier has 25 bits, which is too coarse
def test_a_product_at_the_very_end_of_a_ties_reach_has_a_record_nearly_always(real, at, tie, solved):
    """It is half a unit in the last place above the tie, and the reach of ``even`` ends just before it."""
    real = float32(real)
    assert np.float32(at) * np.float32(real) == tie
    assert at * real - tie == 2.0 ** (np.frexp(tie)[1] - 25)
    for zero in (0, -128):
        (solution,) = solve_all("float32", np.array([real]), -2**20, 2**21, zero=zero, ties_to_even=True)
        assert solution is not None or not solved


def test_thresholds_beyond_2_to_the_24_are_solved_or_refused_but_never_wrong():
    """Up there float32 rounds the sum itself."""
    real = float32(2.0 ** np.random.default_rng(seed=6).uniform(-22, -15, 40))
    solutions = solve_all("float32", real, -(2**31), 2**31 - 1, zero=-128, ties_to_even=True)
    assert all(s is not None for s, scale in zip(solutions, real, strict=True) if scale * 2**24 > 256)
    assert None in solutions


def test_the_proof_looks_at_even():
    (solution,) = solve_all("float32", np.array([0.5]), -1000, 1000, ties_to_even=True)
    assert solution is not None
    record = solution.channel
    sums = np.arange(-20, 20)[:, None]
    fields = [np.array([value]) for value in (record.mult, record.round_pos, record.round_neg, record.shift)]
    rounds = np.stack(fields[1:3])
    for even, rounding, good in ((1, rounds, True), (0, rounds, False), (1, rounds + 1, False)):
        expected = formula("float32", np.array([0.5]), 0, -128, 127)(sums)
        proved = prove(fields[0], rounding, fields[3], np.array([even]), expected, sums, zero=0, low=-128,
                       high=127)
        assert proved == [good]


@pytest.mark.parametrize("rule", ["double", "single", "real"])
def test_the_formulas_that_round_halves_up_or_away_never_get_even(rule):
    real = 2.0 ** np.random.default_rng(seed=8).uniform(-16, 0, 100)
    kinds = [solve_all(rule, real, -300_000, 300_000, zero=-3, ties_to_even=ties) for ties in (False, True)]
    assert kinds[0] == kinds[1] and all(kinds[0])


def test_a_wrong_guess_of_the_scale_is_repaired_from_the_thresholds():
    real = np.array([0.01, 0.003])
    function = formula("double", real, 3, -128, 127)
    for factor in (0.9999, 1.0001):
        solutions = solve(function, bias=np.zeros(2, np.int64), least=np.array([-20_000] * 2),
                          most=np.array([20_000] * 2), scale=real * factor, zero=3, low=-128, high=127)
        assert all(solutions)
        assert_equal_everywhere(solutions, function, zero=3, low=-128, high=127)


def test_a_formula_that_no_multiplier_makes_is_refused():
    def kinked(sums):  # slope 1, then 1/2
        return np.where(sums < 0, sums, sums // 2)

    assert solve(kinked, bias=np.zeros(1, np.int64), least=np.array([-100]), most=np.array([100]),
                 scale=np.array([1.0]), zero=0, low=-128, high=127) == [None]


def test_thresholds_are_least_sums_however_bad_the_guess():
    function = formula("double", np.array([0.02, 0.3]), 1, -128, 127)
    least, most, levels = np.array([-3000, -40]), np.array([2500, 90]), np.arange(-127, 128)
    for guess in (0, 10**9, -10**9):
        got = find_thresholds(function, least, most, levels=levels, guess=np.full((255, 2), guess))
        for c in range(2):
            sums = np.arange(least[c], most[c] + 1)
            values = function(np.stack([sums, sums], axis=1))[:, c]
            want = [int(sums[values >= v][0]) if (values >= v).any() else most[c] + 1 for v in levels]
            np.testing.assert_array_equal(got[:, c], want)


def test_reach_is_met_by_some_input_and_never_passed():
    rng = np.random.default_rng(seed=11)
    weights = rng.integers(-128, 128, (9, 5)).astype(np.int8)
    bias = rng.integers(-1000, 1000, 5)
    least, most = reach(weights, bias, -128, 127)
    for c in range(5):
        w = weights[:, c].astype(np.int64)
        assert most[c] == np.where(w > 0, 127, -128) @ w + bias[c]
        assert least[c] == np.where(w > 0, -128, 127) @ w + bias[c]


def test_nominal_multiplier_is_the_frameworks_own():
    real = 2.0 ** np.random.default_rng(seed=5).uniform(-14, 0, 100)
    mantissa, exponent = np.array([quantize_multiplier(float(r)) for r in real]).T
    mult, shift = nominal_scale(np.ldexp(mantissa.astype(float), exponent - 31))
    np.testing.assert_array_equal(mult, mantissa)
    np.testing.assert_array_equal(shift, 16 - exponent)


def test_the_nominal_multiplier_with_even_is_a_float32_scale_itself():
    real = float32(2.0 ** np.random.default_rng(seed=5).uniform(-22, 9, 200))
    mult, shift = nominal_scale(real, even=True)
    assert set(shift) == {7, 15, 23, 31}
    np.testing.assert_array_equal(np.ldexp(mult.astype(float), -(shift + 15)), real)


def test_the_brute_force_finds_a_record_that_is_off_by_one():
    (solution,) = solve_all("double", np.array([0.013]), -20_000, 20_000)
    spoilt = Channel(bias=0, mult=solution.channel.mult, shift=solution.channel.shift,
                     round_pos=solution.channel.round_pos + (1 << solution.channel.shift - 3),
                     round_neg=solution.channel.round_neg)
    sums = np.arange(-20_000, 20_001)
    good, bad = (c.apply_biased(sums, zero=0, low=-128, high=127) for c in (solution.channel, spoilt))
    assert (good != bad).any()
