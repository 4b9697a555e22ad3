"""Single operators as ONNX models of their own (``attrs["ort"]``): what the host runs and proofs ask."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ...graph.ir import Array
from .model import Model


@dataclass(frozen=True)
class Layout:
    """How a tensor of the graph lies compared with the file's value: ``split`` it, turn it by ``order``, and
    shape it as ``shape``; the tensor is read back the other way. None: the same.

    An image is split as (N, C, H, W), order (0, 2, 3, 1); weights alike.
    """

    split: tuple[int, ...]
    order: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def moves(self) -> bool:
        """Whether values change places, or only the shape is another."""
        left = [axis for axis in self.order if self.split[axis] > 1]
        return left != sorted(left)


def lie(data: Array, layout: Layout | None) -> Array:
    """A constant of the file as the graph has it."""
    if layout is None:
        return data
    return data.reshape(layout.split).transpose(layout.order).reshape(layout.shape)


def image_layout(shape: Sequence[int]) -> Layout:
    """NCHW (or NCL) to NHWC."""
    n, c, *space = shape
    h, w = (1, *space) if len(space) == 1 else space
    return Layout((n, c, h, w), (0, 2, 3, 1), (n, h, w, c))


def weights_layout(shape: Sequence[int], *, depthwise: bool) -> Layout:
    """OIHW (or OIL) to OHWI, or to 1HWO for a depthwise convolution."""
    o, i, *space = shape
    h, w = (1, *space) if len(space) == 1 else space
    return (
        Layout((o, i, h, w), (1, 2, 3, 0), (i, h, w, o))
        if depthwise
        else Layout((o, i, h, w), (0, 2, 3, 1), (o, h, w, i))
    )


def turned(rows: int, columns: int) -> Layout:
    """A matrix, transposed."""
    return Layout((rows, columns), (1, 0), (columns, rows))


@dataclass(frozen=True)
class Port:
    """An operand or result: the file's value, its type, and how the graph's tensor lies (None: the same)."""

    value: str
    dtype: str
    shape: tuple[int, ...]  # in the file
    layout: Layout | None = None


def submodel(
    model: Model, nodes: Iterable[onnx.NodeProto], operands: Sequence[Port], results: Sequence[Port]
) -> str:
    """Nodes of a model that make ``results`` from ``operands``, in base64. Values that neither hold are
    constants of the model."""
    made: list[onnx.NodeProto] = []
    held: dict[str, onnx.TensorProto] = {}

    def constant(name: str, value: Sequence[int]) -> str:
        held[name] = numpy_helper.from_array(np.asarray(value, np.int64), name)
        return name

    for number, port in enumerate(operands):
        lay = port.layout
        if lay is None:
            made.append(helper.make_node("Identity", [f"i{number}"], [port.value]))
            continue
        inverse = np.argsort(lay.order).tolist()
        lies = constant(f"i{number}/lies", [lay.split[axis] for axis in lay.order])
        wanted = constant(f"i{number}/wanted", port.shape)
        made += [
            helper.make_node("Reshape", [f"i{number}", lies], [f"i{number}/image"]),
            helper.make_node("Transpose", [f"i{number}/image"], [f"i{number}/turned"], perm=inverse),
            helper.make_node("Reshape", [f"i{number}/turned", wanted], [port.value]),
        ]
    for node in nodes:
        made += _exact(model, node)
    for number, port in enumerate(results):
        lay = port.layout
        if lay is None:
            made.append(helper.make_node("Identity", [port.value], [f"o{number}"]))
            continue
        split, lies = constant(f"o{number}/split", lay.split), constant(f"o{number}/lies", lay.shape)
        made += [
            helper.make_node("Reshape", [port.value, split], [f"o{number}/file"]),
            helper.make_node("Transpose", [f"o{number}/file"], [f"o{number}/turned"], perm=lay.order),
            helper.make_node("Reshape", [f"o{number}/turned", lies], [f"o{number}"]),
        ]
    known = {name for node in made for name in node.output}
    for node in made:
        for name in filter(None, node.input):
            if name not in known and name not in held and name in model.constants:
                held[name] = numpy_helper.from_array(model.constants[name], name)
    graph = helper.make_graph(
        made,
        "operator",
        [onnx.ValueInfoProto(name=f"i{i}", type=_type(port.dtype)) for i, port in enumerate(operands)],
        [onnx.ValueInfoProto(name=f"o{i}", type=_type(port.dtype)) for i, port in enumerate(results)],
        list(held.values()),
    )
    opsets = [
        helper.make_opsetid(domain, version)
        for domain, version in model.opsets.items()
        if domain in ("", "com.microsoft")
    ]
    proto = helper.make_model(graph, ir_version=model.ir_version, opset_imports=opsets)
    return base64.b64encode(proto.SerializeToString()).decode()


PRODUCTS = {**dict.fromkeys(("QLinearConv", "QLinearMatMul", "QGemm"), (0, 3, 5)),
            **dict.fromkeys(("MatMulInteger", "ConvInteger"), (0, 1, 3))}
"""Sums of products of integers: places of the first operand, the second, and its zero point."""


def _exact(model: Model, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """A node with both operands of one type.

    On x86 processors without VNNI instructions ONNX Runtime sums products of uint8 and int8 in pairs that
    saturate at 16 bits; elsewhere, and for operands of one type, its sums are exact everywhere.
    """
    places = PRODUCTS.get(node.op_type)
    if places is None or any(node.input[place] not in model.values for place in places[:2]):
        return [node]
    kinds = {"uint8": 128, "int8": -128}
    x, w = (model.values[node.input[place]].dtype for place in places[:2])
    if x == w or not {x, w} <= set(kinds):
        return [node]
    same, made = onnx.NodeProto(), list[onnx.NodeProto]()
    same.CopyFrom(node)
    while len(same.input) <= places[2]:
        same.input.append("")
    wide = helper.make_tensor("shift", TensorProto.INT32, [], [kinds[x]])
    none = helper.make_tensor("zero", helper.np_dtype_to_tensor_dtype(np.dtype(w)), [], [0])
    prefix = f"{node.output[0]}/same"
    made.append(helper.make_node("Constant", [], [f"{prefix}/shift"], value=wide))
    for place in places[1:]:
        name, to = node.input[place] if place < len(node.input) else "", f"{prefix}/{place}"
        if not name:
            name = f"{to}/none"
            made.append(helper.make_node("Constant", [], [name], value=none))
        made += [helper.make_node("Cast", [name], [f"{to}/wide"], to=TensorProto.INT32),
                 helper.make_node("Add", [f"{to}/wide", f"{prefix}/shift"], [f"{to}/moved"]),
                 helper.make_node("Cast", [f"{to}/moved"], [to],
                                  to=helper.np_dtype_to_tensor_dtype(np.dtype(x)))]
        same.input[place] = to
    return [*made, same]


def _type(dtype: str) -> onnx.TypeProto:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return onnx.TypeProto(tensor_type=onnx.TypeProto.Tensor(elem_type=element))

