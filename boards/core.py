"""All of a board but its pads and its PLL: the link, the fabric and the memory, in one clock domain."""
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import bits_for

from ..rtl.contract import link
from ..rtl.fabric import FabricTop
from ..rtl.flash.controller import FlashController
from ..rtl.flash.pins import FlashPins
from ..rtl.lean import LeanFabric
from ..rtl.link.arbiter import AXI4Arbiter, PageSplitter
from ..rtl.link.bridge import LinkBridge
from ..rtl.sdram.controller import SDRAMController
from ..rtl.sdram.pins import SDRAMPins
from ..rtl.sdram.timing import SDRAMTiming
from .board import Board
from .pages import AXI4Split, EmptyPage

FLASH_BYTES = 1 << 24
"""What a flash's address reaches; a bus address beyond begins again (rtl/contract/flash.py)."""
SHOWN_PARTS = 4
"""A lamp shows what took a cycle for one to two of 2**SHOWN_PARTS parts of the heartbeat."""


class BoardCore(wiring.Component):
    """A board's design, the same for the chip and for the virtual board.

    With SDRAM::

        uart ◄──► LinkBridge ──► AXI4Arbiter ──► SDRAMController ◄──► pins
                      │               ▲
                      ▼               │ m_axi
                PageSplitter ──► FabricTop

    With flash; what the host reaches below Fabric.rom_base is the fabric's own memory::

        uart ◄──► LinkBridge ──► AXI4Split ──► AXI4Arbiter ──► FlashController ◄──► pins
                      │              │              ▲                  ▲
                      │              ▼ s_axi        │ m_axi            │
                      │          LeanFabric ────────┘                  │
                      ▼              ▲                                 │
                PageSplitter ────────┴─────────────────────────────────┘

    One clock domain, "sync", at ``board.clock``.

    Parameters
    ----------
    board : Board
    pin_delay : int
        Cycles that registers at the pads add between the memory's pins and the chip, both ways together.
    baud : int
        Of the wire; ``board.baud`` if 0.

    Members
    -------
    uart_rx : ``In(1, init=1)``
        The wire from the host, in no clock domain.
    uart_tx : ``Out(1, init=1)``
    sdram : ``Out(SDRAMPins())``, or flash : ``Out(FlashPins())``
        As ``board.memory`` says.
    heartbeat, talking, moving : ``Out(1)``
        For lamps: the clock runs (half a second on, half a second off, about), requests come, the fabric
        reads or writes memory.
    """

    def __init__(self, *, board: Board, pin_delay: int = 0, baud: int = 0):
        self.board, self.pin_delay, self.baud = board, pin_delay, baud or board.baud
        pins = {"sdram": SDRAMPins, "flash": FlashPins}[board.memory]
        super().__init__({
            "uart_rx": In(1, init=1), "uart_tx": Out(1, init=1), board.memory: Out(pins()),
            **{lamp: Out(1) for lamp in ("heartbeat", "talking", "moving")},
        })

    def elaborate(self, platform):
        m = Module()
        board, fabric = self.board, self.board.fabric
        m.submodules.link = bridge = LinkBridge(info=board_info(board), baud=self.baud,
                                                data_bytes=fabric.bus_bytes)
        m.submodules.pages = pages = PageSplitter()
        m.submodules.arbiter = arbiter = AXI4Arbiter(managers=2, data_bytes=fabric.bus_bytes)
        connect(m, bridge.axil, pages.axil)
        if board.memory == "sdram":
            m.submodules.fabric = top = FabricTop(fabric=fabric, cells=board.cells)
            m.submodules.memory = memory = SDRAMController(
                timing=SDRAMTiming().at(board.clock), data_bytes=fabric.bus_bytes, pin_delay=self.pin_delay)
            m.submodules.board_page = nothing = EmptyPage()
            connect(m, memory.pins, flipped(self.sdram))
            connect(m, bridge.axi, arbiter.managers[1])
            connect(m, pages.board, nothing.axil)
        else:
            m.submodules.fabric = top = LeanFabric(fabric=fabric, cells=board.cells)
            m.submodules.memory = memory = FlashController(pin_delay=self.pin_delay)
            m.submodules.split = split = AXI4Split(base=fabric.rom_base, data_bytes=fabric.bus_bytes)
            connect(m, memory.pins, flipped(self.flash))
            connect(m, bridge.axi, split.manager)
            connect(m, split.below, top.s_axi)
            connect(m, split.above, arbiter.managers[1])
            connect(m, pages.board, memory.axil)
        connect(m, pages.fabric, top.s_axil)
        connect(m, top.m_axi, arbiter.managers[0])
        connect(m, arbiter.port, memory.axi)
        m.d.comb += [bridge.uart_rx.eq(self.uart_rx), self.uart_tx.eq(bridge.uart_tx)]

        # One counter serves all lamps: an event shows in the next period of its low bits, and in this one.
        time = Signal(bits_for(board.clock))
        m.d.sync += [time.eq(time + 1), self.heartbeat.eq(time[-1])]
        shown = Signal()
        m.d.sync += shown.eq(time[:-SHOWN_PARTS] == 0)
        busy = {"talking": bridge.active, "moving": top.m_axi.arvalid | top.m_axi.awvalid}
        for name, event in busy.items():
            lamp, recent = getattr(self, name), Signal(name=f"{name}_recent")
            with m.If(event):
                m.d.sync += [lamp.eq(1), recent.eq(1)]
            with m.Elif(shown):
                m.d.sync += [lamp.eq(recent), recent.eq(0)]
        return m


def board_info(board: Board) -> link.Info:
    """What a board says of itself over the link."""
    number = next(number for number, name in link.BOARDS.items() if name == board.name)
    fabric = board.fabric
    memory = {"memory_bytes": board.memory_bytes}
    if board.memory == "flash":  # from where the address of rom_base lies in the flash to its end
        memory = {"memory_bytes": fabric.am_bytes, "rom_base": fabric.rom_base,
                  "rom_bytes": board.memory_bytes - fabric.rom_base % FLASH_BYTES}
    return link.Info(board=number, clock=board.clock, fingerprint=fabric.fingerprint, **memory)
