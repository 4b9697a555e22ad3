"""Writes docs/operators.md: what is supported of each framework, and where it runs.

    python docs/operators.py            runs the onnx package's node tests first (a minute), then writes
    python docs/operators.py --page     writes the page anew from the counts in docs/operators.json

tests/onnx runs the same node tests, and fails while its counts, docs/operators.json, the importers and the
page differ.
"""
import argparse
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from celosia.host.graph.ir import Kind
from celosia.host.graph.verify import RULES as TYPES
from celosia.host.importers.onnx.convert import FUSED, NODES
from celosia.host.importers.onnx.groups import ELEMENTWISE, RESHAPES
from celosia.host.importers.onnx.model import OPSET_LEAST
from celosia.host.importers.tflite import HANDLERS, KINDS
from celosia.host.lower.lower import RULES
from celosia.host.lower.movement import lower_move
from celosia.host.reference.table import ELEMENTWISE as TABLES

HERE = Path(__file__).parent
COUNTS = HERE / "operators.json"
PAGE = HERE / "operators.md"
REMARK = "<!-- Written by docs/operators.py from the importers and docs/operators.json; run it again. -->\n"

INTRODUCTION = """\
Whatever the fabric lacks, or cannot compute exactly, the host computes with the framework's own kernel, so
every operator here gives the framework's own values bit for bit. *Where* says what the fabric can take:

* **fabric**: the array and what follows it, where the layer is proved exact; `celosia inspect` names the
  layers that are not, and why.
* **table**: functions of one byte, 256 bytes behind the layer that makes the operand, or in a pass of their
own.
* **copies**: values that only change their place, where that makes few regular parts.
* **nothing to do**: the bytes stay where they are.
* **host**: everything else.
"""

ONNX = """\
Supported are opsets {least} to {newest}, tensors of up to 8 dimensions, none of them 0, and networks without
control flow whose shapes do not depend on values. Float operators are the fabric's where DequantizeLinear
stands before and QuantizeLinear behind them ("between scales"), after whatever Relu, Clip or bias follows
them; elsewhere they are the host's, as is every operator that is not listed: ONNX Runtime computes it with
graph optimisations disabled.

ONNX Runtime adds products of uint8 and int8 in pairs that saturate at 16 bits on x86 processors without VNNI
instructions. Celosia gives the exact sum that the operators are defined to have, as ONNX Runtime does
elsewhere.

*Cases* are the onnx package's own node tests (release {release}), run through `celosia/onnx_backend.py`: how
many pass, and how many are refused and why. The operators of com.microsoft have no such tests; theirs are in
`tests/host/importers/test_onnx.py`.
"""


def counts() -> dict[str, dict[str, int]]:
    """What became of the cases of each ONNX operator, as last recorded."""
    return dict(json.loads(COUNTS.read_text())["operators"])


def tflite_rows() -> Iterator[tuple[str, str, str]]:
    for source in sorted(HANDLERS):
        kind = KINDS.get(source, source)
        rule = RULES.get(kind)
        if kind == Kind.RESHAPE:
            where = "nothing to do"
        elif rule is lower_move:
            where = "copies"
        elif rule is not None:
            where = "fabric"
        else:
            where = "table" if kind in TABLES else "host"
        types = list(dict.fromkeys(types.split("->")[1].strip(" *?") for types in TYPES[kind].dtypes))
        yield f"`{source}`", where, "any" if len(types) > 4 else ", ".join(types)


def where_onnx(operator: str) -> str:
    name = operator.split("::")[-1]
    if name in RESHAPES:
        return "nothing to do"
    if name == "Transpose":
        return "nothing to do between NHWC and NCHW, else host"
    if name in ("QLinearSigmoid", "QLinearLeakyRelu"):
        return "table"
    if name in NODES and name != "MaxPool":
        return "fabric"
    if name == "MaxPool":
        return "fabric, on bytes or between scales"
    if name in FUSED:
        return "fabric, between scales"
    return "table, between scales" if name in ELEMENTWISE else "host"


def refusals(outcomes: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in outcomes.items()
                     if reason not in ("passed", "wrong"))


def claimed(outcomes: dict[str, int]) -> bool:
    """Whether the list claims an operator: some of its cases pass, and what does not is refused."""
    return outcomes.get("passed", 0) > 0 and not outcomes.get("wrong", 0)


def page() -> str:
    table = _generate().table
    recorded = json.loads(COUNTS.read_text())
    operators: dict[str, dict[str, int]] = recorded["operators"]
    microsoft = sorted(name for name in NODES if name.startswith("Q") and name not in operators)
    sound = [(f"`{name}`", where_onnx(name), outcomes["passed"], refusals(outcomes))
             for name, outcomes in operators.items() if claimed(outcomes)]
    wrong = [(f"`{name}`", outcomes["wrong"], outcomes.get("passed", 0)) for name,
             outcomes in operators.items()
             if outcomes.get("wrong")]
    none = [(f"`{name}`", refusals(outcomes)) for name, outcomes in operators.items()
            if not outcomes.get("passed") and not outcomes.get("wrong")]
    passed, different = (sum(outcomes.get(key, 0) for outcomes in operators.values())
                                for key in ("passed", "wrong"))
    cases = sum(sum(outcomes.values()) for outcomes in operators.values())
    return "\n".join([
        "# Operators\n", REMARK, INTRODUCTION,
        "## TFLite\n",
        "int8 and uint8 models; what is not listed is refused.\n",
        table(("operator", "where", "types of the result"), tflite_rows()),
        "## ONNX\n",
        ONNX.format(least=OPSET_LEAST, newest=recorded["opset"], release=recorded["onnx"]),
        f"Of {cases} cases {passed} pass and {cases - passed - different} are refused; in {different} ONNX "
        "Runtime itself gives other values than the onnx package.\n",
        table(("operator", "where", "cases passed", "refused"), sound),
        "### Of com.microsoft\n",
        table(("operator", "where"), [(f"`{name}`", where_onnx(name)) for name in microsoft]),
        "### Not claimed\n",
        "ONNX Runtime's own results are further from the onnx package's than its tests allow:\n",
        table(("operator", "cases with other values", "cases passed"), wrong),
        "No case of these is taken:\n",
        table(("operator", "refused"), none),
    ])


def record() -> None:
    """Run every case, and keep what became of them."""
    sys.path.append(str(HERE.parent / "tests"))
    import onnx
    from support import onnx_nodes

    found = {operator: onnx_nodes.count(names) for operator, names in onnx_nodes.operators().items()}
    COUNTS.write_text(json.dumps({"onnx": onnx.__version__, "opset": onnx.defs.onnx_opset_version(),
                                  "operators": found}, indent=1) + "\n")


def _generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", HERE / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="do not run the node tests")
    if not parser.parse_args().page:
        record()
    PAGE.write_text(page())
    print(f"{PAGE.name}: {len(PAGE.read_text().splitlines())} lines")
