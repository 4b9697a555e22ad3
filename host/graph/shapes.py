"""Output shapes of every operator, from operands and attributes; GraphError where the operands do not fit."""
from collections.abc import Callable
from math import prod

import numpy as np

from ...rtl.contract.errors import GraphError
from .ir import Graph, Op

PADDING_LIMIT = 256
"""Rows or columns of padding that an image may get beyond its own size: kernels store the padded image."""

Shape = tuple[int, ...]
ShapeRule = Callable[[Graph, Op], list[Shape]]


def operand(graph: Graph, op: Op, position: int) -> Shape:
    """Shape of an input that must be there."""
    index = op.inputs[position]
    assert index is not None
    return graph.tensors[index].shape


def constant(graph: Graph, op: Op, position: int, name: str) -> list[int]:
    """The values of an integer operand that must be known before the network runs."""
    index = op.inputs[position]
    assert index is not None
    tensor = graph.tensors[index]
    if tensor.data is None:
        raise GraphError(f"its {name} (tensor {tensor.name!r}) must be a constant")
    return [int(value) for value in tensor.data.ravel()]


def require(condition: bool, message: str) -> None:
    if not condition:
        raise GraphError(message)


def _axis(axis: int, rank: int) -> int:
    require(-rank <= axis < rank, f"axis {axis} is outside a tensor of rank {rank}")
    return axis % rank


def _image(shape: Shape, name: str) -> Shape:
    require(len(shape) == 4, f"its {name} must have 4 dimensions (N, H, W, C), not {list(shape)}")
    return shape


