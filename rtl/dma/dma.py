"""The DMA: LOAD and STORE with the two halves of the AXI4 memory port, which the instruction fetch shares."""
from amaranth import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..contract.fabric import Fabric
from ..contract.isa import Unit
from ..link.axi import AXI4, BURST_INCR
from ..signatures import AMAccessPort, FaultPort, UnitPort
from .load import LoadUnit, wide_ports
from .read_engine import FETCH_COMMAND_BITS, ReadEngine
from .store import StoreUnit
from .write_engine import WriteEngine

CACHE_NORMAL = 0b0011
"""AxCACHE: normal memory, non-cacheable, bufferable (AMBA AXI4 specification, A4.4)."""

FETCH_COMMAND = data.StructLayout({"address": 32, "bytes": FETCH_COMMAND_BITS})


class DMA(wiring.Component):
    """Everything that crosses the memory port.

    Bursts are INCR, of full-width beats, up to ``fabric.max_burst`` of them, and end where a block of that
    size ends; so no burst crosses 4 KB. All outputs of the memory port but ``rready`` come from registers;
    ``rready`` depends on registers and ``abort``.

    A bus error pulses ``fault``. The sequencer then raises ``abort`` and holds it until ``quiet``: no
    transaction is started, those under way are carried to their end, read data is dropped and nothing more is
    written. After that the DMA needs a reset; ``quiet`` says that a reset breaks no rule of AXI.

    Parameters
    ----------
    fabric : Fabric
    am_read_latency, am_write_latency : int
        LATENCY_ACCESS and LATENCY_WRITE of the activation memory.

    Members
    -------
    axi : ``Out(AXI4(data_bytes=bus_bytes))``
    load : ``In(UnitPort(Unit.LOAD))``
    store : ``In(UnitPort(Unit.STORE))``
    am_load, am_store : ``Out(AMAccessPort(fabric))``
    wm, pm, table : ``Out(WideWritePort(...))``
        See load.wide_ports.
    fetch_command : ``In(stream.Signature(FETCH_COMMAND))``
    fetch_data : ``Out(stream.Signature(8 * bus_bytes))``
        The beats asked for, in order; it may be stalled for any time without stopping LOAD.
    fault : ``Out(FaultPort())``
        READ_RESPONSE or WRITE_RESPONSE with the address of the burst; of two in one cycle the read.
    abort : ``In(1)``
    quiet : ``Out(1)``
    """

    def __init__(self, *, fabric: Fabric, am_read_latency: int, am_write_latency: int):
        self._fabric = fabric
        self._load = LoadUnit(fabric=fabric, am_write_latency=am_write_latency)
        self._store = StoreUnit(fabric=fabric, am_read_latency=am_read_latency)
        super().__init__({
            "axi": Out(AXI4(data_bytes=fabric.bus_bytes)),
            "load": In(UnitPort(Unit.LOAD)),
            "store": In(UnitPort(Unit.STORE)),
            "am_load": Out(AMAccessPort(fabric)),
            "am_store": Out(AMAccessPort(fabric)),
            **wide_ports(fabric),
            "fetch_command": In(stream.Signature(FETCH_COMMAND)),
            "fetch_data": Out(stream.Signature(8 * fabric.bus_bytes)),
            "fault": Out(FaultPort()),
            "abort": In(1),
            "quiet": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.load_unit = load = self._load
        m.submodules.store_unit = store = self._store
        m.submodules.read = read = ReadEngine(fabric=self._fabric)
        m.submodules.write = write = WriteEngine(fabric=self._fabric)
        for ours, theirs in ((self.load, load.port), (self.store, store.port)):
            wiring.connect(m, wiring.flipped(ours), theirs)
        for theirs, ours in ((load.am, self.am_load), (store.am, self.am_store), (load.wm, self.wm),
                             (load.pm, self.pm), (load.table, self.table),
                             (read.fetch_data, self.fetch_data)):
            wiring.connect(m, theirs, wiring.flipped(ours))
        wiring.connect(m, load.command, read.load_command)
        wiring.connect(m, read.load_data, load.data)
        wiring.connect(m, store.command, write.command)
        wiring.connect(m, store.data, write.data)

        axi = self.axi
        m.d.comb += [
            read.fetch_command.valid.eq(self.fetch_command.valid),
            self.fetch_command.ready.eq(read.fetch_command.ready),
            read.fetch_command.p.address.eq(self.fetch_command.p.address),
            read.fetch_command.p.bytes.eq(self.fetch_command.p.bytes),
            store.bursts_done.eq(write.done),
            read.abort.eq(self.abort),
            write.abort.eq(self.abort),
            self.quiet.eq(read.quiet & write.quiet),
            self.fault.valid.eq(read.fault.valid | write.fault.valid),
            self.fault.code.eq(write.fault.code),
            self.fault.address.eq(write.fault.address),

            axi.wvalid.eq(write.w.valid), write.w.ready.eq(axi.wready),
            axi.wdata.eq(write.w.p.data), axi.wstrb.eq(write.w.p.strobe), axi.wlast.eq(write.w.p.last),
            write.b.valid.eq(axi.bvalid), axi.bready.eq(write.b.ready), write.b.p.resp.eq(axi.bresp),
            read.r.valid.eq(axi.rvalid), axi.rready.eq(read.r.ready),
            read.r.p.data.eq(axi.rdata), read.r.p.resp.eq(axi.rresp), read.r.p.last.eq(axi.rlast),
        ]
        with m.If(read.fault.valid):
            m.d.comb += [self.fault.code.eq(read.fault.code), self.fault.address.eq(read.fault.address)]
        for way, channel in (("r", read.ar), ("w", write.aw)):
            m.d.comb += [
                getattr(axi, f"a{way}valid").eq(channel.valid),
                channel.ready.eq(getattr(axi, f"a{way}ready")),
                getattr(axi, f"a{way}addr").eq(channel.p.address),
                getattr(axi, f"a{way}len").eq(channel.p.len),
                getattr(axi, f"a{way}size").eq(exact_log2(self._fabric.bus_bytes)),
                getattr(axi, f"a{way}burst").eq(BURST_INCR),
                getattr(axi, f"a{way}cache").eq(CACHE_NORMAL),
            ]
        return m
