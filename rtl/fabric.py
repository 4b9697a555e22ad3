"""The fabric: every unit joined, between an AXI4-Lite control port and an AXI4 memory port."""
from amaranth import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .accumulate.accumulators import Accumulators
from .contract.fabric import Fabric
from .dma.dma import DMA
from .feeder.feeder import Feeder
from .lean import LeanFabric
from .link.axi import AXI4, AXI4Lite
from .link.registers import Registers
from .memory.activation import ActivationMemory
from .memory.wide import WideMemory, parameter_memory, weight_memory
from .postprocess.post import PostProcess
from .primitives.cells import PORTABLE, Cells
from .sequencer.sequencer import Sequencer
from .systolic.array import SystolicArray


class FabricTop(wiring.Component):
    """Runs a program that lies in the memory at ``m_axi``, when the registers at ``s_axil`` say so.

    One clock domain, "sync". Between runs and after a fault the sequencer resets everything but the
    registers, itself and the contents of the memories. With ``shared_words`` it is LeanFabric.

    Parameters
    ----------
    fabric : Fabric
    cells : Cells
        What the chip builds it from.

    Members
    -------
    s_axil : ``In(AXI4Lite())``
        The registers of rtl/contract/registers.py.
    m_axi : ``Out(AXI4(data_bytes=bus_bytes))``
    s_axi : ``In(AXI4(data_bytes=bus_bytes))``
        Only with ``shared_words``: the shared memory.
    """

    def __init__(self, *, fabric: Fabric, cells: Cells = PORTABLE):
        self.fabric = fabric
        self.cells = cells
        bus = AXI4(data_bytes=fabric.bus_bytes)
        super().__init__({"s_axil": In(AXI4Lite()), "m_axi": Out(bus),
                          **({"s_axi": In(bus)} if fabric.shared_words else {})})

    def elaborate(self, platform):
        m = Module()
        fabric = self.fabric
        if fabric.shared_words:
            m.submodules.lean = lean = LeanFabric(fabric=fabric, cells=self.cells)
            for mine, its in ((self.s_axil, lean.s_axil), (self.s_axi, lean.s_axi)):
                connect(m, flipped(mine), its)
            connect(m, lean.m_axi, flipped(self.m_axi))
            return m
        registers, sequencer = Registers(fabric=fabric), Sequencer(fabric=fabric)
        am = ActivationMemory(fabric=fabric, clients=4, cells=self.cells)
        wm, pm = weight_memory(fabric, self.cells), parameter_memory(fabric, self.cells)
        dma = DMA(fabric=fabric, am_read_latency=am.LATENCY_ACCESS, am_write_latency=am.LATENCY_WRITE)
        feeder, array = Feeder(fabric=fabric), SystolicArray(fabric=fabric, cells=self.cells)
        accumulators = Accumulators(fabric=fabric)
        post = PostProcess(fabric=fabric, pm_latency=WideMemory.LATENCY_READ, read_latency=am.LATENCY_ACCESS,
                           write_latency=am.LATENCY_WRITE, cells=self.cells)

        m.submodules.registers = registers
        m.submodules.sequencer = sequencer
        cleared = ResetInserter(sequencer.clear)
        for name, unit in (("dma", dma), ("activation_memory", am), ("weight_memory", wm),
                           ("parameter_memory", pm), ("feeder", feeder), ("array", array),
                           ("accumulators", accumulators), ("post", post)):
            m.submodules[name] = cleared(unit)

        connect(m, flipped(self.s_axil), registers.axil)
        connect(m, dma.axi, flipped(self.m_axi))

        # Control.
        connect(m, registers.control, sequencer.control)
        connect(m, sequencer.fetch_command, dma.fetch_command)
        connect(m, dma.fetch_data, sequencer.fetch_data)
        connect(m, dma.fault, sequencer.fault)
        m.d.comb += [dma.abort.eq(sequencer.abort), sequencer.quiet.eq(dma.quiet)]
        connect(m, sequencer.load, dma.load)
        connect(m, sequencer.weights, feeder.weights)
        connect(m, sequencer.stream, feeder.stream)
        connect(m, sequencer.post, post.unit)
        connect(m, sequencer.store, dma.store)

        # The way of the data.
        connect(m, dma.wm, wm.write)
        connect(m, dma.pm, pm.write)
        connect(m, dma.table, post.table)
        connect(m, feeder.wm, wm.read)
        connect(m, feeder.am, am.feeder)
        connect(m, feeder.feed, array.feed)
        connect(m, array.sums, accumulators.sums)
        m.d.comb += feeder.credit.eq(accumulators.credit)
        connect(m, accumulators.results, post.results)
        connect(m, post.pm, pm.read)
        clients = dma.am_load, post.write, post.other, dma.am_store
        for client, access in zip(clients, am.access, strict=True):
            connect(m, client, access)
        return m
