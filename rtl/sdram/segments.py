"""Cuts the bursts of the AXI port into segments: columns of one row of one bank, one behind the other."""
from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .pins import BANK_BITS
from .timing import SDRAMCycles

BURST = data.StructLayout({"address": 32, "len": 8})
"""What AR and AW say: the address, and the number of beats less one."""

PAIR_BYTES = 4
"""Bytes of a pair of columns, which is what one READ or WRITE moves."""


def segment_layout(timing: SDRAMCycles) -> data.StructLayout:
    """Pairs ``first`` to ``last`` of a row; ``final``: its burst's last; ``error``: there is no such row."""
    pair_bits = timing.column_bits - 1
    return data.StructLayout({"write": 1, "error": 1, "final": 1, "bank": BANK_BITS, "row": timing.row_bits,
                              "first": pair_bits, "last": pair_bits})


class SegmentSplitter(wiring.Component):
    """Takes read and write bursts in turn and makes their segments, in ascending order of address.

    A byte address is row : bank : column, so what follows the end of a row is in the next bank, whose row can
    be opened meanwhile. There is no adder between a segment and the next: the last pair of the burst is
    known as blocks still to come and a place in the last of them.

    A segment in each cycle, the first one 2 cycles after its burst was taken. All outputs depend on registers
    only, but that a segment's end lies behind one multiplexer.

    Parameters
    ----------
    timing : SDRAMCycles
    data_bytes : int
        Bytes of a beat.

    Members
    -------
    read, write : ``In(stream.Signature(BURST))``
        Bits of the address below a beat are ignored.
    segment : ``Out(stream.Signature(segment_layout(timing)))``
    """

    LATENCY = 2

    def __init__(self, *, timing: SDRAMCycles, data_bytes: int):
        self._timing, self._data_bytes = timing, data_bytes
        super().__init__({
            "read": In(stream.Signature(BURST)), "write": In(stream.Signature(BURST)),
            "segment": Out(stream.Signature(segment_layout(timing))),
        })

    def elaborate(self, platform):
        m = Module()
        pair_bits = self._timing.column_bits - 1
        block_bits = BANK_BITS + self._timing.row_bits
        beat_bits = exact_log2(self._data_bytes // PAIR_BYTES)

        # A burst of one side, then, if there is one, of the other.
        burst, full, is_write = Signal(BURST), Signal(), Signal()
        turn = Signal()  # to write
        load = Signal()
        m.d.comb += [self.read.ready.eq(~full & ~turn), self.write.ready.eq(~full & turn)]
        with m.If(load):
            m.d.sync += full.eq(0)
        with m.If(~full):
            m.d.sync += [turn.eq(Mux(turn, ~self.read.valid, self.write.valid)), is_write.eq(turn),
                         full.eq(Mux(turn, self.write.valid, self.read.valid)),
                         burst.eq(Mux(turn, self.write.payload, self.read.payload))]

        active, write, error = Signal(), Signal(), Signal()
        block = Signal(block_bits)
        first = Signal(pair_bits)
        end = Signal(max(pair_bits - beat_bits, 8) + 1 + beat_bits)
        blocks_left = end[pair_bits:]
        single = Signal()
        segment = self.segment
        m.d.comb += [
            single.eq(blocks_left == 0),
            load.eq(full & (~active | (segment.ready & single))),
            segment.valid.eq(active),
            segment.p.write.eq(write), segment.p.error.eq(error), segment.p.final.eq(single),
            Cat(segment.p.bank, segment.p.row).eq(block),
            segment.p.first.eq(first),
            segment.p.last.eq(Mux(single, end[:pair_bits], Const(-1, pair_bits))),
        ]
        with m.If(active & segment.ready):
            m.d.sync += [first.eq(0), block.eq(block + 1), blocks_left.eq(blocks_left - 1),
                         active.eq(~single)]
        with m.If(load):
            start = burst.address[exact_log2(PAIR_BYTES):]
            beat = start[beat_bits:pair_bits]
            m.d.sync += [
                active.eq(1), write.eq(is_write), first.eq(Cat(Const(0, beat_bits), beat)),
                end.eq(Cat(Const((1 << beat_bits) - 1, beat_bits), beat + burst.len)),
                block.eq(start[pair_bits:]), error.eq(start[pair_bits + block_bits:] != 0),
            ]
        return m
