"""The onnx package's own tests of single operators, all of them, through its own backend interface.

What becomes of each is recorded in docs/operators.json (``python docs/operators.py``), from which the list of
operators in docs/operators.md is made; what is claimed there is what happens here.
"""
import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from support import onnx_nodes

DOCS = Path(__file__).parents[2] / "docs"
PARTS = 12
RAN = ("passed", "wrong")


@pytest.fixture(scope="module")
def recorded():
    held = json.loads((DOCS / "operators.json").read_text())
    if held["onnx"] != onnx.__version__:
        pytest.skip(f"recorded with onnx {held['onnx']}: python docs/operators.py")
    return held["operators"]


def test_every_quantised_case_passes():
    names = [name for name in onnx_nodes.cases() if onnx_nodes.QUANTISED.search(name)]
    assert len(names) >= 45
    assert {name: outcome for name, outcome in onnx_nodes.outcomes(names) if outcome != "passed"} == {}


@pytest.mark.parametrize("part", range(PARTS))
def test_cases_become_what_is_recorded(recorded, part):
    """A twelfth of the operators each, so that the parts run side by side."""
    operators = onnx_nodes.operators()
    assert set(operators) == set(recorded), "run: python docs/operators.py"
    for operator in list(operators)[part::PARTS]:
        found, wanted = onnx_nodes.count(operators[operator]), dict(recorded[operator])
        if "wrong" in wanted:  # how far ONNX Runtime's floats are off may hang on the processor
            found, wanted = ({reason: count for reason, count in outcomes.items() if reason not in RAN}
                             for outcomes in (found, wanted))
        assert found == wanted, operator


def test_refusals_have_a_reason_that_is_known(recorded):
    assert {reason for outcomes in recorded.values() for reason in outcomes} <= {
        "passed", "wrong", *onnx_nodes.REASONS}


def test_the_runner_notices_a_wrong_value_type_or_shape(monkeypatch):
    case = onnx_nodes.cases()["test_relu"]
    assert onnx_nodes.run(case) == "passed"
    for change in (lambda y: y + 0.01, lambda y: y.astype(np.float64), lambda y: y[None]):
        def wrong(*arguments, run=onnx_nodes.CelosiaBackend.run_model, change=change, **options):
            return [change(y) for y in run(*arguments, **options)]

        with monkeypatch.context() as patch, pytest.raises(AssertionError):
            patch.setattr(onnx_nodes.CelosiaBackend, "run_model", wrong)
            onnx_nodes.run(case)


def test_the_backend_tells_what_it_can():
    import celosia.onnx_backend as backend

    case = onnx_nodes.cases()["test_qlinearconv"]
    assert backend.supports_device("CPU") and not backend.supports_device("CUDA:0")
    assert backend.is_compatible(case.model)
    assert not backend.is_compatible(onnx_nodes.cases()["test_loop11"].model)
    prepared = backend.prepare(case.model, fabric="tiny")
    for _ in range(2):
        (y,) = prepared.run(case.data_sets[0][0])
        np.testing.assert_array_equal(y, case.data_sets[0][1][0])
    assert prepared.program.layers


@pytest.fixture(scope="module")
def operators():
    spec = importlib.util.spec_from_file_location("docs_operators", DOCS / "operators.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_list_of_operators_is_up_to_date(operators):
    assert (DOCS / "operators.md").read_text() == operators.page(), "run: python docs/operators.py --page"


def test_every_operator_with_a_rule_of_its_own_is_claimed(operators):
    found = operators.counts()
    for name in {*operators.NODES, *operators.FUSED, *operators.ELEMENTWISE} & set(found):
        assert operators.claimed(found[name]), name
