# amaranth: UnusedElaboratable=no
"""The model of the chip in C++, for compiled boards, is the one in Python: same data, same complaints."""
import ctypes
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from celosia.rtl.sdram.timing import SDRAMTiming
from sdram_model import SDRAMError, SDRAMModel

HEADER = Path(__file__).parents[3] / "sim" / "virtual" / "sdram_model.h"
SHIM = """
#include "sdram_model.h"
using namespace celosia;
extern "C" {
SdramModel *make(const int64_t *t, int pin_delay, bool strict) {
    SdramTiming timing;
    timing.cas = int(t[0]); timing.power_up = t[1]; timing.init_refreshes = int(t[2]);
    timing.t_rcd = int(t[3]);
    timing.t_rp = int(t[4]); timing.t_ras = int(t[5]); timing.t_ras_max = t[6]; timing.t_rc = int(t[7]);
    timing.t_rfc = int(t[8]); timing.t_rrd = int(t[9]); timing.t_wr = int(t[10]); timing.t_mrd = int(t[11]);
    timing.t_refresh = t[12]; timing.row_bits = int(t[13]); timing.column_bits = int(t[14]);
    return new SdramModel(timing, pin_delay, strict);
}
void drop(SdramModel *model) { delete model; }
void play(SdramModel *model, int cycles, const uint16_t *pins, uint16_t *bus) {
    for (int n = 0; n < cycles; ++n, pins += 10)
        bus[n] = model->clock({bool(pins[0]), bool(pins[1]), bool(pins[2]), bool(pins[3]), bool(pins[4]),
                               pins[5], pins[6], pins[7], pins[8], bool(pins[9])});
}
const char *error(SdramModel *model) { return model->error().c_str(); }
int peek(SdramModel *model, long address) { return model->peek(size_t(address)); }
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdram_model")
    (folder / "shim.cpp").write_text(SHIM)
    subprocess.run(["g++", "-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I",
                    HEADER.parent, "-o", folder / "model.so", folder / "shim.cpp"], check=True)
    loaded = ctypes.CDLL(str(folder / "model.so"))
    loaded.make.restype, loaded.error.restype = ctypes.c_void_p, ctypes.c_char_p
    return loaded


def native(library, timing, pins, *, pin_delay=0, strict=False):
    """(bus, complaint, memory of the first 1 KB) of the C++ model."""
    words = (ctypes.c_int64 * 15)(*asdict(timing).values())
    model = ctypes.c_void_p(library.make(words, pin_delay, strict))
    bus = np.zeros(len(pins), np.uint16)
    library.play(model, len(pins), pins.ctypes.data_as(ctypes.c_void_p), bus.ctypes.data_as(ctypes.c_void_p))
    complaint = library.error(model).decode()
    memory = [library.peek(model, ctypes.c_long(n)) for n in range(1024)]
    library.drop(model)
    return bus, complaint, memory


def python(timing, pins, *, pin_delay=0, strict=False):
    model, bus, complaint = SDRAMModel(timing, pin_delay=pin_delay, strict_reads=strict), [], ""
    try:
        for cycle in pins.tolist():
            bus.append(model.clock(*cycle))
    except SDRAMError as error:
        complaint = str(error)
    return bus, complaint, [model.peek(n) for n in range(1024)]


@pytest.fixture
def trace(bench_class, at_mhz):
    """Timing and pins of some random bursts."""
    timing = at_mhz(100)
    bench = bench_class(timing, seed=5)

    async def script(bench):
        for n in range(20):
            bench.axi.writes.append(bench.random_burst(True, beats=4, address=64 * n + 4096 * (n % 5)))
            bench.axi.reads.append(bench.random_burst(False, beats=4, address=64 * n))
        await bench.run()

    bench.simulate(script)
    return timing, np.array(bench.trace, np.uint16)


def test_both_models_agree_on_traces_right_and_wrong(library, trace):
    """A command dropped, moved by a cycle, doubled or changed in one bit: the complaint is the same."""
    timing, right = trace
    assert list(timing.__dataclass_fields__)[:3] == ["cas", "power_up", "init_refreshes"]
    bus, complaint, memory = native(library, timing, right[:, :10].copy(), pin_delay=2)
    assert not complaint and (bus[2:] == right[:-2, 10]).all() and any(memory)
    rng = np.random.default_rng(7)
    commands = np.flatnonzero((right[:, 1] == 0) & (right[:, 2:5].sum(axis=1) < 3))
    seen = set()
    for n in range(80):
        pins = right[:, :10].copy()
        at = int(rng.choice(commands))
        if n % 4 == 0:
            pins[at, 2:5] = 1
        elif n % 4 == 1:
            shift = int(rng.choice([-2, -1, 1, 2]))
            pins[at + shift, 1:7], pins[at, 2:5] = right[at, 1:7], 1
        elif n % 4 == 2:
            pins[at + int(rng.choice([-1, 1, 2, 3])), 1:7] = right[at, 1:7]
        else:
            pin = int(rng.choice([0, 1, 2, 3, 4, 5, 6, 6, 7, 9]))
            pins[at + int(rng.integers(3)), pin] ^= 1 << rng.integers(2)
            pins[:, [0, 1, 2, 3, 4, 9]] &= 1
        ours, theirs = (model(timing, pins, strict=bool(n % 3))
                        for model in (python, lambda *a, **k: native(library, *a, **k)))
        assert ours[1] == theirs[1]
        assert list(ours[0]) == list(theirs[0][:len(ours[0])])
        seen.add(ours[1].rpartition(": ")[2])
    print(*sorted(seen), sep="\n")
    assert len(seen) >= 8, "the wrong traces are too much alike"


def test_a_chip_that_is_never_refreshed_complains_in_both(library, trace):
    timing, right = trace
    pins = right[:, :10].copy()
    pins = np.concatenate([pins, np.tile(pins[-1:], (20 * timing.refresh_interval, 1))])
    pins[len(right):, 1] = 1
    pins[len(right):, 9] = 0
    ours, theirs = python(timing, pins), native(library, timing, pins)
    assert "refreshes are overdue" in ours[1] and ours[1] == theirs[1]


def test_the_chip_at_its_real_size_holds_32_mb():
    assert SDRAMTiming().bytes == 32 << 20
