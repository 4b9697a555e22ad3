"""One operator to one Layer: what the fabric computes, and the reason where it does not."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...rtl.contract.fabric import Fabric
from ...rtl.contract.numerics import PRODUCT_DROP, Channel
from ..graph.ir import Graph, Kind, Op, Tensor
from ..reference import average_pool_function, channel_scales, real_scales, requantize_function
from .plan import Alias, Layer, Proof
from .requantise import Function, Ints, Solution, reach, solve

INT8 = (-128, 127)
IDENTITY = Channel(bias=0, mult=2**PRODUCT_DROP, round_pos=0, round_neg=0, shift=0)
"""Passes a stored value on unchanged (with zero point 0)."""


class Refused(Exception):
    """The fabric does not compute an operator; the text is the reason for the partition report."""

    def __init__(self, reason: str, proof: Proof | None = None):
        super().__init__(reason)
        self.proof = proof


@dataclass(frozen=True)
class Lowered:
    """A layer and why its numbers are right."""

    layer: Layer
    proof: Proof


def image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """A tensor's shape as height, width, channels; vectors are rows of an image one pixel wide."""
    if len(shape) == 4:
        if shape[0] != 1:
            raise Refused(f"holds a batch of {shape[0]} images; the fabric takes one at a time")
        return shape[1:]
    if len(shape) > 4:
        raise Refused(f"has {len(shape)} dimensions; the fabric works on images (height, width, channels)")
    *front, channels = shape or (1,)
    rows, columns, *_ = (*front, 1, 1)
    return rows, columns, channels


def producer(graph: Graph, tensor: int) -> int | None:
    """Position of the operator that computes a tensor."""
    return next((i for i, op in enumerate(graph.ops) if tensor in op.outputs), None)


def value_range(graph: Graph, tensor: int) -> tuple[int, int]:
    """Least and greatest stored value an int8 tensor can hold: the limits of the operator that made it."""
    made_by = producer(graph, tensor)
    if made_by is None:
        return INT8
    op = graph.ops[made_by]
    if op.kind == Kind.RESHAPE and op.inputs[0] is not None:
        return value_range(graph, op.inputs[0])
    return max(op.attrs.get("low", INT8[0]), INT8[0]), min(op.attrs.get("high", INT8[1]), INT8[1])


def lower_op(graph: Graph, fabric: Fabric, position: int) -> Lowered | Alias:
    """What the fabric does for one operator.

    Raises
    ------
    Refused
        With the reason.
    """
    op = graph.ops[position]
    if op.kind not in RULES:
        raise Refused(f"the fabric has no {op.source}")
    return RULES[op.kind](graph, fabric, position)


