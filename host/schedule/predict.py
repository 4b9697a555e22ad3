"""Cycles of a program before it runs: a timeline of the five units, instruction by instruction."""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

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
from .areas import pixel_pace

if TYPE_CHECKING:
    from ..emit.program import Program

Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Latencies:
    """Cycles that the timeline cannot derive from the instructions; checked against the RTL by tests.

    ``read`` and ``write`` are those of the DRAM behind the port, from a burst's address to its first beat
    and from its last beat to its answer. ``bytes_per_cycle`` is what it moves in both directions together;
    None: a beat a cycle in each. ``rom_bytes_per_cycle`` is what comes from memory that the fabric cannot
    write: four wires of a serial flash at the fabric's clock.
    """

    read: int = 20
    write: int = 10
    bytes_per_cycle: Fraction | int | None = None
    rom_bytes_per_cycle: Fraction | int = Fraction(1, 2)
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
    params: int = 5  # a Post's acceptance to its first group, without its records
    next: int = 3  # a Post's last group to the next one's first
    next_add: int = 4  # the same if the next one adds
    next_multiply: int = 11  # or multiplies
    settle: int = 16  # a Post's first group to the next one's first
    settle_add: int = 24
    drain: int = 17  # a Post's last group to the first of one of another kind
    drain_add: int = 25
    post: int = 20  # the last group's entry to completion
    post_add: int = 28
    table: int = 3  # more for the last four in a fabric with tables
    ahead: int = 16  # cycles that operands of an add are read ahead
    finish: int = 4  # the last completion to DONE
    # Of fabrics with shared_words (rtl/lean.py):
    jump: int = 36  # of a flash, to a place that does not follow the last one read
    follow: int = 10  # a burst that does follow, to its first beat
    visit: int = 4  # pause of the stream before each visit
    serial: int = 26  # a Post's first and last value through it, without the reading of its records


@dataclass
class Prediction:
    """Cycles from doorbell to done, and by layer: the stream unit's time (the last layer: and the rest)."""

    cycles: int
    layers: dict[int, int] = field(default_factory=dict)


