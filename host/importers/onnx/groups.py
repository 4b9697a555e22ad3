"""Finds what float operators between DequantizeLinear and QuantizeLinear (QDQ) make of the stored bytes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf

import numpy as np
import onnx

from .build import BYTES, Scale, Stored
from .model import Model, Value, attributes

ELEMENTWISE = {
    "Abs",
    "Add",
    "Cast",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "DequantizeLinear",
    "Div",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Log",
    "Max",
    "Min",
    "Mish",
    "Mul",
    "Neg",
    "Pow",
    "QuantizeLinear",
    "QuickGelu",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Sub",
    "Swish",
    "Tanh",
    "ThresholdedRelu",
}
"""Every result depends on the values at its own place alone, if constants are single values."""
RESHAPES = {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}
MOVES = RESHAPES | {"Transpose"}
"""The same on stored values as on real ones: no result depends on what the values are."""


def read_scale(model: Model, scale: str, zero: str, axis: int | None = None) -> Scale | None:
    """Of constant operands; None if they are computed, or no numbers for affine quantisation."""
    if scale not in model.constants or (zero and zero not in model.constants):
        return None
    steps = model.constants[scale]
    if steps.dtype != np.float32 or steps.ndim > 1 or not (np.isfinite(steps) & (steps > 0)).all():
        return None
    zeros = model.constants[zero] if zero else np.zeros(steps.shape, np.uint8)
    if zeros.dtype.kind not in "iu" or zeros.size != steps.size:
        return None
    return Scale(steps.reshape(-1), zeros.reshape(-1).astype(np.int64), axis if steps.size > 1 else None)


@dataclass(frozen=True)
class Dequantised(Stored):
    """A stored value as the float one that ``node`` makes of it."""

    node: onnx.NodeProto


def dequantised(model: Model, name: str) -> Dequantised | None:
    """The stored value behind a float one, if that comes straight from a DequantizeLinear."""
    place = model.maker.get(name)
    return None if place is None else _dequantised(model, model.nodes[place], model.values)


def _dequantised(model: Model, node: onnx.NodeProto, values: Mapping[str, Value]) -> Dequantised | None:
    if node.op_type != "DequantizeLinear" or node.input[0] not in values:
        return None
    given, rank = attributes(node), len(values[node.input[0]].shape)
    if given.get("block_size", 0) or values[node.output[0]].dtype != "float32":
        return None
    axis = given.get("axis", 1)
    scale = read_scale(
        model, node.input[1], node.input[2] if len(node.input) > 2 else "", axis % rank if rank else None
    )
    return None if scale is None else Dequantised(node.input[0], scale, node)


def sink(model: Model) -> Model:
    """The model with values moved before they are dequantised, so that what follows still sees a
    DequantizeLinear."""
    nodes: list[onnx.NodeProto] = []
    values = dict(model.values)
    found: dict[str, Dequantised] = {}
    for node in model.nodes:
        before = found.get(node.input[0]) if node.op_type in MOVES and node.input else None
        if before is not None and before.scale.single and node.output[0] not in model.constants:
            moved, node_after = onnx.NodeProto(), onnx.NodeProto()
            moved.CopyFrom(node)
            node_after.CopyFrom(before.node)
            stored = f"{node.output[0]}/stored"
            moved.input[0], moved.output[0] = before.value, stored
            node_after.input[0], node_after.output[0] = stored, node.output[0]
            values[stored] = replace(values[before.value], shape=values[node.output[0]].shape)
            nodes.append(moved)
            node = node_after
        nodes.append(node)
        if (last := _dequantised(model, node, values)) is not None:
            found[node.output[0]] = last
    return replace(model, nodes=nodes, values=values, users={}, maker={})


def _single(model: Model, name: str) -> bool:
    """Whether one node alone sees a value."""
    return name not in model.outputs and len(model.users.get(name, ())) == 1


def quantised_result(model: Model, node: onnx.NodeProto) -> Scale | None:
    """The scale of a QuantizeLinear to bytes, per tensor; None for any other node."""
    if node.op_type != "QuantizeLinear" or model.values[node.output[0]].dtype not in BYTES:
        return None
    if model.values[node.input[0]].dtype != "float32" or attributes(node).get("block_size", 0):
        return None
    scale = read_scale(model, node.input[1], node.input[2] if len(node.input) > 2 else "")
    return scale if scale is not None and scale.single else None


@dataclass(frozen=True)
class Cone:
    """Elementwise nodes between one stored value and its result; ``nodes`` in order, DequantizeLinear and
    QuantizeLinear among them."""

    nodes: tuple[onnx.NodeProto, ...]
    operand: Dequantised
    scale: Scale

    @property
    def source(self) -> str:
        names = [
            node.op_type for node in self.nodes if node.op_type not in ("DequantizeLinear", "QuantizeLinear")
        ]
        return "+".join(names) or "QuantizeLinear"


def find_cone(model: Model, last: onnx.NodeProto) -> Cone | None:
    """Behind a QuantizeLinear, whatever is a function of one stored byte."""
    scale = quantised_result(model, last)
    if scale is None:
        return None
    inside = {model.maker[last.output[0]]}
    waiting, leaves = [last.input[0]], list[Dequantised]()
    while waiting:
        name = waiting.pop()
        if not name or name in model.constants:
            if name and model.constants[name].size != 1:
                return None
            continue
        if (found := dequantised(model, name)) is not None:
            if not found.scale.single or found.value in model.constants:
                return None
            leaves.append(found)
            inside.add(model.maker[name])
            continue
        place = model.maker.get(name)
        if place is None or model.nodes[place].op_type not in ELEMENTWISE or name in model.outputs:
            return None
        if place not in inside:
            inside.add(place)
            waiting += model.nodes[place].input
    stored = {leaf.value for leaf in leaves}
    if len(stored) != 1 or model.values[leaves[0].value].dtype not in BYTES:
        return None
    if model.values[leaves[0].value].shape != model.values[last.output[0]].shape:
        return None
    nodes = [model.nodes[place] for place in sorted(inside)]
    # What is computed in between must be nobody else's concern, or it would be computed twice.
    for node in nodes[:-1]:
        if node.op_type == "DequantizeLinear":
            continue
        for name in node.output:
            if name in model.outputs or not set(model.users.get(name, ())) <= inside:
                return None
    return Cone(tuple(nodes), leaves[0], scale)


@dataclass(frozen=True)
class Fused:
    """A float operator, what dequantises its operands, and the way to its stored result.

    Attributes
    ----------
    core : the operator
    operands : stored values and their scales, in the operator's order; None for float constants and those
        left out
    bias : float constant that an Add behind the operator adds, "" for none
    low, high : real limits of the activations behind it
    nodes : all of them, in order
    """

    core: onnx.NodeProto
    operands: tuple[Dequantised | None, ...]
    bias: str
    low: float
    high: float
    scale: Scale
    nodes: tuple[onnx.NodeProto, ...]
    result: str

    @property
    def activation(self) -> tuple[float, float] | None:
        return None if (self.low, self.high) == (-inf, inf) else (self.low, self.high)

    @property
    def source(self) -> str:
        behind = [node.op_type for node in self.nodes if node.op_type in ("Relu", "Clip")]
        return "+".join([self.core.op_type, *(["Add"] if self.bias else []), *behind])

    def stored(self, limit: float, least: int, most: int) -> int:
        """A real limit as a stored value, by QuantizeLinear's own float32 division."""
        if limit in (inf, -inf):
            return most if limit > 0 else least
        steps = np.rint(np.float32(limit) / self.scale.scale[0]) + np.float32(self.scale.zero[0])
        return int(np.clip(steps, least, most))


