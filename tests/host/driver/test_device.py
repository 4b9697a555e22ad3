"""Device on the emulator's link: inputs, mismatches refused before a byte moves, host steps, recovery."""
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
from celosia.host.driver.device import FINISH, Device, named_inputs
from celosia.host.importers.tflite import load_tflite
from celosia.host.importers.tflite_writer import ModelSpec, OpSpec, TensorSpec
from celosia.host.link.emulator import EmulatorLink
from celosia.host.reference.framework import LiteRT
from celosia.rtl.contract.errors import DeviceError, FaultError, InputError, MismatchError
from celosia.rtl.contract.isa import Cause, Unit
from celosia.rtl.contract.presets import PRESETS
from celosia.rtl.contract.registers import Reg
from support import single_ops

import celosia

TINY = PRESETS["tiny"]
DIGITS = str(files("celosia") / "demo" / "digits.tflite")
IMAGE = np.zeros((1, 8, 8, 1), np.int8)


class Tape(EmulatorLink):
    """An emulator that notes what is asked of it, and whose program can be broken off."""

    def __init__(self, fabric=TINY, **options):
        self.notes, self.interrupt = [], False
        super().__init__(fabric, **options)

    def write(self, reg, value):
        self.notes.append(reg)
        super().write(reg, value)

    def write_memory(self, address, data):
        self.notes.append("memory")
        super().write_memory(address, data)

    def wait_idle(self, *, max_cycles, progress=None):
        if self.interrupt:
            self.interrupt = False
            raise KeyboardInterrupt
        super().wait_idle(max_cycles=max_cycles, progress=progress)


@pytest.fixture(scope="module")
def program():
    return celosia.compile(DIGITS, fabric="tiny")


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(-128, 128, (1, 8, 8, 1)).astype(np.int8)


@pytest.fixture(scope="module")
def want(image):
    return LiteRT(DIGITS).run([image])[0]


def test_inputs_are_taken_as_array_list_or_mapping_with_or_without_the_leading_1(program, image, want):
    with Device(EmulatorLink(TINY), TINY) as device:
        for given in (image, image[0], [image], (image[0],), {"input": image}):
            np.testing.assert_array_equal(device.run(program, given).outputs[0], want)


@pytest.mark.parametrize("given,told", [
    ([IMAGE, IMAGE], "2 inputs were given; digits.tflite takes 1"), ([], "0 inputs were given"),
    ({"picture": IMAGE}, "inputs ['picture'] are unknown and ['input'] are missing"),
    (IMAGE.astype(np.uint8), "is uint8[1, 8, 8, 1]; digits.tflite takes int8[1, 8, 8, 1]"),
    (IMAGE[:, 1:], "is int8[1, 7, 8, 1]"), (np.zeros((2, 8, 8, 1), np.int8), "is int8[2, 8, 8, 1]"),
    (3, "is int64[]")])
def test_wrong_inputs_are_refused_before_anything_moves(program, given, told):
    link = Tape()
    with Device(link, TINY) as device, pytest.raises(InputError) as caught:
        device.run(program, given)
    assert told in str(caught.value)
    assert link.notes == []


def test_named_inputs_keep_the_order_of_the_network():
    graph = load_tflite(single_ops.pairwise(np.random.default_rng(1), "ADD").build(), "add")
    a, b = (np.full((1, 4, 5, 3), value, np.int8) for value in (1, 2))
    by_name = named_inputs(graph, {"t1": b, "t0": a})
    assert [by_name[index].flat[0] for index in graph.inputs] == [1, 2]


def test_a_program_for_another_fabric_is_refused_before_anything_moves():
    other = celosia.compile(DIGITS, fabric="sim8x8")
    link = Tape()
    with Device(link, TINY) as device, pytest.raises(MismatchError, match="compiled for fabric sim8x8"):
        device.run(other, IMAGE)
    assert link.notes == []


def test_a_device_with_another_fabric_behind_it_is_refused():
    with pytest.raises(MismatchError, match="sim8x8"):
        Device(EmulatorLink(TINY), PRESETS["sim8x8"])


def test_too_little_memory_is_refused_with_both_sizes(program):
    with Device(EmulatorLink(TINY, memory_size=4096), TINY) as device, pytest.raises(InputError) as caught:
        device.run(program, IMAGE)
    assert str(program.dram_bytes) in str(caught.value) and "4096" in str(caught.value)


def test_exactly_enough_memory_is_enough(program, image, want):
    with Device(EmulatorLink(TINY, memory_size=program.dram_bytes), TINY) as device:
        np.testing.assert_array_equal(device.run(program, image).outputs[0], want)


def test_a_program_is_loaded_once_and_again_after_another(program, image, want):
    link = Tape()
    other = celosia.compile(DIGITS, fabric="tiny")
    with Device(link, TINY) as device:
        device.run(program, image)
        first = link.notes.count("memory")
        device.run(program, image)
        assert link.notes.count("memory") == first + 1  # only the input
        device.run(other, image)
        assert link.notes.count("memory") == 2 * first + 1
        np.testing.assert_array_equal(device.run(program, image).outputs[0], want)


