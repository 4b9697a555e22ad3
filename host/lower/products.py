"""Products of two matrices: the pixels of one are streamed through the other, whose rows are weights."""
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt

from ..graph.ir import Graph, Kind, Op
from ..reference import real_scales, requantize_function
from ..reference.products import product_function, product_scale
from ..reference.rounding import quantize_multiplier
from .layers import (
    INT8,
    LAYERS_MOST,
    Draft,
    Refused,
    flip,
    image,
    key_of,
    limits,
    need_bytes,
    operand,
    producer,
    requantise,
    several,
    value_range,
    zero_point,
)
from .movement import origins
from .plan import WHOLE, Computed, Layer, Part, Shape
from .requantise import Function

Index = npt.NDArray[np.int32]

MOVES = (Kind.RESHAPE, "SLICE", "STRIDED_SLICE", "TRANSPOSE", "Slice", "Transpose")
"""Operators that only move the values of one operand, to one output."""


def lower_batch_matmul(draft: Draft, position: int) -> None:
    """BATCH_MATMUL of TFLite."""
    graph = draft.graph
    op = graph.ops[position]
    a, b, out = (graph.tensors[t] for t in (operand(op, 0), operand(op, 1), op.outputs[0]))
    need_bytes(a, b, out)
    options = op.attrs["options"]
    real = product_scale(graph, op)
    lower_product(draft, position, product_function(graph, op), np.array([real]),
                  adjoint=(options["adj_x"], options["adj_y"]), left=max(quantize_multiplier(real)[1], 0))


def lower_matmul(draft: Draft, position: int) -> None:
    """MATMUL of ONNX."""
    op = draft.graph.ops[position]
    need_bytes(*(draft.graph.tensors[t] for t in (operand(op, 0), operand(op, 1), op.outputs[0])))
    lower_product(draft, position, requantize_function(draft.graph, op), real_scales(draft.graph, op))


