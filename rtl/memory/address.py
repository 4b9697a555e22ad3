"""Sums of activation-memory addresses: two digits, lane (radix R) and word; nothing is ever divided."""
from amaranth import Cat, Const, Mux, Value
from amaranth.lib import data
from amaranth.utils import ceil_log2

from ..contract.fabric import LANE_BITS, WORD_BITS
from ..signatures import Address


def address_of(place: int, *, rows: int) -> data.Const:
    """The constant address of byte number ``place``."""
    return Address.const({"lane": place % rows, "word": place // rows})


def add(a: data.View, b: data.View | data.Const, *, rows: int) -> data.View:
    """``a + b`` of two addresses (or an address and a step) whose lanes are below ``rows``; combinational.

    With ``2**n - rows`` added to one lane, the lanes' sum carries into bit n exactly when it should into the
    word, so lanes and words make one binary carry chain; where nothing was carried the lane gets its ``rows``
    back. The word wraps at 2**WORD_BITS. A lane that the memory lacks gives a meaningless sum.
    """
    bits = ceil_log2(rows)
    a_lane = Value.cast(a.lane)[:bits]
    b_lane = (Value.cast(b.lane) + ((1 << bits) - rows))[:bits]
    lane_sum = a_lane + b_lane
    lane = Mux(lane_sum[bits], lane_sum[:bits], (lane_sum + rows)[:bits])
    word = (Cat(a_lane, a.word) + Cat(b_lane, Value.cast(b.word)))[bits:bits + WORD_BITS]
    return Address(Cat(lane, Const(0, LANE_BITS - bits), word))
