"""Settle: what the host does of a float operator whose integer sums the fabric knows (passes/bracket)."""
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from ..graph.ir import Array, Graph, Kind, Op, Tensor
from .float_bound import dequantised, filters, quantised
from .float_order import Order, Singles, dot, operator_order
from .onnxruntime_kernel import run_kernel
from .operands import quant_of, tensor_of, value_of
from .rounding import Ints
from .windows import windows

SETTLE = "Settle"
"""The operator's name, of Kind.HOST."""
AT_ONCE = 2**20
"""Products in memory at a time."""

Factors = tuple[Array, Array, Ints, Ints, Ints]
"""For n elements of a result: stored factors [n, K] of x and of w; row and column in MLAS's product; output
channel."""


def settle(graph: Graph, op: Op, values: Sequence[Array | None]) -> tuple[Array, ...]:
    """Elements on which both bounds agree are known; the others are computed as ONNX Runtime does it.

    Operands low, high, x, weights (or a second matrix), bias or None. Where the order of ONNX Runtime's sum
    is not known, it computes the operator itself.
    """
    low, high, x, w = (value_of(value) for value in values[:4])
    doubt = np.flatnonzero(low != high)
    result = low.copy()
    if not len(doubt):
        return (result,)
    options = op.attrs["options"]
    order = operator_order(options, x.shape, w.shape, low.shape)
    if order is None:
        return run_kernel(replace(op, inputs=op.inputs[2:]), values[2:])
    sums = float_results(graph, op, values, order, doubt)
    result.flat[doubt] = quantised(sums, tensor_of(graph, op.outputs[0]), options["activation"])
    return (result,)


def float_results(graph: Graph, op: Op, values: Sequence[Array | None], order: Order, which: Ints) -> Singles:
    """ONNX Runtime's float32 sums, bias included: those elements whose flat indices are ``which``."""
    options, shape, (x, w) = op.attrs["options"], value_of(values[0]).shape, map(value_of, values[2:4])
    of_x, of_w = tensor_of(graph, op.inputs[2]), tensor_of(graph, op.inputs[3])
    factors = _factors(options, x, w, shape, int(quant_of(of_x).zero_point[0]))
    biases = None
    if options["bias"] is not None:
        biases = dequantised(value_of(values[4]), tensor_of(graph, op.inputs[4]))
    step = max(AT_ONCE // sum(order.blocks), 1)
    results = []
    for some in np.split(which, range(step, len(which), step)):
        a, b, row, column, channel = factors(some)
        bias = None if biases is None else biases[channel]
        sums = dot(order, _real(a, of_x, channel), _real(b, of_w, channel), row, column,
                   bias if options["bias"] == "first" else None)
        results.append(sums if bias is None or options["bias"] == "first" else sums + bias)
    return np.concatenate(results)


def _real(stored: Array, tensor: Tensor, channel: Ints) -> Singles:
    """DequantizeLinear of factors [n, K], each row of its own channel."""
    quant = quant_of(tensor)
    scale, zero = quant.scale.astype(np.float32), quant.zero_point.astype(np.int32)
    if len(scale) > 1:
        scale, zero = scale[channel, None], zero[channel, None]
    values: Singles = (stored - zero).astype(np.float32) * scale
    return values


def _factors(options: dict[str, Any], x: Array, w: Array, shape: tuple[int, ...],
             border: int) -> Callable[[Ints], Factors]:
    """How to find what elements (flat indices into a result of ``shape``) are sums of."""
    kind = Kind(options["kind"])
    if kind in (Kind.CONV, Kind.DEPTHWISE_CONV):
        return _of_convolution(options, x, w, shape, border)
    if kind == Kind.FULLY_CONNECTED:
        rows = x.reshape(-1, w.shape[1])

        def factors(some: Ints) -> Factors:
            row, column = np.divmod(some, len(w))
            return rows[row], w[column], row, column, column
        return factors

    first = np.broadcast_to(x, (*shape[:-2], *x.shape[-2:]))
    second = np.broadcast_to(w, (*shape[:-2], *w.shape[-2:])).swapaxes(-1, -2)
    single = prod(w.shape[:-2]) == 1  # all rows of all batches are one product

    def product_factors(some: Ints) -> Factors:
        *batch, row, column = np.unravel_index(some, shape)
        place = some // shape[-1] if single else row
        return first[*batch, row], second[*batch, column], place, column, column
    return product_factors


def _of_convolution(options: dict[str, Any], x: Array, w: Array, shape: tuple[int, ...],
                    border: int) -> Callable[[Ints], Factors]:
    kind = Kind(options["kind"])
    taps = filters(kind, w)
    seen = windows(x, w.shape[1:3], options["stride"], options["dilation"], options["padding"], border)
    depth = w.shape[3] if kind == Kind.CONV else 1
    share = shape[3] * depth // x.shape[3]  # output channels of a group

    def factors(some: Ints) -> Factors:
        image, y, x0, channel = np.unravel_index(some, shape)
        inputs = channel[:, None] // share * depth + np.arange(depth)
        pixels = seen[image[:, None], y[:, None], x0[:, None], :, :, inputs]  # [n, depth, ky, kx]
        return pixels.reshape(len(some), -1), taps[channel], channel % share, y * shape[2] + x0, channel
    return factors