def _slide(op: Op, size: Shape, kernel: Shape, dilation: Shape) -> list[int]:
    """Places of a window along y and x."""
    top, bottom, left, right = op.attrs["padding"]
    places = []
    for length, window, step, spread, before, after in zip(
            size, kernel, op.attrs["stride"], dilation, (top, left), (bottom, right), strict=True):
        extent = (window - 1) * spread + 1
        require(before < extent and after < extent, f"padding {op.attrs['padding']} is wider than its window")
        require(before + after <= length + PADDING_LIMIT,
                f"an image of {length} is padded by {before} and {after}; "
                f"the limit is its size + {PADDING_LIMIT}")
        require(length + before + after >= extent, f"a window of {extent} does not fit an image of {length}")
        places.append((length + before + after - extent) // step + 1)
    return places


def convolution(graph: Graph, op: Op) -> list[Shape]:
    n, h, w, c = _image(operand(graph, op, 0), "input")
    outputs, kh, kw, inputs = _image(operand(graph, op, 1), "weights")
    require(inputs == c, f"weights of {inputs} input channels do not fit an input of {c}")
    _bias(graph, op, outputs)
    y, x = _slide(op, (h, w), (kh, kw), op.attrs["dilation"])
    return [(n, y, x, outputs)]


def depthwise(graph: Graph, op: Op) -> list[Shape]:
    n, h, w, c = _image(operand(graph, op, 0), "input")
    one, kh, kw, outputs = _image(operand(graph, op, 1), "weights")
    require(one == 1, f"depthwise weights must start with a dimension of 1, not {one}")
    require(outputs % c == 0, f"{outputs} output channels are no multiple of {c} input channels")
    _bias(graph, op, outputs)
    y, x = _slide(op, (h, w), (kh, kw), op.attrs["dilation"])
    return [(n, y, x, outputs)]


def fully_connected(graph: Graph, op: Op) -> list[Shape]:
    x, weights = operand(graph, op, 0), operand(graph, op, 1)
    require(len(weights) == 2, f"its weights must have 2 dimensions (outputs, inputs), not {list(weights)}")
    outputs, inputs = weights
    require(prod(x) % inputs == 0, f"an input of {prod(x)} elements does not split into rows of {inputs}")
    _bias(graph, op, outputs)
    given = graph.tensors[op.outputs[0]].shape  # the rows may keep the input's leading dimensions
    return [(*x[:-1], outputs) if len(given) != 2 and x[-1:] == (inputs,) else (prod(x) // inputs, outputs)]


def _bias(graph: Graph, op: Op, outputs: int) -> None:
    if len(op.inputs) > 2 and op.inputs[2] is not None:
        shape = operand(graph, op, 2)
        require(prod(shape) == outputs == (shape or (1,))[-1],
                f"its bias must have {outputs} elements, not {list(shape)}")


def pool(graph: Graph, op: Op) -> list[Shape]:
    n, h, w, c = _image(operand(graph, op, 0), "input")
    return [(n, *_slide(op, (h, w), op.attrs["window"], (1, 1)), c)]


def broadcast(graph: Graph, op: Op) -> list[Shape]:
    a, b = operand(graph, op, 0), operand(graph, op, 1)
    try:
        return [tuple(np.broadcast_shapes(a, b))]
    except ValueError:
        raise GraphError(f"shapes {list(a)} and {list(b)} cannot be combined") from None


def reshape(graph: Graph, op: Op) -> list[Shape]:
    x, y = operand(graph, op, 0), graph.tensors[op.outputs[0]].shape
    require(prod(x) == prod(y), f"{list(x)} ({prod(x)} elements) cannot become {list(y)} ({prod(y)})")
    return [y]


def same(graph: Graph, op: Op) -> list[Shape]:
    return [operand(graph, op, 0)]


def softmax(graph: Graph, op: Op) -> list[Shape]:
    require(len(operand(graph, op, 0)) >= 1, "a softmax needs at least one dimension")
    return same(graph, op)


def pads(graph: Graph, op: Op) -> list[tuple[int, int]]:
    """(before, after) of each dimension of a PAD."""
    x, widths = operand(graph, op, 0), constant(graph, op, 1, "padding")
    require(len(widths) == 2 * len(x) and min(widths, default=0) >= 0,
            f"padding {widths} does not fit a tensor of rank {len(x)}")
    return list(zip(widths[::2], widths[1::2], strict=True))


def pad(graph: Graph, op: Op) -> list[Shape]:
    return [tuple(before + size + after for size, (before, after) in
                  zip(operand(graph, op, 0), pads(graph, op), strict=True))]


def reduced_axes(graph: Graph, op: Op) -> tuple[int, ...]:
    """The dimensions a reduction removes, without repeats, ascending."""
    rank = len(operand(graph, op, 0))
    return tuple(sorted({_axis(axis, rank) for axis in constant(graph, op, 1, "axes")}))


def reduction(graph: Graph, op: Op) -> list[Shape]:
    x, axes = operand(graph, op, 0), reduced_axes(graph, op)
    if op.attrs["options"]["keep_dims"]:
        return [tuple(1 if i in axes else size for i, size in enumerate(x))]
    return [tuple(size for i, size in enumerate(x) if i not in axes)]


def concatenation(graph: Graph, op: Op) -> list[Shape]:
    shapes = [operand(graph, op, i) for i in range(len(op.inputs))]
    axis = _axis(op.attrs["options"]["axis"], len(shapes[0]))
    rest = {(len(s), s[:axis], s[axis + 1:]) for s in shapes}
    require(len(rest) == 1, f"shapes {[list(s) for s in shapes]} differ in more than axis {axis}")
    return [(*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1:])]


def permutation(graph: Graph, op: Op) -> tuple[int, ...]:
    order = constant(graph, op, 1, "permutation")
    require(sorted(order) == list(range(len(operand(graph, op, 0)))),
            f"{order} is no permutation of the dimensions of {list(operand(graph, op, 0))}")
    return tuple(order)


def transpose(graph: Graph, op: Op) -> list[Shape]:
    x = operand(graph, op, 0)
    return [tuple(x[axis] for axis in permutation(graph, op))]


def slices(graph: Graph, op: Op) -> tuple[int | slice, ...]:
    """The NumPy index that a STRIDED_SLICE stands for."""
    x, options = operand(graph, op, 0), op.attrs["options"]
    begin, end, strides = (constant(graph, op, i, name)
                           for i, name in enumerate(("begin", "end", "strides"), start=1))
    require(len(begin) == len(end) == len(strides) <= len(x),
            f"{len(begin)}, {len(end)} and {len(strides)} limits do not fit a tensor of rank {len(x)}")
    index: list[int | slice] = []
    for i, (first, last, step) in enumerate(zip(begin, end, strides, strict=True)):
        require(step != 0, "a stride of 0")
        if options["shrink_axis_mask"] >> i & 1:
            require(-x[i] <= first < x[i] and step > 0, f"element {first} is outside a dimension of {x[i]}")
            index.append(first)
        else:
            index.append(slice(None if options["begin_mask"] >> i & 1 else first,
                               None if options["end_mask"] >> i & 1 else last, step))
    return tuple(index)


def strided_slice(graph: Graph, op: Op) -> list[Shape]:
    x, index = operand(graph, op, 0), slices(graph, op)
    sizes = [len(range(*part.indices(size))) for part, size in zip(index, x, strict=False)
             if isinstance(part, slice)]
    return [(*sizes, *x[len(index):])]


def split_axis(graph: Graph, op: Op) -> int:
    axes = constant(graph, op, 0, "axis")
    require(len(axes) == 1, f"it splits along one axis, not {axes}")
    return _axis(axes[0], len(operand(graph, op, 1)))


def split(graph: Graph, op: Op) -> list[Shape]:
    x, axis, parts = operand(graph, op, 1), split_axis(graph, op), len(op.outputs)
    require(x[axis] % parts == 0, f"a dimension of {x[axis]} does not split into {parts}")
    return [(*x[:axis], x[axis] // parts, *x[axis + 1:])] * parts
