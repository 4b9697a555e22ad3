"""Issues the instructions of one unit: queue, token wait, and what is in flight."""
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..contract.fabric import LAYER_BITS, Fabric
from ..contract.isa import Cause, Instruction, Unit, unit_bits
from ..signatures import State, UnitPort

IN_FLIGHT = 4
"""Instructions of one unit that may be issued and not yet complete."""

HEADER = {item.name: slice(item.offset, item.offset + item.width) for item in Instruction.layout()}
"""Where the fields that all instructions share lie."""


class Issue(wiring.Component):
    """Queue and issue stage of one unit.

    The instruction at the head of the queue waits until every token it needs is there (and, if it waits for
    its own unit, until nothing is in flight), takes all of them in one cycle, and is offered to the unit
    from the next cycle on until the unit takes it::

        cycle         t           t+1          t+2         t+3
        queue write   A
        head                                   A
        tokens taken                           A
        offered                                            A         (LATENCY_ISSUE = 3)

    When a unit has completed an instruction its tokens are given in the cycle of ``done``, or, where a
    counter is full, as soon as there is room; completions that pile up behind are counted. No combinational
    path leads from ``port.instruction.ready`` to an output; one leads from ``port.done`` to ``o_give``.

    Parameters
    ----------
    fabric : Fabric
        Its ``queue_depth`` is the number of instructions that wait here.
    unit : Unit

    Members
    -------
    queue : ``In(stream)``
        Dispatched instructions, the low unit_bits(unit) bits of each.
    port : ``Out(UnitPort)``
    i_stop : ``In(1)``
        Issue nothing more; what is on offer stays on offer.
    i_some, o_take, i_room, o_give : masks over Unit
        See Tokens.
    i_account : ``In(1)``
        The profile can take on an instruction of layer ``o_layer``.
    o_cause : ``Out(Cause)``
        What the unit did in this cycle. The cycles between the last token and the unit's acceptance count
        as FETCH, a full in-flight list as a wait for the unit's own token.
    o_accept, o_layer, o_follows : ``Out``
        The unit takes an instruction in this cycle; the layer of the head, and that it is the layer of the
        instruction before it (0 for the first).
    o_retired : ``Out(1)``
        Pulse: an instruction completed and its tokens were given.
    o_idle : ``Out(1)``
        Nothing queued, on offer or in flight.
    """

    LATENCY_ISSUE = 3
    LATENCY_ISSUE_REGISTER = 2  # with a queue_depth of 1

    def __init__(self, *, fabric: Fabric, unit: Unit):
        self._unit = unit
        self._depth = fabric.queue_depth
        units = len(Unit)
        super().__init__({
            "queue": In(stream.Signature(unit_bits(unit))), "port": Out(UnitPort(unit)),
            "i_stop": In(1),
            "i_some": In(units), "o_take": Out(units), "i_room": In(units), "o_give": Out(units),
            "i_account": In(1, init=1),
            "o_cause": Out(Cause), "o_accept": Out(1), "o_layer": Out(LAYER_BITS),
            "o_follows": Out(1),
            "o_retired": Out(1), "o_idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        own = 1 << self._unit
        others = (1 << len(Unit)) - 1 - own
        bits = unit_bits(self._unit)
        m.submodules.queue = queue = SyncFIFOBuffered(width=bits + 1, depth=self._depth)
        last_layer = Signal(LAYER_BITS)
        layer = self.queue.payload[HEADER["layer"]]
        m.d.comb += [queue.w_data.eq(Cat(self.queue.payload, layer == last_layer)),
                     queue.w_en.eq(self.queue.valid), self.queue.ready.eq(queue.w_rdy)]
        with m.If(self.queue.valid & self.queue.ready):
            m.d.sync += last_layer.eq(layer)
        head = queue.r_data[:bits]
        wait, signal = head[HEADER["wait"]], head[HEADER["signal"]]

        # In flight: the signal masks of issued instructions, oldest first; how many of them have completed.
        masks = [Signal(len(Unit), name=f"in_flight_{i}") for i in range(IN_FLIGHT)]
        in_flight = Signal(IN_FLIGHT + 1, init=1)  # one-hot
        completed = Signal(range(IN_FLIGHT + 1))
        take, retire = Signal(), Signal()

        # Wait for tokens, take them, offer.
        missing = Signal(len(Unit))
        offered = Signal()
        stuck = (wait[self._unit] & ~in_flight[0]) | in_flight[IN_FLIGHT]
        m.d.comb += [
            missing.eq((wait & ~self.i_some & others) | Mux(stuck, own, 0)),
            take.eq(queue.r_rdy & ~offered & ~missing.any() & self.i_account & ~self.i_stop),
            self.o_take.eq(Mux(take, wait & others, 0)),
            self.port.instruction.valid.eq(offered),
            self.port.instruction.payload.eq(head),
            self.o_accept.eq(offered & self.port.instruction.ready),
            self.o_layer.eq(head[HEADER["layer"]]), self.o_follows.eq(queue.r_data[bits]),
            queue.r_en.eq(self.o_accept),
        ]
        with m.If(take):
            m.d.sync += offered.eq(1)
        with m.If(self.o_accept):
            m.d.sync += offered.eq(0)

        # Give tokens in the order of issue.
        oldest = masks[0] & others
        m.d.comb += [
            retire.eq((self.port.done | (completed != 0)) & ~(oldest & ~self.i_room).any()),
            self.o_give.eq(Mux(retire, oldest, 0)),
            self.o_retired.eq(retire),
        ]
        m.d.sync += completed.eq(completed + self.port.done - retire)
        with m.If(take & ~retire):
            m.d.sync += in_flight.eq(in_flight << 1)
        with m.Elif(retire & ~take):
            m.d.sync += in_flight.eq(in_flight >> 1)
        with m.If(retire):
            m.d.sync += Cat(masks[:-1]).eq(Cat(masks[1:]))
        for place, mask in enumerate(masks):
            with m.If(take & Mux(retire, in_flight[place + 1], in_flight[place])):
                m.d.sync += mask.eq(signal)

        m.d.comb += self.o_idle.eq((queue.level == 0) & in_flight[0])

        # Account for the cycle.
        with m.Switch(self.port.state):
            with m.Case(State.BUSY):
                m.d.comb += self.o_cause.eq(Cause.BUSY)
            with m.Case(State.OPERAND):
                m.d.comb += self.o_cause.eq(Cause.OPERAND)
            with m.Case(State.RESULT):
                m.d.comb += self.o_cause.eq(Cause.RESULT)
            with m.Default():
                m.d.comb += self.o_cause.eq(Cause.FETCH)
                with m.If(queue.r_rdy & ~offered):
                    for unit in reversed(Unit):  # the lowest-numbered one is assigned last and wins
                        with m.If(missing[unit]):
                            m.d.comb += self.o_cause.eq(Cause.TOKEN_LOAD + unit)
        return m
