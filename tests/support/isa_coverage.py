"""Which corners of which field of which instruction, and which kinds behind which, programs have had."""
from collections import Counter
from collections.abc import Iterator, Sequence

from celosia.rtl.contract.fabric import FIR_GROUPS, LAYER_BITS, WORD_BITS, Fabric
from celosia.rtl.contract.isa import (
    INSTRUCTIONS,
    Fill,
    Instruction,
    Load,
    Post,
    Space,
    Store,
    Stream,
    Unit,
    Weights,
)
from support.programs import CONSTANT_BYTES, DATA_BYTES, PAGE

Point = tuple[str, str, str]
"""Instruction (or unit), field (or kind before), corner (or kind behind)."""
MASKS, FLAGS = ("wait", "signal"), ("clear", "emit", "maximum", "fir", "ragged", "add", "multiply")
PLAIN = ("least", "between", "most")

HOLES: dict[Point, str] = {
    (kind.__name__, "signal", kind.UNIT.name): "an instruction does not signal its own unit"
    for kind in INSTRUCTIONS
}
"""Points that no legal program has, with the reason."""


def kind_of(instruction: Instruction) -> str:
    """What makes a unit work in another way."""
    match instruction:
        case Load():
            return f"Load {Space(instruction.space).name}"
        case Stream():
            return ("FIR" if instruction.fir else "matrix") + (" maximum" if instruction.maximum else "")
        case Weights():
            return "ragged" if instruction.ragged else "dense"
        case Post():
            combine = "add" if instruction.add else "multiply" if instruction.multiply else "plain"
            return combine + (" table" if instruction.table else "")
    return type(instruction).__name__


KINDS = {
    Unit.LOAD: ("Load AM", "Load WM", "Load PM", "Load TABLE", "Fill"),
    Unit.WEIGHTS: ("dense", "ragged"),
    Unit.STREAM: ("matrix", "matrix maximum", "FIR", "FIR maximum"),
    Unit.POST: ("plain", "plain table", "add", "add table", "multiply", "multiply table"),
    Unit.STORE: ("Store",),
}


