"""The tables of docs/verification.md, made from the results of the checks themselves.

    python tests/verification.py            writes the tables anew from docs/verification.json
    python tests/verification.py --record   first takes over the results that there are in build/

Results are: build/verification/*.xml (pytest --junitxml=..., of any tests), formal.json, lockstep.json and
coverage.json there, and build/mutation/results.json. A check without a result in build/ stays as it was
recorded. tests/docs/test_verification.py fails while the page and docs/verification.json differ.
"""
import argparse
import json
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))
from mutation import run as mutation  # noqa: E402
from support.results import FOLDER  # noqa: E402

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, SUMMARY = DOCS / "verification.md", DOCS / "verification.json"
Summary = dict[str, Any]


@dataclass(frozen=True)
class Block:
    """A row of the table: what it is called, and its name in each kind of results ("" where it has none).

    ``unit`` is a folder of tests/rtl ("fabric": the files beside them), and the block of the mutants;
    ``cocotb`` the test_..._cocotb.py; ``formal`` the block of the proofs; ``units`` those whose instructions
    make it work.
    """

    name: str
    unit: str
    cocotb: str = ""
    formal: str = ""
    units: tuple[str, ...] = ()


ALL = ("LOAD", "WEIGHTS", "STREAM", "POST", "STORE")
BLOCKS = (
    Block("array, skew, weights, rings", "systolic", "array", "array", ("WEIGHTS", "STREAM")),
    Block("feeder", "feeder", "feeder", "", ("WEIGHTS", "STREAM")),
    Block("accumulators, result FIFO", "accumulate", "accumulators", "accumulators", ("STREAM",)),
    Block("post-processing", "postprocess", "post", "", ("POST",)),
    Block("DMA", "dma", "dma", "dma", ("LOAD", "STORE")),
    Block("sequencer", "sequencer", "sequencer", "sequencer", ALL),
    Block("registers", "link", "", "registers"),
    Block("memories", "memory", "", "", ALL),
    Block("multipliers", "primitives", "", "", ("STREAM", "POST")),
    Block("whole fabric", "fabric", "fabric", "", ALL),
)


# -- From results to a summary -------------------------------------------------------------------------

def outcomes(folder: Path) -> dict[str, tuple[str, int]]:
    """By test: passed, failed or skipped, the cocotb tests that passed in it; the newest counts."""
    found: dict[str, tuple[str, int]] = {}
    for file in sorted(folder.glob("*.xml"), key=lambda path: path.stat().st_mtime):
        for case in ElementTree.parse(file).iter("testcase"):
            kinds = {child.tag for child in case}
            failed, skipped = kinds & {"failure", "error"}, "skipped" in kinds
            outcome = "failed" if failed else "skipped" if skipped else "passed"
            inside = sum(int(item.get("value", 0)) for item in case.iter("property")
                         if item.get("name") == "cocotb tests")
            found[f"{case.get('classname')}::{case.get('name')}"] = outcome, inside
    return found


def unit_tests(found: Mapping[str, tuple[str, int]]) -> Summary:
    """Of each folder of tests/rtl, how many passed, failed, and were skipped."""
    folders: dict[str, dict[str, int]] = {}
    for test, (outcome, _) in found.items():
        parts = test.split("::")[0].split(".")
        if parts[:2] == ["tests", "rtl"]:
            folder = parts[2] if len(parts) > 3 else "fabric"
            folders.setdefault(folder, {"passed": 0, "failed": 0, "skipped": 0})[outcome] += 1
    return folders


def cocotb_tests(found: Mapping[str, tuple[str, int]]) -> Summary:
    """Of each bench: its designs, its tests that passed on them, and the designs where one failed."""
    benches: dict[str, dict[str, int]] = {}
    for test, (outcome, inside) in found.items():
        parts = test.split("::")[0].split(".")
        if parts[:2] == ["tests", "cosim"] and outcome != "skipped":
            name = parts[2].removeprefix("test_").removesuffix("_cocotb")
            row = benches.setdefault(name, {"designs": 0, "tests": 0, "failed": 0})
            row["designs"] += bool(inside) or outcome == "failed"  # none passes on a design broken on purpose
            row["tests"] += inside
            row["failed"] += outcome == "failed"
    return benches


def formal(proofs: Iterable[Mapping[str, Any]]) -> Summary:
    """Of each block: rules proved, checked to a depth, failed, not run; broken designs, and those seen."""
    blocks: dict[str, dict[str, int]] = {}
    for proof in proofs:
        row = blocks.setdefault(proof["block"], dict.fromkeys(
            ("proved", "bounded", "failed", "not run", "mutants", "killed"), 0))
        kind = "proved" if proof["kind"].startswith("proved") else "bounded"
        column = {"PASS": kind, "not run": "not run"}.get(proof["status"], "failed")
        row[column] += len(proof["rules"])
        row["mutants"] += len(proof["mutants"])
        row["killed"] += sum(verdict == "killed" for verdict in proof["mutants"].values())
    return blocks


