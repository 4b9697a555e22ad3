# amaranth: UnusedElaboratable=no
"""The lean front on its shared memory against the ISA: programs that mix both modes, others at the memory."""
from collections import deque

import numpy as np
import pytest
from amaranth import Module
from amaranth.hdl import ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.sim import Simulator
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import Stream, Weights, unit_bits
from celosia.rtl.contract.machine import Machine
from celosia.rtl.front import LeanFront
from celosia.rtl.memory.shared import SharedMemory
from support.streams import random_program

WORDS = 256
PLAIN = Fabric(rows=4, cols=4, am_words=120, wm_words=64, acc_depth=31, fifo_depth=16, acc_width=24,
               weight_bits=8, line_depth=0)
"""Says what random programs look like; their memories are then laid into one."""
FABRIC = PLAIN.but(lanes=1, am_words=WORDS, wm_words=WORDS, pm_words=WORDS // 5, shared_words=WORDS)


def program(seed, tiles):
    """Memory, Weights and Streams within what a lean fabric knows, and the results they make."""
    rng = np.random.default_rng(seed)
    while True:
        am, wm, weights, streams = random_program(rng, PLAIN, tiles=tiles)
        streams = [Stream(**{**vars(s), "maximum": 0}) for s in streams]
        if all(w.ragged or w.run >= 4 for w in weights):
            break
    memory = np.zeros(4 * WORDS, np.uint8)
    memory[:4 * 120] = am.view(np.uint8)
    memory[4 * 128:4 * (128 + 64)] = wm.astype(np.int8).view(np.uint8).reshape(-1)
    weights = [Weights(**{**vars(w), "base": w.base + 128}) for w in weights]
    weights.append(Weights(base=128, tiles=1, run=99))
    streams.append(Stream(base=3, x_count=2, x_step=1))
    machine = Machine(FABRIC, memory.copy())
    for instruction in (*weights, *streams):
        instruction.execute(machine)
    return memory, weights, streams, np.concatenate(list(machine.results))


def results_of(memory, weights, streams, *, count, seed, busy, ready, resets=0, limit=9000):
    """int64[count, C] and the cycles; ``busy``: how often somebody else wants the memory."""
    rng = np.random.default_rng(seed)
    m = Module()
    m.submodules.memory = shared = SharedMemory(fabric=FABRIC, clients=2)
    m.submodules.front = front = LeanFront(fabric=FABRIC)
    wiring.connect(m, front.words, shared.access[0])
    wiring.connect(m, front.memory, shared.front)
    other, reset = shared.access[1], Signal()
    found = []

    async def bench(ctx):
        ctx.set(other.request.valid, 1)
        ctx.set(other.request.p.mask, 15)
        for word, value in enumerate(memory.view("<u4")):
            ctx.set(other.request.p.word, word)
            ctx.set(other.request.p.data, int(value))
            await ctx.tick()
        for length in [*[int(n) for n in rng.integers(5, 80, resets)], limit]:
            await run(ctx, length)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
        assert len(found) == count, f"{len(found)} of {count} results in {limit} cycles"

    async def run(ctx, length):
        found.clear()
        queues = (front.weights, deque(weights)), (front.stream, deque(streams))
        wanted = None  # a word that was asked for
        t = settle = 0
        while t < length and settle < 40:
            for port, queue in queues:
                ctx.set(port.instruction.valid, bool(queue) and rng.random() < 0.9
                        or bool(queue) and ctx.get(port.instruction.valid))
                if queue:
                    code = int.from_bytes(queue[0].encode(FABRIC), "little")
                    ctx.set(port.instruction.payload, code & (1 << unit_bits(queue[0].UNIT)) - 1)
            ask, word = rng.random() < busy, int(rng.integers(WORDS))
            ctx.set(other.request.valid, ask)
            ctx.set(other.request.p.mask, 0)
            ctx.set(other.request.p.word, word)
            ctx.set(front.results.ready, rng.random() < ready)
            if wanted is not None:
                assert ctx.get(other.data) == memory.view("<u4")[wanted], "somebody else's read"
            wanted = word if ask and ctx.get(other.request.ready) else None
            if ctx.get(front.results.valid) and ctx.get(front.results.ready):
                found.append([ctx.get(front.results.payload[c]) for c in range(4)])
            gone = [ctx.get(port.instruction.valid) and ctx.get(port.instruction.ready) for port, _ in queues]
            for port, _ in queues:
                assert ctx.get(port.done) == ctx.get(port.instruction.ready)
            await ctx.tick()
            for (port, queue), taken in zip(queues, gone, strict=True):
                if taken:
                    queue.popleft()
                    ctx.set(port.instruction.valid, 0)
            t += 1
            settle += len(found) >= count

    sim = Simulator(ResetInserter(reset)(m))
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return np.array(found)


@pytest.mark.parametrize("seed", range(3))
def test_random_programs_of_both_modes_give_the_results_the_isa_says(seed):
    memory, weights, streams, want = program(seed, tiles=14)
    got = results_of(memory, weights, streams, count=len(want), seed=seed, busy=[0, 0.3, 0.8][seed % 3],
                     ready=[1, 0.2][seed % 2], resets=seed % 3)
    np.testing.assert_array_equal(got, want)
