"""Takes float32 operators between quantised tensors (QDQ) apart into integer sums and a settlement.

ONNX Runtime adds up float32 numbers, in an order of its own, and then quantises. The exact integer sum, which
the fabric computes, decides most results all the same: all but those that lie within the error of the float32
sum of a rounding threshold. So three operators take the place of one::

    low, high = the operator itself with attrs["bound"], quantised from either end of the error
    Settle(low, high, x, weights, bias) = low where low == high, else ONNX Runtime's own sum

The bounds need not be tight to the last bit, so they are chosen among the functions that a record of the
fabric computes. Let t be the real result at one end of the error, in steps of the output; it grows with the
sum S by ``slope``. The stored result is ``rint(float32(t)) + zero``, within limits. The record computes ::

    z = S*multiplier / 2**(shift + PRODUCT_DROP) + rounding / 2**shift,    then floor(z) + zero

Its slope is off by a little, which comes to ``skew`` at most while t is within the limits or a step beyond;
and float32 moves such a t by at most ROUNDED. With ``z <= t + 1/2 - ROUNDED``, floor(z) is not above
rint(float32(t)); with ``z >= t + 1/2 + ROUNDED`` it is not below. Beyond the limits both are clamped, as
neither ever falls.
"""
from dataclasses import replace
from typing import Any

import numpy as np

from ....rtl.contract.numerics import PRODUCT_DROP
from ...lower.layers import flip, operand, producer, value_range
from ...lower.requantise import nominal_scale
from ...reference.float_bound import bias_of, float_error, quantised
from ...reference.float_order import operator_order
from ...reference.linear import real_scales
from ...reference.operands import quant_of, tensor_of
from ...reference.rounding import Floats
from ...reference.settle import SETTLE
from ..ir import Graph, Kind, Op, Tensor

ROUNDED = 2.0**-16 + 2.0**-30
"""Half of float32's last place below 512, and what float64 arithmetic loses here."""
DOUBT_MOST = 0.5
"""Where more of the results than this would have to be settled, the host computes the operator by itself."""
CONSTANT_MOST = 2**31 - 1
"""Of a sum and of a record. Operators that would need more are left to the host, too."""
FLOAT_OPTIONS = ("stride", "dilation", "padding")


def bracket(graph: Graph) -> Graph:
    """Of operators with attrs["float"]. One stays as it is, ONNX Runtime's, where its order of summation is
    not known, the bounds are too far apart, or the fabric could not have the sums: of weights with several
    zero points, or of more than 32 bits. New tensors come after all others.
    """
    tensors, ops = list(graph.tensors), list[Op]()
    for op in graph.ops:
        before = replace(graph, tensors=tuple(tensors), ops=tuple(ops))
        made = _bracketed(before, op) if "float" in op.attrs else None
        if made is None:
            ops.append(op)
            continue
        more, three = made
        tensors += more
        ops += three
    return replace(graph, tensors=tuple(tensors), ops=tuple(ops))


