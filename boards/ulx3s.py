"""The ULX3S (radiona.org/ulx3s): an ECP5 with 32 MB of SDRAM and an FT231X on USB."""
from amaranth import ClockDomain, Const, Elaboratable, Module
from amaranth.lib import io

from .board import Board
from .clocks import ECP5Clocks
from .core import BoardCore

PIN_DELAY = 2
"""One register at the pads on the way out, one on the way in."""


class ULX3STop(Elaboratable):
    """BoardCore with its pads: every SDRAM signal leaves and enters through a register of its pad.

    The SDRAM's clock is the fabric's, later by ``board.sdram_degrees`` (270 of 360), and leaves through a
    pad's double-data-rate register, so that it has the delay of all other outputs. At 100 MHz (T = 10 ns):

    * Outputs change at the fabric's edge, the chip's edge follows 7.5 ns later, and the next change 2.5 ns
      after that. The chip asks for 1.5 ns before and 0.8 ns after. All leave by the same kind of pad, so what
      differs is the clock tree and the board, tenths of a nanosecond.
    * A word that is read is at the chip's pins tAC = 6.0 ns (CAS latency 2; 5.4 ns with 3) after the chip's
      edge at the latest, and until tOH = 2.5 ns after its next edge at the earliest. Delays in the ECP5, from
      register to pad and from pad to register together, are taken as 2.4 ns at least and 4.7 ns at most. So
      a word is at the input registers 10.7 ns to 14.9 ns after the chip's edge, and is sampled at
      2 T - 7.5 ns = 12.5 ns, with 1.8 ns to spare before and 2.4 ns after.

    With the inverted clock (180 degrees) it would be sampled at 15 ns, when a fast chip's data ends. The
    delays of the pads are an estimate: nextpnr does not time them, and nothing was measured on a board.

    Parameters
    ----------
    board : Board
    """

    def __init__(self, *, board: Board):
        self.board = board

    def elaborate(self, platform):
        m = Module()
        m.domains += [ClockDomain("sync"), ClockDomain("late", reset_less=True)]
        m.submodules.core = core = BoardCore(board=self.board, pin_delay=PIN_DELAY)
        oscillator = platform.request("clk25", dir="-")
        m.submodules.oscillator = pad = io.Buffer("i", oscillator)
        m.submodules.clocks = ECP5Clocks(pad=pad.i, source=platform.default_clk_frequency,
                                         wanted=self.board.clock, degrees=self.board.sdram_degrees)

        uart = platform.request("uart", dir="-")
        m.submodules.uart_rx = rx = io.Buffer("i", uart.rx)
        m.submodules.uart_tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [core.uart_rx.eq(rx.i), tx.o.eq(core.uart_tx)]

        pins, chip = core.sdram, platform.request("sdram", dir="-")
        # amaranth-boards names a pin that is active low by its meaning, and inverts it.
        for port, value in ((chip.clk_en, pins.cke), (chip.cs, ~pins.cs_n), (chip.ras, ~pins.ras_n),
                            (chip.cas, ~pins.cas_n), (chip.we, ~pins.we_n), (chip.ba, pins.ba),
                            (chip.a, pins.a), (chip.dqm, pins.dqm)):
            m.submodules += (pad := io.FFBuffer("o", port))
            m.d.comb += pad.o.eq(value)
        m.submodules.dq = dq = io.FFBuffer("io", chip.dq)
        m.d.comb += [dq.o.eq(pins.dq_o), dq.oe.eq(pins.dq_oe), pins.dq_i.eq(dq.i)]
        m.submodules.sdram_clock = clock = io.DDRBuffer("o", chip.clk, o_domain="late")
        m.d.comb += [clock.o[0].eq(Const(1)), clock.o[1].eq(Const(0))]

        for number, lamp in enumerate((core.heartbeat, core.talking, core.moving)):
            m.submodules += (led := io.Buffer("o", platform.request("led", number, dir="-")))
            m.d.comb += led.o.eq(lamp)
        return m
