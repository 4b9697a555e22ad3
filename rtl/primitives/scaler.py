"""The wide multiplier of a post-processing lane: a biased sum times its channel's fixed-point scale."""
from amaranth import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .ecp5 import mult18


class Scaler(wiring.Component):
    """Product of a signed and an unsigned number, one every cycle, from four multipliers of 18x18 bits.

    Portable: each operand is cut at LIMB = 17 bits, so that a limb with its sign fits the multiplier cell
    of common FPGAs, and each of the four products lies between two registers. No back-pressure and no
    enable. Whatever replaces it keeps the members and may have another LATENCY; the lane counts with it::

        cycle     t               t+1     t+2               t+3                        t+4
        i_value   v = vh*2^17+vl  limbs   vl*ml  vl*mh      vl*mh + vh*ml              o_product = v*m
        i_mult    m = mh*2^17+ml          vh*ml  vh*mh      {vh*mh, vl*ml}             (LATENCY = 4)

    No sum has more than two operands: vl*ml has 34 bits, so it lies below vh*mh and they join for nothing.

    On ECP5 the four multipliers are MULT18X18D with their registers for the first three edges, and the last
    one adds three operands; the latency is the same.

    Parameters
    ----------
    value_width : int
        Bits of the signed operand, 18 to 35.
    mult_width : int
        Bits of the unsigned operand, 18 to 34.
    family : str
        Cells.family.

    Members
    -------
    i_value : ``In(signed(value_width))``
    i_mult : ``In(unsigned(mult_width))``
    o_product : ``Out(signed(value_width + mult_width))``
        Holds every product. Not reset.

    Raises
    ------
    ValueError
        If a width is out of range.
    """

    LATENCY = 4
    LIMB = 17

    def __init__(self, *, value_width: int = 32, mult_width: int = 31, family: str = "portable"):
        self.family = family
        for name, width, most in (("value_width", value_width, 2 * self.LIMB + 1),
                                  ("mult_width", mult_width, 2 * self.LIMB)):
            if not self.LIMB < width <= most:
                raise ValueError(f"{name} is {width}; two limbs hold {self.LIMB + 1} to {most} bits")
        super().__init__({
            "i_value": In(signed(value_width)),
            "i_mult": In(mult_width),
            "o_product": Out(signed(value_width + mult_width)),
        })

    def elaborate(self, platform):
        m = Module()
        if self.family == "ecp5":
            self._of_cells(m)
            return m
        limb = self.LIMB

        def register(name, value):
            held = Signal(value.shape(), name=name, reset_less=True)
            m.d.sync += held.eq(value)
            return held

        # Edge t -> t+1: cut.
        value_low = register("value_low_s1", self.i_value[:limb])
        value_high = register("value_high_s1", self.i_value[limb:].as_signed())
        mult_low = register("mult_low_s1", self.i_mult[:limb])
        mult_high = register("mult_high_s1", self.i_mult[limb:])
        # Edge t+1 -> t+2: multiply.
        low_low = register("low_low_s2", value_low * mult_low)
        low_high = register("low_high_s2", value_low * mult_high)
        high_low = register("high_low_s2", value_high * mult_low)
        high_high = register("high_high_s2", value_high * mult_high)
        # Edge t+2 -> t+3: the two products of equal weight.
        middle = register("middle_s3", low_high + high_low)
        outer = register("outer_s3", Cat(low_low, high_high).as_signed())
        # Edge t+3 -> t+4: the middle goes on top; the lowest limb is ready as it is.
        product = register("product_s4", Cat(outer[:limb], outer[limb:].as_signed() + middle).as_signed())
        m.d.comb += self.o_product.eq(product)
        return m

    def _of_cells(self, m):
        limb = self.LIMB
        value_low, value_high = self.i_value[:limb], self.i_value[limb:].as_signed()
        mult_low, mult_high = self.i_mult[:limb], self.i_mult[limb:]
        # Edges t -> t+1 -> t+2 -> t+3.
        low_low = mult18(m, "low_low", value_low, mult_low)
        low_high = mult18(m, "low_high", value_low, mult_high)
        high_low = mult18(m, "high_low", value_high, mult_low)
        high_high = mult18(m, "high_high", value_high, mult_high)
        # Edge t+3 -> t+4.
        product = Signal.like(self.o_product, name="product_s4", reset_less=True)
        outer = Cat(low_low[limb:2 * limb], high_high).as_signed()
        m.d.sync += product.eq(Cat(low_low[:limb], outer + low_high + high_low))
        m.d.comb += self.o_product.eq(product)
