"""Writes docs/isa.md and docs/registers.md from rtl/contract: no field is described by hand.

    python docs/generate.py

tests/docs/test_generated.py fails while the pages and the contract differ.
"""
import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from celosia.rtl.contract import isa, registers
from celosia.rtl.contract.fabric import (
    FIR_GROUPS,
    LANE_BITS,
    PARAMETER_BYTES,
    RING_LEAST,
    TABLE_BYTES,
    WORD_BITS,
    Fabric,
)
from celosia.rtl.contract.numerics import Add, Channel, Product
from celosia.rtl.glossary import members, split_docstring

HERE = Path(__file__).parent
REMARK = "<!-- Written by docs/generate.py from rtl/contract; change that, and run it again. -->\n"


def pages() -> dict[Path, str]:
    """Every generated page and its text."""
    texts = {"isa.md": isa_page(), "registers.md": registers_page()}
    return {HERE / name: re.sub(r"\n{3,}", "\n\n", text) for name, text in texts.items()}


# -- Markdown ------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [[str(cell).replace("|", "\\|") for cell in line] for line in (head, ["---"] * len(head), *rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def markdown(text: str) -> str:
    """A docstring's prose: simple tables become Markdown's, ``code`` loses one of its two backticks."""
    return "\n\n".join(_grid(part) if part.startswith("===") else _prose(part) for part in text.split("\n\n"))


def _prose(text: str) -> str:
    """Outside of code a * between word characters multiplies; Markdown must not take it for emphasis."""
    parts = text.strip().replace("``", "`").split("`")
    parts[::2] = [re.sub(r"(?<=\w)\*+(?=[\w(])", lambda stars: "\\*" * len(stars[0]), part)
                  for part in parts[::2]]
    return "`".join(parts)


def _grid(part: str) -> str:
    """A simple table of reStructuredText; a line whose first column is empty goes on with the one above."""
    ruler, *lines = part.splitlines()
    columns = [match.span() for match in re.finditer("=+", ruler)]
    rows: list[list[str]] = []
    for line in lines:
        if line.startswith("="):
            continue
        cells = [line[start:None if start == columns[-1][0] else end].strip() for start, end in columns]
        if cells[0]:
            rows.append(cells)
        else:
            rows[-1] = [f"{above} {cell}".strip() for above, cell in zip(rows[-1], cells, strict=True)]
    return table(rows[0], rows[1:]).strip()


def meanings_of(thing: type) -> dict[str, str]:
    """What a docstring says of each parameter."""
    return {name: _prose(meaning) for name, meaning in split_docstring(thing)[1].items()}


# -- The pages ------------------------------------------------------------------------------------------


def isa_page() -> str:
    title, _, text = (inspect.getdoc(isa) or "").partition("\n\n")
    prose, meanings = split_docstring(isa.Instruction)[0], meanings_of(isa.Instruction)
    header = isa.Instruction.layout()
    parts = [
        f"# The instruction set, version {isa.ISA_VERSION}\n",
        REMARK,
        f"{title} The definition is `rtl/contract/isa.py`; `sim/emulator.py` executes it, and the hardware "
        "is checked against that.\n",
        markdown(text) + "\n",
        f"`TOKEN_MAX` is {isa.TOKEN_MAX}, `TABLE_BYTES` {TABLE_BYTES}, `FIR_GROUPS` {FIR_GROUPS}, "
        f"`RING_LEAST` {RING_LEAST}.\n",
        "## Encoding\n",
        f"An instruction is {isa.INSTRUCTION_BYTES} bytes, little-endian. Fields follow each other from bit "
        "0 without gaps; the bits behind the last one are not looked at. An *address* is an activation-"
        f"memory address or step: the lane (`a % R`) in its low {LANE_BITS} bits, the word (`a // R`) in the "
        f"{WORD_BITS} above.\n",
        prose + "\n",
        table(("bits", "field", "meaning"), [
            (_bits(item), f"`{item.name}`", meanings.get(
                item.name, "Which instruction.").replace("the module's text", "*Order* above"))
            for item in header]),
    ]
    for kind in isa.INSTRUCTIONS:
        defaults = {item.name: item.default for item in fields(kind)}
        parts += [
            f"\n## {kind.__name__} (opcode {kind.OPCODE}, unit {kind.UNIT.name})\n",
            markdown(inspect.getdoc(kind) or "") + "\n",
            table(("bits", "field", "kind", "default"),
                  [(_bits(item), f"`{item.name}`", item.kind, defaults[item.name])
                   for item in kind.layout()[len(header):]])]
    parts += [
        "\n## Records of the parameter memory\n",
        f"A record is {PARAMETER_BYTES} bytes.\n",
        "### Channel\n", _record(Channel), "\n### Add\n", _record(Add), "\n### Product\n", _record(Product),
        "\n## Numbers\n",
        table(("unit", "bit in `wait` and `signal`, number in the profile"),
              [(name, value) for name, value, _ in members(isa.Unit)]),
        "\n" + table(("space of a Load", "number"), [(name, value) for name, value, _ in members(isa.Space)]),
        "\n## Parameters of a fabric\n",
        "The fingerprint in the registers differs when any of them but `name` does, or the version of the "
        "instruction set. `celosia fabrics` lists the presets.\n",
        table(("parameter", "default", "meaning"), [
            (f"`{item.name}`", f"`{item.default!r}`", meanings_of(Fabric)[item.name])
            for item in fields(Fabric)]),
    ]
    return "\n".join(parts)


