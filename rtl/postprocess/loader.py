"""Fetches the parameter records of one instruction and deals them out to the lanes."""
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..contract.fabric import PARAMETER_BYTES, PM_ADDRESS_BITS, Fabric
from ..memory.delay import delay
from ..signatures import PMReadPort


class RecordLoader(wiring.Component):
    """Reads ``channels`` records, and one more if ``extra``, one every cycle.

    Record c is for lane c % L as its group c // L::

        cycle       t        t+1     t+1+read_latency   t+2+read_latency
        i_start     1
        pm.address           params
        pm.data                      record 0           record 1
        o_record                                        record 0
        o_channel, o_group                              of record 0     (LATENCY = 2 + read_latency)

    ``i_hold`` delays the reads that have not been made. The last record stays on ``o_record``, from the pulse
    of ``o_complete`` until the reads of the next start.

    Parameters
    ----------
    fabric : Fabric
    read_latency : int
        Cycles from address to data of the parameter memory, at least 1.

    Members
    -------
    i_start, i_hold : ``In(1)``
    i_params, i_channels, i_extra : ``In``
        Of the instruction; must hold until o_complete.
    pm : ``Out(PMReadPort())``
    o_record : ``Out(8 * PARAMETER_BYTES)``
    o_channel : ``Out(lanes)``
        One bit per lane: o_record is a channel record and for this lane.
    o_group : ``Out(range(groups))``
    o_complete : ``Out(1)``
        o_record is the last one.

    Raises
    ------
    ValueError
        If read_latency is below 1.
    """

    def __init__(self, *, fabric: Fabric, read_latency: int):
        if read_latency < 1:
            raise ValueError(f"read_latency is {read_latency}; a memory takes at least 1 cycle")
        self.fabric, self.read_latency = fabric, read_latency
        self.LATENCY = 2 + read_latency
        super().__init__({
            "i_start": In(1), "i_hold": In(1),
            "i_params": In(PM_ADDRESS_BITS), "i_channels": In(range(fabric.cols + 1)), "i_extra": In(1),
            "pm": Out(PMReadPort()),
            "o_record": Out(8 * PARAMETER_BYTES),
            "o_channel": Out(fabric.lanes),
            "o_group": Out(range(-(-fabric.cols // fabric.lanes))),
            "o_complete": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        lanes = self.fabric.lanes
        active = Signal()
        left = Signal(range(self.fabric.cols + 1))
        lane = Signal(lanes, init=1)  # one-hot
        group = Signal.like(self.o_group)
        last, read = left == 0, active & ~self.i_hold

        with m.If(self.i_start):
            m.d.sync += [
                active.eq(1), left.eq(self.i_channels + self.i_extra - 1), lane.eq(1), group.eq(0),
                self.pm.address.eq(self.i_params),
            ]
        with m.Elif(read):
            m.d.sync += [
                active.eq(~last), left.eq(left - 1), lane.eq(lane.rotate_left(1)), group.eq(group + lane[-1]),
                self.pm.address.eq(self.pm.address + 1),
            ]
        m.d.comb += self.pm.enable.eq(read)

        # A group number too high can only be that of the extra record, which no lane takes.
        channel = Signal(lanes)
        with m.If(read & ~(last & self.i_extra)):
            m.d.comb += channel.eq(lane)
        arrives = delay(m, read, self.read_latency, name="read")
        with m.If(arrives):
            m.d.sync += self.o_record.eq(self.pm.data)
        m.d.comb += [
            self.o_channel.eq(delay(m, channel, self.read_latency + 1, name="channel")),
            self.o_group.eq(delay(m, group, self.read_latency + 1, name="group")),
            self.o_complete.eq(delay(m, read & last, self.read_latency + 1, name="complete")),
        ]
        return m
