"""Graphs to NNEF models: graph.nnef, graph.quant and a .dat file for each constant.

What load_nnef() reads back computes the same, bit for bit. Inputs and outputs keep their shapes: images are
[N, H, W, C], as TFLite has them, and transpositions to NNEF's [N, C, H, W] stand in the text where operators
need them. load_nnef() takes these for what they are, a change of names, so the network is not slower either.

Stored values are described by ``zero_point_linear_quantize``; scales of filters lie along their first axis,
which NNEF's rules of broadcasting allow. A clamp that TFLite fuses becomes an operator of its own.
"""
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...rtl.contract.errors import UnsupportedError
from ..graph.ir import Array, Graph, Kind, Op, Quant, Tensor
from ..graph.shapes import pads, reduced_axes, split_axis, split_sizes
from ..reference.operands import quant_of, tensor_of
from ..reference.rounding import round_array
from .nnef_file import GRAPH, QUANTISATION, package, tensor_file

Order = tuple[int, ...]

CHANNELS_FIRST: Order = (0, 3, 1, 2)
"""Axes of [N, H, W, C] in NNEF's order."""

RESERVED = {"version", "extension", "graph", "fragment", "tensor", "integer", "scalar", "logical", "string",
            "true", "false", "for", "in", "if", "else", "yield", "length_of", "shape_of", "range_of"}
KEEPERS = {Kind.AVERAGE_POOL, Kind.MAX_POOL, Kind.RESHAPE, "MAXIMUM", "MINIMUM", "MIRROR_PAD", "PAD", "PADV2",
           "REDUCE_MAX", "REDUCE_MIN", "SPLIT", "SPLIT_V", "TRANSPOSE"}
"""Operators that move or choose stored values; in NNEF they do so with reals."""
NAMED_LIMITS = (0.0, 6.0, 1.0, -1.0)


def write_nnef(graph: Graph, folder: str | Path) -> None:
    """Writes a verified graph of framework "tflite" into a folder, which is made if there is none.

    Raises
    ------
    UnsupportedError : an operator, type or value that NNEF has no words for
    ToolError : the nnef package is not installed
    """
    nnef = package()
    writer = _Writer(graph)
    writer.write()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / GRAPH).write_text(writer.text())
    (folder / QUANTISATION).write_text("".join(writer.quantisation))
    for label, data in writer.files.items():
        with (folder / tensor_file(label)).open("wb") as file:
            nnef.write_tensor(file, np.array(data, order="C"), quantized=True)


