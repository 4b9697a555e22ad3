"""The fabric of a chip with few cells: one memory for everything, one value at a time behind the array."""
from amaranth import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .contract.fabric import Fabric
from .dma.lean import LeanDMA
from .front import LeanFront
from .link.axi import AXI4, AXI4Lite
from .link.registers import Registers
from .memory.shared import SharedMemory
from .memory.window import Window
from .postprocess.serial import SerialPost
from .primitives.cells import PORTABLE, Cells
from .sequencer.lean import LeanSequencer


class LeanFabric(wiring.Component):
    """What FabricTop is, for a Fabric with ``shared_words``: the same programs, in other cycles.

    The front reads the shared memory in every cycle that nobody else wants it::

        s_axi (window) ──┐         ┌── WEIGHTS, STREAM ──► array ──► accumulators ──┐
                         ├─ shared ┤                                                │
        m_axi ──► DMA ───┘  memory └── POST ◄───────────────────────────────────────┘

    Parameters
    ----------
    fabric : Fabric
    cells : Cells

    Members
    -------
    s_axil : ``In(AXI4Lite())``
        The registers of rtl/contract/registers.py.
    s_axi : ``In(AXI4(data_bytes=4))``
        The shared memory, from address 0 on.
    m_axi : ``Out(AXI4(data_bytes=4))``
        Reads only, of what lies beyond the shared memory: constants and instructions.
    """

    def __init__(self, *, fabric: Fabric, cells: Cells = PORTABLE):
        self.fabric, self.cells = fabric, cells
        bus = AXI4(data_bytes=fabric.bus_bytes)
        super().__init__({"s_axil": In(AXI4Lite()), "s_axi": In(bus), "m_axi": Out(bus)})

    def elaborate(self, platform):
        m = Module()
        fabric, cells = self.fabric, self.cells
        registers, sequencer = Registers(fabric=fabric), LeanSequencer(fabric=fabric)
        dma, window = LeanDMA(fabric=fabric), Window(fabric=fabric)
        front, post = LeanFront(fabric=fabric, cells=cells), SerialPost(fabric=fabric, cells=cells)
        clients = front.words, post.write, post.other, post.records, dma.memory, window.memory
        memory = SharedMemory(fabric=fabric, clients=len(clients), cells=cells)

        m.submodules.registers, m.submodules.sequencer = registers, sequencer
        m.submodules.memory, m.submodules.window = memory, window
        cleared = ResetInserter(sequencer.clear)
        for name, unit in (("dma", dma), ("front", front), ("post", post)):
            m.submodules[name] = cleared(unit)

        connect(m, flipped(self.s_axil), registers.axil)
        connect(m, flipped(self.s_axi), window.axi)
        connect(m, dma.axi, flipped(self.m_axi))
        connect(m, registers.control, sequencer.control)
        connect(m, sequencer.fetch, dma.fetch)
        connect(m, dma.fault, sequencer.fault)
        m.d.comb += [
            sequencer.i_word.eq(dma.o_word), sequencer.i_word_valid.eq(dma.o_word_valid),
            dma.abort.eq(sequencer.abort), sequencer.quiet.eq(dma.quiet),
        ]
        connect(m, sequencer.load, dma.load)
        connect(m, sequencer.store, dma.store)
        connect(m, sequencer.weights, front.weights)
        connect(m, sequencer.stream, front.stream)
        connect(m, sequencer.post, post.unit)
        for client, access in zip(clients, memory.access, strict=True):
            connect(m, client, access)
        connect(m, front.memory, memory.front)
        connect(m, front.results, post.results)
        connect(m, dma.table, post.table)
        return m
