"""Operators that map each stored byte to a byte, as tables of 256 entries for the fabric's lookup."""
import numpy as np
import numpy.typing as npt

from ..graph.ir import Array, Graph, Kind, Op
from .onnxruntime_kernel import byte_table
from .runner import run_op

BYTES = ("int8", "uint8")

ELEMENTWISE = {
    Kind.ADD, Kind.SUB, Kind.MUL,
    "ABS", "ELU", "EXP", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGISTIC", "MAXIMUM", "MINIMUM", "PRELU",
    "QUANTIZE", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "TANH",
}
"""Operators whose every result depends on the values at its own place alone."""


def unary_table(graph: Graph, op: Op) -> npt.NDArray[np.uint8] | None:
    """The operator as uint8[256], or None where it is no function of one stored byte.

    Entry i is the stored output, as the byte that memory holds, for the stored input whose byte is i: of an
    int8 tensor, entries 0 to 127 are for inputs 0 to 127 and entries 128 to 255 for inputs -128 to -1. Clamps
    and requantisation are in the table: ``y.view(uint8) = table[x.view(uint8)]`` is the whole operator.

    An operator qualifies with one int8 or uint8 tensor that is computed while the network runs (it may be
    read twice, as in a square), whichever place it has among the operands. All other operands must be
    constants of one value throughout, such as the half in ``x + 0.5``.
    """
    if graph.framework == "onnx":
        return byte_table(graph, op)
    if (op.source if op.kind == Kind.HOST else op.kind) not in ELEMENTWISE:
        return None
    operands = [None if i is None else graph.tensors[i] for i in op.inputs]
    computed = {i for i, t in zip(op.inputs, operands, strict=True) if t is not None and t.data is None}
    y = graph.tensors[op.outputs[0]]
    if len(computed) != 1 or y.dtype not in BYTES:
        return None
    stored = np.arange(256, dtype=np.uint8)
    values: list[Array | None] = []
    for tensor in operands:
        if tensor is None or tensor.data is None:
            if tensor is not None and tensor.dtype not in BYTES:
                return None
            values.append(None if tensor is None else stored.view(tensor.dtype))
        elif tensor.data.size and (tensor.data == tensor.data.flat[0]).all():
            values.append(tensor.data.reshape(-1)[:1])
        else:
            return None
    (result,) = run_op(graph, op, values)
    return result.view(np.uint8)
