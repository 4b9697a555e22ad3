"""The WEIGHTS unit: reads weight tiles row by row and walks over the taps that the rows multiply."""
from amaranth import Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..contract import isa
from ..contract.fabric import WM_ADDRESS_BITS, Fabric
from ..memory.address import add, address_of
from ..memory.delay import delay
from ..memory.wide import WideMemory
from ..signatures import Address, State, UnitPort, WMReadPort, instruction_layout
from .countdown import Countdown


class WeightLoader(wiring.Component):
    """Load the tiles of Weights instructions: a row per cycle, R cycles per tile, no bubble in between.

    A row is a word of weights, sent to the array, and an offset, kept here. When row R-1 is done the tile
    waits (``o_full``) until the streamer takes it; in the very cycle in which it does, row 0 of the next tile
    may start, be it of this instruction or the next. ``i_take`` leads combinationally to ``unit.state`` and,
    if R is 1, to ``unit.instruction.ready``. The weights are held back so that they do not reach the array
    before the pixels of the tile taken (see Feeder)::

        cycle    t              t+1                t+latency-3    t+latency-1    t+latency
        row      issued         in o_offsets       wm.address     wm.data        o_weight
        tile     (row R-1)      o_full                            unit.done*

    (*) ``unit.done`` comes one cycle after wm.address, LATENCY_DONE before o_weight.

    The walk (isa.Weights.walk) goes one byte on with every row, plus a jump behind the last byte of a run. In
    a ragged tile the rows behind the end of a run go on contiguously, and ``resume`` remembers where the next
    run, and with it the next tile, starts.

    Parameters
    ----------
    fabric : Fabric
    latency : int
        Cycles from issuing a row to its weights in ``o_weight``; at least WideMemory.LATENCY_READ + 1.

    Members
    -------
    unit : ``In(UnitPort(Unit.WEIGHTS))``
        A cycle in which a finished tile has not been taken and the next one cannot start counts as
        State.RESULT.
    wm : ``Out(WMReadPort(fabric))``
    o_weight, o_weight_valid, o_weight_start : ``Out``
        As in ArrayFeed.
    o_offsets : ``Out(ArrayLayout(Address, rows))``
        Offsets of the rows of the tile that waits.
    o_full : ``Out(1)``
        A tile waits.
    i_take : ``In(1)``
        The tile is taken; only while ``o_full``.

    Raises
    ------
    ValueError
        If the latency is too short.
    """

    LATENCY_DONE = WideMemory.LATENCY_READ

    def __init__(self, *, fabric: Fabric, latency: int):
        least = WideMemory.LATENCY_READ + 1
        if latency < least:
            raise ValueError(f"latency is {latency}; a row takes {least} cycles through the weight memory")
        self.fabric, self.latency = fabric, latency
        super().__init__({
            "unit": In(UnitPort(isa.Unit.WEIGHTS)),
            "wm": Out(WMReadPort(fabric)),
            "o_weight": Out(data.ArrayLayout(signed(fabric.weight_bits), fabric.cols)),
            "o_weight_valid": Out(1),
            "o_weight_start": Out(1),
            "o_offsets": Out(data.ArrayLayout(Address, fabric.rows)),
            "o_full": Out(1),
            "i_take": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        rows = self.fabric.rows
        layout = instruction_layout(isa.Weights)
        instruction = data.View(layout, self.unit.instruction.payload)

        active = Signal()
        word = Signal(WM_ADDRESS_BITS)
        row_first = Signal()
        row = Countdown(m, rows.bit_length(), name="row")
        tile = Countdown(m, layout["tiles"].width, name="tile")
        run = Countdown(m, layout["run"].width, name="run")
        runs_x = Countdown(m, layout["runs_x"].width, name="runs_x")
        ragged = Signal()
        offset, resume = Signal(Address), Signal(Address)
        run_ended = Signal()  # in an earlier row of this ragged tile
        beyond_x, beyond_y = Signal(Address), Signal(Address)  # from the last byte of a run to the next run

        # Only row 0 ever waits, so that, unless it is the last row too, the end does not depend on i_take.
        go, end = Signal(), Signal()
        m.d.comb += [
            go.eq(active & (~row_first | ~self.o_full | self.i_take)),
            end.eq(active & row.last & tile.last & (go if rows == 1 else 1)),
            self.unit.instruction.ready.eq(~active | end),
            self.unit.state.eq(Mux(go, State.BUSY, Mux(active, State.RESULT, State.IDLE))),
        ]

        run_ends = Signal()
        one_on, jumped = Signal(Address), Signal(Address)
        m.d.comb += [
            run_ends.eq(run.last & ~run_ended),
            one_on.eq(add(offset, address_of(1, rows=rows), rows=rows)),
            jumped.eq(add(offset, Address(Mux(runs_x.last, beyond_y, beyond_x)), rows=rows)),
        ]
        with m.If(self.i_take):
            m.d.sync += self.o_full.eq(0)
        with m.If(go):
            m.d.sync += [
                word.eq(word + 1),
                row_first.eq(row.last),
                # Row 0 arrives in place as the last of R rows does.
                *(self.o_offsets[r].eq(self.o_offsets[r + 1]) for r in range(rows - 1)),
                self.o_offsets[rows - 1].eq(offset),
                run_ended.eq(ragged & ~row.last & (run_ends | run_ended)),
            ]
            row.step()
            with m.If(row.last):
                m.d.sync += self.o_full.eq(1)
                tile.step()
            with m.If(~run_ended):
                run.step()
            with m.If(run_ends):
                m.d.sync += resume.eq(jumped)
                runs_x.step()
            with m.If(run_ends & (row.last | ~ragged)):
                m.d.sync += offset.eq(jumped)
            with m.Elif(run_ended & row.last):
                m.d.sync += offset.eq(resume)
            with m.Else():
                m.d.sync += offset.eq(one_on)

        with m.If(self.unit.instruction.ready):
            m.d.sync += active.eq(self.unit.instruction.valid)
        with m.If(self.unit.instruction.ready & self.unit.instruction.valid):
            m.d.sync += [
                word.eq(instruction.base),
                ragged.eq(instruction.ragged),
                offset.eq(instruction.start),
                beyond_x.eq(add(instruction.jump_x, address_of(1, rows=rows), rows=rows)),
                beyond_y.eq(add(instruction.jump_y, address_of(1, rows=rows), rows=rows)),
                row_first.eq(1),
            ]
            row.start(Const(rows))
            tile.start(instruction.tiles)
            run.start(instruction.run, behind=instruction.start_run)
            runs_x.start(instruction.runs_x, behind=instruction.start_x)

        wait = self.latency - 1 - WideMemory.LATENCY_READ
        m.d.comb += [
            self.wm.enable.eq(delay(m, go, wait, name="go")),
            self.wm.address.eq(delay(m, word, wait, name="word")),
            self.unit.done.eq(delay(m, end, wait + 1, name="end")),
            self.o_weight_valid.eq(delay(m, go, self.latency, name="valid")),
            self.o_weight_start.eq(delay(m, go & row_first, self.latency, name="start")),
        ]
        # Edge t+latency-1 -> t+latency: from the weight memory to the array.
        m.d.sync += self.o_weight.eq(self.wm.data)
        return m
