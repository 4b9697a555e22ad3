# amaranth: UnusedElaboratable=no
"""Feeder with real memories against the ISA's semantics, through a model of the array that it feeds."""
from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from amaranth import Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.sim import Simulator
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import Stream, Weights, unit_bits
from celosia.rtl.contract.machine import Machine
from celosia.rtl.feeder.feeder import Feeder
from celosia.rtl.feeder.weights import WeightLoader
from celosia.rtl.memory.activation import ActivationMemory
from celosia.rtl.memory.wide import weight_memory
from celosia.rtl.signatures import State

SHAPES = [(1, 1), (3, 5), (4, 4), (5, 2), (8, 16), (16, 3)]


def small_fabric(rows, cols, **changes):
    sizes = {"am_words": 37, "wm_words": 12 * rows, "acc_depth": 24, "fifo_depth": 9}
    return Fabric(rows=rows, cols=cols, **{**sizes, **changes})


@dataclass
class Cycle:
    """What the feeder did in one cycle."""

    act: list
    valid: int
    first: int
    last: int
    index: int
    again: tuple
    swap: int
    weight: list
    am_word: int
    wm_enable: int
    weight_valid: int
    weight_start: int
    weights_state: State
    stream_state: State
    weights_done: int
    stream_done: int
    taken: list = field(default_factory=list)
    """Instructions taken in this cycle."""


def simulate(fabric, am, wm, weights, streams, *, seed=0, gap=0.0, credit=lambda t: True, reset_at=None,
             limit=6000):
    """Run the instructions; returns the Cycles from the first instruction on.

    gap is the probability that an instruction comes a cycle late; ``credit(t)`` says whether a result that
    waits in the FIFO leaves it in cycle t. With ``reset_at``, a reset comes in that cycle and everything
    starts anew.
    """
    m = Module()
    reset = Signal()
    feeder = Feeder(fabric=fabric)
    m.submodules.feeder = ResetInserter(reset)(feeder)
    m.submodules.memory = memory = ActivationMemory(fabric=fabric, clients=1)
    m.submodules.words = words = weight_memory(fabric)
    wiring.connect(m, feeder.am, memory.feeder)
    wiring.connect(m, feeder.wm, words.read)
    rng = np.random.default_rng(seed)
    trace = []

    async def fill(ctx):
        access = memory.access[0].request
        for word in range(max(fabric.am_words, fabric.wm_words)):
            ctx.set(access.valid, word < fabric.am_words)
            if word < fabric.am_words:
                row = am[word * fabric.rows:(word + 1) * fabric.rows]
                ctx.set(access.payload, {
                    "write": 1, "address": {"word": word, "lane": 0}, "count": fabric.rows,
                    "data": [int(byte) & 0xFF for byte in row]})
            ctx.set(words.write.enable, word < fabric.wm_words)
            if word < fabric.wm_words:
                ctx.set(words.write.address, word)
                ctx.set(words.write.data, int.from_bytes(wm[word].tobytes(), "little"))
            await ctx.tick()
        ctx.set(access.valid, 0)
        ctx.set(words.write.enable, 0)
        await ctx.tick().repeat(8)

    async def bench(ctx):
        await fill(ctx)
        ports = (feeder.weights, feeder.stream)
        queues = deque(weights), deque(streams)
        offered = [False, False]
        waiting, done, t = 0, 0, 0
        tail = Feeder.LATENCY_ACT + 2
        while tail:
            assert t < limit, "the feeder hangs"
            if t == reset_at:
                ctx.set(reset, 1)
                await ctx.tick()
                ctx.set(reset, 0)
                trace.clear()
                queues, offered, waiting, done = (deque(weights), deque(streams)), [False, False], 0, 0
            for i, (port, queue) in enumerate(zip(ports, queues, strict=True)):
                offered[i] = bool(queue) and (offered[i] or rng.random() >= gap)
                ctx.set(port.instruction.valid, offered[i])
                if offered[i]:
                    code = int.from_bytes(queue[0].encode(fabric), "little")
                    ctx.set(port.instruction.payload, code & (1 << unit_bits(queue[0].UNIT)) - 1)
            leaves = waiting > 0 and bool(credit(t))
            ctx.set(feeder.credit, leaves)
            tags, feed = ctx.get(feeder.feed.tags), feeder.feed
            now = Cycle(
                act=list(ctx.get(feed.act)) if tags.valid else [], valid=tags.valid, first=tags.first,
                last=tags.last, index=tags.index, again=(tags.again_1, tags.again_2), swap=ctx.get(feed.swap),
                weight=list(ctx.get(feed.weight)) if ctx.get(feed.weight_valid) else [],
                am_word=ctx.get(feeder.am.word[0]), wm_enable=ctx.get(feeder.wm.enable),
                weight_valid=ctx.get(feed.weight_valid), weight_start=ctx.get(feed.weight_start),
                weights_state=ctx.get(ports[0].state), stream_state=ctx.get(ports[1].state),
                weights_done=ctx.get(ports[0].done), stream_done=ctx.get(ports[1].done))
            for i, (port, queue) in enumerate(zip(ports, queues, strict=True)):
                if offered[i] and ctx.get(port.instruction.ready):
                    now.taken.append(queue.popleft())
                    offered[i] = False
            waiting += (now.valid and now.last) - leaves
            assert waiting <= fabric.fifo_depth, "the result FIFO overflows"
            done += now.weights_done + now.stream_done
            trace.append(now)
            if done == len(weights) + len(streams):
                tail -= 1
            t += 1
            await ctx.tick()

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return trace


