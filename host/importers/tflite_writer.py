"""Writes small .tflite files (the demo network, tests), with the schema code that flatc generated."""
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite

TYPES = {"float32": 0, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9}


@dataclass
class TensorSpec:
    shape: tuple[int, ...]
    dtype: str = "int8"
    scale: Any = None  # number or list: float32 values; None: not quantised
    zero: Any = 0
    axis: int = 0
    data: Any = None
    name: str = ""
    signature: tuple[int, ...] | None = None
    variable: bool = False


@dataclass
class OpSpec:
    source: str  # a name of tflite.BuiltinOperator
    inputs: list[int]
    outputs: list[int]
    options: dict[str, Any] = field(default_factory=dict)
    options_type: str = ""  # e.g. "Conv2DOptions"; options are fields of that table, CamelCase
    version: int = 1
    intermediates: list[int] = field(default_factory=list)


@dataclass
class ModelSpec:
    """Tensors, operators, and which tensors are the network's inputs and outputs."""

    tensors: list[TensorSpec]
    ops: list[OpSpec]
    inputs: list[int]
    outputs: list[int]

    def build(self) -> bytes:
        return _build(self)


def _vector(builder: flatbuffers.Builder, values: Any, dtype: Any) -> int:
    return int(builder.CreateNumpyVector(np.ascontiguousarray(values, dtype)))


def _offsets(builder: flatbuffers.Builder, values: list[int]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependUOffsetTRelative(value)
    return int(builder.EndVector())


def _table(builder: flatbuffers.Builder, name: str, **fields: Any) -> int:
    module = getattr(tflite, name)
    module = __import__(f"tflite.{name}", fromlist=[name]) if isinstance(module, type) else module
    getattr(module, f"{name}Start")(builder)
    for key, value in fields.items():
        if value is not None:
            getattr(module, f"{name}Add{key}")(builder, value)
    return int(getattr(module, f"{name}End")(builder))


def _build(model: ModelSpec) -> bytes:
    b = flatbuffers.Builder(1024)
    buffers, tensors = [_table(b, "Buffer")], []
    for i, t in enumerate(model.tensors):
        where = 0
        if t.data is not None:
            raw = np.frombuffer(np.asarray(t.data).astype(t.dtype).tobytes(), np.uint8)
            where = len(buffers)
            buffers.append(_table(b, "Buffer", Data=_vector(b, raw, np.uint8)))
        quant = None
        if t.scale is not None:
            scale, zero = np.atleast_1d(np.float32(t.scale)), np.atleast_1d(np.int64(t.zero))
            if len(zero) == 1:
                zero = np.repeat(zero, len(scale))
            quant = _table(b, "QuantizationParameters", Scale=_vector(b, scale, np.float32),
                           ZeroPoint=_vector(b, zero, np.int64), QuantizedDimension=t.axis)
        name = b.CreateString(t.name or f"t{i}")
        tensors.append(_table(
            b, "Tensor", Shape=_vector(b, t.shape, np.int32), Type=TYPES[t.dtype], Buffer=where, Name=name,
            Quantization=quant, IsVariable=t.variable or None,
            ShapeSignature=None if t.signature is None else _vector(b, t.signature, np.int32)))
    codes, operators = [], []
    for op in model.ops:
        number = getattr(tflite.BuiltinOperator, op.source)
        codes.append(_table(b, "OperatorCode", DeprecatedBuiltinCode=min(number, 127), BuiltinCode=number,
                            Version=op.version))
        options = kind = None
        if op.options_type:
            options = _table(b, op.options_type, **{
                key: _vector(b, value, np.int32) if isinstance(value, (list, tuple)) else value
                for key, value in op.options.items()})
            kind = getattr(tflite.BuiltinOptions, op.options_type)
        operators.append(_table(
            b, "Operator", OpcodeIndex=len(codes) - 1, Inputs=_vector(b, op.inputs, np.int32),
            Outputs=_vector(b, op.outputs, np.int32), BuiltinOptionsType=kind, BuiltinOptions=options,
            Intermediates=_vector(b, op.intermediates, np.int32) if op.intermediates else None))
    graph = _table(b, "SubGraph", Tensors=_offsets(b, tensors), Inputs=_vector(b, model.inputs, np.int32),
                   Outputs=_vector(b, model.outputs, np.int32), Operators=_offsets(b, operators))
    root = _table(b, "Model", Version=3, OperatorCodes=_offsets(b, codes), Subgraphs=_offsets(b, [graph]),
                  Buffers=_offsets(b, buffers))
    b.Finish(root, b"TFL3")
    return bytes(b.Output())