def find_fused(model: Model, last: onnx.NodeProto) -> Fused | None:
    """Behind a QuantizeLinear, one float operator whose computed operands are all stored values."""
    scale = quantised_result(model, last)
    if scale is None:
        return None
    nodes, name, low, high, bias = [last], last.input[0], -inf, inf, ""
    while True:
        place = model.maker.get(name)
        if place is None or not _single(model, name):
            return None
        node = model.nodes[place]
        limits = _limits(model, node)
        if limits is not None:
            low, high = min(max(limits[0], low), high), max(min(limits[1], high), low)
        elif node.op_type == "Add" and not bias and (found := _biased(model, node)) is not None:
            bias, name = found
            nodes.insert(0, node)
            continue
        else:
            break
        nodes.insert(0, node)
        name = node.input[0]
    if len(node.output) != 1:
        return None
    operands: list[Dequantised | None] = []
    for operand in node.input:
        found_operand = dequantised(model, operand) if operand else None
        if found_operand is None and operand and operand not in model.constants:
            return None
        operands.append(found_operand)
        if found_operand is not None and found_operand.node not in nodes:
            nodes.insert(0, found_operand.node)
    if not any(operand is not None and operand.value not in model.constants for operand in operands):
        return None
    return Fused(
        node, tuple(operands), bias, low, high, scale, tuple(_ordered(model, [*nodes, node])), last.output[0]
    )


def _ordered(model: Model, nodes: list[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    places = {model.maker[name] for node in nodes for name in node.output if name}
    yield from (model.nodes[place] for place in sorted(places))


def _limits(model: Model, node: onnx.NodeProto) -> tuple[float, float] | None:
    """Of a rectifier or clip with constant limits."""
    if node.op_type == "Relu":
        return 0.0, inf
    if node.op_type != "Clip":
        return None
    given = attributes(node)
    found = [given.get("min", -inf), given.get("max", inf)]
    for place, name in enumerate(node.input[1:3]):
        if name:
            if name not in model.constants:
                return None
            found[place] = float(model.constants[name].reshape(-1)[0])
    return (float(found[0]), float(found[1])) if found[0] <= found[1] else None


def _biased(model: Model, node: onnx.NodeProto) -> tuple[str, str] | None:
    """(constant, other operand) of an Add behind a matrix product."""
    for constant, other in (node.input, node.input[::-1]):
        if constant in model.constants and other in model.maker and _single(model, other):
            before = model.nodes[model.maker[other]]
            columns = model.values[other].shape[-1:]
            if (
                before.op_type == "MatMul"
                and model.constants[constant].shape in (columns, (1, *columns))
                and model.values[other].shape == model.values[node.output[0]].shape
            ):
                return constant, other
    return None
