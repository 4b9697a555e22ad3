"""From ONNX values to the graph's tensors: layouts, quantisation, and operators with their own models.

A value of the file can lie in several ways, each a tensor of its own, made when somebody asks for it:

* ``file``: as ONNX has it.
* ``image``: NHWC, as the fabric's convolutions read and write it.
* ``flat``: a flattened image, in NHWC order; ``Flat`` remembers what it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from ....rtl.contract.errors import UnsupportedError
from ...graph.ir import Array, Graph, Kind, Op, Quant, Tensor
from .model import Model
from .submodel import Layout, Port, image_layout, lie, submodel

Floats = npt.NDArray[np.float32]
FILE, IMAGE, FLAT = "file", "image", "flat"
BYTES = ("int8", "uint8")


@dataclass(frozen=True)
class Scale:
    """Of a quantised value: per tensor, or along ``axis`` of the file's value."""

    scale: Floats
    zero: npt.NDArray[np.int64]
    axis: int | None = None

    @property
    def single(self) -> bool:
        return self.scale.size == 1

    def same(self, other: "Scale") -> bool:
        return np.array_equal(self.scale, other.scale) and np.array_equal(self.zero, other.zero)

    def quant(self, axis: int | None = None) -> Quant:
        return Quant(self.scale.astype(np.float64), self.zero, axis if not self.single else None)


@dataclass(frozen=True)
class Stored:
    """A stored value, and the scale that its reader takes it for."""

    value: str
    scale: Scale


