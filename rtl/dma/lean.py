"""The DMA of a small fabric: one engine that moves a row at a time, for LOAD, STORE and the fetch."""
from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..contract.fabric import PARAMETER_BYTES, Fabric
from ..contract.isa import INSTRUCTION_BYTES, Fill, Load, Space, Store, Unit
from ..contract.registers import Fault
from ..link.axi import AXI4, BURST_INCR, RESP_OKAY
from ..memory.shared import WordPort, place_bits, place_of
from ..signatures import FaultPort, State, UnitPort, WideWritePort, instruction_layout
from .dma import CACHE_NORMAL

BEAT = 4
BLOCK_BEATS = 16
"""A burst ends where a block of so many beats does."""
ADDRESS_BITS = 25
"""Bits of a DRAM address that count: the shared memory, and 16 MB from ``rom_base`` on."""


class LeanDMA(wiring.Component):
    """Carries out Load, Fill and Store, one at a time, and fetches instructions between their bursts.

    DRAM addresses within the shared memory are served here: nothing goes out for them, and a Store can go
    nowhere else. What lies beyond comes from the bus in bursts of up to BLOCK_BEATS; nothing is written
    there. Words move as they are where both ends are a multiple of four bytes, else a byte moves a cycle. The
    instruction is not copied: it is on the port until ``ready``, which comes with ``done``.

    Parameters
    ----------
    fabric : Fabric
        With a shared memory of four banks and a bus of four bytes.

    Members
    -------
    axi : ``Out(AXI4(data_bytes=4))``
    load, store : ``In(UnitPort(...))``
        Offered one at a time.
    memory : ``Out(WordPort(fabric))``
    table : ``Out(WideWritePort(...))``
        A byte of a table.
    fetch : ``In(stream of 32 bits)``
        Address of an instruction, which holds until the next is wanted; its words come on ``o_word`` with
        ``o_word_valid``.
    fault, abort, quiet
        As in DMA; the address is that of the beat or instruction.

    Raises
    ------
    ValueError
        If the fabric is no such.
    """

    def __init__(self, *, fabric: Fabric):
        if not fabric.shared_words or fabric.rows != 4 or fabric.bus_bytes != BEAT:
            raise ValueError("this DMA is for a shared memory of 4 banks and a bus of 4 bytes; the fabric "
                             f"has {fabric.shared_words} shared words, {fabric.rows} rows and a bus of "
                             f"{fabric.bus_bytes} bytes")
        self.fabric = fabric
        super().__init__({
            "axi": Out(AXI4(data_bytes=BEAT)),
            "load": In(UnitPort(Unit.LOAD)), "store": In(UnitPort(Unit.STORE)),
            "memory": Out(WordPort(fabric)),
            "table": Out(WideWritePort(address_bits=12, width=8)),
            "fetch": In(stream.Signature(32)), "o_word": Out(32), "o_word_valid": Out(1),
            "fault": Out(FaultPort()), "abort": In(1), "quiet": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        fabric, axi = self.fabric, self.axi
        load, fill = (instruction_layout(kind)(self.load.instruction.payload) for kind in (Load, Fill))
        store = instruction_layout(Store)(self.store.instruction.payload)
        bits = place_bits(fabric)

        # What is to be done; STORE's turn is when LOAD has nothing.
        storing, filling, to_table, pitch = Signal(), Signal(), Signal(), Signal(bits)
        rows_given, bytes_given = Signal.like(load.rows), Signal.like(load.row_bytes)
        dram, stride, start = Signal.like(load.dram), Signal.like(load.dram_stride), Signal(bits)
        record = Const(-(-PARAMETER_BYTES // BEAT)) * load.word
        m.d.comb += [
            storing.eq(~self.load.instruction.valid), filling.eq(load.opcode == Fill.OPCODE),
            to_table.eq(~storing & ~filling & (load.space == Space.TABLE)),
        ]
        with m.If(storing):
            m.d.comb += [
                rows_given.eq(store.rows), bytes_given.eq(store.row_bytes), dram.eq(store.dram),
                stride.eq(store.dram_stride), start.eq(place_of(store.local, fabric)),
                pitch.eq(place_of(store.pitch, fabric)),
            ]
        with m.Elif(filling):
            m.d.comb += [
                rows_given.eq(fill.rows), bytes_given.eq(fill.row_bytes),
                start.eq(place_of(fill.local, fabric)), pitch.eq(place_of(fill.pitch, fabric)),
            ]
        with m.Else():
            m.d.comb += [
                rows_given.eq(load.rows), bytes_given.eq(load.row_bytes), dram.eq(load.dram),
                stride.eq(load.dram_stride), pitch.eq(place_of(load.pitch, fabric)),
            ]
            with m.Switch(load.space):
                with m.Case(Space.AM):
                    m.d.comb += start.eq(place_of(load.local, fabric))
                with m.Case(Space.WM):
                    m.d.comb += start.eq(Cat(Const(0, 2), load.word))
                with m.Case(Space.PM):
                    m.d.comb += start.eq(Cat(Const(0, 2), record))
                with m.Default():
                    m.d.comb += start.eq(Cat(Const(0, 8), load.word))

        # The row under way, here and in DRAM; the byte under way, and how many there are from it on.
        row, place = Signal(bits, reset_less=True), Signal(bits, reset_less=True)
        dram_row, dram_at = (
            Signal(ADDRESS_BITS - 2, name=name, reset_less=True) for name in ("dram_row", "dram_at"))
        rows, left = Signal.like(rows_given, reset_less=True), Signal.like(bytes_given, reset_less=True)
        row_ends, last_row = Signal(), rows == 0  # a row that is under way is counted
        beyond = dram_at[bits - 2:].any()  # the shared memory
        size, whole = Signal(3), Signal()  # bytes that move in this cycle; a word as it is
        moves = Signal()
        m.d.comb += whole.eq((place[:2] == 0) & (left[2:] != 0))
        with m.If(moves):
            m.d.sync += [place.eq(place + size), left.eq(left - size)]
        m.d.comb += row_ends.eq(left == size)

        # The beat between bus and memory, and the byte of it that is next.
        beat, strobe, byte = Signal(32, reset_less=True), Signal(4), Signal(2)
        has_beat = Signal()  # read and not used up
        request = self.memory.request
        lane = place[:2]
        given = Signal(8)
        m.d.comb += [
            given.eq(Mux(filling, fill.value.as_unsigned(), beat.word_select(byte, 8))),
            request.p.word.eq(place[2:]),
            request.p.data.eq(Mux(size[2] & ~filling, beat, given.replicate(4))),
            self.table.address.eq(place), self.table.data.eq(given),
        ]
        mask = Signal(4)
        ends = Signal(4)
        m.d.comb += ends.eq(lane + size)
        m.d.comb += mask.eq(Cat((n >= lane) & (n < ends) for n in range(4)))

        # ---- The engine.
        fetching, dropping = Signal(), Signal()  # the burst under way is a fetch's; its beats go nowhere
        finish = Signal()
        m.d.comb += [
            axi.arsize.eq(2), axi.arburst.eq(BURST_INCR), axi.arcache.eq(CACHE_NORMAL),
            axi.awsize.eq(2), axi.awburst.eq(BURST_INCR), axi.awcache.eq(CACHE_NORMAL),
            self.o_word.eq(axi.rdata),
            self.load.done.eq(finish & ~storing), self.load.instruction.ready.eq(self.load.done),
            self.store.done.eq(finish & storing), self.store.instruction.ready.eq(self.store.done),
        ]
        beats_left = (left + 3)[2:]
        in_block = Signal(range(BLOCK_BEATS + 1))
        length = Signal(range(BLOCK_BEATS))
        m.d.comb += [
            in_block.eq(BLOCK_BEATS - 1 - dram_at[:4]),
            length.eq(Mux(beats_left <= in_block, beats_left - 1, in_block)),
        ]
        m.d.comb += [axi.araddr.eq(Cat(Const(0, 2), dram_at)), axi.arlen.eq(length)]
        with m.If(fetching):
            m.d.comb += [axi.araddr.eq(self.fetch.payload[:ADDRESS_BITS]),
                         axi.arlen.eq(INSTRUCTION_BYTES // BEAT - 1)]

        def row_done():
            """On to the next row, or to the end."""
            m.next = "ROW"
            with m.If(last_row):
                m.d.comb += finish.eq(1)
                m.d.sync += started.eq(0)
                m.next = "IDLE"

        busy = Signal()
        started = Signal()  # the registers are those of the instruction on offer
        m.d.comb += [busy.eq(1), self.fault.code.eq(Fault.READ_RESPONSE)]
        with m.FSM(name="engine"):
            with m.State("IDLE"):
                m.d.comb += busy.eq(0)
                m.d.sync += [row.eq(start), rows.eq(rows_given), dram_row.eq(dram[2:]), strobe.eq(0)]
                with m.If(~self.abort):
                    with m.If(self.load.instruction.valid | self.store.instruction.valid):
                        m.d.sync += started.eq(1)
                        m.next = "ROW"
                    with m.Elif(self.fetch.valid):
                        m.next = "FETCH"
            with m.State("ROW"):
                m.d.sync += [
                    place.eq(row), row.eq(row + pitch), left.eq(bytes_given), rows.eq(rows - 1),
                    dram_at.eq(dram_row), dram_row.eq(dram_row + stride[2:]), byte.eq(0), has_beat.eq(0),
                    dropping.eq(0),
                ]
                m.next = "CHOOSE"
            with m.State("FETCH"):
                m.d.sync += [fetching.eq(1), dropping.eq(0), has_beat.eq(0), axi.arvalid.eq(1)]
                m.next = "ASKED"
            with m.State("CHOOSE"):
                m.d.sync += fetching.eq(0)
                with m.If(self.abort):
                    m.d.comb += busy.eq(0)
                with m.Elif(filling & ~storing):
                    m.next = "FILL"
                with m.Elif(self.fetch.valid & ~fetching):  # in turn with the instruction's own bursts
                    m.next = "FETCH"
                with m.Elif(storing):
                    m.next = "GATHER"
                with m.Elif(beyond):
                    m.d.sync += axi.arvalid.eq(1)
                    m.next = "ASKED"
                with m.Else():
                    m.next = "LOOK"
            with m.State("LOOK"):  # for a beat in the shared memory
                m.d.comb += [request.valid.eq(1), request.p.word.eq(dram_at)]
                with m.If(request.ready):
                    m.next = "SEE"
            with m.State("SEE"):
                m.d.sync += [
                    beat.eq(self.memory.data), has_beat.eq(1), dropping.eq(1), dram_at.eq(dram_at + 1)]
                m.next = "BEATS"
            with m.State("ASKED"):
                with m.If(axi.arready):
                    m.d.sync += axi.arvalid.eq(0)
                    m.d.comb += self.fetch.ready.eq(fetching)
                    m.next = "BEATS"
            with m.State("BEATS"):
                # A beat is taken when the one before it is used up.
                m.d.comb += [
                    axi.rready.eq(~has_beat & ~dropping),
                    self.o_word_valid.eq(axi.rvalid & axi.rready & fetching & ~self.abort),
                ]
                with m.If(axi.rvalid & axi.rready):
                    m.d.sync += beat.eq(axi.rdata)
                    with m.If(~fetching):
                        m.d.sync += [has_beat.eq(~self.abort), dram_at.eq(dram_at + 1)]
                    with m.If(axi.rresp != RESP_OKAY):
                        m.d.comb += [self.fault.valid.eq(1), self.o_word_valid.eq(0)]
                        m.d.sync += has_beat.eq(0)
                    with m.If(axi.rlast):
                        m.d.sync += dropping.eq(1)
                        with m.If(fetching | self.abort | (axi.rresp != RESP_OKAY)):
                            m.next = "AFTER"
                m.d.comb += size.eq(Mux(whole & ~to_table & (byte == 0), 4, 1))
                with m.If(has_beat):
                    m.d.comb += [
                        request.valid.eq(~to_table & ~self.abort), request.p.mask.eq(mask),
                        self.table.enable.eq(to_table), moves.eq(to_table | request.ready | self.abort),
                    ]
                    with m.If(moves):
                        m.d.sync += byte.eq(byte + size)
                        with m.If(size[2] | (byte == 3) | row_ends):
                            m.d.sync += [has_beat.eq(0), byte.eq(0)]
                            with m.If(dropping):
                                m.next = "AFTER"
                            with m.If(row_ends):
                                row_done()
            with m.State("AFTER"):
                m.d.sync += dropping.eq(0)
                m.d.comb += busy.eq(0)
                m.next = "IDLE"
                with m.If(started):
                    m.next = "CHOOSE"
            with m.State("FILL"):
                m.d.comb += [
                    size.eq(Mux(left < 4, Mux(left[:3] < 4 - lane, left[:3], 4 - lane), 4 - lane)),
                    request.valid.eq(~self.abort), request.p.mask.eq(mask), moves.eq(request.ready),
                ]
                with m.If(self.abort):
                    m.d.comb += busy.eq(0)
                with m.If(moves & row_ends):
                    row_done()
            with m.State("GATHER"):
                m.d.comb += request.valid.eq(1)
                with m.If(self.abort):
                    m.d.comb += busy.eq(0)
                with m.Elif(request.ready):
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.d.comb += [size.eq(Mux(whole & (byte == 0), 4, 1)), moves.eq(1)]
                m.d.sync += byte.eq(byte + size)
                with m.If(size[2]):
                    m.d.sync += [beat.eq(self.memory.data), strobe.eq(-1)]
                with m.Else():
                    with m.Switch(byte):
                        for n in range(4):
                            with m.Case(n):
                                m.d.sync += [
                                    beat[8 * n:8 * n + 8].eq(self.memory.data.word_select(lane, 8)),
                                    strobe[n].eq(1)]
                m.next = "GATHER"
                with m.If(size[2] | (byte == 3) | row_ends):
                    m.d.sync += byte.eq(0)
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += [
                    request.valid.eq(1), request.p.word.eq(dram_at), request.p.mask.eq(strobe),
                    request.p.data.eq(beat),
                ]
                with m.If(request.ready):
                    m.d.sync += [strobe.eq(0), dram_at.eq(dram_at + 1)]
                    m.next = "CHOOSE"
                    with m.If(left == 0):
                        row_done()
        m.d.comb += self.quiet.eq(~busy)
        m.d.comb += self.fault.address.eq(axi.araddr)
        with m.If(busy):
            state = Mux(moves, State.BUSY, State.OPERAND)
            m.d.comb += [self.load.state.eq(Mux(storing, State.IDLE, state)),
                         self.store.state.eq(Mux(storing, state, State.IDLE))]
        return m
