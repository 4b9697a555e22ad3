"""Two blocks that must do the same, one of them made of a chip's cells: run side by side as compiled code.

Amaranth's simulator knows no vendor's cells, so both go through Yosys, with the simulation models of the
cells, into one C++ program (CXXRTL) that plays noise to both and counts the cycles in which they differ.
"""
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from amaranth import Elaboratable, Module, Signal
from amaranth.back import rtlil

MODELS = Path(str(files("pyosys"))) / "share"
"""Where Yosys keeps its simulation models."""
WRITTEN = Path(__file__).parent / "cells"
"""Models written from the vendor's documents, of cells that Yosys knows the ports of only."""
INCLUDE = MODELS / "include" / "backends" / "cxxrtl" / "runtime"
NOISE_BITS = 256

YOSYS = """
import os, sys
from pyosys import libyosys
design = libyosys.Design()
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
for command in sys.argv[1:]:
    libyosys.run_pass(command, design)
"""

PROGRAM = """
#include "twins.cc"
#include <cstdio>
#include <cstdlib>
int main(int argc, char **argv) {
    long cycles = atol(argv[1]), differ = 0, first = -1;
    unsigned long state = 0x9E3779B97F4A7C15ul;
    cxxrtl_design::p_twins top;
    top.p_rst.set<bool>(false);
    for (long t = 0; t < cycles; t++) {
        for (auto &chunk : top.p_noise.data) {
            state ^= state << 13; state ^= state >> 7; state ^= state << 17;
            chunk = (unsigned)(state >> 16);
        }
        top.p_clk.set<bool>(false);
        top.step();
        if (top.p_differs.get<bool>()) { differ++; if (first < 0) first = t; }
        top.p_clk.set<bool>(true);
        top.step();
    }
    printf("%ld %ld\\n", differ, first);
}
"""


class Twins(Elaboratable):
    """``build(m, noise, count)`` adds both blocks and returns a bit that says they differ in this cycle."""

    def __init__(self, build: Callable[[Module, Any, Any], Any]):
        self._build = build
        self.noise, self.differs = Signal(NOISE_BITS, name="noise"), Signal(name="differs")

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        count = Signal(32)
        m.d.sync += count.eq(count + 1)
        m.d.comb += self.differs.eq(self._build(m, self.noise, count))
        return m


def differences(build: Callable[[Module, Any, Any], Any], folder: Path, *, cycles: int,
                models: Sequence[Path], defines: str = "") -> tuple[int, int]:
    """In how many of so many cycles they differ, and the first of these (-1: none)."""
    top = Twins(build)
    (folder / "twins.il").write_text(
        rtlil.convert(top, name="twins", ports=[top.noise, top.differs], emit_src=False))
    commands = [*(f"read_verilog -sv -overwrite {defines} {model}" for model in models),
                f"read_rtlil {folder / 'twins.il'}", "hierarchy -check -top twins", "proc", "flatten",
                "opt -full", "clean -purge", f"write_cxxrtl -g0 {folder / 'twins.cc'}"]
    (folder / "main.cc").write_text(PROGRAM)
    subprocess.run([sys.executable, "-c", YOSYS, *commands], check=True, timeout=600)
    subprocess.run([(sysconfig.get_config_var("CXX") or "c++").split()[0], "-std=c++14", "-O1", "-I",
                    str(INCLUDE), "-o", str(folder / "twins"), str(folder / "main.cc")],
                   check=True, timeout=600)
    said = subprocess.run([folder / "twins", str(cycles)], check=True, timeout=600, text=True,
                          stdout=subprocess.PIPE).stdout
    differ, first = map(int, said.split())
    return differ, first
