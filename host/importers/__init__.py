"""Model files of any format to graphs: load() looks at the content, not at the name."""
from pathlib import Path
from typing import Literal

from ...rtl.contract.errors import ModelError
from ..graph.ir import Graph
from .nnef import load_nnef
from .nnef_file import looks_like_nnef
from .onnx import is_onnx, load_onnx
from .tflite import IDENTIFIER, load_tflite

SIZE_LIMIT = 2**31 - 1
"""Bytes: what FlatBuffers offsets can address."""


def load(path: str | Path, *, rounding: Literal["litert", "tflm"] = "litert",
         qdq: Literal["exact", "fused"] = "exact") -> Graph:
    """The verified graph of a model file.

    Parameters
    ----------
    path : of a .tflite or .onnx file, or of a folder or archive of NNEF
    rounding : which framework's FULLY_CONNECTED is meant in a TFLite model (see reference/linear.py)
    qdq : how float sums of an ONNX model between DequantizeLinear and QuantizeLinear are rounded: as those of
        ONNX Runtime with graph optimisations disabled, or as its fused integer operators do

    Raises
    ------
    ModelError : a file that cannot be read, or is no sound model
    UnsupportedError : a sound model of a format, operator, type or feature that is not supported
    """
    path = Path(path)
    if looks_like_nnef(path):
        return load_nnef(path, rounding=rounding)
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise ModelError(f"{path}: {path.stat().st_size} bytes; a model file has at most {SIZE_LIMIT}")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    if data[4:8] != IDENTIFIER and (path.suffix.lower() == ".onnx" or is_onnx(data)):
        return load_onnx(path, exact=qdq == "exact")
    return load_tflite(data, path.name, rounding=rounding)