def results(before: Summary, folder: Path = FOLDER, mutants: Path = mutation.STORE) -> Summary:
    """A summary of the results in build/; of checks that left none, what was known before."""
    made = dict(before)
    found = outcomes(folder)
    for name, rows in (("unit", unit_tests(found)), ("cocotb", cocotb_tests(found))):
        if rows:
            made[name] = made.get(name, {}) | rows
    for name in ("formal", "lockstep", "coverage"):
        if (file := folder / f"{name}.json").exists():
            content = json.loads(file.read_text())
            made[name] = formal(content) if name == "formal" else content
    if mutants.exists():
        rows = mutation.counts(mutation.current(json.loads(mutants.read_text())), mutation.explanations())
        made["mutation"] = made.get("mutation", {}) | rows
    for kind in ("unit", "cocotb", "formal"):
        if unknown := set(made.get(kind, ())) - {getattr(block, kind) for block in BLOCKS}:
            raise ValueError(f"no row of the table takes the {kind} results of {', '.join(sorted(unknown))}")
    return {name: made[name] for name in sorted(made)}


# -- From a summary to tables --------------------------------------------------------------------------

def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [tuple(head), *(tuple(row) for row in rows)]
    lines.insert(1, ("---",) * len(lines[0]))
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def bad(count: int, what: str) -> str:
    return f", **{count} {what}**" if count else ""


def blocks_table(summary: Summary) -> str:
    """Blocks by unit tests, cocotb, formal, lockstep and mutation."""
    def unit(block: Block) -> str:
        row = summary.get("unit", {}).get(block.unit)
        return f"{row['passed']} tests" + bad(row["failed"], "fail") if row else "–"

    def cocotb(block: Block) -> str:
        row = summary.get("cocotb", {}).get(block.cocotb)
        if not row:
            return "–" if block.cocotb else "in the fabric"
        designs = "1 design" if row["designs"] == 1 else f"{row['designs']} designs"
        return f"{row['tests']} tests, {designs}" + bad(row["failed"], "fail")

    def proofs(block: Block) -> str:
        row = summary.get("formal", {}).get(block.formal)
        if not row:
            return "–"
        parts = [f"{row[kind]} {word}" for kind, word in (
            ("proved", "proved"), ("bounded", "to a depth"), ("failed", "**fail**"),
            ("not run", "**not run**")) if row[kind]]
        return f"{', '.join(parts)}; {row['killed']}/{row['mutants']} broken designs seen"

    def lockstep(block: Block) -> str:
        rows = summary.get("lockstep", {}).get("units")
        if not rows or not block.units:
            return "–"
        count, covered, points = (sum(rows[unit][key] for unit in block.units)
                                  for key in ("instructions", "covered", "points"))
        return f"{count:,} instructions, {covered}/{points} points"

    def mutants(block: Block) -> str:
        row = summary.get("mutation", {}).get(block.unit)
        if not row:
            return "–"
        wrong = row["mutants"] - row["stillborn"] - row["equivalent"]
        return f"{row['killed']}/{wrong}" + bad(row["survived"], "survive")

    head = ("block", "unit", "cocotb", "formal: rules", "lockstep", "mutants killed")
    cells = unit, cocotb, proofs, lockstep, mutants
    return table(head, ((block.name, *(cell(block) for cell in cells)) for block in BLOCKS))


def figures(summary: Summary) -> str:
    """What the checks found over all blocks."""
    lines = []
    if found := summary.get("lockstep"):
        rows = found["units"].values()
        covered, points = (sum(row[key] for row in rows) for key in ("covered", "points"))
        lines.append(
            f"Lockstep on random fabrics: {found['instructions']:,} instructions on {len(found['fabrics'])} "
            f"fabrics ({', '.join(found['fabrics'])}), {found['comparisons']:,} comparisons of all memories, "
            f"{found['differences']} differences; {covered} of {points} points of the instruction set "
            f"({share(covered, points)}).")
    if found := summary.get("mutation", {}).get("all"):
        wrong = found["mutants"] - found["stillborn"] - found["equivalent"]
        lines.append(
            f"Mutation: {found['mutants']} mutants; {found['stillborn']} cannot be built, "
            f"{found['equivalent']} are equivalent to the original; of the other {wrong}, "
            f"{found['killed']} are killed ({share(found['killed'], wrong)}), "
            f"{found['explained']} survive with a reason, {found['survived']} without.")
    if found := summary.get("coverage"):
        parts = []
        if "gateware" in found:
            seen, every, moved, bits = found["gateware"]["all"]
            parts.append(f"{share(seen, every)} of the lines of the gateware and {share(moved, bits)} of the "
                         f"rises and falls of its bits under cocotb")
        if "host" in found:
            parts.append(f"{share(*found['host']['all'])} of the lines of the host's code by its own tests")
        lines.append(f"Coverage: {'; '.join(parts)}.")
    return "\n\n".join("* " + line for line in lines).replace("\n\n", "\n")


SECTIONS = {"blocks": blocks_table, "figures": figures}


def with_tables(page: str, summary: Summary) -> str:
    """The page, each section between its two marks made anew."""
    for name, make in SECTIONS.items():
        begin, end = f"<!-- {name}: made by tests/verification.py -->\n", f"\n<!-- end of {name} -->"
        head, _, rest = page.partition(begin)
        _, found, tail = rest.partition(end)
        if not found:
            raise ValueError(f"the page has no marks {begin.strip()} and {end.strip()}")
        page = head + begin + make(summary) + end + tail
    return page


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="take over the results in build/")
    summary = json.loads(SUMMARY.read_text()) if SUMMARY.exists() else {}
    if parser.parse_args().record:
        summary = results(summary)
        SUMMARY.write_text(json.dumps(summary, indent=1) + "\n")
    PAGE.write_text(with_tables(PAGE.read_text(), summary))
    print(blocks_table(summary), figures(summary), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
