# amaranth: UnusedElaboratable=no
"""What a design's text is made into for yosys."""
import re

import pytest
from amaranth import Module, Signal
from amaranth.back import rtlil
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from celosia.boards.elaborate import for_synthesis


class Lookup(wiring.Component):
    """A memory of bytes, and an array of them."""

    def __init__(self, domain):
        self.domain = domain
        layout = data.ArrayLayout(8, 3)
        super().__init__({"address": In(6), "write": In(1), "i": In(layout), "o": Out(layout)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=64, init=[])
        read, write = memory.read_port(domain=self.domain), memory.write_port()
        held = Signal.like(self.i)
        m.d.sync += held.eq(self.i)
        m.d.comb += [read.addr.eq(self.address), write.addr.eq(self.address), write.en.eq(self.write),
                     write.data.eq(held[0]), self.o[0].eq(read.data), self.o[2].eq(held[1])]
        return m


@pytest.mark.parametrize("domain, mask", [("sync", "1'1"), ("comb", "1'0")])
def test_only_reads_with_a_clock_may_give_anything_on_a_collision(domain, mask):
    text = for_synthesis(rtlil.convert(Lookup(domain), emit_src=False))
    assert re.findall(r"COLLISION_X_MASK (\S+)", text) == [mask]


def test_no_wire_is_named_like_a_bit_of_another():
    text = rtlil.convert(Lookup("sync"), emit_src=False)
    named = r"wire .*\\\S+\[\d+\]$"
    assert re.search(named, text, re.MULTILINE), "Amaranth names no elements any more: is the rule needed?"
    changed = for_synthesis(text)
    assert not re.search(named, changed, re.MULTILINE)
    slices = r" \[\d+(?::\d+)?\]"
    assert re.findall(slices, changed) == re.findall(slices, text) != []
