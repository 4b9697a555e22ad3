"""Functions of one stored byte, as a table of 256 entries: on the way out of a layer, or as a pass."""
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..graph.ir import Array, Tensor
from ..reference import unary_table
from .layers import Draft, Refused, carried, flip, identity, need_bytes
from .plan import Layer

Table = npt.NDArray[np.uint8]
KEEPS = np.arange(256, dtype=np.uint8)
"""The table that changes nothing."""


def lower_unary(draft: Draft, position: int) -> None:
    """Any operator that the reference can tabulate.

    Raises
    ------
    Refused
        If it cannot, or if the fabric has no tables.
    """
    graph = draft.graph
    op = graph.ops[position]
    given = unary_table(graph, op)
    if given is None:
        raise Refused(f"the fabric has no {op.source}")
    source = next(t for t in op.inputs if t is not None and graph.tensors[t].data is None)
    out = op.outputs[0]
    need_bytes(graph.tensors[source], graph.tensors[out])
    if graph.tensors[source].shape != graph.tensors[out].shape:
        raise Refused(f"repeats {graph.tensors[source].name!r} from {graph.tensors[source].shape} to "
                      f"{graph.tensors[out].shape}")
    table = in_fabric(given, graph.tensors[source], graph.tensors[out])
    makers = draft.makers(source, position)
    if (new := tabulated(draft, makers, table)) is not None:
        name = graph.tensors[out].name
        new = [replace(layer, output=out, name=name) for layer in new]
        draft.rewrite(makers, [carried(new[0], position, op), *new[1:]])
    elif (new := tabulated(draft, [identity(graph, position, source, out)], table)) is not None:
        draft.layers[position] = new
    else:
        raise Refused(f"{op.source} is a table of 256 bytes; this fabric has no tables")


def tabulated(draft: Draft, layers: list[Layer], table: Table) -> list[Layer] | None:
    """The layers with a table behind them; None if there are none or they cannot take one."""
    if not layers:
        return None
    if np.array_equal(table, KEEPS):
        return layers
    if not draft.fabric.tables or any(layer.table is not None for layer in layers):
        return None
    return [replace(layer, table=table, fill=None if layer.fill is None else look_up(table, layer.fill))
            for layer in layers]


def look_up(table: Table, value: int) -> int:
    return int(table.view(np.int8)[value & 255])


def in_fabric(table: Array, source: Tensor, out: Tensor) -> Table:
    """A table of stored bytes as one of the bytes that lie in the fabric for them."""
    stored = np.arange(256) ^ flip(source)
    moved: Table = table[stored] ^ np.uint8(flip(out))
    return moved