def test_after_an_interrupted_run_the_next_one_is_right(program, image, want):
    link = Tape()
    with Device(link, TINY) as device:
        device.run(program, image)
        link.interrupt = True
        with pytest.raises(KeyboardInterrupt):
            device.run(program, image)
        np.testing.assert_array_equal(device.run(program, image).outputs[0], want)


def test_after_a_fault_constants_are_loaded_again(program, image, want):
    link = Tape()
    with Device(link, TINY) as device:
        device.run(program, image)
        step = next(step for step in program.steps if hasattr(step, "count"))
        link.write_memory(step.address, np.full(32, 0xFF, np.uint8))
        with pytest.raises(FaultError, match="instruction 0") as caught:
            device.run(program, image)
        assert caught.value.exit_code == 3
        np.testing.assert_array_equal(device.run(program, image).outputs[0], want)


def test_run_many_yields_what_came_before_a_wrong_sample(program, image, want):
    with Device(EmulatorLink(TINY), TINY) as device:
        results = device.run_many(program, [image, image, image[:, 1:]])
        for _ in range(2):
            np.testing.assert_array_equal(next(results).outputs[0], want)
        with pytest.raises(InputError):
            next(results)


def test_a_closed_device_says_so(program):
    device = Device(EmulatorLink(TINY), TINY)
    device.close()
    device.close()
    with pytest.raises(DeviceError, match="closed"):
        device.run(program, IMAGE)


def test_layers_on_the_host_carry_their_reason_and_time_and_the_emulator_no_cycles(program, image):
    with Device(EmulatorLink(TINY), TINY) as device:
        result = device.run(program, image)
    assert result.cycles == 0 and result.utilisation == 0.0 and result.seconds > 0
    assert [layer.index for layer in result.layers] == list(range(len(program.layers)))
    (hosted,) = [layer for layer in result.layers if layer.where == "host"]
    assert (hosted.op, hosted.reason) == ("SOFTMAX", "the fabric has no SOFTMAX") and hosted.seconds > 0
    assert all(layer.cycles == 0 and not layer.stalls and layer.seconds == 0 for layer in result.layers
               if layer is not hosted)


class Profiled(EmulatorLink):
    """An emulator with made-up counters: STREAM is busy 10n + 10 cycles in layer n, and waits 3 for weights.
    """

    index = 0

    def read(self, reg):
        if reg == Reg.PROFILE_DATA:
            layer, unit, cause = self.index >> 7, self.index >> 4 & 7, self.index & 15
            return {Cause.BUSY: 10 * layer + 10, Cause.OPERAND: 3}.get(cause, 0) if unit == Unit.STREAM else 0
        return 5000 if reg == Reg.CYCLES_LO else super().read(reg)

    def write(self, reg, value):
        if reg == Reg.PROFILE_INDEX:
            self.index = value
        super().write(reg, value)


def test_cycles_of_the_layers_add_up_to_those_of_the_run(program, image):
    with Device(Profiled(TINY), TINY) as device:
        result = device.run(program, image)
    on_fabric = [layer for layer in result.layers if layer.where == "fabric"]
    assert result.cycles == 5000 == sum(layer.cycles for layer in on_fabric)
    for layer in on_fabric[:-1]:
        assert layer.stalls == {"weights": 3} and layer.cycles == 10 * program.layers[layer.index].tag + 13
    assert set(on_fabric[-1].stalls) == {"weights", FINISH}
    assert result.utilisation == pytest.approx(program.macs_on_fabric / (16 * 5000))


def test_a_fabric_without_counters_tells_the_cycles_of_the_run_only(image):
    fabric = replace(TINY, profile_layers=0)
    program = celosia.compile(DIGITS, fabric=fabric)
    with Device(Profiled(fabric), fabric) as device:
        result = device.run(program, image)
    assert result.cycles == 5000


def test_an_output_that_is_a_constant_or_an_input_is_returned_too():
    x, fixed = TensorSpec((1, 4), scale=0.5), TensorSpec((1, 3), scale=0.5, data=[[1, 2, 3]])
    y = TensorSpec((1, 4), scale=0.5)
    spec = ModelSpec([x, fixed, y], [OpSpec("RELU", [0], [2])], [0], [2, 1, 0])
    program = celosia.compile(load_tflite(spec.build(), "net"), fabric="tiny")
    value = np.array([[-3, 0, 7, 127]], np.int8)
    with Device(EmulatorLink(TINY), TINY) as device:
        outputs = device.run(program, value).outputs
    for got, want in zip(outputs, ([[0, 0, 7, 127]], [[1, 2, 3]], value), strict=True):
        np.testing.assert_array_equal(got, want)
