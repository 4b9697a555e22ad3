"""The feeder of a small fabric: WEIGHTS and STREAM, whose instructions stay where they are offered."""
from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..accumulate.lean import SUM_TAGS
from ..contract import isa
from ..contract.fabric import Fabric
from ..memory.shared import WordPort, place_bits, place_of
from ..signatures import State, UnitPort, instruction_layout


class LeanWeights(wiring.Component):
    """Carries out Weights: reads the words of a tile, and tells where its taps lie (isa.Weights.walk).

    A word goes to the array in the cycle after its read. When the last one has, the tile waits (``o_full``)
    until the streamer takes it; then the next one begins. In dense mode a run has R bytes or more, so that a
    tile has one jump at most: its rows are those from ``o_base`` on, from row ``o_far_row`` on ``o_jump``
    words further. The instruction is not copied: it is on the port until ``ready``, which is ``done`` too.

    Parameters
    ----------
    fabric : Fabric
        With a shared memory.

    Members
    -------
    unit : ``In(UnitPort(Unit.WEIGHTS))``
    memory : ``Out(WordPort(fabric))``
        The first client of the shared memory: the cycle after a read is the front's.
    o_weight_valid, o_weight_start : ``Out(1)``
        ``memory.data`` is a word for the array, the first of a tile.
    i_take : ``In(1)``
        The tile that waits is taken.
    o_full, o_base, o_far_row, o_jump : ``Out``
        A tile waits; the byte offset of row 0, the first row behind a jump (R if none), the jump.
    """

    def __init__(self, *, fabric: Fabric):
        self.fabric = fabric
        super().__init__({
            "unit": In(UnitPort(isa.Unit.WEIGHTS)),
            "memory": Out(WordPort(fabric)),
            "o_weight_valid": Out(1), "o_weight_start": Out(1),
            "i_take": In(1), "o_full": Out(1),
            "o_base": Out(place_bits(fabric)), "o_far_row": Out(ceil_log2(fabric.rows) + 1),
            "o_jump": Out(ceil_log2(fabric.shared_words)),
        })

    def elaborate(self, platform):
        m = Module()
        fabric, rows = self.fabric, self.fabric.rows
        lanes = ceil_log2(rows)
        tap = instruction_layout(isa.Weights)(self.unit.instruction.payload)
        place = [place_of(field, fabric) for field in (tap.start, tap.jump_x, tap.jump_y)]
        start, jump_x, jump_y = place

        active = Signal()
        word = Signal(ceil_log2(fabric.shared_words), reset_less=True)
        row = Signal(lanes)
        tiles = Signal(len(tap.tiles), reset_less=True)
        run, runs = Signal(len(tap.run), reset_less=True), Signal(len(tap.runs_x), reset_less=True)
        offset = Signal(place_bits(fabric), reset_less=True)
        ended = Signal()  # the run of a ragged tile

        request = self.memory.request
        go, row_last, run_ends, end, over = Signal(), Signal(), Signal(), Signal(), Signal()
        jump = Mux(runs == 1, jump_y, jump_x)
        m.d.comb += [
            row_last.eq(row == rows - 1), run_ends.eq((run == 1) & ~ended),
            request.valid.eq(active & ~self.o_full & ~over), request.p.word.eq(word),
            go.eq(request.valid & request.ready), end.eq(go & row_last & (tiles == 1)),
            self.unit.done.eq(over), self.unit.instruction.ready.eq(over),
        ]
        m.d.sync += [
            self.o_weight_valid.eq(go), self.o_weight_start.eq(row == 0), over.eq(end),
        ]
        with m.If(self.i_take):
            m.d.sync += self.o_full.eq(0)
        with m.If(~active):
            m.d.sync += [
                active.eq(self.unit.instruction.valid), word.eq(tap.base), tiles.eq(tap.tiles),
                run.eq(tap.run - tap.start_run), runs.eq(tap.runs_x - tap.start_x), offset.eq(start),
                ended.eq(0), row.eq(0),
            ]
        with m.If(over):
            m.d.sync += active.eq(0)
        with m.If(go):
            m.d.sync += [word.eq(word + 1), row.eq(row + 1)]
            with m.If(row == 0):
                m.d.sync += [self.o_base.eq(offset), self.o_far_row.eq(rows)]
            with m.If(row_last):
                m.d.sync += [self.o_full.eq(1), tiles.eq(tiles - 1), ended.eq(0)]
            with m.If(~ended):
                m.d.sync += [offset.eq(offset + Mux(run_ends, jump, 0) + 1), run.eq(run - 1)]
            with m.If(run_ends):
                m.d.sync += [run.eq(tap.run), runs.eq(Mux(runs == 1, tap.runs_x, runs - 1)),
                             ended.eq(tap.ragged & ~row_last)]
                with m.If(~tap.ragged):
                    m.d.sync += [self.o_jump.eq(jump[lanes:])]
                    with m.If(~row_last):
                        m.d.sync += self.o_far_row.eq(row + 1)
        m.d.comb += self.unit.state.eq(Mux(active, Mux(go, State.BUSY, State.RESULT), State.IDLE))
        return m


