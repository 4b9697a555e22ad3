# amaranth: UnusedElaboratable=no
"""OperandMultiplier against numerics.Product: the ends of both bytes and both offsets, and what passes."""
import itertools

import numpy as np
import pytest
from celosia.rtl.contract.numerics import Product, wrap
from celosia.rtl.postprocess.multiply import OperandMultiplier
from support.pipe import Pipe

OFFSETS = (-256, -128, 0, 127, 255)
BYTES = (-128, -1, 0, 127)


@pytest.mark.parametrize("acc_width", [20, 32])
def test_product_equals_the_contract_at_its_stated_latency(acc_width):
    dut = OperandMultiplier(acc_width=acc_width)
    rng = np.random.default_rng(acc_width)
    half = 1 << acc_width - 1
    pipe = Pipe(dut, dut.o_acc)

    async def bench(ctx):
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
                pipe.expect(wrap(np.int64(want), acc_width))
                await pipe.tick(ctx)
            await pipe.tick(ctx, dut.LATENCY)  # the parameters hold until the multiplier is empty

    pipe.run(bench)
    products = pipe.expected.values()
    assert max(products) >= 384 * 384 and min(products) <= -384 * 382
