"""What lowering hands to scheduling: array passes (``Layer``) and host operators, in execution order."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...rtl.contract.numerics import Add, Channel
from ..graph.ir import Graph, Op


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One pass through array and post-processing: a convolution in the widest sense.

    out[y, x, n] = post(sum over ky, kx, k of in[y*stride_y + ky*dilation_y - top, x*... , channel] *
    weight), where ``post`` is Channel n, then, if ``add`` is set, Add with other[y, x, n].

    =========  ==========================  ===================================================================
    mode       weights                     sum
    =========  ==========================
    =================================================================== dense      int8[kh, kw, Cin, Cout]
    over all Cin (fully connected: kh = kw = 1 on a 1x1 image) diagonal   int8[kh, kw, Cout]          channel
    n of the input only, n // multiplier (depthwise) window     int8[Cout] (usually ones)   channel n only,
    the same weight at each place of the window (pooling,
                                           identity)
    =========  ==========================  ===================================================================

    Tensors are indices into Plan.graph.tensors, seen as H x W x C images; a tensor of rank 2 is 1 x 1 x C.
    Outside the image the input reads ``pad_value`` (its zero point).
    """

    ops: tuple[int, ...]  # positions in graph.ops that this layer computes, main one first
    name: str
    source: str  # framework operator name(s), e.g. "CONV_2D+ADD"
    mode: Literal["dense", "diagonal", "window"]
    input: int
    output: int
    other: int | None = None
    in_shape: tuple[int, int, int]
    out_shape: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, bottom, left, right
    multiplier: int = 1
    weights: npt.NDArray[np.int8]
    channels: tuple[Channel, ...]
    zero: int
    low: int
    high: int
    add: Add | None = None
    pad_value: int = 0
    macs: int = 0


@dataclass(frozen=True)
class HostStep:
    """An operator that the host computes with the exact reference kernel."""

    op: int  # position in graph.ops
    reason: str  # why not the fabric, for the partition report


@dataclass(frozen=True)
class Alias:
    """``output`` has the same bytes in the same order as ``input`` (reshape): no work at all."""

    op: int
    input: int
    output: int


@dataclass(frozen=True)
class Proof:
    """How a layer's requantisation was shown to equal the framework's."""

    op: int
    channels: int
    proved: int  # channels with a proof
    text: str


@dataclass(frozen=True)
class Plan:
    """The lowered network. ``steps`` in execution order."""

    graph: Graph
    steps: tuple[Layer | HostStep | Alias, ...]
    proofs: tuple[Proof, ...] = field(default=())

    def op(self, index: int) -> Op:
        return self.graph.ops[index]
