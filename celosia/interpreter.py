"""LiteRT's Interpreter interface over Celosia: change one import and a script runs on the fabric."""
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .api import compile_model, open_device
from .host.driver.device import Array, Device, Result
from .host.graph.ir import Tensor
from .host.importers import load
from .host.importers.tflite import load_tflite
from .rtl.contract.errors import InputError, UnsupportedError
from .rtl.contract.fabric import Fabric
from .rtl.contract.presets import DEFAULT


class Interpreter:
    """Runs a model with the calls of ``ai_edge_litert.interpreter.Interpreter``.

    Parameters
    ----------
    model_path : path of a .tflite file
    model_content : the same as bytes, instead
    fabric : preset name, TOML file, or Fabric
    device : "sim" or "emulator"
    num_threads, experimental_op_resolver_type : accepted and without effect, as results are always those of
        LiteRT's reference kernels

    Attributes
    ----------
    result : Result or None
        The last ``invoke()`` with its cycles and layers.

    Raises
    ------
    InputError
        Unless exactly one of ``model_path`` and ``model_content`` is given; from the methods for a tensor
        that is unknown, of another shape or type, or not yet set.
    """

    def __init__(self, model_path: str | Path | None = None, model_content: bytes | None = None, *,
                 fabric: str | Path | Fabric = DEFAULT, device: str = "sim", num_threads: int | None = None,
                 experimental_op_resolver_type: object = None):
        if (model_path is None) == (model_content is None):
            raise InputError("give either model_path or model_content")
        self._graph = (load(model_path) if model_path is not None
                       else load_tflite(bytes(model_content or b""), "model_content"))
        self._program = compile_model(self._graph, fabric=fabric)
        self._kind, self._fabric = device, fabric
        self._device: Device | None = None
        self._inputs: dict[int, Array] = {}
        self.result: Result | None = None

    def allocate_tensors(self) -> None:
        """Open the device."""
        if self._device is None:
            self._device = open_device(self._kind, fabric=self._fabric,
                                       memory_bytes=self._program.memory_bytes or 1)

    def get_input_details(self) -> list[dict[str, Any]]:
        """Name, index, shape, dtype and quantisation of each input."""
        return [self._details(index) for index in self._graph.inputs]

    def get_output_details(self) -> list[dict[str, Any]]:
        """The same for each output."""
        return [self._details(index) for index in self._graph.outputs]

    def get_tensor_details(self) -> list[dict[str, Any]]:
        """The same for every tensor of the network."""
        return [self._details(index) for index in range(len(self._graph.tensors))]

    def resize_tensor_input(self, input_index: int, tensor_size: Sequence[int], strict: bool = False) -> None:
        """Only to the shape the input has: a Program is compiled for fixed shapes."""
        shape = self._input(input_index).shape
        if tuple(int(size) for size in tensor_size) != shape:
            raise UnsupportedError(f"tensor {input_index} cannot be resized from {list(shape)} to "
                                   f"{list(tensor_size)}; convert the model with that shape")

    def set_tensor(self, tensor_index: int, value: Array) -> None:
        """Set an input; it is copied."""
        tensor = self._input(tensor_index)
        given = np.array(value)
        if given.shape != tensor.shape or given.dtype != tensor.dtype:
            raise InputError(f"input {tensor.name!r} takes {tensor.dtype}{list(tensor.shape)}, "
                             f"not {given.dtype}{list(given.shape)}")
        self._inputs[tensor_index] = given

    def invoke(self) -> None:
        """Run the network on the device."""
        if self._device is None:
            raise InputError("call allocate_tensors() before invoke()")
        if missing := [i for i in self._graph.inputs if i not in self._inputs]:
            raise InputError(f"inputs {missing} have not been set; call set_tensor for each")
        self.result = None
        self.result = self._device.run(self._program, [self._inputs[index] for index in self._graph.inputs])

    def get_tensor(self, tensor_index: int) -> Array:
        """A copy of an input or, after invoke(), of an output."""
        if tensor_index in self._inputs:
            return self._inputs[tensor_index].copy()
        if tensor_index not in self._graph.outputs or self.result is None:
            raise InputError(f"tensor {tensor_index} has no value here; after invoke() there are outputs "
                             f"{list(self._graph.outputs)}")
        return self.result.outputs[self._graph.outputs.index(tensor_index)].copy()

    def tensor(self, tensor_index: int) -> Callable[[], Array]:
        """A function that returns the tensor's value; a copy, so set inputs with set_tensor."""
        return lambda: self.get_tensor(tensor_index)

    def reset_all_variables(self) -> None:
        """States of recurrent operators start afresh."""
        if self._device is not None:
            self._device.reset_states()

    def _input(self, index: int) -> Tensor:
        if index not in self._graph.inputs:
            raise InputError(f"tensor {index} is no input; inputs are {list(self._graph.inputs)}")
        return self._graph.tensors[index]

    def _details(self, index: int) -> dict[str, Any]:
        tensor = self._graph.tensors[index]
        quant = tensor.quant
        scales = np.array([] if quant is None else quant.scale, np.float32)
        zeros = np.array([] if quant is None else quant.zero_point, np.int32)
        axis = 0 if quant is None or quant.axis is None else quant.axis
        single = (float(scales[0]), int(zeros[0])) if len(scales) == 1 else (0.0, 0)
        return {
            "name": tensor.name, "index": index, "shape": np.array(tensor.shape, np.int32),
            "shape_signature": np.array(tensor.shape, np.int32), "dtype": np.dtype(tensor.dtype).type,
            "quantization": single,
            "quantization_parameters": {
                "scales": scales, "zero_points": zeros, "quantized_dimension": axis},
            "sparsity_parameters": {},
        }
