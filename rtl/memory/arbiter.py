"""Round-robin choice of one of several streams that share a port."""
from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class RoundRobin(wiring.Component):
    """Let one of several requesters pass per cycle; who has passed is last in line.

    ``o_ready[i]`` depends combinationally on the *other* requesters' ``i_valid``, never on ``i_valid[i]``, so
    it may serve as the ready of a stream. If anyone is valid, exactly one is valid and ready: no cycle is
    lost, and nobody waits for more than ``count - 1`` others.

    Parameters
    ----------
    count : int
        Requesters, at least 1.

    Members
    -------
    i_valid : ``In(count)``
    o_ready : ``Out(count)``

    Raises
    ------
    ValueError
        If there is no requester.
    """

    def __init__(self, *, count: int):
        if count < 1:
            raise ValueError(f"count is {count}; an arbiter needs at least 1 requester")
        self.count = count
        super().__init__({"i_valid": In(count), "o_ready": Out(count)})

    def elaborate(self, platform):
        m = Module()
        n = self.count
        # One-hot: where the line starts.
        first = Signal(n, init=1)
        for i in range(n):
            # With the line starting at k, i is behind k, k+1, .., i-1.
            behind = [first[k] & self.i_valid[(k + j) % n] for k in range(n) for j in range((i - k) % n)]
            m.d.comb += self.o_ready[i].eq(~Cat(behind).any())
        with m.If(self.i_valid.any()):
            m.d.sync += first.eq((self.i_valid & self.o_ready).rotate_left(1))
        return m
