"""What is installed is what is in the tree, under one name only."""
import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOP = ("celosia", "rtl", "host", "sim", "boards")
"""Folders that make up the package; all but the first are installed as celosia.<folder>."""
SOURCES = (*TOP, "tests", "docs", "examples", "bench")
MODEL_LIMIT = 100_000
"""Bytes of the demo model: it is part of every installation."""


@pytest.fixture(scope="module")
def setuptools():
    """The table [tool.setuptools] of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def package_of(folder: Path) -> str:
    """The import name of a folder."""
    parts = folder.relative_to(ROOT).parts
    return ".".join(parts if parts[0] == "celosia" else ("celosia", *parts))


def files_in(*tops: str) -> Iterator[Path]:
    for top in tops:
        yield from (path for path in sorted((ROOT / top).rglob("*"))
                    if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc")


def python_files(*tops: str) -> list[Path]:
    return [path for path in files_in(*tops) if path.suffix == ".py"]


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Level (0 is absolute) and name of every module that a source imports, at any depth."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""


def second_names(source: str) -> list[str]:
    """Modules that a source imports under a name that would make second copies of ours."""
    return [name for level, name in imports(source) if level == 0 and name.split(".")[0] in TOP[1:]]


def leaves_the_contract(source: str) -> list[str]:
    """What a module of rtl/contract imports that is neither its neighbour, nor NumPy, nor Python's own."""
    return [name for level, name in imports(source) if level > 1 or (
        level == 0 and name.split(".")[0] not in {*sys.stdlib_module_names, "numpy"})]


def test_every_package_of_the_tree_is_listed_and_every_listed_one_is_there(setuptools):
    found = {package_of(path.parent) for path in python_files(*TOP) if path.name == "__init__.py"}
    assert sorted(setuptools["packages"]) == sorted(found)


def test_every_folder_with_python_files_is_a_package():
    folders = {path.parent for path in python_files(*TOP)}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_each_top_folder_is_mapped_to_its_import_name(setuptools):
    assert setuptools["package-dir"] == {package_of(ROOT / top): top for top in TOP}


def test_nothing_is_imported_under_a_second_name():
    offenders = {str(path.relative_to(ROOT)): names for path in python_files(*SOURCES)
                 if (names := second_names(path.read_text()))}
    assert offenders == {}, "inside the package use relative imports, elsewhere celosia.…"


def test_a_second_name_is_noticed_wherever_it_stands():
    assert sorted(second_names("def f():\n    from rtl.contract import isa\nimport sim, numpy")) == [
        "rtl.contract", "sim"]
    assert second_names("from ..rtl import contract\nfrom celosia.rtl import fabric\nimport simulator") == []


def test_the_contract_imports_no_gateware():
    offenders = {path.name: names for path in python_files("rtl/contract")
                 if (names := leaves_the_contract(path.read_text()))}
    assert offenders == {}
    assert leaves_the_contract("from amaranth import Module\nfrom ..fabric import FabricTop\nimport os") == [
        "amaranth", "fabric"]


def test_importing_celosia_and_the_contract_does_not_import_amaranth():
    code = ("import sys, celosia, celosia.rtl.contract.machine, celosia.rtl.contract.registers; "
            "sys.exit('amaranth' in sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_every_file_that_is_not_python_is_package_data(setuptools):
    folders = {package_of(path.parent): path.parent for path in python_files(*TOP)}
    listed = {path for package, patterns in setuptools["package-data"].items()
              for pattern in patterns for path in folders[package].glob(pattern)}
    others = {path for path in files_in(*TOP) if path.suffix != ".py"}
    assert sorted(others - listed) == []


def test_the_demo_is_there_and_small():
    demo = files("celosia") / "demo"
    model, digits = (demo / "digits.tflite").read_bytes(), (demo / "digits.npz").read_bytes()
    assert model[4:8] == b"TFL3" and digits[:2] == b"PK"
    assert len(model) + len(digits) < MODEL_LIMIT