class _Writer:
    """Lines of text, and under which names and in which orders each tensor is there already."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.op = graph, None if not graph.ops else graph.ops[0]
        self.lines: list[str] = []
        self.quantisation: list[str] = []
        self.files: dict[str, Array] = {}
        self.taken = set(RESERVED)
        self.forms: dict[int, dict[Order, str]] = {}  # axis i in the file is axis order[i] of the tensor
        self.inputs: list[str] = []
        self.outputs: list[str] = []

    def write(self) -> None:
        graph = self.graph
        if graph.framework != "tflite":
            raise UnsupportedError(f"{graph.name}: a network of {graph.framework} cannot be written as NNEF; "
                                   "supported are networks that compute as TFLite does")
        for index in graph.inputs:
            tensor = graph.tensors[index]
            self.inputs.append(self.name(tensor.name))
            self.lines.append(f"{self.inputs[-1]} = external<scalar>(shape = {list(tensor.shape)});")
            self.quantise(self.inputs[-1], tensor)
            self.forms[index] = {_plain(tensor): self.inputs[-1]}
        for self.op in graph.ops:
            key = self.op.source if self.op.kind == Kind.HOST else self.op.kind
            if key not in WRITERS:
                raise self.unsupported("is none of NNEF's operators")
            if key in KEEPERS and not self.kept(self.op):
                raise self.unsupported("takes stored values of one scale for those of another")
            WRITERS[key](self, self.op)
        for index in graph.outputs:
            given = self.form(index, _plain(graph.tensors[index]))
            if given in (*self.inputs, *self.outputs):
                given = self.line(graph.tensors[index], f"copy({given})")
            self.outputs.append(given)

    def text(self) -> str:
        body = "\n".join("    " + line for line in self.lines)
        return (f"version 1.0;\n\ngraph network({', '.join(self.inputs)}) -> ({', '.join(self.outputs)})\n"
                f"{{\n{body}\n}}\n")

    def unsupported(self, what: str) -> UnsupportedError:
        assert self.op is not None
        made = self.graph.tensors[self.op.outputs[0]].name
        return UnsupportedError(f"{self.graph.name}: {self.op.label}, which makes {made!r}, {what}; "
                                "it cannot be written as NNEF")

    def kept(self, op: Op) -> bool:
        """Whether all 8-bit tensors of an operator have one quantisation."""
        tensors = [self.graph.tensors[i] for i in (*op.inputs, *op.outputs) if i is not None]
        quants = [tensor.quant for tensor in tensors if tensor.dtype in ("int8", "uint8")]
        return all(quant is not None and quants[0] is not None
                   and np.array_equal(quant.scale, quants[0].scale)
                   and np.array_equal(quant.zero_point, quants[0].zero_point) for quant in quants)

    # Names and quantisation

    def name(self, wanted: str) -> str:
        """An identifier that nobody has."""
        base = re.sub(r"\W+", "_", wanted.split(";")[0], flags=re.ASCII).strip("_")[-60:].strip("_") or "t"
        base = base if base[0].isalpha() else f"t_{base}"
        name, count = base, 1
        while name in self.taken:
            count += 1
            name = f"{base}_{count}"
        self.taken.add(name)
        return name

    def quantise(self, name: str, tensor: Tensor, quant: Quant | None = None) -> None:
        """A line of graph.quant. ``quant`` if the axes are not those of the tensor."""
        quant = quant or tensor.quant
        if quant is None or tensor.dtype not in ("int8", "uint8", "int32"):
            raise UnsupportedError(f"{self.graph.name}: tensor {tensor.name!r} ({tensor.dtype}) "
                                   f"{'has no quantisation' if quant is None else 'is not of 8 bits'}; "
                                   "it cannot be written as NNEF")
        if not np.array_equal(quant.scale.astype(np.float32), quant.scale):
            raise UnsupportedError(f"{self.graph.name}: tensor {tensor.name!r} has a scale that is no "
                                   "float32; it cannot be written as NNEF")
        zeros = quant.zero_point if quant.zero_point.any() else quant.zero_point[:1]
        signed, bits = tensor.dtype != "uint8", 32 if tensor.dtype == "int32" else 8
        symmetric = (signed and tensor.data is not None and not quant.zero_point.any()
                     and not (tensor.data == np.iinfo(tensor.dtype).min).any())
        self.quantisation.append(
            f'"{name}": zero_point_linear_quantize(zero_point = {_nested(zeros, quant.axis, _integer)}, '
            f"scale = {_nested(quant.scale, quant.axis, _real)}, bits = {bits}, "
            f"signed = {_truth(signed)}, symmetric = {_truth(symmetric)});\n")

    # Tensors

    def line(self, tensor: Tensor, expression: str) -> str:
        """A new tensor like ``tensor``; its name."""
        name = self.name(tensor.name)
        self.lines.append(f"{name} = {expression};")
        self.quantise(name, tensor)
        return name

    def tensor(self, position: int) -> Tensor:
        assert self.op is not None
        return tensor_of(self.graph, self.op.inputs[position])

    def form(self, index: int | None, order: Order) -> str:
        """The name of a tensor in an order; written now if it is not there yet."""
        tensor = tensor_of(self.graph, index)
        assert index is not None
        forms = self.forms.setdefault(index, {})
        if order not in forms:
            if tensor.data is not None:
                axis = tensor.quant.axis if tensor.quant else None
                forms[order] = self.variable(tensor, tensor.data.transpose(order),
                                             None if axis is None else order.index(axis))
            else:
                given, name = next(iter(forms.items()))
                axes = [given.index(axis) for axis in order]
                forms[order] = self.line(tensor, f"transpose({name}, axes = {axes})")
        return forms[order]

    def variable(self, tensor: Tensor, data: Array, axis: int | None) -> str:
        """A constant in a file of its own, with its scales along an axis."""
        name = self.name(tensor.name)
        self.files[name] = data
        self.lines.append(f"{name} = variable<scalar>(shape = {list(data.shape)}, label = '{name}');")
        quant = quant_of(tensor) if tensor.quant is not None else None
        self.quantise(name, tensor, None if quant is None else Quant(quant.scale, quant.zero_point, axis))
        return name

    def any_form(self, position: int) -> tuple[str, Order]:
        """An operand as it is there already."""
        assert self.op is not None
        index = self.op.inputs[position]
        assert index is not None
        forms = self.forms.get(index)
        if not forms:
            order = _plain(self.tensor(position))
            return self.form(index, order), order
        order, name = next(iter(forms.items()))
        return name, order

    def plain(self, position: int) -> str:
        assert self.op is not None
        return self.form(self.op.inputs[position], _plain(self.tensor(position)))

    def image(self, position: int = 0) -> str:
        assert self.op is not None
        return self.form(self.op.inputs[position], CHANNELS_FIRST)

    def makes(self, expression: str, order: Order | None = None) -> None:
        """The operator's one output; with its clamp, if it has one."""
        assert self.op is not None
        y = self.graph.tensors[self.op.outputs[0]]
        if "low" in self.op.attrs:
            expression = self.clamped(y, expression, self.op.attrs["low"], self.op.attrs["high"])
        self.forms[self.op.outputs[0]] = {order or _plain(y): self.line(y, expression)}

    def clamped(self, y: Tensor, expression: str, low: int, high: int) -> str:
        limits, zero = np.iinfo(y.dtype), int(quant_of(y).zero_point[0])
        if (low, high) == (limits.min, limits.max):
            return expression
        x = self.line(Tensor(f"{y.name}_sums", y.shape, y.dtype, y.quant), expression)
        if high == limits.max:
            return f"relu({x})" if low == zero else f"max({x}, {self.limit(y, low)})"
        if low == limits.min and low != zero:
            return f"min({x}, {self.limit(y, high)})"
        return f"clamp({x}, {self.limit(y, low)}, {self.limit(y, high)})"

    def limit(self, y: Tensor, stored: int) -> str:
        """A real number that TFLite stores as ``stored``."""
        quant = quant_of(y)
        scale, steps = np.float32(quant.scale[0]), stored - int(quant.zero_point[0])
        for real in (*(np.float32(value) for value in NAMED_LIMITS), np.float32(steps * float(scale))):
            if round_array(np.array(real / scale))[()] == steps:
                return _real(real)
        raise self.unsupported(f"has a limit of {stored} that no real number leads to")


