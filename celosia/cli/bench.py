"""``celosia bench``: cycles of models on fabrics, and whether they are still what a release recorded."""
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from .. import __version__
from ..api import Rounding
from ..memory import NamedMemory, read_memory
from ..rtl.contract.errors import CelosiaError, InputError
from ..rtl.contract.fabric import Fabric
from ..rtl.contract.presets import DEFAULT, load_fabric
from .commands import (
    check_folder,
    check_option,
    debug_option,
    json_option,
    memory_option,
    rounding_option,
    watchdog_option,
)
from .job import make_program, run_job
from .record import Difference, compare, figure, read_record, write_record
from .samples import random_sample, read_samples
from .tables import bench_table, console, difference_table, layer_table, progress_console, short

MODELS = "CELOSIA_MODELS"
"""The environment variable that names the folder of models."""
MLPERF_TINY = ("mlperf_ic_resnet8", "mlperf_kws_dscnn", "mlperf_vww_mnv1_025_96", "mlperf_ad_fcae")
"""What runs where no model is given: the networks of MLPerf Tiny's closed division."""
LARGEST = 3
DEVICE_TROUBLE, WRONG, BAD_INPUT = 3, 1, 2
"""Exit codes, the gravest first."""


def percentage(_context: click.Context, _parameter: click.Parameter, text: str) -> Fraction:
    """An option such as "2%" or "2" as a fraction of 1."""
    try:
        share = Fraction(text.strip().removesuffix("%")) / 100
    except (ValueError, ZeroDivisionError) as error:
        raise click.BadParameter(f"{text!r} is no percentage, such as 2%") from error
    if share < 0:
        raise click.BadParameter(f"{text!r} is below 0")
    return share


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--fabric", "fabrics", multiple=True, default=(DEFAULT,), show_default=True,
              metavar="PRESET|FILE.toml", help="What to run on; may be given several times.")
@memory_option
@click.option("--samples", "count", type=click.IntRange(1), metavar="N",
              help="Samples for each model: random ones, or the first of --inputs.  "
              "[default: 1 random one, or all of --inputs]")
@click.option("--inputs", "inputs", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="Samples from files, as in `celosia run`.")
@rounding_option
@check_option
@watchdog_option
@click.option("--layers", "largest", type=click.IntRange(0), default=LARGEST, show_default=True, metavar="N",
              help="Layers to show for each network, those with the most cycles.")
@click.option("--record", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.json",
              help="Write the figures, for --against in times to come.")
@click.option("--against", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE.json",
              help="Compare with recorded figures; exit code 1 if a network has become slower.")
@click.option("--tolerance", default="2%", show_default=True, callback=percentage, metavar="PERCENT",
              help="How much slower is not yet slower.")
@json_option
@debug_option
def bench(models: tuple[str, ...], fabrics: tuple[str, ...], memory: str, count: int | None,
          inputs: tuple[Path, ...], rounding: Rounding, check: bool, watchdog: int, largest: int,
          record: Path | None, against: Path | None, tolerance: Fraction, as_json: bool) -> None:
    """Run models on fabrics, cycle by cycle, and compare the figures.

    MODEL is a file, or a name or pattern that models in the folder $CELOSIA_MODELS have ("resnet8",
    "mlperf_*"). Without any, the four networks of MLPerf Tiny run from there. A model that fails keeps
    none of the others from running.

    \b
    celosia bench --fabric sim16x16 --fabric sim8x8
    celosia bench model.tflite --memory sdram16 --layers 10
    celosia bench --against bench/0.3.0.json --tolerance 2%
    """
    files = [file for name in models or MLPERF_TINY for file in find_models(name)]
    files = list(dict.fromkeys(files))
    chosen = [load_fabric(fabric) for fabric in dict.fromkeys(fabrics)]
    behind = read_memory(memory)
    known = read_record(against) if against is not None else None
    if record is not None:
        check_folder(record, "--record")
    results: list[dict[str, Any]] = []
    stopped = False
    pairs = [(model, fabric) for fabric in chosen for model in files]
    try:
        for number, (model, fabric) in enumerate(pairs, 1):
            progress_console.print(f"[dim]{number} of {len(pairs)}: {escape(model.name)} on "
                                   f"{escape(fabric.name)}[/dim]")
            results.append(measure(model, fabric, behind, count, inputs, rounding=rounding, check=check,
                                   watchdog=watchdog))
    except KeyboardInterrupt:
        stopped = True
    differences = compare(results, known, tolerance) if known is not None else None
    kept = [figure(result) for result in results if result["error"] is None and result["exact"] is not False]
    if as_json:
        told: dict[str, Any] = {"celosia": __version__, "results": results}
        if differences is not None:
            told["against"] = {"file": str(against), "tolerance": float(tolerance),
                               "differences": [difference.summary() for difference in differences]}
        click.echo(json.dumps(told, indent=1))
    else:
        show(results, differences, largest)
    if stopped:
        raise KeyboardInterrupt
    if record is not None and kept:
        write_record(record, kept)
        progress_console.print(f"{len(kept)} figures written to {escape(str(record))}")
    if (problem := verdict(results, differences or [])) is not None:
        raise problem