@dataclass
class Builder:
    """A graph in the making."""

    model: Model
    tensors: list[Tensor] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    homes: dict[tuple[str, str], int] = field(default_factory=dict)
    flattened: dict[str, tuple[int, int, int]] = field(
        default_factory=dict
    )  # value -> (C, H, W) of its image

    # Tensors

    def add_tensor(self, tensor: Tensor) -> int:
        if len(tensor.shape) > 8 or 0 in tensor.shape:
            raise UnsupportedError(
                f"{self.model.name}: {tensor.name!r} has shape {list(tensor.shape)}; supported are "
                "up to 8 dimensions, none of them 0"
            )
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, name: str, data: Array, quant: Quant | None = None) -> int:
        data = np.asarray(data, order="C")
        return self.add_tensor(Tensor(name, data.shape, data.dtype.name, quant, data))

    def shape_in(self, name: str, layout: str) -> tuple[int, ...]:
        shape = self.model.values[name].shape
        return image_layout(shape).shape if layout == IMAGE else shape

    def layout(self, name: str, layout: str) -> Layout | None:
        shape = self.model.values[name].shape
        if layout == IMAGE:
            return image_layout(shape)
        if layout == FLAT:
            c, h, w = self.flattened[name]
            return Layout((shape[0], c, h, w), (0, 2, 3, 1), shape)
        return None

    def port(self, name: str, layout: str = FILE) -> Port:
        value = self.model.values[name]
        return Port(name, value.dtype, value.shape, self.layout(name, layout))

    def result(self, name: str, layout: str = FILE, scale: Scale | None = None) -> int:
        """A new tensor for what an operator makes."""
        index = self.add_tensor(Tensor(name, self.shape_in(name, layout), self.model.values[name].dtype,
                                       None if scale is None else scale.quant()))
        self.homes[name, layout] = index
        return index

    def scale_of(self, index: int) -> Scale | None:
        """Of a tensor."""
        held = self.tensors[index].quant
        return None if held is None else Scale(held.scale.astype(np.float32), held.zero_point)

    def lies(self, name: str) -> tuple[str, ...]:
        """In which layouts a value is there already."""
        return tuple(layout for layout in (FILE, IMAGE, FLAT) if (name, layout) in self.homes)

    def home(self, name: str, layout: str = FILE) -> int:
        """The tensor of a value in a layout; moved there if it has none yet."""
        if (name, layout) in self.homes:
            return self.homes[name, layout]
        if name in self.model.constants:
            data, lay = self.model.constants[name], self.layout(name, layout)
            index = self.homes[name, layout] = self.constant(name, lie(data, lay))
            return index
        have = self.lies(name)
        if not have:
            raise UnsupportedError(f"{self.model.name}: {name!r} is read before it is made")
        source = self.homes[name, have[0]]
        old, new = self.layout(name, have[0]), self.layout(name, layout)
        before = self.tensors[source]
        index = self.add_tensor(
            Tensor(f"{name} ({layout})", self.shape_in(name, layout), before.dtype, before.quant)
        )
        self.homes[name, layout] = index
        if all(lay is None or not lay.moves for lay in (old, new)) or old == new:
            self.op(Kind.RESHAPE, "Reshape", [source], [index], {})
        else:
            value = self.model.values[name]
            copied = f"{name}/copied"
            node = onnx.helper.make_node("Identity", [name], [copied])
            ort = submodel(
                self.model,
                [node],
                [Port(name, value.dtype, value.shape, old)],
                [Port(copied, value.dtype, value.shape, new)],
            )
            self.op(Kind.HOST, "Transpose", [source], [index], {"ort": ort})
        return index

    def quantised(self, name: str, layout: str, scale: Scale) -> int:
        """The tensor of a value that its reader takes for quantised in this way."""
        index = self.home(name, layout)
        tensor, wanted = self.tensors[index], scale.quant()
        if tensor.quant is None:
            self.tensors[index] = replace(tensor, quant=wanted)
        elif not (
            np.array_equal(tensor.quant.scale, wanted.scale)
            and np.array_equal(tensor.quant.zero_point, wanted.zero_point)
        ):
            copy = self.add_tensor(replace(tensor, quant=wanted, name=f"{name} (as read)"))
            if tensor.data is None:
                self.op(Kind.RESHAPE, "Reshape", [index], [copy], {})
            return copy
        return index

    # Operators

    def op(
        self,
        kind: Kind,
        source: str,
        inputs: Sequence[int | None],
        outputs: Sequence[int],
        attrs: dict[str, Any],
    ) -> None:
        if kind == Kind.HOST:
            attrs = {"options": {}, **attrs}
        self.ops.append(Op(kind, source, tuple(inputs), tuple(outputs), attrs, len(self.ops)))

    def host_group(
        self,
        nodes: Sequence[onnx.NodeProto],
        source: str,
        results: Sequence[str],
        *,
        scale: Scale | None = None,
        elementwise: bool = False,
    ) -> None:
        """Nodes that the host computes together. Elementwise ones work in whatever layout their operand has.
        """
        inner = {name for node in nodes for name in node.output}
        operands = list(
            dict.fromkeys(
                name
                for node in nodes
                for name in node.input
                if name and name not in inner and name not in self.model.constants
            )
        )
        layout = FILE
        if elementwise and len(operands) == 1 and self.lies(operands[0]):
            layout = self.lies(operands[0])[0]
        inputs = [self.home(name, layout) for name in operands]
        if layout == FLAT:
            self.flattened.update({name: self.flattened[operands[0]] for name in results})
        ports = [
            Port(name, self.model.values[name].dtype, self.model.values[name].shape)
            if elementwise
            else self.port(name)
            for name in operands
        ]
        ort = submodel(
            self.model,
            nodes,
            ports,
            [Port(name, self.model.values[name].dtype, self.model.values[name].shape) for name in results],
        )
        outputs = [self.result(name, layout, scale) for name in results]
        attrs: dict[str, Any] = {"ort": ort}
        if elementwise:
            attrs["elementwise"] = True
        self.op(Kind.HOST, source, inputs, outputs, attrs)

    def graph(self) -> Graph:
        model = self.model
        inputs = tuple(self.homes[name, FILE] for name in model.inputs)
        outputs = tuple(self.home(name) for name in model.outputs)
        return Graph(
            model.name, "onnx", tuple(self.tensors), tuple(self.ops), inputs, outputs, source_bytes=model.size
        )

