"""Arithmetic shift right of a wide number of which few bits can survive: shifter and limiter in one."""
from amaranth import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class SaturatingShift(wiring.Component):
    """``value >> shift`` (towards minus infinity), limited to ``out_width`` bits, one every cycle.

    No back-pressure and no enable.
    A full barrel shifter would move every bit of the value only for the limiter to throw most of them away.
    Here the first step moves by whole bytes and keeps a window of out_width + 7 bits, the second moves by
    the remaining 0 to 7 bits and keeps out_width; what both leave out is only compared with the sign::

        cycle     t       t+1      t+2     t+3
        i_value   value   window   bits    o_value   (LATENCY = 3)
        i_shift   shift

    Parameters
    ----------
    width, out_width : int
        Bits of the signed value and of the signed result.
    shift_width : int
        Bits of the shift, at least 4. A shift of width or more leaves 0 or -1.

    Members
    -------
    i_value : ``In(signed(width))``
    i_shift : ``In(unsigned(shift_width))``
    o_value : ``Out(signed(out_width))``
        Not reset.

    Raises
    ------
    ValueError
        If a width is out of range.
    """

    LATENCY = 3
    FINE_BITS = 3

    def __init__(self, *, width: int, shift_width: int, out_width: int):
        if not 1 < out_width < width:
            raise ValueError(f"out_width is {out_width}; it must be 2 to {width - 1}, below the value's")
        if shift_width <= self.FINE_BITS:
            raise ValueError(f"shift_width is {shift_width}; it must be above {self.FINE_BITS}")
        super().__init__({
            "i_value": In(signed(width)),
            "i_shift": In(shift_width),
            "o_value": Out(signed(out_width)),
        })

    def elaborate(self, platform):
        m = Module()
        width, out_width = len(self.i_value), len(self.o_value)
        most_fine = (1 << self.FINE_BITS) - 1
        window_width = out_width + most_fine
        coarse, fine = self.i_shift[self.FINE_BITS:], self.i_shift[:self.FINE_BITS]

        # Edge t -> t+1: bytes. Bits above the window must be copies of the sign, or the value is too big.
        window_s1 = Signal(window_width, reset_less=True)
        over_s1 = Signal(reset_less=True)
        fine_s1 = Signal(self.FINE_BITS, reset_less=True)
        sign_s1 = Signal(reset_less=True)
        sign = self.i_value[-1]
        m.d.sync += [fine_s1.eq(fine), sign_s1.eq(sign)]
        with m.Switch(coarse):
            for step in range(1 << len(coarse)):
                with m.Case(step):
                    start = min(step << self.FINE_BITS, width - 1)
                    above = self.i_value[start + window_width:]
                    m.d.sync += [
                        window_s1.eq(self.i_value[start:].as_signed()),
                        over_s1.eq(Mux(sign, ~above.all(), above.any()) if len(above) else 0),
                    ]

        # Edge t+1 -> t+2: bits, likewise.
        bits_s2 = Signal(out_width, reset_less=True)
        over_s2 = Signal(reset_less=True)
        sign_s2 = Signal(reset_less=True)
        m.d.sync += sign_s2.eq(sign_s1)
        with m.Switch(fine_s1):
            for step in range(most_fine + 1):
                with m.Case(step):
                    above = window_s1[out_width - 1 + step:]
                    m.d.sync += [
                        bits_s2.eq(window_s1[step:]),
                        over_s2.eq(over_s1 | Mux(sign_s1, ~above.all(), above.any())),
                    ]

        # Edge t+2 -> t+3: limit.
        half = 1 << out_width - 1
        limited = Signal(signed(out_width), reset_less=True)
        m.d.sync += limited.eq(Mux(over_s2, Mux(sign_s2, -half, half - 1), bits_s2.as_signed()))
        m.d.comb += self.o_value.eq(limited)
        return m
