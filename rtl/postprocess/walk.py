"""The order of post-processing: rows, pixels, groups of channels; and where each group lies in memory."""
from amaranth import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..contract.fabric import Fabric
from ..contract.isa import PIXEL_COUNT_BITS
from ..memory.address import add, address_of
from ..signatures import Address


class GroupWalk(wiring.Component):
    """Visits group g of pixel (y, x) at ``base + y*y_step + x*x_step + g*lanes``: y outer, then x, then g.

    One step per cycle at most. Everything on the o_ side comes from registers: ``i_next`` moves on to the
    next group in the next cycle, and after the last group ``o_active`` falls::

        cycle      t       t+1      t+2 (i_next in t+1)
        i_start    1
        o_active           1        1
        o_address          base     base + lanes, or x_step if a pixel is one group

    Parameters
    ----------
    fabric : Fabric

    Members
    -------
    i_start : ``In(1)``
        Begin; the following inputs must hold from now until the last group.
    i_base, i_x_step, i_y_step : ``In(Address)``
    i_x_count, i_y_count, i_channels : ``In``
        1 or more.
    i_next : ``In(1)``
    o_active : ``Out(1)``
    o_address : ``Out(Address)``
    o_group : ``Out(range(groups))``
        Number of the group within its pixel; groups = ceil(cols / lanes).
    o_count : ``Out(range(lanes + 1))``
        Channels in the group: lanes, or fewer in the last one.
    o_last_of_pixel, o_last : ``Out(1)``
    """

    def __init__(self, *, fabric: Fabric):
        self.fabric = fabric
        self.groups = -(-fabric.cols // fabric.lanes)
        super().__init__({
            "i_start": In(1),
            "i_base": In(Address), "i_x_step": In(Address), "i_y_step": In(Address),
            "i_x_count": In(PIXEL_COUNT_BITS), "i_y_count": In(PIXEL_COUNT_BITS),
            "i_channels": In(range(fabric.cols + 1)),
            "i_next": In(1),
            "o_active": Out(1),
            "o_address": Out(Address),
            "o_group": Out(range(self.groups)),
            "o_count": Out(range(fabric.lanes + 1)),
            "o_last_of_pixel": Out(1), "o_last": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        rows, lanes = self.fabric.rows, self.fabric.lanes

        # What is left after the current one, minus 1: below zero, seen from one bit, it is the last.
        more_channels = Signal(signed(len(self.i_channels) + 1))
        more_x, more_y = Signal(signed(PIXEL_COUNT_BITS + 1)), Signal(signed(PIXEL_COUNT_BITS + 1))
        first_channels, first_x, first_y = self.i_channels - 1 - lanes, self.i_x_count - 2, self.i_y_count - 2
        last_x, last_y = more_x[-1], more_y[-1]
        m.d.comb += [
            self.o_last_of_pixel.eq(more_channels[-1] if self.groups > 1 else 1),
            self.o_last.eq(self.o_last_of_pixel & last_x & last_y),
            self.o_count.eq(Mux(self.o_last_of_pixel, more_channels + 1 + lanes, lanes)),
        ]

        # One adder serves the three kinds of step.
        row, pixel = Signal(Address), Signal(Address)
        origin, step = Signal(Address), Signal(Address)
        onward = Signal(Address)
        with m.If(~self.o_last_of_pixel):
            m.d.comb += [origin.eq(self.o_address), step.eq(address_of(lanes, rows=rows))]
        with m.Elif(~last_x):
            m.d.comb += [origin.eq(pixel), step.eq(self.i_x_step)]
        with m.Else():
            m.d.comb += [origin.eq(row), step.eq(self.i_y_step)]
        m.d.comb += onward.eq(add(origin, step, rows=rows))

        with m.If(self.i_start):
            m.d.sync += [
                self.o_active.eq(1), self.o_group.eq(0),
                self.o_address.eq(self.i_base), pixel.eq(self.i_base), row.eq(self.i_base),
                more_channels.eq(first_channels), more_x.eq(first_x), more_y.eq(first_y),
            ]
        with m.Elif(self.i_next):
            m.d.sync += self.o_address.eq(onward)
            with m.If(~self.o_last_of_pixel):
                m.d.sync += [self.o_group.eq(self.o_group + 1), more_channels.eq(more_channels - lanes)]
            with m.Else():
                m.d.sync += [self.o_group.eq(0), more_channels.eq(first_channels), pixel.eq(onward)]
                with m.If(~last_x):
                    m.d.sync += more_x.eq(more_x - 1)
                with m.Else():
                    m.d.sync += [row.eq(onward), more_x.eq(first_x), more_y.eq(more_y - 1)]
                    with m.If(last_y):
                        m.d.sync += self.o_active.eq(0)
        return m
