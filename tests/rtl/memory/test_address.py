# amaranth: UnusedElaboratable=no
"""Mixed-radix sums against integers."""
import numpy as np
import pytest
from amaranth import Module, Signal
from amaranth.sim import Simulator
from celosia.rtl.contract.fabric import WORD_BITS
from celosia.rtl.memory.address import add, address_of
from celosia.rtl.signatures import Address


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 16, 27, 32])
def test_sum_of_addresses_is_the_sum_of_byte_numbers(rows):
    m = Module()
    a, b, total = Signal(Address), Signal(Address), Signal(Address)
    m.d.comb += total.eq(add(a, b, rows=rows))
    size = rows << WORD_BITS
    rng = np.random.default_rng(rows)
    lanes = [(x, y) for x in range(min(rows, 6)) for y in range(max(0, rows - 6), rows)]
    words = [0, 1, 255, (1 << WORD_BITS) - 1]
    cases = [(p * rows + x, q * rows + y) for p in words for q in words for x, y in lanes]
    cases += rng.integers(0, size, (200, 2)).tolist()

    async def bench(ctx):
        for x, y in cases:
            ctx.set(a, address_of(x, rows=rows))
            ctx.set(b, address_of(y, rows=rows))
            got = ctx.get(total)
            assert got.lane < rows
            assert got.word * rows + got.lane == (x + y) % size, (x, y)

    sim = Simulator(m)
    sim.add_testbench(bench)
    sim.run()
