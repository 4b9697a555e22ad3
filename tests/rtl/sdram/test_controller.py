# amaranth: UnusedElaboratable=no
"""The SDRAM controller against a model of the chip that checks every rule of its datasheet."""
from dataclasses import replace

import pytest
from celosia.rtl.sdram.controller import SDRAMController
from celosia.rtl.sdram.timing import SDRAMTiming


@pytest.mark.parametrize("mhz, data_bytes, pin_delay, geometry", [
    (100, 4, 0, {}),
    (133, 4, 0, {}),
    (40, 4, 1, {}),
    (133, 8, 2, {}),
    (100, 16, 0, {}),
    (125, 16, 3, dict(column_bits=8, row_bits=11)),
    (125, 4, 0, dict(column_bits=10, row_bits=12)),
    # Recovery and row times that need more slots than those of any chip in the list.
    (142, 4, 0, dict(t_rcd=30, t_rp=36, t_ras=70, t_rc=120, t_wr=26, t_rfc=90)),
])
def test_random_bursts_read_what_was_written(bench_class, pace_class, at_mhz, mhz, data_bytes, pin_delay,
                                             geometry):
    bench = bench_class(at_mhz(mhz, **geometry), seed=mhz + data_bytes, data_bytes=data_bytes,
                        pin_delay=pin_delay)

    async def script(bench):
        for _ in range(2):
            bench.axi.pace = pace_class.random(bench.rng)
            for _ in range(7):
                queue = bench.axi.writes if (write := bench.rng.random() < 0.5) else bench.axi.reads
                queue.append(bench.random_burst(write))
            await bench.run()

    bench.simulate(script)


