"""The rules a graph keeps: after an import, and after each pass."""
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import numpy as np

from ...rtl.contract.errors import GraphError
from ..reference.elementwise import sum_scales
from ..reference.linear import channel_scales
from ..reference.lstm import CELL_STATE, STATE, cell_bits
from ..reference.softmax import difference_scale
from ..reference.unary import hard_swish_scales
from . import shapes
from .ir import NARROW_DTYPES, PLAIN_DTYPES, Graph, Kind, Op, Quant, Tensor
from .shapes import ShapeRule, require

MAX_ELEMENTS = 2**31 - 1
RANK_LIMIT = 8
SCALE_LIMIT = 2**30
"""Of input scales to output scales: beyond it, no stored value but the limits can come out."""

QuantRule = Callable[[Graph, Op], None]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What an operator of one kind must look like.

    dtypes : accepted types, inputs -> outputs; ``?`` marks an operand that may be left out, ``*`` one or more
    attrs : names of the attributes it has, neither more nor fewer; ATTRIBUTES says what each may be
    shapes : output shapes from operands and attributes
    quant : further rules on scales and zero points
    """

    dtypes: tuple[str, ...]
    attrs: tuple[str, ...] = ("options",)
    shapes: ShapeRule = shapes.same
    quant: QuantRule | None = None


def _pair(value: object, least: int = 1) -> bool:
    return (isinstance(value, tuple) and len(value) == 2
            and all(type(v) is int and least <= v < 2**31 for v in value))


ATTRIBUTES: dict[str, tuple[Callable[[object], bool], str]] = {
    "stride": (_pair, "a pair (y, x) of positive integers"),
    "dilation": (_pair, "a pair (y, x) of positive integers"),
    "window": (_pair, "a pair (h, w) of positive integers"),
    "padding": (lambda v: isinstance(v, tuple) and len(v) == 4 and _pair(v[:2], 0) and _pair(v[2:], 0),
                "four integers (top, bottom, left, right), none negative"),
    "low": (lambda v: type(v) is int, "an integer"),
    "high": (lambda v: type(v) is int, "an integer"),
    "beta": (lambda v: type(v) is float and isfinite(v) and v > 0, "a positive number"),
    "options": (lambda v: isinstance(v, dict), "a dictionary"),
    "ort": (lambda v: isinstance(v, str) and bool(v), "a model for ONNX Runtime in base64"),
    "elementwise": (lambda v: v is True, "true, or left out"),
    "float": (lambda v: isinstance(v, dict), "a dictionary"),
    "bound": (lambda v: v in ("low", "high"), "low or high"),
}


def _operand(graph: Graph, op: Op, position: int) -> Tensor:
    index = op.inputs[position]
    assert index is not None
    return graph.tensors[index]


def _quant(tensor: Tensor) -> Quant:
    if tensor.quant is None:
        raise GraphError(f"tensor {tensor.name!r} ({tensor.dtype}) has no quantisation")
    return tensor.quant


def _per_tensor(*tensors: Tensor) -> None:
    """Each has one scale, and a zero point that its type can store."""
    for tensor in tensors:
        quant, limits = _quant(tensor), np.iinfo(tensor.dtype)
        require(quant.scale.size == 1, f"tensor {tensor.name!r} has {quant.scale.size} scales, it needs one")
        zero = int(quant.zero_point[0])
        require(limits.min <= zero <= limits.max,
                f"zero point {zero} of tensor {tensor.name!r} does not fit its type {tensor.dtype}")


def _eight_bit(graph: Graph, op: Op) -> None:
    """All int8 and uint8 tensors of the operator are quantised per tensor."""
    tensors = [graph.tensors[i] for i in (*op.inputs, *op.outputs) if i is not None]
    _per_tensor(*(t for t in tensors if t.dtype in _BYTES))
    y, given = graph.tensors[op.outputs[0]], [t for t in tensors[:-len(op.outputs)] if t.dtype in _BYTES]
    if y.dtype not in _BYTES or not given:
        return
    # In float32, as kernels multiply and divide; infinity is refused too.
    scales = [np.float32(_quant(t).scale[0]) for t in given]
    with np.errstate(all="ignore"):
        largest = max(*scales, scales[0] * scales[1] if len(scales) == 2 else scales[0])
        ratio = float(largest / np.float32(_quant(y).scale[0]))
    require(ratio < SCALE_LIMIT, f"the scale of {given[0].name!r} is too large for that of {y.name!r}")


def _linear(graph: Graph, op: Op) -> None:
    x, w, y = _operand(graph, op, 0), _operand(graph, op, 1), graph.tensors[op.outputs[0]]
    _per_tensor(x, y)
    quant, channel_axis = _quant(w), 3 if op.kind == Kind.DEPTHWISE_CONV else 0
    if quant.scale.size > 1:
        require(x.dtype == "int8", f"weights {w.name!r} have a scale per channel; uint8 weights have one")
        require(quant.axis == channel_axis,
                f"weights {w.name!r} have a scale for each element of axis {quant.axis}; "
                f"output channels are axis {channel_axis}")
    else:
        _per_tensor(w)
    if x.dtype == "int8" and (op.kind != Kind.FULLY_CONNECTED or quant.scale.size > 1):
        require(not quant.zero_point.any(), f"int8 weights {w.name!r} must have zero points of 0")
    shift = max(shift for _, shift in channel_scales(graph, op))
    require(shift < 31, f"the scales of {x.name!r} and {w.name!r} are 2**30 times that of {y.name!r} or more")


def _kept(graph: Graph, op: Op) -> None:
    """Input and output have the same quantisation, since the kernel does not rescale."""
    _eight_bit(graph, op)
    x, y = _operand(graph, op, 0), graph.tensors[op.outputs[0]]
    if y.dtype in ("int8", "uint8"):
        a, b = _quant(x), _quant(y)
        require(abs(a.scale[0] - b.scale[0]) <= 1e-6 and a.zero_point[0] == b.zero_point[0],
                f"{y.name!r} must have the quantisation of {x.name!r}")


def _border(graph: Graph, op: Op) -> None:
    _kept(graph, op)
    border, y = _operand(graph, op, 2), graph.tensors[op.outputs[0]]
    require(border.size == 1, f"the border {border.name!r} must be one value, not {list(border.shape)}")
    require(np.array_equal(_quant(border).scale, _quant(y).scale)
            and np.array_equal(_quant(border).zero_point, _quant(y).zero_point),
            f"the border {border.name!r} must have the quantisation of {y.name!r}")


def _sum(graph: Graph, op: Op) -> None:
    _eight_bit(graph, op)
    require(sum_scales(graph, op)[2] < 1,
            f"the scale of {graph.tensors[op.outputs[0]].name!r} is too small for its inputs' scales")


def _softmax(graph: Graph, op: Op) -> None:
    _eight_bit(graph, op)
    x, y = _operand(graph, op, 0), graph.tensors[op.outputs[0]]
    quant = _quant(y)
    require(abs(quant.scale[0] - 1 / 256) <= 0.001 / 256 and quant.zero_point[0] == np.iinfo(y.dtype).min,
            f"{y.name!r} must have a scale of 1/256 and the least zero point")
    require(difference_scale(op.attrs["beta"], float(_quant(x).scale[0])) > 1,
            f"the scale of {x.name!r} is too small")


def _logistic(graph: Graph, op: Op) -> None:
    _eight_bit(graph, op)
    y = graph.tensors[op.outputs[0]]
    require(_quant(y).scale[0] == 1 / 256, f"{y.name!r} must have a scale of 1/256")


def _hard_swish(graph: Graph, op: Op) -> None:
    _eight_bit(graph, op)
    x, y = _operand(graph, op, 0), graph.tensors[op.outputs[0]]
    require(_quant(x).scale[0] < SCALE_LIMIT, f"the scale of {x.name!r} is too large")
    (_, to_output), (_, to_thirds) = hard_swish_scales(graph, op)
    require(-15 < to_output <= 0 and -15 < to_thirds < 16,
            f"the scales of {x.name!r} and {y.name!r} are too far apart or from 1")


def _leaky_relu(graph: Graph, op: Op) -> None:
    _eight_bit(graph, op)
    alpha = op.attrs["options"]["alpha"]
    ratio = _quant(_operand(graph, op, 0)).scale[0] / _quant(graph.tensors[op.outputs[0]]).scale[0]
    require(0 <= alpha < SCALE_LIMIT and alpha * ratio < SCALE_LIMIT, f"a slope of {alpha}")


def _unit(graph: Graph, op: Op) -> None:
    _eight_bit(graph, op)
    y = graph.tensors[op.outputs[0]]
    require(_quant(y).scale[0] == 1 / 128 and _quant(y).zero_point[0] == (0 if y.dtype == "int8" else 128),
            f"{y.name!r} must have a scale of 1/128 and zero point in the middle")


def _joined(graph: Graph, op: Op) -> None:
    _eight_bit(graph, op)
    y = graph.tensors[op.outputs[0]]
    if y.dtype == "int8":  # the uint8 kernel rescales, the int8 kernel copies
        for x in (_operand(graph, op, i) for i in range(len(op.inputs))):
            a, b = _quant(x), _quant(y)
            require(a.scale[0] == b.scale[0] and a.zero_point[0] == b.zero_point[0],
                    f"{x.name!r} must have the quantisation of {y.name!r}")


def _log_softmax(graph: Graph, op: Op) -> None:
    _eight_bit(graph, op)
    x, y = _operand(graph, op, 0), graph.tensors[op.outputs[0]]
    if y.dtype != "float32":
        quant = _quant(y)
        require(quant.scale[0] == 1 / 16 and quant.zero_point[0] == np.iinfo(y.dtype).max,
                f"{y.name!r} must have a scale of 1/16 and the greatest zero point")
        require(difference_scale(1.0, float(_quant(x).scale[0])) > 2, f"the scale of {x.name!r} is too small")


def _lstm(graph: Graph, op: Op) -> None:
    _eight_bit(graph, op)
    clip, (scale, zero) = op.attrs["options"]["cell_clip"], op.attrs["options"]["hidden"]
    require(0 <= clip < 2**31, f"it clips at {clip}")
    require(0 < scale < 2**31 and -128 <= zero < 128, f"hidden values have scale {scale}, zero point {zero}")
    y = graph.tensors[op.outputs[0]]
    for i, tensor in enumerate(graph.tensors[j] for j in op.inputs if j is not None):
        require(i == 0 or tensor.data is not None, f"{tensor.name!r} must be a constant")
    for i in (*range(1, 9), STATE):
        if op.inputs[i] is not None:
            tensor = _operand(graph, op, i)
            require(i == STATE or _quant(tensor).zero_point[0] == 0, f"{tensor.name!r} has a zero point")
    state, cell = _operand(graph, op, STATE), _operand(graph, op, CELL_STATE)
    require(np.array_equal(_quant(state).scale, _quant(y).scale)
            and np.array_equal(_quant(state).zero_point, _quant(y).zero_point),
            f"{y.name!r} must have the quantisation of its state {state.name!r}")
    _per_tensor(cell)
    scale = float(_quant(cell).scale[0])
    require(abs(np.log2(scale) % 1 - 0.5) > 0.499 and 0 <= cell_bits(scale) <= 4 and
            _quant(cell).zero_point[0] == 0,
            f"the scale of cell state {cell.name!r} must be a power of two from 2**-15 to 2**-11, "
            "its zero point 0")


_LINEAR = ("int8 int8 int32? -> int8", "uint8 uint8 int32? -> uint8")
_BYTES = ("int8", "uint8")
_INT8 = ("int8 -> int8",)
_ONE = ("int8 -> int8", "uint8 -> uint8")
_TWO = ("int8 int8 -> int8", "uint8 uint8 -> uint8")
_ANY = PLAIN_DTYPES + NARROW_DTYPES
_INDEX = ("int32", "int64")
_PLACE = tuple(f"{t} {i} -> {o}" for t in ("int8", "uint8") for i in _INDEX for o in _INDEX)
_LSTM = "int8 int8? int8 int8 int8 int8? int8 int8 int8 int32? int32 int32 int32 int8 int16 -> int8"
_LIMITS = ("low", "high")
_CONVOLUTION = ("stride", "dilation", "padding", *_LIMITS)
_POOL = ("window", "stride", "padding", *_LIMITS)


def _moved(*rest: str) -> tuple[str, ...]:
    """One tensor in, one of its type out; ``rest`` are the types of the operands that follow it."""
    return tuple(f"{t} {others} -> {t}" for t in _BYTES for others in rest)


RULES: dict[Kind | str, Rule] = {
    Kind.CONV: Rule(dtypes=_LINEAR, attrs=_CONVOLUTION, shapes=shapes.convolution, quant=_linear),
    Kind.DEPTHWISE_CONV: Rule(dtypes=_LINEAR, attrs=_CONVOLUTION, shapes=shapes.depthwise, quant=_linear),
    Kind.FULLY_CONNECTED: Rule(dtypes=_LINEAR, attrs=_LIMITS, shapes=shapes.fully_connected, quant=_linear),
    Kind.AVERAGE_POOL: Rule(dtypes=_ONE, attrs=_POOL, shapes=shapes.pool, quant=_kept),
    Kind.MAX_POOL: Rule(dtypes=_ONE, attrs=_POOL, shapes=shapes.pool, quant=_kept),
    Kind.ADD: Rule(dtypes=_TWO, attrs=_LIMITS, shapes=shapes.broadcast, quant=_sum),
    Kind.SUB: Rule(dtypes=_TWO, attrs=_LIMITS, shapes=shapes.broadcast, quant=_sum),
    Kind.MUL: Rule(dtypes=_TWO, attrs=_LIMITS, shapes=shapes.broadcast, quant=_eight_bit),
    Kind.RESHAPE: Rule(dtypes=tuple(f"{t} -> {t}" for t in _ANY), attrs=(), shapes=shapes.reshape),
    Kind.SOFTMAX: Rule(dtypes=_ONE, attrs=("beta",), shapes=shapes.softmax, quant=_softmax),
    "ABS": Rule(dtypes=_INT8, quant=_eight_bit),
    "ARG_MAX": Rule(dtypes=_PLACE, shapes=shapes.without_axis),
    "ARG_MIN": Rule(dtypes=_PLACE, shapes=shapes.without_axis),
    "BATCH_MATMUL": Rule(dtypes=("int8 int8 -> int8",), shapes=shapes.batch_matmul, quant=_eight_bit),
    "BATCH_TO_SPACE_ND": Rule(dtypes=_moved("int32 int32"), shapes=shapes.batch_to_space, quant=_kept),
    "CONCATENATION": Rule(dtypes=("int8* -> int8", "uint8* -> uint8"), shapes=shapes.concatenation,
                          quant=_joined),
    "DEPTH_TO_SPACE": Rule(dtypes=_ONE, shapes=shapes.depth_to_space, quant=_kept),
    "DEQUANTIZE": Rule(dtypes=("int8 -> float32", "uint8 -> float32"), quant=_eight_bit),
    "ELU": Rule(dtypes=_INT8, quant=_eight_bit),
    "EXP": Rule(dtypes=_INT8, quant=_eight_bit),
    "GATHER": Rule(dtypes=_moved("int32", "int64"), shapes=shapes.gather),
    "GELU": Rule(dtypes=_ONE, quant=_eight_bit),
    "HARD_SWISH": Rule(dtypes=_ONE, quant=_hard_swish),
    "L2_NORMALIZATION": Rule(dtypes=_ONE, shapes=shapes.softmax, quant=_unit),
    "LEAKY_RELU": Rule(dtypes=_ONE, quant=_leaky_relu),
    "LOG": Rule(dtypes=_INT8, quant=_eight_bit),
    "LOG_SOFTMAX": Rule(dtypes=(*_ONE, "float32 -> float32"), shapes=shapes.softmax, quant=_log_softmax),
    "LOGISTIC": Rule(dtypes=_ONE, quant=_logistic),
    "MAXIMUM": Rule(dtypes=_TWO, shapes=shapes.broadcast, quant=_eight_bit),
    "MEAN": Rule(dtypes=_moved("int32"), shapes=shapes.reduction, quant=_eight_bit),
    "MINIMUM": Rule(dtypes=_TWO, shapes=shapes.broadcast, quant=_eight_bit),
    "MIRROR_PAD": Rule(dtypes=_moved("int32", "int64"), shapes=shapes.mirror_pad, quant=_kept),
    "PACK": Rule(dtypes=tuple(f"{t}* -> {t}" for t in _BYTES), shapes=shapes.pack),
    "PAD": Rule(dtypes=_moved("int32", "int64"), shapes=shapes.pad, quant=_kept),
    "PADV2": Rule(dtypes=tuple(f"{t} {i} {t} -> {t}" for t in _BYTES for i in _INDEX), shapes=shapes.pad,
                  quant=_border),
    "PRELU": Rule(dtypes=_TWO, shapes=shapes.prelu, quant=_eight_bit),
    "QUANTIZE": Rule(dtypes=("float32 -> int8", "float32 -> uint8", "int8 -> uint8", "uint8 -> int8", *_ONE),
                     quant=_eight_bit),
    "REDUCE_MAX": Rule(dtypes=_moved("int32"), shapes=shapes.reduction, quant=_kept),
    "REDUCE_MIN": Rule(dtypes=_moved("int32"), shapes=shapes.reduction, quant=_kept),
    "RELU": Rule(dtypes=_ONE, quant=_eight_bit),
    "RELU6": Rule(dtypes=_ONE, quant=_eight_bit),
    "RELU_0_TO_1": Rule(dtypes=_ONE, quant=_eight_bit),
    "RELU_N1_TO_1": Rule(dtypes=_ONE, quant=_eight_bit),
    "RESIZE_BILINEAR": Rule(dtypes=_moved("int32"), shapes=shapes.resized, quant=_kept),
    "RESIZE_NEAREST_NEIGHBOR": Rule(dtypes=_moved("int32"), shapes=shapes.resized, quant=_kept),
    "SLICE": Rule(dtypes=_moved("int32 int32", "int64 int64"), shapes=shapes.cut),
    "SPACE_TO_BATCH_ND": Rule(dtypes=_moved("int32 int32"), shapes=shapes.space_to_batch, quant=_kept),
    "SPACE_TO_DEPTH": Rule(dtypes=_ONE, shapes=shapes.space_to_depth, quant=_kept),
    "SPLIT": Rule(dtypes=tuple(f"int32 {t} -> {t}*" for t in _ANY), shapes=shapes.split),
    "SPLIT_V": Rule(dtypes=tuple(f"{t} {i} int32 -> {t}*" for t in _BYTES for i in _INDEX),
                    shapes=shapes.split_unequally),
    "STRIDED_SLICE": Rule(dtypes=tuple(f"{t} int32 int32 int32 -> {t}" for t in _ANY),
                          shapes=shapes.strided_slice),
    "SUM": Rule(dtypes=("uint8 int32 -> uint8",), shapes=shapes.reduction, quant=_eight_bit),
    "TANH": Rule(dtypes=_ONE, quant=_eight_bit),
    "TRANSPOSE": Rule(dtypes=tuple(f"{t} int32 -> {t}" for t in _ANY), shapes=shapes.transpose),
    "TRANSPOSE_CONV": Rule(dtypes=_LINEAR, attrs=("stride", "padding", *_LIMITS),
                           shapes=shapes.transpose_conv, quant=_linear),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Rule(dtypes=(_LSTM,), shapes=shapes.lstm, quant=_lstm),
    "UNPACK": Rule(dtypes=tuple(f"{t} -> {t}*" for t in _BYTES), shapes=shapes.unpack),
}
"""By kind; operators of Kind.HOST by their framework name."""


def _weights(graph: Graph, op: Op) -> None:
    """Input and output have one scale; weights one, or one for each output channel."""
    x, w, y = _operand(graph, op, 0), _operand(graph, op, 1), graph.tensors[op.outputs[0]]
    _per_tensor(x, y)
    quant, channel_axis = _quant(w), 3 if op.kind == Kind.DEPTHWISE_CONV else 0
    if quant.scale.size == 1:
        _per_tensor(w)
    else:
        require(op.kind != Kind.MATMUL and quant.axis == channel_axis,
                f"weights {w.name!r} have a scale for each element of axis {quant.axis}; "
                f"output channels are axis {channel_axis}")


_MIXED = tuple(f"{x} {w} {b}? -> {y}" for x in _BYTES for w in _BYTES for b in ("int32", "float32")
               for y in _BYTES)
_PAIRS = tuple(f"{a} {b} -> {y}" for a in _BYTES for b in _BYTES for y in _BYTES)

ONNX_RULES: dict[Kind, Rule] = {
    Kind.CONV: Rule(dtypes=_MIXED, attrs=_CONVOLUTION, shapes=shapes.convolution, quant=_weights),
    Kind.DEPTHWISE_CONV: Rule(dtypes=_MIXED, attrs=_CONVOLUTION, shapes=shapes.depthwise, quant=_weights),
    Kind.FULLY_CONNECTED: Rule(dtypes=_MIXED, attrs=_LIMITS, shapes=shapes.fully_connected, quant=_weights),
    Kind.MATMUL: Rule(dtypes=_MIXED, attrs=_LIMITS, shapes=shapes.matmul, quant=_weights),
    Kind.MAX_POOL: Rule(dtypes=_ONE, attrs=_POOL, shapes=shapes.pool, quant=_kept),
    Kind.ADD: Rule(dtypes=_PAIRS, attrs=_LIMITS, shapes=shapes.broadcast, quant=_eight_bit),
    Kind.SUB: Rule(dtypes=_PAIRS, attrs=_LIMITS, shapes=shapes.broadcast, quant=_eight_bit),
    Kind.MUL: Rule(dtypes=_PAIRS, attrs=_LIMITS, shapes=shapes.broadcast, quant=_eight_bit),
    Kind.RESHAPE: Rule(dtypes=tuple(f"{t} -> {t}" for t in _ANY), attrs=(), shapes=shapes.reshape),
    Kind.HOST: Rule(dtypes=(), shapes=shapes.as_given),
}
"""Of ONNX graphs, by kind: ONNX Runtime itself has judged the operators, and computes those of the host."""
ONNX_ATTRIBUTES = {"ort", "elementwise", "float", "bound"}
"""Which an ONNX operator may have beside those of its kind."""


def rule_of(graph: Graph, op: Op) -> Rule | None:
    if graph.framework == "onnx":
        return ONNX_RULES.get(op.kind)
    return RULES.get(op.source if op.kind == Kind.HOST else op.kind)


def dtypes_of(graph: Graph, op: Op) -> str:
    """The types of an operator's operands, as the table writes them."""
    given = ("none" if i is None else graph.tensors[i].dtype for i in op.inputs)
    return f"{' '.join(given)} -> {' '.join(graph.tensors[i].dtype for i in op.outputs)}"


