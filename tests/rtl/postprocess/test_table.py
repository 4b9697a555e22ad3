# amaranth: UnusedElaboratable=no
"""TableLookup against an array: every entry of every table, what passes, and writes in between."""
import numpy as np
import pytest
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.postprocess.table import TableLookup
from support.pipe import Pipe


@pytest.mark.parametrize("bus", [4, 8, 16])
@pytest.mark.parametrize("tables", [1, 3, 15])
def test_entries_and_values_that_pass_come_at_the_stated_latency(bus, tables):
    dut = TableLookup(fabric=Fabric(rows=2, cols=2, bus_bytes=bus, tables=tables))
    rng = np.random.default_rng(16 * tables + bus)
    memory = rng.integers(0, 256, (tables, 256), np.uint8)
    beats = memory.reshape(-1, bus)
    pipe = Pipe(dut, dut.o_q)

    async def bench(ctx):
        async def write(address):
            ctx.set(dut.write.enable, 1)
            ctx.set(dut.write.address, int(address))
            ctx.set(dut.write.data, int.from_bytes(beats[address].tobytes(), "little"))
            await pipe.tick(ctx)
            ctx.set(dut.write.enable, 0)

        def look(number, q, look=True):
            ctx.set(dut.i_number, int(number))
            ctx.set(dut.i_q, int(q))
            ctx.set(dut.i_look, look)
            pipe.expect(memory[number, q & 255].view(np.int8) if look else q)

        for address in range(len(beats)):
            await write(address)
        for number in range(tables):
            for q in range(-128, 128):
                look(number, q)
                await pipe.tick(ctx)
        for _ in range(500):
            look(rng.integers(tables), rng.integers(-128, 128), look=bool(rng.integers(2)))
            await pipe.tick(ctx)
        for _ in range(20):
            address = int(rng.integers(len(beats)))
            beats[address] = rng.integers(0, 256, bus)
            await write(address)
            await pipe.tick(ctx, dut.LATENCY_WRITE - 1)
            number, entry = divmod(address * bus, 256)
            look(number, int(np.uint8(entry + bus - 1).view(np.int8)))
            await pipe.tick(ctx)

    pipe.run(bench)


def test_a_fabric_without_tables_has_no_lookup():
    with pytest.raises(ValueError, match="no tables"):
        TableLookup(fabric=Fabric(rows=1, cols=1, tables=0))
