"""The harness against a small manager that moves bursts as it is told: data, timing, rules, errors."""
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from celosia.rtl.contract.errors import DeviceError, DeviceTimeout, ToolError
from celosia.sim.native import build
from celosia.sim.native.model import MEMORIES, Memory, NativeModel

START, STATUS, READ_AT, WRITE_AT, BEATS, SIZE, TYPE, BURSTS, FLAWS, STROBES = range(0, 40, 4)
READ_LATENCY, WRITE_LATENCY, LAST_CYCLE = 64, 68, 72
READS, WRITES, TOGETHER = 1, 2, 4
BUSY, RESPONSES, ID_WRONG, LAST_WRONG, VALID_FELL = 1, 3 << 2, 1 << 4, 1 << 5, 1 << 6
EARLY_LAST, NO_LAST, MOVING_ADDRESS, FALLING_VALID, SLOW = 1, 2, 4, 8, 16
VERILOG = (Path(__file__).parent / "stand_in.v").read_text()


@pytest.fixture(scope="module", params=[4, 8, 16])
def library(request):
    """The stand-in for each width of the bus; the cache makes this quick from the second time on."""
    return build.library_of_verilog(f"`define BUS_BITS {8 * request.param}\n{VERILOG}")


class Bench:
    def __init__(self, library, memory=None, size=1 << 16):
        self.dram = np.random.default_rng(size).integers(0, 256, size, np.uint8)
        self.model = NativeModel(library, self.dram, memory)
        self.bus = self.model.bus_bytes

    def start(self, what, *, read=0, write=0, beats=4, bursts=1, flaws=0, kind=1, size=None, strobes=0xFFFF):
        size = self.bus.bit_length() - 1 if size is None else size
        for register, value in ((READ_AT, read), (WRITE_AT, write), (BEATS, beats - 1), (SIZE, size),
                                (TYPE, kind), (BURSTS, bursts), (FLAWS, flaws), (STROBES, strobes),
                                (START, what)):
            self.model.write(register, value)

    def run(self, what, *, max_cycles=100_000, **how):
        self.start(what, **how)
        self.model.wait_clear(STATUS, BUSY, max_cycles=max_cycles)
        status = self.model.read(STATUS)
        assert not status & (ID_WRONG | LAST_WRONG | VALID_FELL)
        return (status & RESPONSES) >> 2


@pytest.mark.parametrize("memory", [
    Memory(read_latency=1, write_latency=1), Memory(), Memory(read_latency=100, outstanding=1),
    Memory(stall=0.6, seed=1), Memory(stall={"R": 0.9, "B": 0.9}, seed=2, bytes_per_cycle=Fraction(3, 2)),
], ids=["fast", "default", "slow", "stalls", "stalls and slow"])
@pytest.mark.parametrize("flaws", [0, SLOW], ids=["quick manager", "slow manager"])
def test_a_copy_arrives_whatever_the_memory_does(library, memory, flaws):
    bench = Bench(library, memory)
    want = bench.dram.copy()
    count = 16 * 4 * bench.bus
    want[0x8000:0x8000 + count] = want[0x1000:0x1000 + count]
    assert bench.run(READS | WRITES, read=0x1000, write=0x8000, beats=16, bursts=4, flaws=flaws) == 0
    np.testing.assert_array_equal(bench.dram, want)
    counters = bench.model.counters
    assert (counters.read_bursts, counters.read_beats) == (4, 64)
    assert (counters.write_bursts, counters.write_beats) == (4, 64)


def test_only_strobed_bytes_are_written(library):
    bench = Bench(library)
    want = bench.dram.copy()
    want[0x800:0x800 + bench.bus] = want[0:bench.bus]
    want[0x800 + bench.bus] = want[bench.bus]
    bench.run(READS | WRITES, write=0x800, beats=2, strobes=1)
    np.testing.assert_array_equal(bench.dram, want)


@pytest.mark.parametrize("latency", [1, 2, 33])
def test_the_first_answer_comes_after_the_latency_that_was_set(library, latency):
    bench = Bench(library, Memory(read_latency=latency, write_latency=latency + 1))
    bench.run(READS | WRITES, beats=4)
    assert bench.model.read(READ_LATENCY) == latency
    assert bench.model.read(WRITE_LATENCY) == latency + 1


