"""Figures of a release as a file, and what has become of them since."""
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from .. import __version__
from ..rtl.contract.errors import InputError

FORMAT = "celosia-bench"
FORMAT_VERSION = 1
FIGURES = ("model", "sha256", "fabric", "fingerprint", "memory", "cycles", "predicted", "utilisation", "macs",
           "macs_on_fabric")
"""What is kept of each result."""


@dataclass(frozen=True)
class Difference:
    """One result beside the recorded figure of the same model, fabric and memory.

    Attributes
    ----------
    before, now : cycles, None where there is no figure
    verdict : "slower" (beyond the tolerance), "faster" (the same way), "same", or "not compared"
    remark : why it was not compared, or what else is different
    """

    model: str
    fabric: str
    memory: str
    before: int | None
    now: int | None
    verdict: str
    remark: str = ""

    @property
    def change(self) -> float | None:
        """Cycles now, relative to those before, less 1."""
        return self.now / self.before - 1 if self.now and self.before else None

    def summary(self) -> dict[str, Any]:
        """As ``--json`` tells it."""
        change = self.change
        return {**asdict(self), "change": None if change is None else round(change, 5)}


def figure(result: dict[str, Any]) -> dict[str, Any]:
    """What a record keeps of a result of ``celosia bench``."""
    flat = {**result, "fabric": result["fabric"]["name"], "fingerprint": result["fabric"]["fingerprint"]}
    return {name: flat[name] for name in FIGURES}


def write_record(file: Path, figures: Iterable[dict[str, Any]]) -> None:
    """Write figures as JSON, one to a line, so that two releases can be compared by eye and by diff.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    lines = ",\n  ".join(json.dumps(kept) for kept in figures)
    text = (f'{{\n "format": "{FORMAT}", "version": {FORMAT_VERSION}, "celosia": "{__version__}",\n'
            f' "figures": [\n  {lines}\n ]\n}}\n')
    try:
        file.write_text(text)
    except OSError as error:
        raise InputError(f"--record {file} cannot be written: {error.strerror or error}") from error


def read_record(file: Path) -> list[dict[str, Any]]:
    """The figures of a file that ``write_record`` wrote.

    Raises
    ------
    InputError
        If it is not one.
    """
    try:
        held = json.loads(file.read_text())
        if (held["format"], held["version"]) != (FORMAT, FORMAT_VERSION):
            raise ValueError(f"it is {held['format']!r} of version {held['version']}, expected {FORMAT!r} of "
                             f"version {FORMAT_VERSION}")
        figures: list[dict[str, Any]] = held["figures"]
        for kept in figures:
            if missing := [name for name in FIGURES if name not in kept]:
                raise ValueError(f"a figure lacks {', '.join(missing)}")
            if not isinstance(kept["cycles"], int) or "name" not in kept["memory"]:
                raise ValueError(f"the figure of {kept['model']} is none")
        return figures
    except OSError as error:
        raise InputError(f"the record {file} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is no record of figures ({type(error).__name__}: {error}); make one with "
                         "`celosia bench --record FILE`") from error


def compare(results: Sequence[dict[str, Any]], figures: Sequence[dict[str, Any]],
            tolerance: Fraction) -> list[Difference]:
    """Each result against the recorded figure of its model, fabric and memory.

    A figure of another model file, or behind a memory that behaves differently, says nothing about this
    one: such a pair is reported, not compared. Another fingerprint of a fabric is only remarked upon: what
    a preset has inside may change from release to release, and the figure is there to show what comes of it.
    """
    return [_difference(result, figures, tolerance) for result in results]


def _difference(result: dict[str, Any], figures: Sequence[dict[str, Any]],
                tolerance: Fraction) -> Difference:
    model, fabric = result["model"], result["fabric"]["name"]
    memory = result["memory"] or {"name": ""}
    near = [kept for kept in figures if (kept["model"], kept["fabric"]) == (model, fabric)]
    same = next((kept for kept in near if kept["memory"]["name"] == memory["name"]), None)

    def not_compared(remark: str) -> Difference:
        return Difference(model, fabric, memory["name"], same["cycles"] if same else None,
                          result["cycles"] or None, "not compared", remark)

    if result["error"] is not None:
        return not_compared("failed")
    if same is None:
        others = ", ".join(sorted(kept["memory"]["name"] for kept in near))
        return not_compared(f"recorded with memory {others} only" if near else "not in the record")
    if same["sha256"] != result["sha256"]:
        return not_compared("the model file is another one")
    if same["memory"] != memory:
        return not_compared("the memory behaves differently")
    now, before = result["cycles"], same["cycles"]
    verdict = ("slower" if now > before * (1 + tolerance) else
               "faster" if now < before * (1 - tolerance) else "same")
    remark = "" if same["fingerprint"] == result["fabric"]["fingerprint"] else "the fabric has changed"
    return Difference(model, fabric, memory["name"], before, now, verdict, remark)
