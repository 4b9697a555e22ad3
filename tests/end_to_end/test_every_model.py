"""Every model of the models folder: all outputs of its golden samples, on the RTL and the emulator."""
import csv
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

import celosia

FOLDER = Path(os.environ.get("CELOSIA_MODELS", Path(__file__).parents[3] / "shared" / "models"))
MODELS = sorted([*FOLDER.glob("*.tflite"), *FOLDER.glob("*.onnx")],
                key=lambda file: -file.stat().st_size)  # the longest start first
LARGE = 40_000_000
"""Multiply-accumulates of a network of which one sample is enough, unless there is time (make soak)."""
HUGE = 600_000_000
"""Those of one that takes minutes on the RTL."""
SOAK = bool(os.environ.get("CELOSIA_SOAK"))
MEMORY_BYTES = 64 << 20
ARRAY_WORK = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@pytest.fixture(params=MODELS or [None], ids=lambda file: file.stem if file else "none")
def model(request, models):
    assert request.param is not None, f"no model in {models}"
    return request.param


@pytest.fixture(scope="module")
def devices():
    """By kind, opened when first asked for."""
    found = {}

    def get(kind):
        if kind not in found:
            found[kind] = celosia.open(kind, memory_bytes=MEMORY_BYTES)
        return found[kind]

    yield get
    for device in found.values():
        device.close()


def goldens(model, graph):
    """(inputs, outputs) of each sample, in the order in which the framework ran them."""
    with np.load(model.parent / "goldens" / f"{model.stem}.npz") as held:
        held = dict(held)
    kind = next(kind for kind in ("ref", "tflm", "ort") if f"{kind}0_0" in held)
    sample = 0
    while f"in0_{sample}" in held:
        yield ([held[f"in{i}_{sample}"].reshape(graph.tensors[t].shape) for i, t in enumerate(graph.inputs)],
               [held[f"{kind}{o}_{sample}"] for o in range(len(graph.outputs))])
        sample += 1


@lru_cache(maxsize=1)
def program_of(model):
    """Kept while tests of the same model follow each other."""
    return celosia.compile(model)


@pytest.mark.parametrize("kind", ["emulator", "sim"])
def test_every_output_of_every_golden_sample(model, kind, devices):
    program = program_of(model)
    if kind == "sim" and program.macs > HUGE and not SOAK:
        pytest.skip(f"{program.macs:,} multiply-accumulates take minutes: make soak")
    device = devices(kind)
    device.load(program)  # what it keeps from sample to sample starts afresh
    for number, (inputs, wanted) in enumerate(goldens(model, program.graph)):
        if number and program.macs > LARGE and not SOAK:
            break
        result = device.run(program, inputs)
        for o, (output, want) in enumerate(zip(result.outputs, wanted, strict=True)):
            np.testing.assert_array_equal(output.reshape(-1), want.reshape(-1),
                                          err_msg=f"sample {number}, output {o}")
    if kind == "sim":
        print(f"\n{model.stem}: {result.cycles:,} cycles, predicted {program.predicted:,}")


def test_convolutions_and_fully_connected_layers_run_on_the_fabric(model):
    program = program_of(model)
    other = not all(any(name in layer.op for name in ARRAY_WORK) for layer in program.layers if layer.macs)
    if model.suffix == ".tflite" and other:
        pytest.skip("has multiply-accumulates in other operators too")
    assert program.macs_on_fabric >= 0.99 * program.macs


def test_the_accuracy_of_keyword_spotting(models, devices):
    """On the RTL, every fifth of 710 samples, all of them with make soak; every tenth on the emulator too."""
    model, folder = models / "mlperf_kws_dscnn.tflite", models / "data" / "kws01"
    with (folder / "y_labels.csv").open() as file:
        rows = list(csv.reader(file))
    program, right = program_of(model), 0
    assert len(rows) == 710
    chosen = list(enumerate(rows))[::1 if SOAK else 5]
    for number, (file, _, label) in chosen:
        window = np.frombuffer((folder / file).read_bytes(), np.int8).reshape(1, 49, 10, 1)
        output = devices("sim").run(program, window).outputs[0]
        right += int(output.argmax()) == int(label)
        if number % 10 == 0:
            np.testing.assert_array_equal(devices("emulator").run(program, window).outputs[0], output)
    assert (right, len(chosen)) == ((646, 710) if SOAK else (133, 142))  # 90.99 %, 93.66 %
