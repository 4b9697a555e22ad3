"""Fetches the program: memory beats in, whole instructions out, in order."""
from amaranth import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..contract.fabric import Fabric
from ..contract.isa import INSTRUCTION_BYTES


def fetch_command_layout() -> data.StructLayout:
    """A request for ``bytes`` bytes of DRAM from ``address`` on, both multiples of the bus width."""
    return data.StructLayout({"address": 32, "bytes": 32})


class Fetch(wiring.Component):
    """Asks for a whole program and puts its beats together.

    The DMA reads ahead as far as its own fetch buffer has room; beats are taken only while the next
    instruction is incomplete. So a full unit queue stops the fetch, but nobody else on the memory port. An
    instruction leaves every beats + 1 cycles at best.

    Parameters
    ----------
    fabric : Fabric
        Its ``bus_bytes`` is the width of a beat.

    Members
    -------
    i_load : ``In(1)``
        Pulse: begin to fetch ``i_count`` instructions from ``i_address``. Only when ``o_done``.
    i_address, i_count : ``In(32)``
        Looked at with ``i_load``.
    command : ``Out(stream)``
        See fetch_command_layout; none for an empty program.
    data : ``In(stream)``
        The beats that were asked for, in order.
    instruction : ``Out(stream of 256 bits)``
    o_index : ``Out(32)``
        Index in the program of the instruction on offer.
    o_done : ``Out(1)``
        Every instruction of the program has left.
    """

    def __init__(self, *, fabric: Fabric):
        self._beat_bits = 8 * fabric.bus_bytes
        self._beats = INSTRUCTION_BYTES // fabric.bus_bytes
        super().__init__({
            "i_load": In(1), "i_address": In(32), "i_count": In(32),
            "command": Out(stream.Signature(fetch_command_layout())),
            "data": In(stream.Signature(self._beat_bits)),
            "instruction": Out(stream.Signature(8 * INSTRUCTION_BYTES)),
            "o_index": Out(32), "o_done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        command, instruction = self.command, self.instruction
        leaves = instruction.valid & instruction.ready

        # The beats of an instruction, the first in the low bits.
        word = Signal(8 * INSTRUCTION_BYTES)
        filled = Signal(range(self._beats + 1))
        m.d.comb += [instruction.valid.eq(filled == self._beats), instruction.payload.eq(word),
                     self.data.ready.eq(~instruction.valid)]
        with m.If(self.data.valid & self.data.ready):
            m.d.sync += [word.eq(Cat(word[self._beat_bits:], self.data.payload)), filled.eq(filled + 1)]
        with m.If(leaves):
            m.d.sync += filled.eq(0)

        left = Signal(32)
        m.d.comb += self.o_done.eq(left == 0)
        with m.If(leaves):
            m.d.sync += [self.o_index.eq(self.o_index + 1), left.eq(left - 1)]
        with m.If(command.ready):
            m.d.sync += command.valid.eq(0)
        with m.If(self.i_load):
            m.d.sync += [command.valid.eq(self.i_count != 0), command.payload.address.eq(self.i_address),
                         command.payload.bytes.eq(self.i_count * INSTRUCTION_BYTES),
                         left.eq(self.i_count), self.o_index.eq(0)]
        return m
