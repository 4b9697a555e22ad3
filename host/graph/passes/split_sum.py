"""Cuts a sum that no record of the fabric equals into two that some do.

TFLite rounds ties of a sum away from zero, so on either side of it to the other side. Where sums come within
the last bit of a tie on both sides, no plane (numerics.Add) rounds all of them right, but one plane does for
each side. Three ADDs or SUBs give the same values as the one::

    below = min(a + b, 0)      above = max(a + b, 0)      below + above

where the limits are clamps to the zero point, and the last sum, whose scales are all the same, is exact.
"""
from dataclasses import replace

from ...lower.layers import BYTES, value_range
from ...lower.pairwise import sum_record
from ..ir import Graph, Kind, Op, Tensor


def split_sum(graph: Graph) -> Graph:
    """One in fifty sums or so needs it. New tensors come after all others."""
    if graph.framework != "tflite":
        return graph
    tensors, ops = list(graph.tensors), list[Op]()
    for op in graph.ops:
        if op.kind not in (Kind.ADD, Kind.SUB) or not _computed(graph, op) or _has_record(graph, op):
            ops.append(op)
            continue
        out = graph.tensors[op.outputs[0]]
        assert out.quant is not None
        zero = int(out.quant.zero_point[0])
        below, above = (replace(op, outputs=(len(tensors) + i,), attrs={**op.attrs, **limit})
                        for i, limit in enumerate(({"high": zero}, {"low": zero})))
        halves = [Tensor(f"{out.name} ({side})", out.shape, out.dtype, out.quant)
                  for side in ("below", "above")]
        draft = replace(graph, tensors=(*tensors, *halves))
        if not op.attrs["low"] < zero < op.attrs["high"] or not all(
                _has_record(draft, half) for half in (below, above)):
            ops.append(op)
            continue
        tensors += halves
        ops += [below, above, replace(op, kind=Kind.ADD, source="ADD", inputs=below.outputs + above.outputs)]
    return replace(graph, tensors=tuple(tensors), ops=tuple(ops))


def _computed(graph: Graph, op: Op) -> bool:
    """Whether the fabric may see a sum of two images in it."""
    operands = [graph.tensors[t] for t in op.inputs if t is not None]
    return len(set(op.inputs)) == 2 and all(
        t.data is None and t.dtype in BYTES and len(t.shape) <= 4 for t in operands)


def _has_record(graph: Graph, op: Op) -> bool:
    return any(sum_record(graph, op, value_range(graph, tensor), q) is not None
               for q, tensor in enumerate(op.inputs) if tensor is not None)

