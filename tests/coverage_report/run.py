"""Coverage in one report: lines and toggles of the gateware under cocotb, lines of the host code.

    python tests/coverage_report/run.py                                    both, to build/coverage
    python tests/coverage_report/run.py --gateware tests/cosim -k 3x5      the rest is for pytest
    python tests/coverage_report/run.py --host tests/host tests/cli

Gateware: Verilator counts, in every model that a cocotb test builds, how often each line of the exported
Verilog ran and each bit of each signal rose or fell. A line or bit counts as covered if it is in any of the
models; a block is a module below the fabric, or the top of a bench. Host: the `coverage` package, of the
folders celosia, host, sim and rtl/contract. build/coverage/report.txt has the tables, gateware.txt the bits
that never toggled, host/index.html each line; the totals go to docs/verification.md.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from celosia.rtl.verilog import MODULE

sys.path.append(str(Path(__file__).parents[1]))
from coverage_report.counting import DATA  # noqa: E402
from support.results import FOLDER, record  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "coverage"
HOST = "celosia", "host", "sim", "rtl/contract"

Point = tuple[str, str, str]
"""(module, kind, what): kind is line or toggle, what a line number or a signal's bit and direction."""


def points(text: str) -> Iterable[tuple[Point, int]]:
    """Of one file of Verilator's counts: each place, and how often it was seen. Wires that Yosys made when it
    wrote the Verilog are left out: they have no name."""
    for line in text.splitlines():
        if not line.startswith("C '"):
            continue
        body, _, count = line[3:].rpartition("' ")
        held = dict(field.split("\x02", 1) for field in body.split("\x01") if "\x02" in field)
        page, _, module = held["page"].partition("/")
        kind = {"v_line": "line", "v_branch": "line", "v_toggle": "toggle"}.get(page)
        if kind == "line":
            yield (module, kind, f"{held['l']}.{held.get('n', '0')} {held['o']}"), int(count)
        elif kind == "toggle" and not re.match(r"__0[0-9]", held["o"]):
            yield (module, kind, held["o"]), int(count)


def block_of(module: str, test: str) -> str:
    """The block that a module belongs to: celosia_fabric.feeder.stream is of the feeder; what a bench of a
    single block builds has the name of its test."""
    parts = module.split(".")
    if parts[0] != MODULE:
        return test
    return parts[1] if len(parts) > 1 else "fabric"


@dataclass
class Counts:
    """Of gateware: by block and for all, lines that ran, lines, bits' rises and falls seen, and all of these;
    and the bits without one."""

    rows: dict[str, list[int]]
    silent: dict[str, list[str]]

    def table(self) -> str:
        lines = [f"{'gateware':<36}{'lines':>14}{'':>11}{'bits that rise, and fall':>28}"]
        for name, (seen, every, moved, bits) in self.rows.items():
            lines.append(f"{name:<36}{seen:>8}/{every:<7}{share(seen, every):>9}{moved:>11}/{bits:<9}"
                         f"{share(moved, bits):>8}")
        return "\n".join(lines)

    def missing(self) -> str:
        return "\n".join(f"{module}: {' '.join(sorted(bits))}"
                         for module, bits in sorted(self.silent.items()))


def gateware(folder: Path) -> Counts:
    """All counts in a folder."""
    counts: dict[tuple[str, Point], int] = {}
    for file in sorted(folder.glob("*.dat")):
        test = re.sub(r"\d*$", "", file.name.split("-")[0])
        for (module, kind, what), count in points(file.read_text()):
            block = block_of(module, test)
            # Another fabric's module has other lines, but the same signals.
            place = (block, (module if kind == "toggle" else f"{file.name} {module}", kind, what))
            counts[place] = counts.get(place, 0) + count
    rows: dict[str, list[int]] = {}
    silent: dict[str, list[str]] = {}
    for (block, (module, kind, what)), count in counts.items():
        for name in (block, "all"):
            row = rows.setdefault(name, [0] * 4)
            column = 0 if kind == "line" else 2
            row[column] += count > 0
            row[column + 1] += 1
        if kind == "toggle" and not count:
            silent.setdefault(f"{block} {module}", []).append(what)
    return Counts(dict(sorted(rows.items(), key=lambda row: (row[0] == "all", row[0]))), silent)


def host(kept: str) -> tuple[str, dict[str, list[int]]]:
    """The table of a data file of `coverage`; of each file and all, lines that ran and lines."""
    coverage = [sys.executable, "-m", "coverage"]
    subprocess.run([*coverage, "html", "-q", kept, "-d", str(BUILD / "host")], cwd=ROOT, check=True)
    subprocess.run([*coverage, "json", "-q", kept, "-o", str(BUILD / "host.json")], cwd=ROOT, check=True)
    table = subprocess.run([*coverage, "report", kept], cwd=ROOT, text=True, capture_output=True,
                           check=True).stdout
    found = json.loads((BUILD / "host.json").read_text())
    totals = {name: file["summary"] for name, file in found["files"].items()} | {"all": found["totals"]}
    return table, {name: [total["covered_lines"], total["num_statements"]] for name, total in totals.items()}


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def call_pytest(arguments: list[str], command: list[str], **environment: str) -> int:
    return subprocess.run([*command, "-m", "pytest", "-q", *arguments], cwd=ROOT,
                          env=os.environ | environment).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateware", action="store_true", help="only this half")
    parser.add_argument("--host", action="store_true", help="only this half")
    options, tests = parser.parse_known_args()
    both = options.gateware == options.host
    BUILD.mkdir(parents=True, exist_ok=True)
    tables, figures, code = [], {}, 0
    if both or options.gateware:
        data = BUILD / "verilator"
        shutil.rmtree(data, ignore_errors=True)
        path = os.pathsep.join([str(ROOT / "tests" / "coverage_report"), os.environ.get("PYTHONPATH", "")])
        kept = ["-o", "junit_family=xunit1", f"--junitxml={FOLDER / 'cocotb.xml'}"]  # they count as any run
        code |= call_pytest(["-p", "counting", *kept, *(tests or ["tests/cosim"])], [sys.executable],
                            PYTHONPATH=path, **{DATA: str(data)})
        counts = gateware(data)
        tables.append(counts.table())
        figures["gateware"] = counts.rows
        (BUILD / "gateware.txt").write_text(counts.missing() + "\n")
    if both or options.host:
        kept = f"--data-file={BUILD / 'host.dat'}"
        code |= call_pytest(tests if options.host and tests else ["tests/host", "tests/cli"],
                            [sys.executable, "-m", "coverage", "run", kept, f"--source={','.join(HOST)}"])
        table, files = host(kept)
        tables.append(table)
        figures["host"] = {"all": files["all"]}
    text = "\n\n".join(tables) + "\n"
    (BUILD / "report.txt").write_text(text)
    print(text)
    if not tests:  # of a part of the tests they would say nothing
        file = FOLDER / "coverage.json"
        record("coverage", (json.loads(file.read_text()) if file.exists() else {}) | figures)
    return code


if __name__ == "__main__":
    sys.exit(main())
