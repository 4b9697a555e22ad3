"""How far ONNX Runtime's float32 result can be from the real one, and what that makes of an integer sum.

The fabric knows the exact integer sum S of an operator whose framework adds up float32 numbers. Its real
result is ``r = xs*ws*S + bias``; the framework's is somewhere in ``[r - E, r + E]``. Quantising never
falls, so the stored result is between those of the two ends, and where these are the same it is known.

Derivation of E (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., 2.2 and 3.1). With
rounding to nearest, ``fl(z) = z + d`` where ``|d|`` is at most half of the last place of any bound on
``|z|``. So along the order of the sum (float_order.py) each number is ``z = p + e``: p a partial sum of
real products, which the ranges of the inputs and the weights bound, and e the errors of all roundings so
far. Each operation adds up the errors of its operands and half of the last place of ``max|p| + |e|``. For a
chain of n numbers that is the classical ``u * sum of |partial sums|``, and some four times less than the
simpler ``n*u * sum of |products|``. To it come the roundings of DequantizeLinear, which are known numbers.
QuantizeLinear's division is not part of E: correctly rounded, it never falls either.
"""
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...rtl.contract.numerics import PRODUCT_DROP
from ..graph.ir import Array, Graph, Kind, Op, Tensor
from .float_order import Order, Singles, sum_up
from .operands import quant_of, tensor_of
from .rounding import Floats, Ints

SLACK = 2.0**-30
"""Relative, for what float64 arithmetic on bounds loses itself."""
AT_ONCE = 2**22
"""Weights in memory as float64 at a time."""


def dequantised(stored: Array, tensor: Tensor) -> Singles:
    """DequantizeLinear: float32(stored - zero point) * float32 scale, rounded. Float tensors as they are."""
    if tensor.quant is None:
        return stored.astype(np.float32)
    quant = tensor.quant
    shape = [1] * stored.ndim
    if quant.axis is not None:
        shape[quant.axis] = -1
    centred = (stored.astype(np.int64) - quant.zero_point.reshape(shape)).astype(np.float32)
    values: Singles = centred * quant.scale.astype(np.float32).reshape(shape)
    return values


def quantised(real: npt.NDArray[np.floating] | np.floating, tensor: Tensor,
              activation: tuple[float, float] | None) -> Ints:
    """Activation, then QuantizeLinear: the nearest of float32(real / scale), halves to even, saturated.

    Of float32 numbers bit for bit; of float64 numbers it is a function that never falls, and the same one.
    """
    quant, limits = quant_of(tensor), np.iinfo(tensor.dtype)
    zero = int(quant.zero_point[0])
    if activation is not None:
        real = np.clip(real, np.float32(activation[0]), np.float32(activation[1]))
    with np.errstate(over="ignore"):
        steps = np.rint((real / quant.scale[0].astype(real.dtype)).astype(np.float32))
    stored: Ints = np.clip(steps, limits.min - zero, limits.max - zero).astype(np.int64) + zero
    return stored


# The bound

def half_of_last_place(size: Floats) -> Floats:
    """Most that rounding to float32 changes a number of at most this size."""
    exponent = np.frexp(size * (1 + SLACK))[1]
    bound: Floats = np.where(size > 0, np.ldexp(1.0, np.maximum(exponent - 25, -150)), 0.0)
    return np.where(size < 2.0**127, bound, np.inf)


@dataclass(frozen=True)
class Bounded:
    """Numbers in float32 that are within ``error`` of real ones in [low, high]."""

    low: Floats
    high: Floats
    error: Floats

    def rounded(self) -> "Bounded":
        size = np.maximum(np.abs(self.low), np.abs(self.high)) + self.error
        return Bounded(self.low, self.high, self.error + half_of_last_place(size))


@dataclass(frozen=True)
class Bounds:
    """The arithmetic of float_order on bounds: products in [low, high], both [K, channels]."""

    low: Floats
    high: Floats

    def product(self, k: int) -> Bounded:
        return Bounded(self.low[k], self.high[k], np.zeros_like(self.low[k])).rounded()

    def chain(self, ks: range) -> Bounded:
        total = self.product(ks[0])
        for k in ks[1:]:
            total = Bounded(total.low + self.low[k], total.high + self.high[k], total.error).rounded()
        return total

    def add(self, a: Bounded, b: Bounded) -> Bounded:
        return Bounded(a.low + b.low, a.high + b.high, a.error + b.error).rounded()

    def by_place(self, four: Bounded, two: Bounded, one: Bounded) -> Bounded:
        error = np.maximum(np.maximum(four.error, two.error), one.error)
        return Bounded(four.low, four.high, error)


def filters(kind: Kind, weights: Array) -> Array:
    """Weights [channels, K], with K as ONNX has it: input channel, then row and column of the kernel."""
    if kind == Kind.CONV:
        weights = weights.transpose(0, 3, 1, 2)
    elif kind == Kind.DEPTHWISE_CONV:
        weights = weights[0].transpose(2, 0, 1)
    return weights.reshape(len(weights), -1)


