"""The STORE unit: carries out Store."""
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..contract.fabric import Fabric
from ..contract.isa import ROW_BYTES_BITS, Store, Unit, unit_bits
from ..signatures import Address, AMAccessPort, State, UnitPort, instruction_layout
from .burst import command_layout
from .queue import Fifo, Queue
from .rows import RowCommands, Stride, Walk, chunk_bytes
from .write_engine import strobed_beat


class StoreUnit(wiring.Component):
    """Reads rows of activation memory and sends them to DRAM.

    ::

                     ┌► RowCommands ──► command (write engine)
        instruction ─┤
                     └► Walk ──► am request ··latency··► am data ──► slots ──► FIFO ──► data (write engine)

    A chunk per cycle (the largest power of two bytes within R and the bus). What comes back from the memory
    cannot be stopped, so the first chunk of a beat takes a credit for a place in the FIFO; the place is given
    back when the beat leaves for the bus. The FIFO covers the way there and back, so a beat per cycle is
    reached where a chunk is as wide as the bus.

    ``done`` follows the write engine's: the response to an instruction's last burst.

    ``state``: BUSY a chunk was asked for; OPERAND waits for the memory port; RESULT waits for the bus, also
    when all has been read and only responses are missing.

    Parameters
    ----------
    fabric : Fabric
    am_read_latency : int
        ActivationMemory.LATENCY_ACCESS, at least 1.

    Members
    -------
    port : ``In(UnitPort(Unit.STORE))``
    am : ``Out(AMAccessPort(fabric))``
    command : ``Out(stream.Signature(command_layout(ROW_BYTES_BITS)))``
    data : ``Out(stream.Signature(strobed_beat(fabric)))``
    bursts_done : ``In(1)``
        WriteEngine.done.
    """

    def __init__(self, *, fabric: Fabric, am_read_latency: int):
        if am_read_latency < 1:
            raise ValueError(f"am_read_latency is {am_read_latency}; it must be at least 1")
        self._fabric, self._read_latency = fabric, am_read_latency
        super().__init__({
            "port": In(UnitPort(Unit.STORE)),
            "am": Out(AMAccessPort(fabric)),
            "command": Out(stream.Signature(command_layout(ROW_BYTES_BITS))),
            "data": Out(stream.Signature(strobed_beat(fabric))),
            "bursts_done": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        fabric = self._fabric
        chunk, bus = chunk_bytes(fabric), fabric.bus_bytes
        # The way of a credit: request queue, memory, slots, two cycles of FIFO, its return; one to spare.
        depth = Queue.LATENCY + self._read_latency + 1 + Fifo.LATENCY + 2

        m.submodules.rows = rows = RowCommands()
        m.submodules.walk = walk = Walk(fabric=fabric)
        wiring.connect(m, rows.command, wiring.flipped(self.command))

        front = Signal(unit_bits(Unit.STORE))
        front_valid = Signal()
        store = data.View(instruction_layout(Store), front)
        hand_on = Signal()
        m.d.comb += [
            hand_on.eq(front_valid & rows.region.ready & walk.region.ready),
            self.port.instruction.ready.eq(~front_valid),
            rows.region.valid.eq(hand_on),
            rows.region.p.address.eq(store.dram),
            rows.region.p.stride.eq(store.dram_stride),
            rows.region.p.rows.eq(store.rows),
            rows.region.p.row_bytes.eq(store.row_bytes),
            walk.region.valid.eq(hand_on),
            walk.region.p.stride.eq(Stride.CHUNK),
            walk.region.p.local.eq(store.local),
            walk.region.p.pitch.eq(store.pitch),
            walk.region.p.rows.eq(store.rows),
            walk.region.p.row_bytes.eq(store.row_bytes),
        ]
        with m.If(~front_valid):
            m.d.sync += [front_valid.eq(self.port.instruction.valid), front.eq(self.port.instruction.payload)]
        with m.Elif(hand_on):
            m.d.sync += front_valid.eq(0)

        # Ask: a chunk leaves for the memory if there is a place for its beat.
        step = walk.step
        place = data.StructLayout({
            "count": range(chunk + 1), "index": range(bus // chunk), "beat_last": 1})
        m.submodules.requests = requests = Queue(data.StructLayout({"address": Address, "place": place}))
        credits = Signal(range(depth + 1), init=depth)
        has_credit, move, give_back = Signal(), Signal(), Signal()
        m.d.comb += [
            has_credit.eq((step.p.index != 0) | (credits != 0)),
            step.ready.eq(has_credit & requests.i.ready),
            move.eq(step.valid & step.ready),
            requests.i.valid.eq(step.valid & has_credit),
            requests.i.p.address.eq(step.p.address),
            requests.i.p.place.count.eq(step.p.count),
            requests.i.p.place.index.eq(step.p.index),
            requests.i.p.place.beat_last.eq(step.p.beat_last),
            give_back.eq(self.data.valid & self.data.ready),
            self.am.request.valid.eq(requests.o.valid),
            requests.o.ready.eq(self.am.request.ready),
            self.am.request.p.address.eq(requests.o.p.address),
            self.am.request.p.count.eq(requests.o.p.place.count),
        ]
        m.d.sync += credits.eq(credits - (move & (step.p.index == 0)) + give_back)

        # Take: the place of a chunk travels beside the memory and meets its bytes.
        arriving = [Signal(place, name=f"place_{n}") for n in range(self._read_latency + 1)]
        valid = Signal(self._read_latency + 1)
        m.d.comb += [arriving[0].eq(requests.o.p.place), valid[0].eq(requests.o.valid & requests.o.ready)]
        for n in range(self._read_latency):
            m.d.sync += [arriving[n + 1].eq(arriving[n]), valid[n + 1].eq(valid[n])]
        got, got_valid = arriving[-1], valid[-1]

        m.submodules.fifo = fifo = Fifo(strobed_beat(fabric), depth=depth)
        wiring.connect(m, fifo.o, wiring.flipped(self.data))
        beat = fifo.i
        m.d.sync += beat.valid.eq(got_valid & got.beat_last)
        with m.If(got_valid):
            strobe = Cat(got.count > i for i in range(chunk))
            for index in range(bus // chunk):
                with m.If(got.index == index):
                    m.d.sync += [
                        beat.p.data[8 * chunk * index:8 * chunk * (index + 1)].eq(
                            Cat(self.am.data[i] for i in range(chunk))),
                        beat.p.strobe[chunk * index:chunk * (index + 1)].eq(strobe),
                    ]
                with m.Elif(got.index == 0):
                    m.d.sync += beat.p.strobe[chunk * index:chunk * (index + 1)].eq(0)

        # At most: front, RowCommands, splitter, the bursts that wait for B, and one whose done is on its way.
        unfinished = Signal(range(fabric.outstanding + 5))
        take = self.port.instruction.valid & self.port.instruction.ready
        m.d.sync += unfinished.eq(unfinished + take - self.bursts_done)
        m.d.comb += self.port.done.eq(self.bursts_done)

        with m.If(move):
            m.d.comb += self.port.state.eq(State.BUSY)
        with m.Elif(step.valid):
            m.d.comb += self.port.state.eq(Mux(has_credit, State.OPERAND, State.RESULT))
        with m.Elif(unfinished != 0):
            m.d.comb += self.port.state.eq(State.RESULT)
        return m
