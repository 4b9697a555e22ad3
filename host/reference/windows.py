"""Places of a sliding window over an NHWC array."""
import numpy as np

from ..graph.ir import Array


def windows(x: Array, kernel: tuple[int, ...], stride: tuple[int, int], dilation: tuple[int, int],
            padding: tuple[int, int, int, int], fill: int) -> Array:
    """A view [N, out_y, out_x, ky, kx, C] of ``x`` with a border of ``fill``.

    padding is (top, bottom, left, right); rows and columns that no whole window covers are left out.
    """
    top, bottom, left, right = padding
    if any(padding):
        x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    seen = np.lib.stride_tricks.sliding_window_view(x, extent, axis=(1, 2))
    seen = seen[:, ::stride[0], ::stride[1], :, ::dilation[0], ::dilation[1]]
    return np.moveaxis(seen, 3, 5)
