"""Executes a Plan in plain NumPy, a layer at a time: what lowering means, before any scheduling."""
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..graph.ir import Array
from ..reference import run_op
from .plan import Alias, HostStep, Layer, Plan


def run_layer(layer: Layer, x: npt.NDArray[np.int8], other: npt.NDArray[np.int8] | None = None, *,
              acc_width: int = 32) -> npt.NDArray[np.int8]:
    """Output image of a layer from its input image (and the one it adds), by the contract's rounding."""
    height, width, channels = layer.out_shape
    top, bottom, left, right = layer.padding
    padded = np.pad(x.reshape(layer.in_shape).astype(np.int64), ((top, bottom), (left, right), (0, 0)),
                    constant_values=layer.pad_value)
    (stride_y, stride_x), (dilation_y, dilation_x) = layer.stride, layer.dilation
    acc = np.zeros(layer.out_shape, np.int64)
    for ky in range(layer.kernel[0]):
        for kx in range(layer.kernel[1]):
            taps = padded[ky * dilation_y:, kx * dilation_x:][:(height - 1) * stride_y + 1:stride_y,
                                                              :(width - 1) * stride_x + 1:stride_x]
            if layer.mode == "dense":
                acc += taps @ layer.weights[ky, kx].astype(np.int64)
            elif layer.mode == "diagonal":
                acc += np.repeat(taps, layer.multiplier, axis=2) * layer.weights[ky, kx]
            else:
                acc += taps * layer.weights
    limits = {"zero": layer.zero, "low": layer.low, "high": layer.high, "acc_width": acc_width}
    q = np.stack([channel.apply(acc[..., n], **limits) for n, channel in enumerate(layer.channels)], axis=-1)
    if layer.add is not None:
        assert other is not None, f"{layer.name} adds a second image"
        q = layer.add.apply(q, other.reshape(layer.out_shape).astype(np.int64))
    return q.astype(np.int8)


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
            other = None if step.other is None else values[step.other]
            made = run_layer(step, values[step.input], other, acc_width=acc_width)
            values[step.output] = made.reshape(graph.tensors[step.output].shape)
    return values
