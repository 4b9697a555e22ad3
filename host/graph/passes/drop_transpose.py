"""Drops a transposition that only means read: the same means are taken of the axes as they lie."""
from dataclasses import replace

import numpy as np

from ..ir import Graph, Kind, Op, Tensor
from ..shapes import permutation, reduced_axes


def drop_transpose(graph: Graph) -> Graph:
    """Where what is left after a chain of means lies in the same order with and without the transposition,
    as it does for a global mean taken one axis after the other. New tensors come after all others.
    """
    for op in graph.ops:
        if op.source == "TRANSPOSE":
            graph = _dropped(graph, op)
    return graph


def _dropped(graph: Graph, op: Op) -> Graph:
    """The graph without one transposition, if it can go."""
    means = _means(graph, op.outputs[0])
    (source, _), x = op.inputs, op.outputs[0]
    assert source is not None
    shape = list(graph.tensors[source].shape)
    axes = list(permutation(graph, op))  # which axis of the source each of the current tensor is
    tensors, made = list(graph.tensors), list[Op]()
    for mean in means:
        reduced = [axes[axis] for axis in reduced_axes(graph, mean)]
        if not mean.attrs["options"]["keep_dims"]:
            axes = [axis for axis in axes if axis not in reduced]
        for axis in reduced:
            shape[axis] = 1
        out = graph.tensors[mean.outputs[0]]
        places = np.array(sorted(reduced), np.int32)
        tensors += [Tensor(f"{out.name} (axes)", places.shape, "int32", data=places),
                    Tensor(f"{out.name} (untransposed)", tuple(shape), out.dtype, out.quant)]
        made.append(replace(mean, inputs=(source, len(tensors) - 2), outputs=(len(tensors) - 1,),
                            attrs={"options": {"keep_dims": True}}))
        source, x = len(tensors) - 1, mean.outputs[0]
    left = [axis for axis in axes if shape[axis] > 1]
    if not means or left != sorted(left):
        return graph
    made.append(Op(Kind.RESHAPE, "RESHAPE", (source,), (x,), {}, op.index))
    ops: list[Op] = []
    for other in graph.ops:
        if other is means[-1]:
            ops += made
        elif other is not op and not any(other is mean for mean in means):
            ops.append(other)
    return replace(graph, tensors=tuple(tensors), ops=tuple(ops))


def _means(graph: Graph, tensor: int) -> list[Op]:
    """The means that are taken of a tensor one after the other, while nobody else reads it."""
    found: list[Op] = []
    while tensor not in graph.outputs and len(readers := graph.uses(tensor)) == 1:
        reader = graph.ops[readers[0]]
        if reader.source != "MEAN" or reader.inputs[0] != tensor:
            break
        found.append(reader)
        tensor = reader.outputs[0]
    return found
