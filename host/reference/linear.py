"""Convolutions, fully connected layers and matrix products: exact sums, then the framework's rounding.

Sources: ONNX Runtime's MlasRequantizeOutput (mlas/lib/quantize.cpp), which QLinearConv, QLinearMatMul and
QGemm end in; tflite/kernels/internal/reference/integer_ops/{conv,depthwise_conv,fully_connected}.h,
tflite/kernels/kernel_util.cc (PopulateConvolutionQuantizationParams, GetQuantizedConvolutionMultipler).
"""
from collections.abc import Callable

import numpy as np

from ..graph.ir import Array, Graph, Kind, Op, Tensor
from .float_bound import bound_function
from .operands import quant_of, tensor_of, value_of
from .rounding import Floats, Ints, multiply_double, multiply_real, quantize_multiplier, wrap32
from .windows import windows


def _operands(graph: Graph, op: Op) -> tuple[Tensor, Tensor, Tensor]:
    return tensor_of(graph, op.inputs[0]), tensor_of(graph, op.inputs[1]), tensor_of(graph, op.outputs[0])


def output_channels(op: Op, weights: Tensor) -> int:
    return weights.shape[-1] if op.kind in (Kind.DEPTHWISE_CONV, Kind.MATMUL) else weights.shape[0]


def real_scales(graph: Graph, op: Op) -> Floats:
    """input scale * weight scale / output scale of each output channel, in that order: in float64 for TFLite,
    in float32 for ONNX Runtime."""
    x, w, y = _operands(graph, op)
    if graph.framework == "onnx":
        of_x, of_w, of_y = (quant_of(tensor).scale.astype(np.float32) for tensor in (x, w, y))
        return np.broadcast_to((of_x * of_w / of_y).astype(np.float64), output_channels(op, w))
    scale: Floats = quant_of(x).scale[0] * quant_of(w).scale / quant_of(y).scale[0]
    return np.broadcast_to(scale, output_channels(op, w))


def channel_scales(graph: Graph, op: Op) -> list[tuple[int, int]]:
    """(multiplier, shift) of each output channel, exactly as the framework derives them from the scales.

    uint8 convolutions round input scale * weight scale to float32 first. FULLY_CONNECTED does not: LiteRT's
    uses no fixed-point multiplier, and TensorFlow Lite Micro's keeps the product in float64.
    """
    x, w, y = _operands(graph, op)
    scales = real_scales(graph, op)
    per_tensor = quant_of(w).scale.size == 1
    if x.dtype == "uint8":
        product = np.float32(quant_of(x).scale[0]) * np.float32(quant_of(w).scale[0])
        scales = np.full(scales.shape, float(product) / quant_of(y).scale[0])
    if per_tensor:
        return [quantize_multiplier(float(scales[0]))] * len(scales)
    return [quantize_multiplier(float(scale)) for scale in scales]


def requantize_function(graph: Graph, op: Op) -> Callable[[Ints], Ints]:
    """The framework's map from accumulators int64[..., channels] (bias added) to stored output values."""
    y = graph.tensors[op.outputs[0]]
    zero, low, high = int(quant_of(y).zero_point[0]), op.attrs["low"], op.attrs["high"]
    if "bound" in op.attrs:
        return bound_function(graph, op)
    if graph.framework == "onnx":
        slopes = real_scales(graph, op).astype(np.float32)

        def requantised(acc: Ints) -> Ints:
            stored: Ints = np.rint(acc.astype(np.float32) * slopes).astype(np.int64) + zero
            return np.clip(stored, low, high)

        return requantised
    if op.kind == Kind.FULLY_CONNECTED and graph.rounding == "litert":
        scales = real_scales(graph, op)
        return lambda acc: np.clip(multiply_real(acc, scales) + zero, low, high)
    multiplier, shift = np.array(channel_scales(graph, op), np.int64).T
    return lambda acc: np.clip(multiply_double(acc, multiplier, shift) + zero, low, high)


def accumulate(graph: Graph, op: Op, x: Array, w: Array, bias: Array | None) -> Ints:
    """Sums of products with the zero points taken off, plus bias: int64[..., output channels]."""
    x_tensor, w_tensor, y_tensor = _operands(graph, op)
    x_zero = int(quant_of(x_tensor).zero_point[0])
    w_zero = quant_of(w_tensor).zero_point[0]  # not 0 only where there is a single one
    if op.kind == Kind.MATMUL:
        product: Ints = np.matmul(x.astype(np.int64) - x_zero, w.astype(np.int64) - w_zero)
        return product
    # Integers below 2**24 (2**53) are exact in float32 (float64), so BLAS gives exact sums in any order.
    taps = w.size // output_channels(op, w_tensor)
    exact = "float32" if taps * 255 * 255 < 2**24 else "float64"
    centred_x = np.subtract(x, x_zero, dtype=exact)
    centred_w = np.subtract(w, w_zero, dtype=exact)
    if op.kind == Kind.FULLY_CONNECTED:
        sums = centred_x.reshape(-1, w.shape[1]) @ centred_w.T
    else:
        attrs = op.attrs
        seen = windows(centred_x, w.shape[1:3], attrs["stride"], attrs["dilation"], attrs["padding"], 0)
        if op.kind == Kind.CONV:
            groups = x.shape[3] // w.shape[3]
            sums = np.concatenate([
                part.reshape(-1, taps) @ filters.reshape(-1, taps).T for part, filters in
                zip(np.split(seen, groups, axis=-1), np.split(centred_w, groups), strict=True)], axis=-1)
        else:
            multiplier = w.shape[3] // x.shape[3]
            sums = np.zeros(y_tensor.shape, exact)
            for ky in range(w.shape[1]):
                for kx in range(w.shape[2]):
                    sums += np.repeat(seen[:, :, :, ky, kx], multiplier, axis=-1) * centred_w[0, ky, kx]
    acc = sums.reshape(y_tensor.shape).astype(np.int64)
    return wrap32(acc if bias is None else acc + bias)


def linear(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """The whole operator on stored values: x, weights, bias or None."""
    bias = values[2] if len(values) > 2 else None
    acc = accumulate(graph, op, value_of(values[0]), value_of(values[1]), bias)
    return (requantize_function(graph, op)(acc).astype(graph.tensors[op.outputs[0]].dtype),)
