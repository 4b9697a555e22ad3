"""The instruction set: fields, encoding and, as runnable Python, the effect of every instruction.

Five units run side by side, each taking its instructions in program order:

=======  =================  ==========================================================================
unit     instructions       moves
=======  =================  ==========================================================================
LOAD     Load, Fill         DRAM (or a constant) to activation, weight, parameter or table memory
WEIGHTS  Weights            weight memory to the array's shadow registers, tile by tile
STREAM   Stream             activation memory through the array into accumulators and result FIFO
POST     Post               result FIFO through multiply, requantise, add, table to activation memory
STORE    Store              activation memory to DRAM
=======  =================  ==========================================================================

**Order.** The meaning of a program is its effects carried out one after the other. The units overlap them,
so a program must say which effects depend on each other *across* units, with tokens: there is a counter for
each ordered pair of units; an instruction starts when each counter (u, own unit) for u in ``wait`` is above
zero, taking one from each, and when it is complete it adds one to each counter (own unit, u) for u in
``signal``. Complete means: all its reads are done and all its writes are visible. A unit's own bit in
``wait`` means "when everything before me in this unit is complete"; without it, consecutive instructions of
a unit overlap in its pipeline. Four orders need no token: a Stream takes the weight tiles in the order
Weights made them, a Post takes results in the order Streams made them; hence what a Post writes cannot
overtake the reads of Streams before those whose results it takes; LOAD and POST carry out their writes in
order (a Post may read its other operands before the writes of an earlier one). A counter holds up to
TOKEN_MAX; a unit whose signal would exceed it waits.

**Addresses.** Activation memory is R byte-wide banks; byte address ``a`` is word ``a // R`` of bank ``a %
R``. In Python all activation addresses and steps are plain byte numbers; the encoding splits them into word
and lane so that the hardware never divides. Weight and parameter addresses count words. DRAM addresses are
bytes and, with the strides, multiples of the bus width.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from .errors import ProgramError
from .fabric import (
    FIR_GROUPS,
    LANE_BITS,
    LAYER_BITS,
    PARAMETER_BYTES,
    PM_ADDRESS_BITS,
    RING_LEAST,
    TABLE_BITS,
    TABLE_BYTES,
    WM_ADDRESS_BITS,
    WORD_BITS,
    Fabric,
)
from .numerics import Add, Channel, Product, wrap

if TYPE_CHECKING:
    from .machine import Machine, Tile

ISA_VERSION = 3
INSTRUCTION_BYTES = 32
TOKEN_MAX = 63
ROW_BYTES_BITS = 20
PIXEL_COUNT_BITS = 14

Kind = Literal["unsigned", "signed", "address"]


class Unit(IntEnum):
    """The units, numbered as in the wait and signal masks and in the profile."""

    LOAD = 0
    WEIGHTS = 1
    STREAM = 2
    POST = 3
    STORE = 4


class Cause(IntEnum):
    """What a unit did in a cycle; one profile counter each, per layer and unit."""

    BUSY = 0  # moved data
    FETCH = 1  # had no instruction
    OPERAND = 2  # waited for its input (STREAM: weights; POST: results, or the add operand; LOAD: read data)
    RESULT = 3  # waited for room downstream (STREAM: result FIFO; POST, LOAD: memory port; STORE: bus)
    TOKEN_LOAD = 4  # TOKEN_x: waited for a token from x (of its own unit: for its predecessors to complete)
    TOKEN_WEIGHTS = 5
    TOKEN_STREAM = 6
    TOKEN_POST = 7
    TOKEN_STORE = 8


class Space(IntEnum):
    """Destination of a Load."""

    AM = 0
    WM = 1
    PM = 2
    TABLE = 3


@dataclass(frozen=True)
class Field:
    """Where a field lies in the 256-bit instruction word, and how it is coded."""

    name: str
    offset: int
    width: int
    kind: Kind


def bits(width: int, kind: Kind = "unsigned", default: int = 0) -> Any:
    """A dataclass field of so many bits."""
    return field(default=default, metadata={"width": width, "kind": kind})


def address(default: int = 0) -> Any:
    """An activation-memory address or step: a plain byte number here, word and lane in the encoding."""
    return bits(WORD_BITS + LANE_BITS, "address", default)


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """Header shared by all instructions.

    Parameters
    ----------
    wait, signal : int
        Masks over Unit, see the module's text.
    layer : int
        Whose profile counters the cycles are charged to.
    """

    OPCODE: ClassVar[int] = 0
    UNIT: ClassVar[Unit]
    OPCODE_BITS: ClassVar[int] = 4

    wait: int = bits(len(Unit))
    signal: int = bits(len(Unit))
    layer: int = bits(LAYER_BITS)

    @classmethod
    @cache
    def layout(cls) -> tuple[Field, ...]:
        """Every field with its place, opcode first, in order from bit 0."""
        found = [Field("opcode", 0, cls.OPCODE_BITS, "unsigned")]
        for item in fields(cls):
            last = found[-1]
            found.append(
                Field(item.name, last.offset + last.width, item.metadata["width"], item.metadata["kind"])
            )
        if found[-1].offset + found[-1].width > 8 * INSTRUCTION_BYTES:
            raise AssertionError(f"{cls.__name__} does not fit {INSTRUCTION_BYTES} bytes")
        return tuple(found)

    def encode(self, fabric: Fabric) -> bytes:
        """The instruction as it lies in memory (little-endian).

        Raises
        ------
        ProgramError
            If a field does not hold its value.
        """
        word = 0
        for item in self.layout():
            value = self.OPCODE if item.name == "opcode" else int(getattr(self, item.name))
            low, high = (
                (-(1 << item.width - 1), (1 << item.width - 1) - 1)
                if item.kind == "signed"
                else (0, (1 << item.width) - 1)
            )
            if item.kind == "address":
                high = fabric.rows * (1 << WORD_BITS) - 1
            if not low <= value <= high:
                raise ProgramError(
                    f"{type(self).__name__}.{item.name} is {value}; the field holds {low} to {high}"
                )
            if item.kind == "address":
                value = value // fabric.rows << LANE_BITS | value % fabric.rows
            word |= (value & (1 << item.width) - 1) << item.offset
        return word.to_bytes(INSTRUCTION_BYTES, "little")

    @staticmethod
    def decode(code: bytes, fabric: Fabric) -> "Instruction":
        """The inverse of encode.

        Raises
        ------
        ProgramError
            On an unknown opcode or a lane that the fabric lacks; the hardware reports ILLEGAL_INSTRUCTION for
            the unknown opcode.
        """
        word = int.from_bytes(code, "little")
        opcode = word & (1 << Instruction.OPCODE_BITS) - 1
        if opcode not in BY_OPCODE:
            raise ProgramError(f"{opcode} is no opcode; known are {sorted(BY_OPCODE)}")
        kind = BY_OPCODE[opcode]
        values = {}
        for item in kind.layout()[1:]:
            value = word >> item.offset & (1 << item.width) - 1
            if item.kind == "address":
                lane = value & (1 << LANE_BITS) - 1
                if lane >= fabric.rows:
                    raise ProgramError(f"{kind.__name__}.{item.name} names lane {lane} of {fabric.rows}")
                value = (value >> LANE_BITS) * fabric.rows + lane
            elif item.kind == "signed" and value >> item.width - 1:
                value -= 1 << item.width
            values[item.name] = value
        return kind(**values)

    def execute(self, machine: "Machine") -> None:
        """Carry out the effect on the state of a machine."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Load(Instruction):
    """DRAM to on-chip memory.

    AM: ``rows`` rows of ``row_bytes`` bytes; row i goes from ``dram + i*dram_stride`` to ``local + i*pitch``.
    WM, PM: ``row_bytes`` bytes are consecutive words, each taking a whole number of beats in DRAM
    (Fabric.wm_word_stride, pm_word_stride), written from word ``word`` on; ``rows`` is 1, local and pitch are
    unused. A weight is the signed byte minus ``offset``, its zero point; with 8-bit weights that wraps, so
    offset should be 0 then. TABLE: the same with words of TABLE_BYTES bytes, a table each; entry
    ``q & 255`` is what stands for q.

    Illegal: rows or row_bytes 0; an address or stride that is no multiple of the bus width; a write outside
    the memory; for WM, PM and TABLE a row_bytes that is not a whole number of words.
    """

    OPCODE = 1
    UNIT = Unit.LOAD

    space: int = bits(2)
    dram: int = bits(32)
    dram_stride: int = bits(24)
    rows: int = bits(PIXEL_COUNT_BITS, default=1)
    row_bytes: int = bits(ROW_BYTES_BITS)
    local: int = address()
    pitch: int = address()
    word: int = bits(WM_ADDRESS_BITS)
    offset: int = bits(8, "signed")

    def execute(self, machine: "Machine") -> None:
        fabric = machine.fabric
        machine.require(self, self.rows > 0 and self.row_bytes > 0, "moves nothing")
        machine.require(
            self,
            self.dram % fabric.bus_bytes == 0 and self.dram_stride % fabric.bus_bytes == 0,
            f"DRAM addresses must be multiples of {fabric.bus_bytes}",
        )
        if self.space == Space.AM:
            for row in range(self.rows):
                start = self.dram + row * self.dram_stride
                data = machine.read_dram(self, start, self.row_bytes)
                machine.write_am(self, self.local + row * self.pitch, data)
            return
        memories: dict[int, tuple[npt.NDArray[Any], int]] = {
            Space.WM: (machine.wm, fabric.wm_word_stride),
            Space.PM: (machine.pm, fabric.pm_word_stride),
            Space.TABLE: (machine.tables, TABLE_BYTES),
        }
        memory, stride = memories[self.space]
        machine.require(
            self,
            self.rows == 1 and self.row_bytes % stride == 0,
            f"weights, parameters and tables move as one row of whole words of {stride} bytes",
        )
        words = self.row_bytes // stride
        machine.require(
            self,
            self.word + words <= len(memory),
            f"words {self.word} to {self.word + words - 1} of {len(memory)}",
        )
        data = machine.read_dram(self, self.dram, self.row_bytes).reshape(words, stride)[:, : memory.shape[1]]
        if self.space == Space.WM:
            weights = data.view(np.int8).astype(np.int64) - self.offset
            memory[self.word : self.word + words] = wrap(weights, fabric.weight_bits)
        else:
            memory[self.word : self.word + words] = data


