"""Cuts a command (address, bytes) into AXI bursts."""
from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..contract.fabric import Fabric

PAGE_BYTES = 4096
"""No burst may cross a multiple of this (AMBA AXI4 specification, A3.4.1)."""


def burst_beats(fabric: Fabric) -> int:
    """Beats of the longest burst: the largest power of two within ``max_burst`` and 4 KB."""
    return 1 << min(fabric.max_burst, PAGE_BYTES // fabric.bus_bytes).bit_length() - 1


def command_layout(bytes_bits: int) -> data.StructLayout:
    """``bytes`` bytes from ``address`` on; ``last`` is a mark that stays with the command's last burst."""
    return data.StructLayout({"address": 32, "bytes": bytes_bits, "last": 1})


BURST = data.StructLayout({"address": 32, "len": 8, "last": 1})
"""A burst: ``len`` is its number of beats less one; ``last``: the last of a command that was marked."""


class BurstSplitter(wiring.Component):
    """Makes the bursts of one command after the other, in ascending order of address.

    The address space is divided into blocks of ``burst_beats(fabric)`` beats. A burst ends at the end of a
    block or with its command, so it crosses no 4 KB boundary either, and no adder sits between ``burst`` and
    the next one: the block number counts up and the number of blocks left counts down.

    A burst per cycle; the first one a cycle after its command. The next command is taken a cycle after the
    last burst of one has left: whether that can is decided late, and is not to go any further.

    Parameters
    ----------
    fabric : Fabric
        Gives ``bus_bytes`` and ``max_burst``.
    bytes_bits : int
        Width of a command's byte count.

    Members
    -------
    command : ``In(stream.Signature(command_layout(bytes_bits)))``
        Bits of the address below a beat are ignored. A command of 0 bytes, which only an illegal instruction
        gives, makes no burst: nothing that a program says breaks the rules of the bus.
    burst : ``Out(stream.Signature(BURST))``
    """

    def __init__(self, *, fabric: Fabric, bytes_bits: int):
        self._fabric, self._bytes_bits = fabric, bytes_bits
        super().__init__({
            "command": In(stream.Signature(command_layout(bytes_bits))),
            "burst": Out(stream.Signature(BURST)),
        })

    def elaborate(self, platform):
        m = Module()
        beat_bits = exact_log2(self._fabric.bus_bytes)
        block_beats = burst_beats(self._fabric)
        block_bits = exact_log2(block_beats)

        active = Signal()
        marked = Signal()
        block = Signal(32 - beat_bits - block_bits)
        # Counted in beats from the start of the block: the burst, and the end of the command.
        first = Signal(block_bits)
        end = Signal(max(self._bytes_bits, block_bits + beat_bits) + 1 - beat_bits)
        blocks_left = end[block_bits:]
        single = Signal()

        command, burst = self.command, self.burst
        start = command.p.address[beat_bits:]
        m.d.comb += [
            single.eq(blocks_left == 0),
            burst.valid.eq(active),
            burst.p.address.eq(Cat(Const(0, beat_bits), first, block)),
            burst.p.len.eq(Mux(single, end[:block_bits], block_beats - 1) - first),
            burst.p.last.eq(single & marked),
            command.ready.eq(~active),
        ]
        with m.If(burst.ready & active):
            m.d.sync += [
                active.eq(~single), block.eq(block + 1), first.eq(0), blocks_left.eq(blocks_left - 1)]
        with m.If(command.ready):
            m.d.sync += [
                active.eq(command.valid & (command.p.bytes != 0)),
                marked.eq(command.p.last),
                first.eq(start[:block_bits]),
                block.eq(start[block_bits:]),
                end.eq((Cat(Const(0, beat_bits), start[:block_bits]) + command.p.bytes - 1)[beat_bits:]),
            ]
        return m
