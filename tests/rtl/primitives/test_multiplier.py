# amaranth: UnusedElaboratable=no
"""Multiplier: products of signed operands of any widths, LATENCY cycles after them."""
import numpy as np
import pytest
from celosia.rtl.primitives.multiplier import Multiplier
from support.pipe import Pipe


def operands(rng, width, count):
    """Corners first, then random ones."""
    low, high = -(1 << width - 1), (1 << width - 1) - 1
    corners = np.unique([low, low + 1, -1, 0, high - 1, high])
    return corners[(corners >= low) & (corners <= high)], rng.integers(low, high + 1, count)


@pytest.mark.parametrize("a_width, b_width", [(1, 1), (4, 4), (8, 8), (8, 9), (9, 8), (1, 8)])
def test_products_match_numpy_at_the_stated_latency(a_width, b_width):
    dut = Multiplier(a_width=a_width, b_width=b_width)
    assert dut.LATENCY == 1
    rng = np.random.default_rng(seed=a_width)
    corners_a, random_a = operands(rng, a_width, 300)
    corners_b, random_b = operands(rng, b_width, 300)
    a = np.concatenate([np.repeat(corners_a, len(corners_b)), random_a])
    b = np.concatenate([np.tile(corners_b, len(corners_a)), random_b])
    pipe = Pipe(dut, dut.o_product)

    async def bench(ctx):
        for one, other in zip(a.tolist(), b.tolist(), strict=True):
            ctx.set(dut.i_a, one)
            ctx.set(dut.i_b, other)
            pipe.expect(one * other)
            await pipe.tick(ctx)

    pipe.run(bench)


@pytest.mark.parametrize("widths", [{"a_width": 0}, {"b_width": 0}])
def test_refuses_operands_of_no_bits(widths):
    with pytest.raises(ValueError, match="at least 1 bit"):
        Multiplier(**widths)
