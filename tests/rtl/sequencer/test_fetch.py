# amaranth: UnusedElaboratable=no
"""Fetch: instructions come out whole and in order, whatever the gaps, one program after the other."""
import random

import pytest
from amaranth.sim import Simulator
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import INSTRUCTION_BYTES
from celosia.rtl.sequencer.fetch import Fetch


@pytest.mark.parametrize("bus_bytes", [4, 8, 16])
@pytest.mark.parametrize("eager", [0.4, 1.0])
def test_two_programs_come_out_whole_and_in_order(bus_bytes, eager):
    rng = random.Random(bus_bytes)
    dut = Fetch(fabric=Fabric(rows=2, cols=2, bus_bytes=bus_bytes))

    async def bench(ctx):
        assert ctx.get(dut.o_done)
        for count, address in ((7, 0x1000), (3, 0xFFFF_0000)):
            program = [rng.randbytes(INSTRUCTION_BYTES) for _ in range(count)]
            image = b"".join(program)
            beats = [image[i:i + bus_bytes] for i in range(0, len(image), bus_bytes)]
            ctx.set(dut.i_address, address)
            ctx.set(dut.i_count, count)
            ctx.set(dut.i_load, 1)
            await ctx.tick()
            ctx.set(dut.i_load, 0)
            commanded, got, cycles = False, [], 0
            while not ctx.get(dut.o_done):
                cycles += 1
                assert cycles < 1000
                ctx.set(dut.command.ready, rng.random() < eager)
                offer = commanded and bool(beats) and rng.random() < eager
                ctx.set(dut.data.valid, offer)
                if offer:
                    ctx.set(dut.data.payload, int.from_bytes(beats[0], "little"))
                take = rng.random() < eager
                ctx.set(dut.instruction.ready, take)
                if ctx.get(dut.command.valid) and ctx.get(dut.command.ready):
                    command = ctx.get(dut.command.payload)
                    assert not commanded and (command.address, command.bytes) == (address, len(image))
                    commanded = True
                if offer and ctx.get(dut.data.ready):
                    beats.pop(0)
                if take and ctx.get(dut.instruction.valid):
                    assert ctx.get(dut.o_index) == len(got)
                    got.append(ctx.get(dut.instruction.payload).to_bytes(INSTRUCTION_BYTES, "little"))
                await ctx.tick()
            assert got == program
            if eager == 1:
                # One cycle for the command, then beats + 1 for each instruction.
                assert cycles == 1 + count * (INSTRUCTION_BYTES // bus_bytes + 1)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