def test_outstanding_reads_hide_the_latency_and_one_does_not(library):
    beats, bursts, latency = 4, 8, 20
    cycles = {}
    for outstanding in (1, 8):
        bench = Bench(library, Memory(read_latency=latency, outstanding=outstanding))
        bench.run(READS, beats=beats, bursts=bursts)
        cycles[outstanding] = bench.model.read(LAST_CYCLE)
    assert cycles[1] >= bursts * (latency + beats - 1)
    assert cycles[8] <= latency + bursts * beats + 4


@pytest.mark.parametrize("rate", [Fraction(1, 3), 1, Fraction(3, 2), 2])
@pytest.mark.parametrize("what", [READS, WRITES, READS | WRITES | TOGETHER])
def test_bandwidth_is_what_was_set(library, rate, what):
    bench = Bench(library, Memory(read_latency=1, write_latency=1, bytes_per_cycle=rate))
    beats, bursts = 8, 6
    bench.run(what, beats=beats, bursts=bursts, write=0x8000)
    moved = beats * bursts * bench.bus * (2 if what & TOGETHER else 1)
    assert moved / rate * 0.95 - 10 <= bench.model.read(LAST_CYCLE) <= moved / rate * 1.05 + 40


def test_sdram_moves_two_bytes_a_cycle_less_its_refreshes(library):
    bench = Bench(library, MEMORIES["sdram16"])
    bench.run(READS, beats=4)
    assert bench.model.read(READ_LATENCY) == 14
    beats, bursts = 16, 40
    bench.run(READS, beats=beats, bursts=bursts)
    assert bench.model.read(LAST_CYCLE) == pytest.approx(beats * bursts * bench.bus / 2 * 781 / 770, rel=0.01,
                                                         abs=20)
    assert MEMORIES["bus"] == Memory()  # what a simulation has unless told otherwise


def test_the_same_seed_is_the_same_run(library):
    def cycles(seed):
        bench = Bench(library, Memory(stall=0.5, seed=seed))
        bench.run(READS | WRITES, beats=16, bursts=8, write=0x8000)
        return bench.model.counters.cycles, bench.model.read(LAST_CYCLE)

    assert cycles(7) == cycles(7)
    assert len({cycles(seed) for seed in range(4)}) > 1


def test_a_write_shows_only_with_its_response(library):
    bench = Bench(library, Memory(frozen=["B"]))
    before = bench.dram.copy()
    bench.start(WRITES, write=0x100)
    bench.model.step(500)
    np.testing.assert_array_equal(bench.dram, before)
    bench.model.configure(Memory())
    bench.model.wait_clear(STATUS, BUSY, max_cycles=1000)
    assert (bench.dram != before).any()


@pytest.mark.parametrize("response", [2, 3])
def test_injected_errors_are_answered_and_move_nothing(library, response):
    bench = Bench(library, Memory(failing=[(0x1004, 0x1004, response)]))
    before = bench.dram.copy()
    assert bench.run(READS, read=0x1000, beats=16) == response
    assert bench.run(READS, read=0x2000, beats=16) == 0
    assert bench.run(WRITES, write=0x1000, beats=16) == response
    np.testing.assert_array_equal(bench.dram, before)
    bench.model.configure(Memory())
    assert bench.run(WRITES, write=0x1000, beats=16) == 0


def test_beyond_the_memory_is_a_decode_error(library):
    bench = Bench(library, size=0x1000)
    assert bench.run(READS, read=0x1000) == 3
    assert bench.run(WRITES, write=0xFFFF_0000) == 3


@pytest.mark.parametrize(("how", "what"), [
    ({"read": 0x0FF0, "beats": 8}, "crosses a 4 KB boundary"),
    ({"kind": 0}, "is of type 0, not INCR"),
    ({"kind": 2}, "is of type 2"),
    ({"size": 0}, "has size 0"),
    ({"read": 2}, "not aligned"),
    ({"flaws": MOVING_ADDRESS}, "AR changed before ARREADY"),
])
def test_broken_reads_are_named(library, how, what):
    bench = Bench(library, Memory(stall={"AR": 0.7}, seed=3))
    with pytest.raises(DeviceError, match=what):
        bench.run(READS, **({"bursts": 50} if "flaws" in how else {}), **how)
    with pytest.raises(DeviceError, match=what):  # and it stays broken
        bench.model.read(STATUS)


