# amaranth: UnusedElaboratable=no
"""The DMA against the ISA's semantics, behind an AXI memory that checks the rules and waits at random."""
import numpy as np
import pytest
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import Fill, Load, Space, Store, Unit
from celosia.rtl.contract.registers import Fault
from celosia.rtl.signatures import State

SHAPES = [(1, 1), (3, 5), (4, 4), (5, 3), (8, 16), (16, 8), (32, 32)]


def small(rows=4, cols=4, bus=8, **changes):
    values = dict(rows=rows, cols=cols, bus_bytes=bus, am_words=max(8, 400 // rows), wm_words=80, pm_words=80)
    return Fabric(**(values | changes))


@pytest.mark.parametrize("bus", [4, 8, 16])
@pytest.mark.parametrize("rows, cols", SHAPES)
def test_random_programs_leave_the_memories_as_the_isa_says(bench_class, pace_class, rows, cols, bus):
    seed = 1000 * bus + rows
    burst, outstanding = [(16, 4), (3, 1), (1, 2), (256, 16), (8, 3)][(rows + bus) % 5]
    fabric = small(rows, cols, bus, max_burst=burst, outstanding=outstanding)
    bench = bench_class(fabric, seed=seed, read_latency=1 + seed % 7, write_latency=seed % 5)

    async def script(bench):
        bench.pace = pace_class.random(bench.rng)
        fetches = [(int(bench.rng.integers(300)) * bus, 32 * int(bench.rng.integers(1, 6))) for _ in range(3)]
        await bench.run(bench.random_program(10), fetches=fetches)
        await bench.step()
        assert await bench.step(), "not quiet after the last done"
        assert not bench.faults
        assert bench.states[Unit.LOAD][-1] == bench.states[Unit.STORE][-1] == State.IDLE

    bench.simulate(script)


@pytest.mark.parametrize("bus", [4, 16])
@pytest.mark.parametrize("row_bytes", [1, 3, 4, 15, 16, 17, 64, 257])
def test_corner_row_lengths_move_exactly_their_bytes(bench_class, bus, row_bytes):
    bench = bench_class(small(5, 3, bus, am_words=200, max_burst=256))
    where = dict(dram=4096 - bus, dram_stride=bus * 100, rows=2, row_bytes=row_bytes, local=7,
                 pitch=row_bytes)

    async def script(bench):
        await bench.run([Load(space=Space.AM, **where), Store(**(where | dict(dram=8192 - bus)))])

    bench.simulate(script)


@pytest.mark.parametrize("weight_bits", [8, 9])
@pytest.mark.parametrize("rows, cols, bus", [(1, 1, 4), (3, 5, 4), (4, 4, 16), (8, 16, 8)])
def test_weights_are_bytes_less_the_offset(bench_class, rows, cols, bus, weight_bits):
    """Every byte with both ends of the offset: 9 bits hold all of them, 8 bits wrap."""
    bench = bench_class(small(rows, cols, bus, wm_words=128, weight_bits=weight_bits))
    bytes_ = bench.machine.dram[:64 * bench.fabric.wm_word_stride]
    bytes_[:] = np.resize(np.r_[[128, 127, 0, 255, 1], np.arange(256)], len(bytes_)).astype(np.uint8)
    bench.axi.dram[:] = bench.machine.dram

    async def script(bench):
        await bench.run([Load(space=Space.WM, dram=0, row_bytes=len(bytes_) // 4, word=4 + 16 * i,
                              offset=offset) for i, offset in enumerate((-128, 127, 0, -1))])
        if weight_bits == 9 and cols > 1:
            assert bench.wm.max() == 255 and bench.wm.min() == -255

    bench.simulate(script)


@pytest.mark.parametrize("bus", [4, 8, 16])
@pytest.mark.parametrize("tables", [1, 4, 15])
def test_tables_go_beat_by_beat_to_their_places(bench_class, bus, tables):
    bench = bench_class(small(4, 4, bus, tables=tables), dram_bytes=2 * 4096)

    async def script(bench):
        # The first alone, then all that follow it at once, then the last again; weights in between.
        await bench.run([
            Load(space=Space.TABLE, dram=bus, row_bytes=256),
            Load(space=Space.WM, dram=bus, row_bytes=2 * bench.fabric.wm_word_stride, offset=5),
            Load(space=Space.TABLE, dram=512, row_bytes=256 * max(1, tables - 1), word=min(1, tables - 1)),
            Load(space=Space.AM, dram=0, row_bytes=5),
            Load(space=Space.TABLE, dram=4096, row_bytes=256, word=tables - 1)])

    bench.simulate(script)


@pytest.mark.parametrize("max_burst, bus, block", [(16, 8, 16), (5, 4, 4), (1, 4, 1), (256, 16, 256)])
def test_bursts_fill_blocks_of_the_longest_length(bench_class, max_burst, bus, block):
    bench = bench_class(small(4, 4, bus, max_burst=max_burst, am_words=2200))
    start, count = 4096 - 3 * bus, bus * (block + 50)

    async def script(bench):
        await bench.run([Load(space=Space.AM, dram=start, row_bytes=count)])
        at, beats = start // bus, count // bus
        for _, address, length in bench.axi.bursts:
            assert address == at * bus and length == min(block - at % block, beats)
            at, beats = at + length, beats - length
        assert beats == 0

    bench.simulate(script)


def test_fetch_that_is_never_taken_does_not_stop_load(bench_class, pace_class):
    bench = bench_class(small(), pace=pace_class(fetch=0))

    async def script(bench):
        program = [Load(space=Space.AM, dram=256, row_bytes=300)]
        await bench.run(program, fetches=[(0, 4000)], check=False, until=lambda b: b.done_cycles)
        assert not bench.fetched
        bench.pace.fetch = 1
        while len(bench.fetched) < 500:
            assert bench.cycle < 5000
            await bench.step()
        assert bench.fetched == bench.beats_of(0, 4000)

    bench.simulate(script)


@pytest.mark.parametrize("latency", [0, 1, 2, 5])
def test_load_is_done_when_its_last_write_is_visible(bench_class, latency):
    bench = bench_class(small(), write_latency=latency)
    delay = bench.dut._load.DONE_DELAY
    assert delay == max(latency, 2)

    async def script(bench):
        await bench.run([Load(space=Space.AM, dram=0, row_bytes=50)])
        assert bench.done_cycles[-1] == bench.am_cycles[-1] + delay
        await bench.run([Fill(row_bytes=50, value=3)])
        assert bench.done_cycles[-1] == bench.am_cycles[-1] + delay
        await bench.run([Load(space=Space.WM, dram=0, row_bytes=64, word=2)])
        assert bench.done_cycles[-1] == bench.wide_cycles[-1] + delay - 1  # weights are written a cycle late
        await bench.run([Load(space=Space.PM, dram=0, row_bytes=48, word=2)])
        assert bench.done_cycles[-1] == bench.wide_cycles[-1] + delay
        await bench.run([Load(space=Space.TABLE, dram=0, row_bytes=256, word=1)])
        assert bench.done_cycles[-1] == bench.wide_cycles[-1] + delay

    bench.simulate(script)


def test_wide_write_waits_for_activation_writes_before_it(bench_class, pace_class):
    bench = bench_class(small(), pace=pace_class(am=0.05))

    async def script(bench):
        await bench.run([Fill(row_bytes=20, value=3), Load(space=Space.PM, dram=0, row_bytes=24)])
        assert bench.wide_cycles[0] > bench.am_cycles[-1]
        assert bench.done_cycles == sorted(set(bench.done_cycles)) and len(bench.done_cycles) == 2

    bench.simulate(script)


@pytest.mark.parametrize("program, reads, writes, code, address", [
    ([Load(space=Space.AM, dram=512, row_bytes=300)], {512 + 144}, set(), Fault.READ_RESPONSE, 512 + 128),
    ([Load(space=Space.WM, dram=520, row_bytes=80)], {520}, set(), Fault.READ_RESPONSE, 520),
    ([Store(dram=1024, row_bytes=300)], set(), {1024 + 256}, Fault.WRITE_RESPONSE, 1024 + 256),
])
def test_error_response_is_reported_with_its_burst(bench_class, pace_class, program, reads, writes, code,
                                                   address):
    bench = bench_class(small())
    bench.axi.bad_reads, bench.axi.bad_writes = reads, writes

    async def script(bench):
        await bench.run(program, check=False)
        (cycle, seen, where), = bench.faults
        assert (seen, where) == (code.value, address)
        assert cycle <= bench.done_cycles[-1], "done before the fault was reported"
        await bench.abort()
        bench.pace = pace_class()
        bench.axi.bad_reads, bench.axi.bad_writes = set(), set()
        await bench.run(program)

    bench.simulate(script)


def test_fetch_error_is_reported_before_its_beat_is_seen(bench_class):
    bench = bench_class(small())
    bench.axi.bad_reads = {256 + 8}

    async def script(bench):
        await bench.run([], fetches=[(256, 16)], until=lambda b: len(b.fetched) == 2)
        (cycle, code, address), = bench.faults
        assert (code, address) == (Fault.READ_RESPONSE.value, 256) and cycle < bench.cycle

    bench.simulate(script)


@pytest.mark.parametrize("seed", range(8))
def test_abort_at_any_cycle_reaches_quiet_and_the_next_run_is_right(bench_class, pace_class, seed):
    rows, bus = SHAPES[seed % len(SHAPES)][0], (4, 8, 16)[seed % 3]
    burst, outstanding = [(16, 4), (4, 1), (8, 16)][seed % 3]
    fabric = small(rows, 4, bus, max_burst=burst, outstanding=outstanding)
    bench = bench_class(fabric, seed=seed, read_latency=1 + seed % 7)

    async def script(bench):
        for _ in range(5):
            bench.pace = pace_class.random(bench.rng)
            stop = bench.cycle + int(bench.rng.integers(2, 150))
            await bench.run(bench.random_program(8), fetches=[(64, 512)], check=False,
                            until=lambda b, stop=stop: b.cycle == stop)
            await bench.abort()
        bench.pace = pace_class()
        await bench.run(bench.random_program(5), fetches=[(64, 64)])

    bench.simulate(script)


# Throughput: beats per cycle between the first and the last, a memory with a latency of 10 cycles.

def rate(cycles):
    return len(cycles) / (cycles[-1] - cycles[0] + 1)


@pytest.mark.parametrize("rows, cols, bus, program, cycles, least", [
    # One long row to weight memory: the bus never idles.
    (8, 8, 8, [Load(space=Space.WM, dram=0, row_bytes=8 * 300)], "read_cycles", 0.99),
    (8, 32, 16, [Load(space=Space.WM, dram=0, row_bytes=32 * 120)], "read_cycles", 0.99),
    # A chunk is as wide as the bus: a beat per cycle to activation memory, row after row.
    (8, 8, 8, [Load(space=Space.AM, dram=0, dram_stride=128, rows=20, row_bytes=128, pitch=96)],
     "read_cycles", 0.99),
    (5, 8, 4, [Load(space=Space.AM, dram=0, dram_stride=64, rows=20, row_bytes=64, pitch=40)],
     "read_cycles", 0.99),
    # One instruction after the other.
    (8, 8, 8, [Load(space=Space.AM, dram=256 * i, row_bytes=256) for i in range(12)], "read_cycles", 0.95),
    (8, 8, 8, [Fill(row_bytes=80, rows=20, pitch=80)], "am_cycles", 1),
    # Activation memory to the bus.
    (8, 8, 8, [Store(dram=0, dram_stride=128, rows=20, row_bytes=128, pitch=96)], "write_cycles", 0.97),
    (8, 8, 8, [Store(dram=256 * i, row_bytes=256) for i in range(12)], "write_cycles", 0.9),
])
def test_long_moves_keep_the_bus_busy(bench_class, pace_class, rows, cols, bus, program, cycles, least):
    bench = bench_class(small(rows, cols, bus, am_words=1000, wm_words=1000), pace=pace_class(latency=10),
                        read_latency=7, write_latency=4)

    async def script(bench):
        await bench.run(program)
        seen = rate(getattr(bench, cycles))
        print(f"{seen:.3f} per cycle")
        assert seen >= least

    bench.simulate(script)


def test_states_tell_what_load_and_store_wait_for(bench_class, pace_class):
    bench = bench_class(small(), pace=pace_class(latency=30))

    async def script(bench):
        await bench.run([Load(space=Space.AM, dram=0, row_bytes=64)])
        load = bench.states[Unit.LOAD]
        assert load.count(State.BUSY) == 16 and load.count(State.OPERAND) >= 30 and State.RESULT not in load
        bench.pace = pace_class(am=0.2)
        load.clear()
        await bench.run([Fill(row_bytes=64)])
        assert load.count(State.BUSY) == 16 and load.count(State.RESULT) > 16
        store = bench.states[Unit.STORE]
        store.clear()
        await bench.run([Store(dram=0, row_bytes=64)])
        assert store.count(State.BUSY) == 16 and store.count(State.OPERAND) > 16
        bench.pace = pace_class(w=0.05)
        store.clear()
        await bench.run([Store(dram=0, row_bytes=300)])
        assert store.count(State.BUSY) == 75 and store.count(State.RESULT) > 300
        assert State.OPERAND not in store

    bench.simulate(script)
