"""Scheduled layers on the ISA emulator against NumPy int64, with memories of every size."""

import numpy as np
import pytest
from celosia.host.emit.emit import emit
from celosia.host.emit.program import FabricRun, Program
from celosia.host.schedule.schedule import schedule
from celosia.rtl.contract.errors import CapacityError
from celosia.rtl.contract.fabric import Fabric
from celosia.sim.emulator import Emulator
from support.networks import Network, get_tensor, mixed, put_program, put_tensor

SIZES = [(1, 1), (3, 5), (4, 4), (8, 16), (16, 16), (32, 7)]


def run(program, image):
    """Execute setup and all runs on the emulator; returns outputs by tensor."""
    dram = np.zeros(program.dram_bytes, np.uint8)
    put_program(dram, program)
    emulator = Emulator(program.fabric, dram)
    emulator.run(*program.setup)
    outputs = {}
    for step in program.steps:
        assert isinstance(step, FabricRun)
        for home in step.inputs:
            put_tensor(dram, home, image)
        emulator.run(step.address, step.count)
        outputs |= {home.tensor: get_tensor(dram, home) for home in step.outputs}
    return outputs


def check(network, fabric, outputs=None):
    program = emit(schedule(network.plan(outputs), fabric))
    image = network.image()
    values, got = network.values(image), run(program, image)
    for tensor, value in got.items():
        np.testing.assert_array_equal(value, values[tensor].reshape(value.shape), err_msg=f"tensor {tensor}")
    assert set(got) == set(outputs or [len(network.shapes) - 1])
    return program


@pytest.mark.parametrize("rows,cols", SIZES)
def test_every_kind_of_layer_equals_numpy_on_chip(rows, cols):
    fabric = Fabric(rows=rows, cols=cols, am_words=65536 // rows, wm_words=200000, acc_depth=64)
    program = check(mixed(np.random.default_rng(rows * 100 + cols)), fabric)
    assert program.memory["segments"][0]["resident"] and program.memory["weights_resident"]


@pytest.mark.parametrize("rows,cols", SIZES)
def test_every_kind_of_layer_equals_numpy_when_nothing_fits(rows, cols):
    fabric = Fabric(
        rows=rows,
        cols=cols,
        am_words=-(-3300 // rows),
        wm_words=5 * rows + 100,
        pm_words=2 * (cols + 1),
        acc_depth=16,
        fifo_depth=4,
    )
    program = check(mixed(np.random.default_rng(rows * 100 + cols)), fabric, outputs=[3, 6, 11])
    assert program.memory["segments"][0]["spilled"] and not program.memory["weights_resident"]


def test_one_memory_too_small_for_a_row_is_named():
    net = Network(np.random.default_rng(0), (8, 200, 16))
    net.conv(0, 16)
    with pytest.raises(CapacityError, match=r"layer0.*am_words to at least"):
        schedule(net.plan(), Fabric(rows=4, cols=4, am_words=1000))


def test_more_layers_than_an_instruction_can_number():
    net = Network(np.random.default_rng(0), (1, 1, 3))
    last = 0
    for _ in range(1026):
        last = net.gemm(last, 3)
    program = check(net, Fabric(rows=4, cols=4, pm_words=4096))
    predicted = [layer.predicted for layer in program.layers]
    assert [layer.tag for layer in program.layers] == list(range(1026))
    assert sum(predicted) == program.predicted and predicted[1023] and not any(predicted[1024:])


def test_program_file_round_trip(tmp_path):
    net = mixed(np.random.default_rng(5))
    program = emit(schedule(net.plan(), Fabric(rows=4, cols=4)))
    program.save(tmp_path / "p.celosia")
    again = Program.load(tmp_path / "p.celosia")
    assert again.steps == program.steps and again.layers == program.layers and again.fabric == program.fabric
    for (a, x), (b, y) in zip(program.blobs, again.blobs, strict=True):
        assert a == b
        np.testing.assert_array_equal(x, y)