@dataclass(frozen=True, kw_only=True)
class Fill(Instruction):
    """Write the byte ``value`` to ``rows`` rows of ``row_bytes`` bytes of activation memory, ``pitch`` apart.

    Illegal: rows or row_bytes 0; a write outside the memory.
    """

    OPCODE = 2
    UNIT = Unit.LOAD

    value: int = bits(8, "signed")
    rows: int = bits(PIXEL_COUNT_BITS, default=1)
    row_bytes: int = bits(ROW_BYTES_BITS)
    local: int = address()
    pitch: int = address()

    def execute(self, machine: "Machine") -> None:
        machine.require(self, self.rows > 0 and self.row_bytes > 0, "moves nothing")
        data = np.full(self.row_bytes, self.value, np.int8).view(np.uint8)
        for row in range(self.rows):
            machine.write_am(self, self.local + row * self.pitch, data)


@dataclass(frozen=True, kw_only=True)
class Weights(Instruction):
    """Load ``tiles`` weight tiles, words ``base`` on, into the array's shadow registers, one after the other.

    Word ``base + t*R + r`` holds the C weights of row r of tile t. With each row goes the offset, from a
    pixel's base address, of the activation it multiplies. The offsets are a walk over the taps of a kernel:
    contiguous runs of ``run`` bytes; after a run ``jump_x`` is added to reach the next, but after every
    ``runs_x`` runs ``jump_y`` is added instead. Row r+1 takes the tap after row r's, and a tile starts at
    the tap after the last tile's last. If ``ragged``, a tile whose taps reach the end of a run goes on
    contiguously (weights there are zero) and the next tile starts at the start of the next run.

    In dense mode the jumps must be multiples of R: then the R rows of a tile hit R different banks (design:
    pitch = kw*Cin modulo R). The walk starts at ``start`` with ``start_run`` bytes of the run and
    ``start_x`` runs behind it, so that a long walk can be cut into several instructions.

    Illegal: tiles 0, run 0, runs_x 0, start_run >= run, start_x >= runs_x; in dense mode a jump that is no
    multiple of R; words outside the memory.
    """

    OPCODE = 3
    UNIT = Unit.WEIGHTS

    base: int = bits(WM_ADDRESS_BITS)
    tiles: int = bits(14, default=1)
    run: int = bits(16, default=1)
    runs_x: int = bits(8, default=1)
    jump_x: int = address()
    jump_y: int = address()
    ragged: int = bits(1)
    start: int = address()
    start_run: int = bits(16)
    start_x: int = bits(8)

    def walk(self, rows: int) -> Iterator[list[int]]:
        """The row offsets (length R, in bytes) of each tile."""
        offset, done, x = self.start, self.start_run, self.start_x

        def next_run(end: int) -> int:
            """Offset of the run that follows the one ending (exclusively) at ``end``."""
            nonlocal done, x
            done, x = 0, x + 1
            if x == self.runs_x:
                x = 0
                return end + self.jump_y
            return end + self.jump_x

        for _ in range(self.tiles):
            if self.ragged:
                yield list(range(offset, offset + rows))
                left = self.run - done
                if left <= rows:
                    offset = next_run(offset + left)
                else:
                    offset, done = offset + rows, done + rows
                continue
            tile = []
            for _ in range(rows):
                tile.append(offset)
                offset, done = offset + 1, done + 1
                if done == self.run:
                    offset = next_run(offset)
            yield tile

    def execute(self, machine: "Machine") -> None:
        rows = machine.fabric.rows
        machine.require(self, self.tiles > 0 and self.run > 0 and self.runs_x > 0, "walks nothing")
        machine.require(
            self, self.start_run < self.run and self.start_x < self.runs_x, "starts outside its walk"
        )
        machine.require(
            self,
            self.ragged == 1 or self.jump_x % rows == self.jump_y % rows == 0,
            f"jumps {self.jump_x} and {self.jump_y} are no multiples of {rows}: banks would collide",
        )
        machine.require(
            self,
            self.base + self.tiles * rows <= len(machine.wm),
            f"words {self.base} to {self.base + self.tiles * rows - 1} of {len(machine.wm)}",
        )
        for tile, offsets in enumerate(self.walk(rows)):
            start = self.base + tile * rows
            machine.tiles.append((machine.wm[start : start + rows].copy(), np.array(offsets, np.int64)))


