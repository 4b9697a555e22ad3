# amaranth: UnusedElaboratable=no
"""Feeder, array and accumulators together against the ISA's semantics: programs that mix both modes."""
from collections import deque

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator
from celosia.rtl.accumulate.accumulators import Accumulators
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import Stream, Weights, unit_bits
from celosia.rtl.feeder.feeder import Feeder
from celosia.rtl.memory.activation import ActivationMemory
from celosia.rtl.memory.wide import WideMemory
from celosia.rtl.systolic.array import SystolicArray
from support.streams import executed, random_program

SMALL = [(1, 1, 9, 11), (1, 1, 8, 0), (3, 5, 9, 11), (3, 5, 8, 0), (4, 4, 8, 5), (5, 2, 9, 7)]
LARGE = [(9, 7, 9, 11), (6, 11, 8, 0)]


def fabric_of(rows, cols, weight_bits, line_depth, **changes):
    sizes = {"am_words": 120, "wm_words": 16 * rows, "acc_depth": 24, "fifo_depth": 9}
    return Fabric(rows=rows, cols=cols, weight_bits=weight_bits, line_depth=line_depth,
                  **{**sizes, **changes})


def results_of(fabric, am, wm, weights, streams, *, count, ready=lambda t: True, limit=6000):
    """Run the instructions on the gateware; int64[count, C], the results, and the cycles they came in.

    The memories are models, so that nothing must be filled.
    """
    m = Module()
    m.submodules.feeder = feeder = Feeder(fabric=fabric)
    m.submodules.array = array = SystolicArray(fabric=fabric)
    m.submodules.accumulators = accumulators = Accumulators(fabric=fabric)
    wiring.connect(m, feeder.feed, array.feed)
    wiring.connect(m, array.sums, accumulators.sums)
    m.d.comb += feeder.credit.eq(accumulators.credit)
    banks = am.reshape(fabric.am_words, fabric.rows)
    results, when = [], []

    async def bench(ctx):
        ports = (feeder.weights, deque(weights)), (feeder.stream, deque(streams))
        am_data = deque([[0] * fabric.rows] * (ActivationMemory.LATENCY_READ - 1))
        wm_data = deque([[0] * fabric.cols] * (WideMemory.LATENCY_READ - 1))
        t = settle = 0
        while settle < 40:
            assert t < limit, "no result comes any more"
            taken = []
            for port, queue in ports:
                ctx.set(port.instruction.valid, bool(queue))
                if queue:
                    code = int.from_bytes(queue[0].encode(fabric), "little")
                    ctx.set(port.instruction.payload, code & (1 << unit_bits(queue[0].UNIT)) - 1)
                taken.append(bool(queue) and ctx.get(port.instruction.ready))
            ctx.set(accumulators.results.ready, bool(ready(t)))
            if ctx.get(accumulators.results.valid) and ctx.get(accumulators.results.ready):
                results.append([ctx.get(accumulators.results.payload[c]) for c in range(fabric.cols)])
                when.append(t)
            word = list(ctx.get(feeder.am.word))
            am_data.append([int(banks[at % fabric.am_words, bank]) for bank, at in enumerate(word)])
            wm_data.append(wm[ctx.get(feeder.wm.address) % fabric.wm_words].tolist())
            await ctx.tick()
            for (_, queue), gone in zip(ports, taken, strict=True):
                if gone:
                    queue.popleft()
            ctx.set(feeder.am.data, am_data.popleft())
            ctx.set(feeder.wm.data, wm_data.popleft())
            t += 1
            settle += len(results) >= count

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return np.array(results), when


def check(fabric, am, wm, weights, streams, **how):
    machine = executed(fabric, am, wm, weights, streams)
    want = np.concatenate(list(machine.results))
    got, when = results_of(fabric, am, wm, weights, streams, count=len(want), **how)
    np.testing.assert_array_equal(got, want)
    return when


@pytest.mark.parametrize("shape, hurry", [
    *((shape, hurry) for shape in SMALL for hurry in (True, False)), *((shape, True) for shape in LARGE)])
def test_random_programs_of_both_modes_give_the_results_the_isa_says(shape, hurry):
    fabric = fabric_of(*shape)
    rng = np.random.default_rng(seed=[*shape, hurry])
    am, wm, weights, streams = random_program(rng, fabric, tiles=6 if fabric.rows > 4 else 15)
    weights.append(Weights(base=0, tiles=1, run=99))
    streams.append(Stream(base=3, x_count=2, x_step=1))  # so that there is a result
    ready = (lambda t: True) if hurry else (lambda t: rng.random() < 0.4)
    check(fabric, am, wm, weights, streams, ready=ready)
