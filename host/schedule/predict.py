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

    ``memory`` is the read latency of the DRAM behind the port, a write is answered in as many.
    """

    memory: int = 10
    start: int = 12  # doorbell to the first read address on the bus
    dispatch: int = 4  # an instruction's last beat to its issue stage
    issue: int = 2  # issue stage to the unit's first action; also a token's way
    load: int = 8  # last beat of a load to done, without the bus
    feed: int = 10  # a pixel's issue to its arrival at the array
    sums: int = 6  # array's bottom to a result that post-processing can take, without R and C
    post: int = 20  # a group's entry to its visible write
    params: int = 5  # parameter loading beyond one cycle per record
    stream_gap: int = 1  # between two Streams
    finish: int = 6  # the last completion to DONE


@dataclass
class Prediction:
    """Cycles from doorbell to done, and by layer (the time of the stream unit, as the report counts it)."""

    cycles: int
    layers: dict[int, int] = field(default_factory=dict)


class _Timeline:
    def __init__(self, fabric: Fabric, latency: Latencies):
        self.fabric, self.latency = fabric, latency
        self.front = dict.fromkeys(Unit, 0)
        self.complete = dict.fromkeys(Unit, 0)
        self.starts: dict[Unit, list[int]] = {unit: [] for unit in Unit}
        self.tokens: dict[tuple[int, int], deque[int]] = {(a, b): deque() for a in Unit for b in Unit}
        self.fetched = latency.start + latency.memory
        self.bus = 0  # when the read bus is free
        self.loads: deque[list[int]] = deque()  # [ready, tiles] of Weights not yet streamed
        self.signals: deque[Weights] = deque()
        self.loaded = 0  # when the loader finished its last tile
        self.taken = 0  # when the last tile was taken
        self.results: deque[Times] = deque()
        self.drained: Times = np.full(fabric.fifo_depth, -(1 << 40), np.int64)
        self.pending: deque[tuple[Stream, int, int]] = deque()

    def ready(self, instruction: Instruction) -> int:
        """When an instruction has been fetched, its unit is free and its tokens are there."""
        unit, latency = instruction.UNIT, self.latency
        beats = INSTRUCTION_BYTES // self.fabric.bus_bytes
        self.fetched += beats
        starts = self.starts[unit]
        depth = self.fabric.queue_depth + 1
        if len(starts) >= depth:
            self.fetched = max(self.fetched, starts[-depth])
        time = max(self.fetched + latency.dispatch, self.front[unit])
        for other in Unit:
            if instruction.wait >> other & 1:
                if other == unit:
                    time = max(time, self.complete[unit] + latency.issue)
                else:
                    time = max(time, self.tokens[other, unit].popleft() + latency.issue)
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
            self.done(instruction, end + self.latency.load)
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
        beats = instruction.rows * -(-instruction.row_bytes // fabric.bus_bytes)
        pace = 1
        if instruction.space == Space.AM:
            pace = fabric.bus_bytes // _chunk(fabric)
        start = max(time + 2, self.bus)
        end = start + self.latency.memory + beats * pace
        self.bus = start + beats
        self.front[Unit.LOAD] = end
        self.done(instruction, end + self.latency.load)

    def store(self, instruction: Store) -> None:
        fabric = self.fabric
        time = self.ready(instruction)
        beats = instruction.rows * -(-instruction.row_bytes // fabric.bus_bytes)
        end = time + beats * (fabric.bus_bytes // _chunk(fabric)) + 10
        self.front[Unit.STORE] = end + self.latency.memory
        self.done(instruction, end + self.latency.memory)

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
                self.done(self.signals.popleft(), self.loaded + 2)
            else:
                self.loads[0][1] -= now
        if instruction.emit:
            self.pending.append((instruction, time - pixels, pixels))
            # Without knowing the drain yet, assume it keeps up; post() moves the stream's end if it does not.
        self.front[Unit.STREAM] = time + self.latency.stream_gap
        self.done(instruction, time + 4)

    def post(self, instruction: Post) -> None:
        fabric, latency = self.fabric, self.latency
        time = self.ready(instruction)
        groups = -(-instruction.channels // fabric.lanes)
        ready = time + latency.params + instruction.channels + instruction.add
        way = latency.feed + fabric.rows + fabric.cols + latency.sums
        count = instruction.x_count * instruction.y_count
        end = ready
        while count:
            stream, start, pixels = self.pending.popleft()
            left, position = pixels, start
            while left:
                now = min(left, fabric.fifo_depth)
                index = np.arange(now)
                blocked = self.drained[:now] + 2  # the places these pixels need are free then
                issued = index + np.maximum.accumulate(np.maximum(position, blocked - index))
                arrive = issued + way
                drain = groups * (index + 1) + np.maximum.accumulate(np.maximum(end, arrive - groups * index))
                self.drained = np.concatenate([self.drained[now:], drain])
                position, end = int(issued[-1]) + 1, int(drain[-1])
                left -= now
            late = position - (start + pixels)
            if late > 0 and self.front[Unit.STREAM] < position + latency.stream_gap:
                self.front[Unit.STREAM] = position + latency.stream_gap
            count -= pixels
        self.front[Unit.POST] = end
        self.done(instruction, end + latency.post)


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
    before = 0
    for instruction in program:
        line.step(instruction)
        if isinstance(instruction, Post):
            now = line.front[Unit.STREAM]
            layers[instruction.layer] = layers.get(instruction.layer, 0) + now - before
            before = now
    return Prediction(max(line.complete.values(), default=0) + line.latency.finish, layers)