@dataclass(frozen=True, kw_only=True)
class Stream(Instruction):
    """Stream pixels through the array against each of the next ``tiles`` weight tiles.

    Pixels are visited y outer, x inner, at ``base + y*y_step + x*x_step``; partial sum ``p = y*x_count + x``
    of column c grows by sum over r of ``AM[pixel + offset_r] * weight[r, c]``. For each tile the whole pixel
    set is visited ``v_count*u_count`` times, shifted by ``v*v_step + u*u_step`` (v outer, u inner): a window
    summed with the same weights, as pooling wants. Sums start from zero at the first visit of the first tile
    if ``clear``, else they go on from an earlier Stream of the same program; at the last visit of the last
    tile, if ``emit``, they go to the result FIFO in order of p instead of staying in the accumulators. With
    ``maximum`` the sums of the visits, instead of being added up, are compared and the greatest stays.

    **FIR mode** (``fir``): column c convolves its own channel. The pixels of an image are streamed once, in
    lines of ``line`` pixels: pixel j is at ``base + (j // line)*y_step + (j % line)*x_step``, and column c
    sees the byte at offset_c from there (columns from R on see zero). With ``taps`` and ``groups`` of the
    kernel's columns and rows in the array, partial sum ``p = y*x_count + x`` grows by sum over g < groups, k
    < taps of ``byte(i + g*line + k) * weight[g*taps + k, c]``, where ``i = y*stride_y*line + x*stride_x``. A
    line need not hold the right border of its image: tap k may lie in the next line, whose left border it
    then is. Bytes that belong to no sum may be anything. Each of the ``tiles`` is a pass of this kind; u and
    v counts are 1. A pass cannot pause: it starts when the result FIFO has room for all its sums, which
    ``outputs`` counts.

    Illegal: a count of 0; more than acc_depth pixels, unless tiles, u_count and v_count are 1 and clear and
    emit are set (then nothing stays); ``clear`` not set where nothing is kept: the last Stream with it must
    have had at least as many pixels, and none since may have had ``emit``; a read outside the memory by a row
    whose weights are not all zero. In FIR mode: groups beyond FIR_GROUPS; groups * taps beyond R; with
    groups above 1 a ``line - taps`` below RING_LEAST or above line_depth; a line that does not hold the
    x_count outputs; weights other than zero in rows from groups * taps on; outputs that is not x_count *
    y_count or, with ``emit``, is beyond fifo_depth.
    """

    OPCODE = 4
    UNIT = Unit.STREAM

    base: int = address()
    tiles: int = bits(14, default=1)
    x_count: int = bits(PIXEL_COUNT_BITS, default=1)
    y_count: int = bits(PIXEL_COUNT_BITS, default=1)
    x_step: int = address()
    y_step: int = address()
    u_count: int = bits(8, default=1)
    v_count: int = bits(8, default=1)
    u_step: int = address()
    v_step: int = address()
    clear: int = bits(1, default=1)
    emit: int = bits(1, default=1)
    maximum: int = bits(1)
    fir: int = bits(1)
    line: int = bits(PIXEL_COUNT_BITS)
    taps: int = bits(6)
    groups: int = bits(2)
    stride_x: int = bits(4)
    stride_y: int = bits(4)
    outputs: int = bits(PIXEL_COUNT_BITS + 1)

    @property
    def pixels(self) -> int:
        """Partial sums."""
        return self.x_count * self.y_count

    @property
    def warm_up(self) -> int:
        """Pixels of a FIR pass before the one that comes with the first sum's tags."""
        return (self.groups - 1) * (self.line - self.taps)

    @property
    def pass_pixels(self) -> int:
        """Pixels streamed for each tile: one a cycle."""
        if not self.fir:
            return self.pixels * self.u_count * self.v_count
        last = ((self.y_count - 1) * self.stride_y) * self.line + (self.x_count - 1) * self.stride_x
        return self.warm_up + last + self.groups * self.taps

    def execute(self, machine: "Machine") -> None:
        fabric = machine.fabric
        passes = self.tiles * self.u_count * self.v_count
        machine.require(self, passes > 0 and self.pixels > 0, "streams nothing")
        machine.require(
            self,
            self.pixels <= fabric.acc_depth or (passes == self.clear == self.emit == 1),
            f"{self.pixels} partial sums; each column keeps {fabric.acc_depth}",
        )
        machine.require(
            self,
            self.clear == 1 or machine.kept >= self.pixels,
            f"goes on with {self.pixels} sums where the Stream before kept {machine.kept}",
        )
        machine.kept = 0 if self.emit else self.pixels if self.clear else machine.kept
        machine.require(
            self,
            self.tiles <= len(machine.tiles),
            f"takes {self.tiles} weight tiles where {len(machine.tiles)} were loaded",
        )
        total = None if self.clear else machine.acc[: self.pixels].astype(np.int64)
        taken = [machine.tiles.popleft() for _ in range(self.tiles)]
        for sums in self._convolved(machine, taken) if self.fir else self._multiplied(machine, taken):
            if total is None:
                total = sums
            elif self.maximum:
                total = np.maximum(wrap(total, fabric.acc_width), wrap(sums, fabric.acc_width))
            else:
                total = total + sums
        assert total is not None
        total = wrap(total, fabric.acc_width)
        if self.emit:
            machine.results.append(total)
        else:
            machine.acc[: self.pixels] = total

    def _multiplied(self, machine: "Machine", taken: list["Tile"]) -> Iterator[npt.NDArray[np.int64]]:
        """Matrix mode: int64[pixels, C] of each visit; visits and tiles may be summed up beforehand."""
        counts = (self.v_count, self.u_count, self.y_count, self.x_count)
        steps = (self.v_step, self.u_step, self.y_step, self.x_step)
        grid = np.meshgrid(
            *(np.arange(n) * step for n, step in zip(counts, steps, strict=True)), indexing="ij"
        )
        pixels = (self.base + np.sum(grid, axis=0)).reshape(-1, self.pixels)
        groups = [[tile] for tile in taken] if self.maximum else [taken]
        for tiles in groups:
            weights = np.concatenate([weights for weights, _ in tiles])
            offsets = np.concatenate([offsets for _, offsets in tiles])
            used = weights.any(axis=1)
            weights, offsets = weights[used].astype(np.float64), offsets[used]
            for visit in pixels:
                sums = np.zeros((self.pixels, machine.fabric.cols), np.int64)
                # Any number of rows at once: sums of products are exact in float64 far beyond 2**32 of them.
                for row in range(0, len(offsets), 1024):
                    part = slice(row, row + 1024)
                    acts = machine.read_am(self, visit[:, None] + offsets[part])
                    sums += (acts.astype(np.float64) @ weights[part]).astype(np.int64)
                yield sums

    def _convolved(self, machine: "Machine", taken: list["Tile"]) -> Iterator[npt.NDArray[np.int64]]:
        """FIR mode: int64[outputs, C] of each tile."""
        fabric = machine.fabric
        machine.require(
            self,
            0 < self.groups <= FIR_GROUPS and 0 < self.taps and self.groups * self.taps <= fabric.rows,
            f"{self.groups} kernel rows of {self.taps} taps in {fabric.rows} rows of the array",
        )
        machine.require(
            self,
            self.groups == 1 or RING_LEAST <= self.line - self.taps <= fabric.line_depth,
            f"lines of {self.line} pixels; {self.groups} kernel rows of {self.taps} taps want "
            f"{RING_LEAST + self.taps} to {fabric.line_depth + self.taps}",
        )
        machine.require(
            self,
            self.stride_x > 0 and self.stride_y > 0 and self.line > (self.x_count - 1) * self.stride_x,
            f"{self.x_count} outputs {self.stride_x} apart do not fit a line of {self.line}",
        )
        machine.require(
            self,
            self.u_count == self.v_count == 1 and self.outputs == self.pixels,
            f"counts {self.outputs} outputs where there are {self.pixels}, or visits a window",
        )
        machine.require(
            self,
            not self.emit or self.pixels <= fabric.fifo_depth,
            f"{self.pixels} results at once; the FIFO holds {fabric.fifo_depth}",
        )
        y, x = np.divmod(np.arange(self.pixels), self.x_count)
        first = y * self.stride_y * self.line + x * self.stride_x
        columns = min(fabric.rows, fabric.cols)
        for weights, offsets in taken:
            machine.require(
                self,
                not weights[self.groups * self.taps :].any(),
                "weights in rows that no tap of the kernel uses",
            )
            sums = np.zeros((self.pixels, fabric.cols), np.int64)
            for row in np.flatnonzero(weights.any(axis=1)):
                group, tap = divmod(int(row), self.taps)
                line, place = np.divmod(first + group * self.line + tap, self.line)
                pixel = self.base + line * self.y_step + place * self.x_step
                acts = machine.read_am(self, pixel[:, None] + offsets[:columns])
                sums[:, :columns] += acts.astype(np.int64) * weights[row, :columns]
            yield sums