def find_models(name: str) -> list[Path]:
    """Files of that name, or the models of $CELOSIA_MODELS that match it.

    Raises
    ------
    InputError
        If there are none.
    """
    if Path(name).is_file():
        return [Path(name)]
    folder = Path(os.environ[MODELS]) if os.environ.get(MODELS) else None
    if folder is None:
        raise InputError(f"there is no file {name}, and {MODELS} is not set: give model files, or set it to "
                         "a folder of .tflite and .onnx files, such as the reference models of MLPerf Tiny")
    there = sorted([*folder.glob("*.tflite"), *folder.glob("*.onnx")])
    pattern = name if set(name) & set("*?[") else f"*{name.removesuffix('.tflite').removesuffix('.onnx')}*"
    exact = [model for model in there if name in (model.name, model.stem)]
    found = exact or [model for model in there
                      if fnmatch(model.name, pattern) or fnmatch(model.stem, pattern)]
    if not found:
        names = ", ".join(model.stem for model in there[:8]) or "no model"
        raise InputError(f"there is no file {name} and no model in {folder} ({MODELS}) has that name; it "
                         f"holds {names}{', …' if len(there) > 8 else ''}")
    return found


def measure(model: Path, fabric: Fabric, memory: NamedMemory | None, count: int | None,
            inputs: Sequence[Path], *, rounding: Rounding, check: bool, watchdog: int) -> dict[str, Any]:
    """The summary of ``celosia run`` for a model on a fabric, with the share of each cause of waiting.

    ``error`` is null, or says what kept it from running; there are no figures then.
    """
    try:
        sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{model} cannot be read: {error.strerror or error}") from error
    try:
        began = time.perf_counter()
        program = make_program(model, fabric, rounding)
        seconds = time.perf_counter() - began
        samples = (read_samples(program.graph, inputs)[:count] if inputs else
                   [random_sample(program.graph, seed) for seed in range(count or 1)])
        job = run_job(model, fabric, "sim", samples, program=program, compile_seconds=seconds, check=check,
                      rounding=rounding, watchdog=watchdog, memory=memory)
        if job.error is not None:
            raise job.error
    except Exception as error:  # even a fault of our own must not cost the others
        return {"model": model.name, "sha256": sha256,
                "fabric": {"name": fabric.name, "rows": fabric.rows, "cols": fabric.cols,
                           "fingerprint": f"{fabric.fingerprint:016x}"},
                "memory": memory.summary() if memory else None, "cycles": 0, "exact": None,
                "error": {"kind": type(error).__name__, "message": str(error),
                          "exit_code": getattr(error, "exit_code", DEVICE_TROUBLE)}}
    causes: dict[str, int] = {}
    for layer in job.summary["layers"]:
        for cause, cycles in layer["stalls"].items():
            causes[cause] = causes.get(cause, 0) + cycles
    return job.summary | {
        "model": model.name, "sha256": sha256,
        "stalls": dict(sorted(causes.items(), key=lambda item: -item[1])), "error": None}


def show(results: Sequence[dict[str, Any]], differences: Sequence[Difference] | None, largest: int) -> None:
    """The tables for people."""
    console.print(bench_table(results, width=console.width))
    console.print("[dim]predicted: its distance from the cycles; waited for: share of the cycles, by cause; "
                  "host: time in the host's own kernels, not among the cycles[/dim]")
    for result in results if largest else ():
        layers = sorted(result.get("layers", ()), key=lambda layer: -layer["cycles"])[:largest]
        if layers and result["cycles"]:
            fabric = result["fabric"]
            shown = sum(layer["cycles"] for layer in layers) / result["cycles"]
            console.print(f"\n[bold]{escape(short(result['model'], 48))}[/bold] on {escape(fabric['name'])}: "
                          f"{shown:.0%} of its cycles")
            console.print(layer_table(layers, fabric["rows"], fabric["cols"], width=console.width))
    if differences is not None:
        console.print()
        console.print(difference_table(differences))


def verdict(results: Sequence[dict[str, Any]], differences: Sequence[Difference]) -> CelosiaError | None:
    """What the command ends with, after everything was shown: its exit code is the gravest there is."""
    problems = list(_problems(results, differences))
    if not problems:
        return None
    told = CelosiaError("; ".join(text for text, _ in problems))
    told.exit_code = next(code for code in (DEVICE_TROUBLE, WRONG, BAD_INPUT)
                          if code in {code for _, code in problems})
    return told


def _problems(results: Sequence[dict[str, Any]],
              differences: Sequence[Difference]) -> Iterator[tuple[str, int]]:
    for result in results:
        name = f"{result['model']} on {result['fabric']['name']}"
        if result["error"] is not None:
            yield f"{name}: {result['error']['message']}", result["error"]["exit_code"]
        elif result["exact"] is False:
            yield f"{name}: {result['mismatches']} output values differ from the framework's", WRONG
    for difference in differences:
        if difference.verdict == "slower" and difference.change is not None:
            yield (f"{difference.model} on {difference.fabric} is {difference.change:.1%} slower than "
                   f"recorded: {difference.now:,} cycles, not {difference.before:,}", WRONG)