def test_a_full_page_crosses_every_bank(bench_class, at_mhz):
    bench = bench_class(at_mhz(100), data_bytes=16, strict_reads=True)

    async def script(bench):
        bench.axi.writes.append(bench.random_burst(True, address=4096, beats=256, whole=True))
        await bench.run()
        bench.axi.reads += [bench.random_burst(False, address=4096 + n, beats=256 - n // 16)
                            for n in (1024 - 16, 4096 - 16)]
        await bench.run()
        assert {bank.row for bank in bench.chip.banks} == {1}

    bench.simulate(script)


def test_a_burst_that_waits_does_not_delay_refreshes(bench_class, pace_class, at_mhz):
    """Data that does not come, data and responses that nobody takes: each for several intervals."""
    bench = bench_class(at_mhz(40))
    spell = 3 * bench.timing.refresh_interval

    async def script(bench):
        bench.axi.reads.append(bench.random_burst(False))
        await bench.run()
        bench.axi.writes += [bench.random_burst(True, address=64 * n, beats=16) for n in range(3)]
        bench.axi.reads += [bench.random_burst(False, address=4096 + 64 * n, beats=16) for n in range(3)]
        for pace in (pace_class(w=0), pace_class(r=0, b=0), pace_class(r=0), pace_class(b=0)):
            for bench.axi.pace in (pace, pace_class()):
                before = bench.chip.refreshes
                for _ in range(spell if bench.axi.pace is pace else 30):
                    await bench.step()
                if bench.axi.pace is pace:
                    assert bench.chip.refreshes - before >= 2
        await bench.run()

    bench.simulate(script)


def test_power_up_takes_as_long_as_the_datasheet_says(bench_class):
    bench = bench_class(SDRAMTiming().at(25e6))

    async def script(bench):
        bench.axi.writes.append(bench.random_burst(True, address=0, beats=4))
        await bench.run()
        assert bench.timing.power_up == 5_000 and bench.chip.ready_at > 5_000

    bench.simulate(script)


def test_addresses_behind_the_chip_are_refused_and_nothing_is_written(bench_class, at_mhz):
    bench = bench_class(at_mhz(100), strict_reads=True)

    async def script(bench):
        bench.axi.writes.append(bench.random_burst(True, address=0, beats=16, whole=True))
        bench.axi.writes.append(bench.random_burst(True, address=bench.bytes, beats=16, whole=True))
        bench.axi.writes.append(bench.random_burst(True, address=bench.bytes - 64, beats=16, whole=True))
        await bench.run()
        bench.axi.reads += [bench.random_burst(False, address=at, beats=16)
                            for at in (0, bench.bytes, bench.bytes - 64, 1 << 31)]
        await bench.run()
        assert [burst.resp for burst in bench.axi.done] == [0, 3, 0, 0, 3, 0, 3]

    bench.simulate(script)


def test_after_a_reset_in_the_middle_everything_is_as_at_power_up(bench_class, pace_class, at_mhz):
    bench = bench_class(at_mhz(100))

    async def script(bench):
        for _ in range(4):
            bench.axi.pace = pace_class.random(bench.rng)
            for _ in range(6):
                bench.axi.writes.append(bench.random_burst(True))
                bench.axi.reads.append(bench.random_burst(False))
            for _ in range(1_000 + int(bench.rng.integers(300))):
                await bench.step()
            bench.wires.set(bench.ctx, {"reset": 1})
            await bench.ctx.tick()
            bench.wires.set(bench.ctx, {"reset": 0})
            fresh = type(bench)(bench.timing, seed=int(bench.rng.integers(1000)))
            bench.chip, bench.axi = fresh.chip, fresh.axi
        bench.axi.writes.append(bench.random_burst(True, address=0, beats=16))
        await bench.run()
        bench.axi.reads.append(bench.random_burst(False, address=0, beats=16))
        await bench.run()

    bench.simulate(script)


@pytest.mark.parametrize("mhz, kind, data_bytes, least", [
    (100, "read", 4, 0.94), (133, "read", 4, 0.94), (133, "write", 4, 0.94), (133, "write", 8, 0.94),
    # In turn, always in the same bank: each burst closes the row of the one before.
    (133, "both", 4, 0.7),
])
def test_long_transfers_fill_the_data_bus(bench_class, at_mhz, mhz, kind, data_bytes, least):
    """Back-to-back bursts of 16 beats, four at a time, as the DMA makes them; peak is 2 bytes a cycle."""
    bench = bench_class(at_mhz(mhz), data_bytes=data_bytes)

    async def script(bench):
        bench.axi.reads.append(bench.random_burst(False, address=0, beats=1))
        await bench.run()
        begin, count = bench.axi.cycle, 24
        for n in range(count):
            if kind != "write":
                bench.axi.reads.append(bench.random_burst(False, address=16 * data_bytes * n, beats=16))
            if kind != "read":
                bench.axi.writes.append(bench.random_burst(True, address=(1 << 20) + 16 * data_bytes * n,
                                                           beats=16))
        await bench.run()
        moved = (2 if kind == "both" else 1) * count * 16 * data_bytes
        share = moved / 2 / (bench.axi.cycle - begin)
        print(f"{share:.3f} of the peak")
        assert share >= least

    bench.simulate(script)


@pytest.mark.parametrize("mhz, data_bytes", [(100, 4), (133, 4), (133, 16)])
def test_the_first_beat_comes_at_the_stated_latency(bench_class, at_mhz, mhz, data_bytes):
    bench = bench_class(at_mhz(mhz), data_bytes=data_bytes, pin_delay=1)
    hit, miss = bench.dut.latency_open, bench.dut.latency_closed

    async def script(bench):
        bench.axi.reads.append(bench.random_burst(False, address=0, beats=1))
        await bench.run()
        seen = {}
        for n in range(4, 28):
            refreshes = bench.chip.refreshes
            for _ in range(20 + n % 3):
                await bench.step()
            address = (n % 8 // 4) * 4096  # four times in one row, then in another of the same bank
            bench.axi.reads.append(bench.random_burst(False, address=address, beats=1))
            await bench.run()
            burst = bench.axi.done[-1]
            if refreshes == bench.chip.refreshes:
                seen.setdefault(n % 4 > 0, set()).add(burst.done_at - burst.offered_at)
        assert seen[True] == {hit, hit - 1}  # the phase of the slots is worth a cycle
        assert max(seen[False]) == miss and min(seen[False]) >= miss - 1

    bench.simulate(script)


@pytest.mark.parametrize("change, rule", [
    (dict(t_rcd=3), "tRCD of ACTIVE"),
    (dict(t_rp=2), "within tRP of PRECHARGE"),
    (dict(t_ras=7, t_rc=9), "within tRAS of ACTIVE"),
    (dict(t_rc=9), "within tRC of ACTIVE"),
    (dict(t_rrd=2), "within tRRD of another"),
    (dict(t_rfc=9), "within tRFC of REFRESH"),
    (dict(t_wr=2), "within tWR of the last data written"),
    (dict(t_mrd=2), "within tMRD of LOAD MODE"),
    (dict(init_refreshes=7), "before the initialisation is complete"),
    (dict(power_up=1), "before the power-up time is over"),
    (dict(cas=2), "another CAS latency"),
    (dict(t_refresh=2 * 13300 * 64), "refreshes are overdue"),
    (dict(row_bits=13), "a row that does not exist"),
    (dict(column_bits=10), "a column that does not exist"),
])
def test_the_model_notices_a_controller_with_too_short_a_time(bench_class, at_mhz, change, rule):
    """The controller is made for another chip than the one that it has."""
    timing = replace(at_mhz(133, row_bits=12), t_rcd=5, t_rp=4, t_ras=9, t_rc=15, t_rrd=8, t_rfc=11, t_wr=4,
                     t_mrd=9, t_refresh=13300 * 64, power_up=500)
    if change.keys() & {"t_ras", "t_rc", "t_rrd"}:  # other times keep these as well
        timing = replace(timing, t_rcd=2, t_wr=2)
    ours = replace(timing, **change)
    bench = bench_class(ours, chip_timing=timing)

    async def script(bench):
        for n in range(24):
            # Another row of the same bank each time, then all banks.
            bank = (0 if n < 12 else n % 3) << 11
            bench.axi.writes.append(bench.random_burst(True, address=(n % 2 << 13) + bank, beats=1 + n % 2))
            bench.axi.reads.append(bench.random_burst(False, address=(~n % 2 << 13) + bank // 2, beats=1))
        bench.axi.writes.append(bench.random_burst(True, address=bench.bytes - 64, beats=16))
        await bench.run()
        for _ in range(4_500 if "t_refresh" in change else 300):
            await bench.step()

    with pytest.raises(AssertionError, match=rule):
        bench.simulate(script)


def test_a_wrong_pin_delay_gives_wrong_data(bench_class, at_mhz):
    bench = bench_class(at_mhz(100), pin_delay=1)
    bench.chip.delayed.append(0)

    async def script(bench):
        bench.axi.writes.append(bench.random_burst(True, address=0, beats=16))
        await bench.run()
        bench.axi.reads.append(bench.random_burst(False, address=0, beats=16))
        await bench.run()

    with pytest.raises(AssertionError, match="expected"):
        bench.simulate(script)


@pytest.mark.parametrize("options, message", [
    (dict(data_bytes=2), "data_bytes is 2"), (dict(pin_delay=-1), "pin_delay is -1"),
    (dict(read_depth=1), "read_depth is 1")])
def test_impossible_parameters_are_refused(at_mhz, options, message):
    with pytest.raises(ValueError, match=message):
        SDRAMController(timing=at_mhz(100), **options)


def test_a_clock_that_the_chip_cannot_take_is_refused():
    with pytest.raises(ValueError, match="200 MHz has 5.00 ns"):
        SDRAMTiming().at(200e6)


def test_cycles_are_times_rounded_up():
    at = SDRAMTiming().at
    assert [at(mhz * 1e6).cas for mhz in (25, 100, 100.1, 142)] == [2, 2, 3, 3]
    assert (at(100e6).t_rcd, at(125e6).t_rcd, at(50e6).t_wr, at(133e6).t_rfc) == (3, 3, 2, 9)
    for mhz in (25, 64, 100, 133):
        timing = at(mhz * 1e6)
        late = 64  # cycles
        assert 8192 * timing.refresh_interval + late <= timing.t_refresh
