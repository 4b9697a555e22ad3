"""Accounts for every cycle of a run: per layer, unit and cause."""
from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..contract.fabric import LAYER_BITS, Fabric
from ..contract.isa import Cause, Unit

COUNT_BITS = 32
UNITS = len(Unit)
CAUSES = len(Cause)
PLACES = CAUSES + 1
"""What is collected of a unit: its causes, and behind them the cycles of FETCH that were counted apart."""


class Account(wiring.Component):
    """Counts the causes of one unit and parks the counts of a finished instruction until they are collected.

    The cycles since the previous instruction of the unit finished belong to the layer of the next one. An
    instruction finishes with the last cycle of activity of the unit's front, or in the cycle in which the
    front takes its successor. Then the counts are parked and counting starts anew, without a gap; not if a
    successor of the same layer was taken at once. Where the parking place is still taken, the counts are
    parked as soon as it is free; the cycles of an idle front in between are charged to the right layer, but
    all of them to FETCH.

    ``o_ready`` holds back an instruction of another layer than the last one's while the parking place is
    taken, which is at most the UNITS * (PLACES + 2) = 60 cycles that collecting takes for all units: a unit
    is delayed only by two changes of layer within that time.

    The counts are in two small memories without a register at the output: one counts while the other is
    parked. What a memory holds of an entry means nothing until the entry is ``used``::

        cycle     t         t+1        t+2         t+3
        i_cause   cause     register   address     counted
        i_place   place     address    o_count     (LATENCY_COUNT = 2)

    Members
    -------
    i_run : ``In(1)``
        The cycle counts.
    i_cause, i_active, i_accept : ``In``
        What the unit did, whether its front was active, whether it took an instruction.
    i_layer, i_follows : ``In(LAYER_BITS)``, ``In(1)``
        Layer of the instruction it took or may be offered next; it is that of the instruction taken before.
    o_ready : ``Out(1)``
        That instruction may be issued.
    o_parked, o_layer : ``Out``
        There are parked counts; their layer.
    i_place, o_count : ``In(range(PLACES))``, ``Out(COUNT_BITS)``
        The parked count of a cause, or the last place: more of FETCH.
    i_free : ``In(1)``
        Everything was collected; a cycle behind the last ``i_place``.
    o_idle : ``Out(1)``
        Nothing parked or about to be.
    """

    LATENCY_COUNT = 2

    def __init__(self) -> None:
        super().__init__({
            "i_run": In(1), "i_cause": In(Cause), "i_active": In(1), "i_accept": In(1),
            "i_layer": In(LAYER_BITS), "i_follows": In(1), "o_ready": Out(1),
            "o_parked": Out(1), "o_layer": Out(LAYER_BITS),
            "i_place": In(range(PLACES)), "o_count": Out(COUNT_BITS),
            "i_free": In(1), "o_idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        # ``running``: an instruction was taken and has not finished; ``seen``: its front was active.
        # ``taken`` and ``taken_layer`` tell of the cycle before; ``layer`` is whose cycles are counted.
        running, seen, late = Signal(), Signal(), Signal()
        taken, handed_over, taken_layer, layer = Signal(), Signal(), Signal(LAYER_BITS), Signal(LAYER_BITS)
        changes = Signal()  # what was handed over is of another layer
        finished, park = Signal(), Signal()
        m.d.comb += finished.eq(running & seen & ~self.i_active)
        with m.If(finished):
            m.d.sync += [running.eq(0), seen.eq(0)]
        with m.If(running & self.i_active):
            m.d.sync += seen.eq(1)
        m.d.sync += [taken.eq(self.i_accept), handed_over.eq(self.i_accept & running & ~finished),
                     changes.eq(~self.i_follows)]
        with m.If(self.i_accept):
            m.d.sync += [running.eq(1), seen.eq(0), taken_layer.eq(self.i_layer)]
        with m.If(taken):
            m.d.sync += layer.eq(taken_layer)

        # Everything counted up to the cycle before is parked.
        wanted = finished | late | (handed_over & changes)
        m.d.comb += park.eq(wanted & ~self.o_parked)
        m.d.sync += late.eq(wanted & self.o_parked)
        with m.If(park):
            m.d.sync += [self.o_parked.eq(1), self.o_layer.eq(layer)]
        with m.If(self.i_free):
            m.d.sync += self.o_parked.eq(0)

        # Cycles of an idle front before a late parking; that is late by 60 cycles at most. They go to the
        # counts that are parked then, or on top of them, once it is known which instruction is next.
        gap, in_gap = Signal(8), Signal()
        more, more_parked = Signal(8), Signal(8)
        m.d.comb += in_gap.eq(self.i_run & (finished | (late & ~running)) & ~park)
        m.d.sync += gap.eq(Mux(park | taken, 0, gap + in_gap))
        with m.If(park):
            m.d.sync += [more_parked.eq(more), more.eq(gap)]
        with m.Elif(taken):
            m.d.sync += more.eq(more + gap)
        m.d.comb += self.o_ready.eq(self.i_follows | ~(self.o_parked | late | taken))

        # Edge t -> t+1: what to count, and in which memory. Edge t+1 -> t+2: its address.
        bank, bank_s1, bank_s2 = Signal(), Signal(), Signal()
        counts_s1, counts_s2, cause_s1 = Signal(), Signal(), Signal(Cause)
        place_s1 = Signal.like(self.i_place)
        m.d.sync += [
            bank.eq(bank ^ park), bank_s1.eq(bank ^ park), cause_s1.eq(self.i_cause),
            counts_s1.eq(self.i_run & ~in_gap), counts_s2.eq(counts_s1), bank_s2.eq(bank_s1),
            place_s1.eq(self.i_place),
        ]
        found = []
        for number in range(2):
            m.submodules[f"memory_{number}"] = memory = Memory(
                shape=COUNT_BITS, depth=1 << len(place_s1), init=[])
            read, write = memory.read_port(domain="comb"), memory.write_port()
            used = Signal(CAUSES, name=f"used_{number}")
            address_s2 = Signal.like(place_s1, name=f"address_s2_{number}")
            counted = Signal(COUNT_BITS, name=f"counted_{number}")
            m.d.sync += address_s2.eq(Mux(bank_s1 == number, cause_s1, self.i_place))
            m.d.comb += [
                read.addr.eq(address_s2), write.addr.eq(address_s2),
                counted.eq(Mux(used.bit_select(address_s2, 1), read.data, 0)),
                # Edge t+2 -> t+3: one more.
                write.en.eq(counts_s2 & (bank_s2 == number)), write.data.eq(counted + 1),
            ]
            with m.If(write.en):
                m.d.sync += used.bit_select(address_s2, 1).eq(1)
            with m.Elif(self.i_free & (bank != number)):
                m.d.sync += used.eq(0)
            found.append(counted)
        m.d.sync += self.o_count.eq(Mux(
            place_s1 == CAUSES, more_parked, Mux(bank, found[0], found[1])))
        m.d.comb += self.o_idle.eq(~(self.o_parked | wanted | seen))
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
    i_run, i_cause, i_active, i_accept, i_layer, i_follows, o_ready
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

    LATENCY_READ = 6

    def __init__(self, *, fabric: Fabric):
        if not fabric.profile_layers:
            raise ValueError("profile_layers is 0: this fabric has no profile")
        self._layers = fabric.profile_layers
        super().__init__({
            "i_run": In(1), "i_cause": In(data.ArrayLayout(Cause, UNITS)), "i_active": In(UNITS),
            "i_accept": In(UNITS), "i_layer": In(data.ArrayLayout(LAYER_BITS, UNITS)),
            "i_follows": In(UNITS), "o_ready": Out(UNITS),
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
                account.i_layer.eq(self.i_layer[unit]), account.i_follows.eq(self.i_follows[unit]),
                self.o_ready[unit].eq(account.o_ready)]

        # Collect: all places of one unit.
        unit, slot, place = Signal(range(UNITS)), Signal(slot_bits), Signal(range(PLACES))
        collect, free = Signal(), Signal()
        parked = Array(account.o_parked for account in accounts)[unit]
        layer = Array(account.o_layer for account in accounts)[unit]
        following = Mux(unit == UNITS - 1, 0, unit + 1)
        for number, account in enumerate(accounts):
            m.d.comb += [account.i_place.eq(place), account.i_free.eq(free & (unit == number))]
        with m.FSM(name="collector"):
            with m.State("SEEK"):
                m.d.sync += [slot.eq(first_slot[unit]), place.eq(0)]
                with m.If(parked):
                    m.next = "COLLECT"
                with m.Else():
                    m.d.sync += unit.eq(following)
            with m.State("COLLECT"):
                m.d.comb += collect.eq(1)
                m.d.sync += [slot.eq(slot + 1), place.eq(place + 1)]
                with m.If(place == CAUSES - 1):
                    m.d.sync += slot.eq(first_slot[unit] + Cause.FETCH)
                with m.If(place == PLACES - 1):
                    m.next = "FREE"
            with m.State("FREE"):
                m.d.comb += free.eq(1)
                m.d.sync += unit.eq(following)
                m.next = "SEEK"

        # The host's index: reads whenever the collector does not. Its slot is registered, then its address.
        index = data.View(data.StructLayout({"cause": 4, "unit": 3, "layer": LAYER_BITS}), self.i_index)
        host_slot, host_layer, host_known = Signal(slot_bits), Signal(LAYER_BITS), Signal()
        m.d.sync += [host_slot.eq(first_slot[index.unit] + index.cause), host_layer.eq(index.layer),
                     host_known.eq((index.cause < CAUSES) & (index.unit < UNITS)
                                   & (index.layer < self._layers))]

        # Edge 0 -> 1: choose an address.  2 -> 3: read; take the count, which comes LATENCY_COUNT = 2 cycles
        # after its place.  3 -> 4: keep the data.  4 -> 5: add.  5 -> 6: write.
        def after(signal: Signal, name: str) -> Signal:
            later = Signal.like(signal, name=name)
            m.d.sync += later.eq(signal)
            return later

        add_s1, host_s1 = Signal(), Signal()
        address_s1 = Signal(len(write.addr))
        m.d.sync += [
            add_s1.eq(collect & (layer < self._layers)), host_s1.eq(~collect),
            address_s1.eq(Mux(collect, Cat(layer[:layer_bits], slot),
                              Cat(host_layer[:layer_bits], host_slot)))]
        unit_s2 = after(after(unit, "unit_s1"), "unit_s2")
        add_s2, host_s2, address_s2 = (
            after(add_s1, "add_s2"), after(host_s1, "host_s2"), after(address_s1, "address_s2"))
        m.d.comb += [read.addr.eq(address_s2), read.en.eq(1)]
        count_s3 = Signal(COUNT_BITS)
        m.d.sync += count_s3.eq(Array(account.o_count for account in accounts)[unit_s2])
        add_s3, host_s3, address_s3 = (
            after(add_s2, "add_s3"), after(host_s2, "host_s3"), after(address_s2, "address_s3"))
        add_s4, host_s4, address_s4 = (
            after(add_s3, "add_s4"), after(host_s3, "host_s4"), after(address_s3, "address_s4"))
        count_s4, data_s4 = after(count_s3, "count_s4"), after(read.data, "data_s4")
        add_s5, address_s5 = after(add_s4, "add_s5"), after(address_s4, "address_s5")
        sum_s5 = Signal(COUNT_BITS)
        m.d.sync += sum_s5.eq(data_s4 + count_s4)
        with m.If(host_s4):
            m.d.sync += self.o_data.eq(Mux(host_known, data_s4, 0))
        adding = Cat(add_s1, add_s2, add_s3, add_s4, add_s5).any()

        # Clear: every address once.
        cleared = Signal(len(write.addr))
        with m.If(self.i_clear):
            m.d.sync += [self.o_clearing.eq(1), cleared.eq(depth - 1)]
        with m.If(self.o_clearing):
            m.d.sync += cleared.eq(cleared - 1)
            with m.If(cleared == 0):
                m.d.sync += self.o_clearing.eq(0)
        m.d.comb += [
            write.en.eq(add_s5 | self.o_clearing), write.addr.eq(Mux(self.o_clearing, cleared, address_s5)),
            write.data.eq(Mux(self.o_clearing, 0, sum_s5)),
            self.o_idle.eq(Cat(account.o_idle for account in accounts).all() & ~adding)]
        return m
