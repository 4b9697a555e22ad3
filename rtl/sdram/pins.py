"""The pins of a 16-bit SDR SDRAM but its clock, as its controller drives them."""
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

ADDRESS_BITS = 13
BANK_BITS = 2
DATA_BITS = 16


class SDRAMPins(wiring.Signature):
    """A controller's view of the chip. Names are the datasheets'; the data bus is split into its directions.

    Every output is a register of the controller and ``dq_i`` goes into one and nowhere else, so that they can
    be the registers of the I/O cells. The platform makes the clock pin: the inverted controller clock, so
    that the chip samples in the middle of a cycle::

        cycle      n      n+1    ..    n+CL       n+CL+1
        command    READ
        dq_i                           column     column + 1
        sampled                               ^         ^      at the end of the cycle

    The chip's answer is on its way from its clock edge in the middle of cycle n+CL-1 on: tAC (5.4 to 6 ns)
    and the pads of both, about 5 ns on an ECP5, may take a cycle and a half; and it stays for tOH (2.5 ns)
    and the pads behind the next edge, which must be half a cycle at least. That fits 70 to 133 MHz. A slower
    clock needs a later phase at the clock pin: its edge no more than 7 ns before the controller's next.

    Where the platform puts registers of its own between these pins and the pads, the controller and the
    models are told how many (``pin_delay``).

    Members
    -------
    cke : ``Out(1)``
    cs_n, ras_n, cas_n, we_n : ``Out(1)``
    ba : ``Out(2)``
    a : ``Out(13)``
    dqm : ``Out(2)``
        Byte masks of the data bus: of writes in the same cycle, of reads two cycles later.
    dq_o : ``Out(16)``
    dq_oe : ``Out(1)``
        The controller drives the data bus.
    dq_i : ``In(16)``
    """

    def __init__(self) -> None:
        super().__init__({
            "cke": Out(1, init=1), "cs_n": Out(1, init=1), "ras_n": Out(1, init=1), "cas_n": Out(1, init=1),
            "we_n": Out(1, init=1), "ba": Out(BANK_BITS), "a": Out(ADDRESS_BITS), "dqm": Out(2, init=3),
            "dq_o": Out(DATA_BITS), "dq_oe": Out(1), "dq_i": In(DATA_BITS),
        })
