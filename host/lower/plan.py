"""What lowering hands to scheduling: array passes (``Layer``) and host operators, in execution order."""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...rtl.contract.numerics import Add, Channel, Product
from ..graph.ir import Graph, Op

Shape = tuple[int, int, int]
"""Height, width, channels."""


@dataclass(frozen=True)
class Part:
    """A regular part of an image: pixels ``(y + i*step_y, x + j*step_x)``, channels from ``channel`` on.

    Pixel (i, j) of what is put there goes to that place, or (j, i) does if the part is ``turned``.
    """

    y: int = 0
    x: int = 0
    step_y: int = 1
    step_x: int = 1
    channel: int = 0
    turned: bool = False


WHOLE = Part()


@dataclass(frozen=True)
class Computed:
    """Weights that the network computes: the host packs them from a tensor before the layer runs.

    Parameters
    ----------
    tensor : that holds them
    index : int32 of the weights' shape: whose byte each weight is, in the tensor's memory order; -1 for none
        (a weight of 0). A weight is that byte, as it is in the fabric, less Layer.weight_zero.
    """

    tensor: int
    index: npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One pass through array and post-processing: a convolution in the widest sense.

    out[y, x, n] = post(sum over ky, kx, k of in[y*stride_y + ky*dilation_y - top, x*... , channel + k] *
    weight), where ``post`` is, in this order: the product with other[y, x, n], if ``multiply`` is set;
    Channel n; the sum with other[y, x, n], if ``add`` is set; the ``table``, if there is one.

    =========  ==========================  ==================================================================
    mode       weights                     sum
    =========  ==========================  ==================================================================
    dense      int16[kh, kw, Cin, Cout]    over Cin channels (fully connected: kh = kw = 1 on a 1x1 image)
    depthwise  int16[kh, kw, Cout]         channel n // multiplier only
    window     int16[Cout] (usually ones)  channel n only, the same weight at each place of the window
                                           (pooling, identity); the greatest instead of the sum if ``maximum``
    =========  ==========================  ==================================================================

    Tensors are indices into Plan.graph.tensors, seen as H x W x C images (layers.image). Outside the image
    the input reads ``pad_value`` (its zero point). uint8 tensors lie in the fabric's memories with their top
    bit flipped: every number here is that of the int8 that the byte then is.

    Parameters
    ----------
    ops : positions in graph.ops that this layer computes, main one first
    source : framework operator name(s), e.g. "CONV_2D+ADD"
    in_shape : the whole image that is read; ``in_channel`` is its first channel that is
    out_shape : what this layer makes; ``out_part`` says which part of the ``out_image`` (None: all) that is
    other_shape : of the other operand; an extent of 1 is repeated (only as 1 x 1 x C or as out_shape)
    padding : top, bottom, left, right; negative ones leave out the border of the image
    weights : effective ones, zero point subtracted
    weight_zero : what to add so that weights are int8: their zero point
    computed : where the weights come from if they are computed; ``weights`` are zeros then, and each bias is
        that of its channel less ``pad_value`` times the sum of the channel's weights
    table : uint8[256], entry ``q & 255`` stands for q
    fill : value that the whole out_image takes before this layer writes its part, None for none
    """

    ops: tuple[int, ...]
    name: str
    source: str
    mode: Literal["dense", "depthwise", "window"]
    input: int
    output: int
    other: int | None = None
    in_shape: Shape
    in_channel: int = 0
    out_shape: Shape
    out_image: Shape | None = None
    out_part: Part = WHOLE
    other_shape: Shape | None = None
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    multiplier: int = 1
    maximum: bool = False
    weights: npt.NDArray[np.int16]
    weight_zero: int = 0
    computed: Computed | None = None
    channels: tuple[Channel, ...]
    zero: int
    low: int
    high: int
    add: Add | None = None
    multiply: Product | None = None
    table: npt.NDArray[np.uint8] | None = None
    pad_value: int = 0
    fill: int | None = None
    macs: int = 0

    @property
    def image(self) -> Shape:
        """Of the output tensor."""
        return self.out_image or self.out_shape

    def with_weights(self, weights: npt.NDArray[np.int16]) -> "Layer":
        """The same with these weights for computed ones, and the biases that they take."""
        sums = weights.reshape(-1, weights.shape[-1]).sum(axis=0, dtype=np.int64)
        return replace(self, weights=weights, computed=None, channels=tuple(
            replace(channel, bias=channel.bias - self.pad_value * total)
            for channel, total in zip(self.channels, sums.tolist(), strict=True)))


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
