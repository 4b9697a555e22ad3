# amaranth: UnusedElaboratable=no
"""TableLookup against an array: every entry of every table, what passes, and writes in between."""
import numpy as np
import pytest
from amaranth.sim import Simulator
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.postprocess.table import TableLookup


@pytest.mark.parametrize("bus", [4, 8, 16])
@pytest.mark.parametrize("tables", [1, 3, 15])
def test_entries_and_values_that_pass_come_at_the_stated_latency(bus, tables):
    dut = TableLookup(fabric=Fabric(rows=2, cols=2, bus_bytes=bus, tables=tables))
    rng = np.random.default_rng(16 * tables + bus)
    memory = rng.integers(0, 256, (tables, 256), np.uint8)
    beats = memory.reshape(-1, bus)
    expected, got = {}, {}

    async def bench(ctx):
        cycle = 0

        async def tick():
            nonlocal cycle
            got[cycle] = ctx.get(dut.o_q)
            await ctx.tick()
            cycle += 1

        async def write(address):
            ctx.set(dut.write.enable, 1)
            ctx.set(dut.write.address, int(address))
            ctx.set(dut.write.data, int.from_bytes(beats[address].tobytes(), "little"))
            await tick()
            ctx.set(dut.write.enable, 0)

        def look(number, q, look=True):
            ctx.set(dut.i_number, int(number))
            ctx.set(dut.i_q, int(q))
            ctx.set(dut.i_look, look)
            expected[cycle + dut.LATENCY] = int(memory[number, q & 255].view(np.int8)) if look else int(q)

        for address in range(len(beats)):
            await write(address)
        for number in range(tables):
            for q in range(-128, 128):
                look(number, q)
                await tick()
        for _ in range(500):
            look(rng.integers(tables), rng.integers(-128, 128), look=bool(rng.integers(2)))
            await tick()
        for _ in range(20):
            address = int(rng.integers(len(beats)))
            beats[address] = rng.integers(0, 256, bus)
            await write(address)
            for _ in range(dut.LATENCY_WRITE - 1):
                await tick()
            number, entry = divmod(address * bus, 256)
            look(number, int(np.uint8(entry + bus - 1).view(np.int8)))
            await tick()
        for _ in range(dut.LATENCY):
            await tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert not {cycle: (got[cycle], value) for cycle, value in expected.items() if got[cycle] != value}


def test_a_fabric_without_tables_has_no_lookup():
    with pytest.raises(ValueError, match="no tables"):
        TableLookup(fabric=Fabric(rows=1, cols=1, tables=0))
