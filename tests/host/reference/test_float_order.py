"""Sums of float32 products in ONNX Runtime's order: bit for bit what its CPU kernels give."""
import os
from fractions import Fraction

import numpy as np
import pytest
from celosia.host.graph.ir import Kind
from celosia.host.reference.float_order import (
    Kernel,
    Order,
    Values,
    convolution_order,
    dot,
    fused,
    matrix_order,
    operator_order,
    sum_up,
)
from celosia.host.reference.windows import windows

onnx = pytest.importorskip("onnx", reason="needs the packages onnx and onnxruntime")
pytest.importorskip("onnxruntime", reason="needs the packages onnx and onnxruntime")

from support.qdq import session  # noqa: E402  (it imports both)

CASES = 1000 if os.environ.get("CELOSIA_SOAK") == "1" else 40
ROWS = [1, 2, 3, 5, 12, 13]
COLUMNS = [1, 2, 3, 5, 7, 8, 9, 16, 17, 31, 33, 64, 65, 100, 130, 200, 300]
DEPTHS = [*range(1, 10), 15, 16, 17, 63, 64, 65, 127, 128, 129, 172, 255, 256, 257, 512, 513, 576, 700]


def single(op_type, operands, **attrs):
    """ONNX Runtime's session for one float operator."""
    node = onnx.helper.make_node(op_type, operands, ["y"], **attrs)
    return session([node], [(name, "float32") for name in operands], [("y", "float32")])[0]


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def product(order, a, b, start=None):
    """a[m, k] x b[k, n] in an order; start[n] in the result beforehand."""
    m, n = len(a), b.shape[1]
    row, column = np.divmod(np.arange(m * n), n)
    sums = dot(order, a[row], np.ascontiguousarray(b.T)[column], row, column,
               None if start is None else start[column])
    return sums.reshape(m, n)


def nearest_float32(value: Fraction) -> float:
    """To even on ties, from an exact number."""
    guess = np.float32(float(value))
    around = [guess, np.nextafter(guess, np.float32(np.inf)), np.nextafter(guess, np.float32(-np.inf))]
    return min(around, key=lambda f: (abs(Fraction(float(f)) - value), int(f.view(np.uint32)) & 1))


# Rounding once

HALFWAY = (np.float32((1 + 2**-15) * 2**-12), np.float32((1 - 2**-15) * 2**-12), np.float32(1 + 2**-23))
"""a * b is 2**-24 less 2**-54: its float64 sum with c lies halfway between two float32 numbers."""


def test_fused_rounds_once():
    rng = np.random.default_rng(seed=1)
    a, b = floats(rng, 2000), floats(rng, 2000)
    c = np.where(rng.random(2000) < 0.3, -a * b, floats(rng, 2000) * 2.0 ** rng.integers(-30, 30, 2000))
    c = c.astype(np.float32)
    a[0], b[0], c[0] = HALFWAY
    a[1], b[1], c[1] = -HALFWAY[0], HALFWAY[1], -HALFWAY[2]
    got = fused(a, b, c)
    for i in range(len(a)):
        exact = Fraction(float(a[i])) * Fraction(float(b[i])) + Fraction(float(c[i]))
        assert got[i] == nearest_float32(exact), (a[i], b[i], c[i])
    assert got[0] == HALFWAY[2]
    assert np.float32(np.float64(a[0]) * b[0] + c[0]) != HALFWAY[2]  # rounding twice


@pytest.mark.parametrize("sign", [1, -1])
def test_chain_sees_sums_that_rounding_twice_spoils(sign):
    a, b, c = HALFWAY
    factors = np.array([[c, 1], [a, b]], np.float32)
    factors[:, 0] *= sign
    on = Values(factors[:, :1], factors[:, 1:], np.zeros(1, np.int64), 1)
    assert sum_up(Order(Kernel.CHAIN, (2,)), on) == sign * c


def test_chain_of_subnormal_numbers():
    tiny = np.float32(2.0**-75)
    a = np.array([[tiny], [tiny], [tiny]])
    b = np.array([[np.float32(2.0**-74) * 3], [np.float32(2.0**-75)], [tiny]])
    on = Values(a, b, np.zeros(1, np.int64), 1)
    total = np.float32(0)
    for x, y in zip(a[:, 0], b[:, 0], strict=True):
        total = np.float32(nearest_float32(Fraction(float(x)) * Fraction(float(y)) + Fraction(float(total))))
    assert sum_up(Order(Kernel.CHAIN, (3,)), on) == total


# Against ONNX Runtime

