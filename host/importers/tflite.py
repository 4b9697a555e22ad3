"""TFLite files to graphs.

Field numbers ("slots") are places in the lists of tflite/schema/schema.fbs; they never change once released.
The reader is our own (flatbuffer.py), for two reasons: the generated one trusts each offset, and its
OperatorCode.BuiltinCode() overlooks codes below 127 that some writers put in the new field only.
"""
from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any, Literal

import numpy as np
import tflite

from ...rtl.contract.errors import GraphError, ModelError, UnsupportedError
from ..graph.ir import Array, Graph, Kind, Op, Quant, Tensor
from ..graph.verify import RULES, accepts, dtypes_of, rule_of, verify
from ..reference.rounding import round_array
from .flatbuffer import File, Table

IDENTIFIER = b"TFL3"


def _names(enumeration: type) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if not name.startswith("_")}


DTYPES = {number: name.lower() for number, name in _names(tflite.TensorType).items()}
OPERATORS = _names(tflite.BuiltinOperator)
ACTIVATIONS = _names(tflite.ActivationFunctionType)
DAMAGED = "the file is damaged, fetch or convert it again"

CUSTOM = tflite.BuiltinOperator.CUSTOM
SAME = tflite.Padding.SAME

Options = Table | None
Parts = tuple[Kind, tuple[int | None, ...], dict[str, Any]]  # kind, inputs, attributes

LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"
STATE_LIMIT = 2**20
"""Elements of a state; they take memory, but no room in the file."""

CLAMPS = {"RELU": (0.0, None), "RELU_N1_TO_1": (-1.0, 1.0), "RELU6": (0.0, 6.0)}


def load_tflite(data: bytes, name: str, *, rounding: Literal["litert", "tflm"] = "litert") -> Graph:
    """The first subgraph of a TFLite file, verified.

    Parameters
    ----------
    data : the file's bytes
    name : for messages; the graph's name
    rounding : the framework whose FULLY_CONNECTED is meant

    Raises
    ------
    ModelError : not a TFLite file, damaged, or inconsistent
    UnsupportedError : a sound file that needs an operator, type or feature nothing here computes
    """
    return _Importer(data, name).graph(rounding)


def _field(options: Options, slot: int, form: str, default: int = 0) -> int:
    return default if options is None else options.integer(slot, form, default)


def _operands(op: Op) -> tuple[int | None, ...]:
    """The operands that the graph's operator has, in its order."""
    if op.source not in OPERANDS:
        return op.inputs
    return tuple(op.inputs[i] if i < len(op.inputs) else None for i in OPERANDS[op.source])


