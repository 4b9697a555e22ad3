"""A fixed handful of the ONNX fuzzer's mutants, and that it notices an importer that lets something
through."""
import numpy as np
import pytest
from celosia.rtl.contract.errors import GraphError
from fuzz import fuzz_onnx

COUNT = 200


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mutant.onnx"


def test_mutants_give_typed_errors_or_graphs_that_run(path):
    models = fuzz_onnx.seeds()
    outcomes = []
    for number in range(COUNT):
        rng = np.random.default_rng([0, number])
        outcomes.append(fuzz_onnx.check(fuzz_onnx.mutant(rng, models), path))
    assert {"imported", "ModelError", "UnsupportedError"} <= set(outcomes)  # shallow and deep damage


def test_seeds_are_sound(path):
    assert {fuzz_onnx.check(model.SerializeToString(), path) for model in fuzz_onnx.seeds()} == {"imported"}


def test_the_check_fails_on_any_other_error(monkeypatch, path):
    def raises(*_):
        raise IndexError("list index out of range")

    monkeypatch.setattr(fuzz_onnx, "load", raises)
    with pytest.raises(IndexError):
        fuzz_onnx.check(b"\x08", path)


def test_the_check_fails_on_a_graph_that_does_not_verify(monkeypatch, path):
    def raises(_):
        raise GraphError("some rule")

    monkeypatch.setattr(fuzz_onnx, "verify", raises)
    with pytest.raises(GraphError):
        fuzz_onnx.check(fuzz_onnx.seeds()[0].SerializeToString(), path)
