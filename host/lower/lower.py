"""A verified graph to a Plan: array passes where the fabric is provably exact, host operators elsewhere."""
from collections.abc import Mapping

from ...rtl.contract.fabric import Fabric
from ..graph.ir import Graph, Kind
from .fuse import lower_add
from .layers import Lowered, Refused, lower_op
from .order import Step, order_steps
from .plan import Alias, HostStep, Plan, Proof


def lower(graph: Graph, fabric: Fabric, *, on_host: Mapping[int, str] | None = None) -> Plan:
    """Lower a graph for a fabric.

    Parameters
    ----------
    graph : Graph
        As the importers make it.
    fabric : Fabric
        Its accumulator width limits what can be proved; capacities are the scheduler's concern.
    on_host : mapping
        Position of an operator -> reason: operators to leave to the host whatever the fabric can do, for
        instance because a schedule found no room for them.

    Returns
    -------
    Plan
        Each operator is in exactly one step.
    """
    refused: dict[int, str] = dict(on_host or {})
    layers: dict[int, Lowered] = {}
    aliases: dict[int, Alias] = {}
    proofs: dict[int, Proof] = {}
    taken: set[int] = set()  # operators that a layer of another operator computes
    for position, op in enumerate(graph.ops):
        if position in refused:
            continue
        try:
            if op.kind == Kind.ADD:
                rides_on, lowered = lower_add(graph, position, layers)
                layers[position if rides_on is None else rides_on] = lowered
                if rides_on is not None:
                    taken.add(position)
                continue
            result = lower_op(graph, fabric, position)
        except Refused as refusal:
            refused[position] = str(refusal)
            if refusal.proof is not None:
                proofs[position] = refusal.proof
            continue
        if isinstance(result, Alias):
            aliases[position] = result
        else:
            layers[position] = result
            taken.update(result.layer.ops[1:])
    steps: list[Step] = []
    for position in range(len(graph.ops)):
        if position in taken:
            continue
        if position in layers:
            steps.append(layers[position].layer)
            proofs[position] = layers[position].proof
        elif position in aliases:
            steps.append(aliases[position])
        else:
            steps.append(HostStep(position, refused[position]))
    return Plan(graph, order_steps(graph, steps), tuple(proofs[p] for p in sorted(proofs)))
