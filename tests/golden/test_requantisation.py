"""Channel records against the frameworks' own results, LiteRT's and TensorFlow Lite Micro's.

The record of each scale is the compiler's (import, formula, solver), its value the contract's. The framework
is asked for its value at every threshold of the record and on both sides of it: both functions being
non-decreasing, they are then equal on the whole range of sums. CELOSIA_SOAK=1 takes ten times the scales.

TensorFlow Lite Micro comes from the package index as `tflite-micro`; where that is not installed, its half
is skipped.
"""
import os
from importlib.util import find_spec

import numpy as np
import pytest
from celosia.host.importers.tflite import load_tflite
from celosia.host.lower.requantise import find_thresholds, solve
from celosia.host.reference import channel_scales, real_scales, requantize_function
from celosia.host.reference.rounding import multiply_single
from golden.frameworks import STEPS, Form, model, requantised

SPREAD = 3000 if os.environ.get("CELOSIA_SOAK") == "1" else 400
"""Scales anywhere in the range, beside those that are chosen."""
NEEDS_TFLM = pytest.mark.skipif(find_spec("tflite_micro") is None, reason="needs the package tflite-micro")
FRAMEWORKS = ["litert", pytest.param("tflm", marks=NEEDS_TFLM)]
SOURCES = ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"]
FORMS = {"plain": {}, "zero -128": {"zero": -128}, "zero -20, relu": {"zero": -20, "activation": 1},
         "zero -5, relu n1 to 1": {"zero": -5, "activation": 2, "out_scale": 1 / 40},
         "zero 77, scales": {"zero": 77, "in_scale": 0.0234, "out_scale": 0.0457}}
LIMIT = 2**31 - 1 + STEPS[0]


def scales_of_interest(spread: int) -> np.ndarray:
    """float32 scales from 2**-31 to 2: powers of two and their neighbours, ties of every kind, a spread."""
    powers = np.exp2(np.arange(-31, 2, dtype=np.float32))
    beside = [np.nextafter(powers, np.float32(side)) for side in (0, 4)]
    multiples = [powers / 2 * odd / 4 for odd in (3, 5, 7)]
    ratios = 1 / np.arange(3, 50, 2)
    everywhere = np.exp2(np.random.default_rng(seed=4).uniform(-31, 1, spread))
    every = np.concatenate([powers, *beside, *multiples, ratios, everywhere]).astype(np.float32)
    return np.unique(every[(every >= np.float32(2**-31)) & (every <= 2)])


