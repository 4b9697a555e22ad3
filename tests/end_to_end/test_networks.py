"""Whole networks on the compiled hardware: every output bit, predicted cycles, every array shape."""

import csv
import os

import numpy as np
import pytest
from celosia.host.reference.framework import LiteRT
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.presets import PRESETS
from celosia.sim.native.model import Memory
from support.emulated import check
from support.networks import every_post, mixed
from support.wide_networks import chain, random_network

import celosia

RESNET = "mlperf_ic_resnet8"
SOAK = bool(os.environ.get("CELOSIA_SOAK"))
EVERY = 1 if SOAK else 4
"""Of so many images one is run."""
RIGHT = {1: 173, 4: 46}
"""Images of which ResNet-8 knows the class, of all 200 (86.5 %) and of every fourth."""
SHAPES = [(1, 1), (8, 8), (32, 3), *([(3, 5)] if SOAK else [])]
CRAMPED = Fabric(name="cramped", rows=9, cols=5, lanes=2, am_words=360, wm_words=80, pm_words=13,
                 acc_depth=19, fifo_depth=29, line_depth=10, tables=1, bus_bytes=4, max_burst=7,
                 outstanding=2, queue_depth=2, profile_layers=40)
"""Odd everywhere; next to nothing fits."""


def fabric_of(rows, cols):
    """A preset, if there is one of that shape: its simulator is built anyway."""
    name = f"sim{rows}x{cols}"
    return PRESETS.get(name, PRESETS["sim16x16"].but(rows=rows, cols=cols, name=name))


def golden(models, name, sample):
    """Inputs and expected outputs of one golden sample."""
    with np.load(models / "goldens" / f"{name}.npz") as held:
        return (
            [held[f"in{i}_{sample}"] for i in range(16) if f"in{i}_{sample}" in held],
            [held[f"ref{o}_{sample}"] for o in range(16) if f"ref{o}_{sample}" in held],
        )


def ic01(models):
    """The 200 images of ic01 as int8 inputs, and their labels."""
    folder = models / "data" / "ic01"
    with (folder / "y_labels.csv").open() as file:
        rows = list(csv.reader(file))
    images = [np.frombuffer((folder / row[0]).read_bytes(), np.uint8).reshape(1, 32, 32, 3) for row in rows]
    return [(image.astype(np.int16) - 128).astype(np.int8) for image in images], [int(row[2]) for row in rows]


@pytest.fixture(scope="module")
def resnet(models):
    return celosia.compile(models / f"{RESNET}.tflite")


@pytest.fixture(scope="module")
def sim16x16():
    with celosia.open("sim") as device:
        yield device


def test_resnet8_is_exact_and_accurate(models, resnet, sim16x16):
    """On 50 images; all 200 with make soak."""
    images, labels = ic01(models)
    reference = LiteRT(models / f"{RESNET}.tflite")
    right = 0
    for image, label in list(zip(images, labels, strict=True))[::EVERY]:
        result = sim16x16.run(resnet, image)
        np.testing.assert_array_equal(result.outputs[0], reference.run([image])[0])
        right += int(result.outputs[0].argmax()) == label
    assert len(images) == 200 and right == RIGHT[EVERY]


def test_resnet8_on_the_emulator_is_exact_on_some_of_them(models, resnet):
    images, _ = ic01(models)
    reference = LiteRT(models / f"{RESNET}.tflite")
    with celosia.open("emulator") as device:
        for image in images[::5 * EVERY]:
            np.testing.assert_array_equal(device.run(resnet, image).outputs[0], reference.run([image])[0])


def test_resnet8_reaches_its_utilisation_and_each_layer_its_prediction(models, resnet, sim16x16):
    inputs, _ = golden(models, RESNET, 0)
    result = sim16x16.run(resnet, inputs)
    assert result.cycles <= 51_000  # 49,216 would be ideal
    assert result.utilisation >= 0.96
    assert sum(layer.cycles for layer in result.layers) == result.cycles
    for layer in result.layers:
        if layer.where == "fabric":
            assert abs(layer.predicted - layer.cycles) <= max(0.05 * layer.cycles, 10), layer
    assert resnet.macs_on_fabric == resnet.macs == 12_501_632


@pytest.mark.parametrize("rows,cols", SHAPES, ids=lambda n: str(n))
def test_resnet8_is_exact_on_any_array(models, rows, cols):
    if rows * cols == 1 and not SOAK:
        pytest.skip("13 million cycles: make soak")
    fabric = fabric_of(rows, cols)
    program = celosia.compile(models / f"{RESNET}.tflite", fabric=fabric)
    inputs, wanted = golden(models, RESNET, 1)
    with celosia.open("sim", fabric=fabric) as device:
        result = device.run(program, inputs)
    np.testing.assert_array_equal(result.outputs[0], wanted[0])
    assert abs(program.predicted - result.cycles) <= 0.05 * result.cycles


@pytest.mark.parametrize("rows,cols", [*SHAPES, (16, 16)], ids=lambda n: str(n))
def test_random_layers_equal_numpy_on_any_array_with_a_stalling_memory(rows, cols):
    memory = Memory(stall=0.3, seed=rows, read_latency=3)
    for network, outputs in [(mixed(np.random.default_rng(rows + 100 * cols)), [3, 6, 11]),
                             (every_post(np.random.default_rng(rows)), None),
                             *(random_network(seed) for seed in range(100 * rows, 100 * rows + 6))]:
        check(network, fabric_of(rows, cols), outputs, device="sim", memory=memory)


@pytest.mark.parametrize("memory", [None, Memory(stall=0.3, seed=1, read_latency=40, bytes_per_cycle=1)],
                         ids=["quick", "slow"])
def test_layers_strip_by_strip_equal_numpy_where_nothing_fits(memory):
    """Alone and together, with columns that are cut; halos, tables and parameters are loaded each time."""
    together, spilled = 0, 0
    for make in (chain, mixed, every_post):
        network = make(np.random.default_rng(1))
        program = check(network, CRAMPED, device="sim", memory=memory)
        (segment,) = program.memory["segments"]
        together = max([together, *(len(strip["layers"]) for strip in segment["strips"])])
        spilled += len(segment["spilled"])
        assert not program.memory["weights_resident"]
    assert together >= 3 and spilled >= 3


def test_the_memory_changes_the_cycles_and_nothing_else(models, resnet):
    inputs, wanted = golden(models, RESNET, 0)
    cycles = []
    for memory in (Memory(), Memory(read_latency=90, write_latency=50, bytes_per_cycle=2, stall=0.2, seed=3)):
        with celosia.open("sim", memory=memory) as device:
            result = device.run(resnet, inputs)
        np.testing.assert_array_equal(result.outputs[0], wanted[0])
        cycles.append(result.cycles)
    assert cycles[0] < cycles[1]
