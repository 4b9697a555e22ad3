"""Rewrites that keep a network's results bit for bit: each one function Graph -> Graph, one file."""
from collections.abc import Callable

from ....rtl.contract.errors import GraphError
from ..ir import Graph
from ..verify import verify
from .bracket import bracket
from .drop_transpose import drop_transpose
from .fold_pad import fold_pad
from .fold_relu import fold_relu
from .fold_reshape import fold_reshape
from .remove_dead import remove_dead
from .split_sum import split_sum

Pass = Callable[[Graph], Graph]

PASSES: tuple[Pass, ...] = (drop_transpose, fold_reshape, fold_relu, fold_pad, bracket, remove_dead,
                            split_sum)


def run_passes(graph: Graph, passes: tuple[Pass, ...] = PASSES) -> Graph:
    """The graph after all passes; verified after each. Raises GraphError that names the pass at fault."""
    for step in passes:
        graph = step(graph)
        try:
            verify(graph)
        except GraphError as error:
            raise GraphError(f"{graph.name}, after pass {step.__name__}: {error}") from None
    return graph
