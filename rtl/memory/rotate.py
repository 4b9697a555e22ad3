"""Barrel rotator between the order of a request's bytes and the order of the banks they lie in."""
from amaranth import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2


class Rotator(wiring.Component):
    """Rotate a vector of lanes by an amount that may change every cycle.

    ``i_lanes[i]`` leaves as ``o_lanes[(i + amount) % lanes]`` if ``forward``, else as
    ``o_lanes[(i - amount) % lanes]``. No back-pressure: one vector in and one out per cycle. Bit k of the
    amount rotates by 2**k lanes, which adds up for any number of lanes in ceil(log2(lanes)) layers::

        cycle      t      t+1                    t+2
        i_lanes    x                             o_lanes = x rotated by n    (LATENCY = 2)
        i_amount   n      high bits of n done

    Parameters
    ----------
    lanes : int
        At least 1, not only powers of two.
    width : int
        Bits of a lane.
    forward : bool
        Direction, see above.

    Members
    -------
    i_lanes, o_lanes : ``In/Out(ArrayLayout(width, lanes))``
    i_amount : ``In(range(lanes))``

    Raises
    ------
    ValueError
        If lanes or width is below 1.
    """

    LATENCY = 2

    def __init__(self, *, lanes: int, width: int, forward: bool):
        if lanes < 1 or width < 1:
            raise ValueError(f"cannot rotate {lanes} lanes of {width} bits; both must be at least 1")
        self.lanes, self.width, self.forward = lanes, width, forward
        layout = data.ArrayLayout(width, lanes)
        super().__init__({"i_lanes": In(layout), "i_amount": In(range(lanes)), "o_lanes": Out(layout)})

    def elaborate(self, platform):
        m = Module()
        bits = ceil_log2(self.lanes)
        low = bits // 2
        lanes_s1 = Signal(self.lanes * self.width)
        amount_s1 = Signal(low)
        # Edge t -> t+1: the high bits of the amount. Edge t+1 -> t+2: the low bits.
        m.d.sync += [
            lanes_s1.eq(self._rotated(self.i_lanes.as_value(), self.i_amount, range(low, bits))),
            amount_s1.eq(self.i_amount),
            self.o_lanes.eq(self._rotated(lanes_s1, amount_s1, range(low))),
        ]
        return m

    def _rotated(self, value, amount, layers):
        for k in layers:
            turn = self.width << k
            turned = value.rotate_left(turn) if self.forward else value.rotate_right(turn)
            value = Mux(amount[k], turned, value)
        return value
