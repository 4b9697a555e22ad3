"""``celosia build`` and ``celosia flash``: a board's bitstream, its figures, and how it gets on the board."""
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..api import compile_model
from ..boards.board import BOARDS, Board, find_board
from ..boards.build import Build
from ..boards.build import build as build_board
from ..boards.cache import Progress as Tell
from ..boards.program import program
from ..boards.report import LOGIC, LOGIC_WORDS, RESOURCES, Hop, Report, budget, check_budget, make_report
from ..rtl.contract.errors import InputError
from .bench import MLPERF_TINY, MODELS
from .commands import debug_option, json_option
from .tables import add_row, console, new_table, progress_console

STAGES = {"elaborate": "elaboration", "synthesise": "synthesis", "place": "placing", "route": "routing",
          "pack": "packing the bitstream", "wait": "waiting for another process that builds it"}
PAUSE = 20.0
"""Seconds between two lines about one stage where there is no terminal."""
PLACES = {"DP16KD": "block RAM", "ICESTORM_RAM": "block RAM", "ICESTORM_SPRAM": "single-port RAM",
          "MULT18X18D": "multipliers", "ICESTORM_DSP": "multipliers", "TRELLIS_FF": "registers"}
"""nextpnr's places in words, beside those for logic."""

board_argument = click.argument("board", metavar=f"[{'|'.join(BOARDS)}]")


@click.command()
@board_argument
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, metavar="N",
              help="Where placing starts from: another seed, another clock.")
@click.option("--synthesis-only", is_flag=True, help="Stop at the netlist: cells, no clock, no bitstream.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Copy the bitstream and the tools' log there.")
@json_option
@debug_option
def build(board: str, seed: int, synthesis_only: bool, out: Path | None, as_json: bool) -> None:
    """Build the bitstream of BOARD, and report what it takes and how fast it is.

    Prints for each block look-up tables, registers, multiplier cells and block RAMs; the critical path in
    names of blocks; the clock reached against the board's; and what the MLPerf Tiny networks in the folder
    $CELOSIA_MODELS would take on it. Needs the tools of the package index: pip install 'celosia[boards]'.

    Results are kept, and used again while design, constraints, options and tools stay the same. A build
    outside boards/budgets.toml, or slower than the board's clock, ends with exit code 3.

    \b
    celosia build icebreaker                         minutes
    celosia build ulx3s_85f --synthesis-only         some minutes: does it fit?
    celosia build ulx3s_85f --seed 3 --out build/    half an hour and more
    celosia flash icebreaker                         then this
    """
    chosen = find_board(board)
    began = time.perf_counter()
    with stage_progress(chosen.name) as tell:
        built = build_board(chosen, seed=seed, synthesis_only=synthesis_only, progress=tell)
    report = make_report(built)
    networks, missing = predict(chosen, report)
    seconds = time.perf_counter() - began
    bitstream = copy_results(built, out) if out is not None else built.bitstream
    if as_json:
        click.echo(json.dumps(told(built, report, networks, bitstream, seconds), indent=1))
    else:
        show(built, report, networks, missing)
        if bitstream is not None:
            console.print(f"\nbitstream {escape(str(bitstream))}; to program the board: "
                          f"celosia flash {chosen.name}{f' --seed {seed}' if seed != 1 else ''}")
        console.print(f"[dim]{seconds:.0f} s, log {escape(str(built.log))}[/dim]")
    check_budget(report, built)


@click.command()
@board_argument
@click.option("--to", "place", type=click.Choice(("sram", "flash")), default=None,
              help="sram: until the power goes. flash: for good. Else the board's usual place.")
@click.option("--bitstream", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", default=None,
              help="Program this file instead of what `celosia build` makes.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, metavar="N",
              help="Which build, if several were made.")
@json_option
@debug_option
def flash(board: str, place: str | None, bitstream: Path | None, seed: int, as_json: bool) -> None:
    """Program BOARD with its bitstream over USB, by openFPGALoader.

    Without --bitstream it is what `celosia build BOARD` made, which is built first if need be.

    \b
    celosia flash ulx3s_85f                      into the chip, until the power goes
    celosia flash ulx3s_85f --to flash           into the flash: loaded at every start
    celosia flash icebreaker --bitstream my.bin
    celosia run model.tflite --device serial:/dev/ttyUSB0      then this
    """
    chosen = find_board(board)
    if bitstream is not None and not bitstream.is_file():
        raise InputError(f"--bitstream {bitstream}: there is no such file")
    if place is not None and place not in chosen.homes:
        raise InputError(f"--to {place}: the {chosen.title} loads only from {' or '.join(chosen.homes)}")
    if bitstream is None:
        with stage_progress(chosen.name) as tell:
            built = build_board(chosen, seed=seed, progress=tell)
        check_budget(make_report(built), built)
        assert built.bitstream is not None
        bitstream = built.bitstream
    with tempfile.TemporaryDirectory() as folder:
        home = program(chosen, bitstream, to=place, log_folder=Path(folder),
                       line=lambda text: progress_console.print(f"[dim]{escape(text)}[/dim]"))
    if as_json:
        click.echo(json.dumps({"board": chosen.name, "bitstream": str(bitstream), "to": home}, indent=1))
    else:
        console.print(f"[green]{escape(chosen.title)} is programmed[/green] ({home}); next: "
                      "celosia run MODEL --device serial:PORT")


