"""Runs a graph, operator by operator, on the reference kernels."""
from typing import Any

from ..graph.ir import Array, Graph, Op

KERNELS: dict[str, Any] = {}


def run_op(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """Outputs of one operator from the values of its inputs (None where an optional operand is left out)."""
    raise NotImplementedError


class Reference:
    def __init__(self, graph: Graph) -> None: ...
