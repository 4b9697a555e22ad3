"""Dependence between units: one counter of tokens for each ordered pair of units."""
from amaranth import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..contract.isa import TOKEN_MAX, Unit

MASKS = data.ArrayLayout(len(Unit), len(Unit))
"""For each unit a mask over all units."""


class Tokens(wiring.Component):
    """Counters (u, v) of tokens that unit u gave to unit v, for u != v; each holds up to TOKEN_MAX.

    All of them may be given and taken in one cycle; a counter that is both keeps its value. There is no
    flow control here: the issue stages take only where ``o_some`` and give only where ``o_room``. A change is
    seen in ``o_some`` and ``o_room`` LATENCY cycles after the token was given or taken. A unit has no tokens
    for itself: ``o_some[u][u]`` and ``o_room[u][u]`` are always set.

    Members
    -------
    i_give : ``In(5 masks of 5)``
        ``i_give[u][v]``: unit u gives a token to unit v.
    i_take : ``In(5 masks of 5)``
        ``i_take[v][u]``: unit v takes a token that unit u gave.
    o_some : ``Out(5 masks of 5)``
        ``o_some[v][u]``: there is a token from u for v.
    o_room : ``Out(5 masks of 5)``
        ``o_room[u][v]``: another token from u for v fits.
    """

    LATENCY = 1

    def __init__(self) -> None:
        super().__init__({
            "i_give": In(MASKS), "i_take": In(MASKS), "o_some": Out(MASKS), "o_room": Out(MASKS)})

    def elaborate(self, platform):
        m = Module()
        for u in Unit:
            for v in Unit:
                some, room = self.o_some[v][u], self.o_room[u][v]
                if u == v:
                    m.d.comb += [some.eq(1), room.eq(1)]
                    continue
                name = f"{u.name.lower()}_to_{v.name.lower()}"
                count = Signal(range(TOKEN_MAX + 1), name=name)
                some_now, room_now = Signal(name=f"{name}_some"), Signal(name=f"{name}_room", init=1)
                give, take = self.i_give[u][v], self.i_take[v][u]
                with m.If(give & ~take):
                    m.d.sync += count.eq(count + 1)
                with m.If(take & ~give):
                    m.d.sync += count.eq(count - 1)
                # Registers tell what the count will be: many decisions wait for them.
                m.d.sync += [
                    some_now.eq(give | (count > 1) | (some_now & ~take)),
                    room_now.eq(take | ((count != TOKEN_MAX) & ~((count == TOKEN_MAX - 1) & give))),
                ]
                m.d.comb += [some.eq(some_now), room.eq(room_now)]
        return m
