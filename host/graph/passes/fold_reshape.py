"""Shortens chains of RESHAPE, and bypasses one that changes nothing."""
from dataclasses import replace

import numpy as np

from ..ir import Graph, Kind, Op, Tensor


def _alike(a: Tensor, b: Tensor) -> bool:
    """Same shape and quantisation: an operator cannot tell one from the other."""
    if a.shape != b.shape or (a.quant is None) != (b.quant is None):
        return False
    if a.quant is None or b.quant is None:
        return True
    return (a.quant.axis == b.quant.axis and np.array_equal(a.quant.scale, b.quant.scale)
            and np.array_equal(a.quant.zero_point, b.quant.zero_point))


def fold_reshape(graph: Graph) -> Graph:
    """What is bypassed stays behind for remove_dead."""
    origin: dict[int | None, int | None] = {}  # a reshaped tensor -> the one its values come from
    bypass: dict[int | None, int | None] = {}  # the same, where users may read the origin instead
    ops: list[Op] = []
    for op in graph.ops:
        inputs = tuple(bypass.get(i, i) for i in op.inputs)
        if op.kind == Kind.RESHAPE:
            inputs = (origin.get(inputs[0], inputs[0]),)
            source, target = inputs[0], op.outputs[0]
            assert source is not None
            origin[target] = source
            if _alike(graph.tensors[source], graph.tensors[target]):
                bypass[target] = source
        ops.append(replace(op, inputs=inputs))
    return replace(graph, ops=tuple(ops))
