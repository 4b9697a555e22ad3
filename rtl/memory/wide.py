"""Memories of wide words, written by the DMA and read by one unit: weights and parameters."""
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from ..contract.fabric import PARAMETER_BYTES, PM_ADDRESS_BITS, WM_ADDRESS_BITS, Fabric
from ..primitives.cells import PORTABLE, Cells
from ..primitives.memory import TrueDualPort
from ..signatures import PMReadPort, WideWritePort, WMReadPort


class WideMemory(wiring.Component):
    """A RAM with one write and one read port, each for one word per cycle, without stall.

    Data read are registered behind the RAM and hold while ``read.enable`` is low::

        cycle           t          t+1                  t+2
        read.address    a          RAM                  read.data     (LATENCY_READ = 2)
        write.address   a          visible to a read                  (LATENCY_WRITE = 1)

    A word read in the cycle in which it is written may be anything. An address that the memory lacks reads as
    anything, and writing it changes any word or none.

    Parameters
    ----------
    depth : int
        Words.
    width : int
        Bits of a word.
    address_bits : int
        Width of both addresses.
    read : wiring.Signature
        WMReadPort, PMReadPort or a like one.
    cells : Cells
        What the chip builds it from.

    Members
    -------
    write : ``In(WideWritePort(...))``
    read : ``In(read)``
    """

    LATENCY_READ = TrueDualPort.LATENCY_READ
    LATENCY_WRITE = TrueDualPort.LATENCY_WRITE

    def __init__(self, *, depth: int, width: int, address_bits: int, read: wiring.Signature,
                 cells: Cells = PORTABLE):
        self.depth, self.width, self.cells = depth, width, cells
        super().__init__({
            "write": In(WideWritePort(address_bits=address_bits, width=width)),
            "read": In(read),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = TrueDualPort(
            depth=self.depth, width=self.width, family=self.cells.family)
        m.d.comb += [
            memory.i_a_address.eq(self.read.address), memory.i_a_enable.eq(self.read.enable),
            self.read.data.eq(memory.o_a_data),
            memory.i_b_address.eq(self.write.address), memory.i_b_data.eq(self.write.data),
            memory.i_b_enable.eq(self.write.enable), memory.i_b_write.eq(self.write.enable),
        ]
        return m


def weight_memory(fabric: Fabric, cells: Cells = PORTABLE) -> WideMemory:
    """The memory of wm_words words, one weight for each column."""
    return WideMemory(depth=fabric.wm_words, width=fabric.cols * fabric.weight_bits,
                      address_bits=WM_ADDRESS_BITS, read=WMReadPort(fabric), cells=cells)


def parameter_memory(fabric: Fabric, cells: Cells = PORTABLE) -> WideMemory:
    """The memory of pm_words parameter records."""
    return WideMemory(depth=fabric.pm_words, width=8 * PARAMETER_BYTES, address_bits=PM_ADDRESS_BITS,
                      read=PMReadPort(), cells=cells)
