"""A bench for blocks that take operands in any cycle and show each result a fixed time after them."""
from collections.abc import Awaitable, Callable
from typing import Any

from amaranth.sim import Simulator


class Pipe:
    """A block, what its output is to show and when, and what it shows.

    Parameters
    ----------
    dut : Component
        With ``LATENCY``: cycles from the operands to the result.
    output : Value

    Attributes
    ----------
    cycle : int
        The cycle under way.
    expected : dict
        By cycle, what is to be shown.
    """

    def __init__(self, dut: Any, output: Any):
        self._dut, self._output = dut, output
        self.cycle = 0
        self.expected: dict[int, int] = {}
        self._shown: dict[int, int] = {}

    def expect(self, value: int) -> None:
        """The operands of this cycle make ``value``."""
        self.expected[self.cycle + self._dut.LATENCY] = int(value)

    async def tick(self, ctx: Any, cycles: int = 1) -> None:
        """The cycle under way ends, and more of them pass."""
        for _ in range(cycles):
            self._shown[self.cycle] = ctx.get(self._output)
            await ctx.tick()
            self.cycle += 1

    def run(self, bench: Callable[[Any], Awaitable[None]]) -> None:
        """Simulate ``bench`` until its last result is shown; all came as expected, when expected."""
        async def whole(ctx: Any) -> None:
            await bench(ctx)
            await self.tick(ctx, self._dut.LATENCY)

        sim = Simulator(self._dut)
        sim.add_clock(1e-6)
        sim.add_testbench(whole)
        sim.run()
        assert self.expected, "the bench expects nothing"
        wrong = {cycle: (self._shown.get(cycle), value) for cycle, value in self.expected.items()
                 if self._shown.get(cycle) != value}
        assert not wrong, f"by cycle, what is shown and what should be: {wrong}"
