"""The functions behind ``import celosia``: load, compile, open."""
from pathlib import Path
from typing import Literal

from .host.driver.device import WATCHDOG, Device
from .host.emit.fit import fit
from .host.emit.program import Program
from .host.graph.ir import Graph
from .host.graph.passes import run_passes
from .host.importers import load
from .host.link.factory import is_board, open_board, open_link
from .host.link.link import Link
from .host.lower.lower import lower
from .memory import read_memory
from .rtl.contract.errors import CapacityError, InputError
from .rtl.contract.fabric import Fabric
from .rtl.contract.presets import DEFAULT, load_fabric
from .sim.native.build import Progress
from .sim.native.model import Memory

Rounding = Literal["litert", "tflm"]
Qdq = Literal["exact", "fused"]
MEMORY_BYTES = 32 << 20
"""Memory behind the port, unless a Program needs more: that of a ULX3S."""

ADDRESS_SPACE = 1 << 32
"""Bytes that a fabric's memory port can address."""


def load_model(path: str | Path, *, rounding: Rounding = "litert", qdq: Qdq = "exact") -> Graph:
    """Import a model file; parameters as those of ``compile``.

    Raises
    ------
    ModelError, UnsupportedError
        See celosia.host.importers.
    """
    return load(path, rounding=rounding, qdq=qdq)


def compile_model(model: str | Path | Graph, *, fabric: str | Path | Fabric = DEFAULT,
                  rounding: Rounding = "litert", qdq: Qdq = "exact") -> Program:
    """Compile a model for a fabric.

    Parameters
    ----------
    model : path of a ``.tflite`` or ``.onnx`` file, or a Graph
    fabric : preset name, TOML file, or Fabric
    rounding : which of TFLite's rounding rules is exact: LiteRT's (1.3 and later) or TensorFlow Lite Micro's
    qdq : float sums of an ONNX model between DequantizeLinear and QuantizeLinear: "exact" as ONNX Runtime
        with graph optimisations disabled rounds them, in two passes and with the last word on the host;
        "fused" as integer sums in one pass, which is what ONNX Runtime does with optimisations enabled

    Raises
    ------
    ModelError, UnsupportedError, FabricError, CapacityError
    """
    graph = run_passes(model if isinstance(model, Graph) else load(
        model, rounding=rounding, qdq=qdq))
    chosen = load_fabric(fabric)
    on_host: dict[int, str] = {}
    while True:
        try:
            return fit(lower(graph, chosen, on_host=on_host), chosen)
        except CapacityError as error:
            # What does not fit goes to the host; the report says why.
            left = {op: str(error) for op in error.ops if op not in on_host}
            if not left:
                raise
            on_host |= left


def load_program(path: str | Path) -> Program:
    """Read a Program file that ``Program.save`` or ``celosia compile`` wrote."""
    return Program.load(path)


def is_program(path: str | Path) -> bool:
    """Whether a file is a Program file rather than a model.

    By its first bytes: a .tflite with metadata has a zip archive at its end, and so passes for one.
    """
    try:
        with Path(path).open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def open_device(device: str = "sim", *, fabric: str | Path | Fabric | None = None,
                memory_bytes: int = MEMORY_BYTES, memory: Memory | str | None = None,
                watchdog: int = WATCHDOG, progress: Progress | None = None) -> Device:
    """Open a device.

    Parameters
    ----------
    device : "sim" (the RTL as native code; built at first use and cached), "emulator", or a board:
        "serial:PORT"
    fabric : preset name, TOML file, or Fabric; if not given, what a board says it has (``Device.fabric``),
        and "sim16x16" for the others
    memory_bytes : size of the memory behind the port; a board has its own
    memory : latency, bandwidth, back-pressure and errors of that memory, or a name or numbers as
        `celosia run --memory` takes them (sim only); as fast as the bus unless given
    watchdog : cycles an inference may take
    progress : called with the stage of a build or transfer, the steps or bytes done, and those in all

    Raises
    ------
    InputError
        For an unknown kind of device, or a memory that it cannot have.
    ToolError
        If the simulator cannot be built.
    DeviceError
        If no board answers.
    MismatchError
        If the board has another fabric than the one given, or, if none is given, one that is no preset.
    """
    if not 1 <= memory_bytes <= ADDRESS_SPACE:
        raise InputError(f"memory_bytes is {memory_bytes}; it must be 1 to {ADDRESS_SPACE}, "
                         "the fabric's address space")
    if isinstance(memory, str):
        memory = named.memory if (named := read_memory(memory)) else None
    if memory is not None and (device == "emulator" or is_board(device)):
        whose = "a board has its own memory" if is_board(device) else (
            "the emulator knows no memory timing or errors")
        raise InputError(f"{whose}; use device 'sim' with memory=…")
    link: Link
    if is_board(device):
        link, chosen = open_board(device, None if fabric is None else load_fabric(fabric))
    else:
        chosen = load_fabric(DEFAULT if fabric is None else fabric)
        link = open_link(device, chosen, memory_size=memory_bytes, memory=memory, progress=progress)
    try:
        return Device(link, chosen, watchdog=watchdog, progress=progress if is_board(device) else None)
    except BaseException:
        link.close()
        raise
