"""Breaks the gateware on purpose, one small edit at a time, and reports which tests notice.

    python tests/mutation/run.py                       120 mutants, spread over all blocks and kinds
    python tests/mutation/run.py --block dma --count 0  every mutant of one block
    python tests/mutation/run.py --id 3f9cfd1264 --show  what that mutant is
    python tests/mutation/run.py --report               the table of what is known so far

A mutant lives in a copy of the gateware; the tests run unchanged and import the copy. They stop at the first
that fails: the block's own tests first, then the wider suites. Results are kept in build/mutation, so that
an interrupted run goes on. The choice is the same for the same seed. Exit code 1 if fewer than 98 % are
killed, of those that can be built and are not equivalent to the original, or if a survivor is not explained
in tests/mutation/survivors.toml.
"""
import argparse
import difflib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

sys.path.append(str(Path(__file__).parents[1]))
from mutation.operators import KINDS, Mutant, mutants_of  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "mutation"
STORE = BUILD / "results.json"
EXPLAINED = Path(__file__).with_name("survivors.toml")
GOAL = 0.98

NOT_GATEWARE = ("contract", "verilog.py", "signatures.py")
"""Pure Python and interfaces; what these get wrong is found by the tests of what they describe."""

OWN_TESTS = {
    "systolic": ["tests/rtl/systolic"],
    "primitives": ["tests/rtl/primitives", "tests/rtl/systolic/test_pe.py"],
    "feeder": ["tests/rtl/feeder"],
    "accumulate": ["tests/rtl/accumulate"],
    "memory": ["tests/rtl/memory", "tests/rtl/feeder/test_feeder.py"],  # which shares the address arithmetic
    "postprocess": ["tests/rtl/postprocess"],
    "dma": ["tests/rtl/dma"],
    "sequencer": ["tests/rtl/sequencer"],
    "link": ["tests/rtl/link"],
    "fabric": ["tests/rtl/test_fabric.py"],
    "front": ["tests/rtl/test_front.py"],
    "lean": ["tests/rtl/test_fabric.py"],
    "sdram": ["tests/rtl/sdram"],
    "flash": ["tests/rtl/flash"],
}
"""Of each folder of the gateware, the tests that should notice."""

SHARP = {
    "systolic": "shape2 or drops or test_pe or test_skew or test_weights",
    "primitives": "primitives",
    "feeder": "latencies or (programs and shape3) or (fir_passes and 3-2-3-1) or credits",
    "accumulate": "0-3-5 or (any_distance and True-3) or stated_latency or 0.6-0.6-3-3",
    "memory": "not feeder",
    "postprocess": "(every_done and 3x5 and all) or states or short_instructions or stated_latency",
    "dma": "(random_programs and (3-5-8 or 4-4-16)) or states or (error_response and program0)",
    "sequencer": "(programs and 0) or (profile and 0) or (illegal and 7) or (bus_fault and 3-4) or fetch",
}
"""pytest's -k for the few tests of a block that notice most in the least time; they run first."""

WIDER = [["tests/rtl/test_fabric.py"], ["tests/formal"], ["tests/cosim"]]
"""Then these. End-to-end tests are left out: a fault that only a whole network shows is hard to find."""

DEPTHS = {"sharp": "the sharpest tests of the block", "own": "all of the block's tests too",
          "wide": "the fabric's, formal and cocotb suites too"}

PATIENCE = 600
"""Seconds that one call of pytest may take; a test that hangs has noticed."""


@dataclass
class Verdict:
    """What came of one mutant: killed (by a test, or a hang), survived, or stillborn (cannot be built)."""

    verdict: str
    by: str
    seconds: float
    depth: str


def every_mutant() -> list[Mutant]:
    rtl = ROOT / "rtl"
    paths = sorted(path.relative_to(rtl).as_posix() for path in rtl.rglob("*.py"))
    return [mutant for path in paths if not path.startswith(NOT_GATEWARE) for mutant in mutants_of(rtl, path)]


