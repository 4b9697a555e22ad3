"""A float ONNX model before it is quantised: read, checked, given fixed shapes, pre-processed."""
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, version_converter
from onnxruntime.quantization import quant_pre_process
from onnxruntime.tools.onnx_model_utils import fix_output_shapes, make_input_shape_fixed

from ...rtl.contract.errors import ModelError, UnsupportedError
from .samples import InputSpec

QUANTISED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger",
             "QGemm")
"""Operators of models that are quantised already, beside all QLinear…"""
OPSET = 13
"""The first that has scales per channel in DequantizeLinear."""


def read_model(path: Path) -> onnx.ModelProto:
    """A sound float model.

    Raises
    ------
    ModelError : a file that cannot be read, or is no sound ONNX model
    UnsupportedError : a model that is quantised already, or computes in float16
    """
    try:
        model = onnx.load(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
    except (DecodeError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(f"{path}: is no ONNX model ({error}); `celosia quantize` takes float models as "
                         ".onnx files") from None
    if not model.ir_version or not model.graph.node:
        raise ModelError(f"{path}: is no ONNX model, or one without operators")
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"{path}: is not a sound ONNX model: {error}") from None
    if found := Counter(node.op_type for node in model.graph.node
                        if node.op_type in QUANTISED or node.op_type.startswith("QLinear")):
        told = ", ".join(f"{count} {name}" for name, count in found.most_common(3))
        raise UnsupportedError(f"{path}: is quantised already (it has {told}); give the float model")
    if any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer):
        raise UnsupportedError(f"{path}: has float16 weights; export the model in float32")
    return model


def input_specs(model: onnx.ModelProto) -> list[InputSpec]:
    """What the model wants from outside: graph inputs that no initializer fills."""
    filled = {tensor.name for tensor in model.graph.initializer}
    specs = []
    for value in model.graph.input:
        if value.name in filled:
            continue
        kind = value.type.tensor_type
        if not kind.elem_type or not kind.HasField("shape"):
            raise UnsupportedError(f"input {value.name} has no type or no number of dimensions")
        dims = tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
                     for dim in kind.shape.dim)
        specs.append(InputSpec(value.name, np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name,
                               dims))
    return specs


def prepare(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]], folder: Path) -> Path:
    """The model with fixed input shapes, optimised by ONNX Runtime, all shapes known and all nodes named.

    Symbolic shape inference, the part of the pre-processing that needs SymPy, has nothing left to find once
    the inputs have fixed shapes, and is left out.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    opset = next((entry.version for entry in fixed.opset_import if entry.domain in ("", "ai.onnx")), OPSET)
    if opset < OPSET:
        fixed = version_converter.convert_version(fixed, OPSET)
    for name, shape in shapes.items():
        make_input_shape_fixed(fixed.graph, name, list(shape))
    fix_output_shapes(fixed)
    onnx.save(fixed, folder / "fixed.onnx")
    quant_pre_process(folder / "fixed.onnx", folder / "prepared.onnx", skip_symbolic_shape=True)
    prepared = onnx.load(folder / "prepared.onnx")
    taken = {node.name for node in prepared.graph.node}
    for number, node in enumerate(prepared.graph.node):
        if not node.name:
            node.name = f"{node.op_type}_{number}"
            while node.name in taken:
                node.name += "_"
            taken.add(node.name)
    onnx.save(prepared, folder / "prepared.onnx")
    return folder / "prepared.onnx"
