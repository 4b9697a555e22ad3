"""Write half of the DMA: commands and beats of STORE become AXI bursts, whose responses are awaited."""
from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..contract.fabric import Fabric
from ..contract.isa import ROW_BYTES_BITS
from ..contract.registers import Fault
from ..link.axi import RESP_OKAY
from ..signatures import FaultPort
from .burst import BurstSplitter, command_layout
from .channels import ADDRESS_CHANNEL, WRITE_RESPONSE, write_beat
from .queue import Fifo


def strobed_beat(fabric: Fabric) -> data.StructLayout:
    """A beat to write, and which of its bytes."""
    return data.StructLayout({"data": 8 * fabric.bus_bytes, "strobe": fabric.bus_bytes})


PROMISE = data.StructLayout({"len": 8})
ANSWER = data.StructLayout({"address": 32, "last": 1})


class WriteEngine(wiring.Component):
    """Issues AW, sends W in the order of AW, and counts B.

    Up to ``outstanding`` bursts wait for their response. AW goes ahead of W as far as that allows; W follows
    when the beats arrive and never waits for ``aw.ready``. ``b.ready`` is always high.

    ``done`` pulses the cycle after the response to a command marked ``last``; all responses before it have
    come too, since one identifier keeps them in order. A response other than OKAY pulses ``fault`` in the
    same cycle.

    While ``abort`` is high no new burst is issued (one that waits for ``aw.ready`` stays, as AXI demands),
    bursts already promised are completed with all strobes 0; ``quiet`` is high when no burst is under way.
    Reset before use after an abort.

    Parameters
    ----------
    fabric : Fabric
        Gives ``bus_bytes``, ``max_burst`` and ``outstanding``.

    Members
    -------
    aw : ``Out(stream.Signature(ADDRESS_CHANNEL))``
    w : ``Out(stream.Signature(write_beat(fabric)))``
    b : ``In(stream.Signature(WRITE_RESPONSE))``
    command : ``In(stream.Signature(command_layout(ROW_BYTES_BITS)))``
    data : ``In(stream.Signature(strobed_beat(fabric)))``
        The beats of the commands, in order. ``data.ready`` depends on ``w.ready``.
    done : ``Out(1)``
    fault : ``Out(FaultPort())``
        WRITE_RESPONSE with the address of the burst.
    abort : ``In(1)``
    quiet : ``Out(1)``
    """

    def __init__(self, *, fabric: Fabric):
        self._fabric = fabric
        super().__init__({
            "aw": Out(stream.Signature(ADDRESS_CHANNEL)),
            "w": Out(stream.Signature(write_beat(fabric))),
            "b": In(stream.Signature(WRITE_RESPONSE)),
            "command": In(stream.Signature(command_layout(ROW_BYTES_BITS))),
            "data": In(stream.Signature(strobed_beat(fabric))),
            "done": Out(1),
            "fault": Out(FaultPort()),
            "abort": In(1),
            "quiet": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        outstanding = self._fabric.outstanding
        m.submodules.splitter = splitter = BurstSplitter(fabric=self._fabric, bytes_bits=ROW_BYTES_BITS)
        m.submodules.to_send = to_send = Fifo(PROMISE, depth=outstanding)
        m.submodules.to_answer = to_answer = Fifo(ANSWER, depth=outstanding)
        wiring.connect(m, wiring.flipped(self.command), splitter.command)
        burst = splitter.burst

        open_bursts = Signal(range(outstanding + 1))
        issue = Signal()
        m.d.comb += [
            issue.eq(burst.valid & to_send.i.ready & to_answer.i.ready & (open_bursts != outstanding)
                     & (self.aw.ready | ~self.aw.valid) & ~self.abort),
            burst.ready.eq(issue),
            to_send.i.valid.eq(issue),
            to_send.i.p.len.eq(burst.p.len),
            to_answer.i.valid.eq(issue),
            to_answer.i.p.address.eq(burst.p.address),
            to_answer.i.p.last.eq(burst.p.last),
        ]
        with m.If(issue):
            m.d.sync += [
                self.aw.valid.eq(1), self.aw.p.address.eq(burst.p.address), self.aw.p.len.eq(burst.p.len)]
        with m.Elif(self.aw.ready):
            m.d.sync += self.aw.valid.eq(0)

        sent = Signal(8)  # beats of the burst at the head of ``to_send``
        free = Signal()
        send = Signal()
        m.d.comb += [
            free.eq(self.w.ready | ~self.w.valid),
            send.eq(free & to_send.o.valid & (self.data.valid | self.abort)),
            self.data.ready.eq(free & to_send.o.valid),
            to_send.o.ready.eq(send & (sent == to_send.o.p.len)),
        ]
        with m.If(send):
            m.d.sync += [
                self.w.valid.eq(1),
                self.w.p.data.eq(self.data.p.data),
                self.w.p.strobe.eq(Mux(self.abort, 0, self.data.p.strobe)),
                self.w.p.last.eq(to_send.o.ready),
                sent.eq(Mux(to_send.o.ready, 0, sent + 1)),
            ]
        with m.Elif(self.w.ready):
            m.d.sync += self.w.valid.eq(0)

        answered = Signal()
        m.d.comb += [
            self.b.ready.eq(1),
            answered.eq(self.b.valid),
            to_answer.o.ready.eq(answered),
            self.quiet.eq(open_bursts == 0),
        ]
        m.d.sync += [
            open_bursts.eq(open_bursts + issue - answered),
            self.done.eq(answered & to_answer.o.p.last),
            self.fault.valid.eq(answered & (self.b.p.resp != RESP_OKAY)),
            self.fault.code.eq(Fault.WRITE_RESPONSE),
            self.fault.address.eq(to_answer.o.p.address),
        ]
        return m
