"""Residual adds: on the way out of the layer that makes one operand, or as a pass of their own."""
from dataclasses import replace

from ..graph.ir import Graph
from ..reference import add_function
from .add import solve_add
from .layers import Lowered, Refused, identity_layer, producer, value_range
from .plan import Layer, Proof


def lower_add(graph: Graph, position: int, layers: dict[int, Lowered]) -> tuple[int | None, Lowered]:
    """(position of the layer it rides on or None for a layer of its own, the layer that adds).

    A layer can take the add along if nothing else wants its own result. Of two such layers the one that lies
    deeper in the network takes it: the other can then run while the deeper one's input is still being made.

    Raises
    ------
    Refused
        With the reason.
    """
    op = graph.ops[position]
    operands = [t for t in op.inputs if t is not None]
    out = graph.tensors[op.outputs[0]]
    for tensor in (*(graph.tensors[t] for t in operands), out):
        if tensor.dtype != "int8":
            raise Refused(f"{tensor.name!r} is {tensor.dtype}; the fabric computes on int8")
        if tensor.data is not None:
            raise Refused(f"adds the constant {tensor.name!r}; the fabric adds what the network computes")
        if tensor.shape != out.shape:
            raise Refused(f"broadcasts {tensor.name!r} from {tensor.shape} to {out.shape}")

    depth = depths(graph)
    riders = []
    for q, other in ((0, 1), (1, 0)):
        made_by = producer(graph, operands[q])
        if (made_by in layers and layers[made_by].layer.add is None and graph.uses(operands[q]) == [position]
                and operands[q] not in graph.outputs and operands[0] != operands[1]):
            riders.append((depth[operands[q]], made_by, q, other))
    for _, made_by, q, other in sorted(riders, reverse=True):
        host = layers[made_by]
        lowered = _with_add(graph, position, host.layer, (host.layer.low, host.layer.high), q, other)
        if lowered is not None:
            layer, text = lowered
            layer = replace(layer, ops=(*host.layer.ops, position), source=f"{host.layer.source}+{op.source}")
            return made_by, Lowered(layer, replace(host.proof, text=f"{host.proof.text}; {text}"))
    lowered = _with_add(graph, position, identity_layer(graph, position, operands[0]),
                        value_range(graph, operands[0]), 0, 1)
    if lowered is None:
        raise Refused("no multipliers, constant and shift equal the framework's sum on all pairs of values")
    layer, text = lowered
    return None, Lowered(layer, Proof(position, len(layer.channels), len(layer.channels), text))


def depths(graph: Graph) -> dict[int, int]:
    """Length of the longest way from an input of the network to each computed tensor, in operators."""
    depth: dict[int, int] = {}
    for op in graph.ops:
        here = 1 + max((depth.get(t, 0) for t in op.inputs if t is not None), default=0)
        depth.update(dict.fromkeys(op.outputs, here))
    return depth


def _with_add(graph: Graph, position: int, layer: Layer, q_range: tuple[int, int], q: int,
              other: int) -> tuple[Layer, str] | None:
    """The layer with the add behind it, if there is an exact one; q and other are operand numbers."""
    op = graph.ops[position]
    out = graph.tensors[op.outputs[0]]
    tensors = [t for t in op.inputs if t is not None]
    function = add_function(graph, op)
    slope_q, slope_other = (_scale(graph, tensors[i]) / _scale(graph, op.outputs[0]) for i in (q, other))
    other_range = value_range(graph, tensors[other])
    add = solve_add(function if q == 0 else lambda a, b: function(b, a), slope_q=slope_q,
                    slope_other=slope_other, q_range=q_range, other_range=other_range, low=op.attrs["low"],
                    high=op.attrs["high"])
    if add is None:
        return None
    pairs = (q_range[1] - q_range[0] + 1) * (other_range[1] - other_range[0] + 1)
    return replace(layer, output=op.outputs[0], name=out.name, other=tensors[other], add=add), (
        f"sum proved equal on all {pairs} pairs")


def _scale(graph: Graph, tensor: int) -> float:
    quant = graph.tensors[tensor].quant
    assert quant is not None, f"int8 tensor {graph.tensors[tensor].name!r} without a scale"
    return float(quant.scale.flat[0])