def sample(mutants: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """``count`` mutants (0: all), as many of each block and, within it, of each kind as there are.

    Each mutant has its own place in the draw, so that a change of one file leaves most of the others chosen.
    """
    def draw(*what: object) -> bytes:
        return hashlib.sha256(repr((seed, *what)).encode()).digest()

    piles: dict[str, dict[str, list[Mutant]]] = {}
    for mutant in mutants:
        piles.setdefault(mutant.block, {}).setdefault(mutant.kind, []).append(mutant)
    orders = []
    for block, kinds in sorted(piles.items()):
        for pile in kinds.values():
            pile.sort(key=lambda mutant: draw(mutant.id))
        order: list[Mutant] = []
        while any(kinds.values()):
            names = sorted((name for name in KINDS if kinds.get(name)),
                           key=lambda name: draw(block, len(order), name))
            order += [kinds[name].pop() for name in names]
        orders.append(order)
    # A block with ten times the places gets more mutants, but not ten times as many.
    shares = [len(order) ** 0.5 for order in orders]
    chosen: list[Mutant] = []
    taken = [0] * len(orders)
    total = len(mutants) if count == 0 else min(count, len(mutants))
    while len(chosen) < total:
        left = [i for i, order in enumerate(orders) if taken[i] < len(order)]
        least = min(left, key=lambda i: (taken[i] + 1) / shares[i])
        chosen.append(orders[least][taken[least]])
        taken[least] += 1
    return chosen


class Workshop:
    """A copy of the package, laid out as installed, in which one file at a time is broken."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._package = folder / "celosia"
        self._package.mkdir(parents=True)
        for part in (ROOT / "celosia").iterdir():
            if part.name != "__pycache__":
                (self._package / part.name).symlink_to(part)
        for room in ("host", "sim", "boards"):
            (self._package / room).symlink_to(ROOT / room)
        shutil.copytree(ROOT / "rtl", self._package / "rtl", ignore=shutil.ignore_patterns("__pycache__"))
        self._folder = folder
        # The safe path keeps the checkout itself, where pytest runs, from being found before the copy.
        self._environment = os.environ | {
            "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1", "PYTHONPYCACHEPREFIX": str(folder / "pycache"),
            "CELOSIA_CACHE": str(folder / "cache"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # half the start
        }
        self._written = int(time.time())

    def _write(self, path: Path, text: bytes) -> None:
        """Python takes a compiled file for current if the time of its source is the same, in seconds."""
        path.write_bytes(text)
        self._written += 1
        os.utime(path, (self._written, self._written))

    def judge(self, mutant: Mutant, depth: str) -> Verdict:
        path = self._package / "rtl" / mutant.path
        text = path.read_bytes()
        started = time.monotonic()
        own = OWN_TESTS[mutant.block]
        calls = [own]
        if mutant.block in SHARP:
            calls.insert(0, [*own, "-k", SHARP[mutant.block]])
            if depth == "sharp":
                calls.pop()
        if depth == "wide":
            calls += [tests for tests in WIDER if (ROOT / tests[0]).exists()]
        verdict, by = "survived", ""
        try:
            self._write(path, mutant.apply(text))
            for tests in calls:
                verdict, by = self.test(tests)
                if verdict != "survived":
                    break
        finally:
            self._write(path, text)
        unread = verdict == "killed" and "::" not in by and "(hangs)" not in by
        if unread and self.test([*own, "--collect-only"])[0] != "survived":
            raise SystemExit(f"pytest cannot read {by}, whatever is broken: no mutant can be judged")
        return Verdict(verdict, by, round(time.monotonic() - started, 1), depth)

    def test(self, tests: list[str]) -> tuple[str, str]:
        """Runs tests on the copy as it is: the verdict and the test that gave it."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=short", "-p", "no:cacheprovider",
                   f"--basetemp={self._folder / 'pytest'}", *tests]
        with subprocess.Popen(command, cwd=ROOT, env=self._environment, text=True, start_new_session=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            try:
                output, _ = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                return "killed", f"{' '.join(tests)} (hangs)"
        if process.returncode in (0, 5):
            return "survived", ""
        failed = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
        by = failed[1] if failed else " ".join(tests)
        # Amaranth itself refuses it: no test had to notice.
        refused = re.search(r"^\S+: in elaborate$", output, re.MULTILINE) or "DriverConflict" in output
        return ("stillborn" if refused else "killed"), by


def digest(mutant: Mutant) -> str:
    """Of the broken file: a result counts until the file changes."""
    return hashlib.sha256(mutant.apply((ROOT / "rtl" / mutant.path).read_bytes())).hexdigest()[:16]


def explanations() -> dict[str, dict[str, str]]:
    """Of the survivors that no test can or need notice: by the mutant's id, ``reason``, and ``equivalent`` if
    no input tells it from the original."""
    with EXPLAINED.open("rb") as file:
        return {entry["id"]: entry for entry in tomllib.load(file).get("survivor", [])}


COLUMNS = ("mutants", "stillborn", "equivalent", "killed", "explained", "survived")


def current(results: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """The results of mutants that still are what they were."""
    return {mutant.id: results[mutant.id] for mutant in every_mutant()
            if mutant.id in results and results[mutant.id]["digest"] == digest(mutant)}


def column_of(identity: str, result: dict[str, str], known: dict[str, dict[str, str]]) -> str:
    """The verdict; of a survivor, what is known of it."""
    if result["verdict"] != "survived":
        return result["verdict"]
    entry = known.get(identity)
    return "survived" if not entry else "equivalent" if entry.get("equivalent") else "explained"


def counts(results: dict[str, dict[str, str]], known: dict[str, dict[str, str]]) -> dict[str, dict[str, int]]:
    """Of each block, and of all: how many mutants are in each of COLUMNS."""
    rows: dict[str, dict[str, int]] = {}
    for identity, result in results.items():
        for name in (result["block"], "all"):
            row = rows.setdefault(name, dict.fromkeys(COLUMNS, 0))
            row["mutants"] += 1
            row[column_of(identity, result, known)] += 1
    return dict(sorted(rows.items(), key=lambda row: (row[0] == "all", row[0])))


def report(results: dict[str, dict[str, str]], known: dict[str, dict[str, str]]) -> tuple[str, bool]:
    """The table of results per block, the survivors, and whether all is well."""
    rows = counts(results, known)
    lines = ["| block | " + " | ".join(COLUMNS) + " | killed of those that are wrong |", "|---" * 8 + "|"]
    killed = 1.0
    for name, row in rows.items():
        wrong = row["mutants"] - row["stillborn"] - row["equivalent"]
        killed = row["killed"] / wrong if wrong else 1.0
        lines.append(f"| {name} | " + " | ".join(map(str, row.values())) + f" | {killed:.1%} |")
    for identity, result in results.items():
        if result["verdict"] == "survived":
            reason = known.get(identity, {}).get("reason", "NOT EXPLAINED")
            lines += ["", f"{identity} {result['what']}", f"    {reason}"]
    well = bool(rows) and killed >= GOAL and not rows["all"]["survived"]  # the last row is of all
    return "\n".join(lines), well


def show(mutant: Mutant) -> str:
    text = (ROOT / "rtl" / mutant.path).read_bytes()
    lines = [part.decode().splitlines(keepends=True) for part in (text, mutant.apply(text))]
    return "".join(difflib.unified_diff(*lines, f"rtl/{mutant.path}", mutant.id))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=120, help="mutants, 0 for every one (default 120)")
    parser.add_argument("--seed", type=int, default=1, help="of the choice (default 1)")
    parser.add_argument("--block", action="append", help=f"only these: {', '.join(OWN_TESTS)}")
    parser.add_argument("--id", action="append", help="only these mutants")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at the same time (default 1)")
    parser.add_argument("--again", choices=("survived", "all"), help="do not trust these earlier results")
    parser.add_argument("--depth", choices=DEPTHS, default="wide", help="which tests; default wide. " +
                        "; ".join(f"{name}: {what}" for name, what in DEPTHS.items()))
    parser.add_argument("--show", action="store_true", help="print the edits and stop")
    parser.add_argument("--report", action="store_true", help="print what is known so far and stop")
    options = parser.parse_args()

    mutants = every_mutant()
    if options.block:
        mutants = [mutant for mutant in mutants if mutant.block in options.block]
    if options.id:
        mutants = [mutant for mutant in mutants if mutant.id in options.id]
    mutants = sample(mutants, 0 if options.id else options.count, options.seed)
    if options.show:
        print("\n".join(show(mutant) for mutant in mutants))
        return 0

    BUILD.mkdir(parents=True, exist_ok=True)
    results = json.loads(STORE.read_text()) if STORE.exists() else {}
    of_interest = {mutant.id: digest(mutant) for mutant in mutants}
    valid = {i: r for i, r in results.items() if of_interest.get(i) == r["digest"]}
    if not options.report:
        order = list(DEPTHS)
        equivalent = {i for i, entry in explanations().items() if entry.get("equivalent")}
        kept = {i for i, r in valid.items()  # no test can notice an equivalent one, however many run
                if options.again != "all" and r["verdict"] != options.again
                and (r["verdict"] != "survived" or i in equivalent
                     or order.index(r["depth"]) >= order.index(options.depth))}
        workshops: Queue[Workshop] = Queue()
        for job in range(options.jobs):
            workshops.put(Workshop(BUILD / f"workshop_{job}"))

        def judge(mutant: Mutant) -> None:
            workshop = workshops.get()
            try:
                verdict = workshop.judge(mutant, options.depth)
            finally:
                workshops.put(workshop)
            valid[mutant.id] = results[mutant.id] = {
                "block": mutant.block, "kind": mutant.kind, "what": str(mutant),
                "digest": of_interest[mutant.id], **vars(verdict)}
            STORE.write_text(json.dumps(results, indent=1) + "\n")
            print(f"{verdict.seconds:6.1f} s  {mutant.id} {verdict.verdict:9} {mutant}  {verdict.by}",
                  flush=True)

        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(judge, [mutant for mutant in mutants if mutant.id not in kept]))
    table, well = report(valid, explanations())
    print(table)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
