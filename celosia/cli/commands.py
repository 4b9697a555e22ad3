"""The subcommands."""
import json
import time
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
from rich.markup import escape

from ..api import Qdq, Rounding, compile_model, is_program, load_program, open_device
from ..doctor import examine
from ..host.driver.device import WATCHDOG, Array
from ..host.driver.fabric_driver import MAX_WATCHDOG
from ..host.link.factory import is_board
from ..memory import AUTO, read_memory
from ..rtl.contract.errors import InputError, ToolError, WrongResult
from ..rtl.contract.fabric import Fabric
from ..rtl.contract.presets import DEFAULT, PRESETS, load_fabric
from ..sim.native.build import MODULE
from .digits import show_digits
from .job import Job, make_program, run_job
from .samples import random_sample, read_samples
from .tables import console, fabric_table, layer_table, program_tables, progress_console

model_argument = click.argument("model", type=click.Path(exists=True, path_type=Path))
fabric_option = click.option("--fabric", default=DEFAULT, show_default=True, metavar="PRESET|FILE.toml",
                             help="What to run on; see `celosia fabrics`.")
device_option = click.option("--device", default="sim", show_default=True,
                             metavar="sim|emulator|serial:PORT",
                             help="sim: the hardware, compiled to native code. "
                             "emulator: the instruction set only. serial:/dev/ttyUSB0: a board.")
device_fabric_option = click.option("--fabric", metavar="PRESET|FILE.toml",
                                    help="What to run on; see `celosia fabrics`.  [default: what a board "
                                    f"says it has, else {DEFAULT}]")
rounding_option = click.option("--rounding", type=click.Choice(get_args(Rounding)), default="litert",
                               show_default=True, help="Whose fully connected layers are meant: "
                               "LiteRT 1.3 and later, or TensorFlow Lite Micro.")
qdq_option = click.option("--qdq", type=click.Choice(get_args(Qdq)), default="exact", show_default=True,
                          help="Float sums of an ONNX model between DequantizeLinear and QuantizeLinear. "
                          "exact: rounded as by ONNX Runtime with graph optimisations disabled, in two "
                          "passes; fused: as integer sums, in one.")
memory_option = click.option("--memory", default=AUTO, show_default=True,
                             metavar="bus|sdram16|BYTES[:READ[:WRITE]]",
                             help="Memory behind the simulated port: as fast as the bus, 16-bit SDRAM, or "
                             "bytes a cycle and cycles of latency. auto: sdram16 for a network that streams "
                             "weights or images, bus for one that stays on chip.")
check_option = click.option("--check", is_flag=True,
                            help="Also run the framework's reference kernels and compare every bit.")
watchdog_option = click.option("--watchdog", type=click.IntRange(1, MAX_WATCHDOG), default=WATCHDOG,
                               show_default=True, metavar="CYCLES",
                               help="Stop an inference that takes longer.")
json_option = click.option("--json", "as_json", is_flag=True,
                           help="Print JSON on stdout and nothing else; progress still goes to stderr.")
debug_option = click.option("--debug", is_flag=True, expose_value=False,
                            help="Show the traceback of an error.")


@click.command()
@model_argument
@click.option("--inputs", "input_files", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help=".npz (arrays by tensor name, or in{i}_{k} = input i of sample k), .npy, or a picture. "
              "May be given several times; more files may follow the model. Without any, one random "
              "sample is run.")
@click.argument("more_inputs", nargs=-1, type=click.Path(path_type=Path))
@device_fabric_option
@device_option
@memory_option
@rounding_option
@qdq_option
@check_option
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.npz",
              help="Write outputs as out{o}_{k}.")