def lower_product(draft: Draft, position: int, stored: Function, scale: npt.NDArray[np.float64], *,
                  adjoint: tuple[bool, bool] = (False, False), left: int = 0) -> None:
    """The product of operand 0, [.., M, K], and operand 1, [.., K, N].

    The rows of operand 0 are pixels of K channels. Operand 1 is the weights, a layer for each of its
    matrices: if it is computed, the host packs them while the network runs.

    Parameters
    ----------
    stored : what the framework stores for sums of products of values less their zero points
    scale : its slope, for all columns or for each; ``stored`` is asked for as many columns
    adjoint : whether the operands hold transposed matrices, [.., K, M] and [.., N, K]
    left : bits by which the framework shifts its 32-bit sums left before it scales them
    """
    graph, fabric = draft.graph, draft.fabric
    op = graph.ops[position]
    source, other, output = operand(op, 0), operand(op, 1), op.outputs[0]
    a, b, out = (graph.tensors[t] for t in (source, other, output))
    need_bytes(a, b, out)
    if a.data is not None and b.data is not None:
        raise Refused("works on constants; the fabric works on what the network computes")
    if adjoint[0]:
        raise Refused(f"takes {a.name!r} transposed; the fabric streams rows of values that are to be summed")
    whole, pads, (low, high) = image(out.shape), zero_point(a), limits(op, out)
    held = _Held.of(draft, position)
    matrices = _matrices(graph, op, held.index, adjoint[1])
    depth, columns = matrices.index.shape[-2:]
    weight_zero = _weight_zero(draft, op)

    ends = [[end - zero_point(t) for end in value_range(graph, i)] for i, t in ((source, a), (other, b))]
    corners = [x * w for x in ends[0] for w in ends[1]]
    none = np.zeros(len(scale), np.int64)
    least, most = none + depth * min(corners), none + depth * max(corners)
    if max(-least[0], most[0]) >= 1 << (31 - left):
        raise Refused(f"sums in [{least[0]}, {most[0]}] times 2**{left} overflow the framework's 32 bits")
    records, proof = requantise(fabric, position, lambda sums: stored(sums) - flip(out), none, least, most,
                                scale, zero_point(out), low, high, copies=columns // len(scale))
    channels = records * (columns // len(records))
    furthest = depth * abs(pads) * max(abs(w) for w in ends[1]) + max(abs(c.bias) for c in records)
    if furthest >= 2**31:
        raise Refused(f"biases with the zero point of {a.name!r} folded in reach {furthest}, more than 32 "
                      "bits hold")

    first = Layer(
        ops=(position, *held.moves), name=out.name, mode="dense", input=source, output=output,
        source="+".join(graph.ops[i].source for i in (*held.moves[::-1], position)),
        in_shape=matrices.shape, out_shape=whole, kernel=(1, 1), weight_zero=weight_zero,
        weights=np.zeros((1, 1, depth, columns), np.int16), channels=channels, zero=zero_point(out), low=low,
        high=high, pad_value=pads,
        macs=0 if op.attrs.get("bound") == "high" else prod(whole) * depth)
    layers = []
    for part, index in matrices.parts(first):
        index = index.reshape(1, 1, depth, columns)
        if b.data is None:
            layers.append(replace(part, computed=Computed(held.tensor, index)))
        else:
            zero = np.int16(zero_point(b) + flip(b))
            layers.append(part.with_weights(b.data.reshape(-1)[index].astype(np.int16) - zero))
    for move in held.moves:
        draft.drop(move)
    draft.layers[position], draft.proofs[position] = several(layers), proof


@dataclass(frozen=True)
class _Held:
    """Where the second operand's values are: packing them may do what operators before it only move.

    tensor : that holds them
    index : int32 of the operand's shape, their places in the tensor's memory
    moves : positions of operators that only moved them to the operand, for nobody else
    """

    tensor: int
    index: Index
    moves: tuple[int, ...]

    @classmethod
    def of(cls, draft: Draft, position: int) -> "_Held":
        graph = draft.graph
        tensor, reader, moves = operand(graph.ops[position], 1), position, list[int]()
        index = np.arange(graph.tensors[tensor].size).reshape(graph.tensors[tensor].shape)
        streamed = operand(graph.ops[position], 0)
        while tensor != streamed and tensor not in graph.outputs and graph.uses(tensor) == [reader]:
            maker = producer(graph, tensor)
            if maker is None or maker in draft.forced:
                break
            op = graph.ops[maker]
            source = next((t for t in op.inputs if t is not None and graph.tensors[t].data is None), None)
            if source is None or key_of(op) not in MOVES:
                break
            if op.kind != Kind.RESHAPE:
                try:
                    (places,) = origins(graph, op, source)
                except Refused:
                    break
                index = places.reshape(-1)[index]
            tensor, reader = source, maker
            moves.append(maker)
        return cls(tensor, index.astype(np.int32), tuple(moves))


@dataclass(frozen=True)
class _Matrices:
    """The matrices of a product.

    shape : the image of the first operand, a matrix in each row, or one in all of it
    rows : which of its rows each row of the output is made of
    index : int32[matrices, K, N], the second operand's bytes in the order of the array
    each : which of these matrices each row of the output is made of
    """

    shape: Shape
    rows: list[int]
    index: Index
    each: list[int]

    def parts(self, layer: Layer) -> Iterator[tuple[Layer, Index]]:
        """A layer for each matrix of weights, given one for all, with the places of its weights."""
        height, width, columns = layer.out_shape
        if len(set(self.each)) == 1 and self.shape[:2] == (height, width):
            yield layer, self.index[self.each[0]]
            return
        for y, (row, number) in enumerate(zip(self.rows, self.each, strict=True)):
            part = WHOLE if height == 1 else Part(y=y)
            yield replace(
                layer, out_shape=(1, width, columns), out_image=None if height == 1 else layer.out_shape,
                out_part=part, padding=(-row, row + 1 - self.shape[0], 0, 0)), self.index[number]


def _matrices(graph: Graph, op: Op, places: Index, transposed: bool) -> _Matrices:
    """The matrices; ``places`` are those of the second operand's values."""
    a, b, out = (graph.tensors[t].shape for t in (operand(op, 0), operand(op, 1), op.outputs[0]))
    index = places.reshape(-1, *b[-2:])
    if transposed:
        index = np.ascontiguousarray(index.swapaxes(1, 2))
    rows, each = (np.broadcast_to(np.arange(prod(shape[:-2])).reshape(shape[:-2]), out[:-2])
                  for shape in (a, b))
    shape, whole = image(a), image(out)
    if len(out) > 2 and shape[1] != whole[1]:  # a matrix of two dimensions lies along y, one of three along x
        raise Refused(f"multiplies one matrix {list(a)} by several")
    if len(set(each.flat)) > 1 and whole[0] > LAYERS_MOST:
        raise Refused(f"is a product of {whole[0]} matrices by one each")
    return _Matrices(shape, rows.reshape(-1).tolist(), index, each.reshape(-1).tolist())


def _weight_zero(draft: Draft, op: Op) -> int:
    """What the second operand's bytes stand for in the array: themselves less this."""
    b = draft.graph.tensors[operand(op, 1)]
    zero = zero_point(b)
    low, high = value_range(draft.graph, operand(op, 1)) if b.data is None else (
        int(b.data.min()) - flip(b), int(b.data.max()) - flip(b))
    if b.data is not None and low - zero >= INT8[0] and high - zero <= INT8[1]:
        return 0
    if zero and draft.fabric.weight_bits < 9:
        raise Refused(f"{b.name!r} reaches {low - zero} to {high - zero} less its zero point; that takes a "
                      f"fabric with weight_bits = 9, this one has {draft.fabric.weight_bits}")
    return zero

