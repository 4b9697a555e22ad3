"""The onnx package's own tests of single operators, through ``celosia.onnx_backend``."""
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import cache

import numpy as np
import onnx
from celosia.rtl.contract.errors import UnsupportedError
from onnx import numpy_helper
from onnx.backend.test.case.test_case import TestCase as Case
from onnx.backend.test.runner import Runner

from celosia.onnx_backend import CelosiaBackend

FABRIC = "tiny"
QUANTISED = re.compile("quantize|qlinear|convinteger|matmulinteger")
EXPANDED = re.compile("_expanded(_.*)?$")
"""A case whose operator is written out as others."""
MICROSOFT = "com.microsoft"

REASONS = {
    "type": r"has type|is no tensor",
    "no elements": r"has shape \[.*\b0\b.*\]; supported",
    "more than 8 dimensions": r"has shape \[.*\]; supported",
    "before opset 10": r"is of opset",
    "a graph inside": r"holds a graph of its own",
    "random": r"has results that differ",
    "no list of tensors": r"no tensor of known rank|no tensor but",
    "domain": r"of domain|imports no standard operators",
    "no kernel": r"does not take|the onnx package has no kernel|cannot be run|the kernel stopped",
}
"""Why cases are refused, in a word, and what the refusal says."""


@cache
def cases() -> dict[str, Case]:
    """All of them, by name. Making them takes some seconds."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # operators at the ends of their ranges
        return {case.name: case for case in collect_testcases(None)}


def operators() -> dict[str, list[str]]:
    """Names of the cases of each operator, "domain::" before those that are not standard."""
    found: dict[str, list[str]] = {}
    for name, case in cases().items():
        base = cases().get(EXPANDED.sub("", name), case)
        found.setdefault(_operator(base), []).append(name)
    return dict(sorted(found.items()))


def _operator(case: Case) -> str:
    """What a case tests: its only operator, or else the one that its name begins with."""
    nodes = [node for node in case.model.graph.node if node.op_type != "Constant"] or case.model.graph.node
    kinds = {(node.domain, node.op_type) for node in nodes}
    if len(kinds) > 1:
        flat = case.name.removeprefix("test_").replace("_", "")
        named = [kind for kind in kinds if flat.startswith(kind[1].lower())]
        last = nodes[-1].domain, nodes[-1].op_type
        kinds = {max(named, key=lambda kind: len(kind[1]), default=last)}
    ((domain, operator),) = kinds
    return operator if domain in ("", "ai.onnx") else f"{domain}::{operator}"


def run(case: Case) -> str:
    """ "passed", or why the case is refused, as in ``REASONS``.

    Raises AssertionError where the outputs are others than the case's, and any error that is no refusal.
    """
    try:
        for inputs, outputs in case.data_sets:
            made = CelosiaBackend.run_model(case.model, [_array(value) for value in inputs], fabric=FABRIC)
            Runner.assert_similar_outputs([_array(value) for value in outputs], made, case.rtol, case.atol)
    except UnsupportedError as error:
        text = str(error)
        return next((reason for reason, pattern in REASONS.items() if re.search(pattern, text)), text)
    return "passed"


def _array(value):
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else \
        value if isinstance(value, list) or value is None else np.asarray(value)


def outcomes(names: list[str]) -> Iterator[tuple[str, str]]:
    """What comes of each case: as ``run``, or "wrong"."""
    for name in names:
        try:
            yield name, run(cases()[name])
        except AssertionError:
            yield name, "wrong"


def count(names: list[str]) -> dict[str, int]:
    """How often each outcome comes, in alphabetical order."""
    return dict(sorted(Counter(outcome for _, outcome in outcomes(names)).items()))
