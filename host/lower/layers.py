"""What all lowering rules share: the draft of a plan, tensors as the fabric sees them, requantisation."""
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ...rtl.contract.fabric import Fabric
from ...rtl.contract.numerics import PRODUCT_DROP, Channel
from ..graph.ir import Graph, Kind, Op, Tensor
from .multiplier import multiplier_of
from .plan import Alias, Layer, Proof, Shape
from .requantise import Function, Ints, Solution, solve

INT8 = (-128, 127)
BYTES = ("int8", "uint8")
LAYERS_MOST = 64
"""Layers that may make up one operator; beyond that the host is as good."""
IDENTITY = Channel(bias=0, mult=2**PRODUCT_DROP + 1, round_pos=0, round_neg=1, shift=0)
"""Passes sums of 16 bits on; with an odd multiplier, for there are fabrics that know no other."""
"""Passes a stored value on unchanged (with zero point 0)."""


class Refused(Exception):
    """The fabric does not compute an operator; the text is the reason for the partition report."""

    def __init__(self, reason: str, proof: Proof | None = None):
        super().__init__(reason)
        self.proof = proof


@dataclass
class Draft:
    """A plan in the making. Rules add to it, and rewrite layers that they can ride on, or raise Refused.

    layers : by the position of the operator that they were made for; in order where there are several
    refused : position of each operator that the host computes -> reason
    forced : those of them that the caller leaves to the host
    """

    graph: Graph
    fabric: Fabric
    layers: dict[int, list[Layer]] = field(default_factory=dict)
    aliases: dict[int, Alias] = field(default_factory=dict)
    proofs: dict[int, Proof] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    forced: frozenset[int] = frozenset()

    def makers(self, tensor: int, reader: int) -> list[Layer]:
        """The layers that make a tensor which one operator alone reads, so that they may be rewritten; none
        if anybody else wants to see it or the host makes it."""
        if tensor in self.graph.outputs or self.graph.uses(tensor) != [reader]:
            return []
        return [layer for layers in self.layers.values() for layer in layers if layer.output == tensor]

    def drop(self, position: int) -> None:
        """An operator is not computed: nobody needs its output any more."""
        for steps in (self.layers, self.aliases, self.proofs, self.refused):
            steps.pop(position, None)

    def rewrite(self, old: Sequence[Layer], new: Sequence[Layer]) -> None:
        place = {id(a): b for a, b in zip(old, new, strict=True)}
        for layers in self.layers.values():
            layers[:] = [place.get(id(layer), layer) for layer in layers]

    def note(self, layer: Layer, text: str) -> None:
        """Add to the proof of a layer that another operator rides on."""
        position = layer.ops[0] if layer.ops else None
        if position in self.proofs:
            proof = self.proofs[position]
            self.proofs[position] = replace(proof, text=f"{proof.text}; {text}")


def key_of(op: Op) -> Kind | str:
    """What lowering rules go by: the kind, or the framework's name of an operator of no kind of its own."""
    return op.source if op.kind == Kind.HOST else op.kind


# Tensors as the fabric sees them

def image(shape: tuple[int, ...]) -> Shape:
    """A tensor's shape as height, width, channels; vectors are rows of an image one pixel wide."""
    if len(shape) == 4:
        if shape[0] != 1:
            raise Refused(f"holds a batch of {shape[0]} images; the fabric takes one at a time")
        return shape[1:]
    if len(shape) > 4:
        raise Refused(f"has {len(shape)} dimensions; the fabric works on images (height, width, channels)")
    *front, channels = shape or (1,)
    rows, columns, *_ = (*front, 1, 1)
    return rows, columns, channels


def image_axis(rank: int, axis: int) -> int:
    """Which extent of ``image`` a dimension is; -1 for the batch."""
    axis %= rank
    if rank == 4:
        return axis - 1
    return 2 if axis == rank - 1 else axis


def flip(tensor: Tensor) -> int:
    """What to add to a value in the fabric for the stored one: uint8 values lie there less 128."""
    return 128 if tensor.dtype == "uint8" else 0


def zero_point(tensor: Tensor) -> int:
    """As it is in the fabric."""
    return (0 if tensor.quant is None else int(tensor.quant.zero_point.flat[0])) - flip(tensor)


def scale_of(tensor: Tensor) -> float:
    assert tensor.quant is not None, f"{tensor.dtype} tensor {tensor.name!r} without a scale"
    return float(tensor.quant.scale.flat[0])


def limits(op: Op, out: Tensor) -> tuple[int, int]:
    """Least and greatest value of an operator's output, as they are in the fabric."""
    least, most = (value + flip(out) for value in INT8)
    low, high = max(op.attrs.get("low", least), least), min(op.attrs.get("high", most), most)
    return low - flip(out), high - flip(out)


def value_range(graph: Graph, tensor: int) -> tuple[int, int]:
    """Least and greatest value that a tensor can hold in the fabric: the limits of the operator that made it.
    """
    made_by = producer(graph, tensor)
    if made_by is None:
        return INT8
    op = graph.ops[made_by]
    if op.kind == Kind.RESHAPE and op.inputs[0] is not None:
        return value_range(graph, op.inputs[0])
    return limits(op, graph.tensors[tensor])


