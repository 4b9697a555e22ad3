"""Every .tflite file of the models folder: all outputs of its golden samples, on the RTL and the emulator."""
import csv
import os
from pathlib import Path

import numpy as np
import pytest

import celosia

FOLDER = Path(os.environ.get("CELOSIA_MODELS", Path(__file__).parents[3] / "shared" / "models"))
MODELS = sorted(FOLDER.glob("*.tflite"), key=lambda file: -file.stat().st_size)  # the longest start first
LARGE = 40_000_000
"""Multiply-accumulates of a network of which one sample is enough here."""
HUGE = 600_000_000
"""Those of one that takes minutes: only with CELOSIA_SOAK set."""
SOAK = "CELOSIA_SOAK"
MEMORY_BYTES = 64 << 20
ARRAY_WORK = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@pytest.fixture(params=MODELS or [None], ids=lambda file: file.stem if file else "none")
def model(request, models):
    assert request.param is not None, f"no .tflite file in {models}"
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
    kind = "ref" if "ref0_0" in held else "tflm"
    sample = 0
    while f"in0_{sample}" in held:
        yield ([held[f"in{i}_{sample}"].reshape(graph.tensors[t].shape) for i, t in enumerate(graph.inputs)],
               [held[f"{kind}{o}_{sample}"] for o in range(len(graph.outputs))])
        sample += 1


@pytest.mark.parametrize("kind", ["emulator", "sim"])
def test_every_output_of_every_golden_sample(model, kind, devices):
    program = celosia.compile(model)
    if program.macs > HUGE and kind == "sim" and not os.environ.get(SOAK):
        pytest.skip(f"{program.macs:,} multiply-accumulates take minutes; set {SOAK}")
    device = devices(kind)
    device.load(program)  # variables start afresh
    for number, (inputs, wanted) in enumerate(goldens(model, program.graph)):
        if number and program.macs > LARGE and not os.environ.get(SOAK):
            break
        result = device.run(program, inputs)
        for o, (output, want) in enumerate(zip(result.outputs, wanted, strict=True)):
            np.testing.assert_array_equal(output.reshape(-1), want.reshape(-1),
                                          err_msg=f"sample {number}, output {o}")
    if kind == "sim":
        print(f"\n{model.stem}: {result.cycles:,} cycles, predicted {program.predicted:,}")


def test_convolutions_and_fully_connected_layers_run_on_the_fabric(model):
    program = celosia.compile(model)
    work = [layer.op for layer in program.layers if layer.macs]
    if not all(any(name in op for name in ARRAY_WORK) for op in work):
        pytest.skip("has multiply-accumulates in other operators too")
    assert program.macs_on_fabric >= 0.99 * program.macs


def test_the_accuracy_of_keyword_spotting_on_710_samples(models, devices):
    model, folder = models / "mlperf_kws_dscnn.tflite", models / "data" / "kws01"
    with (folder / "y_labels.csv").open() as file:
        rows = list(csv.reader(file))
    program = celosia.compile(model)
    right = 0
    for file, _, label in rows:
        window = np.frombuffer((folder / file).read_bytes(), np.int8).reshape(1, 49, 10, 1)
        output = devices("sim").run(program, window).outputs[0]
        right += int(output.argmax()) == int(label)
    assert right == 646 and len(rows) == 710  # 90.99 %
