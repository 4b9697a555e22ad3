"""Verilog of a whole fabric, with ports named as in the AMBA specification."""
import contextlib
import gc
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import ValueCastable
from amaranth.hdl._ir import PortDirection  # what rtlil.convert wants for a port without a driver
from amaranth.lib import wiring

from .contract.errors import ToolError
from .contract.fabric import Fabric
from .fabric import FabricTop
from .primitives.cells import PORTABLE, Cells
from .verilog_header import verilog_header

MODULE = "celosia_fabric"
"""Name of the top module; all others are named ``celosia_fabric.…``."""

PASSES = ("proc -noopt", "opt_expr", "opt_clean -purge", "memory_collect")
YOSYS = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    libyosys.run_pass(command, design)
"""
"""Runs in an interpreter of its own: in a second run in one process Yosys orders what it writes differently,
it prints to file descriptor 1 whatever it is told, and an error in it would end this process."""
YOSYS_SECONDS = 600

MEMORY = re.compile(r"^  reg (?:\[\d+:0\] )?(?P<name>\S+) \[(?P<last>\d+):0\];\n", re.MULTILINE)


def ports_of(top: wiring.Component) -> dict[str, tuple[object, PortDirection]]:
    """Every port under its path joined with underscores: ``s_axil_awaddr`` … ``m_axi_rready`` on a fabric."""
    ports = {}
    for path, member, value in top.signature.flatten(top):
        signal = value.as_value() if isinstance(value, ValueCastable) else value
        direction = PortDirection.Input if member.flow is wiring.In else PortDirection.Output
        ports["_".join(map(str, path))] = (signal, direction)
    return ports


def component_rtlil(top: wiring.Component, *, name: str) -> str:
    """A component in Yosys' own format: module ``name``, ports ``clk``, ``rst`` and ports_of.

    Memories that start with zeros have no initial contents here.
    """
    with _quick_export():
        return rtlil.convert(top, name=name, ports=ports_of(top), emit_src=False)


def fabric_rtlil(fabric: Fabric, *, cells: Cells = PORTABLE) -> str:
    """The fabric as component_rtlil gives it, module ``celosia_fabric``."""
    return component_rtlil(FabricTop(fabric=fabric, cells=cells), name=MODULE)


def fabric_verilog(fabric: Fabric, *, cells: Cells = PORTABLE) -> str:
    """The fabric as one Verilog text, its hierarchy kept, with a comment at its head that says how to use it.

    Module ``celosia_fabric``: ``clk``, synchronous ``rst`` (active high), an AXI4-Lite subordinate
    ``s_axil_*`` and an AXI4 manager ``m_axi_*``. In simulation the memories start with zeros, as they do in
    the emulator.

    Raises
    ------
    ToolError
        If Yosys is missing or fails; says what it said.
    """
    top = FabricTop(fabric=fabric, cells=cells)
    ports = {name: (direction is PortDirection.Input, len(signal))
             for name, (signal, direction) in ports_of(top).items()}
    with tempfile.TemporaryDirectory() as folder:
        source, verilog = Path(folder, "fabric.il"), Path(folder, "fabric.v")
        source.write_text(component_rtlil(top, name=MODULE))
        commands = f"read_rtlil {source}", *PASSES, f"write_verilog -noattr {verilog}"
        try:
            subprocess.run([sys.executable, "-c", YOSYS, *commands], timeout=YOSYS_SECONDS, check=True,
                           text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        except subprocess.SubprocessError as error:
            said = "\n".join(str(error.stdout or "").strip().splitlines()[-5:])
            raise ToolError(f"Yosys did not turn the fabric into Verilog ({error}); is pyosys installed "
                            f"(pip install pyosys)? The end of what it said:\n{said}") from error
        text = MEMORY.sub(_start_with_zeros, verilog.read_text())
    return verilog_header(fabric, module=MODULE, ports=ports) + text


def _start_with_zeros(declaration: re.Match[str]) -> str:
    name, last = declaration["name"], declaration["last"]
    return (f"{declaration[0]}`ifndef SYNTHESIS\n  integer {name}_i;\n"
            f"  initial for ({name}_i = 0; {name}_i <= {last}; {name}_i = {name}_i + 1)\n"
            f"    {name}[{name}_i] = 0;\n`endif\n")


@contextlib.contextmanager
def _quick_export() -> Iterator[None]:
    """Take a third of the time: Amaranth 0.5 makes an object of each of the millions of zeros that memories
    start with, and Python's collector looks again and again through a netlist that is all alive."""
    original = rtlil.ModuleEmitter.emit_memory

    def emit_memory(self, cell_idx, cell):
        if any(cell.init):
            original(self, cell_idx, cell)

    collecting = gc.isenabled()
    gc.disable()
    rtlil.ModuleEmitter.emit_memory = emit_memory
    try:
        yield
    finally:
        rtlil.ModuleEmitter.emit_memory = original
        if collecting:
            gc.enable()
