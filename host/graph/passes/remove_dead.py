"""Removes operators whose results nobody reads."""
from dataclasses import replace

from ..ir import Graph, Op


def remove_dead(graph: Graph) -> Graph:
    """Tensors stay, so that indices keep their meaning."""
    needed: set[int | None] = set(graph.outputs)
    kept: list[Op] = []
    for op in reversed(graph.ops):
        if needed.intersection(op.outputs):
            needed.update(op.inputs)
            kept.append(op)
    return replace(graph, ops=tuple(reversed(kept)))
