"""NNEF models to graphs, for what TFLite's reference kernels compute.

NNEF says what each operator means on real numbers and what each stored number stands for (graph.quant), but
not how a quantised operator rounds. Here a quantised NNEF model means what TFLite's reference kernels compute
of it: the graph's framework is "tflite".

NNEF's images are [N, C, H, W], the graph's [N, H, W, C]. Each tensor of the file becomes a tensor of the
graph in whatever order its operator works in, and ``Value.order`` remembers which. Transpositions in the file
only change that order; a TRANSPOSE arises where an operator, or an output of the network, needs another.
Inputs and outputs of the network have the shapes that the file gives them.

Sources: the NNEF 1.0.5 specification, chapter 4 (operators) and 4.7 (quantisation).
"""
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...rtl.contract.errors import GraphError, ModelError, UnsupportedError
from ..graph.ir import Array, Graph, Kind, Op, Quant, Tensor
from ..graph.shapes import Shape, reduced_axes, require
from ..graph.verify import ATTRIBUTES, MAX_ELEMENTS, RANK_LIMIT, accepts, dtypes_of, rule_of, verify
from ..reference.rounding import round_array
from .nnef_file import DAMAGED, QUANTISATION, Files, open_files, parse, read_tensor, tensor_file

Order = tuple[int, ...]
Operands = tuple[int | None, ...]

IMAGE: Order = (0, 2, 3, 1)
"""[N, C, H, W] as [N, H, W, C]."""

QUANTIZERS = ("zero_point_linear_quantize", "min_max_linear_quantize", "linear_quantize")
TYPES = {(8, True): "int8", (8, False): "uint8", (32, True): "int32"}
WHOLE = 1e-3
"""How far a zero point that is computed from limits may lie from an integer; float32 limits leave 1e-4."""
BIAS_TOLERANCE = 0.02
"""Of an output step: how far the scale of a bias may be from input scale * filter scale, as in TFLite."""
FILL_LIMIT = 2**20
"""Elements of a constant that the text gives one value for; they take memory, but no room in the file."""
LITERAL_STEPS = 127
"""A number among the operands is stored as this, with a scale that makes it exact to float32."""

RECTIFIERS = {"RELU": (0.0, None), "RELU6": (0.0, 6.0), "RELU_0_TO_1": (0.0, 1.0),
              "RELU_N1_TO_1": (-1.0, 1.0)}
CLAMPS = {"relu", "relu6", "clamp", "min", "max"}


@dataclass(frozen=True)
class Stored:
    """How a tensor's numbers are stored."""

    dtype: str
    quant: Quant
    symmetric: bool = False  # the least value of a signed type is not used

    def same(self, other: "Stored") -> bool:
        return (self.dtype == other.dtype and np.array_equal(self.quant.scale, other.quant.scale)
                and np.array_equal(self.quant.zero_point, other.quant.zero_point))


@dataclass(frozen=True)
class Value:
    """A tensor of the file in the graph: axis i of tensor ``index`` is axis order[i] of the file's tensor."""

    index: int
    order: Order


@dataclass(frozen=True)
class Constant:
    """Stored values in the order of the file; a tensor of the graph is made where they are used."""

    name: str
    data: Array
    stored: Stored | None


def load_nnef(path: str | Path, *, rounding: Literal["litert", "tflm"] = "litert") -> Graph:
    """The graph of a quantised NNEF model, verified.

    Parameters
    ----------
    path : the model's folder (or graph.nnef in it), or a tar archive of one, compressed or not
    rounding : the framework whose FULLY_CONNECTED is meant

    Raises
    ------
    ModelError : no NNEF model, damaged, or inconsistent
    UnsupportedError : a sound model with an operator, type or feature nothing here computes
    ToolError : the nnef package is not installed
    """
    return load_files(open_files(Path(path)), rounding=rounding)


def load_files(files: Files, *, rounding: Literal["litert", "tflm"] = "litert") -> Graph:
    """The same of files that are open already, on disk or in memory."""
    return _Importer(files, parse(files)).graph(rounding)


