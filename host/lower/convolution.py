"""Operators with weights: convolutions of all kinds and fully connected layers."""
from dataclasses import replace
from math import prod
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...rtl.contract.fabric import Fabric
from ..graph.ir import Graph, Kind, Op, Tensor
from ..reference import channel_scales, real_scales, requantize_function
from .layers import (
    INT8,
    LAYERS_MOST,
    Draft,
    Refused,
    first,
    flip,
    image,
    limits,
    need_bytes,
    need_computed,
    operand,
    producer,
    requantise,
    several,
    value_range,
    zero_point,
)
from .plan import Layer, Part, Proof, Shape
from .requantise import Ints, reach

Weights = npt.NDArray[np.int16]


def lower_convolution(draft: Draft, position: int) -> None:
    """CONV and DEPTHWISE_CONV. A convolution in groups is a layer for each group."""
    graph = draft.graph
    op = graph.ops[position]
    x, weights, out = _operands(graph, op)
    in_shape = height, width, channels = image(x.shape)
    taps, zero = _weights(draft.fabric, weights)
    if op.kind == Kind.CONV:
        taps = taps.transpose(1, 2, 3, 0)
    else:  # one input channel for each group of output channels
        taps = taps.transpose(1, 2, 0, 3)
    kh, kw, depth, outputs = taps.shape
    if channels % depth or outputs % (channels // depth):
        raise Refused(f"{outputs} output channels of {depth} inputs each do not share {channels} channels")
    groups = channels // depth
    mode: Literal["dense", "depthwise"] = "dense"
    if depth == 1 < groups:
        mode, taps = "depthwise", taps[:, :, 0]
    layer, proof = weighted_layer(
        draft, position, taps, zero, mode=mode, source=operand(op, 0), in_shape=in_shape,
        out_shape=image(out.shape), stride=op.attrs["stride"], dilation=op.attrs["dilation"],
        padding=op.attrs["padding"], multiplier=outputs // channels if mode == "depthwise" else 1)
    draft.layers[position], draft.proofs[position] = [layer], proof
    if mode == "dense" and groups > 1:
        draft.layers[position] = _split(layer, groups, depth)


def _split(layer: Layer, groups: int, depth: int) -> list[Layer]:
    """A layer for each group of output channels, which reads its own ``depth`` input channels."""
    height, width, outputs = layer.out_shape
    count = outputs // groups
    parts = []
    for group in range(groups):
        mine = slice(group * count, (group + 1) * count)
        parts.append(replace(
            layer, in_channel=group * depth, out_shape=(height, width, count), out_image=layer.out_shape,
            out_part=Part(channel=group * count), weights=np.ascontiguousarray(layer.weights[..., mine]),
            channels=layer.channels[mine]))
    return several(parts)


def lower_transposed(draft: Draft, position: int) -> None:
    """TRANSPOSE_CONV: outputs that lie a stride apart see the same taps of the kernel, so each such set is a
    convolution of its own, with the kernel backwards."""
    graph = draft.graph
    op = graph.ops[position]
    x, weights, out = _operands(graph, op)
    in_shape, whole = image(x.shape), image(out.shape)
    taps, zero = _weights(draft.fabric, weights)
    taps = taps.transpose(1, 2, 3, 0)
    stride, (top, _, left, _) = op.attrs["stride"], op.attrs["padding"]
    if prod(stride) > LAYERS_MOST:
        raise Refused(f"its stride of {stride} makes {prod(stride)} convolutions of it")
    layers, proofs = [], []
    for y in range(min(stride[0], whole[0])):
        rows, above, below, height = _phase(y, top, stride[0], taps.shape[0], in_shape[0], whole[0])
        for x0 in range(min(stride[1], whole[1])):
            columns, before, after, width = _phase(x0, left, stride[1], taps.shape[1], in_shape[1], whole[1])
            mine = taps[rows][:, columns]
            if not mine.size:  # a stride beyond the kernel: bias alone
                mine = np.zeros((max(len(mine), 1), max(mine.shape[1], 1), *taps.shape[2:]), np.int16)
            layer, proof = weighted_layer(
                draft, position, mine, zero, mode="dense", source=operand(op, 0), in_shape=in_shape,
                out_shape=(height, width, whole[2]), padding=(above, below, before, after))
            layers.append(replace(layer, out_image=whole, out_part=Part(y, x0, *stride)))
            proofs.append(proof)
    draft.layers[position] = several(layers)
    draft.proofs[position] = replace(proofs[0], text="; ".join(proof.text for proof in proofs))


def _phase(place: int, before: int, stride: int, kernel: int, size: int,
           outputs: int) -> tuple[list[int], int, int, int]:
    """For outputs place, place + stride, … along one axis: taps, padding on both sides, and their number.

    Output ``place + stride*j`` sees tap ``first + stride*m`` at element ``j + ahead - m``.
    """
    ahead, first = divmod(place + before, stride)
    taps = [*range(first, kernel, stride)][::-1]
    length, count = max(len(taps), 1), len(range(place, outputs, stride))
    lead = length - 1 - ahead
    return taps, lead, count - 1 + length - size - lead, count


def lower_fully_connected(draft: Draft, position: int) -> None:
    """A 1x1 convolution over the rows; of an image that it flattens, a convolution as large as the image.

    A reshape that only flattens an image for this operator is computed along with it.
    """
    graph = draft.graph
    op = graph.ops[position]
    x, weights, out = _operands(graph, op)
    source = operand(op, 0)
    folded: tuple[int, ...] = ()
    taps, zero = _weights(draft.fabric, weights)
    outputs, inputs = taps.shape
    before = producer(graph, source)
    if before in draft.aliases and graph.uses(source) == [position]:
        whole = graph.tensors[operand(graph.ops[before], 0)]
        if source not in graph.outputs and len(whole.shape) == 4 and whole.shape[0] == 1 and (
                prod(whole.shape[1:3]) > 1 and whole.size == inputs):
            x, source, folded = whole, operand(graph.ops[before], 0), (before,)
    height, width, channels = image(x.shape)
    if channels == inputs and image(out.shape) == (height, width, outputs):
        kernel = (1, 1)
    elif x.size == inputs and image(out.shape) == (1, 1, outputs):
        kernel = (height, width)
    else:
        raise Refused(f"rows of {inputs} values do not lie along the pixels of a "
                      f"{height}x{width}x{channels} image")
    taps = taps.reshape(outputs, *kernel, channels).transpose(1, 2, 3, 0)
    layer, draft.proofs[position] = weighted_layer(
        draft, position, taps, zero, mode="dense", source=source, in_shape=(height, width, channels),
        out_shape=image(out.shape), folded=folded)
    draft.layers[position] = [layer]
    for alias in folded:
        del draft.aliases[alias]


def weighted_layer(draft: Draft, position: int, taps: Weights, weight_zero: int, *,
                   mode: Literal["dense", "depthwise"], source: int, in_shape: Shape, out_shape: Shape,
                   stride: tuple[int, int] = (1, 1), dilation: tuple[int, int] = (1, 1),
                   padding: tuple[int, int, int, int] = (0, 0, 0, 0), multiplier: int = 1,
                   folded: tuple[int, ...] = ()) -> tuple[Layer, Proof]:
    """A layer whose sums are weighted: taps are [kh, kw, (inputs,) outputs], zero point subtracted.

    The input's zero point is folded into the bias: sum (x - zx)*w + bias = sum x*w + (bias - zx * sum w).
    """
    graph = draft.graph
    op = graph.ops[position]
    x, out = graph.tensors[source], graph.tensors[op.outputs[0]]
    pad_value, zero = zero_point(x), zero_point(out)
    flat = taps.reshape(-1, taps.shape[-1])
    bias = _bias(graph, op, flat.shape[1]) - pad_value * flat.sum(axis=0, dtype=np.int64)
    if (c := first(np.abs(bias) >= 2**31)) is not None:
        raise Refused(f"channel {c}: the bias with the input's zero point folded in is {bias[c]}, more than "
                      "32 bits hold")
    x_low, x_high = value_range(graph, source)
    if any(padding):
        x_low, x_high = min(x_low, pad_value), max(x_high, pad_value)
    least, most = reach(flat, bias, x_low, x_high)

    # Scales of 1 and more: the kernels shift the sum left first, and what then exceeds 32 bits wraps; a
    # wrapping formula would not be monotone.
    left = np.zeros(1, np.int64) if graph.framework == "onnx" else \
        np.array([max(shift, 0) for _, shift in channel_scales(graph, op)], np.int64)
    left = np.broadcast_to(left, least.shape)
    if (c := first(np.maximum(-least, most) >= (np.int64(1) << (31 - left)))) is not None:
        raise Refused(f"channel {c}: sums in [{least[c]}, {most[c]}] times 2**{left[c]} overflow the "
                      "framework's 32 bits")
    low, high = limits(op, out)
    stored = requantize_function(graph, op)
    channels, proof = requantise(draft.fabric, position, lambda sums: stored(sums) - flip(out), bias, least,
                                 most, real_scales(graph, op), zero, low, high)
    return Layer(
        ops=(position, *folded), name=out.name,
        source="+".join(graph.ops[i].source for i in (*folded, position)), mode=mode, input=source,
        output=op.outputs[0], in_shape=in_shape, out_shape=out_shape, kernel=(taps.shape[0], taps.shape[1]),
        stride=stride, dilation=dilation, padding=padding, multiplier=multiplier,
        weights=np.ascontiguousarray(taps), weight_zero=weight_zero, channels=channels, zero=zero, low=low,
        high=high, pad_value=pad_value, macs=graph.macs(op)), proof


def _operands(graph: Graph, op: Op) -> tuple[Tensor, Tensor, Tensor]:
    """Input, weights and output of a weighted operator."""
    x, weights = graph.tensors[operand(op, 0)], graph.tensors[operand(op, 1)]
    out = graph.tensors[op.outputs[0]]
    need_bytes(x, weights, out)
    need_computed(x)
    return x, weights, out


def _weights(fabric: Fabric, tensor: Tensor) -> tuple[Weights, int]:
    """Weights with their zero point subtracted, and what to add so that they are int8 again: nothing where
    they are int8 anyway."""
    if tensor.data is None:
        raise Refused(f"weights {tensor.name!r} are computed, not constant")
    zeros = np.zeros(1, np.int64) if tensor.quant is None else np.unique(tensor.quant.zero_point)
    if len(zeros) > 1:
        raise Refused(f"weights {tensor.name!r} have zero points from {zeros[0]} to {zeros[-1]}; the array "
                      "takes one for all channels")
    zero = int(zeros[0])
    taps = (tensor.data.astype(np.int16) - np.int16(zero)).reshape(tensor.shape)
    if taps.min(initial=0) >= INT8[0] and taps.max(initial=0) <= INT8[1]:
        return taps, 0
    if fabric.weight_bits < 9:
        raise Refused(f"weights {tensor.name!r} reach {taps.min()} to {taps.max()} less their zero point of "
                      f"{zero}; that takes a fabric with weight_bits = 9, this one has {fabric.weight_bits}")
    return taps, zero - flip(tensor)


def _bias(graph: Graph, op: Op, channels: int) -> Ints:
    if len(op.inputs) < 3 or op.inputs[2] is None:
        return np.zeros(channels, np.int64)
    tensor = graph.tensors[op.inputs[2]]
    if tensor.data is None:
        raise Refused(f"bias {tensor.name!r} is computed, not constant")
    return np.broadcast_to(np.asarray(tensor.data, np.int64).reshape(-1), (channels,))
