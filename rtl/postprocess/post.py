"""The POST unit: results of the array through multiply, requantise, add, table to the activation memory."""
from amaranth import Cat, EnableInserter, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..contract.fabric import TABLE_ADDRESS_BITS, Fabric
from ..contract.isa import Post, Unit
from ..memory.delay import delay
from ..primitives.cells import PORTABLE, Cells
from ..signatures import (
    Address,
    AMAccessPort,
    PMReadPort,
    State,
    UnitPort,
    WideWritePort,
    instruction_layout,
    result_stream,
)
from .add import ResidualAdder
from .loader import RecordLoader
from .multiply import OperandMultiplier
from .parameters import ADD_RECORD, PRODUCT_RECORD
from .requantise import Requantiser
from .table import TableLookup
from .walk import GroupWalk


def buffer_depth(round_trip: int) -> int:
    """Depth of a FIFO of 2**n words and a register: one entry per cycle, each for ``round_trip`` cycles."""
    return 1 + (1 << ceil_log2(round_trip - 1))


class PostProcess(wiring.Component):
    """Carries out Post: L channels of a pixel per cycle, whose instruction's effect is ``isa.Post.execute``.

    A group of L channels enters when its result is there, a place in the output buffer is free for it and its
    operand, if it has one, will be there in time: for an add the read must have been granted, a factor must
    have come. From then on nothing can stop it: the lanes have no enable. Operands are read ahead, and wait
    in a buffer beside the lanes. Requests at both memory ports may be refused for as long as the memory
    likes::

        cycle   e        e+1        e+3          e+15     e+18            e+23     e+26
        plain   enters   multiply   requantise   table    buffer (LATENCY_PLAIN = 20)
        add     enters              requantise   adder                    table    buffer (LATENCY_ADD = 28)

    The latencies are those to ``write.request``; on a fabric without tables both are 3 less. Sustained rate:
    one group per cycle, as long as the memory port, which an operand uses as well, keeps up.

    An instruction with n records (its channels', and one of an add or a product) is accepted when the first
    group of its predecessor may enter, if both are of the same layer; else behind the predecessor's last
    group, so that the profile can tell their cycles apart. Its records are loaded into the bank that the
    predecessor does not use. Its first group enters LATENCY_NEXT cycles after the predecessor's last one (one
    more for its first operand to be granted, and read_latency more for a factor to come), but not before

    - n + LATENCY_START cycles after it was accepted, when its records are there (a few more if the
      instruction before its predecessor, which had the same bank, has only just ended);
    - LATENCY_SETTLE (LATENCY_SETTLE_ADD) cycles after the predecessor's first group, when the rest of what
      that one set has been taken over at every stage;
    - LATENCY_DRAIN (LATENCY_DRAIN_ADD after an add) cycles after the predecessor's last group, if one of them
      adds or multiplies and the other does not do the same: one kind at a time is in the lanes.

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
    cells : Cells
        What the chip builds it from.

    Members
    -------
    unit : ``In(UnitPort(Unit.POST))``
        ``done`` comes write_latency cycles after the last write was taken. ``state`` is BUSY when a group
        enters, RESULT while the output buffer is full, else OPERAND (results, records or operands). ``ready``
        depends on registers only.
    results : ``In(result_stream(fabric))``
        Taken with the last group of the pixel. ``ready`` does not depend on ``valid``.
    pm : ``Out(PMReadPort())``
    table : ``In(WideWritePort(...))``
        A beat of a table; values looked up LATENCY_TABLE_WRITE cycles later see it. Of no effect without
        tables.
    write, other : ``Out(AMAccessPort(fabric))``
        Two clients of the activation memory: the results out, the operands in.

    Raises
    ------
    ValueError
        If a latency is out of range.
    """

    LATENCY_ACC = 1 + OperandMultiplier.LATENCY
    LATENCY_LANES = LATENCY_ACC + Requantiser.LATENCY
    LATENCY_BUFFER = 2
    LATENCY_NEXT = 3
    LATENCY_SETTLE = LATENCY_LANES + 1
    LATENCY_SETTLE_ADD = LATENCY_SETTLE + ResidualAdder.LATENCY
    LATENCY_TABLE_WRITE = 1 + TableLookup.LATENCY_WRITE
    READ_LATENCY_MAX = LATENCY_LANES + 1 - LATENCY_BUFFER

    def __init__(self, *, fabric: Fabric, pm_latency: int = 2, read_latency: int, write_latency: int,
                 cells: Cells = PORTABLE):
        if not 1 <= read_latency <= self.READ_LATENCY_MAX:
            raise ValueError(f"read_latency is {read_latency}; operands must come within 1 to "
                             f"{self.READ_LATENCY_MAX} cycles to meet their values")
        if write_latency < 1:
            raise ValueError(f"write_latency is {write_latency}; it must be at least 1")
        self.fabric, self.cells = fabric, cells
        self.pm_latency, self.read_latency, self.write_latency = pm_latency, read_latency, write_latency
        self.LATENCY_TABLE = TableLookup.LATENCY if fabric.tables else 0
        self.LATENCY_PLAIN = self.LATENCY_LANES + self.LATENCY_TABLE + self.LATENCY_BUFFER
        self.LATENCY_ADD = self.LATENCY_PLAIN + ResidualAdder.LATENCY
        self.LATENCY_DRAIN = self.LATENCY_LANES + self.LATENCY_TABLE + 2
        self.LATENCY_DRAIN_ADD = self.LATENCY_DRAIN + ResidualAdder.LATENCY
        self.LATENCY_START = 3 + pm_latency
        # A record is in its lane 1 + pm_latency cycles after its read: so many stages must be free of groups
        # that want the old one.
        self._near = max(0, OperandMultiplier.LATENCY + Requantiser.LATENCY_LAST - pm_latency - 1)
        super().__init__({
            "unit": In(UnitPort(Unit.POST)),
            "results": In(result_stream(fabric)),
            "pm": Out(PMReadPort()),
            "table": In(WideWritePort(address_bits=TABLE_ADDRESS_BITS, width=8 * fabric.bus_bytes)),
            "write": Out(AMAccessPort(fabric)),
            "other": Out(AMAccessPort(fabric)),
        })

    def elaborate(self, platform):
        m = Module()
        fabric = self.fabric
        cols, lanes = fabric.cols, fabric.lanes
        layout = instruction_layout(Post)

        # ---- Two instructions: the records of ``coming`` are loaded while groups of ``now`` may still enter.
        # Coming waits for its predecessor's last group to become now, and its records are on the way or here
        # until it is opened.
        coming, now = Signal(layout), Signal(layout)
        combines = Signal()  # now adds or multiplies
        waiting, unopened = Signal(), Signal()
        busy, loading, starting = Signal(), Signal(), Signal()
        # The first group of now may enter in the next cycle; its last one enters.
        opening, finishing = Signal(), Signal()
        offered = layout(self.unit.instruction.payload)
        accepted = self.unit.instruction.valid & self.unit.instruction.ready
        # What is offered is of the same layer: the profile charges cycles to what was accepted last.
        follows = Signal()
        advancing = waiting & ~busy
        m.d.comb += self.unit.instruction.ready.eq(~unopened & (~busy | follows))
        m.d.sync += [
            loading.eq(accepted), starting.eq(advancing),
            follows.eq(self.unit.instruction.valid & ~accepted & (offered.layer == coming.layer)),
        ]
        with m.If(finishing):
            m.d.sync += busy.eq(0)
        with m.If(opening):
            m.d.sync += unopened.eq(0)
        with m.If(advancing):
            m.d.sync += [
                now.eq(coming), combines.eq(coming.add | coming.multiply), busy.eq(1), waiting.eq(0)]
        with m.If(accepted):
            m.d.sync += [coming.eq(offered), waiting.eq(1), unopened.eq(1)]

        m.submodules.walk = walk = GroupWalk(fabric=fabric)
        m.submodules.other_walk = other_walk = GroupWalk(fabric=fabric)
        for each, base, x_step, y_step in ((walk, now.out, now.x_step, now.y_step),
                                           (other_walk, now.other, now.other_x_step, now.other_y_step)):
            m.d.comb += [
                each.i_base.eq(base), each.i_x_step.eq(x_step), each.i_y_step.eq(y_step),
                each.i_x_count.eq(now.x_count), each.i_y_count.eq(now.y_count),
                each.i_channels.eq(now.channels),
            ]
        m.d.comb += [walk.i_start.eq(starting), other_walk.i_start.eq(starting & combines)]

        # ---- Operands, ahead of their groups: as many as the buffer beside the lanes takes.
        round_trip = 1 + self.LATENCY_LANES + 1
        m.submodules.operands = operands = SyncFIFOBuffered(width=8 * lanes, depth=buffer_depth(round_trip))
        operand_room = Signal(range(operands.depth + 1), init=operands.depth)
        operand_free = Signal(init=1)  # there is some; as of the other counts, a register says so
        # Operands that groups may enter for: granted for an add, which come in time; else those that came.
        operand_ready, operand_some = Signal(range(operands.depth + 1)), Signal()
        request = self.other.request
        granted = request.valid & request.ready
        factor_comes = delay(m, granted & now.multiply, self.read_latency, name="factor")
        m.d.comb += [
            request.valid.eq(other_walk.o_active & operand_free),
            request.payload.address.eq(other_walk.o_address),
            request.payload.count.eq(lanes),
            other_walk.i_next.eq(granted),
            operands.w_en.eq(delay(m, granted, self.read_latency, name="granted")),
            operands.w_data.eq(Cat(self.other.data[i] for i in range(lanes))),
        ]

        # ---- The front: one group per cycle.
        depth = buffer_depth(self.LATENCY_PLAIN + 1)
        room = Signal(range(depth + 1), init=depth)  # places in the output buffer that no group has booked
        room_some = Signal(init=1)
        opened = Signal()  # the lanes hold this instruction's parameters
        willing = opened & room_some & (operand_some | ~combines)
        enter = Signal()
        m.d.comb += [
            enter.eq(willing & self.results.valid),
            self.results.ready.eq(willing & walk.o_last_of_pixel),
            walk.i_next.eq(enter),
            finishing.eq(enter & walk.o_last),
        ]
        with m.If(finishing):
            m.d.sync += opened.eq(0)
        operand_comes = (granted & now.add) | factor_comes  # never both: one kind at a time
        m.d.sync += [
            operand_ready.eq(operand_ready + operand_comes - (enter & combines)),
            operand_some.eq(operand_comes | (operand_ready > 1) | (operand_some & ~(enter & combines))),
        ]

        with m.If(~busy & ~waiting):
            m.d.comb += self.unit.state.eq(State.IDLE)
        with m.Elif(enter):
            m.d.comb += self.unit.state.eq(State.BUSY)
        with m.Elif(opened & self.results.valid & ~room_some):
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

        # ---- Where the valid ones are. All groups in the lanes are of one kind: add, multiply or neither.
        add, multiply = Signal(), Signal()
        valid = [valid_s0]
        for _ in range(self.LATENCY_LANES - 1):
            valid.append(delay(m, valid[-1], 1, name=f"valid_s{len(valid) - 1}"))
        valid_add = [valid[-1] & add]
        for _ in range(ResidualAdder.LATENCY):
            valid_add.append(delay(m, valid_add[-1], 1, name=f"valid_add_s{len(valid_add) - 1}"))
        valid_out = [Mux(add, valid_add[-1], valid[-1])]
        for _ in range(self.LATENCY_TABLE):
            valid_out.append(delay(m, valid_out[-1], 1, name=f"valid_out_s{len(valid_out) - 1}"))
        empty = ~Cat(valid, valid_add[1:], valid_out[1:]).any()

        # ---- Records, in two banks: one is written while groups may still read the other.
        m.submodules.loader = loader = RecordLoader(fabric=fabric, read_latency=self.pm_latency)
        wiring.connect(m, wiring.flipped(self.pm), loader.pm)
        bank, bank_now = Signal(), Signal()
        with m.If(accepted):
            m.d.sync += bank.eq(~bank)
        bank_s0 = delay(m, bank_now, 1, name="bank")
        near, bank_there = [], bank_s0
        for valid_there in valid[:self._near]:
            near.append(valid_there & (bank_there == bank))
            bank_there = delay(m, bank_there, 1, name=f"bank_s{len(near) - 1}")
        m.d.comb += [
            loader.i_start.eq(loading), loader.i_hold.eq(Cat(near).any()),
            loader.i_params.eq(coming.params), loader.i_channels.eq(coming.channels),
            loader.i_extra.eq(coming.add | coming.multiply),
        ]

        # ---- What else an instruction sets. A mark travels with its first group; what is used at a stage is
        # taken over when the mark is one stage before it.
        loaded, fresh = Signal(), Signal()
        record = Signal(ADD_RECORD, reset_less=True)
        low, high, zero = Signal(signed(8)), Signal(signed(8)), Signal(signed(8))
        number, look = Signal(range(max(1, fabric.tables))), Signal()
        out_of_lane = self.LATENCY_LANES - 1
        mark = [delay(m, enter & fresh, 1, name="mark")]
        for stage in range(1, out_of_lane + ResidualAdder.LATENCY):
            moves_on = mark[-1] & add if stage == out_of_lane else mark[-1]
            mark.append(delay(m, moves_on, 1, name=f"mark_s{stage - 1}"))

        def at(stage, value, name):
            held = Signal(value.shape(), name=f"{name}_s{stage}", reset_less=True)
            with m.If(mark[stage - 1]):
                m.d.sync += held.eq(value)
            return held

        same_kind = (now.add == add) & (now.multiply == multiply)
        m.d.comb += opening.eq((loader.o_complete | loaded) & busy & ~waiting & ~Cat(mark).any()
                               & (same_kind | empty))
        with m.If(enter):
            m.d.sync += fresh.eq(0)
        last_record = ADD_RECORD(loader.o_record)
        with m.If(opening):
            # Limits the wrong way round give high, as they do in numerics.
            m.d.sync += [
                loaded.eq(0), opened.eq(1), fresh.eq(1), bank_now.eq(bank),
                add.eq(now.add), multiply.eq(now.multiply), number.eq(now.table - 1), look.eq(now.table != 0),
                zero.eq(now.zero), high.eq(now.high), low.eq(Mux(now.low > now.high, now.high, now.low)),
                record.eq(last_record),
                record.low.eq(Mux(last_record.low > last_record.high, last_record.high, last_record.low)),
            ]
        with m.Elif(loader.o_complete):
            m.d.sync += loaded.eq(1)

        # ---- The lanes. They stand still while nothing is in them: saves power, and time in simulation; but
        # an enable for thousands of registers is slow.
        moving = Signal()
        if self.cells.family == "portable":
            m.d.comb += moving.eq(~empty | loader.o_channel.any())
        else:
            m.d.comb += moving.eq(1)
        outcome = Signal(data.ArrayLayout(8, lanes))
        group = delay(m, Cat(group_s0, bank_s0), OperandMultiplier.LATENCY, name="group_s0")
        requantise = OperandMultiplier.LATENCY
        zero_now = at(requantise + Requantiser.LATENCY_ZERO, zero, "zero")
        low_now, high_now = (at(requantise + Requantiser.LATENCY_LIMITS, limit, name)
                             for limit, name in ((low, "low"), (high, "high")))
        add_record = Signal(ADD_RECORD)
        for field, latency in (("mult_q", 0), ("mult_other", 0), ("constant", ResidualAdder.LATENCY_CONSTANT),
                               ("shift", ResidualAdder.LATENCY_SHIFT), ("low", ResidualAdder.LATENCY_LIMITS),
                               ("high", ResidualAdder.LATENCY_LIMITS)):
            m.d.comb += add_record[field].eq(at(out_of_lane + latency, record[field], field))
        number_now, look_now = Signal.like(number), Signal()
        with m.If(Mux(add, mark[-1], mark[out_of_lane - 1])):
            m.d.sync += [number_now.eq(number), look_now.eq(look)]
        # A register between the DMA and the tables of all lanes.
        table_enable, table_address, table_data = (
            delay(m, signal, 1, name=f"table_{part}") for part, signal in
            (("enable", self.table.enable), ("address", self.table.address), ("data", self.table.data)))
        for i in range(lanes):
            multiplier = OperandMultiplier(acc_width=fabric.acc_width)
            lane = Requantiser(acc_width=fabric.acc_width, groups=2 << len(group_s0),
                               ties_to_even=fabric.ties_to_even)
            adder = ResidualAdder()
            other = operands.r_data.word_select(i, 8).as_signed()
            m.submodules[f"multiplier_{i}"] = EnableInserter(moving)(multiplier)
            m.submodules[f"lane_{i}"] = EnableInserter(moving)(lane)
            enabled = moving & (add | (self.cells.family != "portable"))
            m.submodules[f"adder_{i}"] = EnableInserter(enabled)(adder)
            m.d.comb += [
                lane.load.valid.eq(loader.o_channel[i]), lane.load.group.eq(Cat(loader.o_group, bank)),
                lane.load.record.eq(loader.o_record),
                multiplier.i_acc.eq(acc_s0[i]), multiplier.i_other.eq(other),
                multiplier.i_multiply.eq(multiply),
                multiplier.i_parameters.eq(PRODUCT_RECORD(record.as_value())),
                lane.i_acc.eq(multiplier.o_acc), lane.i_group.eq(group),
                lane.i_zero.eq(zero_now), lane.i_low.eq(low_now), lane.i_high.eq(high_now),
                adder.i_q.eq(lane.o_q), adder.i_other.eq(other),
                adder.i_parameters.eq(add_record),
            ]
            q = Mux(add, adder.o_sum, lane.o_q)
            if not fabric.tables:
                m.d.comb += outcome[i].eq(q)
                continue
            m.submodules[f"table_{i}"] = lookup = TableLookup(fabric=fabric)
            m.d.comb += [
                lookup.write.enable.eq(table_enable), lookup.write.address.eq(table_address),
                lookup.write.data.eq(table_data),
                lookup.i_q.eq(q), lookup.i_number.eq(number_now), lookup.i_look.eq(valid_out[0] & look_now),
                outcome[i].eq(lookup.o_q),
            ]
        operand_used = valid_add[0] | (valid_s0 & multiply)
        m.d.comb += operands.r_en.eq(operand_used)
        m.d.sync += [
            operand_room.eq(operand_room + operand_used - granted),
            operand_free.eq(operand_used | (operand_room > 1) | (operand_free & ~granted)),
        ]

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
            outcomes.w_en.eq(valid_out[-1]), outcomes.w_data.eq(outcome),
            outcomes.r_en.eq(written),
            request.valid.eq(outcomes.r_rdy),
            request.payload.write.eq(1), request.payload.address.eq(place.address),
            request.payload.count.eq(place.count),
        ]
        m.d.comb += [request.payload.data[i].eq(outcomes.r_data.word_select(i, 8)) for i in range(lanes)]
        m.d.sync += [
            room.eq(room + written - enter), room_some.eq(written | (room > 1) | (room_some & ~enter))]
        m.d.comb += self.unit.done.eq(delay(m, written & place.last, self.write_latency, name="done"))
        return m