def lower_convolution(graph: Graph, fabric: Fabric, position: int) -> Lowered:
    """CONV on the dense array, DEPTHWISE_CONV on its diagonal."""
    op = graph.ops[position]
    x, weights, out = _operands(graph, op)
    height, width, channels = image(x.shape)
    taps = _weights(weights)
    if op.kind == Kind.CONV:
        if taps.shape[3] != channels:
            raise Refused(f"its {channels} input channels are convolved in groups of {taps.shape[3]}")
        taps = taps.transpose(1, 2, 3, 0)
    else:
        taps = taps[0]
        if taps.shape[-1] % channels:
            raise Refused(f"{taps.shape[-1]} output channels are no multiple of {channels} input channels")
    return _weighted_layer(
        graph, fabric, position, taps, mode="dense" if op.kind == Kind.CONV else "diagonal",
        source_tensor=_input(op, 0), in_shape=(height, width, channels), out_shape=image(out.shape),
        stride=op.attrs["stride"], dilation=op.attrs["dilation"], padding=op.attrs["padding"],
        multiplier=1 if op.kind == Kind.CONV else taps.shape[-1] // channels)


def lower_fully_connected(graph: Graph, fabric: Fabric, position: int) -> Lowered:
    """A 1x1 convolution over the rows; of an image that it flattens, a convolution as large as the image.

    A reshape that only flattens an image for this operator is computed along with it.
    """
    op = graph.ops[position]
    x, weights, out = _operands(graph, op)
    source = _input(op, 0)
    folded: tuple[int, ...] = ()
    taps = _weights(weights)
    outputs, inputs = taps.shape
    before = producer(graph, source)
    if before is not None and graph.ops[before].kind == Kind.RESHAPE and graph.uses(source) == [position]:
        whole = graph.tensors[_input(graph.ops[before], 0)]
        if source not in graph.outputs and len(whole.shape) == 4 and whole.shape[0] == 1 and (
                prod(whole.shape[1:3]) > 1 and whole.size == inputs):
            x, source, folded = whole, _input(graph.ops[before], 0), (before,)
    height, width, channels = image(x.shape)
    if channels == inputs and out.size == height * width * outputs:
        kernel, out_shape = (1, 1), (height, width, outputs)
    elif x.size == inputs:
        kernel, out_shape = (height, width), (1, 1, outputs)
    else:
        raise Refused(f"rows of {inputs} values do not lie along the pixels of a "
                      f"{height}x{width}x{channels} image")
    return _weighted_layer(
        graph, fabric, position, taps.reshape(outputs, *kernel, channels).transpose(1, 2, 3, 0), mode="dense",
        source_tensor=source, in_shape=(height, width, channels), out_shape=out_shape, folded=folded)


def lower_average_pool(graph: Graph, fabric: Fabric, position: int) -> Lowered:
    """A window of ones; the requantiser divides by the count."""
    op = graph.ops[position]
    x, out = graph.tensors[_input(op, 0)], graph.tensors[op.outputs[0]]
    _need_int8(x, out)
    _need_computed(x)
    (rows, columns), (stride_y, stride_x) = op.attrs["window"], op.attrs["stride"]
    in_shape, out_shape = image(x.shape), image(out.shape)
    if any(op.attrs.get("padding", ())) or (out_shape[0] - 1) * stride_y + rows > in_shape[0] or (
            (out_shape[1] - 1) * stride_x + columns > in_shape[1]):
        raise Refused("windows at the border average fewer values than the others")
    count, channels = rows * columns, out_shape[2]
    low, high = op.attrs["low"], op.attrs["high"]
    function: Function = average_pool_function(count, low, high)
    no_bias = np.zeros(1, np.int64)
    least, most = reach(np.ones((count, 1), np.int8), no_bias, *value_range(graph, _input(op, 0)))
    one, proof = _requantise(fabric, position, function, no_bias, least, most, np.array([1 / count]), 0, low,
                             high, copies=channels)
    return Lowered(Layer(
        ops=(position,), name=out.name, source=op.source, mode="window", input=_input(op, 0),
        output=op.outputs[0], in_shape=in_shape, out_shape=out_shape, kernel=(rows, columns),
        stride=(stride_y, stride_x), weights=np.ones(channels, np.int8), channels=one * channels, zero=0,
        low=low, high=high), proof)


def lower_reshape(graph: Graph, fabric: Fabric, position: int) -> Alias:
    """No work."""
    op = graph.ops[position]
    _need_computed(graph.tensors[_input(op, 0)])
    return Alias(position, _input(op, 0), op.outputs[0])


def identity_layer(graph: Graph, position: int, source: int) -> Layer:
    """A layer that passes ``source`` on unchanged to the output of an operator of the same shape."""
    op, out = graph.ops[position], graph.tensors[graph.ops[position].outputs[0]]
    shape = image(out.shape)
    return Layer(
        ops=(position,), name=out.name, source=op.source, mode="window", input=source, output=op.outputs[0],
        in_shape=shape, out_shape=shape, kernel=(1, 1), weights=np.ones(shape[2], np.int8),
        channels=(IDENTITY,) * shape[2], zero=0, low=INT8[0], high=INT8[1])


RULES: dict[Kind, Callable[[Graph, Fabric, int], Lowered | Alias]] = {
    Kind.CONV: lower_convolution,
    Kind.DEPTHWISE_CONV: lower_convolution,
    Kind.FULLY_CONNECTED: lower_fully_connected,
    Kind.AVERAGE_POOL: lower_average_pool,
    Kind.RESHAPE: lower_reshape,
}


def _weighted_layer(graph: Graph, fabric: Fabric, position: int, taps: npt.NDArray[np.int8], *,
                    mode: Literal["dense", "diagonal"], source_tensor: int, in_shape: tuple[int, int, int],
                    out_shape: tuple[int, int, int],
                    stride: tuple[int, int] = (1, 1), dilation: tuple[int, int] = (1, 1),
                    padding: tuple[int, int, int, int] = (0, 0, 0, 0), multiplier: int = 1,
                    folded: tuple[int, ...] = ()) -> Lowered:
    """A layer whose sums are weighted: taps are [kh, kw, (Cin,) Cout].

    The input's zero point is folded into the bias: sum (x - zx)*w + bias = sum x*w + (bias - zx * sum w).
    """
    op = graph.ops[position]
    x, out = graph.tensors[source_tensor], graph.tensors[op.outputs[0]]
    pad_value, zero = _zero_point(x), _zero_point(out)
    flat = taps.reshape(-1, taps.shape[-1])
    bias = _bias(graph, op, flat.shape[1]) - pad_value * flat.sum(axis=0, dtype=np.int64)
    if (c := _first(np.abs(bias) >= 2**31)) is not None:
        raise Refused(f"channel {c}: the bias with the input's zero point folded in is {bias[c]}, more than "
                      "32 bits hold")
    x_low, x_high = value_range(graph, source_tensor)
    if any(padding):
        x_low, x_high = min(x_low, pad_value), max(x_high, pad_value)
    least, most = reach(flat, bias, x_low, x_high)

    # Scales of 1 and more: the kernels shift the sum left first, and what then exceeds 32 bits wraps; a
    # wrapping formula would not be monotone.
    left = np.array([max(shift, 0) for _, shift in channel_scales(graph, op)], np.int64)
    if (c := _first(np.maximum(-least, most) >= (np.int64(1) << (31 - left)))) is not None:
        raise Refused(f"channel {c}: sums in [{least[c]}, {most[c]}] times 2**{left[c]} overflow the "
                      "framework's 32 bits")
    low, high = op.attrs["low"], op.attrs["high"]
    channels, proof = _requantise(fabric, position, requantize_function(graph, op), bias, least, most,
                                  real_scales(graph, op), zero, low, high)
    source = "+".join(graph.ops[i].source for i in (*folded, position))
    return Lowered(Layer(
        ops=(position, *folded), name=out.name, source=source, mode=mode, input=source_tensor,
        output=op.outputs[0], in_shape=in_shape, out_shape=out_shape, kernel=(taps.shape[0], taps.shape[1]),
        stride=stride, dilation=dilation, padding=padding, multiplier=multiplier,
        weights=np.ascontiguousarray(taps), channels=channels, zero=zero, low=low, high=high,
        pad_value=pad_value, macs=graph.macs(op)), proof)


def _requantise(fabric: Fabric, position: int, function: Function, bias: Ints, least: Ints, most: Ints,
                scale: npt.NDArray[np.float64], zero: int, low: int, high: int,
                copies: int = 1) -> tuple[tuple[Channel, ...], Proof]:
    """Proved records of all channels; ``copies`` is for reports, when one channel stands for several."""
    limit = 2 ** (fabric.acc_width - 1)
    if (c := _first((least < -limit) | (most >= limit))) is not None:
        raise Refused(f"channel {c}: sums reach [{least[c]}, {most[c]}], beyond the fabric's "
                      f"{fabric.acc_width}-bit accumulators")
    solutions = solve(function, bias=bias, least=least, most=most, scale=scale, zero=zero, low=low, high=high)
    solved = [s for s in solutions if s is not None]
    proof = Proof(position, copies * len(solutions), copies * len(solved), describe(solutions, copies))
    if len(solved) < len(solutions):
        c = solutions.index(None)
        raise Refused(f"channel {c}: no multiplier and rounding equal the framework's on all sums in "
                      f"[{least[c]}, {most[c]}] (proved: {proof.proved} of {proof.channels} channels)", proof)
    return tuple(s.channel for s in solved), proof


def describe(solutions: Sequence[Solution | None], copies: int) -> str:
    """The proof in words; ``copies`` channels share each solution."""
    solved = [s for s in solutions if s is not None]
    text = f"{copies * len(solved)} of {copies * len(solutions)} channels proved equal"
    if not solved:
        return text
    least, most = min(s.least for s in solved), max(s.most for s in solved)
    fewest, greatest = min(s.thresholds for s in solved), max(s.thresholds for s in solved)
    steps = f"{greatest}" if fewest == greatest else f"{fewest} to {greatest}"
    return f"{text} over [{least}, {most}] ({steps} thresholds each)"


def _input(op: Op, operand: int) -> int:
    tensor = op.inputs[operand]
    assert tensor is not None, f"{op.label} lacks input {operand}"
    return tensor


def _operands(graph: Graph, op: Op) -> tuple[Tensor, Tensor, Tensor]:
    """Input, weights and output of a weighted operator."""
    x, weights = graph.tensors[_input(op, 0)], graph.tensors[_input(op, 1)]
    out = graph.tensors[op.outputs[0]]
    _need_int8(x, weights, out)
    _need_computed(x)
    return x, weights, out


def _need_int8(*tensors: Tensor) -> None:
    for tensor in tensors:
        if tensor.dtype != "int8":
            raise Refused(f"{tensor.name!r} is {tensor.dtype}; the fabric computes on int8")


def _need_computed(tensor: Tensor) -> None:
    if tensor.data is not None:
        raise Refused(f"works on the constant {tensor.name!r}; the fabric works on what the network computes")


def _weights(tensor: Tensor) -> npt.NDArray[np.int8]:
    if tensor.data is None:
        raise Refused(f"weights {tensor.name!r} are computed, not constant")
    if tensor.quant is not None and tensor.quant.zero_point.any():
        raise Refused(f"weights {tensor.name!r} have zero point {tensor.quant.zero_point.flat[0]}; the array "
                      "multiplies by weights with zero point 0")
    return np.asarray(tensor.data, np.int8).reshape(tensor.shape)


def _bias(graph: Graph, op: Op, channels: int) -> Ints:
    if len(op.inputs) < 3 or op.inputs[2] is None:
        return np.zeros(channels, np.int64)
    tensor = graph.tensors[op.inputs[2]]
    if tensor.data is None:
        raise Refused(f"bias {tensor.name!r} is computed, not constant")
    return np.broadcast_to(np.asarray(tensor.data, np.int64).reshape(-1), (channels,))


def _zero_point(tensor: Tensor) -> int:
    return 0 if tensor.quant is None else int(tensor.quant.zero_point.flat[0])


def _first(condition: npt.NDArray[np.bool_]) -> int | None:
    """The first channel for which something holds."""
    return int(condition.argmax()) if condition.any() else None
