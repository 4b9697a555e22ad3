"""One memory for everything, and one that cannot be written: on the emulator and its link."""
from importlib.resources import files

import numpy as np
import pytest
from celosia.host.driver.device import Device
from celosia.host.link.emulator import EmulatorLink
from celosia.host.link.link import HostMemory
from celosia.rtl.contract.errors import DeviceError, FaultError, InputError, ProgramError
from celosia.rtl.contract.isa import Fill, Load, Space, Store
from celosia.rtl.contract.machine import Machine
from celosia.rtl.contract.presets import PRESETS
from celosia.sim.emulator import Emulator
from support.shared import ROM, lean

import celosia

FABRIC = lean(4, 4096)
DIGITS = str(files("celosia") / "demo" / "digits.tflite")


def machine(fabric=FABRIC, rom=256):
    rng = np.random.default_rng(0)
    return Machine(fabric, np.zeros(fabric.am_bytes, np.uint8), rng.integers(0, 256, rom).astype(np.uint8))


@pytest.mark.parametrize("rows,record", [(4, 20), (8, 24), (16, 32)])
def test_the_memories_are_the_same_bytes(rows, record):
    state = machine(lean(rows, 4096))
    state.dram[:] = np.random.default_rng(1).integers(0, 256, state.dram.size)
    dram = state.dram
    np.testing.assert_array_equal(state.am, dram.view(np.int8))
    np.testing.assert_array_equal(state.wm[100], dram[100 * rows:][:rows].view(np.int8))
    np.testing.assert_array_equal(state.pm[30], dram[30 * record:][:20])
    state.step(Fill(value=-7, row_bytes=record, local=30 * record))
    assert (state.pm[30] == 0xF9).all() and (dram[30 * record:][:record] == 0xF9).all()


def test_loads_reach_their_words_and_the_read_only_memory():
    state = machine()
    state.step(Load(space=Space.WM, dram=ROM, row_bytes=32, word=500))
    np.testing.assert_array_equal(state.dram[2000:2032], state.rom[:32])
    state.step(Load(space=Space.PM, dram=ROM + 40, row_bytes=40, word=300))
    np.testing.assert_array_equal(state.dram[6000:6040], state.rom[40:80])
    state.step(Load(space=Space.AM, dram=2000, row_bytes=32, local=9001))
    np.testing.assert_array_equal(state.dram[9001:9033], state.rom[:32])
    state.step(Store(dram=12000, row_bytes=5, local=9001))
    np.testing.assert_array_equal(state.dram[12000:12005], state.rom[:5])


@pytest.mark.parametrize("instruction,told", [
    (Store(dram=ROM, row_bytes=4), "can only be read"),
    (Store(dram=4 * 4096, row_bytes=4), "of a DRAM of 16384"),
    (Load(space=Space.AM, dram=ROM + 256, row_bytes=4), "256 from 0x1000000 on"),
    (Load(space=Space.WM, dram=4 * 4096, row_bytes=4), "of a DRAM of 16384"),
    (Load(space=Space.WM, dram=0, row_bytes=8, word=4095), "words 4095 to 4096 of 4096")])
def test_what_is_not_there_is_refused(instruction, told):
    with pytest.raises(ProgramError) as caught:
        machine().step(instruction)
    assert told in str(caught.value)


def test_instructions_come_from_the_read_only_memory():
    code = Fill(value=3, row_bytes=8, local=40).encode(FABRIC)
    rom = np.frombuffer(code, np.uint8).copy()
    dram = np.zeros(FABRIC.am_bytes, np.uint8)
    Emulator(FABRIC, dram, rom).run(ROM, 1)
    assert (dram[40:48] == 3).all()
    with pytest.raises(ProgramError, match="instruction 1 at 0x1000020: there is no memory"):
        Emulator(FABRIC, dram, rom).run(ROM, 2)


def test_a_memory_too_small_for_its_fabric_is_refused():
    with pytest.raises(ValueError, match="16384 bytes"):
        Machine(FABRIC, np.zeros(100, np.uint8))
    with pytest.raises(InputError, match="16384 bytes"):
        EmulatorLink(lean(4, 4096, rom=False), memory_size=100)


def test_links_have_both_ranges():
    link = EmulatorLink(FABRIC, memory_size=1000)
    assert (link.memory_size, link.rom_size) == (16384, 1000)
    for address in (0, 16380, ROM, ROM + 996):
        link.write_memory(address, np.arange(4, dtype=np.uint8))
        np.testing.assert_array_equal(link.read_memory(address, 4), np.arange(4))
    for address in (-1, 16381, ROM - 1, ROM + 997):
        with pytest.raises(DeviceError, match="outside the"):
            link.read_memory(address, 4)
    plain = EmulatorLink(PRESETS["tiny"], memory_size=1000)
    assert (plain.memory_size, plain.rom_size) == (1000, 0)


def test_memory_without_a_read_only_part_may_be_larger_than_what_serves_for_everything():
    memory = HostMemory(lean(4, 4096, rom=False), 100_000)
    assert (memory.dram.size, memory.rom.size) == (100_000, 0)
    memory.write(99_996, np.arange(4, dtype=np.uint8))
    assert memory.dram[-1] == 3


@pytest.fixture(scope="module")
def program():
    return celosia.compile(DIGITS, fabric=lean(4, 20000))


def test_a_program_runs_with_exactly_the_memory_it_says_it_needs(program):
    image = np.random.default_rng(2).integers(-128, 128, (1, 8, 8, 1)).astype(np.int8)
    with celosia.open("emulator", fabric="tiny") as device:
        want = device.run(celosia.compile(DIGITS, fabric="tiny"), image).outputs[0]
    with Device(EmulatorLink(program.fabric, memory_size=program.memory_bytes), program.fabric) as device:
        np.testing.assert_array_equal(device.run(program, image).outputs[0], want)


def test_too_little_read_only_memory_is_refused_with_both_sizes(program):
    link = EmulatorLink(program.fabric, memory_size=program.rom_bytes - 1)
    with Device(link, program.fabric) as device, pytest.raises(InputError) as caught:
        device.load(program)
    for part in (program.rom_bytes, program.rom_bytes - 1, "0x1000000"):
        assert str(part) in str(caught.value)


def test_a_store_to_read_only_memory_is_a_fault_of_the_device(program):
    link = EmulatorLink(program.fabric)
    with Device(link, program.fabric) as device:
        link.write_memory(ROM, np.frombuffer(Store(dram=ROM, row_bytes=4).encode(program.fabric), np.uint8))
        with pytest.raises(FaultError, match="can only be read"):
            device.driver.run_program(ROM, 1, watchdog=100)
