"""ADD, SUB and MUL."""
from collections.abc import Callable

from ..graph.ir import Graph, Op
from .rounding import Ints


def add_function(graph: Graph, op: Op) -> Callable[[Ints, Ints], Ints]:
    """The framework's ADD on stored values of the two inputs, including the clamp; shapes broadcast."""
    raise NotImplementedError
