"""The LOAD unit: carries out Load and Fill."""
from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..contract.fabric import (
    PARAMETER_BYTES,
    PM_ADDRESS_BITS,
    TABLE_ADDRESS_BITS,
    TABLE_BYTES,
    WM_ADDRESS_BITS,
    Fabric,
)
from ..contract.isa import ROW_BYTES_BITS, Fill, Load, Space, Unit, unit_bits
from ..signatures import Address, AMAccessPort, State, UnitPort, WideWritePort, instruction_layout
from .burst import command_layout
from .queue import Fifo, Queue
from .rows import RowCommands, Stride, Walk, chunk_bytes, region_layout

WIDE_WRITE_LATENCY = 2
"""Cycles from the one in which a word is complete in the slots until a read of the wide memories sees it."""

TAG = data.StructLayout({"value": signed(8), "space": 2})
"""What the walk carries along: the byte of a Fill or a Load's offset, and the Space that a Load writes."""


def wide_ports(fabric: Fabric) -> dict[str, wiring.Member]:
    """Write ports of the wide memories: weights, parameters, and tables, a beat of a table each."""
    return {
        "wm": Out(WideWritePort(address_bits=WM_ADDRESS_BITS, width=fabric.cols * fabric.weight_bits)),
        "pm": Out(WideWritePort(address_bits=PM_ADDRESS_BITS, width=8 * PARAMETER_BYTES)),
        "table": Out(WideWritePort(address_bits=TABLE_ADDRESS_BITS, width=8 * fabric.bus_bytes)),
    }


