# amaranth: UnusedElaboratable=no
"""The model of the flash in C++, for compiled boards, is the one in Python: same data, same complaints."""
import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
from celosia.rtl.contract import flash
from celosia.rtl.contract.flash import FlashCommand, FlashReg
from flash_model import FlashError, FlashModel

HEADER = Path(__file__).parents[3] / "sim" / "virtual" / "flash_model.h"
SIZE = 1 << 16
SHIM = """
#include "flash_model.h"
using namespace celosia;
extern "C" {
FlashModel *make(double clock, int pin_delay, const uint8_t *memory) {
    FlashSettings settings;
    settings.clock = clock; settings.pin_delay = pin_delay; settings.bytes = 1 << 16;
    settings.erase_seconds = 2e-5; settings.program_seconds = 1e-5;
    auto *model = new FlashModel(settings);
    for (size_t n = 0; n < settings.bytes; ++n)
        model->poke(n, memory[n]);
    return model;
}
void drop(FlashModel *model) { delete model; }
void play(FlashModel *model, int cycles, const uint8_t *pins, uint8_t *lines) {
    for (int n = 0; n < cycles; ++n, pins += 4)
        lines[n] = uint8_t(model->clock({bool(pins[0]), bool(pins[1]), pins[2], pins[3]}));
}
const char *error(FlashModel *model) { return model->error().c_str(); }
int peek(FlashModel *model, long address) { return model->peek(size_t(address)); }
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flash_model")
    (folder / "shim.cpp").write_text(SHIM)
    subprocess.run(["g++", "-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I",
                    HEADER.parent, "-o", folder / "model.so", folder / "shim.cpp"], check=True)
    loaded = ctypes.CDLL(str(folder / "model.so"))
    loaded.make.restype, loaded.error.restype = ctypes.c_void_p, ctypes.c_char_p
    return loaded


def native(library, pins, memory, pin_delay=0):
    """(lines, complaint, memory) of the C++ model."""
    pins, lines = np.ascontiguousarray(pins, np.uint8), np.zeros(len(pins), np.uint8)
    model = ctypes.c_void_p(library.make(ctypes.c_double(30e6), pin_delay, bytes(memory)))
    library.play(model, len(pins), pins.ctypes.data_as(ctypes.c_void_p),
                 lines.ctypes.data_as(ctypes.c_void_p))
    complaint = library.error(model).decode()
    after = bytes(library.peek(model, ctypes.c_long(n)) for n in range(SIZE)) if not complaint else b""
    library.drop(model)
    return lines.tolist(), complaint, after


def python(pins, memory):
    model, lines, complaint = FlashModel(size=SIZE, erase_seconds=2e-5, program_seconds=1e-5), [], ""
    model.memory[:] = memory
    try:
        for cycle in pins.tolist():
            lines.append(model.clock(*cycle))
    except FlashError as error:
        complaint = str(error)
    return lines, complaint, bytes(model.memory)


@pytest.fixture
def trace(bench_class, burst_class):
    """Pins of some reads and commands, and what the flash held before and holds after them."""
    bench = bench_class(seed=5, erase_seconds=2e-5, program_seconds=1e-5)
    before = bytes(bench.chip.memory)

    def say(*data):
        return [(FlashReg.SELECT, 1), *((FlashReg.SEND, flash.spread(byte)) for byte in data)]

    async def script(bench):
        bench.axi.reads += [burst_class(64 * n, 4) for n in (0, 1, 5)]
        await bench.run()
        for data in ((FlashCommand.WRITE_ENABLE,), (FlashCommand.ERASE_SECTOR, 0, 16, 0), None,
                     (FlashCommand.WRITE_ENABLE,), (FlashCommand.PROGRAM, 0, 16, 4, 1, 2, 3), None,
                     (FlashCommand.READ_ID,), (FlashCommand.READ, 0, 16, 4)):
            if data is None:
                await bench.register((FlashReg.SELECT, 0))
                for _ in range(700):
                    await bench.step()
            else:
                answer = data[0] in (FlashCommand.READ_ID, FlashCommand.READ)
                await bench.register(*say(*data), *[(FlashReg.RECEIVE, 0)] * answer)
        await bench.register((FlashReg.SELECT, 0))
        await bench.run()

    bench.simulate(script)
    return np.array(bench.trace, np.uint8), before, bytes(bench.chip.memory)


def test_both_models_agree_on_traces_right_and_wrong(library, trace):
    """A pulse dropped or added, a line turned, the selection moved: the complaint is the same."""
    right, before, after = trace
    lines, complaint, memory = native(library, right[:, :4], before, pin_delay=2)
    assert not complaint and memory == after != before and lines[2:] == right[:-2, 4].tolist()
    rng = np.random.default_rng(11)
    pulses = np.flatnonzero(right[:, 1])
    edges = np.flatnonzero(np.diff(right[:, 0].astype(int)))
    seen = set()
    for n in range(90):
        pins = right[:, :4].copy()
        at = int(rng.choice(pulses))
        if n % 5 == 0:
            pins[at, 1] = 0
        elif n % 5 == 1:
            pins[at, 2] ^= 1 << rng.integers(4)
        elif n % 5 == 2:
            pins[at, 3] ^= 1 << rng.integers(4)
        elif n % 5 == 3:
            at = int(rng.choice(edges))
            pins[at - int(rng.integers(4)):at + int(rng.integers(1, 9)), 0] ^= 1
        else:
            pins[at:, 1] = np.roll(pins[at:, 1], int(rng.integers(1, 9)))
        ours, theirs = python(pins, before), native(library, pins, before)
        assert ours[1] == theirs[1]
        assert ours[0] == theirs[0][:len(ours[0])]
        assert ours[1] or ours[2] == theirs[2]
        seen.add(ours[1].rpartition(": ")[2])
    print(*sorted(seen), sep="\n")
    assert len(seen) >= 9, "the wrong traces are too much alike"
