"""The words beside the contract's names, for what is written from it: documents, headers of Verilog and C."""
import inspect
import re
from enum import IntEnum

SECTION = re.compile(r"\n(\w[^\n]*)\n-{3,}\n")
"""The head of a section of a NumPy docstring."""
MEMBER = re.compile(r"^    (\w+) = ([^#\n]+?)(?:  # (.*))?$", re.MULTILINE)
"""A member of an enumeration in its source, with the comment behind it."""


def members(enumeration: type[IntEnum]) -> list[tuple[str, int, str]]:
    """Name, value and comment of each member, in the order of the source."""
    comments = {name: comment or "" for name, _, comment in MEMBER.findall(inspect.getsource(enumeration))}
    return [(member.name, int(member), comments[member.name]) for member in enumeration]


def split_docstring(thing: type) -> tuple[str, dict[str, str]]:
    """Prose of a docstring, and what its Parameters section says of each name."""
    prose, *rest = SECTION.split(inspect.getdoc(thing) or "")
    sections = dict(zip(rest[::2], rest[1::2], strict=True))
    meanings: dict[str, str] = {}
    names: list[str] = []
    for line in sections.get("Parameters", "").splitlines():
        if line and not line.startswith(" "):
            names = [name.strip() for name in line.split(" : ")[0].split(",")]
        elif line:
            for name in names:
                meanings[name] = f"{meanings.get(name, '')} {line.strip()}".strip()
    return prose.strip(), meanings