class _Importer:
    """One model, operation by operation."""

    def __init__(self, files: Files, parsed: Any) -> None:
        self.name, self.files, self.parsed = files.name, files, parsed
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []
        self.values: dict[str, Value | Constant] = {}
        self.quantisation = {name: dict(tensor.quantization) for name, tensor in parsed.tensors.items()}
        self.readers = Counter(str(name) for name in parsed.outputs)
        for operation in parsed.operations:
            self.readers.update(_names(operation.inputs.values()))
        self.moved: dict[tuple[int, Order], Value] = {}  # values in other orders than they were made in
        self.index = 0
        self._inherit()

    def _inherit(self) -> None:
        """A result without quantisation that is only clamped has that of the clamped one."""
        for operation in reversed(self.parsed.operations):
            given, made = (list(_names(names.values())) for names in (operation.inputs, operation.outputs))
            if (operation.name in CLAMPS and len(given) == 1 and not self.quantisation[given[0]]
                    and self.readers[given[0]] == 1 and given[0] not in self.parsed.inputs):
                self.quantisation[given[0]] = self.quantisation[made[0]]

    def graph(self, rounding: Literal["litert", "tflm"]) -> Graph:
        for index, operation in enumerate(self.parsed.operations):
            self.index = index
            handler = HANDLERS.get(operation.name)
            if handler is None:
                raise self.unsupported("is not supported; supported are " + ", ".join(sorted(HANDLERS)))
            try:
                handler(self, _Operation(self, operation))
            except GraphError as error:
                raise ModelError(f"{self.name}: {self.label}: {error}; {DAMAGED}") from None
        try:
            outputs = tuple(self.plain(self.values[name]).index for name in self.parsed.outputs)
            inputs = tuple(self.value(self.values[name]).index for name in self.parsed.inputs)
            graph = replace(self.draft(), ops=tuple(self.ops), inputs=inputs, outputs=outputs,
                            rounding=rounding, source_bytes=self.files.size)
            verify(graph)
        except GraphError as error:
            raise ModelError(f"{self.name}: {error}; {DAMAGED}") from None
        return graph

    # Messages

    @property
    def label(self) -> str:
        operation = self.parsed.operations[self.index]
        made = next(_names(operation.outputs.values()), "?")
        return f"operator {self.index} ({operation.name}), which makes tensor {made!r}"

    def unsupported(self, what: str) -> UnsupportedError:
        return UnsupportedError(f"{self.name}: {self.label}, {what}")

    # Quantisation

    def stored(self, name: str, shape: Shape) -> Stored | None:
        """What graph.quant says of a tensor of a shape in the file. None where it says nothing."""
        entry = self.quantisation.get(name)
        if not entry:
            return None
        if entry["op-name"] not in QUANTIZERS:
            raise self.unsupported(f"is quantised by {entry['op-name']}; "
                                   f"supported are {', '.join(QUANTIZERS)}")
        bits, signed = entry["bits"], bool(entry.get("signed", False))
        dtype = TYPES.get((bits, signed))
        if dtype is None:
            raise self.unsupported(f"is stored in {bits} {'signed' if signed else 'unsigned'} bits; "
                                   "supported are 8 bits, and 32 signed bits for a bias")
        symmetric = bool(entry.get("symmetric", False))
        if entry["op-name"] == QUANTIZERS[0]:
            scale, zero = (np.asarray(entry[key], np.float64) for key in ("scale", "zero_point"))
        else:
            scale, zero = self._affine(entry, bits, signed, symmetric)
        try:
            scale, zero = np.broadcast_arrays(scale, zero)
        except ValueError:
            raise GraphError(f"scales {list(scale.shape)} and zero points {list(zero.shape)} in "
                             f"{QUANTISATION} do not fit together") from None
        axis = None if scale.size == 1 else _axis_of(scale.shape, shape)
        require(scale.size > 0, f"{name!r} has no scale in {QUANTISATION}")
        return Stored(dtype, Quant(scale.ravel(), zero.ravel().astype(np.int64), axis), symmetric)

    def _affine(self, entry: dict[str, Any], bits: int, signed: bool, symmetric: bool) -> tuple[Array, Array]:
        """Limits as scale and zero point: real 0 must be a stored value, and scales are float32."""
        low, high = (np.asarray(entry[key], np.float64) for key in ("min", "max"))
        steps = 2**bits - 1 - (signed and symmetric)
        least = -(2 ** (bits - 1)) + symmetric if signed else 0
        try:
            scale = (high - low) / steps
        except ValueError:
            raise GraphError(f"limits {list(low.shape)} and {list(high.shape)} in {QUANTISATION} do not fit "
                             "together") from None
        limits = f"limits {low.tolist()} and {high.tolist()}"
        require(bool((scale > 0).all()), f"{limits} leave no room between them")
        real = least - low / scale
        zero = np.round(real)
        if not (np.abs(real - zero) < WHOLE).all():
            raise self.unsupported(f"is quantised with {limits}: real 0 lies between two stored values; "
                                   "supported are limits with a zero point")
        return scale.astype(np.float32).astype(np.float64), zero

    def result(self, name: str, like: Stored | None = None) -> Stored:
        """How an operator's result is stored; ``like`` if graph.quant says nothing."""
        entry = self.quantisation.get(name) or {}
        count = max((value.size for value in entry.values() if isinstance(value, np.ndarray)), default=1)
        if count > 1:
            raise self.unsupported(f"has {count} scales or zero points; supported is one for what operators "
                                   "compute, and one a channel for filters")
        stored = self.stored(name, ()) or like
        if stored is None:
            raise self.unsupported(f"has no quantisation of {name!r} in {QUANTISATION}; "
                                   "supported are quantised models")
        return stored

    def of(self, value: Value) -> Stored:
        """How a value is stored."""
        tensor = self.tensors[value.index]
        assert tensor.quant is not None
        return Stored(tensor.dtype, tensor.quant)

    # Values

    def add(self, tensor: Tensor) -> int:
        _sized(tensor)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def integers(self, values: Sequence[Any], name: str) -> int:
        """An operand of axes, sizes and the like."""
        data = np.array(values, np.int32)
        return self.add(Tensor(name, data.shape, "int32", None, data))

    def shape(self, value: Value | Constant) -> Shape:
        """In the order of the file."""
        if isinstance(value, Constant):
            return tuple(int(size) for size in value.data.shape)
        shape = self.tensors[value.index].shape
        return tuple(shape[value.order.index(axis)] for axis in range(len(shape)))

    def laid(self, constant: Constant, order: Order, stored: Stored | None = None) -> int:
        """A constant as a tensor of the graph, its axes in an order."""
        stored = stored or constant.stored
        if stored is None:
            raise self.unsupported(f"reads {constant.name!r}, which has no quantisation in {QUANTISATION}; "
                                   "supported are quantised models")
        data = np.array(constant.data.transpose(order), order="C")
        quant = stored.quant
        if quant.axis is not None:
            require(quant.axis < len(order), f"{constant.name!r} has scales along axis {quant.axis}")
            quant = replace(quant, axis=order.index(quant.axis))
        return self.add(Tensor(constant.name, data.shape, str(data.dtype), quant, data))

    def value(self, value: Value | Constant) -> Value:
        if isinstance(value, Value):
            return value
        order = tuple(range(value.data.ndim))
        return Value(self.laid(value, order), order)

    def plain(self, value: Value | Constant) -> Value:
        """In the order of the file."""
        return self.ordered(value, tuple(range(len(self.shape(value)))))

    def ordered(self, value: Value | Constant, order: Order) -> Value:
        """In an order: a RESHAPE where only dimensions of 1 move, else a TRANSPOSE."""
        if isinstance(value, Constant):
            return Value(self.laid(value, order), order)
        if value.order == order:
            return value
        key = value.index, tuple(value.order.index(axis) for axis in order)
        if key not in self.moved:
            self.moved[key] = self._moved(value, order)
        return replace(self.moved[key], order=order)

    def _moved(self, value: Value, order: Order) -> Value:
        x, shape = self.tensors[value.index], self.shape(value)
        target = tuple(shape[axis] for axis in order)
        name = f"{x.name} ({', '.join(str(axis) for axis in order)})"
        if _long(value.order, shape) == _long(order, shape):
            if x.shape == target:
                return Value(value.index, order)
            return Value(self.reshape(value.index, name, target), order)
        moves = self.integers([value.order.index(axis) for axis in order], f"{name}: axes")
        return Value(self.host("TRANSPOSE", (value.index, moves), name, self.of(value)), order)

    def aligned(self, values: Sequence[Value | Constant]) -> tuple[list[Value], Order]:
        """All in one order and of one rank; NNEF appends dimensions of 1 to what is shorter."""
        rank = max(len(self.shape(value)) for value in values)
        longer = [self._extended(value, rank) for value in values]
        order = next((value.order for value, given in zip(longer, values, strict=True)
                      if isinstance(value, Value) and len(self.shape(given)) == rank), tuple(range(rank)))
        return [self.ordered(value, order) for value in longer], order

    def _extended(self, value: Value | Constant, rank: int) -> Value | Constant:
        have = len(self.shape(value))
        if have == rank:
            return value
        ones = (1,) * (rank - have)
        if isinstance(value, Constant):
            return replace(value, data=value.data.reshape(value.data.shape + ones))
        x = self.tensors[value.index]
        index = self.reshape(value.index, f"{x.name} (to rank {rank})", x.shape + ones)
        return Value(index, value.order + tuple(range(have, rank)))

    def read_once(self, value: Value) -> bool:
        """Whether nobody but the operator at hand reads a value, under any of its names."""
        names = [name for name, other in self.values.items()
                 if isinstance(other, Value) and other.index == value.index]
        return all(self.readers[name] == 1 for name in names)

    def rescaled(self, value: Value, stored: Stored, name: str) -> Value:
        """The same reals, stored in another way."""
        if self.of(value).same(stored):
            return value
        return replace(value, index=self.host("QUANTIZE", (value.index,), name, stored))

    # Operators of the graph

    def draft(self) -> Graph:
        return Graph(self.name, "tflite", tuple(self.tensors), (), (), ())

    def emit(self, kind: Kind, source: str, inputs: Operands, attrs: dict[str, Any], name: str,
             stored: Stored, *, shape: Shape | None = None) -> int:
        """An operator with one output, whose shape follows from the operands where it is not given."""
        return self.emit_many(kind, source, inputs, attrs, [name], stored, shape=shape)[0]

    def host(self, source: str, inputs: Operands, name: str, stored: Stored, **options: Any) -> int:
        """An operator of Kind.HOST."""
        return self.emit(Kind.HOST, source, inputs, {"options": options}, name, stored)

    def reshape(self, index: int, name: str, shape: Shape) -> int:
        stored = self.of(Value(index, ()))
        return self.emit(Kind.RESHAPE, "RESHAPE", (index,), {}, name, stored, shape=shape)

    def emit_many(self, kind: Kind, source: str, inputs: Operands, attrs: dict[str, Any],
                  names: Sequence[str], stored: Stored, *, shape: Shape | None = None) -> tuple[int, ...]:
        start = len(self.tensors)
        outputs = tuple(range(start, start + len(names)))
        self.tensors += [Tensor(name, shape or (), stored.dtype, stored.quant) for name in names]
        op = Op(kind, source, inputs, outputs, attrs, self.index)
        graph = self.draft()
        rule = rule_of(graph, op)
        assert rule is not None, op
        if not accepts(rule, graph, op):
            raise self.unsupported(f"has types {dtypes_of(graph, op)}; supported are "
                                   f"{', '.join(rule.dtypes)}; convert the model with 8-bit quantisation")
        for key, attribute in attrs.items():
            legal, wanted = ATTRIBUTES[key]
            require(legal(attribute), f"{key} is {attribute!r}; it must be {wanted}")
        for index, made in zip(outputs, rule.shapes(graph, op), strict=True):
            self.tensors[index] = replace(self.tensors[index], shape=made)
            _sized(self.tensors[index])
        if stored.symmetric and stored.dtype == "int8" and "low" not in attrs and kind != Kind.RESHAPE:
            raise self.unsupported("never makes the least stored value (symmetric = true); supported is that "
                                   "for filters, and for results of operators that can clamp")
        self.ops.append(op)
        return outputs

    def keep(self, operation: "_Operation", value: Value) -> None:
        """What only moved stored values is the result, rescaled where graph.quant asks for it."""
        stored = self.result(operation.made, self.of(value))
        operation.makes(self.rescaled(value, replace(stored, symmetric=False), operation.made))

    def step(self, real: float, stored: Stored) -> int:
        """The stored value of a limit, as TFLite rounds it (CalculateActivationRangeQuantized)."""
        with np.errstate(all="ignore"):
            steps = round_array(np.float32(real) / stored.quant.scale.astype(np.float32)[:1])[0]
        require(bool(abs(steps) < 2**31),
                f"the limit {real} is out of reach of scale {stored.quant.scale[0]}")
        return int(stored.quant.zero_point[0]) + int(steps)


