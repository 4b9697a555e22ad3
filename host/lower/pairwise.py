"""ADD, SUB and MUL: on the way out of the layer that makes one operand, or as a pass of their own."""
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ...rtl.contract.numerics import Add, Product
from ..graph.ir import Graph, Kind, Op
from ..reference import add_function, mul_function, sub_function
from .add import solve_add
from .layers import (
    Draft,
    Refused,
    carried,
    flip,
    identity,
    image,
    limits,
    need_bytes,
    requantise,
    scale_of,
    value_range,
    zero_point,
)
from .multiplier import LARGE, Multiplier, multiplier_of
from .plan import WHOLE, Layer, Proof
from .requantise import Ints
from .unary import lower_unary

Pair = Callable[[Ints, Ints], Ints]


def lower_pairwise(draft: Draft, position: int) -> None:
    """With a constant a function of one value; of two computed images a sum or product behind a layer."""
    graph = draft.graph
    op = graph.ops[position]
    a, b = operands = _operands(op)
    need_bytes(*(graph.tensors[t] for t in (a, b, op.outputs[0])))
    constant = [i for i, t in enumerate(operands) if graph.tensors[t].data is not None]
    if len(constant) == 2:
        raise Refused("works on constants; the fabric works on what the network computes")
    try:
        lower_unary(draft, position)
    except Refused:
        if constant:
            _with_constant(draft, position, *constant)
        elif op.kind == Kind.MUL:
            _product(draft, position)
        else:
            _sum(draft, position)


def _with_constant(draft: Draft, position: int, number: int) -> None:
    """Each channel a function of its own of the other operand: a record each; weights of -1 where it falls.
    """
    graph = draft.graph
    op = graph.ops[position]
    operands = _operands(op)
    source, constant, out = operands[1 - number], operands[number], graph.tensors[op.outputs[0]]
    x, c = graph.tensors[source], graph.tensors[constant]
    shape = _image_of(graph, source, out.shape)
    assert c.data is not None
    values = np.broadcast_to(c.data.astype(np.int64), out.shape).reshape(shape)
    if (values != values[0, 0]).any():
        raise Refused(f"the constant {c.name!r} is not the same at all places of the image; the fabric's "
                      "records hold one value for each channel")
    each, low, high = values[0, 0], *limits(op, out)
    if op.kind == Kind.MUL:
        centred = each - zero_point(c) - flip(c)
        sign = np.where(centred < 0, -1, 1)
        slope = np.abs(centred) * scale_of(c) * scale_of(x) / scale_of(out)
    else:
        sign = np.full(shape[2], -1 if op.kind == Kind.SUB and number == 0 else 1)
        slope = np.full(shape[2], scale_of(x) / scale_of(out))
    pair = _function(graph, op)

    def function(sums: Ints) -> Ints:
        one = sign * sums + zero_point(x) + flip(x)
        return (pair(each, one) if number == 0 else pair(one, each)) - flip(out)

    bias = -sign * zero_point(x)
    ends = np.sort([sign * end + bias for end in value_range(graph, source)], axis=0)
    records, proof = requantise(draft.fabric, position, function, bias, ends[0], ends[1], slope,
                                zero_point(out), low, high)
    layer = identity(graph, position, source, op.outputs[0])
    draft.layers[position] = [replace(layer, weights=sign.astype(np.int16), channels=records,
                                      zero=zero_point(out), low=low, high=high)]
    draft.proofs[position] = proof


def _product(draft: Draft, position: int) -> None:
    """A pass over one operand, multiplied by the other and requantised."""
    if not multiplier_of(draft.fabric).products:
        raise Refused(f"the post-processing of the fabric {draft.fabric.name} multiplies no two images")
    graph = draft.graph
    op = graph.ops[position]
    out = graph.tensors[op.outputs[0]]
    shape = image(out.shape)
    q, other = _whole_first(graph, op)
    x, y = graph.tensors[q], graph.tensors[other]
    ends = [[end - zero_point(t) for end in value_range(graph, i)] for i, t in ((q, x), (other, y))]
    corners = [a * b for a in ends[0] for b in ends[1]]
    stored = mul_function(graph, op)
    zero, (low, high) = zero_point(out), limits(op, out)
    none = np.zeros(1, np.int64)
    record, proof = requantise(
        draft.fabric, position, lambda products: stored(products) - flip(out), none, none + min(corners),
        none + max(corners), np.array([scale_of(x) * scale_of(y) / scale_of(out)]), zero, low, high,
        copies=shape[2])
    draft.layers[position] = [replace(
        identity(graph, position, q, op.outputs[0]), other=other, other_shape=_repeated(graph, other, shape),
        multiply=Product(offset_q=-zero_point(x), offset_other=-zero_point(y)), channels=record * shape[2],
        zero=zero, low=low, high=high)]
    draft.proofs[position] = proof


