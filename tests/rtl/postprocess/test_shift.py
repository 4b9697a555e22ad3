# amaranth: UnusedElaboratable=no
"""SaturatingShift against Python's ``>>`` and NumPy's clip: every shift, around every power of two."""
import numpy as np
import pytest
from amaranth.sim import Simulator
from celosia.rtl.postprocess.shift import SaturatingShift


@pytest.mark.parametrize(("width", "shift_width", "out_width"),
                         [(49, 5, 9), (37, 5, 9), (49, 6, 8), (12, 4, 2)])
def test_shifted_and_limited_value_is_exact_at_its_stated_latency(width, shift_width, out_width):
    dut = SaturatingShift(width=width, shift_width=shift_width, out_width=out_width)
    rng = np.random.default_rng(width)
    low, high = -(1 << width - 1), (1 << width - 1) - 1
    half = 1 << out_width - 1
    pairs = []
    for shift in range(1 << shift_width):
        edge = half << shift  # the first value that is out of range
        values = {low, high, -1, 0, 1, edge, edge - 1, -edge, -edge - 1, edge >> 1, -edge + 1}
        values |= {int(value) >> int(rng.integers(width)) for value in rng.integers(low, high, 20)}
        # One bit that differs from the sign, anywhere, must be enough.
        values |= {1 << int(rng.integers(width - 1)), ~(1 << int(rng.integers(width - 1)))}
        pairs += [(value, shift) for value in sorted(values) if low <= value <= high]
    got = []

    async def bench(ctx):
        for t in range(len(pairs) + dut.LATENCY):
            value, shift = pairs[t] if t < len(pairs) else (0, 0)
            ctx.set(dut.i_value, value)
            ctx.set(dut.i_shift, shift)
            got.append(ctx.get(dut.o_value))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert got[dut.LATENCY:] == [min(max(value >> shift, -half), half - 1) for value, shift in pairs]


def test_widths_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="out_width is 9; it must be 2 to 8"):
        SaturatingShift(width=9, shift_width=5, out_width=9)
    with pytest.raises(ValueError, match="shift_width is 3"):
        SaturatingShift(width=20, shift_width=3, out_width=9)