@dataclass(frozen=True, kw_only=True)
class Post(Instruction):
    """Requantise the next ``y_count*x_count`` results and write ``channels`` int8 values of each.

    Channel c of pixel (y, x) uses record ``params + c`` (numerics.Channel) with this instruction's zero, low
    and high, and goes to ``out + y*y_step + x*x_step + c``. If ``add``, record ``params + channels`` is a
    numerics.Add and the requantised value is added to the byte at
    ``other + y*other_y_step + x*other_x_step + c`` first; that byte may be the one that is overwritten. If
    instead ``multiply``, that record is a numerics.Product, whose product with that byte takes the sum's
    place before requantisation. If ``table`` is not 0, table ``table - 1`` maps what would have been written.

    Illegal: a count of 0; channels above C; add and multiply at once; a record, byte or table outside the
    memories; a pixel count other than that of the Stream (or Streams) whose results it takes; writing a byte
    that it reads later as an operand of another pixel or channel, or that such a Stream reads after the
    pixels that the result is made of: results are written while later pixels are streamed.
    """

    OPCODE = 5
    UNIT = Unit.POST

    params: int = bits(PM_ADDRESS_BITS)
    channels: int = bits(6, default=1)
    x_count: int = bits(PIXEL_COUNT_BITS, default=1)
    y_count: int = bits(PIXEL_COUNT_BITS, default=1)
    out: int = address()
    x_step: int = address()
    y_step: int = address()
    zero: int = bits(8, "signed")
    low: int = bits(8, "signed", -128)
    high: int = bits(8, "signed", 127)
    add: int = bits(1)
    multiply: int = bits(1)
    table: int = bits(TABLE_BITS)
    other: int = address()
    other_x_step: int = address()
    other_y_step: int = address()

    def execute(self, machine: "Machine") -> None:
        fabric = machine.fabric
        machine.require(self, self.x_count > 0 and self.y_count > 0 and self.channels > 0, "writes nothing")
        machine.require(
            self, self.channels <= fabric.cols, f"{self.channels} channels from {fabric.cols} columns"
        )
        machine.require(self, not (self.add and self.multiply), "adds and multiplies at once")
        machine.require(
            self, self.table <= fabric.tables, f"takes table {self.table - 1} of {fabric.tables}"
        )
        combines = self.add | self.multiply
        machine.require(
            self,
            self.params + self.channels + combines <= len(machine.pm),
            f"records {self.params} to {self.params + self.channels + combines - 1} of {len(machine.pm)}",
        )
        count = self.x_count * self.y_count
        acc = machine.take_results(self, count)[:, : self.channels]
        records = machine.pm[self.params : self.params + self.channels + combines, :PARAMETER_BYTES]
        y, x = np.divmod(np.arange(count), self.x_count)
        channel = np.arange(self.channels)
        if combines:
            place = (self.other + y * self.other_y_step + x * self.other_x_step)[:, None] + channel
            other = machine.read_am(self, place).astype(np.int64)
        if self.multiply:
            acc = Product.unpack(records[-1].tobytes()).apply(acc, other)
        q = np.empty_like(acc)
        for c in range(self.channels):
            record = Channel.unpack(records[c].tobytes())
            if not fabric.ties_to_even:
                record = replace(record, even=0)
            q[:, c] = record.apply(
                acc[:, c], zero=self.zero, low=self.low, high=self.high, acc_width=fabric.acc_width
            )
        if self.add:
            q = Add.unpack(records[-1].tobytes()).apply(q, other)
        if self.table:
            q = machine.tables[self.table - 1].view(np.int8)[q & 255].astype(np.int64)
        place = (self.out + y * self.y_step + x * self.x_step)[:, None] + channel
        machine.scatter_am(self, place, q)


