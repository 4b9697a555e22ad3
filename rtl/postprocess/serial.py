"""The POST unit of a small fabric: one value after the other, every two cycles, through one multiplier."""
from amaranth import Cat, Const, EnableInserter, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..contract.fabric import PARAMETER_BYTES, TABLE_BYTES, Fabric
from ..contract.isa import Post, Unit
from ..contract.numerics import PRODUCT_DROP
from ..memory.shared import WordPort, place_bits, place_of
from ..primitives.cells import PORTABLE, Cells
from ..primitives.digits import DigitRow
from ..signatures import State, UnitPort, WideWritePort, instruction_layout, result_stream

ROWS_A_CYCLE = 6
"""Digits that one half of the multiplier takes in a cycle."""
SERIAL_MULT_BITS = 4 * ROWS_A_CYCLE
"""Digits of a product: two halves of the multiplier have it for two cycles each."""
KEPT_BITS = 9
"""Bits of a shifted value that tell all that a clamp to int8 wants, whatever zero is added."""
RECORD_WORDS = PARAMETER_BYTES // 4
WORD_MULT_Q, WORD_MULT_OTHER, WORD_CONSTANT, WORD_SHIFT = 0, 1, 2, 4
WORD_BIAS, WORD_MULT, WORD_ROUND = 0, 1, 2
"""Where the fields of numerics.Channel and numerics.Add lie in a record, in words of 32 bits."""


