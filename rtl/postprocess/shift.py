"""Arithmetic shift right of a wide number of which few bits can survive: shifter and limiter in one."""
from amaranth import C, Cat, Module, Mux, Signal, signed
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
        i_shift   shift                    o_up

    With ``tie_bits``, results can go to the even neighbour of a tie of float32 (numerics.Channel, ``even``).
    For that the fine shift must be 7: the low 7 bits of the window are then the first ones of the fraction,
    the others come straight from the bytes, and nothing has to be moved bit by bit. The tie is near if the
    fraction's bits are all alike, but for the last ones: one less is asked for with each bit of the tie,
    since float32 has so many bits in all.

    Parameters
    ----------
    width, out_width : int
        Bits of the signed value and of the signed result.
    shift_width : int
        Bits of the shift, at least 4. A shift of width or more leaves 0 or -1.
    tie_bits : int
        Bits of the fraction that tell a tie, more than out_width + 6; 0 for none of this.
    below : int
        Bits of i_below, at most tie_bits - 7.

    Members
    -------
    i_value : ``In(signed(width))``
    i_below : ``In(below)``, i_even : ``In(1)``
        The bits that follow the value's, and whether ties go to even; only with tie_bits.
    i_shift : ``In(unsigned(shift_width))``
    o_value : ``Out(signed(out_width))``
        Not reset.
    o_up : ``Out(1)``
        The result is o_value + 1: to be added where something is added anyway.

    Raises
    ------
    ValueError
        If a width is out of range.
    """

    LATENCY = 3
    FINE_BITS = 3
    FINE_MOST = (1 << FINE_BITS) - 1

    def __init__(self, *, width: int, shift_width: int, out_width: int, tie_bits: int = 0, below: int = 0):
        if not 1 < out_width < width:
            raise ValueError(f"out_width is {out_width}; it must be 2 to {width - 1}, below the value's")
        if shift_width <= self.FINE_BITS:
            raise ValueError(f"shift_width is {shift_width}; it must be above {self.FINE_BITS}")
        if tie_bits and tie_bits < out_width + self.FINE_MOST:
            raise ValueError(f"tie_bits is {tie_bits}; it must be {out_width + self.FINE_MOST} or more, or 0")
        if not 0 <= below <= (most := max(tie_bits - self.FINE_MOST, 0)):
            raise ValueError(f"below is {below}; it must be 0 to {most}")
        self.tie_bits = tie_bits
        super().__init__({
            "i_value": In(signed(width)), "i_below": In(below), "i_even": In(1),
            "i_shift": In(shift_width),
            "o_value": Out(signed(out_width)), "o_up": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        width, out_width = len(self.i_value), len(self.o_value)
        window_width = out_width + self.FINE_MOST
        coarse, fine = self.i_shift[self.FINE_BITS:], self.i_shift[:self.FINE_BITS]

        # Edge t -> t+1: bytes. Bits above the window must be copies of the sign, or the value is too big:
        # each byte of them is looked at now, and which ones count a cycle later.
        window_s1 = Signal(window_width, reset_less=True)
        coarse_s1 = Signal(len(coarse), reset_less=True)
        fine_s1 = Signal(self.FINE_BITS, reset_less=True)
        sign_s1 = Signal(reset_less=True)
        sign = self.i_value[-1]
        bytes_above = [self.i_value[start:start + 8] for start in range(window_width, width, 8)]
        above_s1 = Signal(len(bytes_above), reset_less=True)
        m.d.sync += [
            coarse_s1.eq(coarse), fine_s1.eq(fine), sign_s1.eq(sign),
            above_s1.eq(Cat(Mux(sign, ~byte.all(), byte.any()) for byte in bytes_above)),
        ]
        # The fraction's bits below the window.
        rest_s1 = Signal(max(self.tie_bits - self.FINE_MOST, 0), reset_less=True)
        longer = Cat(C(0, len(rest_s1) - len(self.i_below)), self.i_below, self.i_value)
        with m.Switch(coarse):
            for step in range(1 << len(coarse)):
                with m.Case(step):
                    start = min(step << self.FINE_BITS, width - 1)
                    m.d.sync += [
                        window_s1.eq(self.i_value[start:].as_signed()), rest_s1.eq(longer[start:])]

        # Edge t+1 -> t+2: bits, likewise.
        bits_s2 = Signal(out_width, reset_less=True)
        over_bytes_s2, over_bits_s2 = Signal(reset_less=True), Signal(reset_less=True)
        over_s2 = over_bytes_s2 | over_bits_s2
        sign_s2 = Signal(reset_less=True)
        m.d.sync += [
            sign_s2.eq(sign_s1),
            over_bytes_s2.eq(Cat(above_s1[n] & (coarse_s1 <= n) for n in range(len(above_s1))).any()),
        ]
        with m.Switch(fine_s1):
            for step in range(self.FINE_MOST + 1):
                with m.Case(step):
                    above = window_s1[out_width - 1 + step:]
                    m.d.sync += [
                        bits_s2.eq(window_s1[step:]),
                        over_bits_s2.eq(Mux(sign_s1, ~above.all(), above.any())),
                    ]

        down, up = C(0), C(0)
        if self.tie_bits:
            # Edge t+1 -> t+2: an odd result, if the fine shift is 7, and a fraction whose bits are alike,
            # but for those that depend on the tie's size. The first one tells the ties above and below.
            even_s1 = Signal(reset_less=True)
            m.d.sync += even_s1.eq(self.i_even & fine.all())
            fraction_s1 = Cat(rest_s1, window_s1[:self.FINE_MOST])
            differs_s1 = fraction_s1 ^ fraction_s1[-1].replicate(self.tie_bits)
            above_s2, tie_s2 = Signal(reset_less=True), Signal(reset_less=True)
            differs_s2 = Signal(out_width - 1, reset_less=True)
            m.d.sync += [
                above_s2.eq(fraction_s1[-1]), differs_s2.eq(differs_s1),
                tie_s2.eq(even_s1 & window_s1[self.FINE_MOST] & ~differs_s1[len(differs_s2):].any()),
            ]
            # In cycle t+2: the tie towards zero, which is the result but for the last bit.
            size = Cat(above_s2, bits_s2[1:-1]) ^ sign_s2.replicate(len(differs_s2))
            near = Cat(~differs_s2[i] | size[i:].any() for i in range(len(size))).all()
            down, up = (tie_s2 & near & ~over_s2 & side for side in (~above_s2, above_s2))

        # Edge t+2 -> t+3: limit.
        half = 1 << out_width - 1
        limited = Signal(signed(out_width), reset_less=True)
        kept = Cat(bits_s2[0] & ~down, bits_s2[1:]).as_signed()
        m.d.sync += [limited.eq(Mux(over_s2, Mux(sign_s2, -half, half - 1), kept)), self.o_up.eq(up)]
        m.d.comb += self.o_value.eq(limited)
        return m