def producer(graph: Graph, tensor: int) -> int | None:
    """Position of the operator that computes a tensor."""
    return next((i for i, op in enumerate(graph.ops) if tensor in op.outputs), None)


def operand(op: Op, number: int) -> int:
    """The tensor of an input that must be there."""
    tensor = op.inputs[number]
    assert tensor is not None, f"{op.label} lacks input {number}"
    return tensor


def need_bytes(*tensors: Tensor) -> None:
    for tensor in tensors:
        if tensor.dtype not in BYTES:
            raise Refused(f"{tensor.name!r} is {tensor.dtype}; the fabric computes on int8 and uint8")


def need_computed(tensor: Tensor) -> None:
    if tensor.data is not None:
        raise Refused(f"works on the constant {tensor.name!r}; the fabric works on what the network computes")


# Layers

def identity(graph: Graph, position: int, source: int, output: int) -> Layer:
    """A layer that passes ``source`` on unchanged to an output of an operator that has the same image."""
    out = graph.tensors[output]
    shape = image(out.shape)
    return Layer(
        ops=(position,), name=out.name, source=graph.ops[position].source, mode="window", input=source,
        output=output, in_shape=image(graph.tensors[source].shape), out_shape=shape, kernel=(1, 1),
        weights=np.ones(shape[2], np.int16), channels=(IDENTITY,) * shape[2], zero=0, low=INT8[0],
        high=INT8[1], pad_value=zero_point(graph.tensors[source]))


def several(layers: Sequence[Layer]) -> list[Layer]:
    """Layers of one operator: the first stands for it."""
    return [layer if i == 0 else replace(layer, ops=(), macs=0) for i, layer in enumerate(layers)]


def carried(layer: Layer, position: int, op: Op) -> Layer:
    """A layer that computes one more operator."""
    return replace(layer, ops=(*layer.ops, position), source=f"{layer.source}+{op.source}")


def moved(layer: Layer, output: int, whole: Shape, by: Shape) -> Layer:
    """The same layer, whose image becomes a part of another: ``by`` rows, columns and channels in."""
    part = layer.out_part
    place = replace(part, y=part.y + by[0], x=part.x + by[1], channel=part.channel + by[2])
    return replace(layer, output=output, out_image=whole, out_part=place)


# Requantisation

def requantise(fabric: Fabric, position: int, function: Function, bias: Ints, least: Ints, most: Ints,
               scale: npt.NDArray[np.float64], zero: int, low: int, high: int,
               copies: int = 1) -> tuple[tuple[Channel, ...], Proof]:
    """Proved records of all channels; ``copies`` is for reports, when one channel stands for several.

    Parameters as those of ``requantise.solve``.

    Raises
    ------
    Refused
        If a channel has none.
    """
    limit = 2 ** (fabric.acc_width - 1)
    if (c := first(most - least >= 2 * limit)) is not None:
        raise Refused(f"channel {c}: sums reach [{least[c]}, {most[c]}], beyond the fabric's "
                      f"{fabric.acc_width}-bit accumulators")
    # A sum that is far from zero, for its bias is, comes with another bias; the rounding makes up for it.
    away = np.minimum(least + limit, 0) + np.maximum(most - limit + 1, 0)
    solutions = solve(lambda sums: function(sums + away), bias=bias - away, least=least - away,
                      most=most - away, scale=scale, zero=zero, low=low, high=high,
                      ties_to_even=fabric.ties_to_even, multiplier=multiplier_of(fabric))
    solved = [s for s in solutions if s is not None]
    proof = Proof(position, copies * len(solutions), copies * len(solved), describe(solutions, copies))
    if len(solved) < len(solutions):
        c = solutions.index(None)
        raise Refused(f"channel {c}: no multiplier and rounding equal the framework's on all sums in "
                      f"[{least[c]}, {most[c]}] with {fabric.acc_width}-bit accumulators (proved: "
                      f"{proof.proved} of {proof.channels} channels)", proof)
    return tuple(s.channel for s in solved), proof


def describe(solutions: Sequence[Solution | None], copies: int) -> str:
    """The proof in words; ``copies`` channels share each solution."""
    solved = [s for s in solutions if s is not None]
    text = f"{copies * len(solved)} of {copies * len(solutions)} channels proved equal"
    if not solved:
        return text
    least, most = min(s.least for s in solved), max(s.most for s in solved)
    fewest, greatest = min(s.thresholds for s in solved), max(s.thresholds for s in solved)
    steps = f"{greatest}" if fewest == greatest else f"{fewest} to {greatest}"
    return f"{text} over [{least}, {most}] ({steps} thresholds each)"


def first(condition: npt.NDArray[np.bool_]) -> int | None:
    """The first channel for which something holds."""
    return int(condition.argmax()) if condition.any() else None