def _plain(tensor: Tensor) -> Order:
    return tuple(range(len(tensor.shape)))


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _integer(value: Any) -> str:
    return str(int(value))


def _real(value: Any) -> str:
    """As few digits as give the same float32 again."""
    short = str(np.float32(value))
    text = short if np.float32(float(short)) == np.float32(value) else f"{float(value):.17g}"
    return text if set(text) & set(".e") else text + ".0"


def _nested(values: Array, axis: int | None, write: Callable[[Any], str]) -> str:
    """One number, or a list of them inside as many brackets as lead to the axis."""
    if axis is None or values.size == 1:
        return write(values.ravel()[0])
    return "[" * (axis + 1) + ", ".join(write(value) for value in values) + "]" * (axis + 1)


def _pairs(padding: Sequence[int]) -> str:
    """(top, bottom, left, right) as NNEF has it."""
    top, bottom, left, right = padding
    return f"({top}, {bottom}), ({left}, {right})"


# Operators


def _bias(self: _Writer, op: Op) -> str:
    if len(op.inputs) < 3 or op.inputs[2] is None:
        return ""
    tensor, weights = self.tensor(2), self.tensor(1)
    assert tensor.data is not None
    # Kernels add a bias to their sums, so this is its scale whatever the graph says.
    product = (quant_of(self.tensor(0)).scale[0] * quant_of(weights).scale).astype(np.float32)
    quant = Quant(product.astype(np.float64), np.zeros(product.size, np.int64))
    data = tensor.data.reshape(1, -1)
    given = Tensor(tensor.name, data.shape, tensor.dtype, quant, data)
    return ", " + self.variable(given, data, 1 if quant.scale.size > 1 else None)


def _weights(self: _Writer, op: Op, order: Order) -> str:
    if self.tensor(1).data is None or (len(op.inputs) > 2 and op.inputs[2] is not None
                                       and self.tensor(2).data is None):
        raise self.unsupported("computes its weights or bias while the network runs")
    return self.form(op.inputs[1], order)


