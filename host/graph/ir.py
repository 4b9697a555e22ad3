"""The intermediate representation: tensors with quantisation, and operators of a few kinds."""

from dataclasses import dataclass, field
from enum import Enum
from math import prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

PLAIN_DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16",
                "float32", "float64", "bool")
NARROW_DTYPES = ("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz",
                 "float4_e2m1fn", "int4", "uint4", "int2", "uint2")
"""Types of ONNX that NumPy has only with the package ml_dtypes; the host computes with them."""


class Kind(Enum):
    """Operator kinds, named for what they compute; the framework's own name is ``Op.source``.

    Which attributes and operands a kind has is fixed by the table in verify.py.
    """

    CONV = "conv"  # x[N,H,W,C], w[O,kh,kw,I], bias[O] or None
    DEPTHWISE_CONV = "depthwise_conv"  # x, w[1,kh,kw,C*multiplier], bias or None
    FULLY_CONNECTED = "fully_connected"  # x[..,I], w[O,I], bias or None
    MATMUL = "matmul"  # a[..,M,K], b[..,K,N], neither of them constant
    AVERAGE_POOL = "average_pool"
    MAX_POOL = "max_pool"
    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    RESHAPE = "reshape"
    SOFTMAX = "softmax"
    HOST = "host"  # any other operator that a reference kernel computes; attrs carry the framework's options


@dataclass(frozen=True)
class Quant:
    """Affine quantisation: real = scale * (stored - zero_point), per tensor or along one axis.

    scale : float64[n] (the float32 of the file, widened), zero_point : int64[n]; n is 1 or the size of
    ``axis``.
    """

    scale: npt.NDArray[np.float64]
    zero_point: npt.NDArray[np.int64]
    axis: int | None = None


@dataclass(frozen=True)
class Tensor:
    """A value of the graph. ``data`` is set for constants. ``dtype`` is a NumPy name such as "int8"."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    quant: Quant | None = None
    data: Array | None = None

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Op:
    """One operator; inputs and outputs are indices into Graph.tensors (None: an optional operand left out).

    Attributes by kind: stride (y, x), dilation (y, x), padding (top, bottom, left, right) in elements with
    SAME already resolved, window (h, w) for pools, low / high (stored-value limits of the fused activation),
    beta for softmax, ``options`` for HOST. In graphs of ONNX also ``ort``: the operator itself as a model for
    ONNX Runtime (see importers/onnx).
    """

    kind: Kind
    source: str  # the framework's operator name, e.g. "CONV_2D"
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    index: int = 0  # place in the model file, for messages and reports

    @property
    def label(self) -> str:
        return f"operator {self.index} ({self.source})"


@dataclass(frozen=True)
class Graph:
    """A network in execution order: an operator's inputs are constants, graph inputs or earlier outputs."""

    name: str
    framework: Literal["tflite", "onnx"]
    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    rounding: Literal["litert", "tflm"] = "litert"
    source_bytes: int = 0

    def uses(self, tensor: int) -> list[int]:
        """Positions in ``ops`` of the operators that read a tensor."""
        return [i for i, op in enumerate(self.ops) if tensor in op.inputs]

    def macs(self, op: Op) -> int:
        """Multiply-accumulates of an operator (0 for those that are counted otherwise)."""
        if op.kind not in (Kind.CONV, Kind.DEPTHWISE_CONV, Kind.FULLY_CONNECTED, Kind.MATMUL):
            return 0
        if op.attrs.get("bound") == "high":  # the same sums as the operator's other half (passes/bracket)
            return 0
        weights = op.inputs[1]
        assert weights is not None
        shape = self.tensors[weights].shape
        out = self.tensors[op.outputs[0]].size
        if op.kind == Kind.MATMUL:
            return out * shape[-2]
        return out * (shape[1] * shape[2] if op.kind == Kind.DEPTHWISE_CONV else prod(shape[1:]))
