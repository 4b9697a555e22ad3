"""The iCEBreaker (1bitsquared.com): an iCE40UP5K with 16 MB of QSPI flash and an FT2232H on USB."""
from amaranth import ClockDomain, Elaboratable, Module
from amaranth.lib import io

from .board import Board
from .clocks import ICE40Clocks
from .core import BoardCore

PIN_DELAY = 2
"""One register at the pads on the way out, one on the way in."""


class ICEBreakerTop(Elaboratable):
    """BoardCore with its pads. The green lamp beats and shows requests, the red one memory accesses.

    Every flash signal leaves and enters through a register of its pad; the clock's pulses come out of a
    double-data-rate register, in the second half of the cycle in which the pads show what was sent with them.
    At 30 MHz a half is 16 ns; the flash answers 6 ns after the pulse's fall (tCLQV), and that is taken a
    cycle after that.

    Parameters
    ----------
    board : Board
    """

    def __init__(self, *, board: Board):
        self.board = board

    def elaborate(self, platform):
        m = Module()
        m.domains += ClockDomain("sync")
        m.submodules.core = core = BoardCore(board=self.board, pin_delay=PIN_DELAY)
        m.submodules.clocks = ICE40Clocks(pad=platform.request("clk12", dir="-").io,
                                          source=platform.default_clk_frequency, wanted=self.board.clock)
        uart = platform.request("uart", dir="-")
        m.submodules.uart_rx = rx = io.Buffer("i", uart.rx)
        m.submodules.uart_tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [core.uart_rx.eq(rx.i), tx.o.eq(core.uart_tx)]
        pins, chip = core.flash, platform.request("spi_flash_4x", dir="-")
        m.submodules.flash_cs = cs = io.FFBuffer("o", chip.cs)  # which inverts it
        m.submodules.flash_clk = clk = io.DDRBuffer("o", chip.clk)
        m.d.comb += [cs.o.eq(~pins.cs_n), clk.o[0].eq(0), clk.o[1].eq(pins.sck_en)]
        for line in range(4):
            m.submodules[f"flash_io{line}"] = pad = io.FFBuffer("io", chip.dq[line])
            m.d.comb += [pad.o.eq(pins.io_o[line]), pad.oe.eq(pins.io_oe[line]), pins.io_i[line].eq(pad.i)]
        for name, lamp in (("led_g", core.heartbeat ^ core.talking), ("led_r", core.moving)):
            m.submodules[name] = led = io.Buffer("o", platform.request(name, dir="-"))
            m.d.comb += led.o.eq(lamp)
        return m