class _Operation:
    """One operation of the file, and its operands by name."""

    def __init__(self, importer: _Importer, parsed: Any) -> None:
        self.importer, self.attributes, self.parsed = importer, parsed.attribs, parsed
        self.names = list(_names(parsed.outputs.values()))

    @property
    def made(self) -> str:
        require(len(self.names) == 1, f"it makes {len(self.names)} tensors, not 1")
        return self.names[0]

    def makes(self, *values: Value | Constant) -> None:
        require(len(values) == len(self.names), f"it makes {len(values)} tensors, not {len(self.names)}")
        self.importer.values.update(zip(self.names, values, strict=True))

    def operand(self, name: str) -> Value | Constant:
        return self.as_value(self.parsed.inputs[name], name)

    def as_value(self, given: Any, name: str) -> Value | Constant:
        """Numbers become constants."""
        if isinstance(given, str):
            return self.importer.values[given]
        return _literal(float(given), f"{self.names[0]}: {name}")

    def number(self, name: str) -> float | None:
        """An operand that is a number in the text, else None."""
        given = self.parsed.inputs[name]
        return None if isinstance(given, (str, list)) else float(given)

    def computed(self, name: str) -> Value:
        return self.importer.value(self.operand(name))

    def constant(self, name: str) -> Constant:
        value = self.operand(name)
        if isinstance(value, Value):
            raise self.importer.unsupported(f"computes its {name} while the network runs; supported are "
                                            "variables and constants")
        return value


def _names(arguments: Any) -> Iterator[str]:
    """The tensors among the arguments, which may be lists."""
    for argument in arguments:
        if isinstance(argument, str):
            yield str(argument)
        elif isinstance(argument, (list, tuple)):
            yield from _names(argument)


def _sized(tensor: Tensor) -> None:
    """Rules that kernels' shape functions rely on; the rest is verify()'s."""
    require(len(tensor.shape) <= RANK_LIMIT and min(tensor.shape, default=1) > 0
            and prod(tensor.shape) <= MAX_ELEMENTS,
            f"{tensor.name!r} has shape {list(tensor.shape)}; each dimension must be a positive number, "
            f"with up to {RANK_LIMIT} dimensions and {MAX_ELEMENTS} elements")


