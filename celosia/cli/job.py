"""One ``run``: compile, open, run every sample, check, and sum up."""
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..api import MEMORY_BYTES, Qdq, Rounding, compile_model, is_program, load_program, open_device
from ..host.driver.device import WATCHDOG, Array, Device, Result
from ..host.emit.program import FabricRun, Program
from ..host.importers import load
from ..host.importers.nnef_file import looks_like_nnef
from ..host.link.factory import is_board
from ..host.reference import Reference
from ..host.reference.framework import LiteRT, OnnxRuntime, framework_of
from ..host.schedule.predict import Prediction
from ..memory import NamedMemory, memory_for, predicted
from ..rtl.contract.errors import CelosiaError, InputError, UnsupportedError
from ..rtl.contract.fabric import Fabric
from .progress import build_progress, sample_progress


@dataclass
class Job:
    """A finished run: the summary of ``--json``, the outputs of each sample, and what ended it early."""

    summary: dict[str, Any]
    outputs: list[tuple[Array, ...]]
    error: CelosiaError | KeyboardInterrupt | None = None


def make_program(model: Path, fabric: Fabric, rounding: Rounding, qdq: Qdq = "exact") -> Program:
    """Compile a model, or read a Program file."""
    if is_program(model):
        program = load_program(model)
        program.check_fabric(fabric)
        return program
    return compile_model(model, fabric=fabric, rounding=rounding, qdq=qdq)


def run_job(model: Path, fabric: Fabric, device_name: str, samples: Sequence[Sequence[Array]], *,
            program: Program, compile_seconds: float, check: bool, rounding: Rounding,
            watchdog: int = WATCHDOG, memory: NamedMemory | None = None) -> Job:
    """Run all samples; if one fails, what was computed before is kept and the error returned.

    Without a ``memory`` the Program decides which one the simulator gets; the emulator has none, and a board
    its own.
    """
    emulated, board = device_name == "emulator", is_board(device_name)
    if (emulated or board) and memory is not None:
        whose = "a board has its own memory" if board else "the emulator knows no memory timing"
        raise InputError(f"{whose}; leave --memory out, or use --device sim")
    behind = None if emulated or board else memory_for(program, memory)
    reference = _reference(model, rounding, program.graph.framework) if check else None
    prediction = predicted(program, behind.memory if behind else None)
    began = time.perf_counter()
    with build_progress() as tell:
        device = open_device(device_name, fabric=fabric, memory_bytes=max(program.memory_bytes, MEMORY_BYTES),
                             memory=behind.memory if behind else None, watchdog=watchdog, progress=tell)
        if board:
            load_onto(device, program)
    build_seconds = time.perf_counter() - began
    results: list[Result] = []
    mismatches = 0
    simulate_seconds = 0.0
    error: CelosiaError | KeyboardInterrupt | None = None
    unit, expected = ("instructions", _instructions(program)) if emulated else ("cycles", prediction.cycles)
    with device, sample_progress(len(samples), unit, expected) as told:
        try:
            for sample in samples:
                began = time.perf_counter()
                result = device.run(program, sample, progress=told.tick)
                simulate_seconds += time.perf_counter() - began
                told.finished()
                if reference is not None:
                    wanted = reference.run(list(sample))
                    mismatches += sum(differences(got, want)
                                      for got, want in zip(result.outputs, wanted, strict=True))
                results.append(result)
        except (CelosiaError, KeyboardInterrupt) as problem:
            if not results:
                raise
            error = problem
    summary = summarise(program, device_name, results, prediction)
    summary["memory"] = behind.summary() if behind else None
    summary["exact"] = mismatches == 0 if check else None
    summary["mismatches"] = mismatches if check else None
    summary["seconds"] = {"compile": round(compile_seconds, 3), "build": round(build_seconds, 3),
                          "simulate": round(simulate_seconds, 3)}
    spent = sum(result.seconds for result in results)
    total = sum(result.cycles for result in results)
    summary["sim_cycles_per_second"] = round(total / spent) if total and spent and not board else None
    return Job(summary, [result.outputs for result in results], error)


def load_onto(device: Device, program: Program) -> None:
    """Bring a Program's constants onto a board, which takes seconds; let go of the board if that fails."""
    try:
        device.load(program)
    except BaseException:
        device.close()
        raise


def differences(got: Array, wanted: Array) -> int:
    """How many values differ in any bit."""
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return wanted.size
    bits = [np.ascontiguousarray(array).reshape(-1, 1).view(np.uint8) for array in (got, wanted)]
    return int((bits[0] != bits[1]).any(axis=1).sum())


def _reference(model: Path, rounding: Rounding, framework: str) -> LiteRT | OnnxRuntime | Reference:
    if is_program(model):
        raise InputError(f"{model} is a Program file; --check compares with the model's framework, "
                         "so give the model")
    if framework == "tflite" and (rounding == "tflm" or looks_like_nnef(model)):
        return Reference(load(model, rounding=rounding))
    try:
        return framework_of(model, framework)
    except UnsupportedError as error:
        told = str(error) if len(str(error)) < 240 else f"{str(error)[:240]}…"
        raise UnsupportedError(f"{told} (run without --check, or give --rounding tflm to compare with "
                               "our own kernels)") from error


def _instructions(program: Program) -> int:
    return sum(step.count for step in program.steps if isinstance(step, FabricRun))


def summarise(program: Program, device: str, results: Sequence[Result],
              prediction: Prediction) -> dict[str, Any]:
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
            "stalls": {cause: round(sum(layer.stalls.get(cause, 0) for layer in seen) / count)
                       for cause in causes},
            "predicted": prediction.layers.get(info.tag, info.predicted),
            "seconds": round(sum(layer.seconds for layer in seen) / count, 6), "proof": info.proof})
    return {
        "model": program.name,
        "fabric": {"name": fabric.name, "rows": fabric.rows, "cols": fabric.cols,
                   "fingerprint": f"{fabric.fingerprint:016x}"},
        "device": device, "samples": len(results), "macs": program.macs,
        "macs_on_fabric": program.macs_on_fabric, "cycles": round(cycles), "predicted": prediction.cycles,
        "utilisation": round(program.macs_on_fabric / (fabric.rows * fabric.cols * cycles), 4)
        if cycles else None,
        "layers": layers,
    }
