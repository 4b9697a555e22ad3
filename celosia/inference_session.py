"""ONNX Runtime's InferenceSession over Celosia: change one import and a script runs on the fabric."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from .api import Qdq, compile_model, open_device
from .host.driver.device import Array, Device, Result
from .host.importers.onnx import load_onnx
from .rtl.contract.errors import InputError, ModelError
from .rtl.contract.fabric import Fabric
from .rtl.contract.presets import DEFAULT

TYPES = {"float32": "float", "float64": "double", "float16": "float16"}
"""ONNX Runtime's words for types that NumPy calls otherwise."""


@dataclass(frozen=True)
class NodeArg:
    """An input or output: ``shape`` holds names where the model leaves a dimension open."""

    name: str
    shape: list[int | str | None]
    type: str


class InferenceSession:
    """Runs a model with the calls of ``onnxruntime.InferenceSession``.

    Parameters
    ----------
    path_or_bytes : an .onnx file, or its content
    fabric : preset name, TOML file, or Fabric
    device : "sim" or "emulator"
    qdq : as that of ``celosia.compile``
    sess_options, providers, provider_options : accepted and without effect: results are always those of ONNX
        Runtime's CPU kernels with graph optimisations disabled

    Attributes
    ----------
    result : Result or None
        The last inference with its cycles and layers.

    Raises
    ------
    ModelError, UnsupportedError
        For a model that is not sound, or not supported.
    InputError
        From ``run``, for inputs or outputs that the model does not have.
    """

    def __init__(self, path_or_bytes: str | Path | bytes, sess_options: object = None,
                 providers: object = None, provider_options: object = None, *,
                 fabric: str | Path | Fabric = DEFAULT, device: str = "sim", qdq: Qdq = "exact"):
        exact = qdq == "exact"
        try:
            proto = onnx.load_model_from_string(path_or_bytes) if isinstance(path_or_bytes, bytes) else None
        except (DecodeError, ValueError) as error:
            raise ModelError(f"no ONNX model, or damaged ({error})") from None
        graph = load_onnx(proto or Path(str(path_or_bytes)), exact=exact)
        proto = proto or onnx.load(str(path_or_bytes), load_external_data=False)
        held = {tensor.name for tensor in proto.graph.initializer}
        self._inputs = [_described(value) for value in proto.graph.input if value.name not in held]
        self._outputs = [_described(value) for value in proto.graph.output]
        batch = next((value.shape[0] for value in self._inputs if value.shape), 1)
        for number, (value, index) in enumerate(zip(proto.graph.output, graph.outputs, strict=False)):
            if not value.type.tensor_type.HasField("shape"):  # the file does not tell
                shape: list[int | str | None] = [*graph.tensors[index].shape]
                if shape[:1] == [1] and not isinstance(batch, int):
                    shape[0] = batch
                self._outputs[number] = replace(self._outputs[number], shape=shape)
        self._program = compile_model(graph, fabric=fabric)
        self._kind, self._fabric = device, fabric
        self._device: Device | None = None
        self.result: Result | None = None

    def get_inputs(self) -> list[NodeArg]:
        """Name, shape and type of each input."""
        return list(self._inputs)

    def get_outputs(self) -> list[NodeArg]:
        """The same of each output."""
        return list(self._outputs)

    def get_providers(self) -> list[str]:
        """What computes."""
        return ["CelosiaExecutionProvider", "CPUExecutionProvider"]

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Array],
            run_options: object = None) -> list[Array]:
        """Outputs by name (None or none: all, in order) for inputs by name.

        Where the model leaves the first dimension of all inputs open, several samples may come at once; they
        are computed one after the other.
        """
        names = [value.name for value in self._outputs]
        wanted = list(output_names or names)
        if unknown := [name for name in wanted if name not in names]:
            raise InputError(f"the model has no output {unknown}; it has {names}")
        if self._device is None:
            self._device = open_device(self._kind, fabric=self._fabric,
                                       memory_bytes=self._program.memory_bytes or 1)
        samples = self._samples({name: np.asarray(value) for name, value in input_feed.items()})
        made: list[tuple[Array, ...]] = []
        for sample in samples:
            self.result = self._device.run(self._program, sample)
            made.append(self.result.outputs)
        each = {name: values[0] if len(made) == 1 else np.concatenate(values)
                for name, values in zip(names, zip(*made, strict=True), strict=True)}
        return [each[name] for name in wanted]

    def _samples(self, feed: dict[str, Array]) -> list[dict[str, Array]]:
        """One feed for each sample of a batch."""
        open_ended = all(value.shape and not isinstance(value.shape[0], int)
                         for value in (*self._inputs, *self._outputs))
        counts = {value.shape[0] for value in feed.values() if value.ndim}
        if not open_ended or len(counts) != 1 or counts <= {0, 1}:
            return [feed]
        return [{name: value[i:i + 1] for name, value in feed.items()} for i in range(counts.pop())]


def _described(value: onnx.ValueInfoProto) -> NodeArg:
    kind = value.type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
    shape: list[int | str | None] = [
        dimension.dim_value if dimension.HasField("dim_value") else dimension.dim_param or None
        for dimension in kind.shape.dim]
    return NodeArg(value.name, shape, f"tensor({TYPES.get(dtype, dtype)})")