def compare(framework: str, form: Form, scales: np.ndarray, reach: int = LIMIT) -> tuple[int, np.ndarray]:
    """Asserts that records and framework agree on all sums up to ``reach``; returns how many values were
    compared, and the scales that have no record. One scale at a time if the form has one for all channels."""
    zeros = np.zeros(len(scales), np.int64)
    graph = load_tflite(model(form, scales, zeros).build(), "golden", rounding=framework)
    (op,) = graph.ops
    flip = 128 if form.dtype == "uint8" else 0  # the fabric's values are the stored ones less this
    zero, low, high = form.zero - flip, op.attrs["low"] - flip, op.attrs["high"] - flip
    stored, real = requantize_function(graph, op), real_scales(graph, op)
    # The framework shifts left first, in 32 bits, where a scale is 1 or more.
    most = np.minimum(LIMIT >> np.maximum(np.frexp(real)[1], 0).astype(np.int64), reach)

    def function(sums: np.ndarray) -> np.ndarray:
        return stored(sums) - flip

    solutions = solve(function, bias=zeros, least=-most, most=most, scale=real, zero=zero, low=low, high=high)
    levels = np.arange(low + 1, high + 1)
    guess = np.clip((levels[:, None] - zero - 0.5) / real, -most, most).astype(np.int64)
    thresholds = find_thresholds(function, -most, most, levels=levels, guess=guess)

    rng = np.random.default_rng(seed=len(scales))
    anywhere = rng.integers(-most, most + 1, (12, len(scales)))
    near = anywhere >> rng.integers(0, 31, anywhere.shape)
    sums = np.concatenate([thresholds, [-most, most, zeros, zeros - 7], anywhere, near])
    sums = np.clip(sums, -most - STEPS[0], most - STEPS[-1]).T
    each = scales if len(scales) == 1 else np.repeat(scales, sums.shape[1])
    got = requantised(framework, form, each, sums.reshape(-1)).reshape(*sums.shape, len(STEPS)) - flip
    compared = 0
    for scale, solution, at, values in zip(scales, solutions, sums, got, strict=True):
        if solution is not None:
            places = at[:, None] + STEPS
            want = solution.channel.apply(places, zero=zero, low=low, high=high)
            wrong = np.argwhere(want != values)
            assert not len(wrong), (
                f"{framework} {form}, scale {scale!r}: at sum {places[tuple(wrong[0])]} the framework gives "
                f"{values[tuple(wrong[0])]}, the record {want[tuple(wrong[0])]}; {len(wrong)} differ")
            compared += values.size
    return compared, scales[[solution is None for solution in solutions]]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_scale_is_the_frameworks_at_every_threshold(framework, source, form):
    compared, refused = compare(framework, Form(source, **form), scales_of_interest(SPREAD), reach=2**24)
    assert not len(refused), f"no record for the scales {refused}"
    assert compared > 100_000
    print(f"{compared} values")


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_on_all_sums_of_32_bits_only_the_least_scales_are_refused(framework, source):
    """Below 2**-22 the thresholds lie beyond 2**24, and a multiplier has too few bits to place them all."""
    compared, refused = compare(framework, Form(source, 3), scales_of_interest(SPREAD))
    assert (refused < 2.0**-22).all(), f"no record for the scales {refused}"
    assert compared > 300_000
    print(f"{compared} values; refused are {len(refused)} scales")


@pytest.mark.parametrize("source, dtype, framework", [
    ("CONV_2D", "int8", "litert"), ("FULLY_CONNECTED", "int8", "litert"), ("CONV_2D", "uint8", "litert"),
    ("DEPTHWISE_CONV_2D", "uint8", "litert"), ("FULLY_CONNECTED", "uint8", "litert"),
    *(pytest.param(source, "int8", "tflm", marks=NEEDS_TFLM) for source in ("CONV_2D", "FULLY_CONNECTED"))])
def test_one_scale_for_all_channels(source, dtype, framework):
    """Here the frameworks multiply the scales in another precision, in some operators."""
    form = Form(source, 12 if dtype == "int8" else 140, in_scale=0.0234, out_scale=0.0457, dtype=dtype)
    compared = 0
    for scale in scales_of_interest(SPREAD)[::6]:
        values, refused = compare(framework, form, np.array([scale]), reach=2**24)
        assert not len(refused), f"no record for the scale {scale!r}"
        compared += values
    print(f"{compared} values")


def test_tensorflow_lite_micro_multiplies_a_fully_connected_layers_scales_in_float64():
    """A value that version 0.dev20261023182759 gave, where it is not installed: in float32 it would be 12."""
    form = Form("FULLY_CONNECTED", 12, in_scale=0.0234, out_scale=0.0457)
    scales = np.nextafter(np.float32([2.0**-24]), np.float32(0))
    graph = load_tflite(model(form, scales, np.zeros(1)).build(), "golden", rounding="tflm")
    assert requantize_function(graph, graph.ops[0])(np.array([[-16382880]])) == 11


def test_the_comparison_sees_a_formula_that_is_wrong_at_ties_only(monkeypatch):
    """Rounding once, ties up, differs from the frameworks' double rounding on few sums; these are probed."""
    def once(graph, op):
        mantissa, shift = np.array(channel_scales(graph, op), np.int64).T
        return lambda sums: np.clip(multiply_single(sums, mantissa, shift), -128, 127)

    monkeypatch.setattr(f"{__name__}.requantize_function", once)
    with pytest.raises(AssertionError, match="the framework gives"):
        compare("litert", Form("CONV_2D"), scales_of_interest(0), reach=2**24)