def array_model(fabric, trace):
    """What array, accumulators and FIFO make of the feed: results, and sums that stayed, int64[., C].

    Asserts every rule of ArrayFeed on the way.
    """
    rows = fabric.rows
    acc, results = {}, []
    active, loading, swapped_at, started_at = None, [], -2, None
    for t, now in enumerate(trace):
        if now.valid:
            total = np.array(now.act) @ active
            if not now.first:
                total = total + acc[now.index]
            if not (now.first and now.last):
                for back in (1, 2):
                    same = t >= back and trace[t - back].valid and trace[t - back].index == now.index
                    assert now.again[back - 1] == same, f"cycle {t}: again_{back}"
            if now.last:
                results.append(total)
            else:
                acc[now.index] = total
        if swapped_at == t - 1:
            assert now.valid, f"cycle {t}: no pixel behind the swap"
        if now.swap:
            assert len(loading) == rows and t - started_at >= rows, f"cycle {t}: the tile is not there yet"
            active, loading, swapped_at = np.array(loading), [], t
        if now.weight_valid:
            assert now.weight_start == (not loading), f"cycle {t}: row 0, and only row 0, starts a tile"
            assert len(loading) < rows, f"cycle {t}: a weight word came before the swap"
            started_at = t if now.weight_start else started_at
            loading.append(now.weight)
    assert not loading
    return np.array(results).reshape(-1, fabric.cols), acc


def check(fabric, am, wm, weights, streams, trace):
    """Compare with the emulated machine, which also says whether the program is legal."""
    machine = Machine(fabric, np.zeros(0, np.uint8))
    machine.am[:], machine.wm[:] = am, wm
    for instruction in (*weights, *streams):
        instruction.execute(machine)
    results, acc = array_model(fabric, trace)
    want = np.concatenate(list(machine.results)) if machine.results else np.zeros((0, fabric.cols), np.int64)
    np.testing.assert_array_equal(results, want)
    if not streams[-1].emit:
        for p in range(streams[-1].pixels):
            np.testing.assert_array_equal(acc[p], machine.acc[p])
    assert [i for now in trace for i in now.taken if i.UNIT == Weights.UNIT] == list(weights)
    assert [i for now in trace for i in now.taken if i.UNIT == Stream.UNIT] == list(streams)


def random_memories(rng, fabric):
    return (rng.integers(-128, 128, fabric.am_bytes).astype(np.int8),
            rng.integers(-128, 128, (fabric.wm_words, fabric.cols)).astype(np.int8))


def random_walk(rng, fabric, *, base, tiles, ragged):
    rows = fabric.rows
    run = int(rng.choice([1, 2, rows, *rng.integers(1, 3 * rows + 2, 3)]))
    runs_x = int(rng.integers(1, 5))
    unit = 1 if ragged else rows
    jump_x, jump_y = (int(n) * unit for n in rng.integers(0, 4, 2))
    return Weights(
        base=base, tiles=tiles, run=run, runs_x=runs_x, jump_x=jump_x, jump_y=jump_y, ragged=ragged,
        start=int(rng.integers(0, 2 * rows)), start_run=int(rng.integers(0, run)),
        start_x=int(rng.integers(0, runs_x)))


