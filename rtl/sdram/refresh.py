"""Wakes the chip up and refreshes it: the commands that need every bank idle."""
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .timing import SDRAMCycles


class Refresher(wiring.Component):
    """Power-up sequence, then a REFRESH each interval.

    ``o_hold`` stops everything else at once, in the middle of a burst if need be, so that a refresh waits for
    nothing but the chip: it comes QUIET slots after it is due, whatever the AXI port does. Then all banks are
    precharged, refreshed, and the port goes on; that costs it about 2 % of the time::

        hold (rows and columns at rest) .. PRECHARGE all .. tRP .. REFRESH .. tRFC .. go on

    Parameters
    ----------
    timing : SDRAMCycles

    Members
    -------
    i_slot : ``In(1)``
        High every other cycle: a command may be given.
    o_hold : ``Out(1)``
        No other command may be given. Starts high.
    o_initialised : ``Out(1)``
    o_precharge, o_refresh, o_mode : ``Out(1)``
        In a slot: the command is given.
    """

    def __init__(self, *, timing: SDRAMCycles):
        self._timing = timing
        super().__init__({"i_slot": In(1), "o_hold": Out(1, init=1), "o_initialised": Out(1),
                          "o_precharge": Out(1), "o_refresh": Out(1), "o_mode": Out(1)})

    def elaborate(self, platform):
        m = Module()
        t = self._timing
        rp_slots, rfc_slots, mrd_slots = (-(-cycles // 2) for cycles in (t.t_rp, t.t_rfc, t.t_mrd))
        quiet_slots = -(-max(t.t_ras, t.t_wr) // 2)

        interval = t.refresh_interval
        elapsed, tick = Signal(range(interval)), Signal()
        m.d.sync += [tick.eq(elapsed == interval - 2), elapsed.eq(elapsed + 1)]
        with m.If(tick):
            m.d.sync += elapsed.eq(0)

        # Before the first command, tick counts the time since power-up; then the refreshes due.
        due = Signal()
        asleep = Signal(range(-(-t.power_up // interval) + 2), init=-(-t.power_up // interval) + 1)
        first = Signal(range(t.init_refreshes), init=t.init_refreshes - 1)
        with m.If(tick):
            m.d.sync += due.eq(1)
        pause = Signal(range(max(rp_slots, rfc_slots, mrd_slots, quiet_slots)))
        step = Signal()
        m.d.comb += step.eq(self.i_slot & (pause == 0))
        with m.If(self.i_slot & (pause != 0)):
            m.d.sync += pause.eq(pause - 1)
        with m.FSM():
            with m.State("power-up"):
                with m.If(tick):
                    m.d.sync += asleep.eq(asleep - 1)
                with m.If(step & (asleep == 0)):
                    m.next = "precharge"
            with m.State("precharge"):
                with m.If(step):
                    m.d.comb += self.o_precharge.eq(1)
                    m.d.sync += [pause.eq(rp_slots - 1), due.eq(0)]
                    m.next = "refresh"
            with m.State("refresh"):
                with m.If(step):
                    m.d.comb += self.o_refresh.eq(1)
                    m.d.sync += [pause.eq(rfc_slots - 1), first.eq(first - 1)]
                    with m.If(self.o_initialised):
                        m.next = "run"
                    with m.Elif(first == 0):
                        m.next = "mode"
            with m.State("mode"):
                with m.If(step):
                    m.d.comb += self.o_mode.eq(1)
                    m.d.sync += [pause.eq(mrd_slots - 1), self.o_initialised.eq(1)]
                    m.next = "run"
            with m.State("run"):
                with m.If(step):
                    m.d.sync += self.o_hold.eq(due)
                    with m.If(due):
                        m.d.sync += pause.eq(quiet_slots - 1)
                        m.next = "precharge"
        return m
