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
from celosia.rtl.feeder.feeder import Feeder
from celosia.rtl.feeder.stream import PixelStreamer
from celosia.rtl.feeder.weights import WeightLoader
from celosia.rtl.memory.activation import ActivationMemory
from celosia.rtl.memory.wide import weight_memory
from celosia.rtl.signatures import State
from support.streams import executed, random_memories, random_program

SHAPES = [(1, 1), (3, 5), (4, 4), (5, 2), (6, 11), (16, 3)]


def small_fabric(rows, cols, **changes):
    sizes = {"am_words": 77, "wm_words": 12 * rows, "acc_depth": 24, "fifo_depth": 9, "line_depth": 11}
    return Fabric(rows=rows, cols=cols, **{**sizes, **changes})


@dataclass
class Cycle:
    """What the feeder did in one cycle."""

    act: list
    valid: int
    first: int
    last: int
    maximum: int
    index: int
    again: tuple
    swap: int
    mode: object
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
                mask = (1 << fabric.weight_bits) - 1
                ctx.set(words.write.data, sum(
                    (int(weight) & mask) << c * fabric.weight_bits for c, weight in enumerate(wm[word])))
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
                act=list(ctx.get(feed.act)), valid=tags.valid, first=tags.first, last=tags.last,
                maximum=tags.maximum, index=tags.index, again=(tags.again_1, tags.again_2),
                swap=ctx.get(feed.swap), mode=ctx.get(feed.mode),
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
    rows, columns = fabric.rows, min(fabric.rows, fabric.cols)
    acc, results = {}, []
    active, mode, loading, swapped_at, started_at = None, None, [], -2, None

    def convolved(t):
        """The sum of FIR mode whose tags come in cycle t."""
        total = np.zeros(fabric.cols, np.int64)
        for row in range(mode.groups * mode.taps):
            copy = mode.groups - 1 - row // mode.taps
            pixel = t + row - copy * mode.ring
            assert pixel > swapped_at, f"cycle {t}: a pixel of the pass before"
            assert not any(later.swap for later in trace[t:t + row]), f"cycle {t}: the pass ends too early"
            total[:columns] += np.array(trace[pixel].act[:columns]) * active[row, :columns]
        return total

    for t, now in enumerate(trace):
        if now.valid:
            total = convolved(t) if mode.fir else np.array(now.act) @ active
            if not now.first:
                total = np.maximum(total, acc[now.index]) if now.maximum else total + acc[now.index]
            if not (now.first and now.last):
                for back in (1, 2):
                    same = t >= back and trace[t - back].valid and trace[t - back].index == now.index
                    assert now.again[back - 1] == same, f"cycle {t}: again_{back}"
            if now.last:
                results.append(total)
            else:
                acc[now.index] = total
        if swapped_at == t - 1 and not (mode.fir and mode.groups > 1):
            assert now.valid, f"cycle {t}: no pixel behind the swap"
        if now.swap:
            assert len(loading) == rows and t - started_at >= rows, f"cycle {t}: the tile is not there yet"
            active, loading, swapped_at, mode = np.array(loading), [], t, now.mode
        if now.weight_valid:
            assert now.weight_start == (not loading), f"cycle {t}: row 0, and only row 0, starts a tile"
            assert len(loading) < rows, f"cycle {t}: a weight word came before the swap"
            started_at = t if now.weight_start else started_at
            loading.append(now.weight)
    assert not loading
    return np.array(results).reshape(-1, fabric.cols), acc


def check(fabric, am, wm, weights, streams, trace):
    """Compare with the emulated machine, which also says whether the program is legal."""
    machine = executed(fabric, am, wm, weights, streams)
    results, acc = array_model(fabric, trace)
    want = np.concatenate(list(machine.results)) if machine.results else np.zeros((0, fabric.cols), np.int64)
    np.testing.assert_array_equal(results, want)
    if not streams[-1].emit:
        for p in range(streams[-1].pixels):
            np.testing.assert_array_equal(acc[p], machine.acc[p])
    assert [i for now in trace for i in now.taken if i.UNIT == Weights.UNIT] == list(weights)
    assert [i for now in trace for i in now.taken if i.UNIT == Stream.UNIT] == list(streams)


@pytest.mark.parametrize("rows, cols", SHAPES)
@pytest.mark.parametrize("hurry", [True, False], ids=["without pauses", "with pauses"])
def test_random_programs_compute_what_the_isa_says(rows, cols, hurry):
    for seed, changes in enumerate([{}, {"weight_bits": 8, "line_depth": 0}]):
        fabric = small_fabric(rows, cols, **changes)
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
    first = max(1 + rows, PixelStreamer.LATENCY_FIRST)
    assert rows_issued.tolist() == [*range(1, 1 + rows), *range(first, first + rows)], (
        "tile 1 loads when tile 0 is taken")
    np.testing.assert_array_equal(cycles("weight_valid"), rows_issued + Feeder.LATENCY_WEIGHT)
    np.testing.assert_array_equal(cycles("stream_state", State.OPERAND)[:first - 1], range(1, first))
    assert pixels_issued[0] == first, "the first pixel follows row R-1, if it had time to come"
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


