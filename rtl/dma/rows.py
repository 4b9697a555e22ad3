"""Walks over the rows of a Load, Fill or Store: in DRAM row by row, in activation memory chunk by chunk."""
from amaranth import Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from ..contract.fabric import Fabric
from ..contract.isa import PIXEL_COUNT_BITS, ROW_BYTES_BITS
from ..memory.address import add, address_of
from ..signatures import Address
from .burst import command_layout

DRAM_ROWS = data.StructLayout({
    "address": 32, "stride": 24, "rows": PIXEL_COUNT_BITS, "row_bytes": ROW_BYTES_BITS})
"""``rows`` rows of ``row_bytes`` bytes, ``stride`` bytes apart."""


class RowCommands(wiring.Component):
    """Makes a DMA command for each row of a region in DRAM; the last one is marked ``last``.

    A row per cycle, the first one a cycle after its region. ``region.ready`` depends on ``command.ready``.

    Members
    -------
    region : ``In(stream.Signature(DRAM_ROWS))``
    command : ``Out(stream.Signature(command_layout(ROW_BYTES_BITS)))``
    """

    def __init__(self):
        super().__init__({
            "region": In(stream.Signature(DRAM_ROWS)),
            "command": Out(stream.Signature(command_layout(ROW_BYTES_BITS))),
        })

    def elaborate(self, platform):
        m = Module()
        active = Signal()
        now = Signal(DRAM_ROWS)
        region, command = self.region, self.command
        m.d.comb += [
            command.valid.eq(active),
            command.p.address.eq(now.address),
            command.p.bytes.eq(now.row_bytes),
            command.p.last.eq(now.rows == 1),
            region.ready.eq(~active | (command.ready & command.p.last)),
        ]
        with m.If(command.ready & active):
            m.d.sync += [now.address.eq(now.address + now.stride), now.rows.eq(now.rows - 1)]
        with m.If(region.ready):
            m.d.sync += [active.eq(region.valid), now.eq(region.payload)]
        return m


class Stride(enum.Enum, shape=2):
    """How far a walk goes in one step."""

    CHUNK = 0  # the bytes of a beat that fit a row of banks: the largest power of two within R and the bus
    BANKS = 1  # R bytes, all banks at once
    BEAT = 2  # bus_bytes bytes, whatever the address: for the wide memories


def chunk_bytes(fabric: Fabric) -> int:
    """Bytes of a CHUNK step."""
    return 1 << min(fabric.rows, fabric.bus_bytes).bit_length() - 1


def region_layout(tag: int) -> data.StructLayout:
    """What a walk goes over; ``tag`` is handed out with each of its steps."""
    return data.StructLayout({
        "stride": Stride, "local": Address, "pitch": Address, "rows": PIXEL_COUNT_BITS,
        "row_bytes": ROW_BYTES_BITS, "tag": tag})


def step_layout(fabric: Fabric, tag: int) -> data.StructLayout:
    """A step of a walk.

    ``count`` bytes (1 to R) at ``address``; ``index`` is the chunk's number within its beat and ``beat_last``
    marks the last chunk of a beat. ``first`` and ``last``: of the region.
    """
    return data.StructLayout({
        "stride": Stride, "address": Address, "count": range(fabric.rows + 1),
        "index": range(fabric.bus_bytes // chunk_bytes(fabric)), "beat_last": 1, "first": 1, "last": 1,
        "tag": tag})


class Walk(wiring.Component):
    """Visits the bytes of a region of activation memory, row by row, in steps of one request each.

    A step per cycle; the first one a cycle after its region, with no gap between rows or regions.
    ``region.ready`` depends on ``step.ready``.

    Parameters
    ----------
    fabric : Fabric
    tag : int
        Bits that go from a region to its steps.

    Members
    -------
    region : ``In(stream.Signature(region_layout(tag)))``
    step : ``Out(stream.Signature(step_layout(fabric, tag)))``
    """

    def __init__(self, *, fabric: Fabric, tag: int = 0):
        self._fabric, self._tag = fabric, tag
        super().__init__({
            "region": In(stream.Signature(region_layout(tag))),
            "step": Out(stream.Signature(step_layout(fabric, tag))),
        })

    def elaborate(self, platform):
        m = Module()
        banks, bus, chunk = self._fabric.rows, self._fabric.bus_bytes, chunk_bytes(self._fabric)
        region, step = self.region, self.step

        active = Signal()
        first = Signal()
        now = Signal(region_layout(self._tag))  # its ``local`` is the address of this step
        next_row = Signal(Address)
        index = Signal(range(bus // chunk))
        # Bytes of the row behind the first byte of this step: one less than those left.
        behind = Signal(ROW_BYTES_BITS)

        size = Signal(range(max(banks, bus) + 1))
        advance = Signal(Address)
        row_last = Signal()
        with m.Switch(now.stride):
            with m.Case(Stride.BANKS):
                m.d.comb += [size.eq(banks), row_last.eq(behind < banks)]
                m.d.comb += advance.eq(address_of(banks, rows=banks))
            with m.Case(Stride.BEAT):
                m.d.comb += [size.eq(bus), row_last.eq(behind < bus)]
            with m.Default():
                m.d.comb += [size.eq(chunk), row_last.eq(behind < chunk)]
                m.d.comb += advance.eq(address_of(chunk, rows=banks))

        m.d.comb += [
            step.valid.eq(active),
            step.p.stride.eq(now.stride),
            step.p.address.eq(now.local),
            step.p.count.eq(Mux(row_last, behind + 1, size)),
            step.p.index.eq(index),
            step.p.beat_last.eq(row_last | (now.stride != Stride.CHUNK) | (index == bus // chunk - 1)),
            step.p.first.eq(first),
            step.p.last.eq(row_last & (now.rows == 1)),
            step.p.tag.eq(now.tag),
            region.ready.eq(~active | (step.ready & step.p.last)),
        ]
        with m.If(step.ready & active):
            m.d.sync += first.eq(0)
            with m.If(row_last):
                m.d.sync += [
                    now.local.eq(next_row),
                    next_row.eq(add(next_row, now.pitch, rows=banks)),
                    behind.eq(now.row_bytes - 1),
                    now.rows.eq(now.rows - 1),
                ]
            with m.Else():
                m.d.sync += [
                    now.local.eq(add(now.local, advance, rows=banks)),
                    behind.eq(behind - size),
                ]
            m.d.sync += index.eq(Mux(step.p.beat_last, 0, index + 1))
        with m.If(region.ready):
            m.d.sync += [
                active.eq(region.valid),
                first.eq(1),
                now.eq(region.payload),
                next_row.eq(add(region.p.local, region.p.pitch, rows=banks)),
                behind.eq(region.p.row_bytes - 1),
                index.eq(0),
            ]
        return m
