"""Executes a Plan in plain NumPy, a layer at a time: what lowering means, before any scheduling."""
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..graph.ir import Array
from ..reference import run_op
from .layers import flip
from .plan import Alias, HostStep, Layer, Plan

Bytes = npt.NDArray[np.int8]


def run_layer(layer: Layer, x: Bytes, other: Bytes | None = None, *, acc_width: int = 32) -> Bytes:
    """What a layer makes (its part of the output) from the image that it reads and the one that it adds or
    multiplies by, by the contract's rounding."""
    acc = _sums(layer, x.reshape(layer.in_shape).astype(np.int64))
    if layer.add is not None or layer.multiply is not None:
        assert other is not None, f"{layer.name} takes a second image"
        operand = np.broadcast_to(other.reshape(layer.other_shape or layer.out_shape), layer.out_shape)
    if layer.multiply is not None:
        acc = layer.multiply.apply(acc, operand.astype(np.int64))
    limits = {"zero": layer.zero, "low": layer.low, "high": layer.high, "acc_width": acc_width}
    q = np.stack([channel.apply(acc[..., n], **limits) for n, channel in enumerate(layer.channels)], axis=-1)
    if layer.add is not None:
        q = layer.add.apply(q, operand.astype(np.int64))
    return q.astype(np.int8) if layer.table is None else layer.table.view(np.int8)[q & 255]


def take_weights(layer: Layer, value: Bytes) -> Layer:
    """A layer with the weights that the network has computed for it."""
    assert layer.computed is not None, f"{layer.name} has constant weights"
    index = layer.computed.index
    taken = value.reshape(-1)[index].astype(np.int16) - np.int16(layer.weight_zero)
    return layer.with_weights(np.where(index < 0, np.int16(0), taken))


def _sums(layer: Layer, x: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Partial sums (or greatest values) of the output's shape."""
    height, width, channels = layer.out_shape
    depth = {"dense": layer.weights.shape[-2:-1], "depthwise": (channels // layer.multiplier,)}
    (read,) = depth.get(layer.mode, (channels,))
    top, bottom, left, right = layer.padding
    x = x[max(-top, 0):, max(-left, 0):, layer.in_channel:layer.in_channel + read]
    x = x[:x.shape[0] + min(bottom, 0), :x.shape[1] + min(right, 0)]
    x = np.pad(x, ((max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0)), (0, 0)),
               constant_values=layer.pad_value)
    (stride_y, stride_x), (dilation_y, dilation_x) = layer.stride, layer.dilation
    acc = np.full(layer.out_shape, -128 if layer.maximum else 0, np.int64)
    for ky in range(layer.kernel[0]):
        for kx in range(layer.kernel[1]):
            taps = x[ky * dilation_y:, kx * dilation_x:][:(height - 1) * stride_y + 1:stride_y,
                                                         :(width - 1) * stride_x + 1:stride_x]
            if layer.mode == "dense":
                acc += taps @ layer.weights[ky, kx].astype(np.int64)
            elif layer.mode == "depthwise":
                acc += np.repeat(taps, layer.multiplier, axis=2) * layer.weights[ky, kx]
            elif layer.maximum:
                acc = np.maximum(acc, taps * layer.weights)
            else:
                acc += taps * layer.weights
    return acc


def place(layer: Layer, made: Bytes, before: Bytes | None) -> Bytes:
    """The output's image once a layer has written its part; ``before`` holds what others wrote."""
    whole = np.zeros(layer.image, np.int8) if before is None else before.reshape(layer.image).copy()
    if layer.fill is not None:
        whole[:] = layer.fill
    part = layer.out_part
    if part.turned:
        made = made.swapaxes(0, 1)
    height, width, channels = made.shape
    rows = slice(part.y, part.y + (height - 1) * part.step_y + 1, part.step_y)
    columns = slice(part.x, part.x + (width - 1) * part.step_x + 1, part.step_x)
    whole[rows, columns, part.channel:part.channel + channels] = made
    return whole


def run_plan(plan: Plan, inputs: Mapping[int, Array], *, acc_width: int = 32) -> dict[int, Array]:
    """Every tensor that the steps make, by its index, from the network's inputs by theirs."""
    graph = plan.graph
    values: dict[int, Array] = {t: np.asarray(tensor.data) for t, tensor in enumerate(graph.tensors)
                                if tensor.data is not None}
    values.update(inputs)
    for step in plan.steps:
        if isinstance(step, Alias):
            values[step.output] = values[step.input].reshape(graph.tensors[step.output].shape)
        elif isinstance(step, HostStep):
            op = graph.ops[step.op]
            results = run_op(graph, op, [None if t is None else values[t] for t in op.inputs])
            values.update(zip(op.outputs, results, strict=True))
        else:
            if step.computed is not None:
                step = take_weights(step, in_fabric(values[step.computed.tensor]))
            other = None if step.other is None else in_fabric(values[step.other])
            made = run_layer(step, in_fabric(values[step.input]), other, acc_width=acc_width)
            before = values.get(step.output)
            whole = place(step, made, None if before is None else in_fabric(before))
            out = graph.tensors[step.output]
            values[step.output] = (whole.view(np.uint8) ^ flip(out)).view(out.dtype).reshape(out.shape)
    return values


def in_fabric(value: Array) -> Bytes:
    """A tensor's bytes as they lie in the fabric's memories."""
    if value.dtype == np.uint8:
        return (value ^ 128).view(np.int8)
    return value.view(np.int8)