class SerialMultiplier(wiring.Component):
    """Signed product of a value and an odd number, every two cycles; the lowest bits are dropped.

    The multiplier's bits are digits: bit i is +1 or -1 (DigitRow), so that b bits and a sign stand for any
    odd number of that many bits, and no row needs more than an adder. ``i_phase`` is low in the first and
    high in the second cycle of every value::

        cycle     0 (phase 0)   1 (phase 1)   2, 3             4, 5              6
        i_value                 v
        i_mult                  m             digits 1 to 12   digits 13 to 24   o_product   (LATENCY = 5)

    Parameters
    ----------
    width : int
        Bits of the value.
    cells : Cells

    Members
    -------
    i_phase : ``In(1)``
    i_value : ``In(signed(width))``
    i_mult : ``In(SERIAL_MULT_BITS + 1)``
        Two's complement; bit 0 is taken for 1.
    o_product : ``Out(signed(width + SERIAL_MULT_BITS + 1 - PRODUCT_DROP))``
        The product shifted right by PRODUCT_DROP; in both cycles of a phase pair.
    o_negative : ``Out(1)``
        The value was negative; in the cycle before o_product and in the one before that.
    """

    LATENCY = 5

    def __init__(self, *, width: int, cells: Cells = PORTABLE):
        self.width, self.cells = width, cells
        super().__init__({
            "i_phase": In(1), "i_value": In(signed(width)), "i_mult": In(SERIAL_MULT_BITS + 1),
            "o_product": Out(signed(width + SERIAL_MULT_BITS + 1 - PRODUCT_DROP)), "o_negative": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        width, rows = self.width, ROWS_A_CYCLE

        def half(name, value, digits, start, carry):
            """Rows under each other: what they make of ``start``, and the low bits they part with."""
            partial, low = start, []
            for n in range(rows):
                row = DigitRow(width=width, cells=self.cells)
                m.submodules[f"{name}_{n}"] = row
                m.d.comb += [
                    row.i_sum.eq(partial), row.i_value.eq(value), row.i_carry.eq(carry if n == 0 else 0),
                    row.i_flip.eq(digits[n] ^ digits[n + 1]), row.i_flip_low.eq(~digits[n]),
                ]
                partial = row.o_sum
                low.append(row.o_low)
            return partial, low

        ends = self.i_phase  # of a slot
        # Upper half, digits 1 to 12. A sum of all ones is ~0 where the first digit is -1, and with a carry of
        # 1 it is 0 where that is +1.
        value_1 = Signal(signed(width), reset_less=True)
        digits_1 = Signal(SERIAL_MULT_BITS, reset_less=True)
        partial_1 = Signal(signed(width), reset_less=True)
        made_1, _ = half("upper", value_1, digits_1, partial_1, digits_1[0] & ~ends)
        # Lower half, digits 13 to 24; behind the last the sum is to be as it is, as before a digit of +1.
        value_2 = Signal(signed(width), reset_less=True)
        digits_2 = Signal(2 * rows, reset_less=True)
        partial_2 = Signal(signed(width), reset_less=True)
        following = Cat(digits_2, 1)
        made_2, low_2 = half("lower", value_2, following, partial_2, Const(0, 1))
        # Rows from PRODUCT_DROP on leave bits of the product.
        first = PRODUCT_DROP - 2 * rows
        early = Signal(rows - first, reset_less=True)
        product = Signal.like(self.o_product, reset_less=True)

        m.d.sync += [
            partial_1.eq(made_1), digits_1.eq(digits_1[rows:]),
            partial_2.eq(Mux(ends, made_1, made_2)), digits_2.eq(Cat(digits_2[rows:], Const(-1, rows))),
        ]
        with m.If(ends):
            m.d.sync += [
                value_1.eq(self.i_value), partial_1.eq(-1),
                digits_1.eq(Cat(self.i_mult[1:-1], ~self.i_mult[-1])),  # the highest bit is a sign
                value_2.eq(value_1), digits_2.eq(digits_1[rows:3 * rows]),
                product.eq(Cat(early, low_2, made_2).as_signed()),
            ]
        with m.Else():
            m.d.sync += early.eq(Cat(low_2[first:]))
        m.d.comb += [self.o_product.eq(product), self.o_negative.eq(value_2[-1])]
        return m


class Descent(wiring.Component):
    """Arithmetic shift to the right whose result is held within KEPT_BITS; combinational.

    Each layer of the shift keeps as many bits as the layers behind it can bring down, and notes whether those
    above them were more than a sign.

    Members
    -------
    i_value : ``In(signed(width))``
    i_shift : ``In(5)``
    o_value : ``Out(signed(KEPT_BITS))``
    """

    def __init__(self, *, width: int):
        super().__init__({"i_value": In(signed(width)), "i_shift": In(5), "o_value": Out(signed(KEPT_BITS))})

    def elaborate(self, platform):
        m = Module()
        value, sign = self.i_value, self.i_value[-1]
        beyond = Signal(5)
        for layer in reversed(range(5)):
            keep = KEPT_BITS + (1 << layer) - 1
            whole = Signal(signed(len(value)), name=f"whole_{layer}")
            above = whole[keep - 1:]
            m.d.comb += [
                whole.eq(Mux(self.i_shift[layer], value >> (1 << layer), value)),
                beyond[layer].eq((above ^ sign.replicate(len(above))).any()),
            ]
            value = whole[:keep].as_signed()
        most = Cat((~sign).replicate(KEPT_BITS - 1), sign)
        m.d.comb += self.o_value.eq(Mux(beyond.any(), most, value).as_signed())
        return m


class Walker:
    """Where a value lies: x_step on from pixel to pixel, y_step on from row to row. Adds statements to m.

    Parameters
    ----------
    m : Module
    name : str
    bits : int
        Of a byte address.
    base, x_step, y_step : Value

    Attributes
    ----------
    place : Signal
        Address of the value that is next.
    """

    def __init__(self, m: Module, name: str, bits: int, *, base, x_step, y_step):
        self._m, self._base = m, base
        self._pixel, self._row = [
            Signal(bits, name=f"{name}_{what}", reset_less=True) for what in ("pixel", "row")]
        self._channel = Signal(2, name=f"{name}_channel")
        self._origin, self._step, self._onward = [
            Signal(bits, name=f"{name}_{what}") for what in ("origin", "step", "onward")]
        self.place = Signal(bits, name=f"{name}_place")
        self._x_step, self._y_step = x_step, y_step
        m.d.comb += [
            self.place.eq(self._pixel + self._channel), self._onward.eq(self._origin + self._step),
            self._origin.eq(self._pixel), self._step.eq(x_step),
        ]

    def start(self) -> None:
        self._m.d.sync += [self._pixel.eq(self._base), self._row.eq(self._base), self._channel.eq(0)]

    def step(self, ends_pixel, ends_row) -> None:
        """On to the next value; the one under way ends a pixel, and a row of them."""
        m = self._m
        with m.If(ends_row):
            m.d.comb += [self._origin.eq(self._row), self._step.eq(self._y_step)]
            m.d.sync += self._row.eq(self._onward)
        with m.If(ends_pixel):
            m.d.sync += [self._pixel.eq(self._onward), self._channel.eq(0)]
        with m.Else():
            m.d.sync += self._channel.eq(self._channel + 1)


class SerialLane(wiring.Component):
    """The arithmetic of SerialPost: sums in, bytes out, five slots later.

    Members
    -------
    i_run : ``In(1)``
        Low: empty, and in the first cycle of a slot.
    i_record_write, i_record_place, i_record : ``In``
        A word of a record; the place is 8 * the record's number + the word's.
    i_can_enter : ``In(1)``
        There is a value; once high in the first cycle of a slot it stays until ``o_enters``, a cycle later,
        says that it was taken.
    i_channel, i_sum, i_other, i_ends : ``In``
        The value's channel, its sum, the operand, and whether it ends a pixel, a row, the instruction.
    i_add, i_extra, i_zero, i_low, i_high : ``In``
        Of the instruction; ``i_extra`` is the number of the add's record.
    o_valid, o_q, o_ends : ``Out``
        A byte leaves, with its ends. ``o_q`` is there from the cycle before.
    """

    def __init__(self, *, fabric: Fabric, cells: Cells = PORTABLE):
        self.fabric, self.cells = fabric, cells
        super().__init__({
            "i_run": In(1),
            "i_record_write": In(1), "i_record_place": In(7), "i_record": In(32),
            "i_can_enter": In(1), "o_enters": Out(1),
            "i_channel": In(2), "i_sum": In(signed(fabric.acc_width)), "i_other": In(8), "i_ends": In(3),
            "i_add": In(1), "i_extra": In(4), "i_zero": In(signed(8)), "i_low": In(signed(8)),
            "i_high": In(signed(8)),
            "o_valid": Out(1), "o_q": Out(signed(8)), "o_ends": Out(3),
        })

    def elaborate(self, platform):
        m = Module()
        width = self.fabric.acc_width
        phase, third = Signal(), Signal(range(3))
        with m.If(self.i_run):
            m.d.sync += phase.eq(~phase)
            with m.If(phase & self.i_add):
                m.d.sync += third.eq(Mux(third == 2, 0, third + 1))
        with m.Else():
            m.d.sync += [phase.eq(0), third.eq(0)]

        # ---- What is in each slot.
        going = Signal()
        m.d.sync += going.eq(self.i_can_enter & ~phase & (third == 0) & self.i_run)
        m.d.comb += self.o_enters.eq(going)
        kinds = [[Signal(name=f"{kind}_{n}") for n in range(6)] for kind in ("main", "add_q", "add_other")]
        main, add_q, add_other = kinds
        channel = [Signal(2, name=f"channel_{n}", reset_less=True) for n in range(3)]
        ends = [Signal(3, name=f"ends_{n}", reset_less=True) for n in range(6)]
        m.d.comb += [
            main[0].eq(going), channel[0].eq(self.i_channel), ends[0].eq(self.i_ends),
            add_q[0].eq(main[4] & self.i_add), add_other[0].eq(add_q[1]),
        ]
        # The ends of an add's value wait for its last step: it comes five slots behind the first.
        ends_late = Signal(3, reset_less=True)
        with m.If(phase):
            for kind in kinds:
                m.d.sync += [later.eq(sooner) for sooner, later in zip(kind, kind[1:], strict=False)]
            m.d.sync += [later.eq(sooner) for sooner, later in zip(channel, channel[1:], strict=False)]
            m.d.sync += [later.eq(sooner) for sooner, later in zip(ends, ends[1:], strict=False)]
            with m.If(add_q[0]):
                m.d.sync += ends_late.eq(ends[4])
            with m.If(add_other[0]):
                m.d.sync += ends[1].eq(ends_late)

        # ---- Records, in two RAMs with the same contents: each gives a word a cycle.
        first, second = (Memory(shape=32, depth=64, init=[]) for _ in range(2))
        m.submodules.records_first, m.submodules.records_second = first, second
        for memory in (first, second):
            write = memory.write_port()
            m.d.comb += [write.en.eq(self.i_record_write), write.addr.eq(self.i_record_place),
                         write.data.eq(self.i_record)]
        first_read, second_read = first.read_port(), second.read_port()
        extra = self.i_extra[:3]
        m.submodules.multiplier = multiplier = SerialMultiplier(width=width, cells=self.cells)
        with m.If(~phase):
            m.d.comb += [
                first_read.addr.eq(Cat(Const(WORD_BIAS, 3), self.i_channel)),
                second_read.addr.eq(Cat(Const(WORD_MULT, 3), self.i_channel)),
            ]
            with m.If(add_other[0] | (main[4] & self.i_add)):
                m.d.comb += second_read.addr.eq(
                    Cat(Mux(add_other[0], Const(WORD_MULT_OTHER, 3), Const(WORD_MULT_Q, 3)), extra))
        with m.Else():
            number = Mux(main[2], channel[2], extra)
            m.d.comb += [
                first_read.addr.eq(Cat(WORD_ROUND + (main[2] & multiplier.o_negative), number)),
                second_read.addr.eq(Cat(Const(WORD_SHIFT, 3), number)),
            ]

        # ---- Slot 0, second cycle: the value and its multiplier. Slots 1 and 2 multiply.
        others = [Signal(8, name=f"other_{n}", reset_less=True) for n in range(2)]
        with m.If(phase & (third == 0)):
            m.d.sync += [others[0].eq(self.i_other), others[1].eq(others[0])]
        q = Signal(signed(8), reset_less=True)
        value = Signal(signed(width))
        operand = Mux(add_other[0], others[1].as_signed(), q)
        with m.If(add_q[0] | add_other[0]):
            m.d.comb += value.eq(operand << PRODUCT_DROP)
        with m.Else():
            m.d.comb += value.eq(self.i_sum + first_read.data.as_signed())
        m.d.comb += [
            multiplier.i_phase.eq(phase), multiplier.i_value.eq(value),
            multiplier.i_mult.eq(second_read.data),
        ]

        # ---- Slot 3: the rounding constant; or for an add its constant, and what the first step left.
        total = Signal(signed(width + SERIAL_MULT_BITS + 2 - PRODUCT_DROP), reset_less=True)
        shift = Signal(5, reset_less=True)
        zero, low, high = (
            Signal(signed(8), name=name, reset_less=True) for name in ("zero", "low", "high"))
        with m.If(~phase):
            m.d.sync += [
                total.eq(multiplier.o_product + Mux(add_other[3], total, first_read.data.as_signed())),
                shift.eq(second_read.data),
                zero.eq(Mux(add_other[3], 0, self.i_zero)),
                low.eq(Mux(add_other[3], second_read.data[8:16].as_signed(), self.i_low)),
                high.eq(Mux(add_other[3], second_read.data[16:24].as_signed(), self.i_high)),
            ]
        m.submodules.descent = descent = Descent(width=len(total))
        kept = Signal(signed(KEPT_BITS), reset_less=True)
        m.d.comb += [descent.i_value.eq(total), descent.i_shift.eq(shift)]
        with m.If(phase):
            m.d.sync += kept.eq(descent.o_value)

        # ---- Slot 4: zero point and limits; limits the wrong way round give high, as they do in numerics.
        moved, floored = Signal(signed(KEPT_BITS + 1)), Signal(signed(KEPT_BITS + 1))
        m.d.comb += [moved.eq(kept + zero), floored.eq(Mux(moved < low, low, moved))]
        with m.If(~phase):
            m.d.sync += q.eq(Mux(floored > high, high, floored))
        # ---- Slot 5.
        m.d.comb += [
            self.o_q.eq(q), self.o_ends.eq(ends[5]),
            self.o_valid.eq(~phase & (Mux(self.i_add, add_other[5], main[5]))),
        ]
        return m


class SerialPost(wiring.Component):
    """Carries out Post, one value every two cycles, or every six where it adds (isa.Post.execute).

    A *slot* is two cycles. A value takes a slot in each of these steps, an add two more, for ``q * mult_q``
    and ``other * mult_other``, which begin four slots behind its own::

        slot     0              1, 2        3               4             5
        value    sum + bias     * mult      + round, shift  clamp, table  written
        add 1                                               q             * mult_q ...
        add 2                                                             other  * mult_other ...

    The instruction is not copied: it is on the port until ``ready`` says that it is complete. Its records
    are read first, into block RAM. Bytes are gathered into words of the memory; while a full one cannot leave
    everything stands still. Products (Post.multiply) are not known here. Of a channel's multiplier
    SERIAL_MULT_BITS count, and the lowest is taken for 1; of those of an add one more, a sign. An add's
    constant is within 32 bits and its shift below 32.

    Parameters
    ----------
    fabric : Fabric
        With a shared memory of four banks.
    cells : Cells

    Members
    -------
    unit : ``In(UnitPort(Unit.POST))``
        ``ready`` comes with ``done``.
    results : ``In(result_stream(fabric))``
        The sums of a pixel hold until its last is taken.
    table : ``In(WideWritePort(...))``
        A byte of a table.
    write, other, records : ``Out(WordPort(fabric))``

    Raises
    ------
    ValueError
        If the fabric is no such.
    """

    def __init__(self, *, fabric: Fabric, cells: Cells = PORTABLE):
        if not fabric.shared_words or fabric.rows != 4:
            raise ValueError(f"{fabric.rows} rows and {fabric.shared_words} shared words; this unit is for a "
                             "shared memory of 4 banks")
        self.fabric, self.cells = fabric, cells
        super().__init__({
            "unit": In(UnitPort(Unit.POST)),
            "results": In(result_stream(fabric)),
            "table": In(WideWritePort(address_bits=12, width=8)),
            "write": Out(WordPort(fabric)), "other": Out(WordPort(fabric)), "records": Out(WordPort(fabric)),
        })

    def elaborate(self, platform):
        m = Module()
        fabric = self.fabric
        post = instruction_layout(Post)(self.unit.instruction.payload)
        lane = SerialLane(fabric=fabric, cells=self.cells)
        move = Signal()
        m.submodules.lane = EnableInserter(move)(lane)
        # Word and byte addresses, where the fields say them in lanes and words.
        base, x_step, y_step, other, other_x_step, other_y_step = (
            place_of(field, fabric) for field in
            (post.out, post.x_step, post.y_step, post.other, post.other_x_step, post.other_y_step))

        # ---- Records first, then the results.
        starting, running, draining, last_enters = Signal(), Signal(), Signal(), Signal()
        word, last_word = Signal(range(fabric.cols * RECORD_WORDS + RECORD_WORDS)), Signal()
        place, word_d1, arriving = Signal(4 + 3), Signal(4 + 3), Signal()
        number, within = place[3:], place[:3]
        m.d.comb += last_word.eq((number == post.channels + post.add - 1) & (within == RECORD_WORDS - 1))
        first_word = (post.params << 2) + post.params
        m.d.sync += [arriving.eq(self.records.request.valid & self.records.request.ready), word_d1.eq(place)]
        m.d.comb += [
            self.records.request.p.word.eq(first_word + word),
            lane.i_record_write.eq(arriving), lane.i_record_place.eq(word_d1),
            lane.i_record.eq(self.records.data),
        ]
        with m.FSM(name="control"):
            with m.State("IDLE"):
                m.d.comb += starting.eq(1)
                m.d.sync += [word.eq(0), place.eq(0)]
                with m.If(self.unit.instruction.valid & ~self.unit.instruction.ready):
                    m.next = "RECORDS"
            with m.State("RECORDS"):
                m.d.comb += [starting.eq(1), self.records.request.valid.eq(1)]
                with m.If(self.records.request.ready):
                    m.d.sync += [word.eq(word + 1), within.eq(within + 1)]
                    with m.If(within == RECORD_WORDS - 1):
                        m.d.sync += [number.eq(number + 1), within.eq(0)]
                    with m.If(last_word):
                        m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += running.eq(1)
                with m.If(last_enters):
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.comb += draining.eq(1)
                with m.If(self.unit.done):
                    m.next = "IDLE"

        # ---- What enters: channel after channel of a pixel, pixel after pixel.
        channel = Signal(2)
        x_left, y_left = (Signal(len(count), name=name, reset_less=True)
                          for name, count in (("x_left", post.x_count), ("y_left", post.y_count)))
        ends_pixel, ends_row, ends = Signal(), Signal(), Signal()
        enters = Signal()
        m.d.comb += [
            ends_pixel.eq(channel == post.channels - 1), ends_row.eq(ends_pixel & (x_left == 1)),
            ends.eq(ends_row & (y_left == 1)),
            lane.i_ends.eq(Cat(ends_pixel, ends_row, ends)), lane.i_channel.eq(channel),
            enters.eq(lane.o_enters & move),
            last_enters.eq(enters & ends),
            self.results.ready.eq(enters & ends_pixel),
            lane.i_sum.eq(self.results.payload.as_value().word_select(channel, fabric.acc_width).as_signed()),
        ]
        with m.If(starting):
            m.d.sync += [channel.eq(0), x_left.eq(post.x_count), y_left.eq(post.y_count)]
        with m.Elif(enters):
            m.d.sync += channel.eq(channel + 1)
            with m.If(ends_pixel):
                m.d.sync += [channel.eq(0), x_left.eq(x_left - 1)]
            with m.If(ends_row):
                m.d.sync += [x_left.eq(post.x_count), y_left.eq(y_left - 1)]

        # ---- The operand of an add: read for the value that is to enter next.
        other_at = Walker(
            m, "other", place_bits(fabric), base=other, x_step=other_x_step, y_step=other_y_step)
        has_other, asks_other, comes_other = Signal(), Signal(), Signal()
        lane_other, other_lane = Signal(8, reset_less=True), Signal(2)
        m.d.comb += [
            asks_other.eq(running & post.add & ~has_other & ~comes_other),
            self.other.request.valid.eq(asks_other),
            self.other.request.p.word.eq(other_at.place[2:]),
        ]
        m.d.sync += [comes_other.eq(asks_other & self.other.request.ready), other_lane.eq(other_at.place[:2])]
        with m.If(comes_other):
            m.d.sync += [lane_other.eq(self.other.data.word_select(other_lane, 8)), has_other.eq(1)]
        with m.If(starting):
            other_at.start()
            m.d.sync += has_other.eq(0)
        with m.Elif(enters):
            m.d.sync += has_other.eq(0)
            other_at.step(ends_pixel, ends_row)
        m.d.comb += [
            lane.i_other.eq(lane_other),
            lane.i_can_enter.eq(running & self.results.valid & (has_other | ~post.add)),
        ]

        # ---- A function of the byte that is to leave.
        outcome = Signal(8)
        m.d.comb += outcome.eq(lane.o_q)
        if fabric.tables:
            m.submodules.tables = tables = Memory(shape=8, depth=fabric.tables * TABLE_BYTES, init=[])
            write, read = tables.write_port(), tables.read_port()
            m.d.comb += [
                write.en.eq(self.table.enable), write.addr.eq(self.table.address),
                write.data.eq(self.table.data),
                read.en.eq(move), read.addr.eq(Cat(lane.o_q, (post.table - 1)[:len(post.table)])),
            ]
            with m.If(post.table != 0):
                m.d.comb += outcome.eq(read.data)

        # ---- What leaves: bytes gathered where they lie in a word, until the word or the pixel ends.
        out_at = Walker(m, "out", place_bits(fabric), base=base, x_step=x_step, y_step=y_step)
        mask, gathered = Signal(4), Signal(32, reset_less=True)
        full, last_full, held_word = Signal(), Signal(), Signal(place_bits(fabric) - 2, reset_less=True)
        request = self.write.request
        written = full & request.ready
        stuck = full & ~request.ready
        leaves = lane.o_valid
        byte = out_at.place[:2]
        m.d.comb += [
            move.eq(~stuck),
            request.valid.eq(full), request.p.mask.eq(mask), request.p.data.eq(gathered),
            request.p.word.eq(held_word),
            self.unit.done.eq(written & last_full), self.unit.instruction.ready.eq(self.unit.done),
        ]
        with m.If(written):
            m.d.sync += [full.eq(0), last_full.eq(0), mask.eq(0)]
        with m.If(starting):
            out_at.start()
        with m.Elif(leaves & ~stuck):
            m.d.sync += held_word.eq(out_at.place[2:])
            for n in range(4):
                with m.If(byte == n):
                    m.d.sync += [gathered[8 * n:8 * n + 8].eq(outcome), mask[n].eq(1)]
            m.d.sync += [full.eq(lane.o_ends[0] | (byte == 3)), last_full.eq(lane.o_ends[2])]
            out_at.step(lane.o_ends[0], lane.o_ends[1])

        # ---- The rest of the instruction.
        m.d.comb += [
            lane.i_add.eq(post.add), lane.i_extra.eq(post.channels), lane.i_zero.eq(post.zero),
            lane.i_low.eq(post.low), lane.i_high.eq(post.high), lane.i_run.eq(running | draining),
        ]
        with m.If(running | draining):
            m.d.comb += self.unit.state.eq(Mux(stuck, State.RESULT, Mux(
                self.results.valid | draining, State.BUSY, State.OPERAND)))
        with m.Elif(self.unit.instruction.valid):
            m.d.comb += self.unit.state.eq(State.OPERAND)
        return m
