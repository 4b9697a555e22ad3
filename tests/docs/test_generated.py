"""The generated pages say what the contract says."""
import importlib.util
from pathlib import Path

import pytest
from celosia.rtl.contract.isa import INSTRUCTIONS
from celosia.rtl.contract.registers import Reg

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def pages():
    """Name of each generated page, and the text that docs/generate.py would write."""
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    return {path.name: text for path, text in generate.pages().items()}


@pytest.mark.parametrize("name", ["isa.md", "registers.md"])
def test_page_is_up_to_date(pages, name):
    assert (DOCS / name).read_text() == pages[name], "run: python docs/generate.py"


def test_every_field_of_every_instruction_is_listed(pages):
    sections = {text.split(" ", 1)[0]: text for text in pages["isa.md"].split("\n## ")}
    for kind in INSTRUCTIONS:
        section = sections[kind.__name__]
        assert section.startswith(f"{kind.__name__} (opcode {kind.OPCODE}, unit {kind.UNIT.name})")
        for item in kind.layout()[4:]:
            bits = f"{item.offset + item.width - 1}:{item.offset}" if item.width > 1 else f"{item.offset}"
            assert f"\n| {bits} | `{item.name}` | {item.kind} |" in section


def test_every_register_is_listed_with_its_access(pages):
    lines = pages["registers.md"].splitlines()
    for reg in Reg:
        line = next(line for line in lines if line.startswith(f"| 0x{reg:02X} |"))
        name, access = (cell.strip() for cell in line.split("|")[2:4])
        assert name == f"`{reg.name}`" and access in ("R", "W", "RW")
