"""What a build came to: cells of each block, clock, critical path, and whether that is what was accepted."""
import json
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..rtl.contract.errors import ToolError
from .build import Build
from .netlist import UNKNOWN, Places

BUDGETS = Path(__file__).with_name("budgets.toml")

RESOURCES = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "ram": "RAM", "spram": "SPRAM"}
"""What a netlist is counted in, by the name in budgets.toml."""
CELLS: tuple[tuple[str, str, int], ...] = (
    (r"LUT4|SB_LUT4", "lut", 1),
    (r"CCU2C", "lut", 2),
    (r"TRELLIS_DPR16X4", "lut", 4),
    (r"TRELLIS_FF|SB_DFF\w*", "ff", 1),
    (r"MULT18X18D|SB_MAC16", "dsp", 1),
    (r"DP16KD|SB_RAM40_4K\w*", "ram", 1),
    (r"SB_SPRAM256KA", "spram", 1),
)
"""Cells, and how much of which resource one takes. Carries of the iCE40 have room beside their LUTs."""

LOGIC = {"ecp5": "TRELLIS_COMB", "ice40": "ICESTORM_LC"}
"""nextpnr's count of places for a LUT, or for a LUT with its register."""
LOGIC_WORDS = {"ecp5": "logic (TRELLIS_COMB)", "ice40": "logic cells"}

PACKED = re.compile(r"(_LC|\$\w+)$")
"""What nextpnr appends to a cell's name when it packs it."""
FABRIC, CORE = "fabric", "core"


class BudgetError(ToolError):
    """A build that worked and whose figures are not those that were accepted."""


@dataclass(frozen=True)
class Hop:
    """A stretch of the critical path within one block.

    Parameters
    ----------
    block : str
    signal : str
        The first one of ours on it.
    logic, routing : float
        Nanoseconds; the routing is that of the wires that begin here.
    """

    block: str
    signal: str
    logic: float
    routing: float


@dataclass(frozen=True)
class Report:
    """Figures of one build.

    Parameters
    ----------
    blocks : list of (str, dict)
        Resources by block, the largest first.
    totals : dict
        Resources of the whole netlist, by the keys of RESOURCES.
    used : dict
        nextpnr's count by kind of place: used, and how many the chip has. Empty without place and route.
    fmax : float or None
        MHz, of the board's clock.
    clock : float
        MHz, what the board runs at.
    path : list of Hop
        The critical path of that clock.
    """

    blocks: list[tuple[str, dict[str, int]]]
    totals: dict[str, int]
    used: dict[str, tuple[int, int]]
    fmax: float | None
    clock: float
    path: list[Hop]

    @property
    def speed(self) -> float:
        """MHz that can be counted on: the board's clock, or less if that is not met."""
        return self.clock if self.fmax is None else min(self.clock, self.fmax)


def make_report(built: Build) -> Report:
    """The figures of a build."""
    blocks: dict[str, Counter[str]] = {}
    for path, cells in built.cells.items():
        blocks.setdefault(shown(path), Counter()).update(resources(cells))
    ordered = sorted(blocks.items(), key=lambda item: (-item[1]["lut"], -item[1]["ff"], item[0]))
    totals = sum(blocks.values(), Counter())
    placed: Mapping[str, Any] = built.report or {}
    used = {kind: (int(found["used"]), int(found["available"]))
            for kind, found in placed.get("utilization", {}).items()}
    clock = built.board.clock / 1e6
    name, fmax = _board_clock(placed, clock)
    return Report(blocks=[(block, dict(found)) for block, found in ordered if found],
                  totals={**dict.fromkeys(RESOURCES, 0), **totals}, used=used, fmax=fmax, clock=clock,
                  path=_critical_path(placed, name, built.places))


def resources(cells: Mapping[str, int]) -> Counter[str]:
    """What these cells take of each resource."""
    found: Counter[str] = Counter()
    for cell, count in cells.items():
        for pattern, resource, share in CELLS:
            if re.fullmatch(pattern, cell):
                found[resource] += share * count
    return found


def shown(path: str) -> str:
    """The block that a path of submodules is counted under: a part of the core, or a unit of the fabric."""
    parts = [part for part in path.split(".") if part]
    if not parts or parts[0] != CORE:
        return "?" if parts == ["?"] else "top"
    return ".".join(parts[1:3] if parts[1:2] == [FABRIC] else parts[1:2]) or CORE


