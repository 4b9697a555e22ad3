"""MEAN on int8 and uint8. Source: tflite/kernels/internal/reference/reduce.h (QuantizedMeanOrSum)."""
from math import prod

import numpy as np

from ..graph.ir import Array, Graph, Op
from ..graph.shapes import reduced_axes
from .operands import quant_of, tensor_of, value_of
from .rounding import multiply_double, quantize_multiplier


def mean(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """The division is folded into the fixed-point multiplier."""
    x, y = value_of(values[0]), graph.tensors[op.outputs[0]]
    given, out, limits = quant_of(tensor_of(graph, op.inputs[0])), quant_of(y), np.iinfo(y.dtype)
    axes = reduced_axes(graph, op)
    count = prod(x.shape[axis] for axis in axes)
    multiplier, shift = quantize_multiplier(float(given.scale[0] / out.scale[0]))
    extra = min(count.bit_length() - 1, 32, 31 + shift)
    multiplier, shift = (multiplier << extra) // count, shift - extra
    total = x.astype(np.int64).sum(axis=axes) - count * given.zero_point[0]
    stored = multiply_double(total, multiplier, shift) + out.zero_point[0]
    return (np.clip(stored, limits.min, limits.max).astype(y.dtype).reshape(y.shape),)
