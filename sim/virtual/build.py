"""Compiles a board's gateware, from its serial wires to its memory's pins, with a harness around it."""
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from ...boards.board import Board
from ...rtl.primitives.cells import PORTABLE
from ..native.build import PASSES, RTL, Harness, Progress, compiled, fast_verilog, source_texts

HERE = Path(__file__).parent
BOARDS = RTL.parent / "boards"
MODULE = "celosia_board"

FABRIC_CLOCK = (f"proc {MODULE}", f"cd {MODULE}", "add -input fabric_clk 1",
                "connect -port fabric \\clk fabric_clk", "cd")
"""Yosys: the fabric gets a clock of its own, which the harness lets rest while nothing happens in the fabric:
most of the time, since the wire is slow."""

ACTIVE = ("registers.control__busy",
          *(f"registers.axil__{name}" for name in ("awvalid", "wvalid", "arvalid", "bvalid", "rvalid")))
WINDOW = tuple(f"window.axi__{name}" for name in ("awvalid", "wvalid", "arvalid", "bvalid", "rvalid"))
"""While one of these signals of the fabric is high, and a little longer, something happens in it. On a board
with flash the fabric's memory is reached from outside too."""


def harness(board: Board) -> Harness:
    """The C++ of a board: which chip is at its memory's pins."""
    active = [f"fabric.{name}" for name in (ACTIVE if board.memory == "sdram" else ACTIVE + WINDOW)]
    names = ", ".join(f'"{name}"' for name in active)
    public = re.compile(rf"^(\s*(?:reg|wire) \\(?:{'|'.join(map(re.escape, active))})\s[^;=]*)", re.MULTILINE)
    return Harness(
        module=MODULE, prefix="Vboard", source=HERE / "harness.cpp", public=public,
        others=tuple(sorted(HERE.glob("*.h"))),
        defines=(f"CELOSIA_{board.memory.upper()}", f"CELOSIA_FABRIC_ACTIVE={{{names}}}"))


def library(board: Board, *, baud: int, pin_delay: int, progress: Progress | None = None) -> Path:
    """The shared library of a board, from the cache if nothing changed; parameters as of BoardCore.

    Raises
    ------
    ToolError
        As native.build.compiled.
    """
    return compiled(harness(board), _sources(board, baud, pin_delay),
                    partial(_verilog, board, baud, pin_delay), progress)


def _sources(board: Board, baud: int, pin_delay: int) -> Iterator[str]:
    yield from (board.name, str(baud), str(pin_delay), *FABRIC_CLOCK, *PASSES)
    yield from source_texts(RTL, BOARDS)


def _verilog(board: Board, baud: int, pin_delay: int, folder: Path) -> str:
    # Imported here: Amaranth takes longer to load than a whole second run.
    from ...boards.core import BoardCore
    from ...rtl.verilog import component_rtlil

    core = BoardCore(board=replace(board, cells=PORTABLE), baud=baud, pin_delay=pin_delay)
    return fast_verilog(component_rtlil(core, name=MODULE), folder, first=FABRIC_CLOCK)