def random_program(rng, fabric, *, tiles):
    """Legal instructions for random memories; rows that would read outside the memory get zero weights."""
    rows = fabric.rows
    am, wm = random_memories(rng, fabric)
    weights, offsets = [], []
    while len(offsets) < tiles:
        n = int(rng.integers(1, min(5, tiles - len(offsets)) + 1))
        ragged = int(rng.integers(2))
        weights.append(random_walk(rng, fabric, base=len(offsets) * rows, tiles=n, ragged=ragged))
        offsets += weights[-1].walk(rows)
    streams, used, kept = [], 0, 0
    while used < tiles:
        n = int(rng.integers(1, min(4, tiles - used) + 1))
        u, v = (int(rng.choice([1, 1, 2, 3])) for _ in range(2))
        most = kept or fabric.acc_depth * (2 if n * u * v == 1 else 1)
        x = int(rng.choice([1, *rng.integers(1, min(most, 9) + 1, 2)]))
        y = int(rng.integers(1, min(most // x, 6) + 1))
        emit = int(rng.random() < 0.7 or x * y > fabric.acc_depth)
        steps = dict(zip(("x_step", "y_step", "u_step", "v_step"), rng.integers(0, 2 * rows + 2, 4).tolist(),
                         strict=True))
        stream = Stream(
            base=int(rng.integers(0, fabric.am_bytes // 2)), clear=int(not kept), emit=emit,
            tiles=n, x_count=x, y_count=y, u_count=u, v_count=v, **steps)
        reach = stream.base + sum((count - 1) * step for count, step in (
            (x, stream.x_step), (y, stream.y_step), (u, stream.u_step), (v, stream.v_step)))
        for tile in range(used, used + n):
            for r in range(rows):
                if reach + offsets[tile][r] >= fabric.am_bytes:
                    wm[tile * rows + r] = 0
        kept = 0 if emit else kept or x * y
        streams.append(stream)
        used += n
    return am, wm, weights, streams


@pytest.mark.parametrize("rows, cols", SHAPES)
@pytest.mark.parametrize("hurry", [True, False], ids=["without pauses", "with pauses"])
def test_random_programs_compute_what_the_isa_says(rows, cols, hurry):
    fabric = small_fabric(rows, cols)
    for seed in range(2):
        rng = np.random.default_rng([seed, rows, cols])
        am, wm, weights, streams = random_program(rng, fabric, tiles=12)
        pauses = {} if hurry else {"gap": 0.9, "credit": lambda t, rng=rng: rng.random() < 0.4}
        trace = simulate(fabric, am, wm, weights, streams, seed=seed, **pauses)
        check(fabric, am, wm, weights, streams, trace)


@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("ragged", [0, 1])
@pytest.mark.parametrize("run", [1, 2, 7])
def test_a_walk_cut_into_instructions_is_the_whole_walk(rows, ragged, run):
    fabric = small_fabric(rows, 2, am_words=99)
    rng = np.random.default_rng([rows, ragged, run])
    am, wm = random_memories(rng, fabric)
    whole = Weights(base=0, tiles=6, run=run, runs_x=3, jump_x=rows, jump_y=3 * rows, ragged=ragged)
    # Where tile 2 starts, from the walk itself.
    done = x = 0
    offset = whole.start
    for _ in range(2 * rows if not ragged else 2):
        step = 1 if not ragged else min(rows, run - done)
        offset, done = offset + step, done + step
        if done == run:
            done, x = 0, x + 1
            offset += whole.jump_y if x == 3 else whole.jump_x
            x %= 3
    cut = [replace(whole, tiles=2),
           replace(whole, tiles=4, base=2 * rows, start=offset, start_run=done, start_x=x)]
    assert [*cut[0].walk(rows), *cut[1].walk(rows)] == list(whole.walk(rows))
    stream = Stream(base=1, tiles=6, x_count=3, x_step=5)
    for weights in ([whole], cut):
        check(fabric, am, wm, weights, [stream], simulate(fabric, am, wm, weights, [stream]))


def swaps(trace):
    return np.flatnonzero([now.swap for now in trace])


@pytest.mark.parametrize("rows", [1, 3, 4, 8, 16])
def test_one_pixel_per_tile_takes_as_many_cycles_as_rows_also_across_instructions(rows):
    fabric = small_fabric(rows, 4)
    am, wm = random_memories(np.random.default_rng(rows), fabric)
    weights = [Weights(base=n * rows, tiles=3, run=7 * rows) for n in (0, 3, 6)]
    streams = [Stream(base=3, tiles=n) for n in (1, 4, 2, 2)]
    trace = simulate(fabric, am, wm, weights, streams)
    check(fabric, am, wm, weights, streams, trace)
    assert np.diff(swaps(trace)).tolist() == [rows] * 8


@pytest.mark.parametrize("rows, pixels", [(1, 1), (3, 3), (3, 4), (4, 4), (8, 10), (16, 16), (5, 2), (8, 7)])
def test_tiles_follow_each_other_without_a_bubble_if_there_are_as_many_pixels_as_rows(rows, pixels):
    fabric = small_fabric(rows, 4, fifo_depth=64)
    am, wm = random_memories(np.random.default_rng(rows), fabric)
    weights = [Weights(base=n * rows, tiles=2, run=2 * rows) for n in (0, 2, 4)]
    streams = [Stream(base=1, tiles=3, x_count=pixels, x_step=2) for _ in range(2)]
    trace = simulate(fabric, am, wm, weights, streams)
    check(fabric, am, wm, weights, streams, trace)
    assert np.diff(swaps(trace)).tolist() == [max(rows, pixels)] * 5
    if pixels >= rows:
        busy = np.flatnonzero([now.valid for now in trace])
        assert len(busy) == 6 * pixels == busy[-1] - busy[0] + 1


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_latencies_and_states_of_a_first_tile(rows):
    fabric = small_fabric(rows, 2)
    am, wm = random_memories(np.random.default_rng(rows), fabric)
    weights, streams = [Weights(tiles=2, run=99)], [Stream(base=2, tiles=1, x_count=4), Stream(x_count=1)]
    trace = simulate(fabric, am, wm, weights, streams)
    check(fabric, am, wm, weights, streams, trace)

    def cycles(name, value=1):
        return np.flatnonzero([getattr(now, name) == value for now in trace])

    rows_issued, pixels_issued = cycles("weights_state", State.BUSY), cycles("stream_state", State.BUSY)
    assert len(trace[0].taken) == 2
    assert trace[0].weights_state == trace[0].stream_state == State.IDLE
    assert rows_issued.tolist() == (1 + np.arange(2 * rows)).tolist(), "tile 1 loads when tile 0 is taken"
    np.testing.assert_array_equal(cycles("weight_valid"), rows_issued + Feeder.LATENCY_WEIGHT)
    np.testing.assert_array_equal(cycles("stream_state", State.OPERAND)[:rows], 1 + np.arange(rows))
    assert pixels_issued[0] == 1 + rows, "the first pixel follows row R-1"
    np.testing.assert_array_equal(cycles("valid"), pixels_issued + Feeder.LATENCY_ACT)
    assert cycles("swap")[0] == pixels_issued[0] + Feeder.LATENCY_ACT - 1
    assert cycles("weights_done").tolist() == [rows_issued[-1] + Feeder.LATENCY_DONE_WEIGHTS]
    np.testing.assert_array_equal(cycles("stream_done"), pixels_issued[[3, 4]] + Feeder.LATENCY_DONE_STREAM)


def test_done_comes_in_the_cycle_after_the_memories_were_addressed_last():
    fabric = small_fabric(1, 2)
    am, wm = random_memories(np.random.default_rng(0), fabric)
    weights, streams = [Weights(tiles=1, run=99, start=3)], [Stream(base=20, x_count=5, x_step=2)]
    trace = simulate(fabric, am, wm, weights, streams)
    addressed = [t for t, now in enumerate(trace) if now.am_word == 20 + 4 * 2 + 3]
    assert trace[addressed[0] + 1].stream_done
    assert trace[max(t for t, now in enumerate(trace) if now.wm_enable) + 1].weights_done


def test_a_loader_that_is_ahead_waits_for_the_streamer():
    fabric = small_fabric(4, 2)
    am, wm = random_memories(np.random.default_rng(1), fabric)
    weights, streams = [Weights(tiles=3, run=99)], [Stream(tiles=3, x_count=20)]
    trace = simulate(fabric, am, wm, weights, streams)
    assert sum(now.weights_state == State.RESULT for now in trace) == 20 - 4
    check(fabric, am, wm, weights, streams, trace)


@pytest.mark.parametrize("depth", [4, 5])
def test_results_wait_for_credits(depth):
    fabric = small_fabric(3, 2, fifo_depth=depth)
    am, wm = random_memories(np.random.default_rng(depth), fabric)
    weights, streams = [Weights(tiles=2, run=99)], [Stream(tiles=2, x_count=12)]
    opens = [60, 61, 64, 70]
    trace = simulate(fabric, am, wm, weights, streams, credit=lambda t: t in opens or t >= 80)
    check(fabric, am, wm, weights, streams, trace)
    # Partial sums that stay need no credit; then as many results as the FIFO holds, then one for each credit.
    issued = [t for t, now in enumerate(trace) if now.stream_state == State.BUSY]
    assert np.diff(issued[:12 + depth]).tolist() == [1] * (11 + depth)
    assert issued[12 + depth:16 + depth] == [t + 1 for t in opens]
    stalled = [t for t, now in enumerate(trace) if now.stream_state == State.RESULT]
    assert set(range(issued[11 + depth] + 1, 80)) - set(issued) == {t for t in stalled if t < 80}


def test_a_reset_in_the_middle_leaves_nothing_behind():
    fabric = small_fabric(3, 2)
    am, wm, weights, streams = random_program(np.random.default_rng(5), fabric, tiles=12)
    for reset_at in (1, 9, 20):
        trace = simulate(fabric, am, wm, weights, streams, reset_at=reset_at)
        check(fabric, am, wm, weights, streams, trace)


def test_refuses_a_latency_shorter_than_the_way_through_the_weight_memory():
    with pytest.raises(ValueError, match="latency is 2"):
        WeightLoader(fabric=Fabric(), latency=2)
