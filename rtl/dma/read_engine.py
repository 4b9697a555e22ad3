"""Read half of the DMA: commands of LOAD and of instruction fetch become AXI bursts, and beats come back."""
from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..contract.fabric import Fabric
from ..contract.isa import ROW_BYTES_BITS
from ..contract.registers import Fault
from ..link.axi import RESP_OKAY
from ..signatures import FaultPort
from .burst import BurstSplitter, burst_beats, command_layout
from .channels import ADDRESS_CHANNEL, read_beat
from .queue import Fifo, Queue

FETCH_COMMAND_BITS = 32
"""Bits of the byte count of a fetch."""

FETCH_BURSTS = 2
"""Longest bursts that the fetch FIFO holds: one on its way while the other is decoded."""


OWNER = data.StructLayout({"fetch": 1, "address": 32})


class ReadEngine(wiring.Component):
    """Two readers share the AR and R channels, burst by burst; fetch goes first, it is rare.

    Up to ``outstanding`` bursts are under way. Their owners wait in a FIFO, since one identifier makes the
    beats come back in order. LOAD holds R up when it does not take its beats (``load_data.ready``). A fetch
    burst is only issued when the fetch FIFO has room for a longest burst, so a sequencer that takes no beats
    stops nobody.

    ``r.ready`` depends on registers and ``abort`` only; ``load_data`` and ``fetch_data`` come from registers.

    A response other than OKAY pulses ``fault`` in the next cycle; neither reader sees its beat
    before.

    While ``abort`` is high no new burst is issued (one that waits for ``ar.ready`` stays, as AXI demands) and
    beats are dropped; ``quiet`` is high when no burst is under way. Reset before use after an abort.

    Parameters
    ----------
    fabric : Fabric
        Gives ``bus_bytes``, ``max_burst`` and ``outstanding``.

    Members
    -------
    ar : ``Out(stream.Signature(ADDRESS_CHANNEL))``
    r : ``In(stream.Signature(read_beat(fabric)))``
    load_command, fetch_command : ``In(stream.Signature(command_layout(...)))``
    load_data, fetch_data : ``Out(stream.Signature(8 * bus_bytes))``
        The beats of the commands, in order.
    fault : ``Out(FaultPort())``
        READ_RESPONSE with the address of the burst.
    abort : ``In(1)``
    quiet : ``Out(1)``
    """

    def __init__(self, *, fabric: Fabric):
        self._fabric = fabric
        beat = 8 * fabric.bus_bytes
        super().__init__({
            "ar": Out(stream.Signature(ADDRESS_CHANNEL)),
            "r": In(stream.Signature(read_beat(fabric))),
            "load_command": In(stream.Signature(command_layout(ROW_BYTES_BITS))),
            "load_data": Out(stream.Signature(beat)),
            "fetch_command": In(stream.Signature(command_layout(FETCH_COMMAND_BITS))),
            "fetch_data": Out(stream.Signature(beat)),
            "fault": Out(FaultPort()),
            "abort": In(1),
            "quiet": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        fabric = self._fabric
        beat = 8 * fabric.bus_bytes
        longest = burst_beats(fabric)
        m.submodules.load = load = BurstSplitter(fabric=fabric, bytes_bits=ROW_BYTES_BITS)
        m.submodules.fetch = fetch = BurstSplitter(fabric=fabric, bytes_bits=FETCH_COMMAND_BITS)
        m.submodules.owners = owners = Fifo(OWNER, depth=fabric.outstanding)
        m.submodules.load_queue = load_queue = Queue(beat)
        m.submodules.fetch_fifo = fetch_fifo = Fifo(beat, depth=max(FETCH_BURSTS * longest, 3))
        wiring.connect(m, wiring.flipped(self.load_command), load.command)
        wiring.connect(m, wiring.flipped(self.fetch_command), fetch.command)
        wiring.connect(m, load_queue.o, wiring.flipped(self.load_data))
        wiring.connect(m, fetch_fifo.o, wiring.flipped(self.fetch_data))

        # Room of the fetch FIFO that belongs to beats in it or on their way.
        reserved = Signal(range(FETCH_BURSTS * longest + 1))
        reserves = Signal(range(longest + 1))  # a cycle late
        open_bursts = Signal(range(fabric.outstanding + 1))

        choose_fetch, fetched = Signal(), Signal()
        issue = Signal()
        m.d.comb += [
            choose_fetch.eq(fetch.burst.valid & (reserved <= (FETCH_BURSTS - 1) * longest) & ~fetched),
            issue.eq((choose_fetch | load.burst.valid) & owners.i.ready & (open_bursts != fabric.outstanding)
                     & (self.ar.ready | ~self.ar.valid) & ~self.abort),
            fetch.burst.ready.eq(issue & choose_fetch),
            load.burst.ready.eq(issue & ~choose_fetch),
            owners.i.valid.eq(issue),
            owners.i.p.fetch.eq(choose_fetch),
            owners.i.p.address.eq(Mux(choose_fetch, fetch.burst.p.address, load.burst.p.address)),
        ]
        with m.If(issue):
            m.d.sync += [
                self.ar.valid.eq(1),
                self.ar.p.address.eq(owners.i.p.address),
                self.ar.p.len.eq(Mux(choose_fetch, fetch.burst.p.len, load.burst.p.len)),
            ]
        with m.Elif(self.ar.ready):
            m.d.sync += self.ar.valid.eq(0)

        taken = Signal()
        burst_done = Signal()
        m.d.comb += [
            self.r.ready.eq(owners.o.valid & (load_queue.i.ready | owners.o.p.fetch | self.abort)),
            taken.eq(self.r.valid & self.r.ready),
            burst_done.eq(taken & self.r.p.last),
            owners.o.ready.eq(burst_done),
            load_queue.i.valid.eq(taken & ~owners.o.p.fetch & ~self.abort),
            load_queue.i.payload.eq(self.r.p.data),
            fetch_fifo.i.valid.eq(taken & owners.o.p.fetch & ~self.abort),
            fetch_fifo.i.payload.eq(self.r.p.data),
            self.quiet.eq(open_bursts == 0),
        ]
        m.d.sync += [
            open_bursts.eq(open_bursts + issue - burst_done),
            fetched.eq(issue & choose_fetch),
            reserves.eq(Mux(issue & choose_fetch, fetch.burst.p.len + 1, 0)),
            reserved.eq(reserved + reserves - (self.fetch_data.valid & self.fetch_data.ready)),
            self.fault.valid.eq(taken & (self.r.p.resp != RESP_OKAY)),
            self.fault.code.eq(Fault.READ_RESPONSE),
            self.fault.address.eq(owners.o.p.address),
        ]
        return m
