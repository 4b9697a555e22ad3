"""Random legal programs of every instruction, with hazards, and the tokens that make them right.

The generator executes what it makes on a Machine, so it knows what is legal next. A value of a field is drawn
from its corners as often as from between them; what a field must not be is left out by construction.
"""
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from celosia.host.emit.tokens import Access, Item, Memory, with_tokens
from celosia.rtl.contract.fabric import (
    FIR_GROUPS,
    PARAMETER_BYTES,
    RING_LEAST,
    TABLE_BYTES,
    WORD_BITS,
    Fabric,
)
from celosia.rtl.contract.isa import (
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
from celosia.rtl.contract.machine import Machine
from celosia.rtl.contract.numerics import Add, Channel, Product

DATA_BYTES, CONSTANT_BYTES, PAGE = 1 << 14, 1 << 17, 4096
MOST_WORK = 60_000
"""Pixels times tiles of one Stream; rare ones may have their counter's limit."""


@dataclass(frozen=True)
class Place:
    """An instruction of a program and where it stands.

    ``group`` counts the blocks of Weights, Streams and Posts that run side by side (-1 outside of them);
    ``beside`` is set on a Post whose results do not all fit the FIFO: it has to run beside the Stream before.
    """

    item: Item
    group: int = -1
    beside: bool = False


@dataclass(frozen=True)
class RandomProgram:
    """A program without tokens, and its DRAM; instructions lie from address 0 on once it is placed."""

    fabric: Fabric
    places: tuple[Place, ...]
    dram: np.ndarray

    def placed(self, instructions: Sequence[Instruction]) -> np.ndarray:
        """A DRAM that holds the data and these instructions."""
        dram = self.dram.copy()
        code = b"".join(instruction.encode(self.fabric) for instruction in instructions)
        dram[:len(code)] = np.frombuffer(code, np.uint8)
        return dram

    def serial(self) -> list[Instruction]:
        """One after the other, so that memories can be compared behind each.

        Weights run beside the Streams that take their tiles (they change no memory), and a Post beside a
        Stream of more results than the FIFO holds.
        """
        made = [place.item.instruction for place in self.places]
        before: int | None = None
        earlier: int | None = None  # what ``before`` waits for
        entry: int | None = None  # the last instruction before this group
        for index, place in enumerate(self.places):
            first = index == 0 or self.places[index - 1].group != place.group or place.group < 0
            if first:
                entry = before
            weights = made[index].UNIT == Unit.WEIGHTS
            if weights and not first:
                continue
            behind = entry if weights else earlier if place.beside else before
            if behind is not None:
                own, other = made[index].UNIT, made[behind].UNIT
                made[index] = replace(made[index], wait=made[index].wait | 1 << other)
                if own != other:
                    made[behind] = replace(made[behind], signal=made[behind].signal | 1 << own)
            if not weights:
                before, earlier = index, before
        return made

    @property
    def beside(self) -> set[int]:
        """The Posts that run beside the Stream before."""
        return {index for index, place in enumerate(self.places) if place.beside}

    def overlapped(self, rng: np.random.Generator, extra: float = 0.1) -> list[Instruction]:
        """With the tokens of the compiler, and others where they do no harm."""
        made = with_tokens([place.item for place in self.places])
        pairs = defaultdict(list)
        given = defaultdict(list)
        for index, instruction in enumerate(made):
            own = instruction.UNIT
            for unit in Unit:
                if instruction.wait >> unit & 1 and unit != own:
                    pairs[unit, own].append((given[unit, own].pop(0), index))
                if instruction.signal >> unit & 1:
                    given[own, unit].append(index)
        for late in range(1, len(made)):
            if rng.random() > extra:
                continue
            own = made[late].UNIT
            early = int(rng.integers(max(0, late - 9), late))
            other = made[early].UNIT
            if other == own:
                made[late] = replace(made[late], wait=made[late].wait | 1 << own)
                continue
            same_group = self.places[early].group == self.places[late].group >= 0
            counter = pairs[other, own]
            # Tokens of a counter are all alike: pairs must not cross.
            if same_group or len(counter) > 40 or any(
                    (a < early) != (b < late) or a == early or b == late for a, b in counter):
                continue
            counter.append((early, late))
            made[early] = replace(made[early], signal=made[early].signal | 1 << own)
            made[late] = replace(made[late], wait=made[late].wait | 1 << other)
        return made


def beside_a_tie(noise: np.ndarray) -> Channel:
    """A record that adds next to nothing to an odd number, so that many results become even, if any may."""
    shift = (15, 22, 23, 23)[noise[1] & 3]
    rounding = [(int(number) - 128 | 1) << shift for number in noise[2:4]]
    return Channel(bias=int(noise[4]) - 128, mult=int(noise[5]) >> (noise[6] & 7), round_pos=rounding[0],
                   round_neg=rounding[1], shift=shift, even=1)


class Generator:
    """Makes one program.

    Parameters
    ----------
    fabric : Fabric
    seed : int
    count : int
        Instructions, about.
    extreme : float
        Chance that a counter which costs many cycles is drawn at its limit.
    """

    def __init__(self, fabric: Fabric, seed: int, count: int, extreme: float = 0.002):
        self.fabric, self.rng, self.extreme = fabric, np.random.default_rng(seed), extreme
        bus = fabric.bus_bytes
        self.data = 64 * (count + 64)
        self.constants = self.data + DATA_BYTES
        self.dram = self.rng.integers(0, 256, self.constants + CONSTANT_BYTES).astype(np.uint8)
        self.dram[self.rng.random(self.dram.size) < 0.05] = 128
        self.free = self.constants
        self.bus = bus
        self.machine = Machine(fabric, self.dram)
        self.places: list[Place] = []
        self.groups = 0
        self.side = (0, fabric.am_bytes)
        self.start = self.dram.copy()
        self.count = count

    # Values.

    def integer(self, low: int, high: int) -> int:
        """Low or high as often as what lies between; small values more often than large ones."""
        draw = self.rng.random()
        if draw < 0.12 or high <= low:
            return low
        if draw < 0.24:
            return high
        if draw < 0.7:
            return int(self.rng.integers(low, min(high, low + 12) + 1))
        return int(self.rng.integers(low, high + 1))

    def step(self, count: int, room: int, usual: Sequence[int]) -> int:
        """A step taken ``count - 1`` times within ``room``; any that can be encoded if it is not taken."""
        most = self.fabric.rows * (1 << WORD_BITS) - 1
        if count > 1:
            most = min(most, max(room, 0) // (count - 1))
        if self.rng.random() < 0.5:
            return min(int(self.rng.choice(usual)), most)
        return self.integer(0, most)

    def count_of(self, most: int, usual: int) -> int:
        """A number of things; the most there may be only rarely."""
        if self.rng.random() < self.extreme:
            return most
        return self.integer(1, min(most, usual))

    def anything(self, kind: type[Instruction], *names: str) -> dict[str, int]:
        """Values for fields that an instruction does not use."""
        layout = {item.name: item for item in kind.layout()}
        return {name: self.integer(0, self.fabric.rows * (1 << WORD_BITS) - 1
                                   if layout[name].kind == "address" else (1 << layout[name].width) - 1)
                for name in names}

    def apart(self, draw: Callable[[], np.ndarray]) -> np.ndarray:
        """What ``draw`` makes; what is drawn later is the same however much that took."""
        kept, self.rng = self.rng, np.random.default_rng(int(self.rng.integers(1 << 62)))
        try:
            return draw()
        finally:
            self.rng = kept

    def constant(self, data: np.ndarray) -> int | None:
        """Put bytes where no Store writes; the address, or None if there is no room left."""
        size = -(-data.size // 64) * 64
        if self.free + size > len(self.dram):
            return None
        address, self.free = self.free, self.free + size
        self.dram[address:address + data.size] = data.reshape(-1)
        self.start[address:address + data.size] = data.reshape(-1)
        return address

    # The program.

    def add(self, instruction: Instruction, *accesses: Access, group: int = -1, beside: bool = False) -> None:
        instruction = replace(instruction, layer=self.integer(0, 1023))
        self.machine.step(instruction)
        self.places.append(Place(Item(instruction, accesses), group, beside))

    def program(self) -> RandomProgram:
        fabric = self.fabric
        self.load_words(Space.PM, whole=True)
        self.load_words(Space.WM, whole=True)
        if fabric.tables:
            self.load_words(Space.TABLE, whole=True)
        self.load_activations(whole=True)
        steps: list[tuple[float, Callable[[], None]]] = [
            (2, self.load_activations), (2, self.fill), (2, self.store), (5, self.compute),
            (1, lambda: self.load_words(Space.PM)), (1, lambda: self.load_words(Space.WM))]
        if fabric.tables:
            steps.append((0.7, lambda: self.load_words(Space.TABLE)))
        weight = np.array([share for share, _ in steps])
        while len(self.places) < self.count:
            steps[self.rng.choice(len(steps), p=weight / weight.sum())][1]()
        self.machine.finish()
        return RandomProgram(fabric, tuple(self.places), self.start)

    # LOAD and STORE.

    def rows_in(self, size: int) -> tuple[int, int, int]:
        """Rows, bytes of a row and pitch that fill ``size`` bytes at most."""
        most = self.integer(1, size) if self.rng.random() < 0.3 else self.integer(1, min(size, 40))
        rows = self.count_of((1 << 14) - 1, 6)
        if rows > 6:
            most = 1
        return rows, most, self.step(rows, size - most, [0, most, self.fabric.rows])

    def stride(self, rows: int, row_bytes: int, limit: int) -> int:
        """A DRAM stride, within ``limit`` bytes."""
        bus = self.bus
        if rows == 1:
            return self.integer(0, (1 << 24) // bus - 1) * bus
        return min(self.integer(0, 9), max(limit - row_bytes, 0) // (rows - 1) // bus) * bus

    def dram_place(self, extent: int) -> int:
        """An address of so many bytes in the part that Loads and Stores share, often at a page's edge."""
        pages = [place for page in range(-(-self.data // PAGE), (self.data + DATA_BYTES - extent) // PAGE)
                 for place in (page * PAGE, page * PAGE - self.bus) if place >= self.data]
        if pages and self.rng.random() < 0.2:
            return int(self.rng.choice(pages))
        return self.data + self.integer(0, (DATA_BYTES - extent) // self.bus) * self.bus

    def load_activations(self, whole: bool = False) -> None:
        fabric = self.fabric
        size = fabric.am_bytes
        rows, row_bytes, pitch = self.rows_in(size)
        if whole:
            rows, row_bytes = 1, min(size, (1 << 20) - 1)
        if row_bytes > DATA_BYTES // 2:
            dram, stride = self.constants, 0
            if row_bytes > CONSTANT_BYTES or rows > 1:
                rows, row_bytes = 1, min(row_bytes, CONSTANT_BYTES)
            pitch = self.step(1, 0, [0])
        else:
            stride = self.stride(rows, row_bytes, DATA_BYTES)
            dram = self.dram_place((rows - 1) * stride + row_bytes)
        span = (rows - 1) * pitch + row_bytes
        local = self.integer(0, size - span)
        self.add(Load(space=Space.AM, dram=dram, dram_stride=stride, rows=rows, row_bytes=row_bytes,
                      local=local, pitch=pitch, offset=self.integer(-128, 127),
                      **self.anything(Load, "word")),
                 Access(Memory.DRAM, dram, dram + (rows - 1) * stride + row_bytes, False),
                 Access(Memory.AM, local, local + span, True))

    def load_words(self, space: Space, whole: bool = False) -> None:
        """Weights, parameters or tables: from prepared data, or whatever lies in the DRAM."""
        fabric = self.fabric
        stride, depth, memory = {
            Space.WM: (fabric.wm_word_stride, fabric.wm_words, Memory.WM),
            Space.PM: (fabric.pm_word_stride, fabric.pm_words, Memory.PM),
            Space.TABLE: (TABLE_BYTES, fabric.tables, Memory.TABLE)}[space]
        most = min(depth, ((1 << 20) - 1) // stride)
        words = most if whole else self.integer(1, min(most, 24))
        dram = None
        if space == Space.PM and words * stride <= 4096 and self.rng.random() < 0.7:
            dram = self.constant(self.apart(lambda: self.records(words)))
        if dram is None and words * stride <= DATA_BYTES:
            dram = self.dram_place(words * stride)
        if dram is None:
            words = min(words, CONSTANT_BYTES // stride)
            dram = self.constants
        word = self.integer(0, depth - words)
        self.words(space, memory, dram, word, words, stride)

    def words(self, space: Space, memory: Memory, dram: int, word: int, words: int, stride: int,
              offset: int | None = None) -> None:
        unused = self.anything(Load, "local", "pitch")
        self.add(Load(space=space, dram=dram, row_bytes=words * stride, word=word,
                      dram_stride=self.stride(1, 0, 0),
                      offset=self.integer(-128, 127) if offset is None else offset, **unused),
                 Access(Memory.DRAM, dram, dram + words * stride, False),
                 Access(memory, word, word + words, True))

    def records(self, count: int) -> np.ndarray:
        """Parameters of all sorts: ones that make use of all int8 values, corners, and noise."""
        found = self.rng.integers(0, 256, (count, self.fabric.pm_word_stride)).astype(np.uint8)
        for record in found:
            kind = self.rng.random()
            if kind < 0.4:
                # A scale of 2**7 to 2**-9: sums of some tiles make all int8 values.
                shift = self.integer(0, 31)
                mult = 1 << min(shift + int(self.rng.integers(6, 23)), 30)
                most = (1 << shift) - 1
                rounding = [self.integer(-most, most) for _ in range(2)]
                made = Channel(bias=self.integer(-3000, 3000), mult=mult, round_pos=rounding[0],
                               round_neg=rounding[1], shift=shift, even=self.integer(0, 1))
                made = (beside_a_tie(record) if made.even and record[0] & 1 else made).pack()
            elif kind < 0.55:
                # Scales of 2**-1 to 2**-7, or nearly: many products are ties, to be rounded to even.
                shift = int(self.rng.choice([7, 15, 23, 31], p=[0.4, 0.3, 0.2, 0.1]))
                mult = 1 << min(shift + int(self.rng.integers(8, 15)), 30)
                mult += int(self.rng.choice([0, 0, -1, 1]))
                half = 1 << shift - 1
                made = Channel(bias=self.integer(-3000, 3000), mult=mult, round_pos=half, round_neg=half,
                               shift=shift, even=1)
                made = (beside_a_tie(record) if record[0] & 1 else made).pack()
            elif kind < 0.7:
                bias, mult, up, down = self.rng.choice([-2**31, -1, 0, 1, 2**31 - 1], 4).tolist()
                made = Channel(bias=bias, mult=max(0, mult), round_pos=up, round_neg=down,
                               shift=self.integer(0, 31)).pack()
            elif kind < 0.8:
                shift = self.integer(0, 63)
                scales = np.clip(self.rng.normal(size=2) * 2.0**min(shift, 25), -2**26, 2**26 - 1)
                largest = 2**47 - 1 if shift > 40 else 9999
                made = Add(mult_q=int(scales[0]), mult_other=int(scales[1]), shift=shift,
                           constant=self.integer(-largest - 1, largest), low=self.integer(-128, 127),
                           high=self.integer(-128, 127)).pack()
            elif kind < 0.9:
                made = Product(offset_q=self.integer(-256, 255), offset_other=self.integer(-256, 255)).pack()
            else:
                continue
            record[:PARAMETER_BYTES] = np.frombuffer(made, np.uint8)
        return found

    def fill(self) -> None:
        size = self.fabric.am_bytes
        rows, row_bytes, pitch = self.rows_in(size)
        span = (rows - 1) * pitch + row_bytes
        local = self.integer(0, size - span)
        value = self.integer(-128, 127)
        self.add(Fill(value=value, rows=rows, row_bytes=row_bytes, local=local, pitch=pitch),
                 Access(Memory.AM, local, local + span, True))

    def store(self) -> None:
        size = min(self.fabric.am_bytes, DATA_BYTES // 2)
        rows, row_bytes, pitch = self.rows_in(size)
        stride = self.stride(rows, row_bytes, DATA_BYTES)
        extent, span = (rows - 1) * stride + row_bytes, (rows - 1) * pitch + row_bytes
        dram, local = self.dram_place(extent), self.integer(0, self.fabric.am_bytes - span)
        self.add(Store(dram=dram, dram_stride=stride, rows=rows, row_bytes=row_bytes, local=local,
                       pitch=pitch),
                 Access(Memory.AM, local, local + span, False),
                 Access(Memory.DRAM, dram, dram + extent, True))

    # WEIGHTS, STREAM and POST.

    def compute(self) -> None:
        """Some Weights, the Streams that take their tiles, and the Posts that take their results."""
        fabric, rows = self.fabric, self.fabric.rows
        most = fabric.wm_words // rows
        # The Streams read on one side of the memory, so that there is room for the Posts to write: what a
        # Post writes may overtake the reads of the Streams whose results it takes.
        spare = max(fabric.am_bytes // 4, min(fabric.cols, fabric.am_bytes // 2))
        self.side = (0, fabric.am_bytes - spare) if self.rng.random() < 0.5 else (spare, fabric.am_bytes)
        size = self.side[1] - self.side[0]
        # No more Weights than can wait in the queue before the Streams that take their tiles (Sequencer).
        several = int(self.rng.integers(1, fabric.queue_depth + 1))
        total = most if self.rng.random() < 0.03 else self.integer(1, min(most, 6))
        walks = [self.walk(tiles) for tiles in self.parts(min(total, 60), several)]
        offsets = np.array([tile for walk in walks for tile in walk.walk(rows)])
        shares = self.parts(len(offsets), int(self.rng.integers(1, 4)))
        firs = [self.fir_shape() if self.rng.random() < 0.4 else None for _ in shares]

        # Rows whose weights must be zero: they would read outside the memory, or the kernel has no tap there.
        limit = size if self.rng.random() < 0.5 else self.integer(1, size)
        zero = offsets >= limit
        at = 0
        for share, fir in zip(shares, firs, strict=True):
            if fir is not None:
                taken = slice(at, at + share)
                zero[taken] = offsets[taken, :min(rows, fabric.cols)].max(axis=1, keepdims=True) >= limit
                zero[taken, fir["taps"] * fir["groups"]:] = True
            at += share
        base = self.integer(0, fabric.wm_words - zero.size)
        held = self.machine.wm[base:base + zero.size]
        if self.rng.random() < 0.4 or held[zero.reshape(-1)].any():
            if not self.prepare(base, zero.reshape(-1)):
                return
        group, self.groups = self.groups, self.groups + 1
        for walk in walks:
            walk = replace(walk, base=base)
            base += walk.tiles * rows
            self.add(walk, Access(Memory.WM, walk.base, base, False), group=group)
        waiting: list[tuple[Stream, list[Access]]] = []
        for share, fir in zip(shares, firs, strict=True):
            stream, reads = self.stream(share, fir)
            if waiting and stream.pixels + sum(before.pixels for before, _ in waiting) > fabric.fifo_depth:
                self.post(waiting, group)
                waiting = []
            self.add(stream, *reads, group=group)
            if stream.emit:
                waiting.append((stream, reads))
                if self.rng.random() < 0.6 or stream.pixels > fabric.fifo_depth:
                    self.post(waiting, group)
                    waiting = []
        if waiting:
            self.post(waiting, group)

    def parts(self, total: int, count: int) -> list[int]:
        """``total`` things in at most ``count`` parts."""
        cuts = sorted({0, total, *(int(cut) for cut in self.rng.integers(0, total + 1, count - 1))})
        return [int(part) for part in np.diff(cuts)]

    def walk(self, tiles: int) -> Weights:
        rows = self.fabric.rows
        ragged = int(self.rng.integers(2))
        runs = [(1 << 16) - 1, self.integer(1, (1 << 16) - 1), self.integer(1, 3 * rows), rows]
        run = int(self.rng.choice(runs, p=[0.1, 0.2, 0.4, 0.3]))
        runs_x = self.integer(1, 255)
        unit = 1 if ragged else rows
        most = rows * (1 << WORD_BITS) // unit - 1
        jumps = [int(self.rng.choice([0, 1, 2, self.integer(0, most)], p=[0.35, 0.3, 0.25, 0.1])) * unit
                 for _ in range(2)]
        start = self.integer(0, self.fabric.am_bytes - 1 if self.rng.random() < 0.3 else rows)
        return Weights(tiles=tiles, run=run, runs_x=runs_x, jump_x=jumps[0], jump_y=jumps[1], ragged=ragged,
                       start=start, start_run=self.integer(0, run - 1), start_x=self.integer(0, runs_x - 1))

    def prepare(self, base: int, zero: np.ndarray) -> bool:
        """Load weights that are zero where they have to be; False if the DRAM has no room for them."""
        fabric = self.fabric
        offset = self.integer(-128, 127) if fabric.weight_bits > 8 else 0
        words = self.rng.integers(0, 256, (len(zero), fabric.wm_word_stride)).astype(np.uint8)
        words[self.rng.random(len(zero)) < 0.1] = offset % 256
        words[zero] = offset % 256
        dram = self.constant(words)
        if dram is not None:
            self.words(Space.WM, Memory.WM, dram, base, len(zero), fabric.wm_word_stride, offset)
        return dram is not None

    def fir_shape(self) -> dict[str, int]:
        fabric = self.fabric
        groups = self.integer(1, min(FIR_GROUPS, fabric.rows)) if fabric.line_depth else 1
        taps = self.integer(1, fabric.rows // groups)
        if groups > 1:
            line = taps + self.integer(RING_LEAST, fabric.line_depth)
        else:
            line = self.integer(1, (1 << 14) - 1) if self.rng.random() < 0.3 else self.integer(1, 14)
        return {"fir": 1, "taps": taps, "groups": groups, "line": line,
                "stride_x": self.integer(1, 15) if self.rng.random() < 0.3 else self.integer(1, 3),
                "stride_y": self.integer(1, 15) if self.rng.random() < 0.3 else self.integer(1, 2)}

    def stream(self, tiles: int, fir: dict[str, int] | None) -> tuple[Stream, list[Access]]:
        """A Stream for the next ``tiles`` tiles of the machine, and what it reads."""
        fabric = self.fabric
        taken = list(self.machine.tiles)[:tiles]
        columns = min(fabric.rows, fabric.cols)
        used = [row_offsets[:columns] if fir else row_offsets[weights.any(axis=1)]
                for weights, row_offsets in taken if weights.any()]
        used = [part for part in used if part.size]
        reach = max((int(part.max()) for part in used), default=0)
        least = min((int(part.min()) for part in used), default=0)
        room = self.side[1] - 1 - reach
        kept = self.machine.kept
        clear = int(not kept or self.rng.random() < 0.3)
        emit = int(self.rng.random() < 0.65)
        fixed = {"tiles": tiles, "clear": clear, "emit": emit, "maximum": int(self.rng.random() < 0.3)}
        low = self.side[0]
        base = self.integer(low, room) if self.rng.random() < 0.5 else self.integer(low, min(room, low + 20))
        room -= base
        if fir:
            most = min(fabric.acc_depth if not (emit and clear and tiles == 1) else fabric.fifo_depth,
                       fabric.fifo_depth if emit else fabric.acc_depth, kept if not clear else 1 << 20)
            line, longest = fir["line"], MOST_WORK // tiles
            wide = min((line - 1) // fir["stride_x"] + 1, (1 << 14) - 1, most)
            x = self.integer(1, wide)
            y = self.integer(1, max(1, min(most // x, longest // (line * fir["stride_y"]))))
            if self.rng.random() < 0.1 and most <= wide:
                x, y = most, 1
            # The last pixel that a sum needs.
            last = (((y - 1) * fir["stride_y"] + fir["groups"] - 1) * line + (x - 1) * fir["stride_x"]
                    + fir["taps"] - 1)
            lines = last // line
            x_step = self.step(min(line, last + 1), room, [1, 2, fabric.rows])
            y_step = self.step(lines + 1, room - (min(line, last + 1) - 1) * x_step, [line * x_step, 0])
            made = Stream(base=base, x_count=x, y_count=y, x_step=x_step, y_step=y_step, outputs=x * y, **fir,
                          **fixed, **self.anything(Stream, "u_step", "v_step"))
            top = base + lines * y_step + (min(line, last + 1) - 1) * x_step
        else:
            u, v = self.count_of(255, 3), self.count_of(255, 3)
            long = tiles == 1 and self.rng.random() < 5 * self.extreme
            if long:  # as many pixels as the counters hold, in one pass
                u = v = fixed["clear"] = fixed["emit"] = clear = emit = 1
            single = tiles * u * v == clear == emit == 1
            most = min(1 << 20 if single else fabric.acc_depth, 1 << 20 if clear else kept)
            x = self.count_of(min(most, (1 << 14) - 1), 12)
            y = self.count_of(min(most // x, (1 << 14) - 1), 6)
            if long:
                x, y = ((1 << 14) - 1, 1) if self.rng.random() < 0.5 else (1, (1 << 14) - 1)
            while tiles * u * v * x * y > MOST_WORK:
                u, v, x, y = (-(-n // 2) for n in (u, v, x, y))
                if not (tiles * u * v == clear == emit == 1):
                    x, y = min(x, fabric.acc_depth), min(y, max(1, fabric.acc_depth // x))
            steps = {}
            top = base
            for name, count in (("x", x), ("y", y), ("u", u), ("v", v)):
                step = self.step(count, room, [1, fabric.rows, 2 * fabric.rows, 3])
                steps[f"{name}_step"] = step
                room -= (count - 1) * step
                top += (count - 1) * step
            unused = self.anything(Stream, "line", "taps", "groups", "stride_x", "stride_y", "outputs")
            made = Stream(base=base, x_count=x, y_count=y, u_count=u, v_count=v, **steps, **fixed, **unused)
        return made, [Access(Memory.AM, base + least, top + reach + 1, False)] if used else []

    def post(self, streams: Sequence[tuple[Stream, list[Access]]], group: int) -> None:
        """A Post for the results of these Streams, or one for each."""
        if len(streams) > 1 and self.rng.random() < 0.5:
            for stream in streams:
                self.post([stream], group)
            return
        fabric, rng = self.fabric, self.rng
        pixels = sum(stream.pixels for stream, _ in streams)
        read_by_array = np.zeros(fabric.am_bytes, np.bool_)
        for access in (access for _, reads in streams for access in reads):
            read_by_array[access.low:access.high] = True
        beside = pixels > fabric.fifo_depth
        splits = [x for x in range(1, min(pixels, (1 << 14) - 1) + 1) if pixels % x == 0
                  and pixels // x < 1 << 14]
        x = splits[self.integer(0, len(splits) - 1)]
        y = pixels // x
        combine = rng.choice(["", "add", "multiply"], p=[0.4, 0.35, 0.25])
        for attempt in range(20):
            channels = self.integer(1, min(fabric.cols, fabric.am_bytes // 2))
            params = self.integer(0, fabric.pm_words - channels - bool(combine))
            out, steps, places = self.visits(x, y, channels)
            if attempt == 19:
                out, steps = (self.side[1] if self.side[0] == 0 else 0), (0, 0)
                places = np.tile(out + np.arange(channels), (pixels, 1))
                combine = ""
            if read_by_array[places].any():
                continue
            made = Post(params=params, channels=channels, x_count=x, y_count=y, out=out, x_step=steps[0],
                        y_step=steps[1], zero=self.integer(-128, 127) if rng.random() < 0.4 else 0,
                        low=self.integer(-128, 127) if rng.random() < 0.3 else -128,
                        high=self.integer(-128, 127) if rng.random() < 0.3 else 127,
                        table=self.integer(0, fabric.tables),
                        **self.anything(Post, "other", "other_x_step", "other_y_step"))
            accesses = [Access(Memory.PM, params, params + channels + bool(combine), False),
                        Access(Memory.AM, int(places.min()), int(places.max()) + 1, True)]
            if made.table:
                accesses.append(Access(Memory.TABLE, made.table - 1, made.table, False))
            if combine:
                other, other_steps, reads = ((out, steps, places) if rng.random() < 0.4
                                             else self.visits(x, y, channels))
                if not operands_last(reads, places, fabric.am_bytes):
                    continue
                made = replace(made, other=other, other_x_step=other_steps[0], other_y_step=other_steps[1],
                               **{combine: 1})
                accesses.append(Access(Memory.AM, int(reads.min()), int(reads.max()) + 1, False))
            self.add(made, *accesses, group=group, beside=beside)
            return
        raise AssertionError("the last attempt writes where no Stream reads")

    def visits(self, x: int, y: int, channels: int) -> tuple[int, tuple[int, int], np.ndarray]:
        """Base, steps and places of the values of x times y pixels, inside the activation memory."""
        room = self.fabric.am_bytes - channels
        out = self.integer(0, room) if self.rng.random() < 0.5 else self.integer(0, min(room, 30))
        room -= out
        x_step = self.step(x, room, [channels, self.fabric.rows, 1])
        y_step = self.step(y, room - (x - 1) * x_step, [x * x_step, channels, 0])
        grid = (out + np.arange(y)[:, None] * y_step + np.arange(x) * x_step).reshape(-1, 1)
        return out, (x_step, y_step), grid + np.arange(channels)


def operands_last(reads: np.ndarray, writes: np.ndarray, size: int) -> bool:
    """Whether no byte is written before another pixel or channel reads it."""
    order = np.arange(reads.size)
    written, read = np.full(size, reads.size), np.full(size, -1)
    np.minimum.at(written, writes.reshape(-1), order)
    np.maximum.at(read, reads.reshape(-1), order)
    return bool((written >= read).all())
