"""The pins of a quad SPI flash, as its controller drives them."""
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class FlashPins(wiring.Signature):
    """A controller's view of the chip; all outputs are registers.

    The clock runs as fast as the controller's: in a cycle with ``sck_en`` the platform makes one pulse in the
    second half of the cycle, by a double-data-rate output cell (iCE40: SB_IO with D_OUT_0 = 0,
    D_OUT_1 = sck_en) ::

        cycle    n         n+1       n+2
        sck_en   1         1         0
        SCK      ____/^^^^\\____/^^^^\\____
        io_o     x_________x_________x     sampled by the chip at the rise, in the middle of the cycle
        io_i                x_________     the chip's answer to the fall, into a register at the end of n+1

    The answer has a whole cycle for the chip (tCLQV 6 ns) and the pads of both.

    Members
    -------
    cs_n : ``Out(1)``
    sck_en : ``Out(1)``
    io_o, io_oe : ``Out(4)``
        IO0 is the flash's input in single mode, IO1 its output.
    io_i : ``In(4)``
    """

    def __init__(self) -> None:
        super().__init__({"cs_n": Out(1, init=1), "sck_en": Out(1), "io_o": Out(4), "io_oe": Out(4),
                          "io_i": In(4)})
