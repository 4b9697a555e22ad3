"""The POST unit: results of the array through requantise, and residual add, to the activation memory."""
from amaranth import Cat, EnableInserter, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..contract.fabric import Fabric
from ..contract.isa import Post, Unit
from ..memory.delay import delay
from ..signatures import (
    Address,
    AMAccessPort,
    PMReadPort,
    State,
    UnitPort,
    instruction_layout,
    result_stream,
)
from .add import ResidualAdder
from .loader import RecordLoader
from .parameters import ADD_RECORD
from .requantise import Requantiser
from .walk import GroupWalk


def buffer_depth(round_trip: int) -> int:
    """Depth of a FIFO of 2**n words and a register: one entry per cycle, each for ``round_trip`` cycles."""
    return 1 + (1 << ceil_log2(round_trip - 1))


class PostProcess(wiring.Component):
    """Carries out Post: L channels of a pixel per cycle, whose instruction's effect is ``isa.Post.execute``.

    A group of L channels enters when its result is there, a place in the output buffer is free for it and,
    for an add, the read of its operand has been granted. From then on nothing can stop it: the lanes have
    no enable. Operands are read ahead, and wait in a buffer beside the lanes. Requests at both memory ports
    may be refused for as long as the memory likes::

        cycle   e        e+1     e+13    e+15            e+21    e+23
        plain   enters   lanes   q       write.request                          (LATENCY_PLAIN = 15)
        add     enters   lanes   q       adder           sum     write.request  (LATENCY_ADD = 23)

    Sustained rate: one group per cycle without add. With add the output buffer allows 17 groups in 24 cycles,
    more than the one in two cycles that a memory port shared by reads and writes can serve.

    An instruction is accepted in the cycle after its predecessor's last group has entered, at the earliest.
    Its records (n = channels + add) are loaded while the predecessor's groups leave the lanes; then zero,
    low, high and the add record change, which takes empty lanes. So n + LATENCY_RELOAD cycles pass from the
    predecessor's last group to its own first, or LATENCY_DRAIN (LATENCY_DRAIN_ADD after an add) if that is
    more. An idle unit lets the first group enter n + LATENCY_START cycles after accepting the instruction.

    An operand is read before its group's result is written, and any number of groups earlier at that. So a
    Post must not write a byte that it reads later as an operand, except, in place, for the same pixel and
    channel.

    Parameters
    ----------
    fabric : Fabric
    pm_latency : int
        Cycles from address to data of the parameter memory.
    read_latency : int
        Cycles from a taken read to its data at the ``other`` port, 1 to READ_LATENCY_MAX.
    write_latency : int
        Cycles until a taken write is visible, at least 1.

    Members
    -------
    unit : ``In(UnitPort(Unit.POST))``
        ``done`` comes write_latency cycles after the last write was taken. ``state`` is BUSY when a group
        enters, RESULT while the output buffer is full, else OPERAND (results, records or operands).
    results : ``In(result_stream(fabric))``
        Taken with the last group of the pixel. ``ready`` does not depend on ``valid``.
    pm : ``Out(PMReadPort())``
    write, other : ``Out(AMAccessPort(fabric))``
        Two clients of the activation memory: the results out, the add operand in.

    Raises
    ------
    ValueError
        If a latency is out of range.
    """

    LATENCY_LANES = 1 + Requantiser.LATENCY
    LATENCY_BUFFER = 2
    LATENCY_PLAIN = LATENCY_LANES + LATENCY_BUFFER
    LATENCY_ADD = LATENCY_LANES + ResidualAdder.LATENCY + LATENCY_BUFFER
    LATENCY_DRAIN = LATENCY_LANES + 2
    LATENCY_DRAIN_ADD = LATENCY_LANES + ResidualAdder.LATENCY + 2
    READ_LATENCY_MAX = LATENCY_LANES + 1 - LATENCY_BUFFER

    def __init__(self, *, fabric: Fabric, pm_latency: int = 2, read_latency: int, write_latency: int):
        if not 1 <= read_latency <= self.READ_LATENCY_MAX:
            raise ValueError(f"read_latency is {read_latency}; operands must come within 1 to "
                             f"{self.READ_LATENCY_MAX} cycles to meet their values")
        if write_latency < 1:
            raise ValueError(f"write_latency is {write_latency}; it must be at least 1")
        self.fabric = fabric
        self.pm_latency, self.read_latency, self.write_latency = pm_latency, read_latency, write_latency
        self.LATENCY_START = 3 + pm_latency
        self.LATENCY_RELOAD = 1 + max(Requantiser.LATENCY_LAST, self.LATENCY_START)
        super().__init__({
            "unit": In(UnitPort(Unit.POST)),
            "results": In(result_stream(fabric)),
            "pm": Out(PMReadPort()),
            "write": Out(AMAccessPort(fabric)),
            "other": Out(AMAccessPort(fabric)),
        })

    def elaborate(self, platform):
        m = Module()
        fabric = self.fabric
        cols, lanes = fabric.cols, fabric.lanes
        layout = instruction_layout(Post)

        # ---- The instruction under way at the front. Accepted in t, everything starts in t+1.
        now = Signal(layout)
        busy, starting = Signal(), Signal()
        offered = layout(self.unit.instruction.payload)
        accepted = self.unit.instruction.valid & self.unit.instruction.ready
        m.d.comb += self.unit.instruction.ready.eq(~busy)
        m.d.sync += starting.eq(accepted)
        with m.If(accepted):
            m.d.sync += [now.eq(offered), busy.eq(1)]

        m.submodules.walk = walk = GroupWalk(fabric=fabric)
        m.submodules.other_walk = other_walk = GroupWalk(fabric=fabric)
        for each, base, x_step, y_step in ((walk, now.out, now.x_step, now.y_step),
                                           (other_walk, now.other, now.other_x_step, now.other_y_step)):
            m.d.comb += [
                each.i_base.eq(base), each.i_x_step.eq(x_step), each.i_y_step.eq(y_step),
                each.i_x_count.eq(now.x_count), each.i_y_count.eq(now.y_count),
                each.i_channels.eq(now.channels),
            ]
        m.d.comb += [walk.i_start.eq(starting), other_walk.i_start.eq(starting & now.add)]

        # ---- Add operands, ahead of their groups: as many as the buffer beside the lanes takes.
        round_trip = 1 + self.LATENCY_LANES + 1
        m.submodules.operands = operands = SyncFIFOBuffered(width=8 * lanes, depth=buffer_depth(round_trip))
        operand_room = Signal(range(operands.depth + 1), init=operands.depth)
        operand_ready = Signal(range(operands.depth + 1))  # reads granted for groups that have not entered
        request = self.other.request
        granted = request.valid & request.ready
        m.d.comb += [
            request.valid.eq(other_walk.o_active & (operand_room != 0)),
            request.payload.address.eq(other_walk.o_address),
            request.payload.count.eq(lanes),
            other_walk.i_next.eq(granted),
            operands.w_en.eq(delay(m, granted, self.read_latency, name="granted")),
            operands.w_data.eq(Cat(self.other.data[i] for i in range(lanes))),
        ]

        # ---- The front: one group per cycle.
        depth = buffer_depth(self.LATENCY_PLAIN + 1)
        room = Signal(range(depth + 1), init=depth)  # places in the output buffer that no group has booked
        opened = Signal()  # the lanes hold this instruction's parameters
        willing = opened & (room != 0) & ((operand_ready != 0) | ~now.add)
        enter = Signal()
        m.d.comb += [
            enter.eq(willing & self.results.valid),
            self.results.ready.eq(willing & walk.o_last_of_pixel),
            walk.i_next.eq(enter),
        ]
        with m.If(enter & walk.o_last):
            m.d.sync += [busy.eq(0), opened.eq(0)]
        m.d.sync += operand_ready.eq(operand_ready + granted - (enter & now.add))

        with m.If(~busy):
            m.d.comb += self.unit.state.eq(State.IDLE)
        with m.Elif(enter):
            m.d.comb += self.unit.state.eq(State.BUSY)
        with m.Elif(opened & self.results.valid & (room == 0)):
            m.d.comb += self.unit.state.eq(State.RESULT)
        with m.Else():
            m.d.comb += self.unit.state.eq(State.OPERAND)

        # Edge e -> e+1: the group's sums, out of the pixel's.
        valid_s0 = Signal()
        group_s0 = Signal.like(walk.o_group)
        acc_s0 = Signal(data.ArrayLayout(signed(fabric.acc_width), lanes))
        m.d.sync += [valid_s0.eq(enter), group_s0.eq(walk.o_group)]
        with m.Switch(walk.o_group):
            for group in range(walk.groups):
                with m.Case(group):
                    first = group * lanes
                    for lane in range(min(lanes, cols - first)):
                        m.d.sync += acc_s0[lane].eq(self.results.payload[first + lane])

        # ---- Where the valid ones are. All groups in the lanes are of one instruction.
        add = Signal()
        valid = [valid_s0]
        for _ in range(Requantiser.LATENCY):
            valid.append(delay(m, valid[-1], 1, name=f"valid_s{len(valid) - 1}"))
        valid_add = [valid[-1] & add]
        for _ in range(ResidualAdder.LATENCY):
            valid_add.append(delay(m, valid_add[-1], 1, name=f"valid_add_s{len(valid_add) - 1}"))
        empty = ~Cat(valid, valid_add[1:]).any()

        # ---- Parameters: records to the lanes behind the last group, then the rest when the lanes are empty.
        m.submodules.loader = loader = RecordLoader(fabric=fabric, read_latency=self.pm_latency)
        wiring.connect(m, wiring.flipped(self.pm), loader.pm)
        # A record is in its lane 1 + pm_latency cycles after its read.
        near = valid[:max(0, Requantiser.LATENCY_LAST - self.pm_latency - 1)]
        m.d.comb += [
            loader.i_start.eq(starting), loader.i_hold.eq(Cat(near).any()),
            loader.i_params.eq(now.params), loader.i_channels.eq(now.channels), loader.i_add.eq(now.add),
        ]
        pending = Signal()
        zero, low, high = Signal(signed(8)), Signal(signed(8)), Signal(signed(8))
        add_record = Signal(ADD_RECORD, reset_less=True)
        last_record = ADD_RECORD(loader.o_record)
        with m.If((loader.o_complete | pending) & empty):
            # Limits the wrong way round give high, as they do in numerics.
            m.d.sync += [
                pending.eq(0), opened.eq(1), add.eq(now.add),
                zero.eq(now.zero), high.eq(now.high), low.eq(Mux(now.low > now.high, now.high, now.low)),
                add_record.eq(last_record),
                add_record.low.eq(Mux(last_record.low > last_record.high, last_record.high, last_record.low)),
            ]
        with m.Elif(loader.o_complete):
            m.d.sync += pending.eq(1)

        # ---- The lanes. They stand still while nothing is in them: saves power, and time in simulation.
        moving = Signal()
        m.d.comb += moving.eq(~empty | loader.o_channel.any())
        outcome = Signal(data.ArrayLayout(8, lanes))
        for i in range(lanes):
            lane, adder = Requantiser(acc_width=fabric.acc_width, groups=walk.groups), ResidualAdder()
            m.submodules[f"lane_{i}"] = EnableInserter(moving)(lane)
            m.submodules[f"adder_{i}"] = EnableInserter(moving & add)(adder)
            m.d.comb += [
                lane.load.valid.eq(loader.o_channel[i]), lane.load.group.eq(loader.o_group),
                lane.load.record.eq(loader.o_record),
                lane.i_acc.eq(acc_s0[i]), lane.i_group.eq(group_s0),
                lane.i_zero.eq(zero), lane.i_low.eq(low), lane.i_high.eq(high),
                adder.i_q.eq(lane.o_q), adder.i_other.eq(operands.r_data.word_select(i, 8).as_signed()),
                adder.i_parameters.eq(add_record),
                outcome[i].eq(Mux(add, adder.o_sum, lane.o_q)),
            ]
        operand_used = valid_add[0]
        m.d.comb += operands.r_en.eq(operand_used)
        m.d.sync += operand_room.eq(operand_room + operand_used - granted)

        # ---- Output: places are booked, with their address, as groups enter, and filled as they leave.
        ticket = data.StructLayout({"address": Address, "count": range(lanes + 1), "last": 1})
        m.submodules.places = places = SyncFIFOBuffered(width=ticket.size, depth=depth)
        m.submodules.outcomes = outcomes = SyncFIFOBuffered(width=8 * lanes, depth=depth)
        booked, place = Signal(ticket), Signal(ticket)
        request = self.write.request
        written = request.valid & request.ready
        m.d.comb += [
            booked.address.eq(walk.o_address), booked.count.eq(walk.o_count), booked.last.eq(walk.o_last),
            places.w_en.eq(enter), places.w_data.eq(booked), places.r_en.eq(written), place.eq(places.r_data),
            outcomes.w_en.eq(Mux(add, valid_add[-1], valid[-1])), outcomes.w_data.eq(outcome),
            outcomes.r_en.eq(written),
            request.valid.eq(outcomes.r_rdy),
            request.payload.write.eq(1), request.payload.address.eq(place.address),
            request.payload.count.eq(place.count),
        ]
        m.d.comb += [request.payload.data[i].eq(outcomes.r_data.word_select(i, 8)) for i in range(lanes)]
        m.d.sync += room.eq(room + written - enter)
        m.d.comb += self.unit.done.eq(delay(m, written & place.last, self.write_latency, name="done"))
        return m
