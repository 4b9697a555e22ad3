"""What a person sees: tables of layers, programs and fabrics."""
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..host.emit.program import Program
from ..rtl.contract.fabric import Fabric
from .record import Difference

WIDE = 140
"""Columns where there is no terminal, unless COLUMNS says otherwise."""
NARROW = 110
"""Terminals with fewer columns get tables without what can be missed."""


def _console(stderr: bool) -> Console:
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, highlight=False, soft_wrap=not terminal,
                   width=None if terminal or os.environ.get("COLUMNS") else WIDE)


console = _console(stderr=False)
progress_console = _console(stderr=True)


def short(name: str, width: int = 28) -> str:
    """A layer's name for a table: of names that a converter joined by ";" the first, of that its end."""
    name = name.split(";")[0]
    return name if len(name) <= width else "…" + name[-width + 1:]


def new_table(*columns: str, right: Sequence[str] = (), wrapped: str = "") -> Table:
    """An empty table; ``right`` are the columns of numbers, ``wrapped`` may take several lines."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=column != wrapped,
                         overflow="fold")
    return table


def add_row(table: Table, cells: Mapping[str, str]) -> None:
    """A line from texts by column; columns that the table lacks are left out."""
    table.add_row(*(escape(cells.get(str(column.header), "")) for column in table.columns))


def layer_table(layers: Sequence[Mapping[str, Any]], rows: int, cols: int, *, width: int = WIDE) -> Table:
    """One line per layer: cycles, utilisation, prediction, what was waited for. On the emulator no cycles."""
    measured = any(layer["cycles"] for layer in layers)
    narrow = width < NARROW
    columns = ["#", "layer", "operator", *([] if narrow else ["where", "MACs"]),
               *(["cycles", "used"] if measured else []), *([] if measured and narrow else ["predicted"]),
               "waited for" if measured else "remark"]
    table = new_table(*columns, right=("#", "MACs", "cycles", "used", "predicted"), wrapped=columns[-1])
    for layer in layers:
        cycles, host = layer["cycles"], layer["where"] == "host"
        if host:
            told = f"on the host, {layer.get('seconds', 0) * 1e3:.1f} ms: {layer['reason']}"
        else:
            told = ", ".join(f"{cause} {count:,}" for cause, count in
                             sorted(layer["stalls"].items(), key=lambda item: -item[1])
                             if count * 50 > cycles)
        add_row(table, {
            "#": str(layer["index"]), "layer": short(layer["name"], 16 if narrow else 28),
            "operator": layer["op"], "where": layer["where"],
            "MACs": f"{layer['macs']:,}" if layer["macs"] else "", "cycles": f"{cycles:,}" if cycles else "",
            "used": f"{layer['macs'] / (rows * cols * cycles):.0%}" if cycles and layer["macs"] else "",
            "predicted": f"{layer['predicted']:,}" if not host else "", columns[-1]: told})
    return table


def bench_table(results: Sequence[Mapping[str, Any]], *, width: int = WIDE) -> Table:
    """One line per model and fabric, for ``bench``; of a model that failed only why."""
    narrow = width < NARROW
    columns = ["model", "fabric", "memory", "cycles", "used", "predicted",
               *([] if narrow else ["on fabric", "host"]), "waited for"]
    table = new_table(*columns, right=columns[3:-1], wrapped=columns[-1])
    for result in results:
        cells = {"model": short(result["model"].removesuffix(".tflite"), 18 if narrow else 32),
                 "fabric": short(result["fabric"]["name"], 12)}
        cycles = result["cycles"]
        if result["memory"]:
            cells["memory"] = short(result["memory"]["name"], 12)
        if result["error"] is not None:
            cells["waited for"] = f"{result['error']['kind']}: {result['error']['message']}"
        else:
            seconds = sum(layer["seconds"] for layer in result["layers"])
            macs = result["macs"]
            cells |= {"on fabric": f"{result['macs_on_fabric'] / macs:.0%} of MACs" if macs else "",
                      "host": f"{seconds * 1e3:,.0f} ms" if seconds else "",
                      "waited for": "nothing: all runs on the host"}
            if result["exact"] is False:
                cells["model"] += " (wrong)"
        if cycles:
            causes = [f"{cause} {count / cycles:.0%}" for cause, count in result["stalls"].items()
                      if count * 100 >= cycles]
            cells |= {"cycles": f"{cycles:,}", "used": f"{result['utilisation']:.1%}",
                      "predicted": f"{result['predicted'] / cycles - 1:+.1%}",
                      "waited for": ", ".join(causes)}
        add_row(table, cells)
    return table


def difference_table(differences: Sequence[Difference]) -> Table:
    """Figures beside recorded ones."""
    table = new_table("model", "fabric", "memory", "recorded", "now", "change", "verdict", "remark",
                      right=("recorded", "now", "change"), wrapped="remark")
    for found in differences:
        add_row(table, {
            "model": short(found.model.removesuffix(".tflite")), "fabric": short(found.fabric, 12),
            "memory": short(found.memory, 12),
            "recorded": f"{found.before:,}" if found.before else "",
            "now": f"{found.now:,}" if found.now else "",
            "change": f"{found.change:+.2%}" if found.change is not None else "", "verdict": found.verdict,
            "remark": found.remark})
    return table


def program_tables(program: Program, *, width: int = WIDE) -> list[Table]:
    """For ``inspect``: placement with reasons and proofs, and the memories."""
    narrow = width < NARROW
    layers = new_table("#", "layer", "operator", "where", *([] if narrow else ["MACs"]), "cycles",
                       "why / proof", right=("#", "MACs", "cycles"), wrapped="why / proof")
    for layer in program.layers:
        add_row(layers, {
            "#": str(layer.index), "layer": short(layer.name, 16 if narrow else 28), "operator": layer.op,
            "where": layer.where, "MACs": f"{layer.macs:,}" if layer.macs else "",
            "cycles": f"{layer.predicted:,}" if layer.predicted else "",
            "why / proof": layer.reason or layer.proof})
    memory = new_table("memory", "used", "of", "remark", right=("used", "of"), wrapped="remark")
    told: Mapping[str, Any] = program.memory
    for number, part in enumerate(told["segments"]):
        remark = "everything stays on chip" if part["resident"] else (
            f"{len(part['spilled'])} images pass through DRAM; {part['activation_bytes_to_stay_on_chip']:,} "
            "bytes would keep all on chip")
        if part["strips"]:
            together = sum(len(strips["layers"]) for strips in part["strips"])
            remark += f"; {together} layers run some rows at a time, in {len(part['strips'])} groups"
        name = "activations" + (f", part {number + 1}" if len(told["segments"]) > 1 else "")
        memory.add_row(name, f"{part['activation_bytes']:,} B", f"{told['activation_capacity']:,} B", remark)
    fabric = program.fabric
    memory.add_row("weights", f"{told['weight_words'] * fabric.cols:,} B",
                   f"{told['weight_capacity'] * fabric.cols:,} B", weights_text(told, fabric))
    memory.add_row("parameters", f"{told['parameter_records']:,}", f"{told['parameter_capacity']:,}",
                   "resident" if told["parameters_resident"] else "the rest is streamed in each inference; "
                   f"{told['parameter_records_to_stay_on_chip']:,} would keep all on chip")
    instructions = f"of it {told['instruction_bytes']:,} B of instructions"
    if "shared" in told:
        parts = told["shared"]
        taken = sum(size for name, size in parts.items() if name != "bytes")
        memory.add_row("all in one", f"{taken:,} B", f"{parts['bytes']:,} B", ", ".join(
            f"{name.replace('_', ' ')} {size:,} B" for name, size in parts.items() if name != "bytes"))
    elif program.dram_bytes:
        memory.add_row("DRAM", f"{program.dram_bytes:,} B", "", "" if program.rom_bytes else instructions)
    if program.rom_bytes:
        memory.add_row("read-only", f"{program.rom_bytes:,} B", "",
                       f"constants; {instructions}; from {fabric.rom_base:#x} on")
    return [layers, memory]


def weights_text(told: Mapping[str, Any], fabric: Fabric) -> str:
    """What becomes of the weights."""
    computed = told.get("weight_words_computed", 0) * fabric.cols
    packed = f"{computed:,} B are computed by the network, and packed by the host" if computed else ""
    if told["weights_resident"]:
        return "resident"
    if told["weight_words"] < told["weight_words_to_stay_on_chip"]:
        streamed = ("the rest is streamed in each inference; "
                    f"{told['weight_words_to_stay_on_chip'] * fabric.cols:,} B would keep all on chip")
        return f"{streamed}; {packed}" if packed else streamed
    return f"constants are resident; {packed}"


def fabric_table(fabrics: Sequence[Fabric], *, width: int = WIDE) -> Table:
    """Presets with their sizes."""
    columns = ["name", "array", "MAC/cycle", "lanes", "activations", "weights", "parameters", "bus"]
    if width >= NARROW:
        columns += ["partial sums", "fingerprint"]
    table = new_table(*columns, right=columns[1:])
    for fabric in fabrics:
        add_row(table, {
            "name": fabric.name, "array": f"{fabric.rows}x{fabric.cols}",
            "MAC/cycle": str(fabric.rows * fabric.cols),
            "lanes": str(fabric.lanes), "activations": f"{fabric.am_bytes >> 10} KiB",
            "weights": f"{fabric.wm_bytes >> 10} KiB", "parameters": str(fabric.pm_words),
            "bus": f"{8 * fabric.bus_bytes} bit",
            "partial sums": f"{fabric.acc_depth} x {fabric.acc_width} bit",
            "fingerprint": f"{fabric.fingerprint:016x}"})
    return table
