"""Cycles of a program before it runs: a timeline of the five units, instruction by instruction."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ...rtl.contract.fabric import Fabric
from ...rtl.contract.isa import (
    INSTRUCTION_BYTES,
    Fill,
    Instruction,
    Load,
    Post,
    Space,
    Store,
    Stream,
    Unit,
    Weights,
)

Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Latencies:
    """Cycles that the timeline cannot derive from the instructions; checked against the RTL by tests.

    ``read`` and ``write`` are those of the DRAM behind the port, from a burst's address to its first beat
    and from its last beat to its answer.
    """

    read: int = 20
    write: int = 10
    turn: int = 6  # a short burst's last beat to the next address, where bursts wait for each other
    start: int = 7  # doorbell to the first read address on the bus
    dispatch: int = 6  # an instruction's last beat to its issue stage
    issue: int = 3  # from there, or from the last completion waited for, to the unit's first action
    command: int = 4  # a load's first action to its first address on the bus
    load: int = 8  # the last beat of a load to completion
    fill: int = 8  # the last write of a fill to completion
    store: int = 12  # a store's first action to its completion, without beats and memory
    weights: int = 5  # the last row read to completion
    pixels: int = 6  # the last pixel's issue to completion
    way: int = 14  # a pixel's issue to its result at post-processing, without R and C
    params: int = 5  # a Post's first action to its first group, without its records
    reload: int = 8  # a Post's last group to the next one's first, without its records
    drain: int = 15  # the same at least
    drain_add: int = 23
    post: int = 18  # the last group's entry to completion
    post_add: int = 26
    ahead: int = 16  # cycles that operands of an add are read ahead
    finish: int = 4  # the last completion to DONE


@dataclass
class Prediction:
    """Cycles from doorbell to done, and by layer: the stream unit's time (the last layer: and the rest)."""

    cycles: int
    layers: dict[int, int] = field(default_factory=dict)