@pytest.mark.parametrize("seed", range(3))
def test_matmul_equals_onnxruntime(seed):
    rng = np.random.default_rng(seed)
    runtime = single("MatMul", ["a", "b"])
    for _ in range(CASES):
        m, n, k = (int(rng.choice(sizes)) for sizes in (ROWS, COLUMNS, DEPTHS))
        a, b = floats(rng, m, k), floats(rng, k, n)
        order = matrix_order(m, n, k, transposed=False)
        np.testing.assert_array_equal(product(order, a, b), runtime.run(None, {"a": a, "b": b})[0],
                                      f"[{m}, {k}] x [{k}, {n}], {order}")


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_gemm_equals_onnxruntime(transposed, bias):
    rng = np.random.default_rng(seed=2 * transposed + bias)
    runtime = single("Gemm", ["a", "b", "c"][:2 + bias], transB=int(transposed))
    for _ in range(CASES):
        m, n, k = (int(rng.choice(sizes)) for sizes in ([1, *ROWS], COLUMNS, DEPTHS))
        a, b, c = floats(rng, m, k), floats(rng, k, n), floats(rng, n)
        order = matrix_order(m, n, k, transposed=transposed)
        feeds = {"a": a, "b": np.ascontiguousarray(b.T) if transposed else b, "c": c}
        np.testing.assert_array_equal(
            product(order, a, b, c if bias else None),
            runtime.run(None, {name: feeds[name] for name in ["a", "b", "c"][:2 + bias]})[0],
            f"[{m}, {k}] x [{k}, {n}], {order}")


@pytest.mark.parametrize("a_batch, b_batch", [((3,), (3,)), ((3,), ()), ((2, 3), (1, 1)), ((3,), (1,)),
                                              ((), (3,))])
def test_batches_of_products_equal_onnxruntime(a_batch, b_batch):
    """With a single second matrix all rows of all batches are one product: one row each makes many."""
    rng = np.random.default_rng(seed=len(a_batch) + 2 * len(b_batch))
    runtime = single("MatMul", ["a", "b"])
    for m, n, k in [(1, 9, 20), (1, 1, 33), (4, 17, 300), (1, 64, 257)]:
        a, b = floats(rng, *a_batch, m, k), floats(rng, *b_batch, k, n)
        want = runtime.run(None, {"a": a, "b": b})[0]
        order = operator_order({"kind": "matmul", "transposed": False}, a.shape, b.shape, want.shape)
        if np.prod(b_batch) == 1:
            got = product(order, a.reshape(-1, k), b.reshape(k, n))
        else:
            got = np.stack([product(order, *(np.broadcast_to(v, (3, *v.shape[-2:]))[i] for v in (a, b)))
                            for i in range(3)])
        np.testing.assert_array_equal(got.reshape(want.shape), want, f"{a.shape} x {b.shape}, {order}")


def random_convolution(rng):
    """Geometry that ONNX Runtime may treat in any of its ways."""
    def pick(*values):
        return int(rng.choice(values))

    groups, depth, filters = pick(1, 1, 1, 2, 4), pick(1, 1, 2, 3, 8, 16, 40), pick(1, 1, 2, 3, 8, 16, 33, 70)
    kernel = (1, 1) if rng.random() < 0.25 else (pick(1, 2, 3, 5), pick(1, 2, 3, 5))
    stride = (1, 1) if rng.random() < 0.5 else (pick(1, 2, 3), pick(1, 2))
    dilation = (1, 1) if rng.random() < 0.7 else (pick(1, 2), pick(1, 2))
    padding = (0, 0, 0, 0) if rng.random() < 0.5 else tuple(int(v) for v in rng.integers(0, 3, 4))
    size = [pick(1, 2, 3, 5, 8, 14, 20), pick(1, 2, 3, 5, 8, 14, 20)]
    for axis in (0, 1):
        if rng.random() < 0.15:
            size[axis] = kernel[axis]
        least = (kernel[axis] - 1) * dilation[axis] + 1 - sum(padding[2 * axis:2 * axis + 2])
        size[axis] = max(size[axis], least, 1)
    return {"image": tuple(size), "kernel": kernel, "depth": depth, "filters": filters, "groups": groups,
            "stride": stride, "dilation": dilation, "padding": padding}


