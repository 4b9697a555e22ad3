"""One ``run``: compile, open, run every sample, check, and sum up."""
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..api import MEMORY_BYTES, Rounding, compile_model, is_program, load_program, open_device
from ..host.driver.device import Array, Device, Result
from ..host.emit.program import Program
from ..host.importers import load
from ..host.reference import Reference
from ..host.reference.framework import LiteRT
from ..rtl.contract.errors import CelosiaError, InputError
from ..rtl.contract.fabric import Fabric
from .tables import progress_console

STAGES = {"elaborate": "hardware to Verilog", "verilate": "Verilog to C++", "compile": "C++ to native code",
          "wait": "waiting for another process that builds it"}
SLOW = 2.0
"""Seconds after which progress is shown."""


@dataclass
class Job:
    """A finished run: the summary of ``--json``, and the outputs of each sample."""

    summary: dict[str, Any]
    outputs: list[tuple[Array, ...]]
    error: CelosiaError | None = None


@contextmanager
def build_progress(quiet: bool) -> Iterator[Any]:
    """A callback that shows the stages of a build on stderr: a bar on a terminal, else a line a stage."""
    if quiet or not sys.stderr.isatty():
        seen = ""

        def line(stage: str, done: int, total: int) -> None:
            nonlocal seen
            if not quiet and stage != seen:
                seen = stage
                progress_console.print(f"building the simulator: {STAGES.get(stage, stage)}")

        yield line
        return
    with Progress(TextColumn("building the simulator: {task.description}"), BarColumn(), MofNCompleteColumn(),
                  TimeElapsedColumn(), console=progress_console, transient=True) as bar:
        task = bar.add_task("", visible=False)
        yield lambda stage, done, total: bar.update(task, description=STAGES.get(stage, stage), completed=done,
                                                    total=total, visible=True)


def make_program(model: Path, fabric: Fabric, rounding: Rounding) -> Program:
    """Compile a model, or read a Program file."""
    if is_program(model):
        program = load_program(model)
        program.check_fabric(fabric)
        return program
    return compile_model(model, fabric=fabric, rounding=rounding)


def run_job(model: Path, fabric: Fabric, device_name: str, samples: Sequence[Sequence[Array]], *, program: Program,
            compile_seconds: float, check: bool, rounding: Rounding, quiet: bool) -> Job:
    """Run all samples; if the device fails on one, what was computed before is kept and the error returned."""
    reference = _reference(model, rounding) if check else None
    began = time.perf_counter()
    with build_progress(quiet) as tell:
        device = open_device(device_name, fabric=fabric, memory_bytes=max(program.dram_bytes, MEMORY_BYTES),
                             progress=tell)
    build_seconds = time.perf_counter() - began
    results: list[Result] = []
    mismatches = 0
    error: CelosiaError | None = None
    with device:
        began = time.perf_counter()
        try:
            for result, sample in zip(_with_progress(device, program, samples, quiet), samples, strict=True):
                results.append(result)
                if reference is not None:
                    wanted = reference.run(list(sample))
                    mismatches += sum(int(np.count_nonzero(got.reshape(-1) != want.reshape(-1)))
                                      for got, want in zip(result.outputs, wanted, strict=True))
        except CelosiaError as problem:
            if not results:
                raise
            error = problem
        simulate_seconds = time.perf_counter() - began
    summary = summarise(program, device_name, results)
    summary["exact"] = mismatches == 0 if check else None
    summary["mismatches"] = mismatches if check else None
    summary["seconds"] = {"compile": round(compile_seconds, 3), "build": round(build_seconds, 3),
                          "simulate": round(simulate_seconds, 3)}
    spent = sum(result.seconds for result in results)
    total = sum(result.cycles for result in results)
    summary["sim_cycles_per_second"] = round(total / spent) if total and spent else None
    return Job(summary, [result.outputs for result in results], error)


def _reference(model: Path, rounding: Rounding) -> LiteRT | Reference:
    if is_program(model):
        raise InputError(f"{model} is a Program file; --check compares with the model's framework, so give the model")
    return LiteRT(model) if rounding == "litert" else Reference(load(model, rounding=rounding))


def _with_progress(device: Device, program: Program, samples: Sequence[Sequence[Array]], quiet: bool) -> Iterator[Result]:
    """The results, under a progress bar once it takes long."""
    if quiet or not sys.stderr.isatty():
        yield from _with_lines(device, program, samples, quiet)
        return
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("samples"),
                   TextColumn("{task.fields[cycles]}"), TimeElapsedColumn(), console=progress_console, transient=True)
    task = bar.add_task("running", total=len(samples), cycles="")
    began = time.perf_counter()

    def tick(cycles: int, _seconds: float = 0.0) -> None:
        if time.perf_counter() - began > SLOW:
            bar.start()
        bar.update(task, cycles=f"{cycles:,} cycles")

    try:
        for result in device.run_many(program, samples, progress=tick):
            tick(result.cycles)
            bar.advance(task)
            yield result
    finally:
        bar.stop()


def _with_lines(device: Device, program: Program, samples: Sequence[Sequence[Array]], quiet: bool) -> Iterator[Result]:
    """The same where there is no terminal: a line now and then."""
    told = time.perf_counter()
    done = 0

    def tick(cycles: int, _seconds: float = 0.0) -> None:
        nonlocal told
        if not quiet and time.perf_counter() - told > SLOW:
            told = time.perf_counter()
            progress_console.print(f"sample {done + 1} of {len(samples)}, {cycles:,} cycles")

    for result in device.run_many(program, samples, progress=tick):
        done += 1
        tick(result.cycles)
        yield result


def summarise(program: Program, device: str, results: Sequence[Result]) -> dict[str, Any]:
    """The object that ``run --json`` prints, without what only the caller knows; means over the samples."""
    fabric = program.fabric
    count = max(len(results), 1)
    cycles = sum(result.cycles for result in results) / count
    layers = []
    for info in program.layers:
        seen = [result.layers[info.index] for result in results]
        causes = sorted({cause for layer in seen for cause in layer.stalls})
        layers.append({
            "index": info.index, "name": info.name, "op": info.op, "where": info.where, "reason": info.reason,
            "macs": info.macs, "cycles": round(sum(layer.cycles for layer in seen) / count),
            "predicted": info.predicted, "seconds": sum(layer.seconds for layer in seen) / count,
            "proof": info.proof,
            "stalls": {cause: round(sum(layer.stalls.get(cause, 0) for layer in seen) / count) for cause in causes}})
    return {
        "model": program.name,
        "fabric": {"name": fabric.name, "rows": fabric.rows, "cols": fabric.cols,
                   "fingerprint": f"{fabric.fingerprint:016x}"},
        "device": device, "samples": len(results), "macs": program.macs, "macs_on_fabric": program.macs_on_fabric,
        "cycles": round(cycles), "predicted": program.predicted,
        "utilisation": round(program.macs_on_fabric / (fabric.rows * fabric.cols * cycles), 4) if cycles else None,
        "layers": layers,
    }