@watchdog_option
@json_option
@debug_option
def run(model: Path, input_files: tuple[Path, ...], more_inputs: tuple[Path, ...], fabric: str | None,
        device: str, memory: str, rounding: Rounding, qdq: Qdq, check: bool, out: Path | None, watchdog: int,
        as_json: bool) -> None:
    """Compile MODEL, run it, and report per layer.

    MODEL is a quantised .tflite or .onnx, or a Program file made by `celosia compile`.

    \b
    celosia run model.tflite --inputs photo.png --check
    celosia run model.tflite --inputs samples.npz --out results.npz --json
    celosia run model.tflite --device serial:/dev/ttyUSB0
    """
    chosen = fabric_of(device, fabric)
    behind = read_memory(memory)
    if out is not None:
        check_folder(out, "--out")
    began = time.perf_counter()
    program = make_program(model, chosen, rounding, qdq)
    seconds = time.perf_counter() - began
    samples = read_samples(program.graph, [*input_files, *more_inputs])
    if not samples:
        samples = [random_sample(program.graph)]
        progress_console.print("[dim]no --inputs: running one random sample[/dim]")
    job = run_job(model, chosen, device, samples, program=program, compile_seconds=seconds, check=check,
                  rounding=rounding, watchdog=watchdog, memory=behind)
    if out is not None:
        write_outputs(out, job.outputs)
    if as_json:
        click.echo(json.dumps(job.summary, indent=1))
    else:
        show(job)
        if out is not None:
            console.print(f"outputs of {samples_text(len(job.outputs))} written to {escape(str(out))}")
    finish(job, len(samples))


def fabric_of(device: str, fabric: str | None) -> Fabric:
    """The fabric that was named; else the one that a board says it has, or the default for the others."""
    if fabric is None and is_board(device):
        with open_device(device) as board:
            return board.fabric
    return load_fabric(DEFAULT if fabric is None else fabric)


def finish(job: Job, wanted: int) -> None:
    """Raise what the run calls for, after everything it computed was shown and written."""
    if job.error is not None:
        progress_console.print(f"[red]stopped after {len(job.outputs)} of {wanted} samples[/red]")
        raise job.error
    if job.summary["exact"] is False:
        raise WrongResult(f"{job.summary['mismatches']} output values differ from the framework's "
                          "reference kernels")


def memory_text(memory: Mapping[str, Any]) -> str:
    """The memory of a run in words."""
    rate = memory["bytes_per_cycle"]
    speed = "as fast as the bus" if rate is None else f"{rate:.4g} bytes a cycle"
    return (f"memory {escape(memory['name'])}: {speed}, first data after {memory['read_latency']} cycles, "
            f"a write's response after {memory['write_latency']}")


def samples_text(count: int) -> str:
    """A number of samples in words."""
    return f"{count} sample{'s' if count != 1 else ''}"


def check_folder(file: Path, option: str) -> None:
    """Refuse a file that cannot be written before the work for it is done."""
    if not file.absolute().parent.is_dir():
        raise InputError(f"{option} {file} cannot be written: there is no folder {file.absolute().parent}")


def write_outputs(file: Path, outputs: list[tuple[Array, ...]]) -> None:
    """``out{o}_{k}`` for output o of sample k."""
    arrays: dict[str, Any] = {f"out{o}_{k}": value for k, sample in enumerate(outputs)
                              for o, value in enumerate(sample)}
    try:
        with file.open("wb") as stream:  # a file, because NumPy adds .npz to a name without
            np.savez_compressed(stream, allow_pickle=False, **arrays)
    except OSError as error:
        raise InputError(f"--out {file} cannot be written: {error.strerror or error}") from error


def show(job: Job) -> None:
    """The summary for people."""
    told = job.summary
    fabric = told["fabric"]
    console.print(layer_table(told["layers"], fabric["rows"], fabric["cols"], width=console.width))
    console.print()
    console.print(f"[bold]{escape(told['model'])}[/bold] on {escape(fabric['name'])} "
                  f"({fabric['rows']}x{fabric['cols']}, {told['device']}), {samples_text(told['samples'])}")
    share = f"{told['macs_on_fabric']:,} of {told['macs']:,} MACs on the fabric"
    if told["cycles"]:
        off = told["predicted"] / told["cycles"] - 1
        console.print(f"{told['cycles']:,} cycles an inference (predicted {off:+.1%}), "
                      f"{told['utilisation']:.1%} of the array's peak; {share}")
        if told["memory"] is not None:
            console.print(memory_text(told["memory"]))
    elif told["predicted"]:
        console.print(f"about {told['predicted']:,} cycles an inference predicted; {share}")
    else:
        console.print("everything runs on the host")
    if told["exact"] is not None:
        console.print("[green]exact: every output equals the framework's reference kernels[/green]"
                      if told["exact"] else
                      f"[red]wrong: {told['mismatches']:,} output values differ from the reference[/red]")
    seconds = told["seconds"]
    rate = f", {told['sim_cycles_per_second']:,} cycles/s" if told["sim_cycles_per_second"] else ""
    console.print(f"[dim]compile {seconds['compile']:.2f} s, build {seconds['build']:.2f} s, "
                  f"run {seconds['simulate']:.2f} s{rate}[/dim]")


