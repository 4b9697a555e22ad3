"""ADD, SUB and MUL records against LiteRT and TensorFlow Lite Micro, on all 65,536 pairs of stored values."""
import os
from importlib.util import find_spec

import numpy as np
import pytest
from celosia.host.importers.tflite import load_tflite
from celosia.host.importers.tflite_writer import ModelSpec, OpSpec, TensorSpec
from celosia.host.lower.pairwise import sum_record
from celosia.host.lower.requantise import solve
from celosia.host.reference import mul_function
from celosia.rtl.contract.numerics import Product
from golden.frameworks import two_inputs

NEEDS_TFLM = pytest.mark.skipif(find_spec("tflite_micro") is None, reason="needs the package tflite-micro")
FRAMEWORKS = ["litert", pytest.param("tflm", marks=NEEDS_TFLM)]
CASES = 1000 if os.environ.get("CELOSIA_SOAK") == "1" else 25
RANGE = (-128, 127)
Q, OTHER = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128), indexing="ij")

# Scales (first, second, output), zero points in the same order, activation (1 RELU, 3 RELU6).
CORNERS = [
    ((1, 1, 1), (0, 0, 0), 0), ((1, 1, 2), (0, 0, 0), 0), ((0.5, 0.25, 1), (3, -7, 127), 0),
    ((1, 2, 2), (-128, 127, -128), 0), ((2, 0.25, 0.5), (-128, -128, -128), 1),
    ((0.1, 0.1, 0.1), (9, 9, 9), 3),
    ((0.05, 0.0005, 0.05), (127, 0, -1), 0), ((0.023529412, 0.023529412, 0.047058824), (-128, -128, -128), 1),
]


def cases() -> list[tuple]:
    rng = np.random.default_rng(seed=8)
    return CORNERS + [
        (tuple(np.exp(rng.uniform(np.log(0.005), np.log(0.2), 3)).tolist()),
         tuple(rng.integers(-128, 128, 3).tolist()), int(rng.choice([0, 0, 1, 3]))) for _ in range(CASES)]


def model(source: str, scales, zeros, activation) -> ModelSpec:
    tensors = [TensorSpec((1, 256, 256, 1), "int8", scale, zero)
               for scale, zero in zip(scales, zeros, strict=True)]
    options = {"FusedActivationFunction": activation}
    op = OpSpec(source, [0, 1], [2], options, f"{source.title()}Options", 2)
    return ModelSpec(tensors, [op], [0, 1], [2])


@pytest.mark.parametrize("source", ["ADD", "SUB"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_sum_records_are_the_frameworks_on_every_pair(framework, source):
    solved = 0
    for case in cases():
        spec = model(source, *case)
        graph = load_tflite(spec.build(), "golden", rounding=framework)
        want = two_inputs(framework, spec)
        for operand, (q, other) in enumerate([(Q, OTHER), (OTHER, Q)]):
            record = sum_record(graph, graph.ops[0], RANGE, operand)
            if record is not None:
                solved += 1
                np.testing.assert_array_equal(record.apply(q, other), want, f"{source} of {case}")
    print(f"{solved} of {2 * len(cases())} sums have a record, {65536 * solved} pairs")
    assert solved >= 0.9 * 2 * len(cases())


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_product_records_are_the_frameworks_on_every_pair(framework):
    solved = 0
    for case in cases():
        (scales, zeros, _), spec = case, model("MUL", *case)
        graph = load_tflite(spec.build(), "golden", rounding=framework)
        op = graph.ops[0]
        low, high = op.attrs["low"], op.attrs["high"]
        offsets = Product(offset_q=-zeros[0], offset_other=-zeros[1])
        products = offsets.apply(Q, OTHER)
        ends = [np.array([end]) for end in (products.min(), products.max())]
        (solution,) = solve(mul_function(graph, op), bias=np.zeros(1, np.int64), least=ends[0], most=ends[1],
                            scale=np.array([scales[0] * scales[1] / scales[2]]), zero=zeros[2], low=low,
                            high=high)
        if solution is not None:
            solved += 1
            got = solution.channel.apply(products, zero=zeros[2], low=low, high=high)
            np.testing.assert_array_equal(got, two_inputs(framework, spec), f"MUL of {case}")
    print(f"{solved} of {len(cases())} products have a record, {65536 * solved} pairs")
    assert solved == len(cases())
