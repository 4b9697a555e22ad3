"""What a person sees: tables of layers, programs and fabrics."""
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from ..host.emit.program import Program
from ..rtl.contract.fabric import Fabric

console = Console(highlight=False)
progress_console = Console(stderr=True, highlight=False)


def short(name: str, width: int = 28) -> str:
    """A layer's name, shortened in front: converters put the telling part last."""
    name = name.split(";")[0]
    return name if len(name) <= width else "…" + name[-width + 1:]


def layer_table(layers: Sequence[Mapping[str, Any]], rows: int, cols: int) -> Table:
    """One line per layer: cycles, utilisation, what was waited for, prediction."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, right in (("#", True), ("layer", False), ("operator", False), ("where", False), ("MACs", True),
                          ("cycles", True), ("used", True), ("predicted", True), ("waited for", False)):
        table.add_column(column, justify="right" if right else "left", no_wrap=column != "waited for")
    for layer in layers:
        cycles = layer["cycles"]
        if layer["where"] == "host":
            told = f"{layer['reason']} ({layer.get('seconds', 0) * 1e3:.1f} ms)"
        else:
            told = ", ".join(f"{cause} {count}" for cause, count in
                             sorted(layer["stalls"].items(), key=lambda item: -item[1]) if count * 50 > cycles)
        table.add_row(
            str(layer["index"]), short(layer["name"]), layer["op"], layer["where"],
            f"{layer['macs']:,}" if layer["macs"] else "", f"{cycles:,}" if cycles else "",
            f"{layer['macs'] / (rows * cols * cycles):.0%}" if cycles and layer["macs"] else "",
            f"{layer['predicted'] - cycles:+,}" if cycles else "", told)
    return table


def program_tables(program: Program) -> list[Table]:
    """For ``inspect``: placement with reasons and proofs, and the memories."""
    layers = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, right in (("#", True), ("layer", False), ("operator", False), ("where", False), ("MACs", True),
                          ("predicted cycles", True), ("why / proof", False)):
        layers.add_column(column, justify="right" if right else "left", no_wrap=column != "why / proof")
    for layer in program.layers:
        layers.add_row(str(layer.index), short(layer.name), layer.op, layer.where,
                       f"{layer.macs:,}" if layer.macs else "", f"{layer.predicted:,}" if layer.predicted else "",
                       layer.reason or layer.proof)
    memory = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("memory", "used", "of", "remark"):
        memory.add_column(column, justify="right" if column in ("used", "of") else "left")
    told: Mapping[str, Any] = program.memory
    for number, part in enumerate(told["segments"]):
        remark = "everything stays on chip" if part["resident"] else (
            f"{len(part['spilled'])} images pass through DRAM; {part['activation_bytes_to_stay_on_chip']:,} bytes "
            "would keep all on chip")
        name = "activations" + (f", part {number + 1}" if len(told["segments"]) > 1 else "")
        memory.add_row(name, f"{part['activation_bytes']:,} B", f"{told['activation_capacity']:,} B", remark)
    fabric = program.fabric
    memory.add_row("weights", f"{told['weight_words'] * fabric.cols:,} B", f"{fabric.wm_bytes:,} B",
                   "resident" if told["weights_resident"] else "the rest is streamed in each inference")
    memory.add_row("parameters", f"{told['parameter_records']:,}", f"{told['parameter_capacity']:,}",
                   "resident" if told["parameters_resident"] else "the rest is streamed in each inference")
    memory.add_row("DRAM", f"{program.dram_bytes:,} B", "", f"of it {told['instruction_bytes']:,} B of instructions")
    return [layers, memory]


def fabric_table(fabrics: Sequence[Fabric]) -> Table:
    """Presets with their sizes."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("name", "rows", "cols", "MAC/cycle", "lanes", "activations", "weights", "parameters", "partial sums",
                   "bus", "fingerprint"):
        table.add_column(column, justify="left" if column == "name" else "right")
    for fabric in fabrics:
        table.add_row(fabric.name, str(fabric.rows), str(fabric.cols), str(fabric.rows * fabric.cols),
                      str(fabric.lanes), f"{fabric.am_bytes >> 10} KiB", f"{fabric.wm_bytes >> 10} KiB",
                      str(fabric.pm_words), f"{fabric.acc_depth} x {fabric.acc_width} b", f"{8 * fabric.bus_bytes} b",
                      f"{fabric.fingerprint:016x}")
    return table