def _matches(pattern: str, given: str) -> bool:
    if "->" in pattern:
        return all(_matches(p, g) for p, g in zip(pattern.split("->"), given.split("->"), strict=True))
    wanted, have = pattern.split(), given.split()
    if wanted[-1:] and wanted[-1].endswith("*"):
        wanted[-1:] = [wanted[-1][:-1]] * max(1, len(have) - len(wanted) + 1)
    while wanted and wanted[-1].endswith("?") and len(have) < len(wanted):
        wanted.pop()
    return len(wanted) == len(have) and all(
        h == w.rstrip("?") or (h == "none" and w.endswith("?")) for w, h in zip(wanted, have, strict=True))


def accepts(rule: Rule, graph: Graph, op: Op) -> bool:
    """Whether a rule lists the operator's types; an empty list takes any."""
    if not rule.dtypes:
        return True
    given = dtypes_of(graph, op)
    return any(_matches(pattern, given) for pattern in rule.dtypes)


def verify(graph: Graph) -> None:
    """Raises GraphError, naming operator, tensor and rule, for a graph that breaks one."""
    require(bool(graph.outputs), "the network has no output")
    for index in (*graph.inputs, *graph.outputs):
        _index(graph, index, "the network")
    known = {i for i, tensor in enumerate(graph.tensors) if tensor.data is not None}
    for index in graph.inputs:
        require(index not in known,
                f"tensor {graph.tensors[index].name!r} is an input twice, or a constant too")
        known.add(index)
        _tensor(graph.tensors[index])
    for op in graph.ops:
        try:
            _operator(graph, op, known)
        except GraphError as error:
            known_name = op.outputs and 0 <= op.outputs[0] < len(graph.tensors)
            name = graph.tensors[op.outputs[0]].name if known_name else "?"
            raise GraphError(f"{op.label}, which makes {name!r}: {error}") from None
        known.update(op.outputs)
    for index in graph.outputs:
        require(index in known, f"no operator makes the output {graph.tensors[index].name!r}")


