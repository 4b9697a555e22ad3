# amaranth: UnusedElaboratable=no
"""WideMemory against an array, at its stated latencies."""
import numpy as np
import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator
from celosia.rtl.contract.fabric import PARAMETER_BYTES, Fabric
from celosia.rtl.memory.wide import parameter_memory, weight_memory


@pytest.mark.parametrize("make, width, depth", [
    (lambda: weight_memory(Fabric(rows=1, cols=1, wm_words=5, weight_bits=8)), 8, 5),
    (lambda: weight_memory(Fabric(rows=3, cols=5, wm_words=19)), 45, 19),
    (lambda: parameter_memory(Fabric(rows=3, cols=5, pm_words=13)), 8 * PARAMETER_BYTES, 13),
])
def test_reads_and_writes_of_random_words(make, width, depth):
    dut = make()
    rng = np.random.default_rng(seed=depth)

    async def bench(ctx):
        memory = [None] * depth
        due = {}
        last = None
        for t in range(300):
            write, read = int(rng.integers(depth)), int(rng.integers(depth))
            word = int.from_bytes(rng.bytes(24), "little") & (1 << width) - 1
            enable_write, enable_read = bool(rng.integers(2)) or t < 60, bool(rng.integers(4))
            ctx.set(dut.write.enable, enable_write)
            ctx.set(dut.write.address, write)
            ctx.set(dut.write.data, word)
            ctx.set(dut.read.enable, enable_read)
            ctx.set(dut.read.address, read)
            if enable_read:
                last = None if enable_write and read == write else memory[read]
            due[t + dut.LATENCY_READ] = last  # holds while nothing is read
            if (want := due.pop(t, None)) is not None:
                data = dut.read.data
                assert ctx.get(Value.cast(data)) == want
            await ctx.tick()
            if enable_write:
                memory[write] = word

    assert dut.LATENCY_WRITE == 1  # what the bench takes for granted
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
