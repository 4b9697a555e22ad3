"""Channel records against ONNX Runtime's QLinearConv and QGemm: which channels have one, each of them exact.

ONNX Runtime rounds the float32 product of sum and scale to the nearest integer, halves to even, on both sides
of zero alike; a record without ``even`` rounds all halves of one sign the same way. So on a fabric without
ties_to_even a channel has no record where two halves on one side are reached and told apart, as with a scale
of one half. Here the solver is given the formula, and the runtime's own values decide.
"""
import os

import numpy as np
import pytest
from celosia.host.lower.requantise import find_thresholds, solve
from golden.frameworks import STEPS
from golden.test_requantisation import scales_of_interest

onnx = pytest.importorskip("onnx", reason="needs the packages onnx and onnxruntime")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the packages onnx and onnxruntime")

SPREAD = 3000 if os.environ.get("CELOSIA_SOAK") == "1" else 600
SOURCES = ["QLinearConv", "QGemm"]


def requantised(source: str, scales: np.ndarray, biases: np.ndarray, zero: int) -> np.ndarray:
    """ONNX Runtime's values int64[channels, steps] of the accumulators ``biases + STEPS``: weights of 1."""
    from onnx import TensorProto, helper, numpy_helper

    count, places = len(scales), len(STEPS)
    conv = source == "QLinearConv"
    x_shape, y_shape = ((1, 1, 1, places), (1, count, 1, places)) if conv else ((places, 1), (places, count))
    constants = {
        "x_scale": np.float32(1), "x_zero": np.int8(0),
        "w": np.ones((count, 1, 1, 1) if conv else (1, count), np.int8), "w_scale": scales.astype(np.float32),
        "w_zero": np.zeros(count, np.int8), "bias": biases.astype(np.int32),
        "y_scale": np.float32(1), "y_zero": np.int8(zero),
    }
    operands, result = ["x", "x_scale", "x_zero", "w", "w_scale", "w_zero"], ["y_scale", "y_zero"]
    if conv:
        node = helper.make_node(source, [*operands, *result, "bias"], ["y"])
    else:
        node = helper.make_node(source, [*operands, "bias", *result], ["y"], domain="com.microsoft")
    graph = helper.make_graph(
        [node], "golden", [helper.make_tensor_value_info("x", TensorProto.INT8, x_shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT8, y_shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])
    model = helper.make_model(graph, ir_version=8, opset_imports=[
        helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)])
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                           providers=["CPUExecutionProvider"])
    values = session.run(None, {"x": STEPS.astype(np.int8).reshape(x_shape)})[0]
    values = values.reshape(count, places) if conv else values.T
    return values.astype(np.int64)


def compare(source: str, scales: np.ndarray, zero: int, reach: int,
            ties_to_even: bool) -> tuple[int, np.ndarray]:
    """Asserts that formula, records and runtime agree on sums up to ``reach``; returns how many values were
    compared, and for each scale whether it has a record."""
    def function(sums: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(sums.astype(np.float32) * scales).astype(np.int64) + zero, -128, 127)

    zeros = np.zeros(len(scales), np.int64)
    most = zeros + reach
    real = scales.astype(np.float64)
    solutions = solve(function, bias=zeros, least=-most, most=most, scale=real, zero=zero, low=-128, high=127,
                      ties_to_even=ties_to_even)
    levels = np.arange(-127, 128)
    guess = np.clip((levels[:, None] - zero - 0.5) / real, -most, most).astype(np.int64)
    thresholds = find_thresholds(function, -most, most, levels=levels, guess=guess)
    anywhere = np.random.default_rng(seed=1).integers(-most, most + 1, (16, len(scales)))
    sums = np.clip(np.concatenate([thresholds, [-most, most, zeros], anywhere]), -most - STEPS[0],
                   most - STEPS[-1])
    got = requantised(source, np.tile(scales, len(sums)), sums.reshape(-1), zero)
    got = got.reshape(*sums.shape, len(STEPS))
    for step in range(len(STEPS)):
        np.testing.assert_array_equal(function(sums + STEPS[step]), got[:, :, step])
    for c, solution in enumerate(solutions):
        if solution is not None:
            made = solution.channel.apply(sums[:, c, None] + STEPS, zero=zero, low=-128, high=127)
            np.testing.assert_array_equal(made, got[:, c], f"{source}, scale {scales[c]!r}, zero {zero}")
    return got.size, np.array([solution is not None for solution in solutions])


@pytest.mark.parametrize("zero", [0, -128, 55])
@pytest.mark.parametrize("source", SOURCES)
def test_every_channel_has_a_record_that_is_onnx_runtimes(source, zero):
    rng = np.random.default_rng(seed=zero + 128)
    scales = np.exp2(rng.uniform(-16, -1, SPREAD)).astype(np.float32)
    compared, solved = compare(source, scales, zero, reach=2**23, ties_to_even=True)
    print(f"{compared} values of {source}, zero point {zero}; {solved.mean():.1%} of channels have a record")
    assert solved.all(), f"no record for the scales {scales[~solved]}"


@pytest.mark.parametrize("source", SOURCES)
def test_on_a_fabric_without_ties_to_even_channels_with_a_record_are_onnx_runtimes(source):
    scales = np.exp2(np.random.default_rng(seed=1).uniform(-14, -3, SPREAD)).astype(np.float32)
    compared, solved = compare(source, scales, 0, reach=2**20, ties_to_even=False)
    print(f"{compared} values of {source}; {solved.mean():.1%} of channels have a record")
    assert solved.mean() > 0.7
    assert not compare(source, np.float32([0.5]), 0, reach=2**20, ties_to_even=False)[1].any()


@pytest.mark.parametrize("source", SOURCES)
def test_scales_of_interest_are_exact(source):
    """Powers of two, their neighbours, and scales of few bits, whose sums tie most of all.

    Below 2**-16 thresholds lie beyond 2**24, where float32 rounds the sums. And from 2**-15 down, products of
    sums and scales of few bits have just one bit too many: they lie at the ends of ties' reach, which are the
    record's on one side only.
    """
    scales = scales_of_interest(0)
    few_bits = np.frexp(scales)[0] * 32 % 1 == 0
    powers = np.frexp(scales)[0] == 0.5
    for reach in (2**24 - 8, 2**31 - 8):
        compared, solved = compare(source, scales, 0, reach, ties_to_even=True)
        print(f"{compared} values of {source}; no record for {scales[~solved]}")
        expected = scales > np.where(few_bits & ~powers, 2.0**-15, 2.0**-17)
        assert solved[expected].all(), f"no record for the scales {scales[~solved]}"


def test_the_comparison_sees_halves_that_go_up():
    scales = np.array([0.5], np.float32)
    got = requantised("QLinearConv", np.tile(scales, 20), np.arange(20) * 7, 0)
    sums = (np.arange(20) * 7)[:, None] + STEPS
    assert (got != np.clip((sums + 1) >> 1, -128, 127)).any()
    np.testing.assert_array_equal(got, np.clip(np.rint(sums / 2), -128, 127))
