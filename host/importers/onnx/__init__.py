"""ONNX models to graphs: quantised operators (QOperator) and float ones between DequantizeLinear and
QuantizeLinear (QDQ); everything else stays as it is, for ONNX Runtime on the host."""

from collections.abc import Mapping
from pathlib import Path

import onnx

from ....rtl.contract.errors import GraphError, ModelError
from ...graph.ir import Array, Graph
from ...graph.verify import verify
from .convert import convert
from .model import Model, is_onnx, prepare, read_model

__all__ = ["is_onnx", "load_onnx"]


def load_onnx(
    model: Path | onnx.ModelProto,
    *,
    exact: bool = True,
    batch: int = 1,
    examples: Mapping[str, Array] | None = None,
) -> Graph:
    """The verified graph of an ONNX model.

    Parameters
    ----------
    model : path, or the model itself
    exact : float sums of QDQ models as ONNX Runtime with graph optimisations disabled rounds them; otherwise
        as integer sums, which is what it does with them enabled
    batch : what an open first dimension becomes
    examples : values of inputs by name, whose shapes open dimensions take; without them a network whose
        shapes depend on the values is refused, with them the graph is for these

    Raises
    ------
    ModelError : no sound model, or external data that is missing or damaged
    UnsupportedError : opset, operator, type or open dimensions that are not supported
    """
    if isinstance(model, Path):
        ready = read_model(model, batch=batch, examples=examples)
    else:
        ready = prepare(
            model, model.graph.name or "model", size=model.ByteSize(), batch=batch, examples=examples
        )
    return _graph(ready, exact)


def _graph(model: Model, exact: bool) -> Graph:
    try:
        graph = convert(model, exact=exact)
        verify(graph)
    except GraphError as error:
        raise ModelError(f"{model.name}: {error}") from None
    return graph