@contextmanager
def stage_progress(board: str) -> Iterator[Tell]:
    """A callback for the stages of a build: a line that changes, or without a terminal one now and then."""
    if not sys.stderr.isatty():
        shown, when = "", 0.0

        def line(stage: str, text: str) -> None:
            nonlocal shown, when
            now = time.monotonic()
            if stage != shown or now - when > PAUSE:
                shown, when = stage, now
                progress_console.print(escape(f"{board}: {STAGES[stage]}{f', {text}' if text else ''}"))

        yield line
        return
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
                  console=progress_console, transient=True) as bar:
        task = bar.add_task("", visible=False)

        def update(stage: str, text: str) -> None:
            bar.update(task, description=escape(f"{board}: {STAGES[stage]}{f', {text}' if text else ''}"),
                       visible=True)

        yield update


def copy_results(built: Build, out: Path) -> Path | None:
    """Put bitstream and log into a folder; returns where the bitstream is now."""
    name = built.board.name
    try:
        out.mkdir(parents=True, exist_ok=True)
        shutil.copy(built.log, out / f"{name}.log")
        if built.bitstream is None:
            return None
        return Path(shutil.copy(built.bitstream, out / f"{name}{built.bitstream.suffix}"))
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror or error}") from error


def predict(board: Board, report: Report) -> tuple[list[dict[str, Any]], str]:
    """What the networks of MLPerf Tiny take on a board at the clock that can be counted on; or why not."""
    folder = os.environ.get(MODELS)
    if not folder:
        return [], f"no predictions: {MODELS} names no folder of models"
    found = []
    for name in MLPERF_TINY:
        if not (file := Path(folder) / f"{name}.tflite").is_file():
            continue
        cycles = compile_model(file, fabric=board.fabric).predicted
        found.append({"model": name, "cycles": cycles, "milliseconds": cycles / report.speed / 1e3,
                      "per_second": report.speed * 1e6 / cycles if cycles else None})
    return found, "" if found else f"no predictions: {MODELS}={folder} holds no network of MLPerf Tiny"


def told(built: Build, report: Report, networks: list[dict[str, Any]], bitstream: Path | None,
         seconds: float) -> dict[str, Any]:
    """The same for machines."""
    return {
        "board": built.board.name, "fabric": built.board.fabric.name, "seed": built.seed,
        "fingerprint": f"{built.board.fabric.fingerprint:016x}",
        "bitstream": str(bitstream) if bitstream is not None else None, "totals": report.totals,
        "blocks": [{"name": name, **found} for name, found in report.blocks],
        "used": {kind: {"used": used, "available": most} for kind, (used, most) in report.used.items()},
        "fmax_mhz": report.fmax, "clock_mhz": report.clock,
        "critical_path": [vars(hop) for hop in report.path], "budget": budget(built.board.name),
        "networks": networks, "seconds": round(seconds, 1),
    }


def show(built: Build, report: Report, networks: list[dict[str, Any]], missing: str) -> None:
    """The report for people."""
    console.print(block_table(report))
    console.print()
    fabric = built.board.fabric
    console.print(f"[bold]{escape(built.board.title)}[/bold], fabric {escape(fabric.name)} "
                  f"({fabric.rows}x{fabric.cols}), seed {built.seed}")
    words = {LOGIC[built.board.family]: LOGIC_WORDS[built.board.family], **PLACES}
    if used := [f"{words[kind]} {report.used[kind][0]:,} of {report.used[kind][1]:,}"
                for kind in words if kind in report.used]:
        console.print("used: " + ", ".join(used))
    if report.fmax is not None:
        met = report.fmax >= report.clock
        console.print(f"[{'green' if met else 'red'}]Fmax {report.fmax:.1f} MHz[/], the board runs at "
                      f"{report.clock:g} MHz")
        console.print("critical path: " + escape(path_text(report.path)))
    if networks:
        console.print()
        console.print(network_table(networks))
        console.print(f"[dim]predicted cycles at {report.speed:.1f} MHz[/dim]")
    else:
        console.print(f"[dim]{escape(missing)}[/dim]")


def path_text(path: list[Hop]) -> str:
    """The critical path in words, from register to register."""
    if not path:
        return "none"
    total = sum(hop.logic + hop.routing for hop in path)
    hops = " → ".join(f"{'.'.join(part for part in (hop.block, hop.signal) if part)} "
                      f"({hop.logic:.1f} + {hop.routing:.1f})" for hop in path)
    return f"{total:.1f} ns: {hops} (ns of logic + ns of routing)"


def block_table(report: Report) -> Table:
    """One line per block, and their sum."""
    shown = [key for key in RESOURCES if report.totals[key]]
    table = new_table("block", *(RESOURCES[key] for key in shown), right=[RESOURCES[key] for key in shown])
    for name, found in [*report.blocks, ("all", report.totals)]:
        add_row(table, {"block": "named by yosys" if name == "?" else name,
                        **{RESOURCES[key]: f"{found[key]:,}" if found.get(key) else "" for key in shown}})
    return table


def network_table(networks: list[dict[str, Any]]) -> Table:
    """One line per network."""
    table = new_table("network", "cycles", "ms", "per second", right=("cycles", "ms", "per second"))
    for found in networks:
        rate = found["per_second"]
        add_row(table, {"network": found["model"], "cycles": f"{found['cycles']:,}",
                        "ms": f"{found['milliseconds']:.3f}", "per second": f"{rate:,.0f}" if rate else ""})
    return table
