"""Which block of the design each cell of a flattened netlist belongs to."""
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

Places = dict[str, tuple[str, str]]
"""The path of submodules of each cell ("" is the top), and the signal that it is named after."""

UNKNOWN = "?"
ADDED = re.compile(
    r"_(LUT4|CCU2C|PFUMX|L6MUX21|TRELLIS_[A-Z0-9]+|DP16KD|MULT18X18D|SB_[A-Z0-9]+)_[A-Z0-9]+(_.*)?$")
"""What yosys appends when it names a wire or a cell after another."""

MODULE = re.compile(r"^module \\(\S+)")
WIRE = re.compile(r"^  wire .*?(?:(input|output) \d+ )?(?:signed )?(\\\S+)$")
CELL = re.compile(r"^  cell \\(\S+) ")
CONNECT = re.compile(r"^    connect (\\\S+) (.*)$")
NAME = re.compile(r"\\[^\s\[\]{}]+")


def origins(rtlil: str) -> dict[str, str]:
    """The block that drives a wire, for those whose name says another: by path and name of the wire.

    A wire has a name in every module that it passes, and a netlist keeps any of them. Amaranth makes a module
    for each instance and names it by its path, so the text of the design tells them apart.
    """
    module, target = "", ""
    modules: set[str] = set()
    inputs: set[tuple[str, str]] = set()
    outer: list[tuple[str, str, str, str]] = []
    for line in rtlil.splitlines():
        if found := MODULE.match(line):
            module = found[1]
            modules.add(module)
        elif found := WIRE.match(line):
            if found[1] == "input":
                inputs.add((module, found[2]))
        elif found := CELL.match(line):
            target = found[1]
        elif line.startswith("  cell "):
            target = ""
        elif target and (found := CONNECT.match(line)):
            outer += [(module, name, target, found[1]) for name in NAME.findall(found[2])]
    drivers: dict[tuple[str, str], tuple[str, str]] = {}
    for module, name, target, port in outer:
        if target in modules and (target, port) not in inputs:
            drivers.setdefault((module, name), (target, port))
    for module, name, target, port in outer:
        if target in modules and (target, port) in inputs:
            drivers.setdefault((target, port), (module, name))
    found_origins = {}
    for place in drivers:
        origin, seen = place, {place}
        while (origin := drivers.get(origin, origin)) not in seen:
            seen.add(origin)
        if origin != place:
            found_origins[_path(*place)] = origin[0].partition(".")[2]
    return found_origins


def _path(module: str, name: str) -> str:
    """A wire's name once all is flattened."""
    return ".".join(part for part in (module.partition(".")[2], name.removeprefix("\\")) if part)


def places(netlist: Mapping[str, Any], top: str, origin: Mapping[str, str]) -> Places:
    """Where each cell lies, by the wires that it drives; UNKNOWN if nothing there has a name of ours."""
    module = netlist["modules"][top]
    named: dict[int, tuple[int, str, str]] = {}
    for name, wire in module["netnames"].items():
        if name.startswith("$"):
            continue
        place = _place(name, origin)
        entry = place[0].count("."), *place
        for bit in wire["bits"]:
            if isinstance(bit, int) and (bit not in named or entry > named[bit]):
                named[bit] = entry
    found: Places = {}
    for cell, about in module["cells"].items():
        if about["type"].startswith("$"):  # a note of yosys
            continue
        ports = about["port_directions"]
        driven = [named[bit] for port, bits in about["connections"].items() if ports.get(port) != "input"
                  for bit in bits if bit in named]
        found[cell] = max(driven)[1:] if driven else _place(cell, origin)
    return found


def _place(name: str, origin: Mapping[str, str]) -> tuple[str, str]:
    if name.startswith("$"):
        return UNKNOWN, ""
    name = ADDED.sub("", name)
    path, _, signal = name.rpartition(".")
    return origin.get(name, path), signal


def count_cells(netlist: Mapping[str, Any], top: str, where: Places) -> dict[str, dict[str, int]]:
    """Cells by type for each block of ``where``."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    cells = netlist["modules"][top]["cells"]
    for name, (block, _) in where.items():
        counts[block][cells[name]["type"]] += 1
    return {block: dict(found) for block, found in sorted(counts.items())}