def limits(instruction: Instruction, fabric: Fabric) -> dict[str, tuple[int, int]]:
    """Least and most of each field that matters in this instruction, on this fabric."""
    anywhere = (0, fabric.am_bytes - 1)
    step = (0, fabric.rows * (1 << WORD_BITS) - 1)
    count, byte = (1, (1 << 14) - 1), (-128, 127)
    found = {"layer": (0, (1 << LAYER_BITS) - 1)}
    rows_of = {"rows": count, "row_bytes": (1, fabric.am_bytes), "local": anywhere, "pitch": step}
    stride = {"dram_stride": (0, (1 << 24) - fabric.bus_bytes)}
    match instruction:
        case Load(space=Space.AM):
            found |= rows_of | stride | {"row_bytes": (1, min(fabric.am_bytes, CONSTANT_BYTES))}
        case Load():
            depth = {Space.WM: fabric.wm_words, Space.PM: fabric.pm_words, Space.TABLE: fabric.tables}
            found |= {"word": (0, depth[Space(instruction.space)] - 1)}
            if instruction.space == Space.WM:
                found |= {"offset": byte}
        case Fill():
            found |= rows_of | {"value": byte}
        case Store():
            found |= rows_of | stride | {"row_bytes": (1, min(fabric.am_bytes, DATA_BYTES // 2))}
        case Weights():
            jump = (0, step[1] if instruction.ragged else step[1] // fabric.rows * fabric.rows)
            found |= {
                "base": (0, fabric.wm_words - fabric.rows), "tiles": (1, fabric.wm_words // fabric.rows),
                "run": (1, (1 << 16) - 1), "runs_x": (1, 255), "jump_x": jump, "jump_y": jump,
                "start": anywhere, "start_run": (0, (1 << 16) - 2), "start_x": (0, 254)}
        case Stream():
            found |= {"base": anywhere, "tiles": (1, fabric.wm_words // fabric.rows), "x_count": count,
                      "y_count": count, "x_step": step, "y_step": step}
            if instruction.fir:
                found |= {
                    "line": count, "taps": (1, fabric.rows), "stride_x": (1, 15), "stride_y": (1, 15),
                    "groups": (1, min(FIR_GROUPS, fabric.rows) if fabric.line_depth else 1),
                    "outputs": (1, max(fabric.acc_depth, fabric.fifo_depth))}
            else:
                found |= {"u_count": (1, 255), "v_count": (1, 255), "u_step": step, "v_step": step}
        case Post():
            found |= {
                "params": (0, fabric.pm_words - 1), "channels": (1, fabric.cols), "x_count": count,
                "y_count": count, "out": anywhere, "x_step": step, "y_step": step, "zero": byte, "low": byte,
                "high": byte, "table": (0, fabric.tables)}
            if instruction.add or instruction.multiply:
                found |= {"other": anywhere, "other_x_step": step, "other_y_step": step}
    return found


def points_of(instruction: Instruction, fabric: Fabric) -> Iterator[Point]:
    """What one instruction covers."""
    name = type(instruction).__name__
    for mask in MASKS:
        for unit in Unit:
            if getattr(instruction, mask) >> unit & 1:
                yield name, mask, unit.name
        if not getattr(instruction, mask):
            yield name, mask, "none"
    for flag in FLAGS:
        if hasattr(instruction, flag):
            yield name, flag, str(getattr(instruction, flag))
    if isinstance(instruction, Load):
        yield name, "space", Space(instruction.space).name
    if isinstance(instruction, Load | Store):
        place = instruction.dram % PAGE
        yield (name, "dram in its 4 KB page",
               "least" if place == 0 else "most" if place == PAGE - fabric.bus_bytes else "between")
    for field, (least, most) in limits(instruction, fabric).items():
        value = getattr(instruction, field)
        yield name, field, "least" if value == least else "between" if value < most else "most"
        if least == most:
            yield name, field, "most"


def every_point() -> list[Point]:
    """All there are, holes included."""
    big = Fabric(rows=4, cols=4)
    examples: list[Instruction] = [
        *(Load(space=space) for space in Space), Fill(), Weights(), Stream(), Stream(fir=1), Post(),
        Post(add=1), Store()]
    found: dict[Point, None] = {}
    for instruction in examples:
        name = type(instruction).__name__
        for mask in MASKS:
            found |= {(name, mask, corner): None for corner in ("none", *(unit.name for unit in Unit))}
        for flag in FLAGS:
            if hasattr(instruction, flag):
                found |= {(name, flag, corner): None for corner in "01"}
        if isinstance(instruction, Load):
            found |= {(name, "space", space.name): None for space in Space}
        if isinstance(instruction, Load | Store):
            found |= {(name, "dram in its 4 KB page", corner): None for corner in PLAIN}
        for field in limits(instruction, big):
            found |= {(name, field, corner): None for corner in PLAIN}
    for unit, kinds in KINDS.items():
        found |= {(unit.name, before, behind): None for before in kinds for behind in kinds}
    return list(found)


class Coverage:
    """Counts the points of programs that were run."""

    def __init__(self) -> None:
        self.seen: Counter[Point] = Counter()
        self.of_unit: Counter[str] = Counter()

    def add(self, program: Sequence[Instruction], fabric: Fabric) -> None:
        before: dict[Unit, str] = {}
        for instruction in program:
            self.of_unit[instruction.UNIT.name] += 1
            self.seen.update(points_of(instruction, fabric))
            unit, kind = instruction.UNIT, kind_of(instruction)
            if unit in before:
                self.seen[unit.name, before[unit], kind] += 1
            before[unit] = kind

    @property
    def instructions(self) -> int:
        return self.of_unit.total()

    def by_unit(self) -> dict[str, dict[str, int]]:
        """Instructions of each unit, and how many of its points were run, of all but the holes."""
        found = {unit.name: {"instructions": self.of_unit[unit.name], "covered": 0, "points": 0}
                 for unit in Unit}
        owner = {kind.__name__: kind.UNIT.name for kind in INSTRUCTIONS}
        for point in every_point():
            if point not in HOLES:
                row = found[owner.get(point[0], point[0])]
                row["points"] += 1
                row["covered"] += self.seen[point] > 0
        return found

    def missing(self) -> list[Point]:
        """Points without a run and without a reason."""
        return [point for point in every_point() if not self.seen[point] and point not in HOLES]

    def table(self) -> str:
        """A line for each field and each kind: how often each of its points was run."""
        points = [point for point in every_point() if point not in HOLES]
        covered = sum(self.seen[point] > 0 for point in points)
        lines = [f"{self.instructions} instructions; {covered} of {len(points)} points covered "
                 f"({100 * covered / len(points):.1f} %), {len(HOLES)} holes"]
        rows: dict[tuple[str, str], list[str]] = {}
        for name, field, corner in points:
            rows.setdefault((name, field), []).append(f"{corner} {self.seen[name, field, corner]}")
        lines += [f"{name:8} {field:22} " + ", ".join(corners) for (name, field), corners in rows.items()]
        lines += [f"not covered: {' / '.join(point)}" for point in self.missing()]
        lines += [f"hole: {' / '.join(point)}: {reason}" for point, reason in HOLES.items()]
        return "\n".join(lines)
