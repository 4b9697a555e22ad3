"""Plain registers in a row."""
from typing import Any

from amaranth import Module, Signal


def delay(m: Module, value: Any, cycles: int, *, name: str) -> Any:
    """``value`` as it was ``cycles`` cycles ago, 0 after reset.

    The registers are named for the cycle, counted from the value's: ``name_d1``, ``name_d2`` and so on.
    """
    for cycle in range(1, cycles + 1):
        register = Signal.like(value, name=f"{name}_d{cycle}", init=None)
        m.d.sync += register.eq(value)
        value = register
    return value
