"""QSPI flash behind an AXI4 port: read only, for constants; commands go through registers."""
from amaranth import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..contract.flash import SINGLE_IDLE, STATUS_2_QUAD, FlashCommand, FlashReg
from ..link.axi import AXI4, RESP_SLVERR, AXI4Lite
from .pins import FlashPins

BEAT_BYTES = 4
ADDRESS_BITS = 24
PAGE_BITS = 12
"""No burst crosses a multiple of 4 KB (AMBA AXI4 specification, A3.4.1)."""
STEPS = 8
"""Clocks of the flash in which a word passes its four lines."""
DUMMY_STEPS = 4
MODE = 0xFF
"""Mode byte of a read: the next command begins with its code again. The other choice would save 8 clocks of
20 in each jump, but a flash that is left in that mode hears neither a reset gateware nor the loader of the
bitstream."""
WAKE_ROUNDS = 64
"""Waits of STEPS cycles behind each command of the start-up: longer than tRES1, 3 us from power-down, where
the loader of the bitstream leaves the flash, until it hears commands."""

START_UP = (FlashCommand.WAKE, FlashCommand.VOLATILE_ENABLE, FlashCommand.WRITE_STATUS_2, STATUS_2_QUAD)
"""Bytes sent after a reset; each is a command but the last two, which are one."""


class Lines(enum.Enum, shape=2):
    """Who drives the flash's lines. Bit 0: IO0, IO2 and IO3; bit 1: IO1."""

    FLASH = 0
    SINGLE = 1
    QUAD = 3


class Source(enum.Enum, shape=2):
    """What a word to be sent is."""

    CODE = 0
    ADDRESS = 1
    REGISTER = 2