class _Timeline:
    def __init__(self, fabric: Fabric, latency: Latencies):
        self.fabric, self.latency = fabric, latency
        self.front = dict.fromkeys(Unit, 0)
        self.complete = dict.fromkeys(Unit, 0)
        self.starts: dict[Unit, list[int]] = {unit: [] for unit in Unit}
        self.tokens: dict[tuple[int, int], deque[int]] = {(a, b): deque() for a in Unit for b in Unit}
        self.fetched = latency.start + latency.read
        self.bus = 0  # when the read bus is free
        self.loads: deque[list[int]] = deque()  # [ready, tiles] of Weights not yet streamed
        self.signals: deque[Weights] = deque()
        self.loaded = 0  # when the loader finished its last tile
        self.taken = 0  # when the last tile was taken
        self.drained: Times = np.full(fabric.fifo_depth, -(1 << 40), np.int64)
        self.pending: deque[tuple[int, int]] = deque()  # last visit of a Stream that emits: start, pixels
        self.added = False  # whether the last Post had an add

    def ready(self, instruction: Instruction) -> int:
        """When an instruction has been fetched, its unit is free and its tokens are there."""
        unit, latency = instruction.UNIT, self.latency
        beats = INSTRUCTION_BYTES // self.fabric.bus_bytes
        self.fetched += beats
        starts = self.starts[unit]
        depth = self.fabric.queue_depth + 1
        if len(starts) >= depth:
            self.fetched = max(self.fetched, starts[-depth])
        time = max(self.fetched + latency.dispatch + latency.issue, self.front[unit])
        for other in Unit:
            if instruction.wait >> other & 1:
                complete = self.complete[unit] if other == unit else self.tokens[other, unit].popleft()
                time = max(time, complete + latency.issue)
        starts.append(time)
        return time

    def done(self, instruction: Instruction, time: int) -> None:
        unit = instruction.UNIT
        self.complete[unit] = max(self.complete[unit], time)
        for other in Unit:
            if instruction.signal >> other & 1:
                self.tokens[unit, other].append(self.complete[unit])

    def step(self, instruction: Instruction) -> None:
        if isinstance(instruction, Fill):
            time = self.ready(instruction)
            end = time + instruction.rows * -(-instruction.row_bytes // self.fabric.rows)
            self.front[Unit.LOAD] = end
            self.done(instruction, end + self.latency.fill)
        elif isinstance(instruction, Load):
            self.load(instruction)
        elif isinstance(instruction, Weights):
            self.loads.append([self.ready(instruction), instruction.tiles])
            self.signals.append(instruction)
        elif isinstance(instruction, Stream):
            self.stream(instruction)
        elif isinstance(instruction, Post):
            self.post(instruction)
        elif isinstance(instruction, Store):
            self.store(instruction)

    def load(self, instruction: Load) -> None:
        fabric = self.fabric
        time = self.ready(instruction)
        latency = self.latency
        row = -(-instruction.row_bytes // fabric.bus_bytes)
        if instruction.space == Space.AM:
            row *= fabric.bus_bytes // _chunk(fabric)
        bursts = -(-row // fabric.max_burst)
        # Only so many bursts are under way at once: short ones cannot fill the memory's latency.
        row = max(row, bursts * (latency.read + latency.turn) // fabric.outstanding)
        start = max(time + latency.command, self.bus)
        self.bus = start + instruction.rows * row
        self.front[Unit.LOAD] = self.bus  # the next one's reads go out while this one's data come
        end = self.bus + latency.read
        self.done(instruction, end + self.latency.load)

    def store(self, instruction: Store) -> None:
        fabric = self.fabric
        time = self.ready(instruction)
        beats = instruction.rows * -(-instruction.row_bytes // fabric.bus_bytes)
        end = time + beats * (fabric.bus_bytes // _chunk(fabric)) + self.latency.store + self.latency.write
        self.front[Unit.STORE] = end
        self.done(instruction, end)

    def stream(self, instruction: Stream) -> None:
        rows = self.fabric.rows
        pixels = instruction.pixels
        visits = instruction.u_count * instruction.v_count
        time = max(self.ready(instruction), self.front[Unit.STREAM])
        left = instruction.tiles
        while left:
            ready, tiles = self.loads[0]
            first = max(ready, self.loaded, self.taken) + rows
            self.taken = max(time, first)
            now = min(left, tiles)
            period = max(pixels * visits, rows)
            self.taken += (now - 1) * period
            self.loaded = first if now == 1 else self.taken - period + rows
            time = self.taken + pixels * visits
            left -= now
            if now == tiles:
                self.loads.popleft()
                self.done(self.signals.popleft(), self.loaded + self.latency.weights)
            else:
                self.loads[0][1] -= now
        if instruction.emit:
            # Whether post-processing keeps up is not known yet; post() moves the stream's end if it does not.
            self.pending.append((time - pixels, pixels))
        self.front[Unit.STREAM] = time
        self.done(instruction, time + self.latency.pixels)

    def post(self, instruction: Post) -> None:
        fabric, latency = self.fabric, self.latency
        time = self.ready(instruction)
        groups = -(-instruction.channels // fabric.lanes)
        records = instruction.channels + instruction.add
        gap = max(records + latency.reload, latency.drain_add if self.added else latency.drain)
        end = max(time + latency.params + records, self.front[Unit.POST] + gap) - 1
        way = latency.way + fabric.rows + fabric.cols
        count = instruction.x_count * instruction.y_count
        while count:
            start, pixels = self.pending.popleft()
            left, position = pixels, start
            while left:
                now = min(left, fabric.fifo_depth)
                index = np.arange(now)
                blocked = self.drained[:now] + 2  # the places these pixels need are free then
                issued = index + np.maximum.accumulate(np.maximum(position, blocked - index))
                drain = _drain(index, groups, end, issued + way)
                if (
                    instruction.add
                ):  # the memory port both reads and writes for it, but some reads come in advance
                    drain = np.maximum(drain, _drain(index, 2 * groups, end, issued + way) - latency.ahead)
                self.drained = np.concatenate([self.drained[now:], drain])
                position, end = int(issued[-1]) + 1, int(drain[-1])
                left -= now
            self.front[Unit.STREAM] = max(self.front[Unit.STREAM], position)
            count -= pixels
        self.front[Unit.POST] = end
        self.added = bool(instruction.add)
        self.done(instruction, end - groups + (latency.post_add if instruction.add else latency.post))


def _drain(index: Times, pace: int, free: int, arrive: Times) -> Times:
    """When each pixel has left the queue, at ``pace`` cycles a pixel, none before it arrived."""
    done: Times = pace * (index + 1) + np.maximum.accumulate(np.maximum(free, arrive - pace * index))
    return done


def _chunk(fabric: Fabric) -> int:
    """Bytes of one activation memory access by the DMA: a power of two up to the bus width."""
    chunk = fabric.bus_bytes
    while chunk > fabric.rows:
        chunk //= 2
    return chunk


def predict(program: Sequence[Instruction], fabric: Fabric, latency: Latencies | None = None) -> Prediction:
    """Predict a program's cycles.

    Parameters
    ----------
    program : instructions with their tokens, in order
    latency : Latencies, optional
    """
    line = _Timeline(fabric, latency or Latencies())
    layers: dict[int, int] = {}
    before, last = 0, 0
    for instruction in program:
        line.step(instruction)
        if isinstance(instruction, Post):
            now, last = line.front[Unit.STREAM], instruction.layer
            layers[last] = layers.get(last, 0) + now - before
            before = now
    cycles = max(line.complete.values(), default=0) + line.latency.finish
    if layers:
        layers[last] += cycles - before
    return Prediction(cycles, layers)
