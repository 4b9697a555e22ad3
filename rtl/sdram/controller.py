"""SDRAM behind an AXI4 port: what is loaded and stored, where the networks' constants and programs live."""
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..link.axi import AXI4, RESP_DECERR
from .pins import DATA_BITS, SDRAMPins
from .refresh import Refresher
from .rows import RowOpener
from .segments import PAIR_BYTES, SegmentSplitter, segment_layout
from .timing import SDRAMCycles

MODE_BURST_OF_2 = 1
MODE_CAS_SHIFT = 4


class SDRAMController(wiring.Component):
    """Bursts of any length at the speed of the chip's data bus, but for refreshes and turns of direction.

    ::

        AR, AW ─► SegmentSplitter ─► next ─► now ─► columns ─► pins
                                      │       │        ▲
                                      └───────┴► RowOpener, Refresher ─► pins

    READ and WRITE move a pair of columns, 4 bytes. They have every other cycle, and the commands for rows
    the cycles between, so neither waits for the other::

        slot   column  row      column  row       column  row
        pins   READ    ACTIVE   READ    PRECHARGE READ    --      (2 cycles after the decision)

    While a segment's columns are accessed, the row of the next one is opened, if that is in another bank or
    the same row. Rows stay open. Bursts are carried out one after the other, a read and a write in turn if
    both are there; a write burst that was taken keeps all others waiting until its data has come.

    No response overtakes: a write is answered when its last data is on its way to the chip, so that a read
    that is taken after the answer sees it. A refresh interrupts bursts and is never delayed by the port.
    An address behind the end of the chip is answered with DECERR, and nothing is written.

    Parameters
    ----------
    timing : SDRAMCycles
        ``SDRAMTiming(...).at(clock frequency)``.
    data_bytes : int
        Of the port: 4, 8 or 16.
    pin_delay : int
        Cycles that registers between ``pins`` and the chip add, both ways together.
    read_depth : int
        Beats that the read buffer holds; it never overflows, since no READ is given without room for it.

    Members
    -------
    axi : ``In(AXI4(data_bytes=data_bytes))``
        INCR bursts of full-width beats; what else AxSIZE, AxBURST and the identifiers say is ignored. All
        outputs depend on registers only.
    pins : ``Out(SDRAMPins())``

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    LATENCY_PINS = 2
    """Cycles from the decision to give a command to the command at the pins."""
    LATENCY_CAPTURE = 2
    """Cycles from the first column of a pair at ``dq_i`` until both are in registers."""

    LATENCY_BUFFER = 2
    """Cycles from there until the beat is at R."""

    def __init__(self, *, timing: SDRAMCycles, data_bytes: int = 4, pin_delay: int = 0, read_depth: int = 16):
        if data_bytes not in (4, 8, 16):
            raise ValueError(f"data_bytes is {data_bytes}; it can be 4, 8 or 16")
        if pin_delay < 0:
            raise ValueError(f"pin_delay is {pin_delay}; registers can only add cycles")
        if read_depth < 2:
            raise ValueError(f"read_depth is {read_depth}; the buffer holds at least 2 beats")
        self._timing, self._data_bytes = timing, data_bytes
        self._pin_delay, self._read_depth = pin_delay, read_depth
        self._rows = RowOpener(timing=timing)
        super().__init__({"axi": In(AXI4(data_bytes=data_bytes)), "pins": Out(SDRAMPins())})

    @property
    def latency_open(self):
        """Most cycles from an address on AR to its first beat, with nothing else to do and the row open.

        Both are a cycle more if writes had the last turn.
        """
        # next, now, chosen, looked up, known to be open, decided; of these one waits for a slot.
        decided = SegmentSplitter.LATENCY + 7
        pairs = self._data_bytes // PAIR_BYTES
        return decided + self._arrival_delay + 2 * (pairs - 1) + self.LATENCY_BUFFER

    @property
    def latency_closed(self):
        """The same where another row of the bank is open."""
        return self.latency_open + 2 * (self._rows.rp_slots + self._rows.rcd_slots)

    @property
    def _arrival_delay(self):
        """Cycles from the decision to READ until both of its columns are in registers."""
        return self.LATENCY_PINS + self._timing.cas + self._pin_delay + self.LATENCY_CAPTURE

    def elaborate(self, platform):
        m = Module()
        t, axi, pins = self._timing, self.axi, self.pins
        m.submodules.splitter = splitter = SegmentSplitter(timing=t, data_bytes=self._data_bytes)
        m.submodules.rows = rows = self._rows
        m.submodules.refresher = refresher = Refresher(timing=t)
        for way, burst in (("r", splitter.read), ("w", splitter.write)):
            m.d.comb += [
                burst.valid.eq(getattr(axi, f"a{way}valid")), getattr(axi, f"a{way}ready").eq(burst.ready),
                burst.p.address.eq(getattr(axi, f"a{way}addr")), burst.p.len.eq(getattr(axi, f"a{way}len")),
            ]

        row_slot = Signal()
        m.d.sync += row_slot.eq(~row_slot)
        m.d.comb += [rows.i_slot.eq(row_slot), refresher.i_slot.eq(row_slot),
                     rows.i_hold.eq(refresher.o_hold)]

        # Two segments: the one whose columns are accessed, and the next.
        layout = segment_layout(t)
        now, now_valid, now_open = Signal(layout), Signal(), Signal()
        next_, next_valid, next_open = Signal(layout), Signal(), Signal()
        column = Signal(t.column_bits - 1)
        at_end = Signal()  # the column in a column slot is the segment's last
        go, advance = Signal(), Signal()
        m.d.comb += [
            splitter.segment.ready.eq(~next_valid),
            advance.eq(~row_slot & (~now_valid | (go & at_end))),
            rows.i_advance.eq(advance), rows.i_busy.eq(now_valid), rows.i_busy_bank.eq(now.bank),
            rows.i_now.wanted.eq(now_valid & ~now_open), rows.i_now.bank.eq(now.bank),
            rows.i_now.row.eq(now.row),
            rows.i_next.wanted.eq(next_valid & ~next_open), rows.i_next.bank.eq(next_.bank),
            rows.i_next.row.eq(next_.row),
        ]
        m.d.sync += at_end.eq(column == now.last)
        with m.If(go):
            m.d.sync += column.eq(column + 1)
        with m.If(rows.o_opened_now):
            m.d.sync += now_open.eq(1)
        with m.If(rows.o_opened_next):
            m.d.sync += next_open.eq(1)
        with m.If(advance):
            m.d.sync += [now.eq(next_), now_valid.eq(next_valid), now_open.eq(next_open),
                         column.eq(next_.first), next_valid.eq(0)]
        with m.If(~next_valid):
            m.d.sync += [next_.eq(splitter.segment.p), next_valid.eq(splitter.segment.valid), next_open.eq(0)]
        with m.If(refresher.o_hold):
            m.d.sync += [now_open.eq(0), next_open.eq(0)]

        # Whether a column can be accessed.
        pairs = self._data_bytes // PAIR_BYTES
        pair = column[:exact_log2(pairs)]
        beat_begins, beat_ends = Signal(), Signal()
        m.d.comb += [beat_begins.eq(pair == 0), beat_ends.eq(pair == pairs - 1)]
        room = Signal(range(self._read_depth + 1), init=self._read_depth)  # free beats of the read buffer
        word_valid = Signal()
        reads = Signal(2)  # READ in the last two column slots: the bus is not free for data of a WRITE
        can_read, can_write, can_go = Signal(), Signal(), Signal()
        m.d.comb += [
            can_read.eq(~now.write & ((room != 0) | ~beat_begins)),
            can_write.eq(now.write & (word_valid | axi.wvalid) & (~axi.bvalid | axi.bready) & (reads == 0)),
            go.eq(can_go & ~refresher.o_hold),
        ]
        # Decided in the row slot before it, from what will be so in the column slot.
        m.d.sync += can_go.eq(row_slot & now_valid & now_open & (can_read | can_write))
        read, write = Signal(), Signal()
        m.d.comb += [read.eq(go & ~now.write), write.eq(go & now.write)]
        with m.If(~row_slot):
            m.d.sync += reads.eq(Cat(read, reads))

        # The command, a cycle after the decision. What its address is needs no copy: rows and the refresher
        # keep theirs.
        column_s1, write_s1, second_s1 = Signal(), Signal(), Signal()
        activate_s1, precharge_s1, all_s1, refresh_s1, mode_s1 = (
            Signal(name=f"{name}_s1") for name in ("activate", "precharge", "all", "refresh", "mode"))
        place_s1, bank_s1 = Signal.like(column), Signal.like(now.bank)
        m.d.sync += [
            column_s1.eq(go), write_s1.eq(write), second_s1.eq(write_s1), place_s1.eq(column),
            bank_s1.eq(now.bank), activate_s1.eq(rows.o_activate), precharge_s1.eq(rows.o_precharge),
            all_s1.eq(refresher.o_precharge), refresh_s1.eq(refresher.o_refresh),
            mode_s1.eq(refresher.o_mode),
        ]
        m.d.sync += [
            pins.cke.eq(1), pins.cs_n.eq(0),
            pins.ras_n.eq(~(activate_s1 | precharge_s1 | all_s1 | refresh_s1 | mode_s1)),
            pins.cas_n.eq(~(column_s1 | refresh_s1 | mode_s1)),
            pins.we_n.eq(~(write_s1 | precharge_s1 | all_s1 | mode_s1)),
            pins.ba.eq(Mux(column_s1, bank_s1, rows.o_bank)),
            pins.a.eq(Mux(column_s1, place_s1 << 1, rows.o_row)),
        ]
        with m.If(all_s1 | precharge_s1):
            m.d.sync += pins.a[10].eq(all_s1)
        with m.If(mode_s1):
            m.d.sync += [pins.a.eq(t.cas << MODE_CAS_SHIFT | MODE_BURST_OF_2), pins.ba.eq(0)]

        self._write_data(m, now=now, write=write, second_s1=second_s1, write_s1=write_s1, pair=pair,
                         beat_ends=beat_ends, word_valid=word_valid, initialised=refresher.o_initialised)
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(write & at_end & now.final):
            m.d.sync += [axi.bvalid.eq(1), axi.bresp.eq(Mux(now.error, RESP_DECERR, 0))]
        taken = self._read_data(m, tag={"pair": read, "beat": read & beat_ends, "error": now.error,
                                        "last": at_end & now.final})
        m.d.sync += room.eq(room - (read & beat_begins) + taken)
        return m

    def _write_data(self, m, *, now, write, write_s1, second_s1, pair, beat_ends, word_valid, initialised):
        """From W to the data pins, beat by beat: a word waits while the one before it is at the pins."""
        axi, pins = self.axi, self.pins
        pair_bits = 8 * PAIR_BYTES
        word, strobe = Signal(8 * self._data_bytes), Signal(self._data_bytes)
        m.d.comb += axi.wready.eq(~word_valid)
        with m.If(~word_valid):
            m.d.sync += [word.eq(axi.wdata), strobe.eq(axi.wstrb), word_valid.eq(axi.wvalid)]
        with m.If(write & beat_ends):
            m.d.sync += word_valid.eq(0)
        # Both halves of the pair wait here, the second one for a cycle more.
        data_s1, mask_s1 = Signal(pair_bits), Signal(PAIR_BYTES)
        with m.If(write):
            m.d.sync += [data_s1.eq(word.word_select(pair, pair_bits)),
                         mask_s1.eq(~strobe.word_select(pair, PAIR_BYTES) | now.error.replicate(PAIR_BYTES))]
        m.d.sync += [
            pins.dq_oe.eq(write_s1 | second_s1),
            pins.dq_o.eq(Mux(write_s1, data_s1[:DATA_BITS], data_s1[DATA_BITS:])),
            pins.dqm.eq(Mux(write_s1, mask_s1[:2], Mux(second_s1, mask_s1[2:], ~initialised.replicate(2)))),
        ]

    def _read_data(self, m, *, tag):
        """From the data pins to R; returns a signal that pulses, a cycle late, when a beat has left."""
        axi = self.axi
        fields = data.StructLayout({name: 1 for name in tag})
        # A pair's tag arrives with its second half in ``half``.
        tags = [Signal(fields, name=f"tag_{n}") for n in range(self._arrival_delay)]
        m.d.sync += [tags[0][name].eq(value) for name, value in tag.items()]
        m.d.sync += [after.eq(before) for before, after in zip(tags, tags[1:], strict=False)]
        half, first_half = Signal(DATA_BITS), Signal(DATA_BITS)
        m.d.sync += [half.eq(self.pins.dq_i), first_half.eq(half)]
        arrived = tags[-1]
        beat = Cat(first_half, half)
        if self._data_bytes > PAIR_BYTES:
            earlier = Signal(8 * (self._data_bytes - PAIR_BYTES))
            with m.If(arrived.pair):
                m.d.sync += earlier.eq(Cat(earlier, beat)[8 * PAIR_BYTES:])
            beat = Cat(earlier, beat)
        m.submodules.buffer = buffer = fifo.SyncFIFOBuffered(width=len(beat) + 2, depth=self._read_depth)
        taken = Signal()
        m.d.comb += [
            buffer.w_en.eq(arrived.beat), buffer.w_data.eq(Cat(beat, arrived.error, arrived.last)),
            axi.rvalid.eq(buffer.r_rdy), buffer.r_en.eq(axi.rready),
            axi.rdata.eq(buffer.r_data), axi.rlast.eq(buffer.r_data[-1]),
            axi.rresp.eq(Mux(buffer.r_data[-2], RESP_DECERR, 0)),
        ]
        m.d.sync += taken.eq(axi.rvalid & axi.rready)
        return taken
