"""Channel records against ONNX Runtime's QLinearConv and QGemm: which channels have one, each of them exact.

ONNX Runtime rounds the float32 product of sum and scale to the nearest integer, halves to even, on both sides
of zero alike; a record rounds all halves of one sign the same way. So a channel has no record where two
halves on one side are reached and told apart, as with a scale of one half. Importing ONNX models is to come;
here the solver is given the formula, and the runtime's own values decide.
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


def compare(source: str, scales: np.ndarray, zero: int, reach: int) -> tuple[int, np.ndarray]:
    """Asserts that formula, records and runtime agree on sums up to ``reach``; returns how many values were
    compared, and for each scale whether it has a record."""
    def function(sums: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(sums.astype(np.float32) * scales).astype(np.int64) + zero, -128, 127)

    zeros = np.zeros(len(scales), np.int64)
    most = zeros + reach
    real = scales.astype(np.float64)
    solutions = solve(function, bias=zeros, least=-most, most=most, scale=real, zero=zero, low=-128, high=127)
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
def test_channels_with_a_record_are_onnx_runtimes_and_most_have_one(source, zero):
    rng = np.random.default_rng(seed=zero + 128)
    scales = np.exp2(rng.uniform(-14, -3, SPREAD)).astype(np.float32)
    compared, solved = compare(source, scales, zero, reach=2**20)
    print(f"{compared} values of {source}, zero point {zero}; {solved.mean():.1%} of channels have a record")
    assert solved.mean() > 0.7


@pytest.mark.parametrize("source", SOURCES)
def test_scales_of_interest_are_exact_or_refused(source):
    scales = scales_of_interest(0)
    compared, solved = compare(source, scales, 0, reach=2**24 - 8)
    powers = np.frexp(scales)[0] == 0.5
    print(f"{compared} values of {source}; records for {solved.sum()} of {len(scales)} scales, for "
          f"{solved[powers].sum()} of {powers.sum()} powers of two")
    assert not solved[scales == 0.5].any()  # halves to even


def test_the_comparison_sees_halves_that_go_up():
    scales = np.array([0.5], np.float32)
    got = requantised("QLinearConv", np.tile(scales, 20), np.arange(20) * 7, 0)
    sums = (np.arange(20) * 7)[:, None] + STEPS
    assert (got != np.clip((sums + 1) >> 1, -128, 127)).any()
    np.testing.assert_array_equal(got, np.clip(np.rint(sums / 2), -128, 127))