@click.command("compile")
@model_argument
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path),
              metavar="FILE", help="The Program file to write.")
@fabric_option
@rounding_option
@qdq_option
@json_option
@debug_option
def compile_(model: Path, output: Path, fabric: str, rounding: Rounding, qdq: Qdq, as_json: bool) -> None:
    """Compile MODEL to a Program file, which holds everything a device needs.

    \b
    celosia compile model.tflite -o model.celosia --fabric sim8x8
    celosia run model.celosia --fabric sim8x8
    """
    check_folder(output, "-o")
    began = time.perf_counter()
    program = compile_model(model, fabric=fabric, rounding=rounding, qdq=qdq)
    seconds = time.perf_counter() - began
    try:
        program.save(output)
    except OSError as error:
        raise InputError(f"-o {output} cannot be written: {error.strerror or error}") from error
    told = {"model": program.name, "file": str(output), "fabric": program.fabric.name,
            "fingerprint": f"{program.fabric.fingerprint:016x}", "predicted": program.predicted,
            "macs": program.macs, "macs_on_fabric": program.macs_on_fabric, "seconds": round(seconds, 3),
            "bytes": output.stat().st_size}
    if as_json:
        click.echo(json.dumps(told, indent=1))
    else:
        console.print(escape(f"{output}: {program.name} for {program.fabric.name}, {told['bytes']:,} bytes; "
                             f"about {program.predicted:,} cycles an inference; compiled in {seconds:.2f} s"))


@click.command()
@model_argument
@fabric_option
@rounding_option
@qdq_option
@json_option
@debug_option
def inspect(model: Path, fabric: str, rounding: Rounding, qdq: Qdq, as_json: bool) -> None:
    """Show where each operator of MODEL would run and why, what proves it exact, and the memory map.

    \b
    celosia inspect model.tflite --fabric tiny
    """
    program = (load_program(model) if is_program(model)
               else compile_model(model, fabric=fabric, rounding=rounding, qdq=qdq))
    if as_json:
        click.echo(json.dumps({
            "model": program.name, "fabric": program.fabric.name,
            "fingerprint": f"{program.fabric.fingerprint:016x}", "predicted": program.predicted,
            "macs": program.macs, "macs_on_fabric": program.macs_on_fabric,
            "dram_bytes": program.dram_bytes, "rom_bytes": program.rom_bytes, "memory": program.memory,
            "layers": [vars(layer) for layer in program.layers]}, indent=1))
        return
    for table in program_tables(program, width=console.width):
        console.print(table)
        console.print()
    built = program.fabric
    console.print(f"[bold]{escape(program.name)}[/bold] for {escape(built.name)} ({built.rows}x{built.cols})")
    if not program.predicted:
        console.print("everything runs on the host")
        return
    share = program.macs_on_fabric / (built.rows * built.cols * program.predicted)
    console.print(f"about {program.predicted:,} cycles an inference predicted, {share:.1%} of the array's "
                  f"peak; {program.macs_on_fabric:,} of {program.macs:,} MACs on the fabric")


@click.command()
@json_option
@debug_option
def fabrics(as_json: bool) -> None:
    """List the preset fabrics with their sizes.

    A fabric of your own is a TOML file: `base = "sim16x16"` and the parameters that differ,
    such as `rows = 3`.
    """
    if as_json:
        click.echo(json.dumps([{**vars(fabric), "fingerprint": f"{fabric.fingerprint:016x}"}
                               for fabric in PRESETS.values()], indent=1))
    else:
        console.print(fabric_table(list(PRESETS.values()), width=console.width))