def _sum(draft: Draft, position: int) -> None:
    """ADD or SUB of two images.

    A layer can take it along if nothing else wants its own result. Of two such layers the one that lies
    deeper in the network does: the other can then run while the deeper one's input is still being made.
    """
    graph = draft.graph
    op = graph.ops[position]
    operands = _operands(op)
    out = graph.tensors[op.outputs[0]]
    whole = _whole_first(graph, op)[0]
    depth = depths(graph)
    riders = []
    for q, other in ((0, 1), (1, 0)):
        makers = draft.makers(operands[q], position)
        if len(makers) == 1 and _free(makers[0]) and operands[0] != operands[1] and image(
                graph.tensors[operands[q]].shape) == image(out.shape):
            riders.append((depth[operands[q]], q, other, makers[0]))
    for _, q, other, layer in sorted(riders, key=lambda rider: rider[:2], reverse=True):
        made = _with_sum(draft, position, layer, (layer.low, layer.high), q, other)
        if made is not None:
            draft.note(layer, made[1])
            draft.rewrite([layer], [carried(made[0], position, op)])
            return
    q = operands.index(whole)
    made = _with_sum(draft, position, identity(graph, position, whole, op.outputs[0]),
                     value_range(graph, whole), q, 1 - q)
    if made is None:
        raise Refused("no multipliers, constant and shift equal the framework's sum on all pairs of values")
    draft.layers[position] = [made[0]]
    draft.proofs[position] = Proof(position, len(made[0].channels), len(made[0].channels), made[1])


def depths(graph: Graph) -> dict[int, int]:
    """Length of the longest way from an input of the network to each computed tensor, in operators."""
    depth: dict[int, int] = {}
    for op in graph.ops:
        here = 1 + max((depth.get(t, 0) for t in op.inputs if t is not None), default=0)
        depth.update(dict.fromkeys(op.outputs, here))
    return depth


def _free(layer: Layer) -> bool:
    """Whether a sum can come behind a layer."""
    return (layer.add is None and layer.multiply is None and layer.table is None and layer.out_image is None
            and layer.out_part == WHOLE)


def _with_sum(draft: Draft, position: int, layer: Layer, q_range: tuple[int, int], q: int,
              other: int) -> tuple[Layer, str] | None:
    """The layer with the sum behind it, if there is an exact one; q and other are operand numbers."""
    graph = draft.graph
    op = graph.ops[position]
    add = sum_record(graph, op, q_range, q, multiplier_of(draft.fabric))
    if add is None:
        return None
    tensor = _operands(op)[other]
    first, last = value_range(graph, tensor)
    pairs = (q_range[1] - q_range[0] + 1) * (last - first + 1)
    layer = replace(layer, output=op.outputs[0], name=graph.tensors[op.outputs[0]].name, other=tensor,
                    add=add, other_shape=_repeated(graph, tensor, layer.out_shape))
    return layer, f"sum proved equal on all {pairs} pairs"


def sum_record(graph: Graph, op: Op, q_range: tuple[int, int], q: int,
               multiplier: Multiplier = LARGE) -> Add | None:
    """The record for an ADD or SUB whose operand number q, with values in q_range, comes out of a layer;
    None if none is exact."""
    out, operands = graph.tensors[op.outputs[0]], _operands(op)
    x, y = graph.tensors[operands[q]], graph.tensors[operands[1 - q]]
    pair = _function(graph, op)

    def function(a: Ints, b: Ints) -> Ints:
        one, two = a + flip(x), b + flip(y)
        return (pair(one, two) if q == 0 else pair(two, one)) - flip(out)

    slopes = [scale_of(x) / scale_of(out), scale_of(y) / scale_of(out)]
    if op.kind == Kind.SUB:
        slopes[1 - q] *= -1
    low, high = limits(op, out)
    return solve_add(function, slope_q=slopes[0], slope_other=slopes[1], q_range=q_range,
                     other_range=value_range(graph, operands[1 - q]), low=low, high=high,
                     multiplier=multiplier)


def _operands(op: Op) -> tuple[int, int]:
    a, b = op.inputs
    assert a is not None and b is not None, f"{op.label} lacks an input"
    return a, b


def _function(graph: Graph, op: Op) -> Pair:
    """The framework's operator on stored values."""
    if op.kind != Kind.MUL:
        return (add_function if op.kind == Kind.ADD else sub_function)(graph, op)
    stored = mul_function(graph, op)
    zero_a, zero_b = (zero_point(graph.tensors[t]) + flip(graph.tensors[t]) for t in _operands(op))
    return lambda a, b: stored((a - zero_a) * (b - zero_b))


def _image_of(graph: Graph, tensor: int, out: tuple[int, ...]) -> tuple[int, int, int]:
    """The image of the output, which that of an operand must equal."""
    shape = image(out)
    if image(graph.tensors[tensor].shape) != shape:
        raise Refused(f"repeats {graph.tensors[tensor].name!r} from {graph.tensors[tensor].shape} to {out}")
    return shape


def _whole_first(graph: Graph, op: Op) -> tuple[int, int]:
    """The operands, one as large as the output first; the other may be one pixel that all others share."""
    out = graph.tensors[op.outputs[0]].shape
    a, b = _operands(op)
    if image(graph.tensors[a].shape) != image(out):
        a, b = b, a
    shape = _image_of(graph, a, out)
    if image(graph.tensors[b].shape) not in (shape, (1, 1, shape[2])):
        raise Refused(f"repeats {graph.tensors[b].name!r} from {graph.tensors[b].shape} to {out}; the fabric "
                      "repeats only a whole pixel")
    return a, b


def _repeated(graph: Graph, other: int, shape: tuple[int, int, int]) -> tuple[int, int, int] | None:
    """The shape of an operand that is repeated."""
    given = image(graph.tensors[other].shape)
    return None if given == shape else given
