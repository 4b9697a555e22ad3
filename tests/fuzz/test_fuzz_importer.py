"""A fixed handful of the fuzzer's mutants, and that it notices an importer that lets something through."""
import numpy as np
import pytest
from celosia.rtl.contract.errors import GraphError
from fuzz import fuzz_importer

COUNT = 200


def test_mutants_give_typed_errors_or_graphs_that_run():
    specs = fuzz_importer.seeds()
    outcomes = []
    for number in range(COUNT):
        rng = np.random.default_rng([0, number])
        outcomes.append(fuzz_importer.check(fuzz_importer.mutant(rng, specs)))
    assert {"imported", "ModelError", "UnsupportedError"} == set(outcomes)  # shallow and deep damage


def test_seeds_are_sound():
    assert {fuzz_importer.check(spec.build()) for spec in fuzz_importer.seeds()} == {"imported"}


def test_the_check_fails_on_any_other_error(monkeypatch):
    def raises(*_):
        raise IndexError("list index out of range")

    monkeypatch.setattr(fuzz_importer, "load_tflite", raises)
    with pytest.raises(IndexError):
        fuzz_importer.check(b"")


def test_the_check_fails_on_a_graph_that_does_not_verify(monkeypatch):
    def raises(_):
        raise GraphError("some rule")

    monkeypatch.setattr(fuzz_importer, "verify", raises)
    with pytest.raises(GraphError):
        fuzz_importer.check(fuzz_importer.chain().build())
