"""The quick part of `make formal`: the proofs that take seconds, one mutant, and that the lists are whole."""
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
sys.path.append(str(FOLDER))

from harness import BLOCKS, verify  # noqa: E402
from proofs import PROOFS  # noqa: E402

QUICK = [proof for proof in PROOFS if proof.quick]


@pytest.mark.parametrize("proof", QUICK, ids=lambda proof: proof.name)
def test_proof_passes(proof, tmp_path):
    verdict = verify(proof, tmp_path)
    why = f"{verdict.failed or verdict.status} ({tmp_path}):\n{verdict.log[-2000:]}"
    assert verdict.status == "PASS", why


def test_a_mutant_fails_its_rule_and_the_rule_is_named(tmp_path):
    proof = next(proof for proof in PROOFS if proof.name == "queue")
    verdict = verify(proof, tmp_path, proof.mutants[0], trace=True)
    assert (verdict.status, verdict.failed) == ("FAIL", proof.mutants[0].rule)
    assert list(tmp_path.glob("proof/engine_0/*.vcd"))


def test_names_are_unique_and_every_rule_of_every_proof_has_a_mutant():
    assert len({proof.name for proof in PROOFS}) == len(PROOFS)
    for proof in PROOFS:
        assert proof.block in BLOCKS
        assert len({mutant.rule for mutant in proof.mutants}) == len(proof.mutants)
    said = subprocess.run([sys.executable, str(FOLDER / "run.py"), "--uncovered"], text=True, check=True,
                          stdout=subprocess.PIPE, timeout=300).stdout
    assert said == ""