def _index(graph: Graph, index: int, owner: str) -> None:
    require(0 <= index < len(graph.tensors), f"{owner} refers to tensor {index} of {len(graph.tensors)}")


def _operator(graph: Graph, op: Op, known: set[int]) -> None:
    for index in (*op.inputs, *op.outputs):
        if index is not None:
            _index(graph, index, "it")
            _tensor(graph.tensors[index])
    for index in op.inputs:
        require(index is None or index in known,
                f"nothing before it makes its input {'' if index is None else graph.tensors[index].name!r}")
    for index in op.outputs:
        require(index not in known, f"{graph.tensors[index].name!r} is made twice, an input or a constant")
    require(len(set(op.outputs)) == len(op.outputs) > 0, "it needs at least one output, and each only once")

    rule = rule_of(graph, op)
    if rule is None:
        raise GraphError(f"no operator of kind {op.kind.value} is called {op.source}")
    require(accepts(rule, graph, op), f"types {dtypes_of(graph, op)}; accepted are {', '.join(rule.dtypes)}")
    extra = ONNX_ATTRIBUTES if graph.framework == "onnx" else set()
    require(set(op.attrs) - extra == set(rule.attrs),
            f"attributes {sorted(op.attrs)}; it has {sorted(rule.attrs)}")
    require(graph.framework != "onnx" or op.kind == Kind.RESHAPE or "ort" in op.attrs or "bound" in op.attrs,
            "it has no model for ONNX Runtime")
    for name, value in op.attrs.items():
        legal, wanted = ATTRIBUTES[name]
        require(legal(value), f"{name} is {value!r}; it must be {wanted}")
    if "low" in op.attrs:
        limits, low, high = np.iinfo(graph.tensors[op.outputs[0]].dtype), op.attrs["low"], op.attrs["high"]
        require(limits.min <= low <= high <= limits.max,
                f"limits {low} to {high} are not of its output's type")
    for index, shape in zip(op.outputs, rule.shapes(graph, op), strict=True):
        tensor = graph.tensors[index]
        require(tensor.shape == shape,
                f"{tensor.name!r} has shape {list(tensor.shape)}, its operands give {list(shape)}")
    if rule.quant is not None:
        rule.quant(graph, op)


