"""Celosia as a backend of the onnx package: ``onnx.backend.base.Backend``, as its own tests drive it.

    import celosia.onnx_backend as backend
    outputs = backend.run_model(model, [x])
"""
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep

from .api import Qdq, compile_model, open_device
from .host.driver.device import Array
from .host.emit.program import Program
from .host.importers.onnx import load_onnx
from .rtl.contract.errors import CelosiaError, InputError, UnsupportedError
from .rtl.contract.fabric import Fabric
from .rtl.contract.presets import DEFAULT


class CelosiaRep(BackendRep):
    """A model. It is compiled for the inputs of a run, since shapes may be open, or hang on whole numbers
    among the inputs, such as the shape that a Reshape is given; once for all runs that agree in these.

    Attributes
    ----------
    program : Program or None
        Of the last run.
    """

    def __init__(self, model: onnx.ModelProto, fabric: str | Path | Fabric, device: str, qdq: Qdq):
        self._model, self._fabric, self._kind, self._qdq = model, fabric, device, qdq
        held = {tensor.name for tensor in model.graph.initializer}
        self._names = [value.name for value in model.graph.input if value.name not in held]
        self._programs: dict[Hashable, Program] = {}
        self.program: Program | None = None

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Array, ...]:
        """Outputs for the inputs in the model's order.

        Raises ModelError, UnsupportedError or InputError, which name node and tensor.
        """
        for name, value in zip(self._names, inputs, strict=False):
            if isinstance(value, list | tuple | None):
                raise UnsupportedError(f"input {name!r} is no tensor but {type(value).__name__}")
        given = [np.asarray(value) for value in inputs]
        if len(given) != len(self._names):
            raise InputError(f"{len(given)} inputs were given; the model takes {self._names}")
        key = tuple((value.shape, value.dtype.name, value.tobytes() if value.dtype.kind in "iu" else b"")
                    for value in given)
        if key not in self._programs:
            graph = load_onnx(self._model, exact=self._qdq == "exact",
                              examples=dict(zip(self._names, given, strict=True)))
            self._programs[key] = compile_model(graph, fabric=self._fabric)
        self.program = program = self._programs[key]
        with open_device(self._kind, fabric=self._fabric, memory_bytes=program.memory_bytes or 1) as device:
            return device.run(program, given).outputs


class CelosiaBackend(Backend):
    """``device``: "CPU" is the emulator of the instruction set, "SIM" the compiled hardware."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", *, fabric: str | Path | Fabric = DEFAULT,
                qdq: Qdq = "exact", **kwargs: Any) -> CelosiaRep:
        """A model ready to run."""
        return CelosiaRep(model, fabric, "sim" if device.upper().startswith("SIM") else "emulator", qdq)

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU",
                  **kwargs: Any) -> tuple[Array, ...]:
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        try:
            load_onnx(model)
        except CelosiaError:
            return False
        return cls.supports_device(device)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device.upper().split(":")[0] in ("CPU", "SIM")


prepare = CelosiaBackend.prepare
run_model = CelosiaBackend.run_model
supports_device = CelosiaBackend.supports_device
is_compatible = CelosiaBackend.is_compatible