def _convolution(self: _Writer, op: Op) -> None:
    depthwise = op.kind == Kind.DEPTHWISE_CONV
    weights = _weights(self, op, (3, 0, 1, 2) if depthwise else CHANNELS_FIRST)
    attrs = op.attrs
    self.makes(f"conv({self.image()}, {weights}{_bias(self, op)}, border = 'constant', "
               f"padding = [{_pairs(attrs['padding'])}], stride = {list(attrs['stride'])}, "
               f"dilation = {list(attrs['dilation'])}, groups = {0 if depthwise else 1})", CHANNELS_FIRST)


def _fully_connected(self: _Writer, op: Op) -> None:
    x, y = self.tensor(0), self.graph.tensors[op.outputs[0]]
    outputs, inputs = self.tensor(1).shape
    weights, rows = _weights(self, op, (0, 1)), x.size // inputs
    given = self.plain(0)
    if x.shape != (rows, inputs):
        given = self.line(x, f"reshape({given}, shape = {[rows, inputs]})")
    self.makes(f"linear({given}, {weights}{_bias(self, op)})")
    if y.shape != (rows, outputs):
        made = self.form(op.outputs[0], _plain(y))
        self.forms[op.outputs[0]] = {_plain(y): self.line(y, f"reshape({made}, shape = {list(y.shape)})")}


def _pool(function: str) -> "Writer":
    def writer(self: _Writer, op: Op) -> None:
        (h, w), (sy, sx), padding = op.attrs["window"], op.attrs["stride"], op.attrs["padding"]
        self.makes(f"{function}({self.image()}, size = {[1, 1, h, w]}, border = 'ignore', "
                   f"padding = [(0, 0), (0, 0), {_pairs(padding)}], stride = {[1, 1, sy, sx]})",
                   CHANNELS_FIRST)
    return writer


def _pairwise(function: str) -> "Writer":
    """Both operands in one order, and of one rank: NNEF would append dimensions, not prepend them."""
    def writer(self: _Writer, op: Op) -> None:
        y = self.graph.tensors[op.outputs[0]]
        order = next((self.any_form(i)[1] for i, x in enumerate((self.tensor(0), self.tensor(1)))
                      if x.data is None and len(x.shape) == len(y.shape)), _plain(y))
        self.makes(f"{function}({_ranked(self, op, 0, order)}, {_ranked(self, op, 1, order)})", order)
    return writer


def _ranked(self: _Writer, op: Op, position: int, order: Order) -> str:
    """An operand in an order of more dimensions than it may have."""
    tensor, rank = self.tensor(position), len(order)
    missing = rank - len(tensor.shape)
    if not missing:
        return self.form(op.inputs[position], order)
    if tensor.data is not None:
        data = tensor.data.reshape((1,) * missing + tensor.shape).transpose(order)
        return self.variable(tensor, data, None)
    longer = self.line(tensor, f"unsqueeze({self.plain(position)}, axes = {list(range(missing))})")
    if order == tuple(range(rank)):
        return longer
    return self.line(tensor, f"transpose({longer}, axes = {list(order)})")


def _unary(function: str, *arguments: str) -> "Writer":
    def writer(self: _Writer, op: Op) -> None:
        x, order = self.any_form(0)
        self.makes(f"{function}({', '.join((x, *arguments))})", order)
    return writer


def _leaky_relu(self: _Writer, op: Op) -> None:
    alpha = np.float32(op.attrs["options"]["alpha"])
    _unary("leaky_relu", f"alpha = {_real(alpha)}")(self, op)


def _reshape(self: _Writer, op: Op) -> None:
    self.makes(f"reshape({self.plain(0)}, shape = {list(self.graph.tensors[op.outputs[0]].shape)})")


def _transpose(self: _Writer, op: Op) -> None:
    permutation = self.tensor(1).data
    assert permutation is not None
    self.makes(f"transpose({self.plain(0)}, axes = {permutation.ravel().tolist()})")


def _softmax(self: _Writer, op: Op) -> None:
    if op.attrs["beta"] != 1:
        raise self.unsupported(f"has a beta of {op.attrs['beta']}")
    self.makes(f"softmax({self.plain(0)}, axes = [{len(self.tensor(0).shape) - 1}])")


