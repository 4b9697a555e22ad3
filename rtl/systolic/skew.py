"""Delay lines, and the triangle of them that staggers the rows and columns of the array."""
from amaranth import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out


def delayed(m: Module, value, cycles: int, *, name: str, reset_less: bool = True):
    """``value`` as it was so many cycles ago; the registers are added to ``m``.

    Data needs no reset where a tag says when it counts; pass ``reset_less=False`` for the tag itself.
    """
    for age in range(1, cycles + 1):
        older = Signal.like(value, name=f"{name}_{age}", reset_less=reset_less)
        m.d.sync += older.eq(value)
        value = older
    return value


class Skew(wiring.Component):
    """Delays lane i by i cycles, so that a vector enters the array as the diagonal it works on.

    No back-pressure; one vector every cycle. Lane 0 goes straight through::

        cycle   t     t+1   t+2
        i       x     y     z
        o[0]    x[0]  y[0]  z[0]
        o[1]    --    x[1]  y[1]
        o[2]    --    --    x[2]

    Parameters
    ----------
    shape : shape-like
        Shape of a lane.
    lanes : int

    Members
    -------
    i, o : ``In/Out(ArrayLayout(shape, lanes))``
        The registers between them are not reset.

    Raises
    ------
    ValueError
        If lanes is below 1.
    """

    def __init__(self, *, shape, lanes: int):
        if lanes < 1:
            raise ValueError(f"lanes is {lanes}; a vector has at least 1")
        layout = data.ArrayLayout(shape, lanes)
        super().__init__({"i": In(layout), "o": Out(layout)})

    def elaborate(self, platform):
        m = Module()
        for lane in range(len(self.i)):
            entered = Signal(self.i.shape().elem_shape, name=f"lane_{lane}")
            m.d.comb += [
                entered.eq(self.i[lane]),
                self.o[lane].eq(delayed(m, entered, lane, name=f"lane_{lane}")),
            ]
        return m
