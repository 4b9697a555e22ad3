"""What the documents tell people to type, open or import exists."""
import ast
import re
import shlex
import shutil
from importlib.resources import as_file, files
from pathlib import Path

import click
import numpy as np
import pytest

import celosia
from celosia.cli.main import cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [*(ROOT / name for name in ("README.md", "DECISIONS.md", "CHANGELOG.md")),
         *sorted((ROOT / "docs").glob("*.md"))]
FILE = re.compile(r"`((?:[\w.]+/)+[\w.]+\.(?:py|cpp|c|h|v|toml|md|tflite))`")
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


def commands(text: str) -> list[str]:
    """Every celosia command line: in code spans, and the lines of indented blocks without their comment."""
    spans = re.findall(r"`celosia ([a-z][^`]*)`", text)
    blocks = re.findall(r"^    celosia ([a-z].*?)(?: +#.*)?$", text, re.MULTILINE)
    return spans + blocks


def parse(line: str, folder: Path) -> click.Context:
    """What click makes of a command line, in a folder where every file it names exists; nothing is run."""
    name, *arguments = shlex.split(line.replace("$CELOSIA_MODELS/", ""))
    if not arguments:  # the command as such
        return cli.commands[name].make_context(name, ["--help"], resilient_parsing=True)
    for argument in arguments:
        if Path(argument).suffix:
            (folder / argument).touch()
    return cli.commands[name].make_context(name, arguments)


def heading_anchors(text: str) -> set[str]:
    """The anchors that headings get: lower case, punctuation dropped, blanks to hyphens."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")
            for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def test_there_are_commands_to_check():
    assert {line.split()[0] for line in commands(README)} == set(cli.commands)


@pytest.mark.parametrize("line", sorted({line for page in PAGES for line in commands(page.read_text())}))
def test_every_command_line_parses(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parse(line, tmp_path)


def test_an_option_that_does_not_exist_is_noticed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(click.UsageError):
        parse("run model.tflite --chekc", tmp_path)
    with pytest.raises(KeyError):
        parse("bake model.tflite", tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_named_exists(page):
    assert [name for name in FILE.findall(page.read_text()) if not (ROOT / name).is_file()] == []


def test_the_table_of_steps_names_files():
    table = README.split("## From step to file")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 15 and all(FILE.search(row) for row in rows)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for path, anchor in LINK.findall(page.read_text()):
        target = page.parent / path if path else page
        assert target.is_file(), path
        if anchor:
            assert anchor in heading_anchors(target.read_text()), anchor


def test_the_python_example_runs(tmp_path, monkeypatch):
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code) == 1
    with as_file(files("celosia") / "demo" / "digits.tflite") as model:
        shutil.copy(model, tmp_path / "model.tflite")
    np.save(tmp_path / "image.npy", np.zeros((1, 8, 8, 1), np.int8))
    monkeypatch.chdir(tmp_path)
    exec(code[0].replace('"sim"', '"emulator"'), {})


def test_every_name_of_the_package_that_is_mentioned_exists():
    for page in PAGES:
        for name in re.findall(r"`celosia\.([A-Za-z_]\w*)", page.read_text()):
            assert hasattr(celosia, name), f"{page.name}: celosia.{name}"


def test_the_fabric_of_the_readme_can_be_built(tmp_path):
    for text in re.findall(r"```toml\n(.*?)```", README, re.DOTALL):
        (tmp_path / "mine.toml").write_text(text)
        assert celosia.load_fabric(tmp_path / "mine.toml").rows == 12


def test_the_make_targets_exist():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"run", "test"} <= set(re.findall(r"^    make (\w+)", README, re.MULTILINE)) <= set(targets)


def test_no_path_of_one_machine_is_written_anywhere():
    for page in PAGES:
        assert not re.search(r"(?<![\w.])/(?:work|tmp|home|root)/|\.\./shared", page.read_text()), page.name


def test_the_python_example_is_python():
    for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        ast.parse(code)
