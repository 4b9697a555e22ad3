"""``import celosia``: compile, Program files, devices, and errors that say what to do."""
import numpy as np
import pytest
from celosia.rtl.contract.fabric import Fabric
from celosia.sim.native.model import Memory

import celosia


def test_the_example_of_the_package_s_docstring(digits, images, golden):
    program = celosia.compile(digits, fabric="tiny")
    with celosia.open("emulator", fabric="tiny") as device:
        result = device.run(program, images[0])
    np.testing.assert_array_equal(result.outputs[0], golden[:1])
    assert len(result.layers) == len(program.layers)


@pytest.mark.parametrize("rows,cols,lanes", [(1, 1, 1), (3, 5, 2), (5, 3, 3), (8, 16, 8), (32, 1, 1),
                                             (31, 29, 7)])
def test_the_demo_is_exact_on_fabrics_of_any_shape(digits, images, golden, rows, cols, lanes):
    fabric = Fabric(rows=rows, cols=cols, lanes=lanes, am_words=8191, wm_words=30011, pm_words=301,
                    acc_depth=129, fifo_depth=33)
    program = celosia.compile(digits, fabric=fabric)
    with celosia.open("emulator", fabric=fabric) as device:
        for image, want in zip(images[:2], golden, strict=False):
            np.testing.assert_array_equal(device.run(program, image).outputs[0][0], want)


def test_the_demo_is_exact_where_nothing_fits(digits, images, golden):
    """Weights, parameters and images stream through memories that hold a fraction of them."""
    fabric = Fabric(rows=4, cols=4, am_words=200, wm_words=300, pm_words=12, acc_depth=16, fifo_depth=8,
                    bus_bytes=4)
    program = celosia.compile(digits, fabric=fabric)
    assert not program.memory["weights_resident"] and not program.memory["parameters_resident"]
    assert any(part["strips"] for part in program.memory["segments"])
    with celosia.open("emulator", fabric=fabric) as device:
        np.testing.assert_array_equal(device.run(program, images[1]).outputs[0], golden[1:2])


def test_a_program_file_does_all_that_the_program_did(digits, images, golden, tmp_path):
    program = celosia.compile(digits, fabric="tiny")
    program.save(tmp_path / "net.celosia")
    again = celosia.load_program(tmp_path / "net.celosia")
    assert (again.fabric, again.layers, again.steps, again.dram_bytes) == (
        program.fabric, program.layers, program.steps, program.dram_bytes)
    with celosia.open("emulator", fabric=again.fabric) as device:
        np.testing.assert_array_equal(device.run(again, images[3]).outputs[0], golden[3:4])


@pytest.mark.parametrize("damage", ["text", "empty", "cut", "missing"])
def test_what_is_no_program_file_is_refused(digits, tmp_path, damage):
    file = tmp_path / "net.celosia"
    celosia.compile(digits, fabric="tiny").save(file)
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"text": b"a program", "empty": b"", "cut": file.read_bytes()[:3000]}[damage])
    with pytest.raises(celosia.ProgramError, match="net.celosia"):
        celosia.load_program(file)


def test_a_program_for_another_fabric_is_refused(program, images):
    with celosia.open("emulator", fabric="tiny") as device, pytest.raises(celosia.MismatchError, match="odd"):
        device.run(program, images[0])


def test_what_does_not_fit_a_fabric_runs_on_the_host_and_says_why(digits, images, golden, odd):
    program = celosia.compile(digits, fabric=odd.but(am_words=8))
    hosted = [layer for layer in program.layers if layer.where == "host"]
    assert all("am_words" in layer.reason for layer in hosted if layer.macs) and any(
        layer.macs for layer in hosted)
    assert program.macs_on_fabric < program.macs
    with celosia.open("emulator", fabric=program.fabric) as device:
        np.testing.assert_array_equal(device.run(program, images[2]).outputs[0], golden[2:3])


@pytest.mark.parametrize("options,told", [
    ({"device": "abacus"}, "no device 'abacus'; choose one of sim, emulator"),
    ({"device": "emulator", "memory_bytes": 0}, "memory_bytes is 0"),
    ({"device": "emulator", "memory_bytes": 1 << 33}, "address space"),
    ({"device": "emulator", "memory": Memory(read_latency=9)}, "emulator knows no memory timing")])
def test_devices_that_cannot_be_are_refused(options, told):
    with pytest.raises(celosia.InputError, match=told):
        celosia.open(**options)


def test_too_little_memory_is_refused_with_both_sizes(program, odd, images):
    with celosia.open("emulator", fabric=odd, memory_bytes=1000) as device:
        with pytest.raises(celosia.InputError) as caught:
            device.run(program, images[0])
    assert "1000" in str(caught.value) and str(program.dram_bytes) in str(caught.value)


def test_every_error_is_a_celosia_error_with_an_exit_code():
    for name in celosia.__all__:
        kind = getattr(celosia, name)
        if isinstance(kind, type) and issubclass(kind, Exception):
            assert issubclass(kind, celosia.CelosiaError) and kind.exit_code in (1, 2, 3)