def _bracketed(graph: Graph, op: Op) -> tuple[list[Tensor], list[Op]] | None:
    """New tensors and operators; None where there are none."""
    x, w, y = (tensor_of(graph, index) for index in (*op.inputs[:2], op.outputs[0]))
    options = _options(op)
    order = operator_order(options, x.shape, w.shape, y.shape)
    if order is None or len(np.unique(quant_of(w).zero_point)) > 1:
        return None
    error = float_error(graph, op, order, _reach(graph, op, x))
    bias = bias_of(graph, op)
    real = np.zeros(len(error)) if bias is None else bias.astype(np.float64)
    integer = np.rint(real / (quant_of(x).scale[0] * quant_of(w).scale))
    if sum(order.blocks) * 255**2 + np.abs(integer).max() > CONSTANT_MOST:
        return None
    low, high = _limits(op, y)
    records = _records(graph, replace(op, attrs={**op.attrs, "low": low, "high": high}), error, real, integer)
    if records is None:
        return None
    kept = {name: value for name, value in op.attrs.items() if name != "ort"} | {"low": low, "high": high}
    place = len(graph.tensors)
    tensors = [Tensor(f"{y.name} ({bound})", y.shape, y.dtype, y.quant) for bound in ("low", "high")]
    inputs = op.inputs[:2]
    if bias is not None:
        inputs = (*inputs, place + 2)
        tensors.append(Tensor(f"{y.name} (bias)", bias.shape, "int32", data=integer.astype(np.int32)))
    bounds = [
        replace(op, inputs=inputs, outputs=(place + i,),
                attrs={**kept, "bound": bound, "float": {**op.attrs["float"], **record}})
        for i, (bound, record) in enumerate(records.items())]
    settle = Op(Kind.HOST, SETTLE, (place, place + 1, *op.inputs), op.outputs,
                {"options": options, "ort": op.attrs["ort"]}, op.index)
    return tensors, [*bounds, settle]


def _records(graph: Graph, op: Op, error: Floats, bias: Floats,
             integer: Floats) -> dict[str, dict[str, tuple[int, ...]]] | None:
    """The functions of both bounds, each channel's record; None if none will do.

    error, bias : of each channel, in real units;  integer : the bias that the sums contain
    """
    x, w, y = (quant_of(tensor_of(graph, index)) for index in (*op.inputs[:2], op.outputs[0]))
    slope = x.scale[0] * w.scale / y.scale[0]
    multiplier, shift = nominal_scale(real_scales(graph, op))
    zero = int(y.zero_point[0])
    within = 1 + max(abs(op.attrs["low"] - zero), abs(op.attrs["high"] - zero))
    ends = [(bias - error) / y.scale[0] - slope * integer, (bias + error) / y.scale[0] - slope * integer]
    skew = np.abs(np.ldexp(multiplier.astype(np.float64), -shift - PRODUCT_DROP) / slope - 1) * (
        within + np.max(np.abs(ends), axis=0))
    roundings = [np.floor(np.ldexp(ends[0] + 0.5 - ROUNDED - skew, shift)),
                 np.ceil(np.ldexp(ends[1] + 0.5 + ROUNDED + skew, shift))]
    doubt = np.mean(np.minimum(np.ldexp(roundings[1] - roundings[0], -shift), 1))
    if not doubt <= DOUBT_MOST or max(np.abs(part).max() for part in roundings) > CONSTANT_MOST:
        return None
    return {bound: {"multiplier": tuple(multiplier.tolist()), "shift": tuple(shift.tolist()),
                    "rounding": tuple(rounding.astype(np.int64).tolist())}
            for bound, rounding in zip(("low", "high"), roundings, strict=True)}


def _options(op: Op) -> dict[str, Any]:
    return {**op.attrs["float"], "kind": op.kind.value,
            **{name: op.attrs[name] for name in FLOAT_OPTIONS if name in op.attrs}}


def _reach(graph: Graph, op: Op, x: Tensor) -> tuple[int, int]:
    """Least and greatest stored value of the input, that of its padding included."""
    source = operand(op, 0)
    made_by = producer(graph, source)
    if made_by is not None and graph.ops[made_by].source == SETTLE:
        source = operand(graph.ops[made_by], 0)  # its bounds have the limits of what lies between them
    low, high = (value + flip(x) for value in value_range(graph, source))
    if any(op.attrs.get("padding", ())):
        zero = int(quant_of(x).zero_point[0])
        low, high = min(low, zero), max(high, zero)
    return low, high


def _limits(op: Op, y: Tensor) -> tuple[int, int]:
    """Stored values that the activation leaves."""
    least, most = (int(quantised(np.float64(end), y, op.attrs["float"]["activation"]))
                   for end in (-np.inf, np.inf))
    return max(op.attrs["low"], least), min(op.attrs["high"], most)