def _bits(item: isa.Field) -> str:
    last = item.offset + item.width - 1
    return f"{last}" if item.width == 1 else f"{last}:{item.offset}"


def _record(kind: type) -> str:
    prose, meanings = split_docstring(kind)[0], meanings_of(kind)
    pack = (inspect.getdoc(kind.pack) or "").removeprefix("The record: ")  # type: ignore[attr-defined]
    return "\n".join([markdown(prose) + "\n", f"In memory: {pack}\n", table(
        ("field", "holds"), [(f"`{name}`", meaning) for name, meaning in meanings.items()])])


def registers_page() -> str:
    rows = []
    for name, value, comment in members(registers.Reg):
        access, _, meaning = comment.partition(" ")
        rows.append((f"0x{value:02X}", f"`{name}`", access, meaning.strip()))
    parts = [
        "# Registers\n",
        REMARK,
        f"{inspect.getdoc(registers)} The definition is `rtl/contract/registers.py`, the hardware "
        "`rtl/link/registers.py`, the host's side `host/driver/fabric_driver.py`.\n",
        (inspect.getdoc(registers.Reg) or "") + "\n",
        table(("address", "register", "", "meaning"), rows),
        f"\n`MAGIC_WORD` is 0x{registers.MAGIC_WORD:08X}.\n",
        "An access to an address that is not listed, and a write to a read-only register, are answered with "
        "SLVERR.\n",
    ]
    for enumeration, name, head in (
            (registers.Control, "CONTROL", ("bit", "name", "meaning")),
            (registers.Status, "STATUS", ("bit", "name", "meaning")),
            (registers.Fault, "FAULT", ("value", "name", "meaning")),
            (isa.Unit, "FAULT_UNIT, and bits 6:4 of PROFILE_INDEX", ("value", "name", "meaning")),
            (isa.Cause, "bits 3:0 of PROFILE_INDEX", ("value", "name", "meaning"))):
        listed = [(value.bit_length() - 1 if head[0] == "bit" else value, f"`{member}`", comment)
                  for member, value, comment in members(enumeration)]
        told = any(comment for _, _, comment in listed)
        parts += [f"\n## {name}\n", (inspect.getdoc(enumeration) or "") + "\n",
                  table(head if told else head[:2], listed if told else [row[:2] for row in listed])]
    parts += ["\n## One run\n", RUN]
    return "\n".join(parts)


RUN = """\
1. Once: read `MAGIC`, `VERSION` and the fingerprint; write nothing unless they are what the program was made
   for.
2. Put the program, its constants and its inputs into the memory behind the AXI4 port.
3. Write `PROGRAM_ADDRESS`, `PROGRAM_COUNT` and `WATCHDOG`, then `CONTROL` = START.
4. Poll `STATUS` until BUSY is clear.
5. FAULT set: read `FAULT`, `FAULT_ADDRESS` and `FAULT_UNIT`; the outputs mean nothing. Else DONE is set, the
   outputs are in memory, `CYCLES_LO` and `CYCLES_HI` say how long it took, and the profile where the time
   went.
"""


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
        print(f"{path.name}: {len(text.splitlines())} lines")