@dataclass(frozen=True, kw_only=True)
class Store(Instruction):
    """Activation memory to DRAM: ``rows`` rows of ``row_bytes`` bytes, from ``local + i*pitch`` to
    ``dram + i*dram_stride``. Only these bytes are written (byte strobes on the last beat).

    Illegal: rows or row_bytes 0; an address or stride that is no multiple of the bus width; a read outside
    the memory.
    """

    OPCODE = 6
    UNIT = Unit.STORE

    dram: int = bits(32)
    dram_stride: int = bits(24)
    rows: int = bits(PIXEL_COUNT_BITS, default=1)
    row_bytes: int = bits(ROW_BYTES_BITS)
    local: int = address()
    pitch: int = address()

    def execute(self, machine: "Machine") -> None:
        bus = machine.fabric.bus_bytes
        machine.require(self, self.rows > 0 and self.row_bytes > 0, "moves nothing")
        machine.require(
            self,
            self.dram % bus == 0 and self.dram_stride % bus == 0,
            f"DRAM addresses must be multiples of {bus}",
        )
        for row in range(self.rows):
            start = self.local + row * self.pitch
            data = machine.read_am(self, np.arange(start, start + self.row_bytes))
            machine.write_dram(self, self.dram + row * self.dram_stride, data.view(np.uint8))


INSTRUCTIONS: tuple[type[Instruction], ...] = (Load, Fill, Weights, Stream, Post, Store)
BY_OPCODE = {kind.OPCODE: kind for kind in INSTRUCTIONS}


def unit_bits(unit: Unit) -> int:
    """How many low bits of the instruction word the instructions of one unit use."""
    return max(
        kind.layout()[-1].offset + kind.layout()[-1].width for kind in INSTRUCTIONS if kind.UNIT == unit
    )
