"""The fabric: every unit joined, between an AXI4-Lite control port and an AXI4 memory port."""
from amaranth import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .accumulate.accumulators import Accumulators
from .contract.fabric import Fabric
from .dma.dma import DMA
from .feeder.feeder import Feeder
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
    registers, itself and the contents of the memories.

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
    """

    def __init__(self, *, fabric: Fabric, cells: Cells = PORTABLE):
        self.fabric = fabric
        self.cells = cells
        super().__init__({"s_axil": In(AXI4Lite()), "m_axi": Out(AXI4(data_bytes=fabric.bus_bytes))})

    def elaborate(self, platform):
        m = Module()
        fabric = self.fabric
        registers, sequencer = Registers(fabric=fabric), Sequencer(fabric=fabric)
        am = ActivationMemory(fabric=fabric, clients=4)
        wm, pm = weight_memory(fabric), parameter_memory(fabric)
        dma = DMA(fabric=fabric, am_read_latency=am.LATENCY_ACCESS, am_write_latency=am.LATENCY_WRITE)
        feeder, array = Feeder(fabric=fabric), SystolicArray(fabric=fabric)
        accumulators = Accumulators(fabric=fabric)
        post = PostProcess(fabric=fabric, pm_latency=WideMemory.LATENCY_READ, read_latency=am.LATENCY_ACCESS,
                           write_latency=am.LATENCY_WRITE)

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