def _axis_of(given: Shape, shape: Shape) -> int:
    """The axis along which scales of shape ``given`` lie; leading axes come first, as in all of NNEF."""
    long = [axis for axis, size in enumerate(given) if size > 1]
    if len(long) == 1 and long[0] < len(shape) and shape[long[0]] == given[long[0]]:
        return long[0]
    fitting = [axis for axis, size in enumerate(shape) if (size,) == given]  # Khronos' converters: any axis
    require(len(fitting) == 1, f"scales of shape {list(given)} in {QUANTISATION} do not fit {list(shape)}")
    return fitting[0]


def _long(order: Order, shape: Shape) -> list[int]:
    """The axes that decide where elements lie."""
    return [axis for axis in order if shape[axis] > 1]


def _literal(real: float, name: str) -> Constant:
    scale = np.float32(abs(real) / LITERAL_STEPS)
    steps = int(np.sign(scale)) * (LITERAL_STEPS if real > 0 else -LITERAL_STEPS)
    quant = Quant(np.array([scale or 1], np.float64), np.zeros(1, np.int64))
    return Constant(name, np.array(steps, np.int8), Stored("int8", quant))


def _limits(stored: Stored) -> dict[str, Any]:
    limits = np.iinfo(stored.dtype)
    return {"low": int(limits.min) + (stored.symmetric and limits.min < 0), "high": int(limits.max)}


def _clamped(stored: Stored, low: int, high: int, attrs: dict[str, Any]) -> dict[str, Any]:
    """Attributes with tighter limits."""
    limits = {name: min(max(attrs[name], low), high) for name in ("low", "high")}
    return {**attrs, **limits}


# Operations


def _external(self: _Importer, operation: _Operation) -> None:
    shape = _positive(operation.attributes["shape"])
    stored = self.result(operation.made)
    index = self.add(Tensor(operation.made, shape, stored.dtype, stored.quant))
    operation.makes(Value(index, tuple(range(len(shape)))))


def _positive(sizes: Sequence[int]) -> Shape:
    require(min(sizes, default=1) > 0, f"shape {list(sizes)} is not made of positive numbers")
    return tuple(sizes)


def _variable(self: _Importer, operation: _Operation) -> None:
    label, shape = operation.attributes["label"], _positive(operation.attributes["shape"])
    try:
        file = tensor_file(label)
    except ValueError:
        raise GraphError(f"its label {label[:80]!r} is no name of a file in the model's folder") from None
    data = read_tensor(self.files, file)
    require(data.shape == shape, f"it has shape {list(shape)}, but the file {file!r} {list(data.shape)}")
    operation.makes(_quantised(self, operation.made, data))


def _constant(self: _Importer, operation: _Operation) -> None:
    shape, values = _positive(operation.attributes["shape"]), operation.attributes["value"]
    require(len(values) in (1, prod(shape)), f"{len(values)} values do not fill {list(shape)}")
    require(len(values) > 1 or prod(shape) <= FILL_LIMIT,
            f"one value for {prod(shape)} elements; the limit is {FILL_LIMIT}")
    data = np.array(values, np.float64) if len(values) > 1 else np.full(shape, float(values[0]))
    operation.makes(_quantised(self, operation.made, data.reshape(shape)))


def _quantised(self: _Importer, name: str, data: Array) -> Constant:
    """Stored integers as they are; reals as the formula in graph.quant stores them."""
    stored = self.stored(name, data.shape)
    if stored is None:
        return Constant(name, data, None)
    limits = np.iinfo(stored.dtype)
    if data.dtype.kind == "f":
        axis = stored.quant.axis
        spread = [-1 if i == axis else 1 for i in range(data.ndim)] if axis is not None else ()
        scale, zero = (each.reshape(spread) for each in (stored.quant.scale, stored.quant.zero_point))
        require(bool((scale > 0).all() and np.isfinite(data).all()), f"{name!r} or its scale is not a number")
        data = np.clip(round_array(data.astype(np.float64) / scale) + zero, limits.min, limits.max)
    elif data.dtype.kind in "iu" and data.size and not limits.min <= data.min() <= data.max() <= limits.max:
        raise GraphError(f"{name!r} holds {data.min()} to {data.max()}, its quantisation is {stored.dtype}")
    return Constant(name, data.astype(stored.dtype), stored)


