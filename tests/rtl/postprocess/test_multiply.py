# amaranth: UnusedElaboratable=no
"""OperandMultiplier against numerics.Product: the ends of both bytes and both offsets, and what passes."""
import itertools

import numpy as np
import pytest
from amaranth.sim import Simulator
from celosia.rtl.contract.numerics import Product, wrap
from celosia.rtl.postprocess.multiply import OperandMultiplier

OFFSETS = (-256, -128, 0, 127, 255)
BYTES = (-128, -1, 0, 127)


@pytest.mark.parametrize("acc_width", [20, 32])
def test_product_equals_the_contract_at_its_stated_latency(acc_width):
    dut = OperandMultiplier(acc_width=acc_width)
    rng = np.random.default_rng(acc_width)
    half = 1 << acc_width - 1
    expected, got = {}, {}

    async def bench(ctx):
        cycle = 0

        async def tick():
            nonlocal cycle
            got[cycle] = ctx.get(dut.o_acc)
            await ctx.tick()
            cycle += 1

        for number, (offset_q, offset_other) in enumerate(itertools.product(OFFSETS, OFFSETS)):
            record = Product(offset_q=offset_q, offset_other=offset_other)
            multiply = number % 5 != 4
            # Bits behind the offsets' 9 mean nothing.
            noise = int.from_bytes(rng.bytes(20), "little") & ~(0x1FF | 0x1FF << 16)
            code = int.from_bytes(record.pack(), "little") & (0x1FF | 0x1FF << 16)
            ctx.set(dut.i_parameters.as_value(), code | noise)
            ctx.set(dut.i_multiply, multiply)
            pairs = list(itertools.product(BYTES, BYTES)) + [
                tuple(int(value) for value in rng.integers(-128, 128, 2)) for _ in range(16)]
            for q, other in pairs:
                high = int(rng.choice([-half, 0, half - 256, rng.integers(-half, half) & ~255]))
                acc = high | q & 255
                ctx.set(dut.i_acc, acc)
                ctx.set(dut.i_other, other)
                want = record.apply(np.array([acc]), np.array([other]))[0] if multiply else acc
                expected[cycle + dut.LATENCY] = int(wrap(np.int64(want), acc_width))
                await tick()
            for _ in range(dut.LATENCY):
                await tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert max(expected.values()) >= 384 * 384 and min(expected.values()) <= -384 * 382
    assert not {cycle: (got[cycle], value) for cycle, value in expected.items() if got[cycle] != value}
