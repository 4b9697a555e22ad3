"""The wire: serial bytes of 8 bits, no parity, one stop bit, low bit first."""
from dataclasses import dataclass

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

LEAST_CYCLES_PER_BIT = 6
"""So that a sample, which can be a cycle off either way, stays well within its bit."""
WORST_ERROR = 0.005
"""Of the bit rate: a twentieth of a bit at the end of a byte. The two ends together may be 4 % apart."""
MOST_PHASE_BITS = 24


@dataclass(frozen=True)
class BitRate:
    """A phase that grows by ``step`` a cycle and overflows ``2**bits`` once a bit.

    Bits are a whole number of cycles long, and their mean is right: a divider that counts cycles would be 1 %
    off for 3 Mbaud at 100 MHz.
    """

    step: int
    bits: int

    @classmethod
    def of(cls, *, clock: float, baud: float) -> "BitRate":
        """The smallest one that is exact to WORST_ERROR.

        Raises
        ------
        ValueError
            If a bit has too few cycles, or so many that the phase would get too wide.
        """
        if clock < LEAST_CYCLES_PER_BIT * baud:
            raise ValueError(f"baud is {baud:g}; a clock of {clock:g} Hz allows "
                             f"{clock / LEAST_CYCLES_PER_BIT:g}, {LEAST_CYCLES_PER_BIT} cycles a bit")
        for bits in range(3, MOST_PHASE_BITS + 1):
            step = round((1 << bits) * baud / clock)
            if step and abs(step * clock / ((1 << bits) * baud) - 1) <= WORST_ERROR:
                return cls(step, bits)
        raise ValueError(f"baud is {baud:g}; that is too slow for a clock of {clock:g} Hz")


class UARTReceiver(wiring.Component):
    """Bytes from the wire. No flow control: ``byte`` is gone when the next one comes.

    Two flip-flops bring the wire into the clock domain; from then on it is the majority of three cycles, so a
    disturbance of one cycle is not seen. The first low cycle after a high one starts a byte; half a bit later
    the wire must still be low; then each bit is sampled in its middle. A byte without a stop bit is dropped,
    and the next one starts after the wire has been high again.

    Parameters
    ----------
    clock, baud : float
        Cycles and bits a second.

    Members
    -------
    rx : ``In(1, init=1)``
        The wire, in no clock domain.
    byte : ``Out(8)``
        Holds for at least a bit and a half after ``byte_stb``.
    byte_stb : ``Out(1)``
        A byte is complete: in the middle of its stop bit, and LATENCY_WIRE cycles.

    Raises
    ------
    ValueError
        If the baud rate does not fit the clock.
    """

    LATENCY_WIRE = 5

    def __init__(self, *, clock: float, baud: float):
        self._rate = BitRate.of(clock=clock, baud=baud)
        super().__init__({"rx": In(1, init=1), "byte": Out(8), "byte_stb": Out(1)})

    def elaborate(self, platform):
        m = Module()
        synchronised = Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.rx, synchronised, init=1)
        before = Signal(2, init=0b11)
        line = Signal(init=1)
        m.d.sync += [
            before.eq(Cat(synchronised, before)),
            line.eq((synchronised & before[0]) | (synchronised & before[1]) | (before[0] & before[1])),
        ]

        # A one is put in front of the first bit: when it arrives at the bottom, all are there.
        bits, step = self._rate.bits, self._rate.step
        # Half a bit behind the edge, less the one cycle that the edge and the sample are late on average.
        start = (1 << bits - 1) + step
        phase = Signal(bits, init=start, reset_less=True)
        shift = Signal(9, reset_less=True)
        sample = Signal()
        busy, armed, starting, first = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [sample.eq((phase + step)[bits]), self.byte.eq(shift[1:])]
        m.d.sync += self.byte_stb.eq(0)
        with m.If(busy):
            m.d.sync += phase.eq(phase + step)
            with m.If(sample):
                m.d.sync += [starting.eq(0), first.eq(starting)]
                with m.If(first):
                    m.d.sync += shift.eq(Cat(Const(1 << 7, 8), line))
                with m.Elif(~starting & ~shift[0]):
                    m.d.sync += shift.eq(Cat(shift[1:], line))
                with m.If(starting):
                    m.d.sync += busy.eq(~line)
                with m.Elif(~first & shift[0]):
                    m.d.sync += [busy.eq(0), armed.eq(line), self.byte_stb.eq(line)]
        with m.Else():
            m.d.sync += phase.eq(start)
            with m.If(line):
                m.d.sync += armed.eq(1)
            with m.Elif(armed):
                m.d.sync += [busy.eq(1), armed.eq(0), starting.eq(1), first.eq(0)]
        return m


class UARTTransmitter(wiring.Component):
    """Bytes to the wire. Takes one whenever none is being sent.

    Parameters
    ----------
    clock, baud : float
        Cycles and bits a second.

    Members
    -------
    bytes : ``In(stream.Signature(8))``
    tx : ``Out(1, init=1)``
        The wire; the start bit begins the cycle after a byte was taken.

    Raises
    ------
    ValueError
        If the baud rate does not fit the clock.
    """

    def __init__(self, *, clock: float, baud: float):
        self._rate = BitRate.of(clock=clock, baud=baud)
        super().__init__({"bytes": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        # A one follows the byte: the stop bit. When nothing is left behind it, it is being sent.
        bits, step = self._rate.bits, self._rate.step
        phase = Signal(bits, reset_less=True)
        shift = Signal(9, reset_less=True)
        busy, bit_ends = Signal(), Signal()
        m.d.comb += [self.bytes.ready.eq(~busy), bit_ends.eq((phase + step)[bits])]
        with m.If(busy):
            m.d.sync += phase.eq(phase + step)
            with m.If(bit_ends):
                m.d.sync += shift.eq(shift[1:])
                with m.If(shift == 0):
                    m.d.sync += busy.eq(0)
                with m.Else():
                    m.d.sync += self.tx.eq(shift[0])
        with m.Else():
            m.d.sync += phase.eq(0)
            with m.If(self.bytes.valid):
                m.d.sync += [busy.eq(1), self.tx.eq(0), shift.eq(Cat(self.bytes.payload, 1))]
        return m