class FlashController(wiring.Component):
    """Streams words from the flash; a burst that begins where the last one ended goes on in the same stream.

    The flash's clock is that of "sync", up to 104 MHz.

    All that passes the lines passes one register of 8 nibbles, a nibble in each cycle::

        start-up  wake, allow a volatile write, set the bit that makes quad mode possible
        jump      command (8 cycles), address and mode (8), dummies (4), then
        stream    a beat in 8 cycles, and one more (and ``pin_delay``) to hand it over; then the flash's clock
                  stands still until the next beat is wanted

    Bursts are taken one at a time. Writes are taken and answered with SLVERR; bursts wait while the flash is
    the host's.

    Parameters
    ----------
    pin_delay : int
        Cycles that registers between ``pins`` and the chip add, both ways together; at most 4.

    Members
    -------
    axi : ``In(AXI4(data_bytes=4))``
        INCR bursts of full-width beats; bits 31:24 of an address are ignored. All outputs depend
        on registers only.
    axil : ``In(AXI4Lite(address_width=12))``
        FlashReg, one access at a time.
    pins : ``Out(FlashPins())``

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    LATENCY_NEXT = STEPS + 2
    """Cycles from a burst's address to its first beat where it goes on with the stream, and ``pin_delay``."""
    LATENCY_JUMP = LATENCY_NEXT + 2 * STEPS + DUMMY_STEPS + 2
    """The same elsewhere if the flash is not selected."""
    LATENCY_DESELECT = STEPS + 2
    """More if it is. The flash is deselected for at least STEPS cycles, longer than tSHSL2 (50 ns)."""

    def __init__(self, *, pin_delay: int = 0):
        if not 0 <= pin_delay <= 4:
            raise ValueError(f"pin_delay is {pin_delay}; it can be 0 to 4")
        self._pin_delay = pin_delay
        super().__init__({"axi": In(AXI4(data_bytes=BEAT_BYTES)), "axil": In(AXI4Lite(address_width=12)),
                          "pins": Out(FlashPins())})

    def elaborate(self, platform):
        m = Module()
        axi, axil, pins = self.axi, self.axil, self.pins
        # The word on the lines: out of the top, in at the bottom. A step that sends moves it at the end of
        # the pulse's cycle, one that receives when the nibble is there: then as well, without pin_delay.
        word = Signal(4 * STEPS)
        lines = Signal(Lines)
        left = Signal(range(STEPS), init=STEPS - 1)  # pulses to come after the one in this cycle
        last_step, wanted = Signal(), Signal()  # wanted: what the word receives is
        receiving = Signal()
        m.d.comb += last_step.eq(pins.sck_en & (left == 0))
        here, complete = self._received(m, last_step=last_step & wanted)
        m.d.comb += [
            pins.io_o.eq(word[-4:]),
            pins.io_oe.eq(Cat(lines.as_value()[0], lines.as_value()[1], lines.as_value()[0],
                              lines.as_value()[0])),
        ]
        with m.If(Mux(receiving, here, pins.sck_en)):
            m.d.sync += word.eq(Cat(pins.io_i, word[:-4]))
        resting = Signal()
        with m.If(pins.sck_en | resting):  # begins again with STEPS - 1 by itself
            m.d.sync += left.eq(left - 1)
        with m.If(last_step):
            m.d.sync += pins.sck_en.eq(0)

        # What the word can be set to: a command's code in single mode, address and mode, what the host wrote.
        start = axi.araddr[2:ADDRESS_BITS]
        load, source = Signal(), Signal(Source)
        started, step = Signal(), Signal(range(len(START_UP)))
        code = Signal(8)
        m.d.comb += code.eq(Mux(started, FlashCommand.READ_QUAD_IO, Array(START_UP)[step]))
        with m.If(load):
            with m.Switch(source):
                with m.Case(Source.CODE):
                    m.d.sync += word.eq(Cat(Cat(bit, Const(SINGLE_IDLE >> 1, 3)) for bit in code))
                with m.Case(Source.ADDRESS):
                    m.d.sync += word.eq(Cat(Const(MODE, 8), Const(0, 2), start))
                with m.Default():
                    m.d.sync += word.eq(axil.wdata)

        def begin(who, *, send=None):
            """From the next cycle on: a word's steps, of which the first sends the word's top, if any."""
            m.d.sync += [pins.sck_en.eq(1), lines.eq(who), receiving.eq(send is None)]
            if send is not None:
                m.d.comb += [load.eq(1), source.eq(send)]

        def deselect():
            m.d.sync += [pins.cs_n.eq(1), is_open.eq(0)]
            m.next = "deselect"

        self._refuse_writes(m)

        # R is the word itself.
        host = Signal()
        m.d.comb += axi.rdata.eq(Cat(word.word_select(n, 8) for n in reversed(range(BEAT_BYTES))))

        # The beat that the stream gives next. At the end of a page, which no burst crosses, the stream ends.
        page = Signal(ADDRESS_BITS - PAGE_BITS)
        place = Signal(PAGE_BITS - 2 + 1)
        is_open, addressed, goes_on = Signal(), Signal(), Signal()
        m.d.sync += goes_on.eq(is_open & (Cat(place, page) == Cat(start[:PAGE_BITS - 2], Const(0, 1),
                                                                  start[PAGE_BITS - 2:])))
        count = Signal(8, init=1)  # beats to come after the one under way; rounds to wait in the start-up
        m.d.comb += axi.rlast.eq(count == 0)
        with m.FSM(init="deselect"):
            with m.State("deselect"):
                m.d.comb += resting.eq(1)
                with m.If(left == 0):
                    with m.If(~started):
                        m.d.sync += count.eq(count - 1)
                    with m.If(started | (count[:exact_log2(WAKE_ROUNDS)] == 1)):
                        m.next = "idle"
            with m.State("idle"):
                with m.If(axil.arvalid | axil.rvalid):  # what is read stays as it is
                    m.d.comb += axil.arready.eq(~axil.rvalid)
                with m.Elif(~started):
                    begin(Lines.SINGLE, send=Source.CODE)
                    m.d.sync += pins.cs_n.eq(0)
                    m.next = "send"
                with m.Elif(axil.awvalid & axil.wvalid & ~axil.bvalid):
                    m.d.comb += [axil.awready.eq(1), axil.wready.eq(1)]
                    with m.If(axil.awaddr[2:4] == FlashReg.SELECT >> 2):
                        m.d.sync += [host.eq(axil.wdata[0]), axil.bvalid.eq(1), axil.bresp.eq(0)]
                        deselect()
                    with m.Elif(host):
                        begin(Lines.SINGLE, send=Source.REGISTER)
                        m.d.sync += [pins.cs_n.eq(0), axil.bresp.eq(0)]
                        m.next = "send"
                        with m.If(axil.awaddr[2:4] == FlashReg.SEND_QUAD >> 2):
                            m.d.sync += lines.eq(Lines.QUAD)
                        with m.If(axil.awaddr[2:4] == FlashReg.RECEIVE >> 2):
                            m.d.sync += [lines.eq(Lines.FLASH), receiving.eq(1)]
                            m.next = "receive"
                    with m.Else():
                        m.d.sync += [axil.bvalid.eq(1), axil.bresp.eq(RESP_SLVERR)]
                with m.Elif(axi.arvalid & ~host):
                    m.next = "burst"
            with m.State("burst"):
                with m.If(goes_on):
                    m.d.comb += axi.arready.eq(1)
                    begin(Lines.FLASH)
                    m.d.sync += count.eq(axi.arlen)
                    m.next = "stream"
                with m.Elif(~pins.cs_n):
                    deselect()
                with m.Else():
                    begin(Lines.SINGLE, send=Source.CODE)
                    m.d.sync += [pins.cs_n.eq(0), addressed.eq(0)]
                    m.next = "send"
            with m.State("send"):
                with m.If(last_step):
                    with m.If(host):
                        m.d.sync += axil.bvalid.eq(1)
                        m.next = "idle"
                    with m.Elif(~started):
                        # The last byte belongs to the command of the one before: it follows at once.
                        m.d.sync += [step.eq(step + 1), started.eq(step == len(START_UP) - 1)]
                        with m.If(step == len(START_UP) - 2):
                            m.next = "second byte"
                        with m.Else():
                            deselect()
                    with m.Elif(~addressed):
                        begin(Lines.QUAD, send=Source.ADDRESS)
                        m.d.sync += addressed.eq(1)
                    with m.Else():
                        begin(Lines.FLASH)
                        m.d.sync += left.eq(DUMMY_STEPS - 1)
                        m.next = "dummies"
            with m.State("second byte"):
                begin(Lines.SINGLE, send=Source.CODE)
                m.next = "send"
            with m.State("dummies"):
                with m.If(last_step):
                    m.d.sync += [is_open.eq(1), place.eq(start[:PAGE_BITS - 2]),
                                 page.eq(start[PAGE_BITS - 2:])]
                    m.next = "idle"
            with m.State("receive"):
                m.d.comb += wanted.eq(1)
                with m.If(complete):
                    m.d.sync += axil.bvalid.eq(1)
                    m.next = "idle"
            with m.State("stream"):
                m.d.comb += wanted.eq(1)
                with m.If(complete):
                    m.d.sync += axi.rvalid.eq(1)
                    m.next = "beat"
            with m.State("beat"):
                with m.If(axi.rready):
                    m.d.sync += [axi.rvalid.eq(0), place.eq(place + 1), count.eq(count - 1)]
                    m.next = "idle"
                    with m.If(count != 0):
                        begin(Lines.FLASH)
                        m.next = "stream"
        with m.If(axil.bvalid & axil.bready):
            m.d.sync += axil.bvalid.eq(0)

        # Whatever is read of the registers is the word.
        m.d.comb += axil.rdata.eq(word)
        m.d.sync += axil.rvalid.eq(Mux(axil.rvalid, ~axil.rready, axil.arvalid & axil.arready))
        return m

    def _received(self, m, *, last_step):
        """Whether a nibble is at ``io_i``, and whether it is a word's last."""
        seen = Cat(self.pins.sck_en, last_step)
        for n in range(self._pin_delay):
            after = Signal(2, name=f"received_{n}")
            m.d.sync += after.eq(seen)
            seen = after
        return seen[0], seen[1]

    def _refuse_writes(self, m):
        axi = self.axi
        draining = Signal()
        m.d.comb += [axi.awready.eq(~draining & ~axi.bvalid), axi.wready.eq(draining),
                     axi.bresp.eq(RESP_SLVERR)]
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += draining.eq(1)
        with m.If(draining & axi.wvalid & axi.wlast):
            m.d.sync += [draining.eq(0), axi.bvalid.eq(1)]
        with m.If(axi.bvalid & axi.bready):
            m.d.sync += axi.bvalid.eq(0)
