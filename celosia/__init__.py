"""Celosia: int8 neural networks on an open systolic matrix engine, exactly.

    import celosia
    program = celosia.compile("model.tflite", fabric="sim16x16")
    with celosia.open("sim", fabric="sim16x16") as device:
        result = device.run(program, x)          # NumPy in, NumPy out; result.cycles, result.layers
"""
from .api import compile_model as compile
from .api import load_model as load
from .api import load_program
from .api import open_device as open
from .host.driver.device import Device, LayerResult, Result
from .host.emit.program import Program
from .inference_session import InferenceSession
from .interpreter import Interpreter
from .rtl.contract.errors import (
    CapacityError,
    CelosiaError,
    DeviceError,
    DeviceTimeout,
    FabricError,
    FaultError,
    GraphError,
    InputError,
    MismatchError,
    ModelError,
    ProgramError,
    ToolError,
    UnsupportedError,
    WrongResult,
)
from .rtl.contract.fabric import Fabric
from .rtl.contract.presets import PRESETS, load_fabric

__version__ = "0.3.0"

__all__ = [
    "PRESETS", "CapacityError", "CelosiaError", "Device", "DeviceError", "DeviceTimeout", "Fabric",
    "FabricError", "FaultError", "GraphError", "InferenceSession", "InputError", "Interpreter", "LayerResult",
    "MismatchError", "ModelError", "Program", "ProgramError", "Result", "ToolError", "UnsupportedError",
    "WrongResult", "compile", "load", "load_fabric", "load_program", "open",
]
