# amaranth: UnusedElaboratable=no
"""Scaler against Python's integers, one product every cycle, in the cycle it is promised for."""
import itertools

import numpy as np
import pytest
from amaranth import Mux
from celosia.rtl.primitives.scaler import Scaler
from support.pipe import Pipe
from support.twins import WRITTEN, differences


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


@pytest.mark.parametrize(("value_width", "mult_width"), [(32, 31), (35, 34)])
def test_mult18x18d_makes_the_same_products_as_the_portable_twin(value_width, mult_width, tmp_path):
    def build(m, noise, count):
        widths = {"value_width": value_width, "mult_width": mult_width}
        m.submodules.dut = dut = Scaler(**widths, family="ecp5")
        m.submodules.twin = twin = Scaler(**widths)
        assert dut.LATENCY == twin.LATENCY

        def corner(bits, choice, high):
            """Half of the limbs are all zeros, all ones, or only their highest bit."""
            one = Mux(choice[0], -1, Mux(choice[1], 1 << high, 0))
            return Mux(choice[2], bits, one[:high + 1])

        limb = Scaler.LIMB
        for one in (dut, twin):
            m.d.comb += [
                one.i_value[:limb].eq(corner(noise[:limb], noise[64:67], limb - 1)),
                one.i_value[limb:].eq(corner(noise[limb:value_width], noise[67:70], value_width - limb - 1)),
                one.i_mult[:limb].eq(corner(noise[96:96 + limb], noise[70:73], limb - 1)),
                one.i_mult[limb:].eq(
                    corner(noise[128:128 + mult_width - limb], noise[73:76], mult_width - limb - 1)),
            ]
        return (count > dut.LATENCY) & (dut.o_product != twin.o_product)

    assert differences(build, tmp_path, cycles=500_000, models=[WRITTEN / "mult18x18d.v"]) == (0, -1)
