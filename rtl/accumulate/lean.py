"""Accumulators of a small fabric: no forwarding, no greatest of sums, a block RAM for the results."""
from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..contract.fabric import Fabric
from ..signatures import result_stream

SUM_TAGS = data.StructLayout({"valid": 1, "start": 1, "first": 1, "last": 1})
"""Tags of a pixel: there is one; it is number 0 of its visit; its sum starts from zero; and is finished."""


class LeanAccumulators(wiring.Component):
    """Adds each pixel's sum to the one stored under its number, and keeps or finishes it.

    The pixels of a visit are numbered as they come. A number must not come again before two cycles later.
    A column's RAM has one place more than sums, which is never written: that is the zero that a first visit
    adds to. Everything on the side of the array stands still while ``i_enable`` is low, everything behind the
    result FIFO goes on::

        cycle     t             t+1                        t+2
        i_tags    of a pixel
        i_psum                  column 0                   column 1
        (RAM)     read          added to, written
        results                                            ...    (LATENCY_RESULT behind the last column's)

    Parameters
    ----------
    fabric : Fabric
        fifo_depth a power of two, acc_depth one less than one.

    Members
    -------
    i_enable : ``In(1)``
    i_tags : ``In(SUM_TAGS)``
        A cycle ahead of column 0's sum.
    i_psum : ``In(ArrayLayout(signed(acc_width), cols))``
        Column c's is c cycles late.
    results : ``Out(result_stream(fabric))``
        ``valid`` does not depend on ``ready``.
    o_left : ``Out(1)``
        Pulse: a result has made room.

    Raises
    ------
    ValueError
        If a depth is no such.
    """

    LATENCY_RESULT = 2

    def __init__(self, *, fabric: Fabric):
        for name, depth in (("acc_depth + 1", fabric.acc_depth + 1), ("fifo_depth", fabric.fifo_depth)):
            if depth & depth - 1:
                raise ValueError(f"{name} is {depth}; here it must be a power of two")
        self.fabric = fabric
        super().__init__({
            "i_enable": In(1), "i_tags": In(SUM_TAGS),
            "i_psum": In(data.ArrayLayout(signed(fabric.acc_width), fabric.cols)),
            "results": Out(result_stream(fabric)), "o_left": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        fabric, enable = self.fabric, self.i_enable
        index_bits, slot_bits = ceil_log2(fabric.acc_depth + 1), ceil_log2(fabric.fifo_depth)

        # At column 0: the numbers of pixels and results, which then go from column to column.
        index, before = Signal(index_bits), Signal(index_bits)
        slot, adds, first = Signal(slot_bits), Signal(), self.i_tags.first
        finishes = Signal()
        m.d.comb += [
            index.eq(Mux(self.i_tags.start, 0, before + 1)),
            adds.eq(self.i_tags.valid & ~self.i_tags.last),
            finishes.eq(self.i_tags.valid & self.i_tags.last),
        ]
        with m.If(enable & self.i_tags.valid):
            m.d.sync += [before.eq(index), slot.eq(slot + self.i_tags.last)]

        # The FIFO's other side.
        level, fetched, fetch, arrived = Signal(slot_bits + 1), Signal(), Signal(), Signal()
        front = Signal(slot_bits)
        m.d.comb += [
            fetch.eq((level != 0) & (~fetched | self.results.ready)),
            self.results.valid.eq(fetched), self.o_left.eq(fetch),
        ]
        m.d.sync += [level.eq(level + arrived - fetch), fetched.eq(fetch | (fetched & ~self.results.ready))]
        with m.If(fetch):
            m.d.sync += front.eq(front + 1)

        for c in range(fabric.cols):
            sums = Memory(shape=signed(fabric.acc_width), depth=1 << index_bits, init=[],
                          attrs={"no_rw_check": 1})
            done = Memory(shape=signed(fabric.acc_width), depth=1 << slot_bits, init=[],
                          attrs={"no_rw_check": 1})
            m.submodules[f"sums_{c}"], m.submodules[f"results_{c}"] = sums, done
            read, write, finish = sums.read_port(), sums.write_port(), done.write_port()
            index_1, slot_1 = Signal(index_bits, name=f"index_{c}"), Signal(slot_bits, name=f"slot_{c}")
            adds_1, first_1, finishes_1 = (
                Signal(name=f"{name}_{c}") for name in ("adds", "first", "finishes"))
            total = Signal(signed(fabric.acc_width), name=f"total_{c}")
            # Edge t -> t+1.
            with m.If(enable):
                m.d.sync += [index_1.eq(index), slot_1.eq(slot), adds_1.eq(adds), first_1.eq(first),
                             finishes_1.eq(finishes)]
            m.d.comb += [
                read.en.eq(enable), read.addr.eq(index | first.replicate(index_bits)),
                total.eq(self.i_psum[c] + read.data),
                write.en.eq(adds_1 & enable), write.addr.eq(index_1), write.data.eq(total),
                finish.en.eq(finishes_1 & enable), finish.addr.eq(slot_1), finish.data.eq(total),
            ]
            result = done.read_port()
            m.d.comb += [result.en.eq(fetch), result.addr.eq(front), self.results.payload[c].eq(result.data)]
            index, slot, adds, first, finishes = index_1, slot_1, adds_1, first_1, finishes_1
        m.d.comb += arrived.eq(finishes & enable)
        return m