def fir_pass(fabric, **fields):
    """A Stream in FIR mode over bytes that are all inside the memory, and the cycles a pass takes."""
    stream = Stream(fir=1, base=2, x_step=1, y_step=3, **fields)
    warm = (stream.groups - 1) * (stream.line - stream.taps)
    spread = (stream.y_count - 1) * stream.stride_y * stream.line + (stream.x_count - 1) * stream.stride_x
    return stream, warm + spread + stream.groups * stream.taps


def clear_rows_beyond(wm, fabric, stream):
    for tile in range(len(wm) // fabric.rows):
        wm[tile * fabric.rows + stream.taps * stream.groups:(tile + 1) * fabric.rows] = 0


@pytest.mark.parametrize("stride_x, stride_y", [(1, 1), (2, 2), (1, 3), (3, 1)])
@pytest.mark.parametrize("groups, taps", [(1, 1), (1, 7), (2, 3), (3, 2)])
def test_fir_passes_of_any_stride_take_their_pixels_and_no_more(stride_x, stride_y, groups, taps):
    fabric = small_fabric(7, 3, fifo_depth=32)
    am, wm = random_memories(np.random.default_rng(seed=stride_x), fabric)
    for x, y, spare in [(1, 1, 0), (1, 3, 2), (4, 2, 0)]:
        line = max((x - 1) * stride_x + 1 + spare, taps + 3 if groups > 1 else 1)
        stream, pixels = fir_pass(
            fabric, taps=taps, groups=groups, line=line, stride_x=stride_x, stride_y=stride_y, tiles=3,
            x_count=x, y_count=y, outputs=x * y)
        clear_rows_beyond(wm, fabric, stream)
        weights = [Weights(tiles=3, run=99)]
        trace = simulate(fabric, am, wm, weights, [stream])
        check(fabric, am, wm, weights, [stream], trace)
        assert np.diff(swaps(trace)).tolist() == [max(pixels, fabric.rows)] * 2
        busy = np.flatnonzero([now.stream_state == State.BUSY for now in trace])
        assert len(busy) == 3 * pixels


def test_passes_and_tiles_follow_each_other_with_a_bubble_only_behind_fir_instructions():
    fabric = small_fabric(4, 4, fifo_depth=64)
    am, wm = random_memories(np.random.default_rng(seed=3), fabric)
    fir, pixels = fir_pass(fabric, taps=2, groups=2, line=6, stride_x=1, stride_y=1, tiles=1,
                           x_count=5, y_count=2, outputs=10)
    matrix = Stream(base=1, tiles=1, x_count=5, x_step=2)
    weights, streams = [Weights(tiles=5, run=99)], [matrix, fir, fir, matrix, fir]
    trace = simulate(fabric, am, wm, weights, streams)
    check(fabric, am, wm, weights, streams, trace)
    assert np.diff(swaps(trace)).tolist() == [5, pixels + 1, pixels + 1, 5]
    assert [trace[t].mode.fir for t in swaps(trace)] == [0, 1, 1, 0, 1]


@pytest.mark.parametrize("outputs", [1, 6, 7])
@pytest.mark.parametrize("clear_of", [0, 1, 5])
def test_a_pass_starts_when_there_is_room_for_all_its_results_and_does_not_pause(outputs, clear_of):
    """A matrix Stream fills the FIFO up to ``clear_of`` free places; later a place is freed now and then."""
    fabric = small_fabric(3, 2, fifo_depth=7)
    am, wm = random_memories(np.random.default_rng(seed=outputs), fabric)
    fir, pixels = fir_pass(fabric, taps=1, groups=3, line=9, stride_x=1, stride_y=1, tiles=2,
                           x_count=outputs, y_count=1, outputs=outputs)
    # The last one wants every place: it would never start if a credit were lost.
    full, _ = fir_pass(fabric, taps=1, groups=3, line=9, stride_x=1, stride_y=1, x_count=7, outputs=7)
    weights, streams = [Weights(tiles=4, run=99)], [Stream(x_count=7 - clear_of), fir, full]
    opens = list(range(90, 90 + 9 * 7, 9))
    trace = simulate(fabric, am, wm, weights, streams, credit=lambda t: t in opens or t > 200)
    check(fabric, am, wm, weights, streams, trace)
    busy = np.flatnonzero([now.stream_state == State.BUSY for now in trace])
    first, second = np.split(busy[7 - clear_of:][:2 * pixels], 2)
    for one in (first, second):
        assert (np.diff(one) == 1).all() and len(one) == pixels
    missing = outputs - clear_of
    # The first pass keeps its sums and waits for no room.
    assert first[-1] < 90
    if missing > 0:
        assert second[0] == opens[missing - 1] + 2
        assert all(trace[t].stream_state == State.RESULT for t in range(first[-1] + 1, second[0]))
    else:
        # Room for exactly all is seen a cycle late.
        assert second[0] == first[-1] + (2 if missing == 0 else 1)


def test_a_reset_in_the_middle_leaves_nothing_behind():
    fabric = small_fabric(3, 2)
    am, wm, weights, streams = random_program(np.random.default_rng(5), fabric, tiles=12)
    for reset_at in (1, 9, 20):
        trace = simulate(fabric, am, wm, weights, streams, reset_at=reset_at)
        check(fabric, am, wm, weights, streams, trace)


def test_refuses_a_latency_shorter_than_the_way_through_the_weight_memory():
    with pytest.raises(ValueError, match="latency is 2"):
        WeightLoader(fabric=Fabric(), latency=2)
