"""A verified graph to a Plan: array passes where the fabric is provably exact, host operators elsewhere."""
from collections.abc import Callable, Mapping
from dataclasses import replace

from ...rtl.contract.errors import UnsupportedError
from ...rtl.contract.fabric import Fabric
from ..graph.ir import Graph, Kind
from ..reference.settle import SETTLE
from .convolution import lower_convolution, lower_fully_connected, lower_transposed
from .layers import IDENTITY, INT8, Draft, Refused, key_of
from .movement import lower_concatenation, lower_move, lower_pad, lower_reshape
from .order import Step, order_steps
from .pairwise import lower_pairwise
from .plan import HostStep, Layer, Plan
from .pooling import lower_average_pool, lower_max_pool, lower_mean, lower_reduce_max
from .products import lower_batch_matmul, lower_matmul
from .unary import lower_unary

Rule = Callable[[Draft, int], None]


def lower_settle(draft: Draft, position: int) -> None:
    """Always the host's."""
    raise Refused("adds up in ONNX Runtime's own order where the two bounds differ")


RULES: dict[Kind | str, Rule] = {
    Kind.CONV: lower_convolution,
    Kind.DEPTHWISE_CONV: lower_convolution,
    Kind.FULLY_CONNECTED: lower_fully_connected,
    Kind.MATMUL: lower_matmul,
    Kind.AVERAGE_POOL: lower_average_pool,
    Kind.MAX_POOL: lower_max_pool,
    Kind.ADD: lower_pairwise,
    Kind.SUB: lower_pairwise,
    Kind.MUL: lower_pairwise,
    Kind.RESHAPE: lower_reshape,
    "BATCH_MATMUL": lower_batch_matmul,
    "CONCATENATION": lower_concatenation,
    "Concat": lower_concatenation,
    "MEAN": lower_mean,
    "PAD": lower_pad,
    "PADV2": lower_pad,
    "REDUCE_MAX": lower_reduce_max,
    SETTLE: lower_settle,
    "SUM": lower_mean,
    "TRANSPOSE_CONV": lower_transposed,
    **dict.fromkeys((
        "DEPTH_TO_SPACE", "GATHER", "MIRROR_PAD", "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPACE_TO_DEPTH",
        "SPLIT", "SPLIT_V", "STRIDED_SLICE", "TRANSPOSE", "UNPACK"), lower_move),
}
"""By kind, or by the framework's name of an operator without one. Of all others those that are a function of
one byte are tables (``lower_unary``)."""


def lower(graph: Graph, fabric: Fabric, *, on_host: Mapping[int, str] | None = None) -> Plan:
    """Lower a graph for a fabric.

    Parameters
    ----------
    graph : Graph
        As the importers make it.
    fabric : Fabric
        Its accumulator width limits what can be proved, and its weight_bits and tables what there is;
        capacities are the scheduler's concern.
    on_host : mapping
        Position of an operator -> reason: operators to leave to the host whatever the fabric can do, for
        instance because a schedule found no room for them.

    Returns
    -------
    Plan
        Each operator is in exactly one step; steps that only help another one have none.
    """
    refused: dict[int, str] = dict(on_host or {})
    draft = Draft(graph, fabric, refused=refused, forced=frozenset(refused))
    for position, op in enumerate(graph.ops):
        if position in refused:
            continue
        try:
            RULES.get(key_of(op), lower_unary)(draft, position)
        except Refused as refusal:
            refused[position] = str(refusal)
            if refusal.proof is not None:
                draft.proofs[position] = refusal.proof
        except UnsupportedError as error:  # the framework's operator is no function that could be proved
            refused[position] = str(error)
    _skip_copies(draft)
    steps: list[Step] = []
    for position in range(len(graph.ops)):
        steps += draft.layers.get(position, [])
        if position in draft.aliases:
            steps.append(draft.aliases[position])
        elif position in refused:
            steps.append(HostStep(position, refused[position]))
    return Plan(graph, order_steps(graph, steps), tuple(draft.proofs[p] for p in sorted(draft.proofs)))


def _skip_copies(draft: Draft) -> None:
    """Let layers read what a pure copy copies: int8 of uint8 with the same scale has the same bytes here.

    Only where nobody else reads the source, whose halo then holds what these readers want, or the copy.
    """
    graph = draft.graph
    for position, made in list(draft.layers.items()):
        layers = [layer for each in draft.layers.values() for layer in each]
        if len(made) != 1 or not _copies(made[0]) or made[0].output in graph.outputs:
            continue
        copy = made[0]
        readers = [layer for layer in layers if copy.output in (layer.input, layer.other)]
        computed = {op for layer in readers for op in layer.ops}
        first = next((layer for layer in readers if layer.ops), None)
        if first is None or not set(graph.uses(copy.output)) <= computed or (
                graph.uses(copy.input) != [copy.ops[-1]]) or any(
                layer.computed is not None and layer.computed.tensor == copy.output for layer in layers):
            continue
        draft.rewrite(readers, [replace(
            layer, input=copy.input if layer.input == copy.output else layer.input,
            other=copy.input if layer.other == copy.output else layer.other,
            ops=(*layer.ops, *copy.ops) if layer is first else layer.ops,
            source=f"{copy.source}+{layer.source}" if layer is first else layer.source,
        ) for layer in readers])
        del draft.layers[position]


def _copies(layer: Layer) -> bool:
    return (layer.mode == "window" and layer.kernel == (1, 1) and layer.stride == (1, 1)
            and layer.in_shape == layer.image == layer.out_shape and layer.in_channel == 0
            and not layer.out_part.turned
            and not any(layer.padding) and layer.other is None and layer.table is None and layer.fill is None
            and (layer.low, layer.high, layer.zero) == (*INT8, 0) and bool((layer.weights == 1).all())
            and set(layer.channels) == {IDENTITY})
