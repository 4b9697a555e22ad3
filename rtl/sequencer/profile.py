"""Accounts for every cycle of a run: per layer, unit and cause."""
from amaranth import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..contract.fabric import LAYER_BITS, Fabric
from ..contract.isa import Cause, Unit

COUNT_BITS = 32
UNITS = len(Unit)
CAUSES = len(Cause)
SETTLE = 4
"""Cycles from the last count collected to its sum in the memory."""


class Account(wiring.Component):
    """Counts the causes of one unit and parks the counts of a finished instruction until they are collected.

    The cycles since the previous instruction of the unit finished belong to the layer of the next one. An
    instruction finishes with the last cycle of activity of the unit's front, or in the cycle in which the
    front takes its successor. Then the counts are parked and counting starts anew, without a gap; not if a
    successor of the same layer was taken at once. Where the parking place is still taken, the counts are
    parked as soon as it is free; the cycles of an idle front in between are charged to the right layer, but
    all of them to FETCH.

    ``o_ready`` holds back an instruction of another layer than the last one's while the parking place is
    taken, which is at most the UNITS * (1 + CAUSES + SETTLE) = 70 cycles that collecting takes for all
    units: a unit is delayed only by two changes of layer within that time.

    Members
    -------
    i_run : ``In(1)``
        The cycle counts.
    i_cause, i_active, i_accept : ``In``
        What the unit did, whether its front was active, whether it took an instruction.
    i_layer : ``In(LAYER_BITS)``
        Layer of the instruction it took or may be offered next.
    o_ready : ``Out(1)``
        An instruction of ``i_layer`` may be issued.
    o_parked, o_layer, o_count : ``Out``
        There are parked counts; their layer; the count of the first cause that was not collected yet.
    i_next, i_free : ``In(1)``
        Go on to the count of the next cause; everything was collected and written.
    o_idle : ``Out(1)``
        Nothing parked or about to be.
    """

    def __init__(self) -> None:
        super().__init__({
            "i_run": In(1), "i_cause": In(Cause), "i_active": In(1), "i_accept": In(1),
            "i_layer": In(LAYER_BITS), "o_ready": Out(1),
            "o_parked": Out(1), "o_layer": Out(LAYER_BITS), "o_count": Out(COUNT_BITS),
            "i_next": In(1), "i_free": In(1), "o_idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        counts = [Signal(COUNT_BITS, name=f"count_{cause.name.lower()}") for cause in Cause]
        parked = [Signal(COUNT_BITS, name=f"parked_{cause.name.lower()}") for cause in Cause]

        # ``running``: an instruction was taken and has not finished; ``seen``: its front was active.
        # ``taken`` and ``taken_layer`` tell of the cycle before; ``layer`` is whose cycles ``counts`` holds.
        running, seen, late = Signal(), Signal(), Signal()
        taken, handed_over, taken_layer, layer = Signal(), Signal(), Signal(LAYER_BITS), Signal(LAYER_BITS)
        finished, park = Signal(), Signal()
        m.d.comb += finished.eq(running & seen & ~self.i_active)
        with m.If(finished):
            m.d.sync += [running.eq(0), seen.eq(0)]
        with m.If(running & self.i_active):
            m.d.sync += seen.eq(1)
        m.d.sync += [taken.eq(self.i_accept), handed_over.eq(self.i_accept & running & ~finished)]
        with m.If(self.i_accept):
            m.d.sync += [running.eq(1), seen.eq(0), taken_layer.eq(self.i_layer)]
        with m.If(taken):
            m.d.sync += layer.eq(taken_layer)

        # Everything counted up to the cycle before is parked.
        wanted = finished | late | (handed_over & (taken_layer != layer))
        m.d.comb += park.eq(wanted & ~self.o_parked)
        m.d.sync += late.eq(wanted & self.o_parked)

        # Cycles of an idle front before a late parking; that is late by 70 cycles at most.
        gap, in_gap = Signal(8), Signal()
        m.d.comb += in_gap.eq(self.i_run & (finished | (late & ~running)) & ~park)
        m.d.sync += gap.eq(Mux(park | taken, 0, gap + in_gap))
        m.d.comb += self.o_ready.eq((self.i_layer == taken_layer) | ~(self.o_parked | late | taken))

        behind = [*parked[1:], Const(0)]
        for cause, count, place, following in zip(Cause, counts, parked, behind, strict=True):
            more = self.i_run & (self.i_cause == cause) & ~in_gap
            if cause == Cause.FETCH:
                with m.If(park | taken | more):
                    m.d.sync += count.eq(Mux(park, 0, count) + Mux(park | taken, gap, 0) + more)
            else:
                with m.If(park | more):
                    m.d.sync += count.eq(Mux(park, 0, count) + more)
            with m.If(park | self.i_next):
                m.d.sync += place.eq(Mux(park, count, following))
        with m.If(park):
            m.d.sync += [self.o_parked.eq(1), self.o_layer.eq(layer)]
        with m.If(self.i_free):
            m.d.sync += self.o_parked.eq(0)
        m.d.comb += [self.o_count.eq(parked[0]), self.o_idle.eq(~(self.o_parked | wanted | seen))]
        return m


class Profile(wiring.Component):
    """The profile memory and what writes it: a counter for each layer, unit and cause.

    Each unit has an Account. One collector goes round the units, and adds what it finds parked to the
    memory, a cause per cycle. Layers from ``profile_layers`` on are not counted. The memory outlives a
    reset.

    Parameters
    ----------
    fabric : Fabric
        ``profile_layers`` must not be 0.

    Members
    -------
    i_run, i_cause, i_active, i_accept, i_layer, o_ready
        See Account; one of each per unit, ``i_run`` for all.
    i_clear : ``In(1)``
        Pulse: set all counters to zero, one per cycle. Only while nothing runs.
    o_clearing : ``Out(1)``
    o_idle : ``Out(1)``
        Every count of an instruction whose front has finished is in the memory.
    i_index : ``In(17)``
        As Reg.PROFILE_INDEX.
    o_data : ``Out(32)``
        That counter, or 0 if there is none; LATENCY_READ cycles after the index while ``o_idle``, later
        otherwise.
    """

    LATENCY_READ = 5

    def __init__(self, *, fabric: Fabric):
        if not fabric.profile_layers:
            raise ValueError("profile_layers is 0: this fabric has no profile")
        self._layers = fabric.profile_layers
        super().__init__({
            "i_run": In(1), "i_cause": In(data.ArrayLayout(Cause, UNITS)), "i_active": In(UNITS),
            "i_accept": In(UNITS), "i_layer": In(data.ArrayLayout(LAYER_BITS, UNITS)), "o_ready": Out(UNITS),
            "i_clear": In(1), "o_clearing": Out(1), "o_idle": Out(1),
            "i_index": In(17), "o_data": Out(COUNT_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        layer_bits = ceil_log2(self._layers)
        # Address: layer in the low bits, above it the slot = unit * CAUSES + cause.
        depth = UNITS * CAUSES << layer_bits
        m.submodules.memory = memory = Memory(shape=COUNT_BITS, depth=depth, init=[])
        read, write = memory.read_port(), memory.write_port()
        slot_bits = len(write.addr) - layer_bits
        first_slot = Array(CAUSES * number for number in range(8))  # a product would take a DSP cell

        accounts = [Account() for _ in Unit]
        for unit, account in zip(Unit, accounts, strict=True):
            m.submodules[unit.name.lower()] = account
            m.d.comb += [
                account.i_run.eq(self.i_run), account.i_cause.eq(self.i_cause[unit]),
                account.i_active.eq(self.i_active[unit]), account.i_accept.eq(self.i_accept[unit]),
                account.i_layer.eq(self.i_layer[unit]), self.o_ready[unit].eq(account.o_ready)]

        # Collect: nine counts of one unit, then wait until the last is written.
        unit, slot, cause = Signal(range(UNITS)), Signal(slot_bits), Signal(range(CAUSES))
        collect, free = Signal(), Signal()
        parked = Array(account.o_parked for account in accounts)[unit]
        layer = Array(account.o_layer for account in accounts)[unit]
        following = Mux(unit == UNITS - 1, 0, unit + 1)
        for number, account in enumerate(accounts):
            m.d.comb += [account.i_next.eq(collect & (unit == number)),
                         account.i_free.eq(free & (unit == number))]
        settle = Signal(range(SETTLE))
        with m.FSM(name="collector"):
            with m.State("SEEK"):
                m.d.sync += [slot.eq(first_slot[unit]), cause.eq(0)]
                with m.If(parked):
                    m.next = "COLLECT"
                with m.Else():
                    m.d.sync += unit.eq(following)
            with m.State("COLLECT"):
                m.d.comb += collect.eq(1)
                m.d.sync += [slot.eq(slot + 1), cause.eq(cause + 1), settle.eq(SETTLE - 1)]
                with m.If(cause == CAUSES - 1):
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.sync += settle.eq(settle - 1)
                with m.If(settle == 0):
                    m.d.comb += free.eq(1)
                    m.d.sync += unit.eq(following)
                    m.next = "SEEK"

        # The host's index: reads whenever the collector does not. Its slot is registered, then its address.
        index = data.View(data.StructLayout({"cause": 4, "unit": 3, "layer": LAYER_BITS}), self.i_index)
        host_slot, host_layer, host_known = Signal(slot_bits), Signal(LAYER_BITS), Signal()
        m.d.sync += [host_slot.eq(first_slot[index.unit] + index.cause), host_layer.eq(index.layer),
                     host_known.eq((index.cause < CAUSES) & (index.unit < UNITS)
                                   & (index.layer < self._layers))]

        # Edge 0 -> 1: choose an address.  1 -> 2: read.  2 -> 3: keep the data.  3 -> 4: add.  4 -> 5: write.
        def after(signal: Signal, name: str) -> Signal:
            later = Signal.like(signal, name=name)
            m.d.sync += later.eq(signal)
            return later

        add_s1, host_s1 = Signal(), Signal()
        address_s1, count_s1 = Signal(len(write.addr)), Signal(COUNT_BITS)
        m.d.sync += [
            add_s1.eq(collect & (layer < self._layers)), host_s1.eq(~collect),
            address_s1.eq(Mux(collect, Cat(layer[:layer_bits], slot),
                              Cat(host_layer[:layer_bits], host_slot))),
            count_s1.eq(Array(account.o_count for account in accounts)[unit])]
        m.d.comb += [read.addr.eq(address_s1), read.en.eq(1)]
        add_s2, host_s2 = after(add_s1, "add_s2"), after(host_s1, "host_s2")
        address_s2, count_s2 = after(address_s1, "address_s2"), after(count_s1, "count_s2")
        add_s3, host_s3 = after(add_s2, "add_s3"), after(host_s2, "host_s3")
        address_s3, count_s3 = after(address_s2, "address_s3"), after(count_s2, "count_s3")
        data_s3 = after(read.data, "data_s3")
        add_s4, address_s4 = after(add_s3, "add_s4"), after(address_s3, "address_s4")
        sum_s4 = Signal(COUNT_BITS)
        m.d.sync += sum_s4.eq(data_s3 + count_s3)
        with m.If(host_s3):
            m.d.sync += self.o_data.eq(Mux(host_known, data_s3, 0))

        # Clear: every address once.
        place = Signal(len(write.addr))
        with m.If(self.i_clear):
            m.d.sync += [self.o_clearing.eq(1), place.eq(depth - 1)]
        with m.If(self.o_clearing):
            m.d.sync += place.eq(place - 1)
            with m.If(place == 0):
                m.d.sync += self.o_clearing.eq(0)
        m.d.comb += [
            write.en.eq(add_s4 | self.o_clearing), write.addr.eq(Mux(self.o_clearing, place, address_s4)),
            write.data.eq(Mux(self.o_clearing, 0, sum_s4)),
            self.o_idle.eq(Cat(account.o_idle for account in accounts).all())]
        return m
