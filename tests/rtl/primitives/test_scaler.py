# amaranth: UnusedElaboratable=no
"""Scaler against Python's integers, one product every cycle, in the cycle it is promised for."""
import itertools

import numpy as np
import pytest
from celosia.rtl.primitives.scaler import Scaler
from support.pipe import Pipe


def corners(low, high):
    limb = 1 << Scaler.LIMB
    near = {low, low + 1, -limb, -limb - 1, -2, -1, 0, 1, 2, limb - 1, limb, limb + 1, 2 * limb - 1, high - 1,
            high}
    return sorted(value for value in near if low <= value <= high)


@pytest.mark.parametrize(("value_width", "mult_width"), [(32, 31), (20, 31), (24, 31), (18, 18), (35, 34)])
def test_product_is_exact_at_its_stated_latency(value_width, mult_width):
    dut = Scaler(value_width=value_width, mult_width=mult_width)
    rng = np.random.default_rng(value_width)
    low, high, most = -(1 << value_width - 1), (1 << value_width - 1) - 1, (1 << mult_width) - 1
    pairs = list(itertools.product(corners(low, high), corners(0, most)))
    pairs += [(int(rng.integers(low, high, endpoint=True)), int(rng.integers(0, most, endpoint=True)))
              for _ in range(1000)]
    pipe = Pipe(dut, dut.o_product)

    async def bench(ctx):
        for value, mult in pairs:
            ctx.set(dut.i_value, value)
            ctx.set(dut.i_mult, mult)
            pipe.expect(value * mult)
            await pipe.tick(ctx)

    pipe.run(bench)


@pytest.mark.parametrize(("widths", "message"), [
    ({"value_width": 17}, "value_width is 17; two limbs hold 18 to 35"),
    ({"value_width": 36}, "value_width is 36"),
    ({"mult_width": 35}, "mult_width is 35; two limbs hold 18 to 34"),
])
def test_widths_that_two_limbs_cannot_hold_are_refused(widths, message):
    with pytest.raises(ValueError, match=message):
        Scaler(**widths)
