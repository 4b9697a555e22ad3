# amaranth: UnusedElaboratable=no
"""Issue stage: its stated latency, and that an offer holds until it is taken."""
import pytest
from amaranth.sim import Simulator
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import Unit
from celosia.rtl.sequencer.issue import Issue


@pytest.mark.parametrize("depth", [1, 2, 16])
@pytest.mark.parametrize("unit", Unit)
def test_an_instruction_is_offered_at_the_stated_latency_and_until_taken(unit, depth):
    dut = Issue(fabric=Fabric(rows=2, cols=2, queue_depth=depth), unit=unit)

    async def bench(ctx):
        assert ctx.get(dut.o_idle)
        ctx.set(dut.queue.payload, 0xABC << 14)  # behind opcode, wait and signal
        ctx.set(dut.queue.valid, 1)
        assert ctx.get(dut.queue.ready)
        await ctx.tick()
        ctx.set(dut.queue.valid, 0)
        for _ in range((dut.LATENCY_ISSUE if depth > 1 else dut.LATENCY_ISSUE_REGISTER) - 1):
            assert not ctx.get(dut.port.instruction.valid) and not ctx.get(dut.o_idle)
            await ctx.tick()
        for _ in range(5):
            assert ctx.get(dut.port.instruction.valid)
            assert ctx.get(dut.port.instruction.payload) == 0xABC << 14
            assert not ctx.get(dut.o_accept)
            await ctx.tick()
        ctx.set(dut.port.instruction.ready, 1)
        assert ctx.get(dut.o_accept)
        await ctx.tick()
        assert not ctx.get(dut.port.instruction.valid) and not ctx.get(dut.o_idle)
        ctx.set(dut.port.done, 1)
        assert ctx.get(dut.o_retired)
        await ctx.tick()
        assert ctx.get(dut.o_idle)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