@pytest.mark.parametrize(("how", "what"), [
    ({"flaws": EARLY_LAST}, "WLAST is 1 at beat 1 of 4"),
    ({"flaws": NO_LAST}, "WLAST is 0 at beat 4 of 4"),
    ({"flaws": FALLING_VALID}, "AW changed before AWREADY"),
    ({"write": 0x0FF0, "beats": 8}, "AW: burst of 8 beats at 0xff0 crosses"),
])
def test_broken_writes_are_named(library, how, what):
    bench = Bench(library, Memory(stall={"AW": 0.7}, seed=3))
    with pytest.raises(DeviceError, match=what):
        bench.run(WRITES, bursts=1 if "write" in how else 20, **how)


@pytest.mark.parametrize(("channel", "what"), [
    ("AR", READS), ("R", READS), ("AW", WRITES), ("W", WRITES), ("B", WRITES)])
def test_a_frozen_channel_ends_in_a_time_out(library, channel, what):
    bench = Bench(library, Memory(frozen=[channel]))
    with pytest.raises(DeviceTimeout, match="after 2[0-9]{3} cycles"):
        bench.run(what, max_cycles=2000)
    bench.model.configure(Memory())
    bench.model.wait_clear(STATUS, BUSY, max_cycles=2000)


def test_a_silent_register_and_a_refused_one_are_errors_and_pass(library):
    bench = Bench(library)
    with pytest.raises(DeviceError, match="refused.*0xf4.*response 2"):
        bench.model.read(0xF4)
    with pytest.raises(DeviceError, match="refused.*write.*0xf4"):
        bench.model.write(0xF4, 1)
    bench.model.write(BURSTS, 0x1234_5678)
    assert bench.model.read(BURSTS) == 0x1234_5678
    with pytest.raises(DeviceError, match="silent.*0xf0 is not answered within 1000 cycles"):
        bench.model.read(0xF0)


def test_progress_is_told_of_long_waits_only(library):
    bench = Bench(library, Memory(frozen=["R"]))
    bench.start(READS)
    told = []
    with pytest.raises(DeviceTimeout):
        bench.model.wait_clear(STATUS, BUSY, max_cycles=20_000, progress=lambda *now: told.append(now),
                               progress_after=0)
    assert told and told[-1][0] <= 20_100 and [done for done, _ in told] == sorted(done for done, _ in told)
    told.clear()
    with pytest.raises(DeviceTimeout):
        bench.model.wait_clear(STATUS, BUSY, max_cycles=20_000, progress=lambda *now: told.append(now))
    assert not told
    assert bench.model.cycles_per_second > 0


def test_a_closed_model_says_so(library):
    model = NativeModel(library, np.zeros(64, np.uint8))
    model.close()
    model.close()
    with pytest.raises(DeviceError, match="closed"):
        model.read(STATUS)


def test_two_models_of_one_library_do_not_share_anything(library):
    one, two = Bench(library), Bench(library)
    one.model.write(BURSTS, 1)
    two.model.write(BURSTS, 2)
    assert (one.model.read(BURSTS), two.model.read(BURSTS)) == (1, 2)


@pytest.mark.parametrize("wrong", [
    {"read_latency": 0}, {"bytes_per_cycle": 0}, {"stall": 1.0}, {"stall": {"X": 0.5}}, {"frozen": ["X"]},
    {"failing": [(4, 3, 2)]}, {"failing": [(0, 3, 1)]}, {"outstanding": 0},
])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Memory(**wrong)


def test_a_memory_that_is_not_plain_bytes_is_refused(library):
    for wrong in (np.zeros(8), np.zeros((2, 2), np.uint8), np.zeros(8, np.uint8)[::2],
                  np.frombuffer(b"abcd", np.uint8)):
        with pytest.raises(ValueError, match="contiguous, writable"):
            NativeModel(library, wrong)


def test_a_file_that_is_no_library_is_a_tool_error(tmp_path):
    (tmp_path / "x.so").write_text("no")
    with pytest.raises(ToolError, match="no compiled fabric"):
        NativeModel(tmp_path / "x.so", np.zeros(8, np.uint8))
