"""From a board to its bitstream: Amaranth, yosys, nextpnr and a packer, each run if its inputs changed."""
import gzip
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .. import rtl
from ..rtl.contract.errors import ToolError
from ..sim.native.build import digest, source_texts
from .board import Board
from .cache import Progress, cached
from .netlist import count_cells, origins, places
from .tools import SYNTHESIS, TOOLS, Tool, run

TOP = "top"
"""Name of the design, of its top module and of all its files."""

SYNTHESIS_SECONDS = 2 * 3600
PLACE_SECONDS = 4 * 3600
PACK_SECONDS = 900

DESIGN, SCRIPT, NETLIST, REPORT = "top.il", "top.ys", "top.json", "report.json"
CELLS, PLACES = "cells.json", "places.json"
COMMANDS = "commands.json"
CONSTRAINTS = {"ecp5": "top.lpf", "ice40": "top.pcf"}
ROUTED = {"ecp5": "top.config", "ice40": "top.asc"}

PASSES = {"FLATTEN": "joining blocks", "MEMORY_LIBMAP": "memories", "ALUMACC": "arithmetic",
          "ABC9_EXE": "logic to look-up tables", "AUTONAME": "names"}
"""yosys' passes that take long, in words."""

PACKAGES = "amaranth", "amaranth-boards"
SOURCES = Path(rtl.__file__).parent, Path(__file__).parent
"""Packages, and folders whose Python decides what a design is."""


@dataclass(frozen=True)
class Build:
    """What a build left in the cache.

    Parameters
    ----------
    board : Board
    seed : int
        Of place and route.
    cells : dict
        Cells of the netlist by type, for each block by its path ("" is the top, "?" cells of nobody).
    places : Path
        File of the block and the signal of each cell (netlist.places).
    report : dict or None
        nextpnr's figures, if it was placed and routed.
    bitstream : Path or None
    log : Path
        What the last tool said.
    """

    board: Board
    seed: int
    cells: dict[str, dict[str, int]]
    places: Path
    report: dict[str, Any] | None
    bitstream: Path | None
    log: Path


def build(board: Board, *, seed: int = 1, synthesis_only: bool = False, top: Callable[[], Any] | None = None,
          progress: Progress | None = None) -> Build:
    """Build a board's bitstream, or take from the cache what was built from the same.

    A netlist is found by the text of the design and the version of yosys; a bitstream by the netlist, the
    constraints, the options and the version of nextpnr. Place and route may miss the clock: the report says.

    Parameters
    ----------
    board : Board
    seed : int
        Where placing starts from: another seed, another result.
    synthesis_only : bool
        Stop at the netlist.
    top : callable or None
        Makes the design, an Elaboratable for the board's platform; the board's own if not given.
    progress : callable or None

    Raises
    ------
    ToolError
        If a tool is missing, fails or takes too long; with the end of what it said.
    """
    tell = progress or (lambda stage, text: None)
    if not synthesis_only:  # before minutes of synthesis
        for tool in _tools(board):
            tool.command()
    design = _elaborated(board, top, tell)
    netlist = _synthesised(board, design, tell)
    cells = json.loads((netlist / CELLS).read_text())
    if synthesis_only:
        return Build(board, seed, cells, netlist / PLACES, None, None, netlist / "yosys.log")
    routed = _routed(board, design, netlist, seed, tell)
    report = json.loads((routed / REPORT).read_text())
    return Build(board, seed, cells, netlist / PLACES, report, routed / board.bitstream,
                 routed / "nextpnr.log")


def _tools(board: Board) -> tuple[Tool, Tool]:
    """Place and route, and the packer."""
    return (TOOLS[f"nextpnr-{board.family}"], TOOLS["ecppack" if board.family == "ecp5" else "icepack"])


def _elaborated(board: Board, top: Callable[[], Any] | None, tell: Progress) -> Path:
    """A folder with the design as RTLIL, yosys' script, the pins, and how the other tools are called."""
    from .elaborate import plan_files

    def write(files: dict[str, str], folder: Path) -> None:
        for name, text in files.items():
            (folder / name).write_text(text)

    def make(folder: Path) -> None:
        tell("elaborate", "")
        write(plan_files(board, None), folder)

    if top is None:
        key = digest("board", repr(board), repr(board.fabric),
                     *(f"{name} {version(name)}" for name in PACKAGES),
                     *source_texts(*SOURCES))
        return cached("designs", key, make, tell)
    tell("elaborate", "")
    files = plan_files(board, top)  # no file of ours says what it is: only its text does
    key = digest("given", *(part for item in sorted(files.items()) for part in item))
    return cached("designs", key, partial(write, files), tell)


