# amaranth: UnusedElaboratable=no
"""Bytes over a wire of ideal timing: clocks from 18 to 125 MHz, drift, disturbances, and what is no byte."""
import random

import pytest
from amaranth.sim import Simulator
from celosia.rtl.link.uart import LEAST_CYCLES_PER_BIT, WORST_ERROR, BitRate, UARTReceiver, UARTTransmitter

BAUD = 3_000_000
CLOCKS = [30e6, 33.3e6, 48e6, 62.5e6, 100e6, 110e6, 125e6, 18e6]


def levels(data: bytes) -> list[int]:
    return [bit for byte in data for bit in (0, *(byte >> n & 1 for n in range(8)), 1)]


def receive(wave, *, clock, cycles, baud=BAUD):
    """What a receiver makes of ``wave``, a function from seconds to a level."""
    dut, got = UARTReceiver(clock=clock, baud=baud), []

    async def bench(ctx):
        for cycle in range(cycles):
            ctx.set(dut.rx, wave(cycle / clock))
            await ctx.tick()
            if ctx.get(dut.byte_stb):
                got.append((cycle, ctx.get(dut.byte)))

    simulator = Simulator(dut)
    simulator.add_clock(1 / clock)
    simulator.add_testbench(bench)
    simulator.run()
    return got


def line(bits, *, baud, start=0.0):
    def wave(seconds):
        place = int((seconds - start) * baud)
        return bits[place] if seconds >= start and place < len(bits) else 1

    return wave


@pytest.mark.parametrize("clock", [18e6, 30e6, 33.3e6, 100e6, 125e6])
@pytest.mark.parametrize("drift", [0.98, 1.02])
def test_bytes_without_pause_are_received_when_the_sender_is_two_percent_off(clock, drift):
    rng = random.Random(1)
    data = bytes([0, 255, 0x55, 0xAA, 1, 128]) + rng.randbytes(5)
    wave = line(levels(data), baud=BAUD * drift, start=rng.random() * 1e-6)
    got = receive(wave, clock=clock, cycles=int(clock / BAUD * 10 * (len(data) + 2)))
    assert bytes(value for _, value in got) == data


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_byte_is_complete_in_the_middle_of_its_stop_bit(clock):
    start = 20 / clock
    wave = line(levels(b"\x5a"), baud=BAUD, start=start)
    (cycle, value), = receive(wave, clock=clock, cycles=int(14 * clock / BAUD))
    assert value == 0x5A
    assert abs(cycle - (20 + 9.5 * clock / BAUD + UARTReceiver.LATENCY_WIRE)) <= 3


def test_a_byte_holds_for_a_bit_and_a_half_while_the_next_one_comes():
    dut, clock = UARTReceiver(clock=18e6, baud=BAUD), 18e6
    data = b"\x00\xff\x00\xff"
    wave = line(levels(data), baud=BAUD)
    held = []

    async def bench(ctx):
        since, value = None, None
        for cycle in range(300):
            ctx.set(dut.rx, wave(cycle / clock))
            await ctx.tick()
            if ctx.get(dut.byte_stb):
                since, value = cycle, ctx.get(dut.byte)
            elif since is not None and cycle - since <= 9:
                held.append(ctx.get(dut.byte) == value)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(held) == 9 * len(data) and all(held)


def test_a_disturbance_of_one_cycle_anywhere_is_not_seen():
    """Byte n, in its own stretch of the wire, is disturbed in cycle n."""
    clock, cycles, values = 24e6, 8 * 12, b"\x35\xca"
    data = bytes(values[n % 2] for n in range(cycles))
    stretch = {value: levels(bytes([value])) for value in values}

    def wave(seconds):
        cycle = round(seconds * clock)
        byte, place = divmod(cycle, cycles)
        bit = place // 8 - 1
        level = stretch[data[byte]][bit] if byte < len(data) and 0 <= bit < 10 else 1
        return level ^ (place == byte)

    got = receive(wave, clock=clock, cycles=cycles * (len(data) + 1))
    assert bytes(value for _, value in got) == data


def test_a_byte_without_a_stop_bit_is_dropped_and_a_break_is_none():
    clock = 48e6
    bits = levels(b"\x11")[:-1] + [0] * 30 + [1] * 3 + levels(b"\x22") + [0] + [1] * 20
    got = receive(line(bits, baud=BAUD), clock=clock, cycles=16 * (len(bits) + 2))
    assert bytes(value for _, value in got) == b"\x22\xff"  # the last is a start bit and ones


def test_a_start_bit_that_is_too_short_is_none():
    clock = 48e6
    wave = lambda seconds: not 10 <= seconds * clock < 15  # a third of a bit
    assert receive(wave, clock=clock, cycles=400) == []


@pytest.mark.parametrize("clock,baud", [(clock, BAUD) for clock in CLOCKS] + [(30e6, 460800)])
def test_sent_bits_are_as_long_as_the_rate_says(clock, baud):
    dut = UARTTransmitter(clock=clock, baud=baud)
    data = bytes([0x55, 0x00, 0xFF, 0x81]) if baud == BAUD else b"\x55"
    edges, wave = [], []

    async def bench(ctx):
        to_send = list(data)
        for _ in range(int((10 * len(data) + 2) * clock / baud)):
            ctx.set(dut.bytes.valid, bool(to_send))
            ctx.set(dut.bytes.payload, to_send[0] if to_send else 0)
            taken = to_send and ctx.get(dut.bytes.ready)
            await ctx.tick()
            if taken:
                to_send.pop(0)
            wave.append(ctx.get(dut.tx))

    simulator = Simulator(dut)
    simulator.add_clock(1 / clock)
    simulator.add_testbench(bench)
    simulator.run()
    start = wave.index(0)
    edges = [wave[min(len(wave) - 1, start + round((n + 0.5) * clock / baud))] for n in range(10 * len(data))]
    first = edges[:10]
    assert first == levels(data[:1])
    # Back to back each byte takes ten bits and at most two cycles, so what follows is found byte by byte.
    got, at = [], start
    while at < len(wave) - 9 * clock / baud:
        got.append(sum(wave[round(at + (n + 1.5) * clock / baud)] << n for n in range(8)))
        try:
            begin = wave.index(0, round(at + 9.5 * clock / baud))
        except ValueError:
            break
        assert begin - at <= 10 * clock / baud * (1 + WORST_ERROR) + 2
        at = begin
    assert bytes(got) == data


@pytest.mark.parametrize("clock", CLOCKS)
def test_the_rate_is_exact_enough_with_few_bits(clock):
    rate = BitRate.of(clock=clock, baud=BAUD)
    assert abs(rate.step * clock / (BAUD * 2**rate.bits) - 1) <= WORST_ERROR and rate.bits <= 12


def test_rejects_a_rate_that_does_not_fit():
    with pytest.raises(ValueError, match=f"12 MHz|{LEAST_CYCLES_PER_BIT} cycles a bit"):
        UARTReceiver(clock=12e6, baud=BAUD)
    with pytest.raises(ValueError, match="baud is 10; that is too slow"):
        UARTTransmitter(clock=100e6, baud=10)
