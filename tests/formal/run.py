"""Runs the proofs, or their mutants, prints a table and keeps the results.

``run.py [--mutants] [--quick] [--jobs N] [--json FILE] [NAME ...]``

FILE is a list of objects, one for each proof: ``proof``, ``block``, ``claim``, ``rules`` (names), ``kind``
("proved ..." or "bounded, N cycles"), ``status`` ("PASS" if all rules hold), ``seconds``, and ``mutants``:
what became of the mutant of each rule, "killed" if the rule failed as it must. A run changes what it ran and
leaves the rest, so that proofs and mutants may be run apart.
"""
import argparse
import json
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import Mutant, Proof, Verdict, verify
from proofs import PROOFS

RESULTS = Path(__file__).resolve().parents[2] / "build" / "verification" / "formal.json"


class Results:
    """The results of all proofs in a file, which is up to date after each of them."""

    def __init__(self, file: Path):
        self._file = file
        before = {item["proof"]: item for item in json.loads(file.read_text())} if file.exists() else {}
        self._items = {}
        for proof in PROOFS:
            rules = proof.make(None).names
            old = before.get(proof.name, {})
            mutants = {mutant.rule for mutant in proof.mutants}
            self._items[proof.name] = {
                "proof": proof.name, "block": proof.block, "claim": proof.claim, "rules": rules,
                "kind": proof.kind, "status": old.get("status", "not run"), "seconds": old.get("seconds", 0),
                "mutants": {rule: old.get("mutants", {}).get(rule, "not run") for rule in sorted(mutants)}}

    def seconds(self, proof: Proof) -> float:
        """How long it took when it last ran."""
        return self._items[proof.name]["seconds"]

    def add(self, proof: Proof, mutant: Mutant | None, verdict: Verdict) -> None:
        item = self._items[proof.name]
        if mutant is None:
            item["status"], item["seconds"] = verdict.status, round(verdict.seconds, 1)
        else:
            item["mutants"][mutant.rule] = {"FAIL": "killed", "PASS": "survived"}.get(
                verdict.status, verdict.status)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(list(self._items.values()), indent=1) + "\n")


def uncovered() -> None:
    """Print each rule that has no mutant in any proof; rules of the same name are the same rule."""
    covered = {mutant.rule for proof in PROOFS for mutant in proof.mutants}
    for proof in PROOFS:
        for name in proof.make(None).names:
            if name not in covered:
                print(f"{proof.name}: {name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="proofs to run; all if none is named")
    parser.add_argument("--mutants", action="store_true", help="their mutants instead: each fails its rule")
    parser.add_argument("--all", action="store_true", help="the proofs and their mutants")
    parser.add_argument("--quick", action="store_true", help="only the proofs that `make test` runs")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument("--keep", type=Path, help="folder for the files of each run; else a temporary one")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the results are kept (%(default)s)")
    parser.add_argument("--uncovered", action="store_true", help="only list the rules that no mutant fails")
    given = parser.parse_args()
    if given.uncovered:
        uncovered()
        return 0
    known = {proof.name: proof for proof in PROOFS}
    if unknown := set(given.names) - set(known):
        parser.error(f"no proof is named {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    results = Results(given.json)
    chosen = [proof for proof in PROOFS
              if (not given.names or proof.name in given.names) and (proof.quick or not given.quick)]
    chosen.sort(key=results.seconds, reverse=True)  # the long ones first, so that the jobs end together
    tasks: list[tuple[Proof, Mutant | None]] = []
    for proof in chosen:
        tasks += [] if given.mutants else [(proof, None)]
        tasks += [(proof, mutant) for mutant in proof.mutants] if given.mutants or given.all else []

    started = time.monotonic()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="formal-"))
    wrong = 0

    def run(numbered) -> Verdict:
        number, (proof, mutant) = numbered
        return verify(proof, folder / (proof.name if mutant is None else f"{proof.name}-{number}"), mutant)

    with ThreadPoolExecutor(given.jobs) as pool:
        for (proof, mutant), verdict in zip(tasks, pool.map(run, enumerate(tasks)), strict=True):
            results.add(proof, mutant, verdict)
            good = verdict.status == ("PASS" if mutant is None else "FAIL")
            wrong += not good
            what = proof.claim if mutant is None else f"mutant: {mutant.rule}"
            said = {"PASS": proof.kind, "FAIL": "fails"}.get(verdict.status, verdict.status)
            mark = "ok " if good else "BAD"
            print(f"{mark} {proof.name:<20} {what:<62} {said:<20} {verdict.seconds:5.0f} s"
                  f"  {verdict.failed if not good else ''}", flush=True)
    print(f"{len(tasks)} runs, {wrong} wrong, {time.monotonic() - started:.0f} s")
    if wrong:
        print(f"traces: {folder}")
    elif not given.keep:
        shutil.rmtree(folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
