"""Runs a graph, operator by operator, on the reference kernels."""
from collections.abc import Callable, Sequence

import numpy as np

from ...rtl.contract.errors import InputError, UnsupportedError
from ..graph.ir import Array, Graph, Kind, Op
from . import elementwise, linear, movement, pooling, reduce, softmax, unary

Kernel = Callable[[Graph, Op, list[Array | None]], tuple[Array, ...]]

KERNELS: dict[Kind | str, Kernel] = {
    Kind.CONV: linear.linear,
    Kind.DEPTHWISE_CONV: linear.linear,
    Kind.FULLY_CONNECTED: linear.linear,
    Kind.AVERAGE_POOL: pooling.average_pool,
    Kind.MAX_POOL: pooling.max_pool,
    Kind.ADD: elementwise.pairwise,
    Kind.SUB: elementwise.pairwise,
    Kind.MUL: elementwise.pairwise,
    Kind.RESHAPE: movement.reshape,
    Kind.SOFTMAX: softmax.softmax,
    "CONCATENATION": movement.concatenation,
    "DEQUANTIZE": unary.dequantize,
    "LOGISTIC": unary.lookup,
    "MEAN": reduce.mean,
    "PAD": movement.pad,
    "QUANTIZE": unary.quantize,
    "RELU": unary.relu,
    "RELU6": unary.relu,
    "RELU_N1_TO_1": unary.relu,
    "SPLIT": movement.split,
    "STRIDED_SLICE": movement.strided_slice,
    "TANH": unary.lookup,
    "TRANSPOSE": movement.transpose,
}
"""By kind; operators of Kind.HOST by their framework name."""


def run_op(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, ...]:
    """Outputs of one operator from the values of its inputs (None for an optional operand left out).

    Raises UnsupportedError for an operator without a kernel.
    """
    kernel = KERNELS.get(op.source if op.kind == Kind.HOST else op.kind)
    if kernel is None:
        known = ", ".join(sorted(key if isinstance(key, str) else key.value for key in KERNELS))
        raise UnsupportedError(f"{graph.name}: {op.label} has no reference kernel; "
                               f"there are kernels for {known}")
    return kernel(graph, op, values)


class Reference:
    """A network on the reference kernels. ``graph`` must have passed verify()."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

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
            values.update(zip(op.outputs, run_op(graph, op, operands), strict=True))
        return values
