"""ONNX Runtime as the reference kernel of every operator of an ONNX graph.

Each such operator carries ``attrs["ort"]``: a small ONNX model that computes just it, in base64, with an
input ``i0``, ``i1``, … for each operand that is there and outputs ``o0``, …. It runs as the whole network
would in ONNX Runtime with graph optimisations disabled, so nothing has to be written, or proved, a second
time. What ONNX Runtime has no kernel for is left to the onnx package's own evaluator, which defines the
operators.
"""
import base64
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi import onnxruntime_pybind11_state

from ...rtl.contract.errors import UnsupportedError
from ..graph.ir import NARROW_DTYPES, Array, Graph, Kind, Op
from .rounding import Ints

SESSIONS = 4096
"""Kept, since setting one up takes longer than most operators run."""


def session(model: bytes, *, threads: int = 1) -> Any:
    """A session of ONNX Runtime's own CPU kernels, nothing fused or reordered.

    Raises
    ------
    UnsupportedError
        With what ONNX Runtime has against the model.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no base of their own
        raise UnsupportedError(f"ONNX Runtime does not take this model: {first_line(error)}") from None


@cache
def _microsoft() -> dict[str, Any]:
    return {schema.name: schema for schema in onnxruntime_pybind11_state.get_all_operator_schema()
            if schema.domain == "com.microsoft"}


def microsoft_schema(operator: str) -> Any:
    """ONNX Runtime's definition of an operator of its own; None if it has none of that name."""
    return _microsoft().get(operator)


def first_line(error: Exception) -> str:
    """What ONNX Runtime has to say, without its own prefix and traces."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:400]


def evaluator(model: onnx.ModelProto) -> Any:
    """The onnx package's evaluator, with the calls of a session.

    Raises UnsupportedError for what it has no operator for.
    """
    try:
        return ReferenceEvaluator(model)
    except Exception as error:
        raise UnsupportedError(f"the onnx package has no kernel for it: {first_line(error)}") from None


@lru_cache(SESSIONS)
def _kernel(model: str) -> Any:
    data = base64.b64decode(model)
    proto = onnx.load_model_from_string(data)
    narrow = {onnx.helper.np_dtype_to_tensor_dtype(np.dtype(name)) for name in NARROW_DTYPES}
    if any(value.type.tensor_type.elem_type in narrow for value in (*proto.graph.input, *proto.graph.output)):
        return evaluator(proto)
    try:
        return session(data)
    except UnsupportedError as error:
        try:
            return evaluator(proto)
        except UnsupportedError:
            raise error from None


def run_kernel(op: Op, values: Sequence[Array | None]) -> tuple[Array, ...]:
    """Outputs of one operator, from its operands (None for one that is left out)."""
    given = [value for value in values if value is not None]
    feeds = {f"i{i}": np.asarray(value, order="C") for i, value in enumerate(given)}
    kernel = _kernel(op.attrs["ort"])
    try:
        return tuple(np.asarray(output) for output in kernel.run(None, feeds))
    except Exception as error:
        try:
            other = evaluator(onnx.load_model_from_string(base64.b64decode(op.attrs["ort"])))
            return tuple(np.asarray(output) for output in other.run(None, feeds))
        except Exception:
            raise UnsupportedError(f"{op.label}: the kernel stopped: {first_line(error)}") from None


# What ONNX Runtime computes of single bytes: whole functions, by asking for every value.

@lru_cache(SESSIONS)
def _every_byte(model: str, place: int, dtypes: tuple[str, ...],
                constants: tuple[bytes | None, ...]) -> Array:
    """All 256 values at one operand. Kernels may treat the end of an array differently from its middle: the
    answers must not depend on the place."""
    stored = np.arange(256, dtype=np.uint8)
    values = []
    for number, (dtype, constant) in enumerate(zip(dtypes, constants, strict=True)):
        values.append(np.concatenate([stored, stored[::-1], stored[:7]]).view(dtype) if number == place
                      else np.frombuffer(constant or b"", dtype))
    op = Op(Kind.HOST, "table", (), (), {"ort": model})
    (got,) = run_kernel(op, values)
    table = got.view(np.uint8)
    if not (np.array_equal(table[:256], table[511:255:-1]) and np.array_equal(table[512:], table[:7])):
        raise UnsupportedError("its values depend on their place")
    return table[:256].copy()


def byte_table(graph: Graph, op: Op) -> Array | None:
    """``unary_table`` of an ONNX operator: uint8[256], or None where it is no function of one byte."""
    if not op.attrs.get("elementwise"):
        return None
    tensors = [graph.tensors[i] for i in op.inputs if i is not None]
    computed = [number for number, tensor in enumerate(tensors) if tensor.data is None]
    if len(computed) != 1 or graph.tensors[op.outputs[0]].dtype not in ("int8", "uint8"):
        return None
    constants: list[bytes | None] = []
    for tensor in tensors:
        if tensor.data is None:
            if tensor.dtype not in ("int8", "uint8"):
                return None
            constants.append(None)
        elif tensor.data.size and (tensor.data == tensor.data.flat[0]).all():
            constants.append(tensor.data.reshape(-1)[:1].tobytes())
        else:
            return None
    try:
        return _every_byte(op.attrs["ort"], computed[0], tuple(t.dtype for t in tensors), tuple(constants))
    except UnsupportedError:
        return None


@lru_cache(256)
def _every_pair(model: str, dtypes: tuple[str, str]) -> Ints:
    """The values of all pairs, [first, second], both as bytes of memory."""
    stored = np.arange(256, dtype=np.uint8)
    first = np.repeat(stored, 256).view(dtypes[0])
    second = np.tile(stored, 256).view(dtypes[1])
    op = Op(Kind.HOST, "pairs", (), (), {"ort": model})
    (got,) = run_kernel(op, [first, second])
    turn = slice(None, None, -1)
    (again,) = run_kernel(op, [np.append(first[turn], first[:5]), np.append(second[turn], second[:5])])
    if not np.array_equal(again[:65536][turn], got):
        raise UnsupportedError("its values depend on their place")
    return got.reshape(256, 256).astype(np.int64)


def pair_table(graph: Graph, op: Op) -> Ints:
    """Stored results of an elementwise operator of two byte tensors, [first & 255, second & 255].

    Raises UnsupportedError if they depend on more than the two bytes.
    """
    a, b = (graph.tensors[i].dtype for i in op.inputs if i is not None)
    return _every_pair(op.attrs["ort"], (a, b))