def _synthesised(board: Board, design: Path, tell: Progress) -> Path:
    """A folder with the netlist and the count of its cells."""

    def make(folder: Path) -> None:
        tell("synthesise", "")
        for name in (DESIGN, SCRIPT):
            shutil.copy(design / name, folder / name)

        def line(text: str) -> None:
            if (found := re.match(r"[\d.]+ Executing (\w+) pass", text)) and found[1] in PASSES:
                tell("synthesise", PASSES[found[1]])

        run([sys.executable, "-c", SYNTHESIS.code, SCRIPT], folder, what="yosys", seconds=SYNTHESIS_SECONDS,
            log="yosys.log", line=line)
        text = (folder / NETLIST).read_bytes()
        netlist = json.loads(text)
        where = places(netlist, TOP, origins((folder / DESIGN).read_text()))
        (folder / PLACES).write_text(json.dumps(where))
        (folder / CELLS).write_text(json.dumps(count_cells(netlist, TOP, where)))
        with gzip.open(folder / f"{NETLIST}.gz", "wb", compresslevel=3) as file:
            file.write(text)
        for name in (DESIGN, NETLIST):
            (folder / name).unlink()

    key = digest((design / DESIGN).read_bytes(), (design / SCRIPT).read_bytes(), _yosys())
    return cached("netlists", key, make, tell)


def _yosys() -> str:
    try:
        return SYNTHESIS.identity() + SYNTHESIS.code
    except ModuleNotFoundError as error:
        raise ToolError("yosys is not installed; type: pip install pyosys") from error


def _routed(board: Board, design: Path, netlist: Path, seed: int, tell: Progress) -> Path:
    """A folder with nextpnr's report and the bitstream."""
    place, pack = _tools(board)
    commands = json.loads((design / COMMANDS).read_text())
    options = [*commands[place.name], "--seed", str(seed), "--report", REPORT, "--timing-allow-fail",
               *board.place]
    constraints = CONSTRAINTS[board.family]
    packed = gzip.decompress((netlist / f"{NETLIST}.gz").read_bytes())

    def make(folder: Path) -> None:
        (folder / NETLIST).write_bytes(packed)
        shutil.copy(design / constraints, folder / constraints)
        tell("place", "")
        try:
            run([*place.command(), *options], folder, what=place.name, seconds=PLACE_SECONDS,
                log="nextpnr.log", line=_Following(tell))
        except ToolError as error:
            if too_much := _too_much((folder / "nextpnr.log").read_text()):
                raise ToolError(f"the design does not fit the chip of {board.name}: {too_much}") from error
            raise
        tell("pack", "")
        run([*pack.command(), *commands[pack.name]], folder, what=pack.name, seconds=PACK_SECONDS,
            log=f"{pack.name}.log", line=_Following(tell, "pack"))
        for name in (NETLIST, ROUTED[board.family]):
            (folder / name).unlink()

    key = digest(packed, (design / constraints).read_bytes(), *options, "|", *commands[pack.name],
                 place.identity(), pack.identity())
    return cached("bitstreams", key, make, tell)


def _too_much(log: str) -> str:
    """What nextpnr's table of the chip says there is too little of; "" if there is enough of all."""
    table = re.findall(r"^Info:\s+(\w+):\s+(\d+)/\s*(\d+)\s", log, re.MULTILINE)
    return ", ".join(f"{kind} {int(used):,} of {int(most):,}" for kind, used, most in table
                     if int(used) > int(most))


class _Following:
    """Tells from nextpnr's log how far it is."""

    PATTERNS: tuple[tuple[re.Pattern[str], str, Callable[[re.Match[str]], str]], ...] = (
        (re.compile(r"Preparing to run (\S+?)\."), "",
         lambda found: f"compiling {found[1]} for this machine, half a minute, only the first time"),
        (re.compile(r"Info: (Packing|Promoting|Constraining) (.*?)\.\."), "place",
         lambda found: f"{found[1].lower()} {found[2]}"),
        (re.compile(r"Info: Creating initial"), "place", lambda found: "first placement"),
        (re.compile(r"Info: +at iteration #(\d+), type (\S+):.*legal = (\d+)"), "place",
         lambda found: f"iteration {found[1]}, wires {int(found[3]):,}"),
        (re.compile(r"Info: +at iteration #(\d+): temp.*wirelen = (\d+)"), "place",
         lambda found: f"refinement {found[1]}, wires {int(found[2]):,}"),
        (re.compile(r"Info: Routing (\d+) arcs"), "route", lambda found: f"{int(found[1]):,} connections"),
        (re.compile(r"Info: +iter=(\d+) wires=\d+ overused=(\d+)"), "route",
         lambda found: f"iteration {found[1]}, {int(found[2]):,} wires used twice"),
        (re.compile(r"Info: +\d+ \|(?:[^|]*\|){2} +(\d+)\|"), "route",
         lambda found: f"{int(found[1]):,} connections left"),
    )

    def __init__(self, tell: Progress, stage: str = "place"):
        self._tell, self._stage = tell, stage

    def __call__(self, text: str) -> None:
        for pattern, stage, say in self.PATTERNS:
            if found := pattern.match(text):
                self._stage = stage or self._stage
                self._tell(self._stage, say(found))
                return

