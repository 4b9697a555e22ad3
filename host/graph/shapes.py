"""Output shapes of every operator, from operands and attributes; GraphError where the operands do not fit."""
from collections.abc import Callable
from math import prod

import numpy as np

from ...rtl.contract.errors import GraphError
from .ir import Array, Graph, Op

PADDING_LIMIT = 256
"""Rows or columns of padding that an image may get beyond its own size: kernels store the padded image."""

WINDOW_LIMIT = 2**16
"""Places of a window that a kernel walks through one by one."""

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
    require(c % inputs == 0 and outputs % (c // inputs) == 0,
            f"weights of {inputs} input channels do not fit an input of {c}")
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


def matmul(graph: Graph, op: Op) -> list[Shape]:
    a, b = operand(graph, op, 0), operand(graph, op, 1)
    require(len(a) == len(b) >= 2 and a[:-2] == b[:-2] and a[-1] == b[-2],
            f"matrices {list(a)} and {list(b)} cannot be multiplied")
    return [(*a[:-1], b[-1])]


def as_given(graph: Graph, op: Op) -> list[Shape]:
    """What the importer found out."""
    return [graph.tensors[index].shape for index in op.outputs]


def _bias(graph: Graph, op: Op, outputs: int) -> None:
    if len(op.inputs) > 2 and op.inputs[2] is not None:
        shape = operand(graph, op, 2)
        require(prod(shape) == outputs == (shape or (1,))[-1],
                f"its bias must have {outputs} elements, not {list(shape)}")


def prelu(graph: Graph, op: Op) -> list[Shape]:
    x, slopes = operand(graph, op, 0), operand(graph, op, 1)
    require(broadcast(graph, op) == [x], f"slopes of shape {list(slopes)} do not fit {list(x)}")
    return [x]


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


def mirror_pad(graph: Graph, op: Op) -> list[Shape]:
    least = 0 if op.attrs["options"]["symmetric"] else 1
    for size, margins in zip(operand(graph, op, 0), pads(graph, op), strict=True):
        require(max(margins) + least <= size, f"a dimension of {size} cannot be mirrored by {max(margins)}")
    return pad(graph, op)


def reduced_axes(graph: Graph, op: Op) -> tuple[int, ...]:
    """The dimensions a reduction removes, without repeats, ascending."""
    rank = len(operand(graph, op, 0))
    return tuple(sorted({_axis(axis, rank) for axis in constant(graph, op, 1, "axes")}))


def single_axis(graph: Graph, op: Op) -> int:
    axes = constant(graph, op, 1, "axis")
    require(len(axes) == 1, f"it works along one axis, not {axes}")
    return _axis(axes[0], len(operand(graph, op, 0)))


def without_axis(graph: Graph, op: Op) -> list[Shape]:
    x, axis = operand(graph, op, 0), single_axis(graph, op)
    return [(*x[:axis], *x[axis + 1:])]


def resized(graph: Graph, op: Op) -> list[Shape]:
    n, _, _, c = _image(operand(graph, op, 0), "input")
    size = constant(graph, op, 1, "size")
    require(len(size) == 2 and min(size) > 0, f"its size {size} is no pair of positive numbers")
    options = op.attrs["options"]
    require(not (options["align_corners"] and options["half_pixel_centers"]),
            "it aligns corners and pixel centres at once")
    return [(n, *size, c)]


def lstm(graph: Graph, op: Op) -> list[Shape]:
    """Operands as in reference/lstm.py."""
    x, state = operand(graph, op, 0), operand(graph, op, 13)
    require(len(x) == 3, f"its input must have 3 dimensions, not {list(x)}")
    batch, units = x[1 if op.attrs["options"]["time_major"] else 0], state[-1]
    for first, wanted in ((1, (units, x[2])), (5, (units, units)), (9, (units,))):
        given = [operand(graph, op, i) for i in range(first, first + 4) if op.inputs[i] is not None]
        require(set(given) == {wanted}, f"weights or biases of shapes {[list(s) for s in given]} "
                                        f"must be {list(wanted)}")
    missing = [op.inputs[i] is None for i in (1, 5, 9)]
    require(len(set(missing)) == 1, "an input gate needs all its weights and its bias")
    for i in (13, 14):
        require(prod(operand(graph, op, i)) == batch * units,
                f"a state of shape {list(operand(graph, op, i))} is not {batch} x {units}")
    return [(*x[:2], units)]


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


def join_axis(graph: Graph, op: Op) -> int:
    """The new dimension of a PACK."""
    return _axis(op.attrs["options"]["axis"], len(operand(graph, op, 0)) + 1)


def pack(graph: Graph, op: Op) -> list[Shape]:
    shapes, axis = [operand(graph, op, i) for i in range(len(op.inputs))], join_axis(graph, op)
    require(len(set(shapes)) == 1, f"shapes {[list(s) for s in shapes]} differ")
    return [(*shapes[0][:axis], len(shapes), *shapes[0][axis:])]


def unpack(graph: Graph, op: Op) -> list[Shape]:
    x = operand(graph, op, 0)
    axis = _axis(op.attrs["options"]["axis"], len(x))
    require(x[axis] == len(op.outputs), f"a dimension of {x[axis]} does not make {len(op.outputs)} outputs")
    return [(*x[:axis], *x[axis + 1:])] * len(op.outputs)


def gathered(graph: Graph, op: Op) -> tuple[int, Array]:
    """Axis, and which of its elements."""
    x, places = operand(graph, op, 0), operand(graph, op, 1)
    axis = _axis(op.attrs["options"]["axis"], len(x))
    found = np.array(constant(graph, op, 1, "places"), np.int64).reshape(places)
    require(not op.attrs["options"]["batch_dims"], "it gathers for each batch on its own")
    require(found.size == 0 or 0 <= found.min() <= found.max() < x[axis],
            f"it gathers elements that a dimension of {x[axis]} does not have")
    return axis, found


def gather(graph: Graph, op: Op) -> list[Shape]:
    x, (axis, places) = operand(graph, op, 0), gathered(graph, op)
    return [(*x[:axis], *places.shape, *x[axis + 1:])]


def depth_to_space(graph: Graph, op: Op) -> list[Shape]:
    n, h, w, c = _image(operand(graph, op, 0), "input")
    block = op.attrs["options"]["block_size"]
    require(block > 0 and c % block**2 == 0, f"{c} channels do not make blocks of {block}")
    return [(n, h * block, w * block, c // block**2)]


def space_to_depth(graph: Graph, op: Op) -> list[Shape]:
    n, h, w, c = _image(operand(graph, op, 0), "input")
    block = op.attrs["options"]["block_size"]
    require(block > 0 and h % block == w % block == 0, f"an image of {h} x {w} has no blocks of {block}")
    return [(n, h // block, w // block, c * block**2)]


def batch_blocks(graph: Graph, op: Op) -> tuple[list[int], list[tuple[int, int]]]:
    """Of the dimensions after the first: block sizes, and margins (before, after) to add or to cut off."""
    x, blocks = operand(graph, op, 0), constant(graph, op, 1, "blocks")
    margins = constant(graph, op, 2, "margins")
    require(len(x) in (3, 4) and len(blocks) == len(x) - 2 and len(margins) == 2 * len(blocks)
            and min(blocks) > 0 and min(margins) >= 0,
            f"blocks {blocks} and margins {margins} do not fit a tensor of shape {list(x)}")
    return blocks, list(zip(margins[::2], margins[1::2], strict=True))


def space_to_batch(graph: Graph, op: Op) -> list[Shape]:
    x, (blocks, margins) = operand(graph, op, 0), batch_blocks(graph, op)
    sizes = [size + sum(margin) for size, margin in zip(x[1:], margins, strict=False)]
    require(all(size % block == 0 for size, block in zip(sizes, blocks, strict=True)),
            f"padded sizes {sizes} are no multiples of {blocks}")
    return [(x[0] * prod(blocks), *(s // b for s, b in zip(sizes, blocks, strict=True)),
             *x[1 + len(blocks):])]


def batch_to_space(graph: Graph, op: Op) -> list[Shape]:
    x, (blocks, margins) = operand(graph, op, 0), batch_blocks(graph, op)
    require(x[0] % prod(blocks) == 0, f"{x[0]} images do not make blocks of {blocks}")
    sizes = [s * b - sum(m) for s, b, m in zip(x[1:], blocks, margins, strict=False)]
    return [(x[0] // prod(blocks), *sizes, *x[1 + len(blocks):])]


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


def cuts(graph: Graph, op: Op) -> tuple[slice, ...]:
    """The NumPy index of a SLICE; a size of -1 reaches to the end."""
    x = operand(graph, op, 0)
    begin, sizes = constant(graph, op, 1, "begin"), constant(graph, op, 2, "size")
    require(len(begin) == len(sizes) == len(x), f"{len(begin)} and {len(sizes)} limits do not fit {list(x)}")
    ends = [length if size == -1 else first + size
            for first, size, length in zip(begin, sizes, x, strict=True)]
    require(all(0 <= first < end <= length for first, end, length in zip(begin, ends, x, strict=True)),
            f"begin {begin} and size {sizes} leave a tensor of shape {list(x)}")
    return tuple(slice(first, end) for first, end in zip(begin, ends, strict=True))


def cut(graph: Graph, op: Op) -> list[Shape]:
    return [tuple(part.stop - part.start for part in cuts(graph, op))]


def transpose_conv(graph: Graph, op: Op) -> list[Shape]:
    """The output's size is free: what falls beyond it is dropped."""
    n, _, _, c = _image(operand(graph, op, 0), "input")
    outputs, kh, kw, inputs = _image(operand(graph, op, 1), "weights")
    require(inputs == c, f"weights of {inputs} input channels do not fit an input of {c}")
    require(kh * kw <= WINDOW_LIMIT, f"a window of {kh} x {kw} has more than {WINDOW_LIMIT} places")
    _bias(graph, op, outputs)
    _, y, x, _ = _image(graph.tensors[op.outputs[0]].shape, "output")
    return [(n, y, x, outputs)]


def batch_matmul(graph: Graph, op: Op) -> list[Shape]:
    a, b = operand(graph, op, 0), operand(graph, op, 1)
    require(2 <= min(len(a), len(b)) <= max(len(a), len(b)) <= 5, f"{list(a)} and {list(b)} are no matrices")
    rows, depth = a[-2:][::-1] if op.attrs["options"]["adj_x"] else a[-2:]
    other, columns = b[-2:][::-1] if op.attrs["options"]["adj_y"] else b[-2:]
    require(depth == other, f"matrices of {depth} columns and {other} rows cannot be multiplied")
    try:
        return [(*np.broadcast_shapes(a[:-2], b[:-2]), rows, columns)]
    except ValueError:
        raise GraphError(f"batches {list(a[:-2])} and {list(b[:-2])} cannot be combined") from None


def split_sizes(graph: Graph, op: Op) -> tuple[int, list[int]]:
    """Axis and part sizes of a SPLIT_V; one of -1 takes what is left."""
    x, sizes, axes = operand(graph, op, 0), constant(graph, op, 1, "sizes"), constant(graph, op, 2, "axis")
    require(len(axes) == 1, f"it splits along one axis, not {axes}")
    axis = _axis(axes[0], len(x))
    require(len(sizes) == len(op.outputs) and min(sizes, default=0) >= -1 and sizes.count(-1) <= 1,
            f"sizes {sizes} do not make {len(op.outputs)} outputs")
    sizes = [x[axis] - sum(sizes) - 1 if size == -1 else size for size in sizes]
    require(min(sizes) > 0 and sum(sizes) == x[axis], f"sizes {sizes} do not split {x[axis]}")
    return axis, sizes


def split_unequally(graph: Graph, op: Op) -> list[Shape]:
    x, (axis, sizes) = operand(graph, op, 0), split_sizes(graph, op)
    return [(*x[:axis], size, *x[axis + 1:]) for size in sizes]


def split_axis(graph: Graph, op: Op) -> int:
    axes = constant(graph, op, 0, "axis")
    require(len(axes) == 1, f"it splits along one axis, not {axes}")
    return _axis(axes[0], len(operand(graph, op, 1)))


def split(graph: Graph, op: Op) -> list[Shape]:
    x, axis, parts = operand(graph, op, 1), split_axis(graph, op), len(op.outputs)
    require(x[axis] % parts == 0, f"a dimension of {x[axis]} does not split into {parts}")
    return [(*x[:axis], x[axis] // parts, *x[axis + 1:])] * parts
