"""Model files of any format to graphs: load() looks at the content, not at the name."""
from pathlib import Path
from typing import Literal

from ...rtl.contract.errors import ModelError, UnsupportedError
from ..graph.ir import Graph
from .tflite import IDENTIFIER, load_tflite

SIZE_LIMIT = 2**31 - 1
"""Bytes: what FlatBuffers offsets can address."""


def load(path: str | Path, *, rounding: Literal["litert", "tflm"] = "litert") -> Graph:
    """The verified graph of a model file.

    ``rounding`` says which framework's FULLY_CONNECTED is meant (see reference/linear.py).

    Raises
    ------
    ModelError : a file that cannot be read, or is no sound model
    UnsupportedError : a sound model of a format, operator, type or feature that is not supported
    """
    path = Path(path)
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise ModelError(f"{path}: {path.stat().st_size} bytes; a TFLite file has at most {SIZE_LIMIT}")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    if data[4:8] != IDENTIFIER and (path.suffix.lower() == ".onnx" or data[:1] == b"\x08"):
        # An ONNX file is a protobuf that starts with field 1, ir_version.
        raise UnsupportedError(f"{path}: looks like ONNX, which is not supported yet; "
                               "supported are TFLite files (.tflite) with int8 or uint8 quantisation")
    return load_tflite(data, path.name, rounding=rounding)
