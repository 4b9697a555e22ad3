"""The memory behind the port: names and numbers, what "auto" means, and what is refused."""
from fractions import Fraction

import numpy as np
import pytest
from celosia.rtl.contract.fabric import Fabric
from celosia.sim.native.model import MEMORIES, Memory

import celosia
import celosia.cli.commands
import celosia.cli.job
from celosia.memory import memory_for, predicted, read_memory, stays_on_chip


@pytest.mark.parametrize("text,want", [
    ("bus", Memory()), ("sdram16", MEMORIES["sdram16"]),
    ("2", Memory(bytes_per_cycle=2)), ("1.5:33", Memory(bytes_per_cycle=Fraction(3, 2), read_latency=33)),
    ("1/3:1:1", Memory(bytes_per_cycle=Fraction(1, 3), read_latency=1, write_latency=1))])
def test_names_and_numbers_make_a_memory(text, want):
    found = read_memory(text)
    assert found.memory == want and found.name == text
    rate = want.bytes_per_cycle
    assert found.summary() == {"name": text, "bytes_per_cycle": rate and pytest.approx(float(rate), abs=1e-4),
                               "read_latency": want.read_latency, "write_latency": want.write_latency}


@pytest.mark.parametrize("text", ["", "fast", "0", "-1", "1e9", "nan", "1/0", "2:0", "2:x", "2:1:0",
                                  "2:1:1:1", "2:", "0.00001"])
def test_what_is_no_memory_is_refused_with_all_forms(text):
    with pytest.raises(celosia.InputError, match="there is no memory .*sdram16, or BYTES_PER_CYCLE"):
        read_memory(text)


@pytest.fixture(scope="module")
def streaming(digits):
    """The demo on a fabric where neither weights nor images fit."""
    return celosia.compile(digits, fabric=Fabric(rows=4, cols=4, am_words=200, wm_words=300, pm_words=12,
                                                 acc_depth=16, fifo_depth=8, bus_bytes=4))


@pytest.fixture(scope="module")
def resident(digits):
    return celosia.compile(digits, fabric="tiny")


def test_auto_is_the_bus_for_what_stays_on_chip_and_sdram_for_what_streams(resident, streaming):
    assert read_memory("auto") is None
    assert memory_for(resident, None).name == "bus" and memory_for(streaming, None).name == "sdram16"
    assert memory_for(streaming, read_memory("bus")).name == "bus"


@pytest.mark.parametrize("plan,want", [
    ({}, True), ({"weights_resident": False}, False), ({"parameters_resident": False}, False),
    ({"weights_resident": True, "segments": [{"resident": True}, {"resident": False}]}, False),
    ({"weights_resident": True, "parameters_resident": True, "segments": [{"resident": True}]}, True)])
def test_one_thing_that_leaves_the_chip_is_enough(plan, want):
    assert stays_on_chip(plan) is want


def test_behind_the_bus_the_prediction_is_the_program_s(resident):
    told = predicted(resident, MEMORIES["bus"])
    assert told == predicted(resident, None)
    assert told.cycles == resident.predicted == sum(told.layers.values())


def test_a_slower_memory_is_not_predicted_to_be_quicker(streaming):
    assert predicted(streaming, Memory(bytes_per_cycle=Fraction(1, 4), read_latency=200)).cycles >= \
        streaming.predicted


def test_run_gives_the_simulator_what_was_asked_for_and_says_so(celosia_cli, digits, monkeypatch):
    seen = []

    def emulated(_device, *, memory, **options):
        seen.append(memory)
        return celosia.open("emulator", **options)

    monkeypatch.setattr(celosia.cli.job, "open_device", emulated)
    told = celosia_cli("run", digits, "--fabric", "tiny", "--memory", "2:30:20", "--json").json
    assert told["memory"] == {"name": "2:30:20", "bytes_per_cycle": 2.0, "read_latency": 30,
                              "write_latency": 20}
    assert celosia_cli("run", digits, "--fabric", "tiny", "--json").json["memory"]["name"] == "bus"
    assert seen == [Memory(read_latency=30, write_latency=20, bytes_per_cycle=2), Memory()]


def test_the_emulator_has_no_memory_to_choose(celosia_cli, digits):
    outcome = celosia_cli("run", digits, "--fabric", "tiny", "--device", "emulator", "--memory", "bus")
    assert outcome.code == 2 and "--device sim" in outcome.complaint and outcome.stdout == ""


def test_a_wrong_memory_is_refused_before_the_work_is_done(celosia_cli, digits, monkeypatch):
    monkeypatch.setattr(celosia.cli.commands, "make_program", lambda *_, **__: pytest.fail("work was done"))
    outcome = celosia_cli("run", digits, "--memory", "ddr9")
    assert outcome.code == 2 and "there is no memory 'ddr9'" in outcome.complaint


def test_python_takes_the_same_names():
    with pytest.raises(celosia.InputError, match="there is no memory 'ddr9'"):
        celosia.open("emulator", memory="ddr9")
    with pytest.raises(celosia.InputError, match="emulator knows no memory timing"):
        celosia.open("emulator", memory="sdram16")
    assert np.isclose(float(MEMORIES["sdram16"].bytes_per_cycle), 1.97, atol=0.01)
