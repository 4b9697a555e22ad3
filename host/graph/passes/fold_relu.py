"""Moves a rectifier that stands alone into the clamp of the operator before it."""
from dataclasses import replace

import numpy as np

from ...reference.unary import RELU_LIMITS, relu_limits
from ..ir import Graph, Op, Tensor


def _same_quant(a: Tensor, b: Tensor) -> bool:
    if a.quant is None or b.quant is None:
        return False
    return (np.array_equal(a.quant.scale, b.quant.scale)
            and np.array_equal(a.quant.zero_point, b.quant.zero_point))


def fold_relu(graph: Graph) -> Graph:
    """Only where that is exact: the quantisation is the same on both sides, so that the rectifier is nothing
    but a clamp, and nobody else reads the value before it.
    """
    ops = list(graph.ops)
    makers = {index: position for position, op in enumerate(ops) for index in op.outputs}
    for position, op in enumerate(graph.ops):
        before = makers.get(op.inputs[0]) if op.source in RELU_LIMITS and op.inputs[0] is not None else None
        if before is None or "low" not in ops[before].attrs:
            continue
        x, y = ops[before].outputs[0], op.outputs[0]
        if x in graph.outputs or len(graph.uses(x)) != 1:
            continue
        if not _same_quant(graph.tensors[x], graph.tensors[y]):
            continue
        ops[before] = _clamped(ops[before], *relu_limits(op.source, graph.tensors[y]), y)
        makers[y] = before
        ops[position] = replace(op, outputs=())
    return replace(graph, ops=tuple(op for op in ops if op.outputs))


def _clamped(op: Op, low: int, high: int, output: int) -> Op:
    limits = {name: min(max(op.attrs[name], low), high) for name in ("low", "high")}
    return replace(op, outputs=(output,), attrs={**op.attrs, **limits})