def bias_of(graph: Graph, op: Op) -> Singles | None:
    """The constant float32 bias of an operator, dequantised."""
    index = op.inputs[2] if len(op.inputs) > 2 else None
    if index is None:
        return None
    tensor = graph.tensors[index]
    assert tensor.data is not None, tensor.name
    return dequantised(tensor.data, tensor)


def _range(tensor: Tensor, least: int, most: int) -> tuple[float, float, float]:
    """Ends of a tensor's dequantised values, and the most that DequantizeLinear's rounding adds to one."""
    quant, stored = quant_of(tensor), np.arange(least, most + 1)
    values = dequantised(stored, tensor).astype(np.float64)
    exact = (stored - quant.zero_point[0]) * quant.scale[0]
    return float(values[0]), float(values[-1]), float(np.abs(values - exact).max())


def _by_channel(values: Array, channels: int) -> Array:
    """One for each channel, where there is one for all."""
    return np.broadcast_to(values, channels) if values.size == 1 else values


def float_error(graph: Graph, op: Op, order: Order, reach: tuple[int, int]) -> Floats:
    """E of each output channel, in real units; infinite where a sum might be.

    op : with attrs["float"]; its operands are x, weights (or a second computed matrix), bias or None
    reach : least and greatest stored value of x, that of its padding included
    """
    x, w = tensor_of(graph, op.inputs[0]), tensor_of(graph, op.inputs[1])
    inputs, quant, bias = _range(x, *reach), quant_of(w), bias_of(graph, op)
    place = op.attrs["float"]["bias"]
    if w.data is None:
        products, rounding = _of_ranges(inputs, _range(w, *_limits(w)), w.shape[-2])
        return np.broadcast_to(_error(order, *products, rounding, bias, place), w.shape[-1])
    taps = filters(op.kind, w.data)
    scale, zero = (_by_channel(values, len(taps)) for values in (quant.scale, quant.zero_point))
    step = max(AT_ONCE // taps.shape[1], 1)
    parts = []
    for first in range(0, len(taps), step):
        mine = slice(first, first + step)
        products, rounding = _of_weights(inputs, taps[mine].T.astype(np.int64) - zero[mine], scale[mine])
        parts.append(_error(order, *products, rounding, None if bias is None else bias[mine], place))
    return np.concatenate(parts)


def _limits(tensor: Tensor) -> tuple[int, int]:
    limits = np.iinfo(tensor.dtype)
    return int(limits.min), int(limits.max)


def _of_weights(inputs: tuple[float, float, float], centred: Ints,
                scale: Floats) -> tuple[tuple[Floats, Floats], Floats]:
    """Least and greatest products [K, channels] of dequantised factors, and the most by which the sum of all
    is off for their rounding: a*b - x*w = (a - x)*b + x*(b - w)."""
    low, high, off = inputs
    values = (centred.astype(np.float32) * scale.astype(np.float32)).astype(np.float64)
    ends = values * low, values * high
    most_off = off * np.abs(values).sum(0) + max(-low, high) * np.abs(values - centred * scale).sum(0)
    return (np.minimum(*ends), np.maximum(*ends)), most_off


def _of_ranges(first: tuple[float, float, float], second: tuple[float, float, float],
               depth: int) -> tuple[tuple[Floats, Floats], Floats]:
    """The same of two matrices of which only the ranges are known: [K, 1]."""
    corners = np.outer(first[:2], second[:2])
    off = first[2] * max(-second[0], second[1]) + max(-first[0], first[1]) * second[2]
    return (np.full((depth, 1), corners.min()), np.full((depth, 1), corners.max())), np.full(1, depth * off)


def _error(order: Order, low: Floats, high: Floats, rounding: Floats, bias: Singles | None,
           place: str | None) -> Floats:
    bounds = Bounds(low, high)
    kept = np.zeros(low.shape[1]) if bias is None else bias.astype(np.float64)
    fixed = Bounded(kept, kept, np.zeros_like(kept))
    total = sum_up(order, bounds, fixed if place == "first" else None)
    if place == "last":
        total = bounds.add(total, fixed)
    size = np.maximum(np.abs(total.low), np.abs(total.high)) + 2 * np.abs(kept)
    error: Floats = (total.error + rounding) * (1 + SLACK) + size * 2.0**-44
    return error


def bound_function(graph: Graph, op: Op) -> Callable[[Ints], Ints]:
    """Stored results of integer sums int64[..., channels] (integer bias added) that are nowhere above
    (attrs["bound"] "low") or below ("high") the framework's. They never fall as a sum grows.

    attrs["float"] : ``multiplier``, ``shift`` and ``rounding`` of each channel, as in a record of the fabric
        (numerics.Channel); graph/passes/bracket.py chooses them
    """
    y, options = tensor_of(graph, op.outputs[0]), op.attrs["float"]
    multiplier, shift, rounding = (
        np.array(options[name], np.int64) for name in ("multiplier", "shift", "rounding"))
    zero = int(quant_of(y).zero_point[0])

    def stored(sums: Ints) -> Ints:
        shifted = (((sums * multiplier) >> PRODUCT_DROP) + rounding) >> shift
        limited: Ints = np.clip(shifted + zero, op.attrs["low"], op.attrs["high"])
        return limited

    return stored
