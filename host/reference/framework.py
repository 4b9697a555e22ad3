"""The model's own framework, as the judge of results."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from ...rtl.contract.errors import InputError, ToolError, UnsupportedError
from ..graph.ir import Array
from .onnxruntime_kernel import first_line, session


class LiteRT:
    """LiteRT with its reference kernels (``BUILTIN_REF``).

    Raises
    ------
    ToolError
        If ai-edge-litert is not installed.
    UnsupportedError
        If LiteRT does not load the model.
    """

    def __init__(self, model: str | Path | bytes):
        try:
            from ai_edge_litert.interpreter import Interpreter, OpResolverType
        except ImportError as error:
            raise ToolError(f"--check needs LiteRT: pip install ai-edge-litert ({error})") from error
        content = model if isinstance(model, bytes) else Path(model).read_bytes()
        try:
            self._interpreter: Any = Interpreter(
                model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF
            )
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise UnsupportedError(
                f"LiteRT cannot load this model, so there is nothing to compare with: {error}"
            ) from error

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs for one sample. States of recurrent operators last from run to run."""
        details = self._interpreter.get_input_details()
        if len(details) != len(inputs):
            raise InputError(f"{len(inputs)} inputs for a model of {len(details)}")
        for detail, value in zip(details, inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], value)
        self._interpreter.invoke()
        return [
            self._interpreter.get_tensor(detail["index"]) for detail in self._interpreter.get_output_details()
        ]


class OnnxRuntime:
    """ONNX Runtime's CPU kernels, graph optimisations disabled.

    Raises
    ------
    UnsupportedError
        If ONNX Runtime does not load the model.
    """

    def __init__(self, model: str | Path):
        proto = onnx.load(str(model))
        self._names = [value.name for value in proto.graph.input
                       if value.name not in {tensor.name for tensor in proto.graph.initializer}]
        self._session = session(proto.SerializeToString())  # one thread: with more its float sums may differ

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs for one sample."""
        try:
            found: list[Array] = self._session.run(None, dict(zip(self._names, inputs, strict=True)))
        except Exception as error:
            raise UnsupportedError(f"ONNX Runtime stopped: {first_line(error)}") from None
        return found


def framework_of(model: str | Path, framework: str) -> LiteRT | OnnxRuntime:
    """The judge of a model file."""
    return OnnxRuntime(model) if framework == "onnx" else LiteRT(model)