def _tensor(tensor: Tensor) -> None:
    """Rules on one tensor, whoever uses it."""
    name = f"tensor {tensor.name!r}"
    require(len(tensor.shape) <= RANK_LIMIT,
            f"{name} has {len(tensor.shape)} dimensions, more than {RANK_LIMIT}")
    require(all(type(size) is int and size > 0 for size in tensor.shape),
            f"{name} has shape {list(tensor.shape)}; each dimension must be a positive number")
    require(tensor.size <= MAX_ELEMENTS, f"{name} has {tensor.size} elements, more than {MAX_ELEMENTS}")
    require(tensor.dtype in _ANY, f"{name} has type {tensor.dtype}; supported are {', '.join(_ANY)}")
    if tensor.data is not None:
        require(tensor.data.shape == tensor.shape and tensor.data.dtype == tensor.dtype,
                f"{name} is {tensor.dtype} {list(tensor.shape)}, its data {tensor.data.dtype} "
                f"{list(tensor.data.shape)}")
    if tensor.quant is not None:
        _quantisation(name, tensor.shape, tensor.quant)


def _quantisation(name: str, shape: tuple[int, ...], quant: Quant) -> None:
    count = quant.scale.size
    require(quant.scale.shape == quant.zero_point.shape == (count,) and count > 0,
            f"{name} has {count} scales and {quant.zero_point.size} zero points")
    require(bool((np.isfinite(quant.scale) & (quant.scale > 0)).all()),
            f"{name} has a scale that is zero, negative or not a number")
    if quant.axis is None:
        require(count == 1, f"{name} has {count} scales but no axis to spread them along")
    else:
        require(0 <= quant.axis < len(shape) and shape[quant.axis] == count,
                f"{name} of shape {list(shape)} has {count} scales along axis {quant.axis}")
