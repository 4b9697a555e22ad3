"""A fixed handful of the NNEF fuzzer's mutants, and proof that it notices what an importer lets through."""
import numpy as np
import pytest
from celosia.rtl.contract.errors import GraphError

pytest.importorskip("nnef")
from fuzz import fuzz_nnef  # noqa: E402

COUNT = 300


def test_mutants_give_typed_errors_or_graphs_that_run():
    models = fuzz_nnef.seeds()
    outcomes = [fuzz_nnef.check(fuzz_nnef.mutant(np.random.default_rng([0, number]), models))
                for number in range(COUNT)]
    assert {"imported", "ModelError", "UnsupportedError"} == set(outcomes)  # shallow and deep damage


def test_seeds_are_sound():
    assert {fuzz_nnef.check(model) for model in fuzz_nnef.seeds()} == {"imported"}


def test_the_check_fails_on_any_other_error(monkeypatch):
    def raises(*_):
        raise IndexError("list index out of range")

    monkeypatch.setattr(fuzz_nnef, "load_files", raises)
    with pytest.raises(IndexError):
        fuzz_nnef.check({})


def test_the_check_fails_on_a_graph_that_does_not_verify(monkeypatch):
    def raises(_):
        raise GraphError("some rule")

    monkeypatch.setattr(fuzz_nnef, "verify", raises)
    with pytest.raises(GraphError):
        fuzz_nnef.check(fuzz_nnef.by_hand())
