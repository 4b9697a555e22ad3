# amaranth: UnusedElaboratable=no
"""RAMs: the portable ones against a Python dictionary, those of a chip's cells against them."""
import re

import numpy as np
import pytest
from amaranth import Cat, Mux, Signal
from amaranth.sim import Simulator
from celosia.rtl.primitives.memory import SinglePort, TrueDualPort
from support.twins import MODELS, WRITTEN, differences


def run(dut, bench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize(("depth", "width"), [(2, 1), (37, 8), (64, 20)])
def test_both_ports_read_what_was_written_at_the_stated_latency(depth, width):
    dut = TrueDualPort(depth=depth, width=width)
    assert (dut.LATENCY_READ, dut.LATENCY_WRITE) == (2, 1)
    rng = np.random.default_rng(seed=depth)
    words, due_b = {}, {}
    seen_a, held = [None] * 3, None

    async def bench(ctx):
        nonlocal held
        for t in range(600):
            a, b = (int(rng.integers(depth)) for _ in range(2))
            enable_a, enable_b, write = (int(rng.integers(most) > 0) for most in (4, 4, 2))
            value = int(rng.integers(1 << width))
            for name, given in (("a_address", a), ("a_enable", enable_a), ("b_address", b),
                                ("b_enable", enable_b), ("b_write", write), ("b_data", value)):
                ctx.set(getattr(dut, f"i_{name}"), given)
            if enable_a:
                held = None if enable_b and write and a == b else words.get(a, 0)
            seen_a.append(held)
            if enable_b and not write:
                due_b[t + dut.LATENCY_READ] = words.get(b, 0)
            if enable_b and write:
                words[b] = value
            if (want := seen_a[t + 3 - dut.LATENCY_READ]) is not None:
                assert ctx.get(dut.o_a_data) == want
            if t in due_b:
                assert ctx.get(dut.o_b_data) == due_b[t]
            await ctx.tick()

    run(dut, bench)
    assert due_b


@pytest.mark.parametrize(("depth", "width"), [(16, 8), (37, 32)])
def test_bytes_are_written_by_themselves_and_read_a_cycle_later(depth, width):
    dut = SinglePort(depth=depth, width=width)
    assert (dut.LATENCY_READ, dut.LATENCY_WRITE) == (1, 1)
    rng = np.random.default_rng(seed=width)
    words = np.zeros((depth, width // 8), np.int64)

    async def bench(ctx):
        for _ in range(600):
            address, enable = int(rng.integers(depth)), int(rng.integers(4) > 0)
            mask = rng.integers(2, size=width // 8) * int(rng.integers(2))
            value = rng.integers(256, size=width // 8)
            ctx.set(dut.i_address, address)
            ctx.set(dut.i_enable, enable)
            ctx.set(dut.i_write, sum(int(bit) << n for n, bit in enumerate(mask)))
            ctx.set(dut.i_data, sum(int(byte) << 8 * n for n, byte in enumerate(value)))
            await ctx.tick()
            if enable and mask.any():
                words[address] = np.where(mask, value, words[address])
            elif enable:
                assert ctx.get(dut.o_data) == sum(int(byte) << 8 * n for n, byte in enumerate(words[address]))

    run(dut, bench)


def few(noise, depth):
    """An address of the few that differ in their lowest and highest bits: those meet again and again."""
    bits = (depth - 1).bit_length()
    spread = Cat(noise[n] if n < 2 or n >= bits - 4 else 0 for n in range(bits))
    return Mux(spread < depth, spread, noise[:2])


def dual_ports(depth, width):
    def build(m, noise, count):
        m.submodules.dut = dut = TrueDualPort(depth=depth, width=width, family="ecp5")
        m.submodules.twin = twin = TrueDualPort(depth=depth, width=width)
        meets, sure_a, reads_b = Signal(), Signal(2), Signal(2)
        for one in (dut, twin):
            m.d.comb += [
                one.i_a_address.eq(few(noise[:16], depth)), one.i_b_address.eq(few(noise[16:32], depth)),
                one.i_a_enable.eq(noise[32:34].any()), one.i_b_enable.eq(noise[34:36].any()),
                one.i_b_write.eq(noise[36]), one.i_b_data.eq(noise[64:64 + width]),
            ]
        m.d.comb += meets.eq(
            dut.i_b_enable & dut.i_b_write & (dut.i_a_address == dut.i_b_address))
        m.d.sync += [sure_a[0].eq(Mux(dut.i_a_enable, ~meets, sure_a[0])), sure_a[1].eq(sure_a[0])]
        m.d.sync += reads_b.eq(Cat(dut.i_b_enable & ~dut.i_b_write, reads_b[0]))
        return Cat(sure_a[1] & (dut.o_a_data != twin.o_a_data),
                   reads_b[1] & (dut.o_b_data != twin.o_b_data)).any()
    return build


@pytest.mark.parametrize(("depth", "width"), [(6144, 8), (256, 16), (8193, 3)])
def test_dp16kd_does_the_same_as_the_portable_twin(depth, width, tmp_path):
    assert differences(dual_ports(depth, width), tmp_path, cycles=50_000,
                       models=[WRITTEN / "dp16kd.v"]) == (0, -1)


def single_ports(depth, width):
    def build(m, noise, count):
        m.submodules.dut = dut = SinglePort(depth=depth, width=width, family="ice40")
        m.submodules.twin = twin = SinglePort(depth=depth, width=width)
        reads = Signal()
        for one in (dut, twin):
            m.d.comb += [
                one.i_address.eq(few(noise[:16], depth)), one.i_enable.eq(noise[32:34].any()),
                one.i_write.eq(noise[34:34 + width // 8] & noise[63].replicate(width // 8)),
                one.i_data.eq(noise[64:64 + width]),
            ]
        m.d.sync += reads.eq(dut.i_enable & ~dut.i_write.any())
        return reads & (dut.o_data != twin.o_data)
    return build


@pytest.mark.parametrize(("depth", "width"), [(32768, 32), (5000, 24)])
def test_sb_spram256ka_does_the_same_as_the_portable_twin(depth, width, tmp_path):
    model = (MODELS / "ice40" / "cells_sim.v").read_text()
    model = re.search(r"^module SB_SPRAM256KA.*?^endmodule", model, re.MULTILINE | re.DOTALL)[0]
    # Without what happens when its power goes, which it does not: Yosys would be busy with that for minutes.
    for gone, instead in ((r"always @\(negedge POWEROFF\) begin.*?\bend\b", ""), (r", posedge off\b", "")):
        model, found = re.subn(gone, instead, model, flags=re.DOTALL)
        assert found == 1
    (tmp_path / "spram.v").write_text(model)
    assert differences(single_ports(depth, width), tmp_path, cycles=50_000,
                       models=[tmp_path / "spram.v"]) == (0, -1)


@pytest.mark.parametrize(("make", "values", "message"), [
    (TrueDualPort, {"depth": 1, "width": 8}, "1 words of 8 bits; a memory has at least 2 words"),
    (TrueDualPort, {"depth": 8, "width": 0}, "8 words of 0 bits"),
    (TrueDualPort, {"depth": 8, "width": 8, "family": "ecp6"}, "family is 'ecp6'; choose one of portable"),
    (SinglePort, {"depth": 8, "width": 12}, "width is 12; it must be a whole number of bytes"),
])
def test_memories_that_there_are_not_are_refused(make, values, message):
    with pytest.raises(ValueError, match=message):
        make(**values)
