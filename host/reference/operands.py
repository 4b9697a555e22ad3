"""Operands as kernels want them: verify.py has seen to it that they are there."""
from ..graph.ir import Array, Graph, Quant, Tensor


def quant_of(tensor: Tensor) -> Quant:
    """The quantisation of a tensor that must have one."""
    assert tensor.quant is not None, tensor.name
    return tensor.quant


def tensor_of(graph: Graph, index: int | None) -> Tensor:
    """The tensor of an operand that must be there."""
    assert index is not None
    return graph.tensors[index]


def value_of(array: Array | None) -> Array:
    """The value of an operand that must be there."""
    assert array is not None
    return array