@click.command()
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.v",
              help="The fabric.")
@click.option("--header", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.h",
              help="Its registers, codes and instructions for C.")
@fabric_option
@json_option
@debug_option
def verilog(output: Path | None, header: Path | None, fabric: str, as_json: bool) -> None:
    """Write a fabric as one Verilog file with AXI4 and AXI4-Lite ports (module celosia_fabric).

    The comment at its head has the parameters, the registers, what the ports expect, and an instance to copy.
    docs/integration.md shows it in a system.

    \b
    celosia verilog --fabric tiny -o celosia.v --header celosia.h
    """
    from ..rtl.c_header import c_header
    from ..rtl.verilog import fabric_verilog

    if output is None and header is None:
        raise click.UsageError("nothing to write; name a file with -o FILE.v, --header FILE.h, or both")
    chosen = load_fabric(fabric)
    wanted = [(file, option, make) for file, option, make in (
        (output, "-o", fabric_verilog), (header, "--header", c_header)) if file is not None]
    for file, option, _ in wanted:
        check_folder(file, option)
    lines = {}
    for file, option, make in wanted:
        text = make(chosen)
        lines[file] = len(text.splitlines())
        try:
            file.write_text(text)
        except OSError as error:
            raise InputError(f"{option} {file} cannot be written: {error.strerror or error}") from error
    if as_json:
        click.echo(json.dumps({
            "file": output and str(output), "header": header and str(header), "module": MODULE,
            "fabric": chosen.name, "fingerprint": f"{chosen.fingerprint:016x}",
            "lines": lines.get(output) if output else None}, indent=1))
        return
    told = f"fabric {chosen.name} ({chosen.rows}x{chosen.cols})"
    for file, count in lines.items():
        what = f"module {MODULE}, {told}" if file == output else f"C header of {told}"
        console.print(escape(f"{file}: {what}, {count:,} lines"))


@click.command()
@device_fabric_option
@device_option
@json_option
@debug_option
def demo(fabric: str | None, device: str, as_json: bool) -> None:
    """Read handwritten digits with a small network on the simulated hardware, and check every bit.

    The network (residual, int8, trained by examples/digits/train.py) and the test digits come with the
    package.
    """
    folder = files("celosia") / "demo"
    with as_file(folder / "digits.tflite") as model, as_file(folder / "digits.npz") as digits:
        chosen = fabric_of(device, fabric)
        began = time.perf_counter()
        program = make_program(model, chosen, "litert")
        seconds = time.perf_counter() - began
        with np.load(digits) as held:
            images, labels = held["images"], held["labels"].tolist()
        samples = [[image[None]] for image in images]
        job = run_job(model, chosen, device, samples, program=program, compile_seconds=seconds, check=True,
                      rounding="litert")
    guesses = [int(np.argmax(outputs[0])) for outputs in job.outputs]
    right = sum(guess == label for guess, label in zip(guesses, labels, strict=False))
    if as_json:
        click.echo(json.dumps({**job.summary, "predictions": guesses, "labels": labels, "right": right},
                              indent=1))
    else:
        show_digits(console, images, labels, guesses)
        console.print(f"[bold]{right} of {len(labels)} digits right[/bold]\n")
        show(job)
    finish(job, len(samples))


@click.command()
@json_option
@debug_option
def doctor(as_json: bool) -> None:
    """Say what is installed, what is missing, and what to type."""
    findings = examine()
    if as_json:
        click.echo(json.dumps([vars(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            mark = ("[green]ok[/green]" if finding.ok else "[red]no[/red]" if finding.needed
                    else "[yellow]--[/yellow]")
            console.print(f"{mark}  {finding.name:18} {escape(finding.found)}")
            if not finding.ok:
                console.print(f"    {'needed: ' if finding.needed else ''}{finding.purpose}; "
                              f"{escape(finding.remedy)}")
    if missing := [finding for finding in findings if finding.needed and not finding.ok]:
        raise ToolError(f"{', '.join(finding.name for finding in missing)} missing or unusable; "
                        + "; ".join(f"{finding.name}: {finding.remedy}" for finding in missing))