class _Port:
    """What moves over the memory port, in cycles: work that comes later may fill the gaps before it."""

    def __init__(self, bytes_per_cycle: Fraction):
        self.rate = bytes_per_cycle
        self.starts: list[int] = []
        self.ends: list[int] = []

    def move(self, time: int, size: int) -> int:
        """When ``size`` bytes, ready to be moved at ``time``, have been moved."""
        left = -(-size * self.rate.denominator // self.rate.numerator)
        index = bisect_right(self.starts, time) - 1
        if index >= 0 and self.ends[index] > time:
            time = self.ends[index]
        first = index = index + 1
        begin = time
        while index < len(self.starts) and self.starts[index] - time < left:
            left -= max(0, self.starts[index] - time)
            time = self.ends[index]
            index += 1
        end = time + left
        # What is now one busy stretch, together with the one that ends where it begins.
        if first and self.ends[first - 1] == begin:
            first -= 1
            begin = self.starts[first]
        self.starts[first:index], self.ends[first:index] = [begin], [end]
        return end


class _Timeline:
    def __init__(self, fabric: Fabric, latency: Latencies):
        self.fabric, self.latency = fabric, latency
        rate = Fraction(latency.bytes_per_cycle or fabric.bus_bytes)
        self.reads = _Port(rate)
        self.writes = self.reads if latency.bytes_per_cycle else _Port(rate)
        # Where instructions and constants come from.
        self.code = _Port(Fraction(latency.rom_bytes_per_cycle)) if fabric.rom_base else self.reads
        self.memory = _Port(Fraction(1))  # port B of the activation memory: a request a cycle
        self.front = dict.fromkeys(Unit, 0)
        self.complete = dict.fromkeys(Unit, 0)
        self.starts: dict[Unit, list[int]] = {unit: [] for unit in Unit}
        self.tokens: dict[tuple[int, int], deque[int]] = {(a, b): deque() for a in Unit for b in Unit}
        self.fetched = latency.start + latency.read
        self.bus = 0  # when the last load's data have come
        self.unpaid = 0  # bytes of instructions fetched since, which take their share of the bus
        self.loads: deque[list[int]] = deque()  # [ready, tiles] of Weights not yet streamed
        self.signals: deque[Weights] = deque()
        self.loaded = 0  # when the loader finished its last tile
        self.taken = 0  # when the last tile was taken
        self.drained: Times = np.full(fabric.fifo_depth, -(1 << 40), np.int64)
        # Of the last visit of a Stream that emits: when its results may be issued (FIR mode: are).
        self.pending: deque[tuple[Times, bool]] = deque()
        self.lean = bool(fabric.shared_words)
        self.stolen = 0  # cycles of the one memory that others had and the stream has not yet felt
        # The Post before: its first and last group, layer, and whether it adds and multiplies.
        self.post_first, self.post_last, self.post_layer, self.post_kind = -99, -99, -1, (0, 0)

    def ready(self, instruction: Instruction) -> int:
        """When an instruction has been fetched, its unit is free and its tokens are there."""
        unit, latency = instruction.UNIT, self.latency
        self.fetched += self.fetch_cycles(self.fetched < self.bus)
        self.unpaid += INSTRUCTION_BYTES
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

    def fetch_cycles(self, shared: bool) -> int:
        """From one instruction to the next as they come; where loads go on, behind all their open bursts."""
        fabric = self.fabric
        burst = fabric.max_burst * fabric.bus_bytes
        if self.lean:  # between a load's bursts the flash jumps here and back
            both = 2 * self.latency.jump if shared else self.latency.follow
            return both + int(INSTRUCTION_BYTES / self.code.rate)
        limited = self.latency.bytes_per_cycle or fabric.rom_base
        share = 1 + fabric.outstanding if shared and limited else 1
        return int(min(burst, INSTRUCTION_BYTES) * share / self.code.rate)

    def done(self, instruction: Instruction, time: int) -> None:
        unit = instruction.UNIT
        self.complete[unit] = max(self.complete[unit], time)
        for other in Unit:
            if instruction.signal >> other & 1:
                self.tokens[unit, other].append(self.complete[unit])

    def step(self, instruction: Instruction) -> None:
        if isinstance(instruction, Fill):
            time = self.ready(instruction)
            end = self.memory.move(time, instruction.rows * -(-instruction.row_bytes // self.fabric.rows))
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
        size = instruction.rows * -(-instruction.row_bytes // fabric.bus_bytes) * fabric.bus_bytes
        port = self.code if fabric.rom_base and instruction.dram >= fabric.rom_base else self.reads
        if self.lean and port is self.code:  # one burst after the other
            size += int(bursts * latency.follow * port.rate)
        if port is self.code:
            idle = int((start - self.bus) * port.rate)  # bytes that could come since the last load
            size += max(0, self.unpaid - idle)
            self.unpaid = 0
        self.bus = max(start + instruction.rows * row, port.move(start, size))
        if instruction.space == Space.AM:
            chunks = instruction.rows * -(-instruction.row_bytes // _chunk(fabric))
            self.bus = max(self.bus, self.memory.move(start, chunks))
        self.stolen += size // fabric.rows
        self.front[Unit.LOAD] = self.bus  # the next one's reads go out while this one's data come
        end = self.bus + latency.read
        self.done(instruction, end + self.latency.load)

    def store(self, instruction: Store) -> None:
        fabric = self.fabric
        time = self.ready(instruction)
        beats = instruction.rows * -(-instruction.row_bytes // fabric.bus_bytes)
        moved = self.writes.move(time, beats * fabric.bus_bytes)
        end = max(time + beats * (fabric.bus_bytes // _chunk(fabric)), moved)
        end += self.latency.store + self.latency.write
        self.front[Unit.STORE] = end
        self.done(instruction, end)

    def stream(self, instruction: Stream) -> None:
        rows = self.fabric.rows
        pixels = instruction.pixels
        length = instruction.pass_pixels
        time = max(self.ready(instruction), self.front[Unit.STREAM])
        if self.lean:
            time, self.stolen = time + self.stolen, 0
        left = instruction.tiles
        while left:
            ready, tiles = self.loads[0]
            first = max(ready, self.loaded, self.taken) + (2 * rows if self.lean else rows)
            self.taken = max(time, first)
            now = min(left, tiles)
            period = self.period(instruction)
            self.taken += (now - 1) * period
            self.loaded = first if now == 1 else self.taken - period + rows
            left -= now
            if instruction.fir and instruction.emit and not left:
                # The last pass starts when there is room for all its results.
                self.taken = max(self.taken, int(self.drained[pixels - 1]) + 2)
            time = self.taken + (period if self.lean else length)
            if now == tiles:
                self.loads.popleft()
                self.done(self.signals.popleft(), self.loaded + self.latency.weights)
            else:
                self.loads[0][1] -= now
        if instruction.emit and instruction.fir:
            y, x = np.divmod(np.arange(pixels), instruction.x_count)
            place = y * instruction.stride_y * instruction.line + x * instruction.stride_x
            self.pending.append((self.taken + instruction.warm_up + place, True))
        elif instruction.emit:
            # Whether post-processing keeps up is not known yet; post() moves the stream's end if it does not.
            self.pending.append((time - pixels + np.arange(pixels), False))
        self.front[Unit.STREAM] = time
        self.done(instruction, time + self.latency.pixels)

    def period(self, instruction: Stream) -> int:
        """From one tile to the next: its pixels, but the next tile has to be loaded meanwhile."""
        length, rows = instruction.pass_pixels, self.fabric.rows
        if not self.lean:
            return max(length, rows)
        # Each word of the next tile takes the stream a cycle, and comes in every other one.
        visits = 1 if instruction.fir else instruction.u_count * instruction.v_count
        return max(length + visits * self.latency.visit + rows, 2 * rows + 2)

    def serial_post(self, instruction: Post) -> None:
        """One value after the other, one instruction after the other."""
        latency, records = self.latency, instruction.channels + instruction.add
        self.front[Unit.POST] = max(self.front[Unit.POST], self.complete[Unit.POST])
        words = 5 * records
        end = self.ready(instruction) + words + latency.serial
        count = instruction.x_count * instruction.y_count
        way = latency.way + self.fabric.rows + self.fabric.cols
        pace = pixel_pace(instruction.channels, bool(instruction.add), self.fabric)
        self.stolen += words + count * -(-instruction.channels // self.fabric.rows) * (1 + instruction.add)
        while count:
            planned, fixed = self.pending.popleft()
            pixels = len(planned)
            index = np.arange(pixels)
            for first in range(0, pixels, self.fabric.fifo_depth):
                issued = planned[first : first + self.fabric.fifo_depth]
                if not fixed:
                    issued = np.maximum(issued, self.drained[: len(issued)] + 2)
                drain = _drain(index[: len(issued)], pace, end, issued + way)
                self.drained = np.concatenate([self.drained[len(issued):], drain])
                end = int(drain[-1])
                self.front[Unit.STREAM] = max(self.front[Unit.STREAM], int(issued[-1]) + 1)
            count -= pixels
        self.done(instruction, end + latency.serial // 2)

    def post(self, instruction: Post) -> None:
        fabric, latency = self.fabric, self.latency
        if self.lean:
            self.serial_post(instruction)
            return
        # Accepted, if of the same layer, as soon as the first group of the one before has entered.
        same = instruction.layer == self.post_layer
        self.front[Unit.POST] = self.post_first if same else self.post_last + 1
        time = self.ready(instruction)
        groups = -(-instruction.channels // fabric.lanes)
        combines = bool(instruction.add or instruction.multiply)
        records = instruction.channels + combines
        kind = instruction.add, instruction.multiply
        table = latency.table if fabric.tables else 0
        added = self.post_kind[0]
        end = max(
            time + latency.params + records,
            self.post_last + (latency.next_add if kind[0] else latency.next_multiply if kind[1]
                              else latency.next),
            self.post_first + (latency.settle_add if added else latency.settle),
        )
        if kind != self.post_kind:
            end = max(end, self.post_last + table + (latency.drain_add if added else latency.drain))
        self.post_kind, self.post_layer = kind, instruction.layer
        self.post_first = -1
        way = latency.way + fabric.rows + fabric.cols
        count = instruction.x_count * instruction.y_count
        while count:
            planned, fixed = self.pending.popleft()
            pixels, position = len(planned), 0
            for first in range(0, pixels, fabric.fifo_depth):
                issued = planned[first : first + fabric.fifo_depth]
                now = len(issued)
                index = np.arange(now)
                if not fixed:
                    blocked = self.drained[:now] + 2  # the places these pixels need are free then
                    earliest = np.maximum(position, np.maximum(issued, blocked) - index)
                    issued = index + np.maximum.accumulate(earliest)
                drain = _drain(index, groups, end, issued + way)
                if combines:  # the memory port both reads and writes for it; some reads come in advance
                    drain = np.maximum(drain, _drain(index, 2 * groups, end, issued + way) - latency.ahead)
                if self.post_first < 0:
                    self.post_first = int(drain[0]) - groups
                self.drained = np.concatenate([self.drained[now:], drain])
                position, end = int(issued[-1]) + 1, int(drain[-1])
            self.front[Unit.STREAM] = max(self.front[Unit.STREAM], position)
            count -= pixels
        requests = instruction.x_count * instruction.y_count * groups * (1 + combines)
        end = max(end, self.memory.move(self.post_first, requests))
        self.post_last = end - 1
        self.done(instruction, end - 1 + table + (latency.post_add if kind[0] else latency.post))


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


def predicted_cycles(program: "Program", latency: Latencies | None = None) -> Prediction:
    """Predict an inference of a compiled Program with the memory that ``latency`` describes."""
    from ..emit.program import FabricRun

    code = dict(program.blobs)
    total = Prediction(0)
    for step in program.steps:
        if not isinstance(step, FabricRun):
            continue
        blob = code[step.address]
        instructions = [
            Instruction.decode(blob[i : i + INSTRUCTION_BYTES].tobytes(), program.fabric)
            for i in range(0, step.count * INSTRUCTION_BYTES, INSTRUCTION_BYTES)
        ]
        part = predict(instructions, program.fabric, latency)
        total.cycles += part.cycles
        for tag, cycles in part.layers.items():
            total.layers[tag] = total.layers.get(tag, 0) + cycles
    return total