def _reduction(function: str) -> "Writer":
    def writer(self: _Writer, op: Op) -> None:
        y = self.graph.tensors[op.outputs[0]]
        x, order = self.any_form(0)
        axes = sorted(order.index(axis) for axis in reduced_axes(self.graph, op))
        if op.attrs["options"]["keep_dims"]:
            return self.makes(f"{function}({x}, axes = {axes})", order)
        kept = self.line(y, f"{function}({x}, axes = {axes})")
        left = [axis for axis in order if axis not in reduced_axes(self.graph, op)]
        return self.makes(f"squeeze({kept}, axes = {axes})", tuple(sorted(left).index(axis) for axis in left))
    return writer


def _concatenation(self: _Writer, op: Op) -> None:
    order = self.any_form(0)[1]
    rank = len(order)
    parts = ", ".join(self.form(index, order) for index in op.inputs)
    self.makes(f"concat([{parts}], axis = {order.index(op.attrs['options']['axis'] % rank)})", order)


def _pad(self: _Writer, op: Op) -> None:
    x, order = self.any_form(0)
    given = pads(self.graph, op)
    margins = [given[axis] for axis in order]
    extra = ""
    if op.source == "MIRROR_PAD":
        extra = f", border = '{'reflect-even' if op.attrs['options']['symmetric'] else 'reflect'}'"
    elif op.source == "PADV2":
        around = self.tensor(2).data
        if around is None:
            raise self.unsupported("computes its border while the network runs")
        extra = f", border = 'constant', value = {self.limit(self.tensor(0), int(around.ravel()[0]))}"
    self.makes(f"pad({x}, padding = {margins}{extra})", order)


def _split(self: _Writer, op: Op) -> None:
    position = 1 if op.source == "SPLIT" else 0
    if position:
        axis, sizes = split_axis(self.graph, op), [1] * len(op.outputs)
    else:
        axis, sizes = split_sizes(self.graph, op)
    x, order = self.any_form(position)
    tensors = [self.graph.tensors[index] for index in op.outputs]
    names = [self.name(tensor.name) for tensor in tensors]
    self.lines.append(f"[{', '.join(names)}] = split({x}, axis = {order.index(axis)}, ratios = {sizes});")
    for index, tensor, name in zip(op.outputs, tensors, names, strict=True):
        self.quantise(name, tensor)
        self.forms[index] = {order: name}


Writer = Callable[[_Writer, Op], None]

WRITERS: dict[Kind | str, Writer] = {
    Kind.ADD: _pairwise("add"),
    Kind.AVERAGE_POOL: _pool("avg_pool"),
    Kind.CONV: _convolution,
    Kind.DEPTHWISE_CONV: _convolution,
    Kind.FULLY_CONNECTED: _fully_connected,
    Kind.MAX_POOL: _pool("max_pool"),
    Kind.MUL: _pairwise("mul"),
    Kind.RESHAPE: _reshape,
    Kind.SOFTMAX: _softmax,
    Kind.SUB: _pairwise("sub"),
    "ABS": _unary("abs"),
    "CONCATENATION": _concatenation,
    "ELU": _unary("elu"),
    "EXP": _unary("exp"),
    "LEAKY_RELU": _leaky_relu,
    "LOG": _unary("log"),
    "LOGISTIC": _unary("sigmoid"),
    "MAXIMUM": _pairwise("max"),
    "MEAN": _reduction("mean_reduce"),
    "MINIMUM": _pairwise("min"),
    "MIRROR_PAD": _pad,
    "PAD": _pad,
    "PADV2": _pad,
    "PRELU": _pairwise("prelu"),
    "QUANTIZE": _unary("copy"),
    "REDUCE_MAX": _reduction("max_reduce"),
    "REDUCE_MIN": _reduction("min_reduce"),
    "RELU": _unary("relu"),
    "RELU6": _unary("clamp", "0.0", "6.0"),
    "RELU_0_TO_1": _unary("clamp", "0.0", "1.0"),
    "RELU_N1_TO_1": _unary("clamp", "-1.0", "1.0"),
    "SPLIT": _split,
    "SPLIT_V": _split,
    "TANH": _unary("tanh"),
    "TRANSPOSE": _transpose,
}
"""By kind; operators of Kind.HOST by their framework name."""
