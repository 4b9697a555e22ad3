"""The last step of every post-processed value: limits."""
from amaranth import Mux
from amaranth.hdl import Value


def clamp(value: Value, low: Value, high: Value) -> Value:
    """``value`` within ``low <= high``; both comparisons at once, in carry chains, then one choice."""
    return Mux((high - value)[-1], high, Mux((value - low)[-1], low, value))