class LoadUnit(wiring.Component):
    """Reads rows from DRAM, or repeats a byte, and writes activation or one of the wide memories in order.

    ::

                     ┌► RowCommands ──► command (read engine)          data (beats)
        instruction ─┤                                                   │
                     └► one region waiting ──► Walk ── step ───────────► join ─┬► am   (a chunk per cycle)
                                                                               └► slots ─► wm, pm, table

    The command side runs ahead: while the walk writes one instruction's bytes, all reads of the next one are
    already asked for. A Load moves a beat per cycle to the wide memories, and a chunk per cycle (the largest
    power of two bytes within R and the bus) to activation memory; a Fill writes R bytes per cycle. Rows and
    instructions follow each other without a gap as long as there is data.

    A word of the wide memories is collected in slots, beat by beat. It leaves for ``pm`` or ``table`` in the
    cycle in which it is complete there, and a cycle later for ``wm``, with the offset subtracted.

    ``done`` comes DONE_DELAY cycles after the last request was taken or the last word was complete.

    ``state``: BUSY a chunk or beat moved; OPERAND waits for read data; RESULT waits for the memory port. It
    tells what the walk does: an instruction that waits behind another one shows in ``instruction.ready``
    only.

    Parameters
    ----------
    fabric : Fabric
    am_write_latency : int
        ActivationMemory.LATENCY_WRITE.

    Members
    -------
    port : ``In(UnitPort(Unit.LOAD))``
    command : ``Out(stream.Signature(command_layout(ROW_BYTES_BITS)))``
    data : ``In(stream.Signature(8 * bus_bytes))``
    am : ``Out(AMAccessPort(fabric))``
    wm, pm, table : ``Out(WideWritePort(...))``
        See wide_ports. A table takes as many consecutive addresses as it has beats.
    """

    def __init__(self, *, fabric: Fabric, am_write_latency: int):
        if am_write_latency < 0:
            raise ValueError(f"am_write_latency is {am_write_latency}; it must not be negative")
        self._fabric = fabric
        self.DONE_DELAY = max(am_write_latency, WIDE_WRITE_LATENCY)
        super().__init__({
            "port": In(UnitPort(Unit.LOAD)),
            "command": Out(stream.Signature(command_layout(ROW_BYTES_BITS))),
            "data": In(stream.Signature(8 * fabric.bus_bytes)),
            "am": Out(AMAccessPort(fabric)),
            **wide_ports(fabric),
        })

    def elaborate(self, platform):
        m = Module()
        fabric = self._fabric
        chunk = chunk_bytes(fabric)
        tag_bits = TAG.size

        # Front: one instruction, handed to the command side and to the data side at once.
        m.submodules.rows = rows = RowCommands()
        m.submodules.regions = regions = Fifo(region_layout(tag_bits), depth=1)
        m.submodules.walk = walk = Walk(fabric=fabric, tag=tag_bits)
        wiring.connect(m, rows.command, wiring.flipped(self.command))
        wiring.connect(m, regions.o, walk.region)

        front = Signal(unit_bits(Unit.LOAD))
        front_valid = Signal()
        load, fill = (data.View(instruction_layout(kind), front) for kind in (Load, Fill))
        is_fill = Signal()
        is_wide = Signal()
        word_first = Signal(WM_ADDRESS_BITS)
        hand_on = Signal()
        m.d.comb += [
            is_fill.eq(load.opcode == Fill.OPCODE),
            is_wide.eq(~is_fill & (load.space != Space.AM)),
            word_first.eq(Mux(load.space == Space.TABLE,
                              load.word << exact_log2(TABLE_BYTES // fabric.bus_bytes), load.word)),
            hand_on.eq(front_valid & (is_fill | rows.region.ready) & regions.i.ready),
            self.port.instruction.ready.eq(~front_valid),
            rows.region.valid.eq(hand_on & ~is_fill),
            rows.region.p.address.eq(load.dram),
            rows.region.p.stride.eq(load.dram_stride),
            rows.region.p.rows.eq(load.rows),
            rows.region.p.row_bytes.eq(load.row_bytes),
            regions.i.valid.eq(hand_on),
            regions.i.p.stride.eq(Mux(is_fill, Stride.BANKS, Mux(is_wide, Stride.BEAT, Stride.CHUNK))),
            regions.i.p.rows.eq(Mux(is_fill, fill.rows, load.rows)),
            regions.i.p.row_bytes.eq(Mux(is_fill, fill.row_bytes, load.row_bytes)),
            regions.i.p.pitch.eq(Mux(is_fill, fill.pitch.as_value(), load.pitch.as_value())),
            # In place of an address, the walk hands out the word that a wide memory starts at.
            regions.i.p.local.eq(Mux(is_fill, fill.local.as_value(), Mux(
                is_wide, word_first, load.local.as_value()))),
            regions.i.p.tag.eq(Cat(Mux(is_fill, fill.value, load.offset), load.space)),
        ]
        with m.If(~front_valid):
            m.d.sync += [front_valid.eq(self.port.instruction.valid), front.eq(self.port.instruction.payload)]
        with m.Elif(hand_on):
            m.d.sync += front_valid.eq(0)

        # Join: a step of the walk meets the beat it belongs to, and leaves for a memory.
        step = walk.step
        tag = data.View(TAG, step.p.tag)
        m.submodules.requests = requests = Queue(data.StructLayout({
            "address": Address, "count": range(fabric.rows + 1), "data": 8 * chunk, "last": 1}))
        to_am, has_data, has_room, move = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            to_am.eq(step.p.stride != Stride.BEAT),
            has_data.eq(self.data.valid | (step.p.stride == Stride.BANKS)),
            # A wide write waits until the activation writes before it are done, so that all stay in order.
            has_room.eq(Mux(to_am, requests.i.ready, ~requests.o.valid)),
            move.eq(step.valid & has_data & has_room),
            step.ready.eq(has_data & has_room),
            self.data.ready.eq(move & step.p.beat_last & (step.p.stride != Stride.BANKS)),
            requests.i.valid.eq(move & to_am),
            requests.i.p.address.eq(step.p.address),
            requests.i.p.count.eq(step.p.count),
            requests.i.p.last.eq(step.p.last),
            requests.i.p.data.eq(Mux(step.p.stride == Stride.BANKS, tag.value.as_unsigned().replicate(chunk),
                                     self.data.payload.word_select(step.p.index, 8 * chunk))),
        ]

        # Activation memory. The bytes beyond a chunk are only written by a Fill, which repeats one byte.
        out = requests.o
        m.d.comb += [
            self.am.request.valid.eq(out.valid),
            out.ready.eq(self.am.request.ready),
            self.am.request.p.write.eq(1),
            self.am.request.p.address.eq(out.p.address),
            self.am.request.p.count.eq(out.p.count),
        ]
        for i in range(fabric.rows):
            m.d.comb += self.am.request.p.data[i].eq(out.p.data.word_select(i if i < chunk else 0, 8))

        # Wide memories: collect the beats of a word; the slots stand still while it is written.
        wm_beats = fabric.wm_word_stride // fabric.bus_bytes
        pm_beats = fabric.pm_word_stride // fabric.bus_bytes
        slots = Signal(data.ArrayLayout(8 * fabric.bus_bytes, max(wm_beats, pm_beats)))
        slot = Signal(range(len(slots)))
        offset = Signal(signed(8))
        word_end, weights_end = Signal(), Signal()
        to_wm, to_pm, to_table = (tag.space == space for space in (Space.WM, Space.PM, Space.TABLE))
        word = Signal(WM_ADDRESS_BITS)
        word_now = Signal(WM_ADDRESS_BITS)
        word_written = Signal(WM_ADDRESS_BITS)
        wide_last = Signal()
        m.d.comb += [
            word_end.eq(to_table | (slot == Mux(to_pm, pm_beats - 1, wm_beats - 1))),
            word_now.eq(Mux(step.p.first, step.p.address.as_value()[:WM_ADDRESS_BITS], word)),
            self.pm.address.eq(word_written),
            self.pm.data.eq(slots.as_value()[:8 * PARAMETER_BYTES]),
            self.table.address.eq(word_written),
            self.table.data.eq(slots[0]),
        ]
        m.d.sync += [weights_end.eq(0), self.pm.enable.eq(0), self.table.enable.eq(0), wide_last.eq(0)]
        with m.If(move & ~to_am):
            m.d.sync += [
                slots[slot].eq(self.data.payload),
                slot.eq(Mux(word_end, 0, slot + 1)),
                word.eq(word_now + word_end),
                offset.eq(tag.value),
                weights_end.eq(word_end & to_wm),
                self.pm.enable.eq(word_end & to_pm),
                self.table.enable.eq(to_table),
                word_written.eq(word_now),
                wide_last.eq(step.p.last),
            ]
        # A cycle later: the weights, without their zero point.
        m.d.sync += self.wm.enable.eq(weights_end)
        with m.If(weights_end):
            m.d.sync += [
                self.wm.address.eq(word_written),
                self.wm.data.eq(Cat(
                    (slots.as_value().word_select(c, 8).as_signed() - offset)[:fabric.weight_bits]
                    for c in range(fabric.cols))),
            ]

        # Done: the same delay for both kinds of write keeps it in order.
        delay = Signal(self.DONE_DELAY)
        m.d.sync += delay.eq(Cat((out.valid & out.ready & out.p.last) | wide_last, delay))
        m.d.comb += self.port.done.eq(delay[-1])

        with m.If(move):
            m.d.comb += self.port.state.eq(State.BUSY)
        with m.Elif(step.valid):
            m.d.comb += self.port.state.eq(Mux(has_data, State.RESULT, State.OPERAND))
        with m.Elif(front_valid | regions.o.valid):
            m.d.comb += self.port.state.eq(State.OPERAND)
        return m
