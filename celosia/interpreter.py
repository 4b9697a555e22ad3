"""LiteRT's Interpreter interface over Celosia: change one import and a script runs on the fabric."""
from pathlib import Path
from typing import Any

import numpy as np

from .api import compile_model, open_device
from .host.driver.device import Array, Result, named_inputs
from .host.graph.ir import Tensor
from .host.importers import load
from .rtl.contract.errors import InputError
from .rtl.contract.fabric import Fabric
from .rtl.contract.presets import DEFAULT


class Interpreter:
    """Runs a model with the calls of ``ai_edge_litert.interpreter.Interpreter``.

    Parameters
    ----------
    model_path : path of a .tflite file
    fabric : preset name, TOML file, or Fabric
    device : "sim" or "emulator"
    """

    def __init__(self, model_path: str | Path, *, fabric: str | Path | Fabric = DEFAULT, device: str = "sim"):
        self._graph = load(model_path)
        self._program = compile_model(self._graph, fabric=fabric)
        self._kind, self._fabric = device, fabric
        self._device: Any = None
        self._inputs: dict[int, Array] = {}
        self.result: Result | None = None

    def allocate_tensors(self) -> None:
        """Open the device."""
        if self._device is None:
            self._device = open_device(self._kind, fabric=self._fabric, memory_bytes=self._program.dram_bytes)

    def get_input_details(self) -> list[dict[str, Any]]:
        """Name, index, shape, dtype and quantisation of each input."""
        return [self._details(index) for index in self._graph.inputs]

    def get_output_details(self) -> list[dict[str, Any]]:
        """The same for each output."""
        return [self._details(index) for index in self._graph.outputs]

    def set_tensor(self, tensor_index: int, value: Array) -> None:
        """Set an input; it is copied."""
        if tensor_index not in self._graph.inputs:
            raise InputError(f"tensor {tensor_index} is no input; inputs are {list(self._graph.inputs)}")
        tensor = self._graph.tensors[tensor_index]
        if value.shape != tensor.shape or value.dtype != tensor.dtype:
            raise InputError(f"input {tensor.name!r} takes {tensor.dtype}{list(tensor.shape)}, "
                             f"not {value.dtype}{list(value.shape)}")
        self._inputs[tensor_index] = np.array(value)

    def invoke(self) -> None:
        """Run the network on the device."""
        if self._device is None:
            raise InputError("call allocate_tensors() before invoke()")
        if missing := [i for i in self._graph.inputs if i not in self._inputs]:
            raise InputError(f"inputs {missing} have not been set; call set_tensor for each")
        given = [self._inputs[index] for index in self._graph.inputs]
        named_inputs(self._graph, given)
        self.result = self._device.run(self._program, given)

    def get_tensor(self, tensor_index: int) -> Array:
        """A copy of an input or, after invoke(), of an output."""
        if tensor_index in self._inputs:
            return self._inputs[tensor_index].copy()
        if tensor_index not in self._graph.outputs or self.result is None:
            raise InputError(f"tensor {tensor_index} has no value here; after invoke() there are outputs "
                             f"{list(self._graph.outputs)}")
        return self.result.outputs[self._graph.outputs.index(tensor_index)].copy()

    def _details(self, index: int) -> dict[str, Any]:
        tensor: Tensor = self._graph.tensors[index]
        quant = tensor.quant
        scales = np.array([] if quant is None else quant.scale, np.float32)
        zeros = np.array([] if quant is None else quant.zero_point, np.int32)
        single = (float(scales[0]), int(zeros[0])) if len(scales) == 1 else (0.0, 0)
        return {
            "name": tensor.name, "index": index, "shape": np.array(tensor.shape, np.int32),
            "shape_signature": np.array(tensor.shape, np.int32), "dtype": np.dtype(tensor.dtype).type, "quantization": single,
            "quantization_parameters": {"scales": scales, "zero_points": zeros,
                                        "quantized_dimension": 0 if quant is None or quant.axis is None else quant.axis},
            "sparsity_parameters": {},
        }
