"""From a pixel's base address to the R activations of its taps: addresses to banks, bytes back to rows."""
from amaranth import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..contract.fabric import Fabric
from ..memory.activation import ActivationMemory
from ..memory.address import add
from ..memory.delay import delay
from ..memory.rotate import Rotator
from ..signatures import Address, AMReadPort


class TapGather(wiring.Component):
    """Read, for one pixel per cycle, the byte at base + offset of every row.

    The rows' addresses lie in consecutive banks (isa.Weights: every jump of a tile is a multiple of R), so
    one rotation by the lane of row 0's address brings each to the bank it is for, and the opposite rotation
    brings the bytes back. No back-pressure::

        cycle     t         t+1             t+3        t+5        t+7
        i_base    base      base + offset   am.word    am.data    o_act
                            of each row     (LATENCY_ADDRESS)     (LATENCY)

    Parameters
    ----------
    fabric : Fabric

    Members
    -------
    i_take : ``In(1)``
        ``i_offsets`` become the active offsets; a base in the next cycle is the first that they are added to.
    i_offsets : ``In(ArrayLayout(Address, rows))``
    i_base : ``In(Address)``
    am : ``Out(AMReadPort(fabric))``
    o_act : ``Out(ArrayLayout(signed(8), rows))``
        Row r's byte, all rows of a pixel in the same cycle.
    """

    LATENCY_ADDRESS = 1 + Rotator.LATENCY
    LATENCY = LATENCY_ADDRESS + ActivationMemory.LATENCY_READ + Rotator.LATENCY

    def __init__(self, *, fabric: Fabric):
        self.fabric = fabric
        super().__init__({
            "i_take": In(1),
            "i_offsets": In(data.ArrayLayout(Address, fabric.rows)),
            "i_base": In(Address),
            "am": Out(AMReadPort(fabric)),
            "o_act": Out(data.ArrayLayout(signed(8), fabric.rows)),
        })

    def elaborate(self, platform):
        m = Module()
        rows = self.fabric.rows
        m.submodules.to_banks = to_banks = Rotator(
            lanes=rows, width=ceil_log2(self.fabric.am_words), forward=True)
        m.submodules.to_rows = to_rows = Rotator(lanes=rows, width=8, forward=False)

        offsets = Signal.like(self.i_offsets)
        with m.If(self.i_take):
            m.d.sync += offsets.eq(self.i_offsets)
        lane_s1 = Signal(range(rows))
        for r in range(rows):
            address = add(self.i_base, offsets[r], rows=rows)
            # Edge t -> t+1.
            m.d.sync += to_banks.i_lanes[r].eq(address.word)
            if r == 0:
                m.d.sync += lane_s1.eq(address.lane)
            m.d.comb += [
                self.am.word[r].eq(to_banks.o_lanes[r]),
                to_rows.i_lanes[r].eq(self.am.data[r]),
                self.o_act[r].eq(to_rows.o_lanes[r]),
            ]
        there = Rotator.LATENCY + ActivationMemory.LATENCY_READ
        m.d.comb += [
            to_banks.i_amount.eq(lane_s1),
            to_rows.i_amount.eq(delay(m, lane_s1, there, name="lane_s1")),
        ]
        return m
