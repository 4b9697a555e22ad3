"""Writes the RTLIL of one proof: NAME FILE [MUTANT]. In a process of its own: a mutant comes in on import."""
import json
import sys
from pathlib import Path

from harness import Mutant, plant


def main(name: str, file: str, mutant: str = "") -> None:
    planted = Mutant(**json.loads(mutant)) if mutant else None
    finder = plant(planted) if planted else None

    from amaranth.back import rtlil
    from proofs import PROOFS

    proof = next(proof for proof in PROOFS if proof.name == name)
    bench = proof.make(planted.rule if planted else None)
    text = rtlil.convert(bench, name="top", ports=[bench.domain.clk])
    if planted and (not finder.used or planted.rule not in bench.names):
        raise ValueError(f"{planted} changes nothing, or {name} has no such rule: {bench.names}")
    Path(file).write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
