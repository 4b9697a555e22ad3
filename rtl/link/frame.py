"""Frames in the bytes of the wire: what the receiver checks before anything is done."""
from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..contract.link import CRC_POLYNOMIAL, CRC_RESIDUE, ESCAPE, FLAG, FLIP, REQUEST

CRC_START = 0xFFFF_FFFF
POINTER_BITS = 9
START = (1 << POINTER_BITS) - REQUEST.size
"""Where a body starts in its half of the buffer, so that data start at 0."""


def crc_step(register, flip):
    """The CRC register after one more bit: ``flip`` is that bit exclusive-or ``register[0]``."""
    return register[1:] ^ Mux(flip, CRC_POLYNOMIAL, 0)


class FrameReceiver(wiring.Component):
    """Puts the bodies of frames into a buffer and says which were good.

    No flow control: a frame is dropped if its first FLAG finds ``held`` high or the one before not yet
    taken, if it is too long, or if its check is wrong. The check goes over a bit a cycle, so bytes must be
    more than 8 cycles apart; the UART's are 60 or more.

    Members
    -------
    byte, byte_stb : ``In(8)``, ``In(1)``
        From a UARTReceiver.
    write_address, write_data, write_stb : ``Out(POINTER_BITS)``, ``Out(8)``, ``Out(1)``
        A byte of a frame for the buffer, in this cycle; a body starts at START and wraps round.
    done : ``Out(1)``
        There is a good frame; holds until ``taken``, and no byte is written meanwhile.
    extra : ``Out(POINTER_BITS)``
        Bytes of the frame behind where a request's data start, its check among them (wraps); holds as long
        as ``held``.
    taken : ``In(1)``
    held : ``In(1)``
        No frame may start.
    """

    def __init__(self):
        super().__init__({
            "byte": In(8), "byte_stb": In(1),
            "write_address": Out(POINTER_BITS), "write_data": Out(8), "write_stb": Out(1),
            "done": Out(1), "extra": Out(POINTER_BITS), "taken": In(1), "held": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        inside, escaped = Signal(), Signal()
        pointer = Signal(POINTER_BITS, init=START, reset_less=True)
        check = Signal(32, init=CRC_START, reset_less=True)
        checking, index = Signal(), Signal(3, reset_less=True)
        escape, edge = Signal(), Signal()
        too_long, good, start = Signal(), Signal(), Signal()
        m.d.comb += [
            edge.eq(self.byte_stb & (self.byte == FLAG)),
            escape.eq(self.byte_stb & (self.byte == ESCAPE)),
            # Behind the longest good frame; it goes no further.
            too_long.eq(pointer[8] & ~pointer[7] & pointer[3]),
            good.eq(edge & inside & ~escaped & ~too_long & (check == CRC_RESIDUE)),
            start.eq(edge & ~good & ~self.done & ~self.held),
            self.write_stb.eq(self.byte_stb & ~edge & ~escape & inside & ~too_long),
            self.write_address.eq(pointer),
            self.write_data.eq(self.byte ^ Mux(escaped, FLIP, 0)),
            self.extra.eq(pointer),
        ]
        with m.If(start):
            m.d.sync += pointer.eq(START)
        with m.Elif(self.write_stb):
            m.d.sync += pointer.eq(pointer + 1)
        with m.If(start):
            m.d.sync += check.eq(CRC_START)
        with m.Elif(checking):
            m.d.sync += check.eq(crc_step(check, check[0] ^ self.write_data.bit_select(index, 1)))
        with m.If(self.write_stb):
            m.d.sync += [checking.eq(1), index.eq(0)]
        with m.Elif(checking):
            m.d.sync += [checking.eq(index != 7), index.eq(index + 1)]
        # An escape lasts until the check has gone over the byte behind it.
        with m.If(escape):
            m.d.sync += escaped.eq(1)
        with m.Elif(edge | (checking & (index == 7))):
            m.d.sync += escaped.eq(0)
        with m.If(good):
            m.d.sync += inside.eq(0)
        with m.Elif(start):
            m.d.sync += inside.eq(1)
        with m.If(good):
            m.d.sync += self.done.eq(1)
        with m.Elif(self.taken):
            m.d.sync += self.done.eq(0)
        return m
