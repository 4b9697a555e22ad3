"""The board's end of the link: requests from the wire become register and memory accesses."""
from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..contract.link import (
    ANSWER,
    CRC_BYTES,
    ESCAPE,
    FLAG,
    MAX_DATA,
    REGISTER_BYTES,
    REPLY,
    REQUEST,
    Info,
    Kind,
    Status,
)
from .axi import AXI4, BURST_INCR, AXI4Lite
from .frame import CRC_START, POINTER_BITS, START, FrameReceiver, crc_step
from .uart import UARTReceiver, UARTTransmitter

CACHE_NORMAL = 0b0011
"""AxCACHE of memory that may be buffered."""


class LinkBridge(wiring.Component):
    """Carries out the requests of rtl/contract/link.py, each once, and answers each.

    A request is looked at when it is complete and its check was right. It lies in one half of a buffer while
    the next one arrives in the other half; the answer's data lie in a buffer too, so that an answer can be
    given again. Memory is accessed a beat at a time, one transaction under way: the wire takes a hundred
    cycles for a byte, and a burst of the fabric that shares the memory port waits for one beat at most. No
    transaction is given up, so a memory that never answers silences the link until the reset.

    All outputs come from registers, but for the ``valid`` signals, which are one gate behind them, and depend
    on no input.

    Parameters
    ----------
    info : Info
        What the board says of itself; ``info.clock`` is that of the "sync" domain.
    baud : int
        Bits a second on the wire.
    data_bytes : int
        Bytes of a beat on the memory port: 4, 8 or 16.

    Members
    -------
    uart_rx : ``In(1, init=1)``
        The wire from the host, in no clock domain.
    uart_tx : ``Out(1, init=1)``
        The wire to the host.
    axil : ``Out(AXI4Lite(address_width=16))``
        Registers: page 0 (addresses 0x0xxx) is the fabric's, page 1 (0x1xxx) the board's.
    axi : ``Out(AXI4(data_bytes=data_bytes))``
        Memory. Single beats, with strobes for those bytes that were asked for.
    active : ``Out(1)``
        A request is being carried out or answered.

    Raises
    ------
    ValueError
        If ``data_bytes`` is another number, or the baud rate does not fit the clock.
    """

    def __init__(self, *, info: Info, baud: int, data_bytes: int):
        if data_bytes not in (4, 8, 16):
            raise ValueError(f"data_bytes is {data_bytes}; choose 4, 8 or 16")
        self._info, self._data_bytes = info, data_bytes
        self._receiver = UARTReceiver(clock=info.clock, baud=baud)
        self._transmitter = UARTTransmitter(clock=info.clock, baud=baud)
        super().__init__({
            "uart_rx": In(1, init=1), "uart_tx": Out(1, init=1),
            "axil": Out(AXI4Lite(address_width=16)), "axi": Out(AXI4(data_bytes=data_bytes)),
            "active": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        data_bytes = self._data_bytes
        lane_bits = exact_log2(data_bytes)
        m.submodules.receiver = receiver = self._receiver
        m.submodules.transmitter = transmitter = self._transmitter
        m.submodules.frames = frames = FrameReceiver()
        # Two requests, each in its half.
        m.submodules.requests = requests = Memory(shape=8, depth=2 << POINTER_BITS, init=[])
        # Data of the last answer; behind them the board's info.
        m.submodules.answers = answers = Memory(shape=8, depth=2 * MAX_DATA,
                                                init=[*bytes(MAX_DATA), *self._info.pack()])
        put, get = requests.write_port(), requests.read_port()
        keep, give = answers.write_port(), answers.read_port()
        axi, axil = self.axi, self.axil

        half = Signal()  # the one that is being received
        m.d.comb += [
            receiver.rx.eq(self.uart_rx), self.uart_tx.eq(transmitter.tx),
            frames.byte.eq(receiver.byte), frames.byte_stb.eq(receiver.byte_stb),
            put.addr.eq(Cat(frames.write_address, half)), put.data.eq(frames.write_data),
            put.en.eq(frames.write_stb),
        ]

        # The request at hand: its bytes come in at the top. When it has been carried out, the first three
        # bytes of the answer take the place of kind and sequence.
        header = Signal(8 * REQUEST.size, reset_less=True)
        head, sequence, address, count = header[:8], header[8:16], header[16:48], header[48:]
        writes, memory, identify = head[0], head[1], head[2]
        beat, skip = address[lane_bits:exact_log2(MAX_DATA)], address[:lane_bits]
        # Of the byte in either buffer that is at hand; the one read last is at the output a cycle later.
        pointer = Signal(POINTER_BITS, init=START, reset_less=True)
        at_end = Signal()
        m.d.comb += [get.addr.eq(Cat(pointer, ~half)), at_end.eq(pointer[:8] == count)]

        last = Signal(8)  # the sequence number carried out last
        opened = Signal()
        response = Signal(2, reset_less=True)  # how that went
        # The request at hand was refused, and why; its answer has data, and they are the info.
        refused, refusal = Signal(reset_less=True), Signal(2, reset_less=True)
        gives, info = Signal(reset_less=True), Signal(reset_less=True)
        status = Cat(Mux(refused, refusal, response), refused)

        # What the control below says.
        load, settled, shift, here, ended = Signal(), Signal(), Signal(), Signal(), Signal()
        accessing, read_out, advance = Signal(), Signal(), Signal()
        accept, repeat, deny, reason = Signal(), Signal(), Signal(), Signal(2)
        fill, respond, next_byte = Signal(), Signal(), Signal()
        selects = {name: Signal(name=f"select_{name}") for name in ("edge", "head", "data", "check")}

        with m.If(load | (next_byte & selects["head"])):
            m.d.sync += header[:16].eq(Cat(sequence, Mux(load, address[:8], last)))
        with m.If(fill):
            m.d.sync += head.eq(ANSWER | status)
        with m.If(load):
            m.d.sync += header[16:].eq(Cat(header[24:], get.data))
        with m.If(respond):
            m.d.sync += pointer.eq((1 << POINTER_BITS) - REPLY.size)
        with m.Elif(self.active):
            with m.If(load | (shift & here) | (next_byte & (selects["head"] | selects["data"]))):
                m.d.sync += pointer.eq(pointer + 1)
        with m.Else():
            m.d.sync += pointer.eq(START)

        with m.If(accept):
            m.d.sync += [last.eq(sequence), response.eq(Status.OK)]
        with m.If(accept | repeat | deny):
            m.d.sync += [refused.eq(deny), refusal.eq(reason), gives.eq(~writes & ~deny), info.eq(identify)]

        # A beat to write: its bytes come in at the top. One that was read goes the same way.
        word, strobe = Signal(8 * data_bytes, reset_less=True), Signal(data_bytes, reset_less=True)
        lane = Signal(lane_bits)
        lane_ends = Signal()
        m.d.comb += [
            lane_ends.eq(Mux(memory, lane.all(), lane[:2].all())),
            here.eq(((skip == 0) | ~memory) & ~ended),
            keep.addr.eq(pointer[:8]), keep.en.eq(shift & here & ~writes),
            keep.data.eq(Mux(memory, word[:8], axil.rdata.word_select(lane[:2], 8))),
        ]
        with m.If(shift):
            m.d.sync += [strobe.eq(Cat(strobe[1:], here)), lane.eq(Mux(lane_ends, 0, lane + 1))]
            with m.If(here & at_end):
                m.d.sync += ended.eq(1)
        with m.If(~self.active):
            m.d.sync += ended.eq(0)
        with m.If(shift):
            m.d.sync += word.eq(Cat(word[8:], get.data))
        with m.Elif(accessing & ~writes):
            m.d.sync += word.eq(axi.rdata)
        with m.If(shift & ~here & ~ended):
            m.d.sync += skip.eq(skip - 1)
        with m.If(advance):
            m.d.sync += beat.eq(beat + 1)

        # The two buses.
        addressed, sent = Signal(), Signal()
        m.d.comb += [
            axil.awaddr.eq(address), axil.araddr.eq(address),
            axil.wdata.eq(word[-32:]), axil.wstrb.eq(0b1111),
            axi.wdata.eq(word), axi.wstrb.eq(strobe), axi.wlast.eq(1),
        ]
        for bus, chosen in ((axi, memory), (axil, ~memory)):
            m.d.comb += [
                bus.awvalid.eq(accessing & chosen & writes & ~addressed),
                bus.wvalid.eq(accessing & chosen & writes & ~sent),
                bus.arvalid.eq(accessing & chosen & ~writes & ~addressed),
                bus.bready.eq(accessing), bus.rready.eq(read_out),
            ]
        for way in "rw":
            m.d.comb += [
                getattr(axi, f"a{way}addr").eq(Cat(Const(0, lane_bits), address[lane_bits:])),
                getattr(axi, f"a{way}size").eq(lane_bits), getattr(axi, f"a{way}burst").eq(BURST_INCR),
                getattr(axi, f"a{way}cache").eq(CACHE_NORMAL),
            ]
        answered, answer = Signal(), Signal(2)
        m.d.comb += [
            answered.eq(accessing & Mux(memory, axi.bvalid | axi.rvalid, axil.bvalid | axil.rvalid)),
            answer.eq(Mux(memory, Mux(writes, axi.bresp, axi.rresp), Mux(writes, axil.bresp, axil.rresp))),
        ]
        with m.If(answered):
            m.d.sync += [addressed.eq(0), sent.eq(0), response.eq(response | answer)]
        with m.Else():
            for bus in (axi, axil):
                with m.If(bus.awvalid & bus.awready | bus.arvalid & bus.arready):
                    m.d.sync += addressed.eq(1)
                with m.If(bus.wvalid & bus.wready):
                    m.d.sync += sent.eq(1)

        # The answer, a byte at a time: what needs it is escaped, and then the check goes over the byte, a bit
        # a cycle. The check's own bytes leave its register in the same way.
        byte, special, escaped = Signal(8), Signal(), Signal()
        check = Signal(32, init=CRC_START, reset_less=True)
        sending, checking, index = Signal(), Signal(), Signal(3)
        wire = transmitter.bytes
        m.d.comb += [
            sending.eq(Cat(selects.values()).any()),
            byte.eq(Mux(selects["edge"], FLAG, Mux(selects["head"], head, Mux(
                selects["data"], give.data, ~check[:8])))),
            special.eq(~selects["edge"] & ((byte == FLAG) | (byte == ESCAPE))),
            wire.valid.eq(sending & ~checking),
            wire.payload.eq(byte),
            next_byte.eq(checking & (index == 7)),
            give.addr.eq(Cat(pointer[:8], info)),
        ]
        with m.If(special):
            m.d.comb += [
                wire.payload[5].eq(byte[5] ^ escaped),
                wire.payload[:2].eq(Mux(escaped, byte[:2], ESCAPE & 3)),
            ]
        with m.If(wire.valid & wire.ready):
            m.d.sync += [escaped.eq(special & ~escaped), checking.eq(~special | escaped)]
        with m.Elif(next_byte):
            m.d.sync += checking.eq(0)
        with m.If(checking):
            m.d.sync += index.eq(index + 1)
        with m.If(selects["edge"]):
            m.d.sync += check.eq(CRC_START)
        with m.Elif(checking):
            bit = byte.bit_select(index, 1)
            m.d.sync += check.eq(crc_step(check, (check[0] ^ bit) & ~selects["check"]))

        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += frames.taken.eq(frames.done)
                with m.If(frames.done):
                    m.d.sync += [half.eq(~half), settled.eq(0)]
                    m.next = "LOAD"
            with m.State("LOAD"):
                # A byte every two cycles, here and in SHIFT: the buffer needs one.
                m.d.comb += [frames.held.eq(1), load.eq(settled)]
                m.d.sync += settled.eq(~settled)
                with m.If(load & (pointer == (1 << POINTER_BITS) - 1)):
                    m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.comb += frames.held.eq(1)
                ahead = (sequence - last)[:8]
                known = (head <= max(Kind)) & (frames.extra == Mux(writes, count + 1, 0) + CRC_BYTES) & (
                    memory | identify | (count == REGISTER_BYTES - 1))
                m.next = "RESPOND"
                with m.If(~known):
                    m.d.comb += [deny.eq(1), reason.eq(Status.MALFORMED)]
                with m.Elif(identify):
                    m.d.comb += accept.eq(1)
                    m.d.sync += opened.eq(1)
                with m.Elif(~opened):
                    m.d.comb += [deny.eq(1), reason.eq(Status.CLOSED)]
                with m.Elif(ahead == 0):
                    m.d.comb += repeat.eq(1)
                with m.Elif(ahead == 1):
                    m.d.comb += accept.eq(1)
                    with m.If(writes):
                        m.next = "SHIFT"
                    with m.Else():
                        m.next = "ACCESS"
                with m.Else():
                    m.d.comb += [deny.eq(1), reason.eq(Status.SEQUENCE)]
            with m.State("SHIFT"):
                m.d.comb += shift.eq(settled)
                m.d.sync += settled.eq(~settled)
                with m.If(shift & lane_ends):
                    with m.If(writes):
                        m.next = "ACCESS"
                    with m.Else():
                        m.d.comb += read_out.eq(1)
                        m.next = "NEXT"
            with m.State("ACCESS"):
                m.d.comb += accessing.eq(1)
                with m.If(answered):
                    with m.If(writes):
                        m.next = "NEXT"
                    with m.Else():
                        m.next = "SHIFT"
            with m.State("NEXT"):
                m.d.comb += advance.eq(1)
                with m.If(ended):
                    m.next = "RESPOND"
                with m.Elif(writes):
                    m.next = "SHIFT"
                with m.Else():
                    m.next = "ACCESS"
            with m.State("RESPOND"):
                m.d.comb += [selects["edge"].eq(1), respond.eq(1), fill.eq(~checking)]
                with m.If(next_byte):
                    m.next = "HEAD"
            with m.State("HEAD"):
                m.d.comb += selects["head"].eq(1)
                with m.If(next_byte & ~(pointer + 1)[POINTER_BITS - 1]):
                    m.next = "DATA"
                    with m.If(~gives | (status != Status.OK)):
                        m.next = "CHECK"
            with m.State("DATA"):
                m.d.comb += selects["data"].eq(1)
                with m.If(next_byte & at_end):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += selects["check"].eq(1)
                with m.If(next_byte):
                    m.d.sync += lane.eq(lane + 1)
                    with m.If(lane[:2].all()):
                        m.next = "END"
            with m.State("END"):
                m.d.comb += selects["edge"].eq(1)
                with m.If(next_byte):
                    m.d.sync += lane.eq(0)
                    m.next = "IDLE"
        m.d.comb += self.active.eq(~fsm.ongoing("IDLE"))
        return m