def check_convolution(rng, geometry, batch=1, rows=False):
    """``rows``: as a convolution of one dimension."""
    g, axes = geometry, slice(1, 2) if rows else slice(0, 2)
    groups, depth, filters = g["groups"], g["depth"], g["filters"]
    x = floats(rng, batch, groups * depth, *g["image"])
    w, bias = floats(rng, groups * filters, depth, *g["kernel"]), floats(rng, groups * filters)
    top, bottom, left, right = g["padding"]
    pads = [left, right] if rows else [top, left, bottom, right]
    runtime = single("Conv", ["x", "w", "b"], group=groups, strides=g["stride"][axes],
                     dilations=g["dilation"][axes], pads=pads)
    feeds = {"x": x, "w": w}
    if rows:
        feeds = {name: value.squeeze(2) for name, value in feeds.items()}
    want = runtime.run(None, {**feeds, "b": bias})[0]
    if rows:
        want = np.expand_dims(want, 2)
    order = convolution_order(result=want.shape[2:], **g)
    seen = windows(x.transpose(0, 2, 3, 1), g["kernel"], g["stride"], g["dilation"], g["padding"], 0)
    got = np.empty_like(want)
    for image in range(batch):
        for group in range(groups):
            mine, inputs = (slice(group * n, (group + 1) * n) for n in (filters, depth))
            pixels = seen[image][..., inputs].transpose(0, 1, 4, 2, 3).reshape(want[0, 0].size, -1)
            sums = product(order, w[mine].reshape(filters, -1), pixels.T)
            got[image, mine] = (sums + bias[mine, None]).reshape(filters, *want.shape[2:])
    np.testing.assert_array_equal(got, want, f"{geometry}, {order}")
    return order


@pytest.mark.parametrize("seed", range(3))
def test_convolutions_equal_onnxruntime(seed):
    rng = np.random.default_rng(seed)
    orders = [check_convolution(rng, random_convolution(rng), batch=1 + i % 2) for i in range(CASES)]
    assert {order.kernel for order in orders} == set(Kernel)


@pytest.mark.parametrize("geometry", [
    # whole rows of a one-channel image; one and more filters, and a single result
    {"image": (9, 4), "kernel": (3, 4), "filters": 1}, {"image": (9, 4), "kernel": (3, 4), "filters": 5},
    {"image": (3, 4), "kernel": (3, 4), "filters": 6}, {"image": (5, 1), "kernel": (5, 1), "filters": 3},
    {"image": (5, 7), "kernel": (5, 1), "filters": 3}, {"image": (5, 7), "kernel": (5, 1), "filters": 1},
    # a single pixel: a column vector
    {"image": (1, 1), "kernel": (1, 1), "depth": 37, "filters": 7},
    {"image": (4, 4), "kernel": (4, 4), "depth": 20, "filters": 11},
    # more filters than pixels; a deep sum over few pixels; over many
    {"image": (4, 4), "kernel": (3, 3), "depth": 64, "filters": 64},
    {"image": (10, 10), "kernel": (3, 3), "depth": 64, "filters": 5},
    {"image": (20, 20), "kernel": (3, 3), "depth": 40, "filters": 2},
    # depthwise, with one and two outputs each
    {"image": (12, 12), "kernel": (3, 3), "filters": 1, "groups": 8},
    {"image": (12, 12), "kernel": (3, 3), "filters": 2, "groups": 8},
    {"image": (1, 50), "kernel": (1, 9), "filters": 1, "groups": 3},
], ids=str)
def test_special_convolutions_equal_onnxruntime(geometry):
    rng = np.random.default_rng(seed=3)
    check_convolution(rng, {"depth": 1, "groups": 1, "stride": (1, 1), "dilation": (1, 1),
                            "padding": (0, 0, 0, 0), **geometry})


@pytest.mark.parametrize("geometry", [
    {"image": (1, 40), "kernel": (1, 9), "depth": 3, "filters": 5},
    {"image": (1, 40), "kernel": (1, 1), "depth": 7},
    {"image": (1, 30), "kernel": (1, 5), "groups": 6, "stride": (1, 2), "padding": (0, 0, 2, 2)},
    {"image": (1, 12), "kernel": (1, 12), "filters": 9},
    {"image": (1, 50), "kernel": (1, 7), "depth": 40, "filters": 60, "dilation": (1, 2)},
], ids=str)
def test_convolutions_of_rows_equal_onnxruntime(geometry):
    """Three dimensions in ONNX; the importer makes images one pixel high of them."""
    check_convolution(np.random.default_rng(seed=4), {
        "depth": 1, "groups": 1, "filters": 1, "stride": (1, 1), "dilation": (1, 1), "padding": (0, 0, 0, 0),
        **geometry}, rows=True)


def test_the_one_convolution_with_a_kernel_of_its_own_has_no_order():
    options = {"kind": Kind.DEPTHWISE_CONV.value, "stride": (2, 2), "dilation": (1, 1),
               "padding": (3, 3, 3, 3)}
    assert operator_order(options, (1, 20, 20, 4), (1, 7, 7, 8), (1, 10, 10, 8)) is None
    assert operator_order({**options, "stride": (1, 1)}, (1, 20, 20, 4), (1, 7, 7, 8), (1, 20, 20, 8))
