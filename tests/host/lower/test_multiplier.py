"""Records for the small multiplier: odd, of few bits, proved all the same."""
from dataclasses import replace

import numpy as np
import pytest
from celosia.host.graph.ir import Kind
from celosia.host.lower import requantise
from celosia.host.lower.add import solve_add
from celosia.host.lower.lower import lower
from celosia.host.lower.multiplier import LARGE, SERIAL, multiplier_of
from celosia.host.lower.plan import HostStep, Layer
from celosia.host.lower.requantise import solve
from celosia.host.reference.rounding import multiply_double, quantize_multiplier
from celosia.rtl.contract.numerics import wrap
from celosia.rtl.contract.presets import PRESETS
from support.lowering import Builder
from support.shared import lean

SMALL = replace(SERIAL, sum_bits=24)


def channels(real, least, most, *, zero=-128, bias=0):
    """Solutions for TFLite's formula, each compared on all its sums."""
    mantissa, shift = np.array([quantize_multiplier(float(r)) for r in real], np.int64).T

    def function(sums):
        return np.clip(multiply_double(sums, mantissa, shift) + zero, -128, 127)

    ends = [np.full(len(real), end, np.int64) for end in (least, most)]
    given = np.full(len(real), bias, np.int64)
    solutions = solve(function, bias=given, least=ends[0], most=ends[1], scale=real, zero=zero, low=-128,
                      high=127, multiplier=SMALL)
    sums = np.arange(least, most + 1, max(1, (most - least) // 40000))
    want = function(np.broadcast_to(sums[:, None], (sums.size, len(real))))
    for c, solution in enumerate(solutions):
        if solution is None:
            continue
        record = solution.channel
        assert record.mult % 2 == 1 and 0 < record.mult < 1 << 24 and not record.even
        # What the array has summed up, without the bias that it starts from, in accumulators of 24 bits.
        got = record.apply(wrap(sums - bias, 24), zero=zero, low=-128, high=127, acc_width=24)
        np.testing.assert_array_equal(got, want[:, c])
    return solutions


def test_nearest_is_odd_if_it_must_be():
    values = np.array([0.0, 0.9, 2.2, 3.99, 4.01, -2.7])
    np.testing.assert_array_equal(SMALL.nearest(values) % 2, 1)
    assert (np.abs(SMALL.nearest(values) - values) <= 1).all()
    np.testing.assert_array_equal(LARGE.nearest(values), np.rint(values))


@pytest.mark.parametrize("seed", range(4))
def test_nearly_every_channel_of_usual_scales_has_a_record(seed):
    rng = np.random.default_rng(seed)
    real = np.exp(rng.uniform(np.log(2.0**-12), np.log(2.0**-6), 40))
    found = channels(real, -300_000, 300_000, zero=int(rng.integers(-128, 128)))
    assert sum(solution is None for solution in found) <= 2


def test_a_bias_that_puts_both_rounding_constants_to_work_helps(monkeypatch):
    """All steps on one side: the one constant would leave half of the room for the multiplier."""
    real = np.random.default_rng(8).uniform(2.0**-13, 2.0**-12, 64)
    helped = channels(real, -400_000, 1_200_000).count(None)
    monkeypatch.setattr(requantise, "MIDDLES", ())
    plain = channels(real, -400_000, 1_200_000).count(None)
    assert 2 * helped < plain


@pytest.mark.parametrize("least,most,zero,real", [
    (8_232_292, 8_388_607, -128, 6.95e-07),  # one step, far from zero
    (1000, 9000, 127, 0.5), (-9000, -1000, -128, 0.25),  # all at a limit
    (5, 5, 3, 0.01), (-1, 0, 0, 0.4)])
def test_channels_of_one_or_two_values(least, most, zero, real):
    assert None not in channels(np.array([real]), least, most, zero=zero)


def test_biased_sums_keep_to_the_accumulators():
    real = np.full(8, 2.0**-14.3)
    for solution in channels(real, -(1 << 22), (1 << 23) - 1, zero=0, bias=1 << 22):
        assert solution is None or -(1 << 23) <= solution.least <= solution.most < 1 << 23


@pytest.mark.parametrize("seed", range(6))
def test_sums_of_two_images(seed):
    rng = np.random.default_rng(seed)
    slopes = np.exp(rng.uniform(np.log(0.2), np.log(1.5), 2))
    zeros = rng.integers(-128, 128, 3)

    def function(q, other):
        total = (q - zeros[0]) * slopes[0] + (other - zeros[1]) * slopes[1]
        return np.clip(np.floor(total + 0.5).astype(np.int64) + zeros[2], -128, 127)

    add = solve_add(function, slope_q=float(slopes[0]), slope_other=float(slopes[1]), q_range=(-128, 127),
                    other_range=(-128, 127), low=-128, high=127, multiplier=SMALL)
    assert add is not None
    assert add.mult_q % 2 == add.mult_other % 2 == 1 and max(abs(add.mult_q), abs(add.mult_other)) < 1 << 24
    assert -(1 << 31) <= add.constant < 1 << 31 and add.shift < 32


def test_fabrics_with_one_memory_have_the_small_multiplier():
    assert multiplier_of(lean(4, 20000)) == replace(SERIAL, sum_bits=32)
    assert multiplier_of(PRESETS["sim16x16"]) == LARGE


def test_products_are_the_hosts_there():
    builder = Builder((1, 4, 5, 6), (1, 4, 5, 6))
    graph = builder.graph(builder.op(Kind.MUL, "MUL", builder.inputs, (1, 4, 5, 6)))
    fabric = lean(4, 20000)
    (step,) = lower(graph, fabric).steps
    assert isinstance(step, HostStep) and "multiplies no two images" in step.reason
    (step,) = lower(graph, fabric.but(shared_words=0)).steps
    assert isinstance(step, Layer)
