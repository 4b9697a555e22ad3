"""Moves a border that stands alone into the padding of the convolutions that read it."""
from dataclasses import replace

from ....rtl.contract.errors import GraphError
from ..ir import Graph, Kind, Op
from ..shapes import convolution, depthwise, pads

SHAPES = {Kind.CONV: convolution, Kind.DEPTHWISE_CONV: depthwise}


def fold_pad(graph: Graph) -> Graph:
    """Both put the zero point around the image. Where anybody but a convolution reads the border, or it is
    wider than a convolution's padding may be, it stays. What is bypassed is left to remove_dead.
    """
    ops = list(graph.ops)
    for op in graph.ops:
        if op.source != "PAD" or op.outputs[0] in graph.outputs:
            continue
        readers = graph.uses(op.outputs[0])
        folded = [_folded(graph, ops[reader], op) for reader in readers]
        if all(new is not None for new in folded):
            for reader, new in zip(readers, folded, strict=True):
                assert new is not None
                ops[reader] = new
    return replace(graph, ops=tuple(ops))


def _folded(graph: Graph, reader: Op, border: Op) -> Op | None:
    """A convolution that pads more and reads the image itself; None if it cannot."""
    image, bordered = border.inputs[0], border.outputs[0]
    if reader.kind not in SHAPES or reader.inputs[0] != bordered or bordered in reader.inputs[1:]:
        return None
    batch, rows, columns, channels = pads(graph, border)
    if any(batch + channels):
        return None
    padding = tuple(a + b for a, b in zip(reader.attrs["padding"], rows + columns, strict=True))
    new = replace(reader, inputs=(image, *reader.inputs[1:]), attrs={**reader.attrs, "padding": padding})
    try:
        same = SHAPES[reader.kind](graph, new) == [graph.tensors[reader.outputs[0]].shape]
    except GraphError:  # more than a window's width
        return None
    return new if same else None
