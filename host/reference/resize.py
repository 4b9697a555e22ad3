"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR.

Sources: tflite/kernels/internal/reference/{resize_bilinear,resize_nearest_neighbor}.h.
"""
import numpy as np

from ..graph.ir import Array, Graph, Op
from .operands import value_of
from .rounding import Ints, round_array

ONE = 1 << 10  # 1 in the fixed point of int8 positions


def _in_fixed_point(size: int, places: int, corners: bool, centers: bool) -> tuple[Ints, Ints, Ints]:
    """Of each place along an axis: the elements before and after it, and how far it is past the first."""
    scale = (ONE * size + places // 2) // places
    if corners and places > 1:
        scale = (ONE * (size - 1) + (places - 1) // 2) // (places - 1)
    at = np.arange(places, dtype=np.int64) * scale + (scale // 2 - ONE // 2 if centers else 0)
    before = np.maximum(np.where(at < 0, 0, at // ONE), 0)
    after = np.minimum(np.where(at + ONE - 1 < 0, 0, (at + ONE - 1) // ONE), size - 1)
    return before, after, at - ONE * before


def _in_float(size: int, places: int, corners: bool, centers: bool) -> tuple[Ints, Ints, Array]:
    """The same in float32, step by step."""
    f32 = np.float32
    scale = f32(size - 1) / f32(places - 1) if corners and places > 1 else f32(size) / f32(places)
    at = np.arange(places).astype(f32)
    at = (at + f32(0.5)) * scale - f32(0.5) if centers else at * scale
    before = np.maximum(np.floor(at).astype(np.int64), 0)
    after = np.minimum(np.ceil(at).astype(np.int64), size - 1)
    return before, after, at - before.astype(f32)


def bilinear(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """int8 is computed in fixed point, uint8 in float32 term by term; both round ties away from zero.

    Row by row, since outputs can be large.
    """
    x, y = value_of(values[0]), graph.tensors[op.outputs[0]]
    options = op.attrs["options"]
    modes = bool(options["align_corners"]), bool(options["half_pixel_centers"])
    fixed = x.dtype == np.int8
    along = _in_fixed_point if fixed else _in_float
    one = ONE if fixed else np.float32(1)
    top, bottom, below = along(x.shape[1], y.shape[1], *modes)
    left, right, past = along(x.shape[2], y.shape[2], *modes)
    image, past = x.astype(np.int64 if fixed else np.float32), past[:, None]
    result = np.empty(y.shape, x.dtype)
    for row in range(y.shape[1]):
        above, under, down = image[:, top[row]], image[:, bottom[row]], below[row]
        total = (above[:, left] * (one - down) * (one - past) + under[:, left] * down * (one - past)
                 + above[:, right] * (one - down) * past + under[:, right] * down * past)
        if fixed:
            total = total + np.where(total > 0, ONE * ONE // 2, -ONE * ONE // 2)
            total = np.sign(total) * (np.abs(total) // (ONE * ONE))
        result[:, row] = total if fixed else round_array(total)
    return (result,)


def _nearest(size: int, places: int, corners: bool, centers: bool) -> Ints:
    f32 = np.float32
    scale = f32(size - 1) / f32(places - 1) if corners and places > 1 else f32(size) / f32(places)
    at = (np.arange(places).astype(f32) + f32(0.5 if centers else 0)) * scale
    found: Ints = (round_array(at) if corners else np.floor(at)).astype(np.int64)
    return np.minimum(found, size - 1)


def nearest(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    x, y, options = value_of(values[0]), graph.tensors[op.outputs[0]], op.attrs["options"]
    modes = bool(options["align_corners"]), bool(options["half_pixel_centers"])
    rows, columns = (_nearest(x.shape[axis], y.shape[axis], *modes) for axis in (1, 2))
    return (np.ascontiguousarray(x[:, rows][:, :, columns]),)
