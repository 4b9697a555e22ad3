"""Rewrites that keep a network's results bit for bit: each one function Graph -> Graph, one file."""
from collections.abc import Callable

from ....rtl.contract.errors import GraphError
from ..ir import Graph
from ..verify import verify
from .fold_relu import fold_relu
from .fold_reshape import fold_reshape
from .remove_dead import remove_dead

Pass = Callable[[Graph], Graph]

PASSES: tuple[Pass, ...] = (fold_reshape, fold_relu, remove_dead)


def run_passes(graph: Graph, passes: tuple[Pass, ...] = PASSES) -> Graph:
    """The graph after all passes; verified after each. Raises GraphError that names the pass at fault."""
    for step in passes:
        graph = step(graph)
        try:
            verify(graph)
        except GraphError as error:
            raise GraphError(f"{graph.name}, after pass {step.__name__}: {error}") from None
    return graph
