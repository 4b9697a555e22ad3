# amaranth: UnusedElaboratable=no
"""The flash controller against a model of the chip: streams, jumps, commands of the host, refused writes."""
import pytest
from celosia.rtl.contract import flash
from celosia.rtl.contract.flash import FlashCommand, FlashReg
from celosia.rtl.flash.controller import FlashController


def say(*data, quad=b""):
    """Accesses that send a command."""
    yield FlashReg.SELECT, 1
    for byte in data:
        yield FlashReg.SEND, flash.spread(byte)
    for n in range(0, len(quad), 4):
        yield FlashReg.SEND_QUAD, flash.quad(quad[n:n + 4])


async def ask(bench, *data, count):
    """The bytes that a command gives."""
    got = []
    await bench.register(*say(*data))
    for _ in range(count):
        got.append(flash.gather((await bench.register((FlashReg.RECEIVE, 0), (FlashReg.RECEIVE, None)))[1]))
    return bytes(got)


async def wait_ready(bench):
    for _ in range(200):
        if not (await ask(bench, FlashCommand.READ_STATUS, count=1))[0] & flash.STATUS_BUSY:
            return
    raise AssertionError("the flash stays busy")


@pytest.mark.parametrize("clock, pin_delay", [(30e6, 0), (48e6, 1), (12e6, 4), (104e6, 2)])
def test_random_reads_give_what_the_flash_holds(bench_class, pace_class, burst_class, clock, pin_delay):
    bench = bench_class(seed=int(clock / 1e6) + pin_delay, clock=clock, pin_delay=pin_delay)

    async def script(bench):
        for _ in range(2):
            bench.axi.pace = pace_class.random(bench.rng)
            place = 0
            for _ in range(10):
                beats = int(bench.rng.choice([1, 2, 16, bench.rng.integers(1, 50)]))
                if bench.rng.random() < 0.4:  # else it goes on
                    place = int(bench.rng.integers(bench.size // 4)) * 4
                beats = min(beats, (4096 - place % 4096) // 4)
                bench.axi.reads.append(burst_class(place, beats))
                if bench.rng.random() < 0.2:
                    bench.axi.writes.append(burst_class(place, [(0, 15)] * beats))
                place = (place + 4 * beats) % bench.size
            await bench.run()

    bench.simulate(script)
    assert not bench.chip.asleep and bench.chip.status_2 == flash.STATUS_2_QUAD


def test_bursts_that_follow_each_other_need_one_command(bench_class, burst_class):
    bench = bench_class()

    async def script(bench):
        bench.axi.reads.append(burst_class(0x1000, 1))
        await bench.run()
        commands = bench.chip.commands
        first = bench.axi.cycle
        bench.axi.reads += [burst_class(0x1004 + 64 * n, 16) for n in range(10)]
        await bench.run()
        assert bench.chip.commands == commands
        cycles = bench.axi.cycle - first
        print(f"{cycles / 160:.2f} cycles a beat")
        assert cycles <= 160 * 9 + 10 * 3
        bench.axi.reads.append(burst_class(0x1004 + 64 * 10 + 4, 1))
        await bench.run()
        assert bench.chip.commands == commands + 1

    bench.simulate(script)


@pytest.mark.parametrize("pin_delay", [0, 2])
def test_the_first_beat_comes_at_the_stated_latency(bench_class, burst_class, pin_delay):
    bench = bench_class(pin_delay=pin_delay)

    async def latency(address):
        for _ in range(20):
            await bench.step()
        bench.axi.reads.append(burst_class(address, 1))
        await bench.run()
        return bench.axi.done[-1].done_at - bench.axi.done[-1].offered_at

    async def script(bench):
        for _ in range(2000):
            await bench.step()  # the start-up
        dut = bench.dut
        assert await latency(0) == dut.LATENCY_JUMP + pin_delay
        assert await latency(4) == dut.LATENCY_NEXT + pin_delay
        assert await latency(4) == dut.LATENCY_JUMP + dut.LATENCY_DESELECT + pin_delay

    bench.simulate(script)


def test_the_host_reads_identity_and_status(bench_class):
    bench = bench_class()

    async def script(bench):
        assert await ask(bench, FlashCommand.READ_ID, count=3) == flash.JEDEC_ID.to_bytes(3, "big")
        assert await ask(bench, FlashCommand.READ_STATUS_2, count=1) == bytes([flash.STATUS_2_QUAD])
        read = await ask(bench, FlashCommand.READ, 0, 0x12, 0x34, count=3)
        assert read == bench.chip.memory[0x1234:0x1237]
        await bench.register((FlashReg.SELECT, 0))

    bench.simulate(script)


@pytest.mark.parametrize("code", [FlashCommand.PROGRAM, FlashCommand.PROGRAM_QUAD])
def test_the_host_erases_and_programs_and_the_bus_reads_it(bench_class, burst_class, code):
    bench = bench_class(erase_seconds=2e-5, program_seconds=1e-5)

    async def script(bench):
        data = bench.rng.bytes(flash.PAGE_BYTES // 4)
        await bench.register(*say(FlashCommand.WRITE_ENABLE), *say(FlashCommand.ERASE_SECTOR, 0, 0x20, 0))
        await wait_ready(bench)
        await bench.register(*say(FlashCommand.WRITE_ENABLE))
        at = (code, 0, 0x21, 0)
        await bench.register(*(say(*at, quad=data) if code == FlashCommand.PROGRAM_QUAD
                               else say(*at, *data)))
        await wait_ready(bench)
        # The bus waits until the flash is given back.
        bench.axi.reads.append(burst_class(0x2000, 128))
        for _ in range(200):
            await bench.step()
        assert not bench.axi.done
        await bench.register((FlashReg.SELECT, 0))
        await bench.run()
        assert bench.chip.memory[0x2100:0x2100 + len(data)] == data
        assert set(bench.chip.memory[0x2000:0x2100]) == {0xFF}

    bench.simulate(script)


def test_words_without_a_selection_are_refused(bench_class, burst_class):
    bench = bench_class()

    async def script(bench):
        bench.axi.reads.append(burst_class(0, 4))
        await bench.run()
        words = [(FlashReg.SEND, 1), (FlashReg.SEND_QUAD, 2), (FlashReg.RECEIVE, 0)]
        assert await bench.register(*words) == [2, 2, 2]
        assert await bench.register((FlashReg.SELECT, 1), (FlashReg.SELECT, 0), words[0]) == [0, 0, 2]
        bench.axi.reads.append(burst_class(16, 4))
        await bench.run()

    bench.simulate(script)


def test_after_a_reset_in_the_middle_reads_are_right(bench_class, pace_class, burst_class):
    bench = bench_class(seed=3)

    async def script(bench):
        for _ in range(4):
            bench.axi.reads += [burst_class(64 * n, 16) for n in range(8)]
            if bench.rng.random() < 0.5:
                bench.registers += say(FlashCommand.READ, 0, 0, 0)
            for _ in range(int(bench.rng.integers(20, 2500))):
                await bench.step()
            bench.wires.set(bench.ctx, {"reset": 1})
            await bench.ctx.tick()
            bench.wires.set(bench.ctx, {"reset": 0})
            fresh = type(bench)(seed=int(bench.rng.integers(1000)))
            # A flash that is cut off in the middle of a command forgets it.
            fresh.chip.memory[:], fresh.chip.status_2 = bench.chip.memory, bench.chip.status_2
            bench.axi, bench.chip = fresh.axi, fresh.chip
            bench.axi.background = lambda address: bench.chip.memory[address]
            bench.registers.clear()
            bench.lite = None
        bench.axi.reads.append(burst_class(256, 16))
        await bench.run()

    bench.simulate(script)


def test_a_wrong_pin_delay_gives_wrong_data(bench_class, burst_class):
    bench = bench_class(pin_delay=1)
    bench.chip.delayed.append(15)

    async def script(bench):
        bench.axi.reads.append(burst_class(0, 16))
        await bench.run()

    with pytest.raises(AssertionError, match="expected"):
        bench.simulate(script)


@pytest.mark.parametrize("clock, rule", [(250e6, "tRES1"), (400e6, "tSHSL2")])
def test_the_model_notices_a_clock_too_fast(bench_class, burst_class, clock, rule):
    bench = bench_class(clock=clock, asleep=rule == "tRES1")

    async def script(bench):
        bench.axi.reads += [burst_class(64 * n, 1) for n in range(4)]
        await bench.run()

    with pytest.raises(AssertionError, match=rule):
        bench.simulate(script)


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="pin_delay is 5"):
        FlashController(pin_delay=5)


def test_spread_and_gather_are_bytes_on_their_lines():
    for byte in range(256):
        word = flash.spread(byte)
        assert word & 0xCCCCCCCC == 0xCCCCCCCC and flash.gather((word & 0x11111111) << 1) == byte
    assert flash.quad(b"\x12\x34\x56\x78") == 0x12345678
    with pytest.raises(ValueError, match="4 bytes"):
        flash.quad(b"")
