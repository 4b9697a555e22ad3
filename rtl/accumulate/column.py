"""The accumulators of one column of the array: partial sums in a RAM, one read-modify-write a cycle."""
from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..contract.fabric import Fabric
from ..signatures import pixel_tags
from ..systolic.skew import delayed
from .result_fifo import ResultWrite


def column_tags(fabric: Fabric) -> data.StructLayout:
    """The pixel's tags, and what the first column finds out for all.

    ``again_3``: the pixel three cycles before (valid) had the same index. ``slot``: where in the result
    FIFO the sum goes if the pixel is ``last``.
    """
    return data.StructLayout({**pixel_tags(fabric).members, "again_3": 1, "slot": range(fabric.fifo_depth)})


class Column(wiring.Component):
    """Adds each pixel's sum to the one stored under its index, and keeps or finishes it.

    With ``maximum`` the greater of both takes the place of their sum. No back-pressure; one pixel a cycle.
    The tags pass to the next column, whose sums come one cycle later::

        cycle      t       t+1      t+2        t+3
        i_tags     tags
        i_psum     p
        (RAM)      read    stored
        o_tags             tags                           (LATENCY_TAGS = 1)
        (adder)                     p + stored
        (RAM)                                  written
        finish                                 p + stored (LATENCY_SUM = 3)

    The RAM's output has a cycle to itself and so has the adder, beside which the comparison is made. What is
    written in cycle t+3 can be read from t+4 on: sums of pixels 1, 2 and 3 cycles before are forwarded, where
    again_1, again_2, again_3 say so, the nearest first. ``first`` starts from zero whatever they say, and has
    nothing to compare with.

    Parameters
    ----------
    fabric : Fabric
        Gives acc_depth, acc_width, fifo_depth.

    Members
    -------
    i_tags, o_tags : ``In/Out(column_tags(fabric))``
    i_psum : ``In(signed(acc_width))``
    finish : ``Out(ResultWrite)``
        The sum of a pixel that is ``last``; it is not stored.
    """

    LATENCY_TAGS = 1
    LATENCY_SUM = 3

    def __init__(self, *, fabric: Fabric):
        self._fabric = fabric
        super().__init__({
            "i_tags": In(column_tags(fabric)), "o_tags": Out(column_tags(fabric)),
            "i_psum": In(signed(fabric.acc_width)),
            "finish": Out(ResultWrite(depth=fabric.fifo_depth, width=fabric.acc_width)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(
            shape=signed(self._fabric.acc_width), depth=self._fabric.acc_depth, init=[],
            attrs={"no_rw_check": 1})  # what is written meanwhile is forwarded by again_3
        read, write = memory.read_port(), memory.write_port()

        tags_s1 = Signal.like(self.i_tags)
        tags_s2 = Signal.like(self.i_tags)
        tags_s3 = Signal.like(self.i_tags)
        psum_s2 = delayed(m, self.i_psum, 2, name="psum")
        stored_s2 = Signal.like(self.i_psum, reset_less=True)
        sum_s2 = Signal.like(self.i_psum)
        sum_s3 = Signal.like(self.i_psum, reset_less=True)
        sum_s4 = Signal.like(self.i_psum, reset_less=True)
        again_s2, maximum_s2 = Signal(), Signal()
        m.d.sync += [tags_s1.eq(self.i_tags), tags_s2.eq(tags_s1), tags_s3.eq(tags_s2)]
        m.d.comb += self.o_tags.eq(tags_s1)

        # Edge t -> t+1: the RAM reads.
        m.d.comb += read.addr.eq(self.i_tags.index)

        # Edge t+1 -> t+2: choose what to add to. Here sum_s3 is of two pixels before, sum_s4 of three.
        with m.If(tags_s1.first):
            m.d.sync += stored_s2.eq(0)
        with m.Elif(tags_s1.again_2):
            m.d.sync += stored_s2.eq(sum_s3)
        with m.Elif(tags_s1.again_3):
            m.d.sync += stored_s2.eq(sum_s4)
        with m.Else():
            m.d.sync += stored_s2.eq(read.data)
        m.d.sync += [
            again_s2.eq(tags_s1.again_1 & ~tags_s1.first), maximum_s2.eq(tags_s1.maximum & ~tags_s1.first)]

        # Edge t+2 -> t+3: add, or keep the greater. Here sum_s3 is of the pixel before.
        # The difference's sign compares in a carry chain, as the sum is made in one.
        held_s2 = Signal.like(self.i_psum)
        less_s2 = (held_s2 - psum_s2)[-1]
        m.d.comb += held_s2.eq(Mux(again_s2, sum_s3, stored_s2))
        with m.If(maximum_s2):
            m.d.comb += sum_s2.eq(Mux(less_s2, psum_s2, held_s2))
        with m.Else():
            m.d.comb += sum_s2.eq(held_s2 + psum_s2)
        m.d.sync += [sum_s3.eq(sum_s2), sum_s4.eq(sum_s3)]

        # Edge t+3 -> t+4: the RAM or the result FIFO takes the sum.
        m.d.comb += [
            write.en.eq(tags_s3.valid & ~tags_s3.last),
            write.addr.eq(tags_s3.index),
            write.data.eq(sum_s3),
            self.finish.valid.eq(tags_s3.valid & tags_s3.last),
            self.finish.slot.eq(tags_s3.slot),
            self.finish.data.eq(sum_s3),
        ]
        return m
