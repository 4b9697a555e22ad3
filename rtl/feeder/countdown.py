"""A loop counter that knows beforehand whether a round is the last."""
from typing import Any

from amaranth import Module, Signal, Value


class Countdown:
    """The registers of one loop level; ``last`` is high while the last round is under way.

    ``last`` comes straight from a register, so that what depends on the ends of several nested loops stays
    short. After the last round the loop begins again with its full count. This is not a component: ``start``,
    ``restart`` and ``step`` add statements to the module, under the conditions that surround the call; where
    several happen in one cycle, the latest call wins.

    Parameters
    ----------
    m : Module
    width : int
        Bits of a count; a count of 0 means 2**width.
    name : str
        Prefix of the registers' names.
    """

    def __init__(self, m: Module, width: int, *, name: str):
        self._m = m
        self._count = Signal(width, name=f"{name}_count")
        self._once = Signal(name=f"{name}_once")
        self._left = Signal(width, name=f"{name}_left")
        self.last = Signal(name=f"{name}_last")

    def start(self, count: Any, *, behind: Any = 0) -> None:
        """Begin a loop of ``count`` rounds, the first ``behind`` of which are already done."""
        count = Value.cast(count)
        self._m.d.sync += [
            self._count.eq(count), self._once.eq(count == 1),
            self._left.eq(count - behind), self.last.eq(count == behind + 1),
        ]

    def restart(self) -> None:
        """Begin again with the full count, wherever the loop is."""
        self._m.d.sync += [self._left.eq(self._count), self.last.eq(self._once)]

    def step(self) -> None:
        """End the round under way."""
        with self._m.If(self.last):
            self.restart()
        with self._m.Else():
            self._m.d.sync += [self._left.eq(self._left - 1), self.last.eq(self._left == 2)]