def _windows(self: _Importer, operation: _Operation, size: Shape, window: Shape, skip: int) -> dict[str, Any]:
    """Stride, dilation and padding of a window over [H, W]; attributes begin with ``skip`` other axes."""
    given = {}
    for key, idle in (("stride", 1), ("dilation", 1), ("padding", (0, 0))):
        values = operation.attributes[key]
        require(len(values) in (0, 2 + skip), f"{key} {values} does not fit an image")
        if any(value != idle for value in values[:skip]) and values:
            raise self.unsupported(f"has {key} {values} over batches or channels; supported are windows over "
                                   "height and width")
        given[key] = tuple(values[skip:])
    stride, dilation = given["stride"] or (1, 1), given["dilation"] or (1, 1)
    require(min(*stride, *dilation, *window) > 0,
            f"stride {stride}, dilation {dilation} and window {window} must be positive")
    sides = [side for pair in given["padding"] for side in pair]
    if not given["padding"]:  # the least padding with one result a stride; the odd element comes last
        for extent, reach, step, spread in zip(size, window, stride, dilation, strict=True):
            total = max(0, (-(-extent // step) - 1) * step + (reach - 1) * spread + 1 - extent)
            sides += [total // 2, total - total // 2]
    return {"stride": stride, "dilation": dilation, "padding": tuple(sides)}


def _image(self: _Importer, operation: _Operation, name: str = "input") -> Value:
    value = operation.operand(name)
    if len(self.shape(value)) != 4:
        raise self.unsupported(f"has an {name} of shape {list(self.shape(value))}; supported are images of 4 "
                               "dimensions (N, C, H, W)")
    return self.ordered(value, IMAGE)


def _conv(self: _Importer, operation: _Operation) -> None:
    x, filters = _image(self, operation), operation.constant("filter")
    groups, shape = operation.attributes["groups"], filters.data.shape
    require(len(shape) == 4, f"its filter has shape {list(shape)}, not 4 dimensions")
    channels = self.tensors[x.index].shape[3]
    if operation.attributes["border"] not in ("constant", "ignore"):
        raise self.unsupported(f"has border {operation.attributes['border']!r}; supported is 'constant'")
    depthwise = groups == 0 or (groups == channels and groups > 1)
    if groups != 1 and not depthwise:
        raise self.unsupported(f"is a convolution in {groups} groups; supported are one, and one a channel")
    require(shape[1] == (1 if depthwise else channels),
            f"a filter of shape {list(shape)} does not fit {channels} channels in {groups} groups")
    image = self.tensors[x.index].shape[1:3]
    windows = _windows(self, operation, image, shape[2:], 0)
    weights = self.laid(filters, (1, 2, 3, 0) if depthwise else IMAGE)
    kind, source = ((Kind.DEPTHWISE_CONV, "DEPTHWISE_CONV_2D") if depthwise else (Kind.CONV, "CONV_2D"))
    stored = self.result(operation.made)
    operands = (x.index, weights, _bias(self, operation, x, weights, shape[0], stored))
    operation.makes(Value(self.emit(kind, source, operands, {**windows, **_limits(stored)}, operation.made,
                                    stored), IMAGE))


def _bias(self: _Importer, operation: _Operation, x: Value, weights: int, channels: int,
          stored: Stored) -> int | None:
    """int32 with the scale of the sums; None for the number 0."""
    number = operation.number("bias")
    if number == 0:
        return None
    if number is not None:
        raise self.unsupported(f"has a bias of {number}; supported are 0 and tensors of 32 signed bits")
    bias = operation.constant("bias")
    data, shape = bias.data, bias.data.shape
    require(data.size == channels == (shape or (1,))[-1],
            f"its bias has shape {list(shape)}, not {channels} elements")
    sums = self.of(x).quant.scale * _scales(self.tensors[weights])
    if bias.stored is None and data.dtype.kind == "f":
        raise self.unsupported("has a bias of reals; supported are 0 and tensors of 32 signed bits")
    if data.dtype != "int32":
        raise self.unsupported(f"has a bias of {data.dtype}; supported are 0 and tensors of 32 signed bits")
    quant = bias.stored.quant if bias.stored else Quant(sums, np.zeros(sums.size, np.int64))
    require(not quant.zero_point.any(), f"its bias {bias.name!r} has a zero point")
    require(quant.scale.size in (1, channels), f"its bias {bias.name!r} has {quant.scale.size} scales")
    with np.errstate(all="ignore"):
        close = np.abs(sums - quant.scale) <= BIAS_TOLERANCE * stored.quant.scale
    if not close.all():
        raise self.unsupported(f"has a bias {bias.name!r} whose scale is not input scale * filter scale")
    quant = Quant(quant.scale, quant.zero_point, 0 if quant.scale.size > 1 else None)
    return self.add(Tensor(bias.name, (channels,), "int32", quant, data.reshape(channels)))


def _scales(tensor: Tensor) -> Array:
    assert tensor.quant is not None
    return tensor.quant.scale


def _linear(self: _Importer, operation: _Operation) -> None:
    x = self.plain(operation.operand("input"))
    _fully_connected(self, operation, x, operation.constant("filter"))


def _matmul(self: _Importer, operation: _Operation) -> None:
    """With constant B: FULLY_CONNECTED over the last axis of A."""
    a, b = self.plain(operation.operand("A")), operation.constant("B")
    if operation.attributes["transposeA"]:
        raise self.unsupported("transposes A; supported is A as it is")
    shape = b.data.shape
    require(len(shape) == len(self.shape(a)) >= 2, f"{list(self.shape(a))} and {list(shape)} are no matrices")
    if prod(shape[:-2]) != 1 or (b.stored is not None and b.stored.quant.axis is not None
                                 and b.stored.quant.axis < len(shape) - 2):
        raise self.unsupported(f"multiplies by {prod(shape[:-2])} matrices; supported is one")
    stored = b.stored
    if stored is not None and stored.quant.axis is not None:
        stored = replace(stored, quant=replace(stored.quant, axis=stored.quant.axis - len(shape) + 2))
    b = Constant(b.name, b.data.reshape(shape[-2:]), stored)
    if not operation.attributes["transposeB"]:
        b = _turned(b)
    _fully_connected(self, operation, a, b)


def _turned(matrix: Constant) -> Constant:
    stored = matrix.stored
    if stored is not None and stored.quant.axis is not None:
        stored = replace(stored, quant=replace(stored.quant, axis=1 - stored.quant.axis))
    return Constant(matrix.name, np.ascontiguousarray(matrix.data.T), stored)


def _fully_connected(self: _Importer, operation: _Operation, x: Value, weights: Constant) -> None:
    require(weights.data.ndim == 2, f"its filter has shape {list(weights.data.shape)}, not 2 dimensions")
    stored = self.result(operation.made)
    index = self.laid(weights, (0, 1))
    shape = self.shape(x)
    require(len(shape) >= 2 and shape[-1] == weights.data.shape[1],
            f"{list(shape)} and a filter of {list(weights.data.shape)} do not fit together")
    bias = (None if "bias" not in operation.parsed.inputs
            else _bias(self, operation, x, index, weights.data.shape[0], stored))
    made = (*shape[:-1], weights.data.shape[0])
    operation.makes(Value(self.emit(Kind.FULLY_CONNECTED, "FULLY_CONNECTED", (x.index, index, bias),
                                    _limits(stored), operation.made, stored, shape=made),
                          tuple(range(len(made)))))


def _pool(kind: Kind, source: str) -> "Handler":
    def handler(self: _Importer, operation: _Operation) -> None:
        size, border, dilation = (operation.attributes[key] for key in ("size", "border", "dilation"))
        x = _image(self, operation)
        require(len(size) == 4, f"its size {size} does not fit an image")
        if size[:2] != [1, 1] or any(value != 1 for value in dilation):
            raise self.unsupported(f"has size {size} and dilation {dilation}; supported are windows over "
                                   "height and width, without gaps")
        if not operation.attributes.get("normalize", True):
            raise self.unsupported("adds up without dividing (normalize = false); supported are means")
        windows = _windows(self, operation, self.tensors[x.index].shape[1:3], tuple(size[2:]), 2)
        del windows["dilation"]
        if border == "constant" and any(windows["padding"]):  # zeros around the image are seen
            top, bottom, left, right = windows["padding"]
            x = _padded(self, x, [(0, 0), (top, bottom), (left, right), (0, 0)], f"{operation.made} (padded)")
            windows["padding"] = (0, 0, 0, 0)
        elif border not in ("constant", "ignore"):
            raise self.unsupported(f"has border {border!r}; supported are 'ignore' and 'constant'")
        given, stored = self.of(x), self.result(operation.made, self.of(x))
        here = replace(given, symmetric=stored.symmetric) if given.same(stored) else given
        attrs = {"window": tuple(size[2:]), **windows, **_limits(here)}
        y = Value(self.emit(kind, source, (x.index,), attrs, operation.made, here), IMAGE)
        operation.makes(self.rescaled(y, stored, operation.made))
    return handler


def _padded(self: _Importer, x: Value, margins: Sequence[tuple[int, int]], name: str) -> Value:
    widths = self.integers(margins, f"{name}: margins")
    return replace(x, index=self.host("PAD", (x.index, widths), name, self.of(x)))


def _pad(self: _Importer, operation: _Operation) -> None:
    x = operation.computed("input")
    padding, border = operation.attributes["padding"], operation.attributes["border"]
    value = operation.attributes["value"]
    require(len(padding) == len(x.order), f"padding {padding} does not fit {list(self.shape(x))}")
    margins, name = [padding[axis] for axis in x.order], operation.made
    require(all(side >= 0 for pair in margins for side in pair), f"padding {padding} is negative")
    if border == "constant" and value == 0:
        y = _padded(self, x, margins, name)
    elif border == "constant":
        stored, widths = self.of(x), self.integers(margins, f"{name}: margins")
        limits = np.iinfo(stored.dtype)
        data = np.array([min(max(self.step(value, stored), limits.min), limits.max)], stored.dtype)
        around = self.add(Tensor(f"{name}: border", (1,), stored.dtype, stored.quant, data))
        y = replace(x, index=self.host("PADV2", (x.index, widths, around), name, stored))
    elif border in ("reflect", "reflect-even"):
        widths = self.integers(margins, f"{name}: margins")
        y = replace(x, index=self.host("MIRROR_PAD", (x.index, widths), name, self.of(x),
                                       symmetric=border == "reflect-even"))
    else:
        raise self.unsupported(f"has border {border!r}; supported are 'constant', 'reflect', 'reflect-even'")
    self.keep(operation, y)


def _pairwise(kind: Kind) -> "Handler":
    def handler(self: _Importer, operation: _Operation) -> None:
        (a, b), order = _pair(self, operation)
        stored = self.result(operation.made)
        operation.makes(Value(self.emit(kind, kind.name, (a.index, b.index), _limits(stored), operation.made,
                                        stored), order))
    return handler


def _pair(self: _Importer, operation: _Operation) -> tuple[list[Value], Order]:
    """Two operands; a number among them takes the other's type."""
    x, y = operation.operand("x"), operation.operand("y")
    unsigned = any(isinstance(v, Value) and self.of(v).dtype == "uint8" for v in (x, y))
    return self.aligned([_unsigned(v) if unsigned and isinstance(v, Constant) else v for v in (x, y)])


def _unsigned(constant: Constant) -> Constant:
    """int8 as uint8 of the same meaning."""
    stored = constant.stored
    if stored is None or stored.dtype != "int8":
        return constant
    quant = replace(stored.quant, zero_point=stored.quant.zero_point + 128)
    return Constant(constant.name, (constant.data.astype(np.int64) + 128).astype(np.uint8),
                    Stored("uint8", quant))


def _clamp(self: _Importer, operation: _Operation) -> None:
    """Rectifiers, and extremes with a number: limits of the operator before where it has none of its own."""
    low, high = _real_limits(operation)
    x = operation.operand("x")
    if low is None and high is None:
        return _extreme(self, operation)
    if isinstance(x, Constant):
        x = self.value(x)
    stored = self.result(operation.made, self.of(x))
    steps = _limits(stored)
    least = steps["low"] if low is None else max(steps["low"], min(self.step(low, stored), steps["high"]))
    most = steps["high"] if high is None else min(steps["high"], max(self.step(high, stored), steps["low"]))
    require(least <= most, f"its limits {low} and {high} leave nothing")
    maker = self.ops[-1] if self.ops and self.ops[-1].outputs == (x.index,) else None
    if maker and "low" in maker.attrs and self.of(x).same(stored) and self.read_once(x):
        self.ops[-1] = replace(maker, attrs=_clamped(stored, least, most, maker.attrs))
        self.tensors[x.index] = replace(self.tensors[x.index], name=operation.made)
        operation.makes(x)
        return None
    source = next((name for name, limits in RECTIFIERS.items() if limits == (low, high)), None)
    if source is not None:
        operation.makes(replace(x, index=self.host(source, (x.index,), operation.made, stored)))
        return None
    given = self.of(x)
    for name, real in (("MAXIMUM", low), ("MINIMUM", high)):
        if real is not None:
            limits = np.iinfo(given.dtype)
            data = np.full((1,) * len(x.order), min(max(self.step(real, given), limits.min), limits.max))
            limit = self.add(Tensor(f"{operation.made}: limit", data.shape, given.dtype, given.quant,
                                    data.astype(given.dtype)))
            made = f"{operation.made} ({name.lower()})"
            x = replace(x, index=self.host(name, (x.index, limit), made, given))
    operation.makes(self.rescaled(x, stored, operation.made))
    return None


def _real_limits(operation: _Operation) -> tuple[float | None, float | None]:
    match operation.parsed.name:
        case "relu":
            return 0.0, None
        case "relu6":
            return 0.0, 6.0
        case "max":
            return operation.number("y"), None
        case "min":
            return None, operation.number("y")
    limits = operation.number("a"), operation.number("b")
    if None in limits:
        raise operation.importer.unsupported("has limits that are tensors; supported are numbers")
    return limits


def _extreme(self: _Importer, operation: _Operation) -> None:
    """MAXIMUM and MINIMUM of two tensors compare stored values: all are stored in one way."""
    values, order = _pair(self, operation)
    stored = self.result(operation.made, self.of(values[0]))
    a, b = (self.rescaled(value, stored, f"{operation.made}: operand {i}") for i, value in enumerate(values))
    source = {"max": "MAXIMUM", "min": "MINIMUM"}[operation.parsed.name]
    operation.makes(Value(self.host(source, (a.index, b.index), operation.made, stored), order))


def _unary(source: str) -> "Handler":
    """A function of each element, in any order."""
    def handler(self: _Importer, operation: _Operation) -> None:
        x = operation.computed("x")
        options = {}
        if source == "LEAKY_RELU":
            options["alpha"] = float(operation.attributes["alpha"])
            require(options["alpha"] >= 0, f"its slope is {options['alpha']}")
        if operation.attributes.get("alpha", 1.0) != 1.0 and source == "ELU":
            raise self.unsupported(f"has alpha {operation.attributes['alpha']}; supported is 1")
        stored = self.result(operation.made)
        made = self.host(source, (x.index,), operation.made, stored, **options)
        operation.makes(replace(x, index=made))
    return handler


def _prelu(self: _Importer, operation: _Operation) -> None:
    (x, slopes), order = self.aligned([operation.operand("x"), operation.operand("alpha")])
    stored = self.result(operation.made)
    operation.makes(Value(self.host("PRELU", (x.index, slopes.index), operation.made, stored), order))


def _softmax(self: _Importer, operation: _Operation) -> None:
    x, axes = operation.computed("x"), operation.attributes["axes"]
    if len(axes) != 1:
        raise self.unsupported(f"works along axes {axes}; supported is one")
    require(0 <= axes[0] < len(x.order), f"axis {axes[0]} is outside {list(self.shape(x))}")
    if x.order[-1] != axes[0]:
        x = self.ordered(x, (*(axis for axis in x.order if axis != axes[0]), axes[0]))
    stored = self.result(operation.made)
    operation.makes(replace(x, index=self.emit(Kind.SOFTMAX, "SOFTMAX", (x.index,), {"beta": 1.0},
                                               operation.made, stored)))


def _reduce(source: str) -> "Handler":
    def handler(self: _Importer, operation: _Operation) -> None:
        x, axes = operation.computed("input"), operation.attributes["axes"]
        if operation.parsed.name == "sum_reduce" and not operation.attributes["normalize"]:
            raise self.unsupported("adds up without dividing (normalize = false); supported are means")
        require(all(0 <= axis < len(x.order) for axis in axes),
                f"axes {axes} are outside {list(self.shape(x))}")
        places = self.integers(sorted({x.order.index(axis) for axis in axes}), f"{operation.made}: axes")
        stored = self.result(operation.made, self.of(x))
        here = stored if source == "MEAN" else self.of(x)
        y = replace(x, index=self.host(source, (x.index, places), operation.made, here, keep_dims=True))
        operation.makes(self.rescaled(y, stored, operation.made))
    return handler


def _concat(self: _Importer, operation: _Operation) -> None:
    given, axis = operation.parsed.inputs["values"], operation.attributes["axis"]
    require(isinstance(given, list) and len(given) > 0, "it joins nothing")
    parts = [operation.as_value(part, f"part {i}") for i, part in enumerate(given)]
    require(len({len(self.shape(part)) for part in parts}) == 1,
            f"shapes {[list(self.shape(part)) for part in parts]} differ in rank")
    values, order = self.aligned(parts)
    require(0 <= axis < len(order), f"axis {axis} is outside a tensor of rank {len(order)}")
    stored = self.result(operation.made, self.of(values[0]))
    if stored.dtype != "uint8":  # whose kernel rescales by itself
        values = [self.rescaled(value, stored, f"{operation.made}: part {i}")
                  for i, value in enumerate(values)]
    joined = tuple(value.index for value in values)
    made = self.host("CONCATENATION", joined, operation.made, stored, axis=order.index(axis))
    operation.makes(Value(made, order))


def _split(self: _Importer, operation: _Operation) -> None:
    x, (axis, ratios) = operation.computed("value"), operation.attributes.values()
    shape = self.shape(x)
    require(0 <= axis < len(shape), f"axis {axis} is outside {list(shape)}")
    require(min(ratios, default=0) > 0 and shape[axis] % sum(ratios) == 0,
            f"a dimension of {shape[axis]} does not split in the ratios {ratios}")
    require(len(operation.names) == len(ratios),
            f"{len(ratios)} ratios do not make {len(operation.names)} tensors")
    where = np.array(x.order.index(axis), np.int32)
    place = self.add(Tensor(f"{operation.names[0]}: axis", (), "int32", None, where))
    if len(set(ratios)) > 1:
        unit = shape[axis] // sum(ratios)
        sizes = self.integers([unit * ratio for ratio in ratios], f"{operation.names[0]}: sizes")
        return _parts(self, operation, "SPLIT_V", (x.index, sizes, place), x)
    return _parts(self, operation, "SPLIT", (place, x.index), x)


def _parts(self: _Importer, operation: _Operation, source: str, operands: Operands, x: Value) -> None:
    given = self.of(x)
    made = self.emit_many(Kind.HOST, source, operands, {"options": {}}, operation.names, given)
    operation.makes(*(self.rescaled(replace(x, index=index),
                                    replace(self.result(name, given), symmetric=False), name)
                      for index, name in zip(made, operation.names, strict=True)))


def _slice(self: _Importer, operation: _Operation) -> None:
    """0 and less count from the end of a dimension, where ``end`` is meant."""
    x = operation.computed("input")
    axes, begin, end, stride = (operation.attributes[key] for key in ("axes", "begin", "end", "stride"))
    stride, shape = stride or [1] * len(axes), self.shape(x)
    require(len(axes) == len(begin) == len(end) == len(stride) == len(set(axes))
            and all(0 <= axis < len(shape) for axis in axes),
            f"its axes {axes} and limits do not fit {list(shape)}")
    if any(step < 1 for step in stride):
        raise self.unsupported(f"has stride {stride}; supported are positive ones")
    limits = {axis: (first + shape[axis] * (first < 0), last + shape[axis] * (last <= 0), step)
              for axis, first, last, step in zip(axes, begin, end, stride, strict=True)}
    require(all(0 <= first < last <= shape[axis] for axis, (first, last, _) in limits.items()),
            f"begin {begin} and end {end} leave a tensor of shape {list(shape)}")
    each = [limits.get(axis, (0, shape[axis], 1)) for axis in x.order]
    operands = [self.integers(values, f"{operation.made}: {name}")
                for values, name in zip(zip(*each, strict=True), ("begin", "end", "stride"), strict=True)]
    made = self.host("STRIDED_SLICE", (x.index, *operands), operation.made, self.of(x),
                     begin_mask=0, end_mask=0, shrink_axis_mask=0)
    self.keep(operation, replace(x, index=made))


def _transpose(self: _Importer, operation: _Operation) -> None:
    """Only the meaning of the axes changes."""
    value, axes = operation.operand("input"), operation.attributes["axes"]
    rank = len(self.shape(value))
    require(sorted(axes) == list(range(len(axes))) and len(axes) <= rank,
            f"{axes} is no permutation of the dimensions of {list(self.shape(value))}")
    axes = [*axes, *range(len(axes), rank)]
    if isinstance(value, Constant):
        axis = value.stored.quant.axis if value.stored else None
        return _folded(self, operation, value, value.data.transpose(axes),
                       None if axis is None else axes.index(axis))
    x = self.value(value)
    return self.keep(operation, Value(x.index, tuple(axes.index(axis) for axis in x.order)))


def _folded(self: _Importer, operation: _Operation, constant: Constant, data: Array,
            axis: int | None) -> None:
    """A constant whose elements only move stays one; ``axis`` is where its scales lie then."""
    stored = constant.stored
    if stored is not None:
        require(axis is not None or stored.quant.axis is None,
                f"the scales of {constant.name!r} lose their axis")
        stored = replace(stored, quant=replace(stored.quant, axis=axis))
        other = self.stored(operation.made, data.shape)
        if other is not None and not other.same(stored):
            raise self.unsupported("rescales a constant; supported is its own quantisation")
    operation.makes(Constant(operation.made, data, stored))


def _reshape(self: _Importer, operation: _Operation) -> None:
    """Sizes of 0 stay as they are, one of -1 takes what is left."""
    value = operation.operand("input")
    shape = self.shape(value)
    start, count = operation.attributes["axis_start"], operation.attributes["axis_count"]
    end = len(shape) if count == -1 else start + count
    require(0 <= start <= end <= len(shape), f"axes {start} to {end} are outside {list(shape)}")
    sizes = list(operation.attributes["shape"])
    for i, size in enumerate(sizes):
        if size == 0:
            require(start + i < len(shape), f"size {i} of {sizes} has no dimension to keep")
            sizes[i] = shape[start + i]
    require(sizes.count(-1) <= 1 and all(size > 0 or size == -1 for size in sizes), f"a shape of {sizes}")
    if -1 in sizes:
        rest = prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = prod(shape[start:end]) // rest or 1
    _reshaped(self, operation, value, (*shape[:start], *sizes, *shape[end:]))


def _unsqueeze(self: _Importer, operation: _Operation) -> None:
    value, axes = operation.operand("input"), operation.attributes["axes"]
    sizes = list(self.shape(value))
    require(len(sizes) + len(axes) <= RANK_LIMIT, f"{len(axes)} dimensions more than {sizes} are too many")
    for axis in axes:
        require(0 <= axis <= len(sizes), f"axis {axis} is outside {sizes}")
        sizes.insert(axis, 1)
    _reshaped(self, operation, value, tuple(sizes))


def _reshaped(self: _Importer, operation: _Operation, value: Value | Constant, shape: Shape) -> None:
    given = self.shape(value)
    require(prod(given) == prod(shape), f"{list(given)} cannot become {list(shape)}")
    if isinstance(value, Constant):
        axis = value.stored.quant.axis if value.stored else None
        kept = axis is not None and given[:axis + 1] == shape[:axis + 1]
        return _folded(self, operation, value, value.data.reshape(shape), axis if kept else None)
    x, order = self.value(value), tuple(range(len(shape)))
    if _long(x.order, given) != _long(tuple(range(len(given))), given):
        x = self.plain(x)
    if self.tensors[x.index].shape != shape:
        x = Value(self.reshape(x.index, operation.made, shape), order)
    return self.keep(operation, Value(x.index, order))


def _squeeze(self: _Importer, operation: _Operation) -> None:
    """Drops dimensions wherever they lie, and keeps the order of the others."""
    value, axes = operation.operand("input"), operation.attributes["axes"]
    shape = self.shape(value)
    require(all(0 <= axis < len(shape) and shape[axis] == 1 for axis in axes),
            f"axes {axes} of {list(shape)} are not all 1")
    left = [axis for axis in range(len(shape)) if axis not in axes]
    if isinstance(value, Constant):
        return _reshaped(self, operation, value, tuple(shape[axis] for axis in left))
    x = value
    order = tuple(left.index(axis) for axis in x.order if axis in left)
    sizes = tuple(shape[left[axis]] for axis in order)
    if _reduces(self, x, {x.order.index(axis) for axis in axes}) and self.read_once(x):
        # What the operator before reduced to 1 and is dropped now was never there.
        self.ops[-1] = replace(self.ops[-1], attrs={"options": {"keep_dims": False}})
        self.tensors[x.index] = replace(self.tensors[x.index], name=operation.made, shape=sizes)
        x = Value(x.index, order)
    elif axes:
        x = Value(self.reshape(x.index, operation.made, sizes), order)
    return self.keep(operation, x)


def _reduces(self: _Importer, x: Value, axes: set[int]) -> bool:
    """Whether the last operator made ``x`` by reducing just these axes to 1."""
    maker = self.ops[-1] if self.ops else None
    if maker is None or maker.outputs != (x.index,) or not maker.attrs.get("options", {}).get("keep_dims"):
        return False
    return axes == set(reduced_axes(self.draft(), maker))


def _copy(self: _Importer, operation: _Operation) -> None:
    value = operation.operand("x")
    if isinstance(value, Constant):
        return _reshaped(self, operation, value, self.shape(value))
    return self.keep(operation, value)


Handler = Callable[[_Importer, _Operation], None]

HANDLERS: dict[str, Handler] = {
    "abs": _unary("ABS"),
    "add": _pairwise(Kind.ADD),
    "avg_pool": _pool(Kind.AVERAGE_POOL, "AVERAGE_POOL_2D"),
    "box": _pool(Kind.AVERAGE_POOL, "AVERAGE_POOL_2D"),
    "clamp": _clamp,
    "concat": _concat,
    "constant": _constant,
    "conv": _conv,
    "copy": _copy,
    "elu": _unary("ELU"),
    "exp": _unary("EXP"),
    "external": _external,
    "leaky_relu": _unary("LEAKY_RELU"),
    "linear": _linear,
    "log": _unary("LOG"),
    "matmul": _matmul,
    "max": _clamp,
    "max_pool": _pool(Kind.MAX_POOL, "MAX_POOL_2D"),
    "max_reduce": _reduce("REDUCE_MAX"),
    "mean_reduce": _reduce("MEAN"),
    "min": _clamp,
    "min_reduce": _reduce("REDUCE_MIN"),
    "mul": _pairwise(Kind.MUL),
    "pad": _pad,
    "prelu": _prelu,
    "relu": _clamp,
    "relu6": _clamp,
    "reshape": _reshape,
    "sigmoid": _unary("LOGISTIC"),
    "slice": _slice,
    "softmax": _softmax,
    "split": _split,
    "squeeze": _squeeze,
    "sub": _pairwise(Kind.SUB),
    "sum_reduce": _reduce("MEAN"),
    "tanh": _unary("TANH"),
    "transpose": _transpose,
    "unsqueeze": _unsqueeze,
    "variable": _variable,
}
"""Operations that are imported; anything else is an UnsupportedError."""
