"""The demo network on compiled hardware, and what happens when the memory or a program misbehaves."""
import json
from dataclasses import replace

import numpy as np
import pytest
from celosia.host.emit.program import FabricRun
from celosia.rtl.contract.isa import Store, Unit
from celosia.rtl.contract.registers import Fault
from celosia.sim.native.model import Memory

import celosia
import celosia.cli.job
from celosia.cli.main import main


@pytest.fixture
def device(built):
    with celosia.open("sim", fabric=built, memory_bytes=1 << 20) as device:
        yield device


def never_ending(program):
    """A Program of one instruction, which waits for a token that nobody gives."""
    code = Store(wait=1 << Unit.POST, row_bytes=4).encode(program.fabric)
    return replace(program, blobs=((0, np.frombuffer(code, np.uint8)),), setup=(0, 0), layers=(),
                   steps=(FabricRun(0, 1, (), ()),))


def command(capsys, *arguments):
    """Exit code, stdout and stderr of the command line."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return (caught.value.code, *capsys.readouterr())


@pytest.fixture
def toml(tmp_path):
    """The odd fabric as a user writes it."""
    file = tmp_path / "odd.toml"
    file.write_text('base = "tiny"\nrows = 3\ncols = 5\n')
    return file


def test_the_demo_network_is_exact_and_every_cycle_is_accounted_for(device, program, images, golden):
    for image, want in zip(images[:4], golden, strict=False):
        result = device.run(program, image)
        np.testing.assert_array_equal(result.outputs[0][0], want)
        assert 0 < result.cycles < 50_000 and 0.5 < result.utilisation < 1
        assert sum(layer.cycles for layer in result.layers) == result.cycles
        assert all(sum(layer.stalls.values()) <= layer.cycles for layer in result.layers)


def test_run_on_the_simulator_fills_the_json_object(built, capsys, digits, images, golden, toml, tmp_path):
    np.save(tmp_path / "in.npy", images[:3])
    code, out, err = command(capsys, "run", digits, tmp_path / "in.npy", "--fabric", toml, "--check",
                             "--json",
                             "--out", tmp_path / "out.npz")
    assert code == 0, err
    told = json.loads(out)
    assert (told["device"], told["samples"], told["exact"], told["mismatches"]) == ("sim", 3, True, 0)
    assert told["utilisation"] == pytest.approx(told["macs_on_fabric"] / (15 * told["cycles"]), abs=1e-3)
    assert told["sim_cycles_per_second"] > 0
    assert abs(sum(layer["cycles"] for layer in told["layers"]) - told["cycles"]) <= len(told["layers"])
    assert all(isinstance(count, int) for layer in told["layers"] for count in layer["stalls"].values())
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_array_equal(np.concatenate([found[f"out0_{k}"] for k in range(3)]), golden[:3])


def test_what_a_person_sees_of_a_run_on_the_simulator(built, capsys, digits, toml):
    code, out, _ = command(capsys, "run", digits, "--fabric", toml)
    assert code == 0
    assert out.splitlines()[0].split() == ["#", "layer", "operator", "where", "MACs", "cycles", "used",
                                           "predicted",
                                           "waited", "for"]
    assert "cycles an inference (predicted " in out and "cycles/s" in out


@pytest.mark.parametrize("response", [2, 3])
@pytest.mark.parametrize("what,fault", [("input", Fault.READ_RESPONSE), ("program", Fault.READ_RESPONSE),
                                        ("output", Fault.WRITE_RESPONSE)])
def test_a_bus_error_is_a_fault_with_its_address_and_the_next_run_is_right(device, program, images, golden,
                                                                           response,
                                                                           what, fault):
    device.run(program, images[0])
    (step,) = [step for step in program.steps if isinstance(step, FabricRun)]
    bus = program.fabric.bus_bytes
    place = {"input": step.inputs[0].address, "output": step.outputs[0].address,
             "program": step.address + 8 * bus}[what]
    device.link.model.configure(Memory(failing=[(place, place, response)]))
    with pytest.raises(celosia.FaultError) as caught:
        device.run(program, images[0])
    error = caught.value
    assert error.code == fault and error.exit_code == 3
    assert 0 <= place - error.address < bus * program.fabric.max_burst  # the address of the burst
    assert f"{error.address:#x}" in str(error)
    device.link.model.configure(Memory())
    np.testing.assert_array_equal(device.run(program, images[1]).outputs[0], golden[1:2])


def test_a_fault_in_a_later_sample_keeps_the_results_before_it(built, capsys, digits, images, golden, toml,
                                                               tmp_path,
                                                               monkeypatch):
    """On the command line: --out and --json hold what was computed, and the exit code is the fault's."""
    opened = celosia.cli.job.open_device

    def open_failing(*arguments, **options):
        device = opened(*arguments, **options)
        put = device.link.write_memory

        def put_input(address, data):
            if data.size == 64 and (data.view(np.int8) == images[2].reshape(-1)).all():
                device.link.model.configure(Memory(failing=[(address, address + 63, 2)]))
            put(address, data)

        monkeypatch.setattr(device.link, "write_memory", put_input)
        return device

    monkeypatch.setattr(celosia.cli.job, "open_device", open_failing)
    np.save(tmp_path / "in.npy", images[:4])
    code, out, err = command(capsys, "run", digits, tmp_path / "in.npy", "--fabric", toml, "--json",
                             "--out", tmp_path / "out.npz")
    assert code == 3 and "bus error" in err and "stopped after 2 of 4 samples" in err
    assert json.loads(out)["samples"] == 2
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_array_equal(np.concatenate([found["out0_0"], found["out0_1"]]), golden[:2])
        assert len(found.files) == 2


