"""Runs a graph, operator by operator, on the reference kernels."""
from collections.abc import Callable, Sequence

import numpy as np

from ...rtl.contract.errors import InputError, UnsupportedError
from ..graph.ir import Array, Graph, Kind, Op
from . import elementwise, linear, lstm, movement, pooling, products, reduce, resize, settle, softmax, unary
from .onnxruntime_kernel import run_kernel

Kernel = Callable[[Graph, Op, list[Array | None]], tuple[Array, ...]]

KERNELS: dict[Kind | str, Kernel] = {
    Kind.CONV: linear.linear,
    Kind.DEPTHWISE_CONV: linear.linear,
    Kind.FULLY_CONNECTED: linear.linear,
    Kind.MATMUL: linear.linear,
    Kind.AVERAGE_POOL: pooling.average_pool,
    Kind.MAX_POOL: pooling.max_pool,
    Kind.ADD: elementwise.pairwise,
    Kind.SUB: elementwise.pairwise,
    Kind.MUL: elementwise.pairwise,
    Kind.RESHAPE: movement.reshape,
    Kind.SOFTMAX: softmax.softmax,
    "ABS": unary.absolute,
    "ARG_MAX": reduce.place_of_extreme,
    "ARG_MIN": reduce.place_of_extreme,
    "BATCH_MATMUL": products.batch_matmul,
    "BATCH_TO_SPACE_ND": movement.batch_to_space,
    "CONCATENATION": movement.concatenation,
    "DEPTH_TO_SPACE": movement.depth_to_space,
    "DEQUANTIZE": unary.dequantize,
    "ELU": unary.lookup,
    "EXP": unary.lookup,
    "GATHER": movement.gather,
    "GELU": unary.lookup,
    "HARD_SWISH": unary.hard_swish,
    "L2_NORMALIZATION": products.l2_normalization,
    "LEAKY_RELU": unary.leaky_relu,
    "LOG": unary.lookup,
    "LOG_SOFTMAX": softmax.log_softmax,
    "LOGISTIC": unary.lookup,
    "MAXIMUM": elementwise.extreme,
    "MEAN": reduce.mean,
    "MINIMUM": elementwise.extreme,
    "MIRROR_PAD": movement.mirror_pad,
    "PACK": movement.pack,
    "PAD": movement.pad,
    "PADV2": movement.pad_with,
    "PRELU": elementwise.prelu,
    "QUANTIZE": unary.quantize,
    "REDUCE_MAX": reduce.extreme,
    "REDUCE_MIN": reduce.extreme,
    "RELU": unary.relu,
    "RELU6": unary.relu,
    "RELU_0_TO_1": unary.relu,
    "RELU_N1_TO_1": unary.relu,
    "RESIZE_BILINEAR": resize.bilinear,
    "RESIZE_NEAREST_NEIGHBOR": resize.nearest,
    settle.SETTLE: settle.settle,
    "SLICE": movement.cut,
    "SPACE_TO_BATCH_ND": movement.space_to_batch,
    "SPACE_TO_DEPTH": movement.space_to_depth,
    "SPLIT": movement.split,
    "SPLIT_V": movement.split_unequally,
    "STRIDED_SLICE": movement.strided_slice,
    "SUM": reduce.total,
    "TANH": unary.lookup,
    "TRANSPOSE": movement.transpose,
    "TRANSPOSE_CONV": products.transpose_conv,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": lstm.lstm,
    "UNPACK": movement.unpack,
}
"""By kind; operators of Kind.HOST by their framework name."""


STATES: dict[str, tuple[int, ...]] = {
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (lstm.STATE, lstm.CELL_STATE),
}
"""Inputs that an operator keeps from one inference to the next; what they become are its last results."""

States = dict[int, Array]
"""By tensor. Empty: as the constants in the graph say."""


def run_op(graph: Graph, op: Op, values: list[Array | None],
           states: States | None = None) -> tuple[Array, ...]:
    """Outputs of one operator from the values of its inputs (None for an optional operand left out).

    With ``states`` an operator goes on from what it left there, as LiteRT's interpreter does, and leaves its
    new states; without, it starts afresh.

    Raises UnsupportedError for an operator without a kernel.
    """
    if "ort" in op.attrs and op.source != settle.SETTLE:
        return run_kernel(op, values)
    kernel = KERNELS.get(op.source if op.kind == Kind.HOST else op.kind)
    if kernel is None:
        known = ", ".join(sorted(key if isinstance(key, str) else key.value for key in KERNELS))
        raise UnsupportedError(f"{graph.name}: {op.label} has no reference kernel; "
                               f"there are kernels for {known}")
    kept = STATES.get(op.source, ())
    where = [index for position in kept if (index := op.inputs[position]) is not None]
    if states:
        values = [states.get(-1 if index is None else index, value)
                  for index, value in zip(op.inputs, values, strict=True)]
    outputs = kernel(graph, op, values)
    if states is not None:
        states.update(zip(where, outputs[len(op.outputs):], strict=True))
    return outputs[:len(op.outputs)]


class Reference:
    """A network on the reference kernels. ``graph`` must have passed verify().

    ``states`` of recurrent operators last from run to run, as in LiteRT's interpreter; clear it to start
    afresh.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.states: States = {}

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs of the network. Raises InputError for inputs of a wrong number, shape or type."""
        values = self.run_all(inputs)
        return [values[index] for index in self.graph.outputs]

    def run_all(self, inputs: Sequence[Array]) -> dict[int, Array]:
        """Every tensor of the network by its index, constants included."""
        graph = self.graph
        if len(inputs) != len(graph.inputs):
            raise InputError(f"{graph.name} takes {len(graph.inputs)} inputs, {len(inputs)} were given")
        values = {i: tensor.data for i, tensor in enumerate(graph.tensors) if tensor.data is not None}
        for index, given in zip(graph.inputs, inputs, strict=True):
            tensor, array = graph.tensors[index], np.asarray(given)
            if array.shape != tensor.shape or array.dtype != tensor.dtype:
                raise InputError(f"input {tensor.name!r} of {graph.name} is {tensor.dtype} "
                                 f"{list(tensor.shape)}; what was given is {array.dtype} {list(array.shape)}")
            values[index] = array
        for op in graph.ops:
            operands = [None if i is None else values[i] for i in op.inputs]
            values.update(zip(op.outputs, run_op(graph, op, operands, self.states), strict=True))
        return values