def _board_clock(placed: Mapping[str, Any], clock: float) -> tuple[str, float | None]:
    """The clock that the board's is: the one that must run at that rate, else the one with least to spare."""
    clocks = placed.get("fmax", {})
    if not clocks:
        return "", None
    def spare(name: str) -> float:
        return float(clocks[name]["achieved"] / clocks[name]["constraint"])

    ours = [name for name, found in clocks.items() if abs(found["constraint"] / clock - 1) < 0.02]
    worst = min(ours or clocks, key=spare)
    return worst, float(clocks[worst]["achieved"])


def _critical_path(placed: Mapping[str, Any], clock: str, places: Path) -> list[Hop]:
    """The path in hops: what follows within one block is one of them."""
    paths = [found for found in placed.get("critical_paths", ())
             if found["from"].split()[-1] == clock and found["to"].split()[-1] == clock]
    if not paths:
        return []
    known = json.loads(places.read_text())
    hops: list[Hop] = []
    for step in paths[0]["path"]:
        block, signal = _place(known, step["from"]["cell"])
        block = inner(block) if block != UNKNOWN or not hops else hops[-1].block
        logic, routing = (0.0, step["delay"]) if step["type"] == "routing" else (step["delay"], 0.0)
        if hops and hops[-1].block == block:
            last = hops[-1]
            hops[-1] = Hop(block, last.signal or signal, last.logic + logic, last.routing + routing)
        else:
            hops.append(Hop(block, signal, logic, routing))
    return hops


def _place(known: Places, cell: str) -> tuple[str, str]:
    """Block and signal of a cell that nextpnr names."""
    while cell not in known:
        shorter = PACKED.sub("", cell)
        if shorter == cell:
            return UNKNOWN, ""
        cell = shorter
    block, signal = known[cell]
    return block, signal


def inner(path: str) -> str:
    """A path of submodules without what all of ours begin with."""
    for start in (f"{CORE}.{FABRIC}", CORE):
        if path == start or path.startswith(start + "."):
            return path[len(start) + 1:] or start.rpartition(".")[2]
    return path or "top"


def budget(board: str, file: Path | None = None) -> dict[str, float]:
    """What was accepted for a board: most of each resource, and ``fmax`` in MHz at least; {} if nothing was.

    Raises
    ------
    ToolError
        If the file holds something else.
    """
    source = file or BUDGETS
    found = tomllib.loads(source.read_text()).get(board, {})
    if unknown := sorted(set(found) - {*RESOURCES, "logic", "fmax"}):
        raise ToolError(f"{source}: [{board}] has {', '.join(unknown)}; "
                        f"it may have {', '.join(RESOURCES)}, logic and fmax")
    return {key: float(value) for key, value in found.items()}


def outside(report: Report, built: Build, limits: Mapping[str, float]) -> list[str]:
    """Each figure that was not accepted, in words; a clock that is not met always belongs to them."""
    said = []
    amounts: dict[str, float] = dict(report.totals)
    if (logic := report.used.get(LOGIC[built.board.family])) is not None:
        amounts["logic"] = logic[0]
    words = {**RESOURCES, "logic": LOGIC_WORDS[built.board.family]}
    for key, most in limits.items():
        if key != "fmax" and amounts.get(key, 0) > most:
            over = amounts[key] - most
            said.append(f"{words[key]} {amounts[key]:,.0f}, {over:,.0f} more than the accepted {most:,.0f}")
    if report.fmax is not None:
        for least, what in ((limits.get("fmax", 0.0), "accepted"), (report.clock, "board's clock,")):
            if report.fmax < least:
                said.append(f"Fmax {report.fmax:.1f} MHz, {least - report.fmax:.1f} below the {what} "
                            f"{least:.1f}{' MHz' if what != 'accepted' else ''}")
    return said


def check_budget(report: Report, built: Build, file: Path | None = None) -> None:
    """Refuse a build outside its board's budget.

    Raises
    ------
    BudgetError
        Says each figure and by how much.
    """
    limits = budget(built.board.name, file)
    if said := outside(report, built, limits):
        raise BudgetError(f"{built.board.name} is outside boards/budgets.toml: {'; '.join(said)}. Another "
                          "--seed may route better; a figure that is meant to change is changed in that file")