def test_a_program_that_never_ends_is_stopped_by_the_watchdog(built, program, images, golden):
    with celosia.open("sim", fabric=built, watchdog=50_000) as device:
        with pytest.raises(celosia.DeviceTimeout, match="0 of 1 instructions when its watchdog of 50000"):
            device.run(never_ending(program), images[0])
        np.testing.assert_array_equal(device.run(program, images[0]).outputs[0], golden[:1])


def test_the_emulator_says_why_it_would_never_end(program, images):
    with celosia.open("emulator", fabric=program.fabric) as device, \
            pytest.raises(celosia.FaultError, match="waits for a token from POST .* never start"):
        device.run(never_ending(program), images[0])


def test_a_watchdog_that_is_too_short_stops_the_command_with_code_3(built, capsys, digits, toml, tmp_path):
    code, out, err = command(capsys, "run", digits, "--fabric", toml, "--watchdog", 2000, "--out",
                             tmp_path / "out.npz")
    assert code == 3 and out == "" and "watchdog of 2000 cycles" in err and "allow more cycles" in err
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("channel", ["AR", "R", "AW", "W", "B"])
def test_a_memory_that_does_not_answer_is_a_time_out_and_never_data(built, program, images, channel):
    with celosia.open("sim", fabric=built, watchdog=60_000, memory=Memory(frozen=[channel])) as device, \
            pytest.raises(celosia.DeviceTimeout):
        device.run(program, images[0])


def test_a_slow_memory_costs_cycles_and_no_bit(device, built, program, images, golden):
    quick = device.run(program, images[0]).cycles
    memory = Memory(read_latency=80, write_latency=40, bytes_per_cycle=1, outstanding=2, stall=0.3, seed=5)
    with celosia.open("sim", fabric=built, memory=memory) as slow:
        result = slow.run(program, images[0])
    np.testing.assert_array_equal(result.outputs[0], golden[:1])
    assert result.cycles > quick


def test_the_interpreter_runs_on_the_simulator(built, digits, images, golden):
    ours = celosia.Interpreter(model_path=digits, fabric=built)
    ours.allocate_tensors()
    ours.set_tensor(ours.get_input_details()[0]["index"], images[5:6])
    ours.invoke()
    np.testing.assert_array_equal(ours.get_tensor(ours.get_output_details()[0]["index"]), golden[5:6])
    assert ours.result.cycles > 0
