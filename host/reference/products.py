"""TRANSPOSE_CONV, BATCH_MATMUL and L2_NORMALIZATION: sums of products beyond linear.py.

Sources: tflite/kernels/internal/reference/{transpose_conv,batch_matmul,l2normalization}.h and integer_ops/.
"""
from collections.abc import Callable

import numpy as np

from ..graph.ir import Array, Graph, Op
from .fixed_point import inverse_root
from .linear import requantize_function
from .operands import quant_of, tensor_of, value_of
from .rounding import Ints, multiply_double, quantize_multiplier, wrap32


def transpose_conv(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """Each input pixel adds its kernel, weighted, to the output around its place.

    Operands: x, weights[O,kh,kw,I], bias or None.
    """
    x, w, y = value_of(values[0]), value_of(values[1]), graph.tensors[op.outputs[0]]
    x_zero, w_zero = (quant_of(tensor_of(graph, i)).zero_point[0] for i in op.inputs[:2])
    # Integers below 2**53 are exact in float64.
    centred_x, centred_w = np.subtract(x, x_zero, dtype=np.float64), np.subtract(w, w_zero, dtype=np.float64)
    (stride_y, stride_x), (top, _, left, _) = op.attrs["stride"], op.attrs["padding"]
    sums = np.zeros(y.shape)
    for ky in range(w.shape[1]):
        rows = np.arange(x.shape[1]) * stride_y + ky - top
        inside_y = (rows >= 0) & (rows < y.shape[1])
        for kx in range(w.shape[2]):
            columns = np.arange(x.shape[2]) * stride_x + kx - left
            inside_x = (columns >= 0) & (columns < y.shape[2])
            part = centred_x[:, inside_y][:, :, inside_x] @ centred_w[:, ky, kx].T
            sums[:, rows[inside_y][:, None], columns[inside_x]] += part
    acc = sums.astype(np.int64)
    if len(values) > 2 and values[2] is not None:
        acc = acc + values[2]
    return (requantize_function(graph, op)(wrap32(acc)).astype(y.dtype),)


def product_scale(graph: Graph, op: Op) -> float:
    """Of BATCH_MATMUL: the product of the scales in float32, their quotient in float64, as in the kernel."""
    a, b, y = (quant_of(tensor_of(graph, i)).scale[0] for i in (*op.inputs[:2], op.outputs[0]))
    return float(np.float32(a) * np.float32(b)) / float(y)


def product_function(graph: Graph, op: Op) -> Callable[[Ints], Ints]:
    """The framework's map from BATCH_MATMUL's sums to stored values."""
    y = graph.tensors[op.outputs[0]]
    multiplier, shift = quantize_multiplier(product_scale(graph, op))
    zero, limits = int(quant_of(y).zero_point[0]), np.iinfo(y.dtype)

    def stored(sums: Ints) -> Ints:
        result: Ints = np.clip(multiply_double(sums, multiplier, shift) + zero, limits.min, limits.max)
        return result

    return stored


def batch_matmul(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    options, y = op.attrs["options"], graph.tensors[op.outputs[0]]
    given = [quant_of(tensor_of(graph, i)) for i in op.inputs]
    centred = [np.subtract(value_of(value), quant.zero_point[0], dtype=np.float64)
               for value, quant in zip(values, given, strict=True)]
    a, b = (np.swapaxes(value, -1, -2) if options[adjoint] else value
            for value, adjoint in zip(centred, ("adj_x", "adj_y"), strict=True))
    return (product_function(graph, op)(wrap32((a @ b).astype(np.int64))).astype(y.dtype),)


def l2_normalization(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """Along the last axis. Stored outputs have a scale of 1/128."""
    y = graph.tensors[op.outputs[0]]
    x = value_of(values[0]).astype(np.int64) - quant_of(tensor_of(graph, op.inputs[0])).zero_point[0]
    rows = x.reshape(-1, x.shape[-1])
    multiplier, shift = inverse_root(wrap32((rows * rows).sum(axis=1, keepdims=True)))
    if y.dtype == "int8":
        result = multiply_double(rows, multiplier, shift + 7)
    else:
        result = multiply_double(128 * rows, multiplier, shift) + 128
    limits = np.iinfo(y.dtype)
    return (np.clip(result, limits.min, limits.max).astype(y.dtype).reshape(y.shape),)