class LeanStreamer(wiring.Component):
    """Carries out Stream: a pixel a cycle, with a pause of one cycle before each visit to the pixels.

    Everything stands still while ``i_enable`` is low; what leaves the front (``o_take``, ``o_claim``, ready,
    done) is low then. FIR mode has one kernel row a pass. The instruction is not copied: it is on the port
    until ``ready``, which comes with ``done``::

        cycle    t        t+1       t+2               t+3
        visit    begins   o_swap
        pixel             o_pixel   (its bytes)       its tags and sums' tags: o_tags in t+2

    Parameters
    ----------
    fabric : Fabric
        With a shared memory, and a line_depth of 0.

    Members
    -------
    i_enable : ``In(1)``
    unit : ``In(UnitPort(Unit.STREAM))``
    i_full, o_take : ``In/Out(1)``
        As in LeanWeights. ``o_take`` is in the cycle before the tile's first pixel is addressed, ``o_swap``
        (a register) in that cycle itself.
    i_room : ``In(range(fifo_depth + 1))``
        Results that the FIFO can take.
    o_claim : ``Out(1)``
        One of them will be.
    o_pixel : ``Out(place_bits(fabric))``
        Address of the pixel under way.
    o_tags : ``Out(SUM_TAGS)``
        Of the pixel that was addressed in the last cycle.
    o_swap, o_fir : ``Out(1)``
    """

    def __init__(self, *, fabric: Fabric):
        self.fabric = fabric
        super().__init__({
            "i_enable": In(1), "unit": In(UnitPort(isa.Unit.STREAM)),
            "i_full": In(1), "o_take": Out(1), "o_swap": Out(1), "o_fir": Out(1),
            "i_room": In(range(fabric.fifo_depth + 1)), "o_claim": Out(1),
            "o_pixel": Out(place_bits(fabric)), "o_tags": Out(SUM_TAGS),
        })

    def elaborate(self, platform):
        m = Module()
        fabric = self.fabric
        s = instruction_layout(isa.Stream)(self.unit.instruction.payload)
        base, x_step, y_step, u_step, v_step = (
            place_of(field, fabric) for field in (s.base, s.x_step, s.y_step, s.u_step, s.v_step))
        bits = place_bits(fabric)
        pixel, line, visit_u, visit_v = (
            Signal(bits, name=name, reset_less=True) for name in ("pixel", "line", "visit_u", "visit_v"))
        x, y, u, v, tiles, places = (
            Signal(len(count), name=name, reset_less=True) for name, count in
            (("x", s.x_count), ("y", s.y_count), ("u", s.u_count), ("v", s.v_count), ("tiles", s.tiles),
             ("places", s.line)))
        stride_x, stride_y = (Signal(4, name=name, reset_less=True) for name in ("stride_x", "stride_y"))
        tail = Signal(ceil_log2(fabric.rows) + 1, reset_less=True)
        fresh, clearing, tile_first = Signal(), Signal(), Signal()
        row_done, trailing = Signal(), Signal()
        enable, fir = self.i_enable, s.fir

        counts, x_last, y_last = Signal(), x == 1, y == 1
        ends_sums, ends_visit, ends_line = Signal(), Signal(), Signal()
        u_last, v_last = u == 1, v == 1
        goes_out = Signal()
        m.d.comb += [
            counts.eq(~fir | ((stride_x == 1) & (stride_y == 1) & ~row_done & ~trailing)),
            ends_sums.eq(counts & x_last & y_last),
            ends_visit.eq(Mux(fir & (s.taps != 1), trailing & (tail == 1), ends_sums)),
            ends_line.eq(Mux(fir, places == 1, x_last)),
            goes_out.eq(s.emit & (tiles == 1) & u_last & v_last),
            self.o_pixel.eq(pixel), self.o_fir.eq(fir),
        ]
        # One adder takes every step.
        origin, step, onward = Signal(bits), Signal(bits), Signal(bits)
        m.d.comb += [onward.eq(origin + step), origin.eq(pixel), step.eq(x_step)]

        issue, done, take = Signal(), Signal(), Signal()
        m.d.comb += [
            self.o_claim.eq(issue & counts & goes_out & enable),
            self.o_take.eq(take & enable),
            self.unit.done.eq(done & enable), self.unit.instruction.ready.eq(self.unit.done),
        ]
        with m.If(enable):
            m.d.sync += [
                self.o_swap.eq(take), self.o_tags.valid.eq(issue & counts), self.o_tags.start.eq(fresh),
                self.o_tags.first.eq(clearing), self.o_tags.last.eq(goes_out),
            ]
        short = Mux(fir, self.i_room < s.outputs, self.i_room == 0)
        with m.FSM(name="visit"):
            with m.State("IDLE"):
                with m.If(enable):
                    m.d.sync += [
                        visit_u.eq(base), visit_v.eq(base), u.eq(s.u_count), v.eq(s.v_count),
                        tiles.eq(s.tiles), clearing.eq(s.clear), tile_first.eq(1),
                    ]
                    with m.If(self.unit.instruction.valid):
                        m.next = "VISIT"
            with m.State("VISIT"):
                with m.If(enable):
                    m.d.sync += [
                        pixel.eq(visit_u), line.eq(visit_u), x.eq(s.x_count), y.eq(s.y_count),
                        places.eq(s.line), stride_x.eq(1), stride_y.eq(1), row_done.eq(0), trailing.eq(0),
                        tail.eq(s.taps - 1), fresh.eq(1),
                    ]
                with m.If((self.i_full | ~tile_first) & ~(goes_out & fir & short)):
                    m.d.comb += take.eq(tile_first)
                    with m.If(enable):
                        m.d.sync += tile_first.eq(0)
                        m.next = "PIXELS"
            with m.State("PIXELS"):
                with m.If(ends_line):
                    m.d.comb += [origin.eq(line), step.eq(y_step)]
                m.d.comb += issue.eq(fir | ~(goes_out & short))
                with m.If(issue & enable):
                    m.d.sync += pixel.eq(onward)
                    with m.If(ends_line):
                        m.d.sync += line.eq(onward)
                    with m.If(counts):
                        m.d.sync += [fresh.eq(0), x.eq(Mux(x_last, s.x_count, x - 1))]
                        with m.If(x_last):
                            m.d.sync += [y.eq(y - 1), row_done.eq(1)]
                    m.d.sync += [stride_x.eq(Mux(stride_x == 1, s.stride_x, stride_x - 1)),
                                 places.eq(places - 1)]
                    with m.If(places == 1):
                        m.d.sync += [places.eq(s.line), stride_x.eq(1), row_done.eq(0),
                                     stride_y.eq(Mux(stride_y == 1, s.stride_y, stride_y - 1))]
                    with m.If(ends_sums):
                        m.d.sync += trailing.eq(1)
                    with m.If(trailing):
                        m.d.sync += tail.eq(tail - 1)
                    with m.If(ends_visit):
                        m.d.sync += clearing.eq(0)
                        m.next = "VISIT"
                        with m.If(u_last & v_last):
                            m.d.sync += [tiles.eq(tiles - 1), tile_first.eq(1)]
                            with m.If(tiles == 1):
                                m.d.comb += done.eq(1)
                                m.next = "IDLE"
                        with m.If(~(u_last & v_last) | (s.u_count != 1) | (s.v_count != 1)):
                            m.next = "WINDOW"
                            with m.If(done):
                                m.next = "IDLE"
            with m.State("WINDOW"):
                m.d.comb += [origin.eq(Mux(u_last, visit_v, visit_u)), step.eq(Mux(u_last, v_step, u_step))]
                with m.If(enable):
                    m.d.sync += [visit_u.eq(onward), u.eq(u - 1)]
                    with m.If(u_last):
                        m.d.sync += [visit_v.eq(onward), u.eq(s.u_count), v.eq(v - 1)]
                        with m.If(v_last):
                            m.d.sync += [visit_u.eq(base), visit_v.eq(base), v.eq(s.v_count)]
                    m.next = "VISIT"
        with m.If(self.unit.instruction.valid):
            m.d.comb += self.unit.state.eq(
                Mux(issue, State.BUSY, Mux(self.i_full, State.RESULT, State.OPERAND)))
        return m
