"""The functions behind ``import celosia``: load, compile, open."""
import zipfile
from pathlib import Path
from typing import Literal

from .host.driver.device import Device
from .host.emit.emit import emit
from .host.emit.program import Program
from .host.graph.ir import Graph
from .host.importers import load
from .host.link.factory import open_link
from .host.lower.lower import lower
from .host.schedule.schedule import schedule
from .rtl.contract.fabric import Fabric
from .rtl.contract.presets import DEFAULT, load_fabric
from .sim.native.build import Progress
from .sim.native.model import Memory

Rounding = Literal["litert", "tflm"]
MEMORY_BYTES = 32 << 20
"""Memory behind the port, unless a Program needs more: that of a ULX3S."""


def load_model(path: str | Path, *, rounding: Rounding = "litert") -> Graph:
    """Import a model file.

    Raises
    ------
    ModelError, UnsupportedError
        See celosia.host.importers.
    """
    return load(path, rounding=rounding)


def compile_model(model: str | Path | Graph, *, fabric: str | Path | Fabric = DEFAULT,
                  rounding: Rounding = "litert") -> Program:
    """Compile a model for a fabric.

    Parameters
    ----------
    model : path of a ``.tflite`` file, or a Graph
    fabric : preset name, TOML file, or Fabric
    rounding : which of TFLite's rounding rules is exact: LiteRT's (1.3 and later) or TensorFlow Lite Micro's

    Raises
    ------
    ModelError, UnsupportedError, FabricError, CapacityError
    """
    graph = model if isinstance(model, Graph) else load(model, rounding=rounding)
    chosen = load_fabric(fabric)
    return emit(schedule(lower(graph, chosen), chosen))


def load_program(path: str | Path) -> Program:
    """Read a Program file that ``Program.save`` or ``celosia compile`` wrote."""
    return Program.load(path)


def is_program(path: str | Path) -> bool:
    """Whether a file is a Program file rather than a model."""
    return Path(path).is_file() and zipfile.is_zipfile(path)


def open_device(device: str = "sim", *, fabric: str | Path | Fabric = DEFAULT, memory_bytes: int = MEMORY_BYTES,
                memory: Memory | None = None, progress: Progress | None = None) -> Device:
    """Open a device.

    Parameters
    ----------
    device : "sim" (the RTL as native code; built at first use and cached) or "emulator"
    fabric : preset name, TOML file, or Fabric
    memory_bytes : size of the memory behind the port
    memory : latency, bandwidth and back-pressure of that memory (sim only)
    progress : called with the stage of a build, the steps done and the steps in all

    Raises
    ------
    InputError
        For an unknown kind of device.
    ToolError
        If the simulator cannot be built.
    """
    chosen = load_fabric(fabric)
    return Device(open_link(device, chosen, memory_size=memory_bytes, memory=memory, progress=progress), chosen)