class _Importer:
    """One file: its tensors first, then operator by operator."""

    def __init__(self, data: bytes, name: str) -> None:
        self.name, self.size = name, len(data)
        if data[4:8] != IDENTIFIER:
            raise ModelError(f"{name}: not a TFLite file: bytes 4 to 8 are {data[4:8]!r}, "
                             f"expected {IDENTIFIER!r}; give the .tflite file that the converter wrote")
        model = File(name, data).root()
        subgraphs = model.tables(2)
        if not subgraphs:
            raise ModelError(f"{name}: the file holds no network (no subgraph); convert the model again")
        self.main = subgraphs[0]
        self.codes = [self._code(table) for table in model.tables(1)]
        self.buffers = [self._buffer(table, index) for index, table in enumerate(model.tables(4))]
        self.tables = self.main.tables(0)
        self.tensors = [self._tensor(table, index) for index, table in enumerate(self.tables)]

    def graph(self, rounding: Literal["litert", "tflm"]) -> Graph:
        inputs, outputs = self.main.integers(1), self.main.integers(2)
        for index in (*inputs, *outputs):
            self._check_index(index, "the network")
        for index in inputs:
            self._check_static(index)
        graph = Graph(self.name, "tflite", tuple(self.tensors), (), tuple(inputs), tuple(outputs), rounding,
                      self.size)
        ops = (self._operator(graph, table, index) for index, table in enumerate(self.main.tables(3)))
        made = tuple(ops)
        graph = replace(graph, ops=made, tensors=tuple(self.tensors))  # states became constants
        try:
            verify(graph)
        except GraphError as error:
            raise ModelError(f"{self.name}: {error}; "
                             "if the framework itself runs this file, please report it") from None
        return graph

    # The parts of the file

    def _code(self, table: Table) -> str:
        number = max(table.integer(0, "b"), table.integer(3, "i"))
        if number == CUSTOM:
            return f"CUSTOM {table.text(1)!r}"
        return str(OPERATORS.get(number, f"builtin operator {number}"))

    def _buffer(self, table: Table, index: int) -> Array | None:
        if table.integer(1, "Q") > 1:
            raise UnsupportedError(f"{self.name}: buffer {index} lies behind the model proper, as in "
                                   "files of more than 2 GB; supported are weights inside the model")
        data = table.vector(0, "uint8")
        return None if data is None or data.size == 0 else data

    def _tensor(self, table: Table, index: int) -> Tensor:
        name = table.text(3)[:200] or f"tensor {index}"
        number = table.integer(1, "b")
        dtype = DTYPES.get(number, f"type {number}")
        shape = table.integers(0)
        if shape and shape[0] == -1:
            shape[0] = 1  # a batch of any size: one
        place = table.integer(2, "I")
        if place >= len(self.buffers) and place > 0:
            raise ModelError(f"{self.name}: tensor {name!r} refers to buffer {place} of {len(self.buffers)}; "
                             f"{DAMAGED}")
        raw = self.buffers[place] if self.buffers else None
        data = None if raw is None else self._constant(name, shape, dtype, raw)
        return Tensor(name, tuple(shape), dtype, self._quant(table, name, shape), data)

    def _constant(self, name: str, shape: list[int], dtype: str, raw: Array) -> Array | None:
        try:
            kind = np.dtype(dtype)
        except TypeError:  # strings, 4-bit numbers, …: whoever uses it says that they are unsupported
            return None
        if min(shape, default=1) < 0 or prod(shape) * kind.itemsize != raw.size:
            raise ModelError(f"{self.name}: tensor {name!r} is {dtype} {shape}, but its buffer has "
                             f"{raw.size} bytes; {DAMAGED}")
        return raw.view(kind.newbyteorder("<")).astype(kind, copy=False).reshape(shape)

    def _quant(self, table: Table, name: str, shape: list[int]) -> Quant | None:
        quant = table.table(4)
        scale = None if quant is None else quant.vector(2, "float32")
        if quant is None or scale is None or scale.size == 0:
            return None
        zero = quant.vector(3, "int64")
        if zero is None or zero.size == 0:
            zero = np.zeros(scale.size, np.int64)
        if zero.size != scale.size:
            raise ModelError(f"{self.name}: tensor {name!r} has {scale.size} scales but {zero.size} zero "
                             f"points; {DAMAGED}")
        axis: int | None = quant.integer(6, "i")
        if scale.size == 1:
            axis = None
        elif len(shape) == 1:
            axis = 0  # old converters give a bias the axis of its weights
        with np.errstate(invalid="ignore"):  # verify() reports what is not a number
            return Quant(scale.astype(np.float64), zero.astype(np.int64), axis)

    # Checks on what is used

    def _check_index(self, index: int, owner: str) -> None:
        if not 0 <= index < len(self.tensors):
            raise ModelError(f"{self.name}: {owner} refers to tensor {index} of {len(self.tensors)}; "
                             f"{DAMAGED}")

    def _check_static(self, index: int) -> None:
        signature = self.tables[index].integers(7)
        if -1 in signature[1:]:
            raise UnsupportedError(f"{self.name}: input {self.tensors[index].name!r} has shape "
                                   f"{signature}, with a size left open beyond the batch; "
                                   "convert the model with fixed sizes")

    def _check_used(self, index: int, label: str, *, state: bool = False) -> None:
        """Features of a tensor that no kernel here knows. Only a ``state`` may be a variable."""
        self._check_index(index, label)
        table, tensor = self.tables[index], self.tensors[index]
        quant = table.table(4)
        for found, feature in (
                (table.integer(5, "B") > state, "keeps its value from one run to the next (a variable)"),
                (table.has(6), "is stored sparsely"),
                (quant is not None and quant.integer(4, "B"), "has a quantisation of its own format")):
            if found:
                raise UnsupportedError(f"{self.name}: {label} uses tensor {tensor.name!r}, which {feature}; "
                                       "convert the model without that")

    # Operators

    def _operator(self, graph: Graph, table: Table, index: int) -> Op:
        place = table.integer(0, "I")
        if place >= len(self.codes):
            raise ModelError(f"{self.name}: operator {index} refers to operator code {place} of "
                             f"{len(self.codes)}; {DAMAGED}")
        source = self.codes[place]
        label = f"operator {index} ({source})"
        inputs = tuple(None if i == -1 else i for i in table.integers(1))
        outputs = tuple(table.integers(2))
        handler = HANDLERS.get(source)
        if handler is None:
            first = self.tensors[outputs[0]].name if outputs and 0 <= outputs[0] < len(self.tensors) else "?"
            raise UnsupportedError(f"{self.name}: {label}, which makes tensor {first!r}, is not supported; "
                                   f"supported are {', '.join(sorted(HANDLERS))}")
        states = set(inputs[18:20]) if source == LSTM else set()
        for tensor in (*inputs, *outputs):
            if tensor is not None:
                self._check_used(tensor, label, state=tensor in states)
        if not outputs or not inputs or inputs[0] is None:
            raise ModelError(f"{self.name}: {label} has no input or no output; {DAMAGED}")
        expected = OPTIONS.get(source)
        given = table.integer(3, "B")
        if expected is not None and given not in (0, expected):
            raise ModelError(f"{self.name}: {label} carries options of type {given}, expected {expected}; "
                             f"{DAMAGED}")
        # Types first: handlers rely on the quantisation that the accepted types must have.
        draft = Op(KINDS.get(source, Kind.HOST), source, inputs, outputs, {}, index)
        if draft.kind != Kind.RESHAPE:
            self._check_types(graph, replace(draft, inputs=_operands(draft)))
        try:
            kind, operands, attrs = handler(self, draft, table.table(4))
        except GraphError as error:
            raise ModelError(f"{self.name}: {label}: {error}; {DAMAGED}") from None
        op = Op(kind, source, operands, outputs, attrs, index)
        self._check_types(graph, op)
        return op

    def _start(self, index: int) -> None:
        """Makes a variable the constant that it is at the start: real zeros (ResetVariableTensors)."""
        tensor = self.tensors[index]
        if tensor.dtype not in ("int8", "int16") or tensor.data is not None:
            return
        zero = 0 if tensor.quant is None or tensor.dtype == "int16" else int(tensor.quant.zero_point[0])
        if min(tensor.shape, default=1) < 1 or prod(tensor.shape) > STATE_LIMIT or not -128 <= zero < 128:
            raise GraphError(f"state {tensor.name!r} has shape {list(tensor.shape)} and zero point {zero}")
        self.tensors[index] = replace(tensor, data=np.full(tensor.shape, zero, tensor.dtype))

    def _check_types(self, graph: Graph, op: Op) -> None:
        rule = rule_of(graph, op)
        if rule is None or accepts(rule, graph, op):
            return
        raise self.unsupported(op, f"has types {dtypes_of(graph, op)}; supported are "
                                   f"{', '.join(rule.dtypes)}; convert the model with full int8 quantisation")

    def unsupported(self, op: Op, what: str) -> UnsupportedError:
        made = self.tensors[op.outputs[0]].name
        return UnsupportedError(f"{self.name}: {op.label}, which makes tensor {made!r}, {what}")

    # Attributes

    def limits(self, op: Op, activation: int) -> dict[str, Any]:
        """Stored-value limits of a fused activation, by float32 division and std::round.

        Source: CalculateActivationRangeQuantized in tflite/kernels/kernel_util.cc.
        """
        tensor = self.tensors[op.outputs[0]]
        least, most = int(np.iinfo(tensor.dtype).min), int(np.iinfo(tensor.dtype).max)
        name = ACTIVATIONS.get(activation, str(activation))
        if name == "NONE":
            return {"low": least, "high": most}
        if name not in CLAMPS:
            raise self.unsupported(op, f"ends in activation {name}; supported are NONE, {', '.join(CLAMPS)}")
        if tensor.quant is None:
            raise GraphError(f"tensor {tensor.name!r} ({tensor.dtype}) has no quantisation")

        def stored(real: float | None, otherwise: int) -> int:
            if real is None:
                return otherwise
            assert tensor.quant is not None
            with np.errstate(all="ignore"):
                steps = round_array(np.float32(real) / tensor.quant.scale.astype(np.float32)[:1])[0]
            if not abs(steps) < 2**31:
                raise GraphError(f"{real} is out of reach of the scale of tensor {tensor.name!r}")
            return int(tensor.quant.zero_point[0]) + int(steps)

        low, high = CLAMPS[name]
        return {"low": max(least, stored(low, least)), "high": min(most, stored(high, most))}

    def padding(self, op: Op, scheme: int, window: tuple[int, int], stride: tuple[int, int],
                dilation: tuple[int, int] = (1, 1), *, image: int | None = None) -> dict[str, Any]:
        """SAME as numbers (tflite/kernels/padding.h): the odd element goes below and to the right.

        ``image`` is the tensor that the window walks over, by default the first input.
        """
        shape = self.tensors[(op.inputs[0] or 0) if image is None else image].shape
        if len(shape) != 4:
            raise GraphError(f"its {'input' if image is None else 'output'} has shape {list(shape)}, "
                             "not 4 dimensions (N, H, W, C)")
        if min(*stride, *dilation, *window) < 1:
            raise GraphError(f"stride {stride}, dilation {dilation} and window {window} must be positive")
        sides: list[int] = []
        for size, extent, step, spread in zip(shape[1:3], window, stride, dilation, strict=True):
            reach = (extent - 1) * spread + 1
            total = max(0, (-(-size // step) - 1) * step + reach - size) if scheme == SAME else 0
            sides += [total // 2, total - total // 2]
        return {"padding": tuple(sides)}


def _convolution(self: _Importer, op: Op, options: Options) -> Parts:
    depthwise = op.kind == Kind.DEPTHWISE_CONV
    later = 1 if depthwise else 0  # DepthwiseConv2DOptions has depth_multiplier in the fourth place
    weights = self.tensors[op.inputs[1] or 0].shape
    if len(weights) != 4:
        raise GraphError(f"its weights have shape {list(weights)}, not 4 dimensions")
    stride = (_field(options, 2, "i"), _field(options, 1, "i"))
    dilation = (_field(options, 5 + later, "i", 1), _field(options, 4 + later, "i", 1))
    inputs = self.tensors[op.inputs[0] or 0].shape
    if not depthwise and len(inputs) == 4 and 0 < weights[3] < inputs[3] and inputs[3] % weights[3] == 0:
        raise self.unsupported(op, f"is a convolution in {inputs[3] // weights[3]} groups; "
                                   "supported are one group and DEPTHWISE_CONV_2D")
    return op.kind, op.inputs, {
        "stride": stride, "dilation": dilation,
        **self.padding(op, _field(options, 0, "b"), weights[1:3], stride, dilation),
        **self.limits(op, _field(options, 3 + later, "b"))}


def _fully_connected(self: _Importer, op: Op, options: Options) -> Parts:
    if _field(options, 1, "b"):
        raise self.unsupported(op, "has shuffled weights; supported is the default order")
    return op.kind, op.inputs, self.limits(op, _field(options, 0, "b"))


def _pool(self: _Importer, op: Op, options: Options) -> Parts:
    stride = (_field(options, 2, "i"), _field(options, 1, "i"))
    window = (_field(options, 4, "i"), _field(options, 3, "i"))
    return op.kind, op.inputs, {
        "window": window, "stride": stride, **self.padding(op, _field(options, 0, "b"), window, stride),
        **self.limits(op, _field(options, 5, "b"))}


def _arithmetic(self: _Importer, op: Op, options: Options) -> Parts:
    return op.kind, op.inputs, self.limits(op, _field(options, 0, "b"))


def _reshape(self: _Importer, op: Op, options: Options) -> Parts:
    """The output's own shape counts; a shape operand only has to agree with it."""
    for index in op.inputs[1:]:
        data = None if index is None else self.tensors[index].data
        if data is None:
            raise self.unsupported(op, "has a shape that is computed while the network runs; "
                                       "supported are constants")
        shape, wanted = self.tensors[op.outputs[0]].shape, [int(size) for size in data.ravel()]
        if op.source == "RESHAPE" and (len(wanted) != len(shape) or any(
                w not in (s, -1) for w, s in zip(wanted, shape, strict=True))):
            raise GraphError(f"it asks for shape {wanted}, its output has {list(shape)}")
    return op.kind, op.inputs[:1], {}


def _softmax(self: _Importer, op: Op, options: Options) -> Parts:
    return op.kind, op.inputs, {"beta": 0.0 if options is None else options.real(0)}


def _host(*fields: tuple[str, int, str]) -> Callable[[_Importer, Op, Options], Parts]:
    """An operator that the host computes, with the options (name, slot, format) its kernel reads."""
    def handler(self: _Importer, op: Op, options: Options) -> Parts:
        values = {name: _field(options, slot, form) for name, slot, form in fields}
        return op.kind, op.inputs, {"options": values}
    return handler


def _concatenation(self: _Importer, op: Op, options: Options) -> Parts:
    if _field(options, 1, "b"):
        raise self.unsupported(op, "ends in an activation; supported is none")
    return _host(("axis", 0, "i"))(self, op, options)


def _strided_slice(self: _Importer, op: Op, options: Options) -> Parts:
    if _field(options, 2, "i") or _field(options, 3, "i") or _field(options, 5, "?"):
        raise self.unsupported(op, "adds or skips dimensions, or counts its end from its begin; supported "
                                   "are begin, end and strides, with masks for open ends and single elements")
    masks = _host(("begin_mask", 0, "i"), ("end_mask", 1, "i"), ("shrink_axis_mask", 4, "i"))
    return masks(self, op, options)


def _leaky_relu(self: _Importer, op: Op, options: Options) -> Parts:
    alpha = 0.0 if options is None else options.real(0)
    if alpha < 0:
        raise self.unsupported(op, f"has a slope of {alpha}; supported are slopes of 0 and more")
    return op.kind, op.inputs, {"options": {"alpha": alpha}}


def _l2_normalization(self: _Importer, op: Op, options: Options) -> Parts:
    if _field(options, 0, "b"):
        raise self.unsupported(op, "ends in an activation; supported is none")
    return _host()(self, op, options)


def _mirror_pad(self: _Importer, op: Op, options: Options) -> Parts:
    mode = _field(options, 0, "b")
    if mode not in (tflite.MirrorPadMode.REFLECT, tflite.MirrorPadMode.SYMMETRIC):
        raise GraphError(f"it mirrors in mode {mode}")
    return op.kind, op.inputs, {"options": {"symmetric": mode == tflite.MirrorPadMode.SYMMETRIC}}


def _resize(self: _Importer, op: Op, options: Options) -> Parts:
    """RESIZE_BILINEAR's options begin with two sizes, long deprecated; RESIZE_NEAREST_NEIGHBOR's do not."""
    first = 2 if op.source == "RESIZE_BILINEAR" else 0
    return _host(("align_corners", first, "?"), ("half_pixel_centers", first + 1, "?"))(self, op, options)


def _transpose_conv(self: _Importer, op: Op, options: Options) -> Parts:
    """The output's own shape counts; the operand that asks for one only has to agree with it."""
    y = op.outputs[0]
    size, weights = self.tensors[op.inputs[0] or 0], self.tensors[op.inputs[1] or 0].shape
    if size.data is None:
        raise self.unsupported(op, "has a shape that is computed while the network runs; "
                                   "supported are constants")
    wanted, shape = size.data.ravel().tolist(), list(self.tensors[y].shape)
    if wanted != shape:
        raise GraphError(f"it asks for shape {wanted}, its output has {shape}")
    if len(weights) != 4:
        raise GraphError(f"its weights have shape {list(weights)}, not 4 dimensions")
    stride = (_field(options, 2, "i"), _field(options, 1, "i"))
    padding = self.padding(op, _field(options, 0, "b"), weights[1:3], stride, image=y)
    return op.kind, _operands(op), {"stride": stride, **padding, **self.limits(op, _field(options, 3, "b"))}


def _lstm(self: _Importer, op: Op, options: Options) -> Parts:
    """The states become constants: what they are at the start."""
    if len(op.inputs) != 24:
        raise GraphError(f"it has {len(op.inputs)} inputs, not 24")
    for first, last, feature in ((9, 12, "peepholes"), (16, 18, "a projection"), (20, 24, "normalisation")):
        if any(index is not None for index in op.inputs[first:last]):
            raise self.unsupported(op, f"has {feature}; supported are plain gates")
    if _field(options, 5, "?"):
        raise self.unsupported(op, "has diagonal recurrent weights; supported are full ones")
    if _field(options, 0, "b") != tflite.ActivationFunctionType.TANH:
        raise self.unsupported(op, "has a cell activation other than TANH; supported is TANH")
    for index in op.inputs[18:20]:
        self._start(index or 0)
    # The scale of hidden values is that of the last of five tensors, which are there for this alone.
    scales = self.main.tables(3)[op.index].integers(8)
    if len(scales) != 5:
        raise GraphError(f"it has {len(scales)} intermediate tensors, not 5")
    self._check_index(scales[4], op.label)
    hidden = self.tensors[scales[4]].quant
    if hidden is None:
        raise GraphError("its hidden values have no scale")
    return op.kind, _operands(op), {"options": {
        "time_major": bool(_field(options, 3, "?")), "cell_clip": 0.0 if options is None else options.real(1),
        "hidden": (float(hidden.scale[0]), int(hidden.zero_point[0]))}}


OPERANDS = {"TRANSPOSE_CONV": (2, 1, 3), LSTM: (*range(9), *range(12, 16), 18, 19)}
"""Places in the file of the operands that the graph's operator keeps, where these are not all."""

HANDLERS: dict[str, Callable[[_Importer, Op, Options], Parts]] = {
    "ABS": _host(),
    "ADD": _arithmetic,
    "ARG_MAX": _host(),
    "ARG_MIN": _host(),
    "AVERAGE_POOL_2D": _pool,
    "BATCH_MATMUL": _host(("adj_x", 0, "?"), ("adj_y", 1, "?")),
    "BATCH_TO_SPACE_ND": _host(),
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "DEPTH_TO_SPACE": _host(("block_size", 0, "i")),
    "DEQUANTIZE": _host(),
    "ELU": _host(),
    "EXP": _host(),
    "EXPAND_DIMS": _reshape,
    "FULLY_CONNECTED": _fully_connected,
    "GATHER": _host(("axis", 0, "i"), ("batch_dims", 1, "i")),
    "GELU": _host(("approximate", 0, "?")),
    "HARD_SWISH": _host(),
    "L2_NORMALIZATION": _l2_normalization,
    "LEAKY_RELU": _leaky_relu,
    "LOG": _host(),
    "LOGISTIC": _host(),
    "LOG_SOFTMAX": _host(),
    "MAXIMUM": _host(),
    "MAX_POOL_2D": _pool,
    "MEAN": _host(("keep_dims", 0, "?")),
    "MINIMUM": _host(),
    "MIRROR_PAD": _mirror_pad,
    "MUL": _arithmetic,
    "PACK": _host(("axis", 1, "i")),
    "PAD": _host(),
    "PADV2": _host(),
    "PRELU": _host(),
    "QUANTIZE": _host(),
    "REDUCE_MAX": _host(("keep_dims", 0, "?")),
    "REDUCE_MIN": _host(("keep_dims", 0, "?")),
    "RELU": _host(),
    "RELU6": _host(),
    "RELU_0_TO_1": _host(),
    "RELU_N1_TO_1": _host(),
    "RESHAPE": _reshape,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "SLICE": _host(),
    "SOFTMAX": _softmax,
    "SPACE_TO_BATCH_ND": _host(),
    "SPACE_TO_DEPTH": _host(("block_size", 0, "i")),
    "SPLIT": _host(),
    "SPLIT_V": _host(),
    "SQUEEZE": _reshape,
    "STRIDED_SLICE": _strided_slice,
    "SUB": _arithmetic,
    "SUM": _host(("keep_dims", 0, "?")),
    "TANH": _host(),
    "TRANSPOSE": _host(),
    "TRANSPOSE_CONV": _transpose_conv,
    "UNPACK": _host(("axis", 1, "i")),
    LSTM: _lstm,
}
"""Builtin operators that are imported; anything else is an UnsupportedError."""

KINDS = {
    "ADD": Kind.ADD,
    "AVERAGE_POOL_2D": Kind.AVERAGE_POOL,
    "CONV_2D": Kind.CONV,
    "DEPTHWISE_CONV_2D": Kind.DEPTHWISE_CONV,
    "EXPAND_DIMS": Kind.RESHAPE,
    "FULLY_CONNECTED": Kind.FULLY_CONNECTED,
    "MAX_POOL_2D": Kind.MAX_POOL,
    "MUL": Kind.MUL,
    "RESHAPE": Kind.RESHAPE,
    "SOFTMAX": Kind.SOFTMAX,
    "SQUEEZE": Kind.RESHAPE,
    "SUB": Kind.SUB,
}

OPTIONS = {source: getattr(tflite.BuiltinOptions, name + "Options") for source, name in {
    "ADD": "Add", "ARG_MAX": "ArgMax", "ARG_MIN": "ArgMin", "AVERAGE_POOL_2D": "Pool2D",
    "BATCH_MATMUL": "BatchMatMul", "CONCATENATION": "Concatenation", "CONV_2D": "Conv2D",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2D", "DEPTH_TO_SPACE": "DepthToSpace",
    "FULLY_CONNECTED": "FullyConnected", "GATHER": "Gather", "GELU": "Gelu", "L2_NORMALIZATION": "L2Norm",
    "LEAKY_RELU": "LeakyRelu", "MAX_POOL_2D": "Pool2D", "MEAN": "Reducer", "MIRROR_PAD": "MirrorPad",
    "MUL": "Mul", "PACK": "Pack", "REDUCE_MAX": "Reducer", "REDUCE_MIN": "Reducer", "RESHAPE": "Reshape",
    "RESIZE_BILINEAR": "ResizeBilinear", "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighbor",
    "SOFTMAX": "Softmax", "SPACE_TO_DEPTH": "SpaceToDepth", "SPLIT": "Split",
    "STRIDED_SLICE": "StridedSlice", "SUB": "Sub", "SUM": "Reducer", "TRANSPOSE_CONV": "TransposeConv",
    "UNPACK": "Unpack", LSTM: "UnidirectionalSequenceLSTM",
}.items()}
"""The options table that an operator may carry, by its number in the schema's union."""

assert all(KINDS.get(source, source) in RULES for source in HANDLERS)
