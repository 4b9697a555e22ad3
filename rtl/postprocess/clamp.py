"""The last step of every post-processed value: limits."""
from amaranth import Mux
from amaranth.hdl import Value


def clamp(value: Value, low: Value, high: Value) -> Value:
    """``value`` within ``low <= high``; both comparisons at once, then one choice."""
    return Mux(value > high, high, Mux(value < low, low, value))
