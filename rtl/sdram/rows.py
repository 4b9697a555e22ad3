"""Opens the rows that the next columns are in, while other banks are busy."""
from amaranth import Array, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .pins import BANK_BITS
from .timing import BANKS, SDRAMCycles


def wanted_layout(timing: SDRAMCycles) -> data.StructLayout:
    """A segment as far as its row goes; ``wanted``: it is there and its row is not known to be open."""
    return data.StructLayout({"wanted": 1, "bank": BANK_BITS, "row": timing.row_bits})


class RowOpener(wiring.Component):
    """PRECHARGE and ACTIVE for the segment at work and for the one after it.

    Everything here happens in the row slots, every other cycle, and the lookups in the cycles between them::

        slot      choose what to open: the segment at work if its row is not open, else the next one
        between   look its row up
        slot      open already: say so; another row is open: PRECHARGE; none is: ACTIVE

    The bank of the segment at work is only touched for this segment. A row counts as open from its ACTIVE on
    if what follows in the controller takes as long as tRCD (3 cycles). Other waiting times are counted as
    slots to pass; tRC is kept by tRAS and tRP.

    Parameters
    ----------
    timing : SDRAMCycles

    Members
    -------
    i_slot : ``In(1)``
        High every other cycle: a command may be given.
    i_hold : ``In(1)``
        Nothing may be begun, and at the end of it no row is open.
    i_busy, i_busy_bank : ``In(1)``, ``In(2)``
        There is a segment at work, and its bank.
    i_now, i_next : ``In(wanted_layout(timing))``
        The segment at work, and the one after it. They change at the end of a cycle that is no slot.
    i_advance : ``In(1)``
        The next one becomes the one at work at the end of this cycle.
    o_opened_now, o_opened_next : ``Out(1)``
        In a slot: that segment's row is open. A column may be accessed LATENCY_COLUMN cycles later.
    o_activate, o_precharge : ``Out(1)``
        In a slot: the command is given.
    o_bank, o_row : ``Out``
        What for; the same in the following cycle.
    """

    LATENCY_COLUMN = 3

    def __init__(self, *, timing: SDRAMCycles):
        self._timing = timing
        # Slots from PRECHARGE to ACTIVE, from ACTIVE to where the row counts as open, and so on.
        self.rp_slots = -(-timing.t_rp // 2)
        self.rcd_slots = max(0, -(-(timing.t_rcd - self.LATENCY_COLUMN) // 2))
        self.rrd_slots = -(-timing.t_rrd // 2)
        self.ras_slots = -(-max(timing.t_ras, timing.t_rc - 2 * self.rp_slots) // 2)
        self.recovery_slots = max(1, -(-timing.t_wr // 2))
        super().__init__({
            "i_slot": In(1), "i_hold": In(1), "i_busy": In(1), "i_busy_bank": In(BANK_BITS),
            "i_now": In(wanted_layout(timing)), "i_next": In(wanted_layout(timing)), "i_advance": In(1),
            "o_opened_now": Out(1), "o_opened_next": Out(1), "o_activate": Out(1), "o_precharge": Out(1),
            "o_bank": Out(BANK_BITS), "o_row": Out(timing.row_bits),
        })

    def elaborate(self, platform):
        m = Module()
        t, ras_slots, recovery_slots = self._timing, self.ras_slots, self.recovery_slots
        is_open = Array(Signal(name=f"open_{n}") for n in range(BANKS))
        rows = Array(Signal(t.row_bits, name=f"row_{n}") for n in range(BANKS))
        chosen, is_next = Signal(), Signal()
        bank, row = self.o_bank, self.o_row
        hit, other, blocked = Signal(), Signal(), Signal()
        after_activate = max(self.rcd_slots, self.rrd_slots) - 1
        after_precharge = self.rp_slots - 1
        wait = Signal(range(max(after_activate, after_precharge) + 1))
        ras_wait = Signal(range(ras_slots + 1))
        settle = Signal(range(recovery_slots + 1))

        opened = Signal()
        act = Signal()
        m.d.comb += [
            act.eq(self.i_slot & chosen & ~self.i_hold & (wait == 0)),
            opened.eq(act & (hit | ~other) if self.rcd_slots == 0 else act & hit),
            self.o_opened_now.eq(opened & ~is_next),
            self.o_opened_next.eq(opened & is_next),
            self.o_activate.eq(act & ~other & ~hit),
            self.o_precharge.eq(act & other & ~blocked & (ras_wait == 0) & (settle == 0)),
        ]

        # Between the slots: what is known of the chosen row.
        with m.If(~self.i_slot):
            m.d.sync += [
                hit.eq(is_open[bank] & (rows[bank] == row)),
                other.eq(is_open[bank] & (rows[bank] != row)),
                blocked.eq(is_next & self.i_busy & (self.i_busy_bank == bank)),
            ]
            with m.If(self.i_advance):
                m.d.sync += is_next.eq(0)
                if recovery_slots > 1:
                    m.d.sync += settle.eq(recovery_slots)

        with m.If(self.i_slot):
            with m.If(wait != 0):
                m.d.sync += wait.eq(wait - 1)
            with m.If(ras_wait != 0):
                m.d.sync += ras_wait.eq(ras_wait - 1)
            if recovery_slots > 1:
                with m.If(settle != 0):
                    m.d.sync += settle.eq(settle - 1)
            with m.If(self.o_activate):
                m.d.sync += [wait.eq(after_activate), ras_wait.eq(ras_slots - 1), is_open[bank].eq(1),
                             rows[bank].eq(row)]
            with m.If(self.o_precharge):
                m.d.sync += [wait.eq(after_precharge), is_open[bank].eq(0)]
            with m.If(opened):
                m.d.sync += chosen.eq(0)
            # Not behind an ACTIVE: what it is for is still on its way to the pins.
            with m.If(~chosen | (act & hit)):
                now = self.i_now.wanted & ~chosen
                m.d.sync += [
                    chosen.eq(now | (self.i_next.wanted & ~(chosen & is_next))), is_next.eq(~now),
                    bank.eq(Mux(now, self.i_now.bank, self.i_next.bank)),
                    row.eq(Mux(now, self.i_now.row, self.i_next.row)),
                ]
        with m.If(self.i_hold):
            m.d.sync += [chosen.eq(0), *(each.eq(0) for each in is_open)]
        return m
