"""A row of a multiplier that adds or subtracts in as few cells as a plain adder takes."""
from amaranth import Cat, Instance, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .cells import PORTABLE, Cells


class DigitRow(wiring.Component):
    """``(i_sum + i_value + i_carry) ^ i_flip``: one digit, +1 or -1, of a serial-parallel product.

    A sum T is handed down as T, or as ~T where the digit to come is -1: since ~(T - v) = ~T + v, every row
    only adds, and ``i_flip`` changes from one form to the other where two digits differ. In an iCE40 the
    exclusive or fits the cell of the adder. Combinational. The lowest bit is final and has its own flip.

    Parameters
    ----------
    width : int
        Bits of the signed operands, at least 2.
    cells : Cells

    Members
    -------
    i_sum, i_value : ``In(signed(width))``
    i_carry, i_flip, i_flip_low : ``In(1)``
    o_sum : ``Out(signed(width))``
        The sum without its lowest bit.
    o_low : ``Out(1)``
        The lowest bit.
    """

    def __init__(self, *, width: int, cells: Cells = PORTABLE):
        if width < 2:
            raise ValueError(f"width is {width}; a sum without its lowest bit needs at least 2")
        self.width, self.cells = width, cells
        super().__init__({
            "i_sum": In(signed(width)), "i_value": In(signed(width)),
            "i_carry": In(1), "i_flip": In(1), "i_flip_low": In(1),
            "o_sum": Out(signed(width)), "o_low": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        width = self.width
        if self.cells.family != "ice40":
            total = Signal(width + 1)
            m.d.comb += [
                total.eq(self.i_sum + self.i_value + self.i_carry),
                self.o_low.eq(total[0] ^ self.i_flip_low),
                self.o_sum.eq(total[1:] ^ self.i_flip.replicate(width)),
            ]
            return m
        carry = self.i_carry
        out = Signal(width + 1)
        # I0 flips the sum of I1, I2 and the carry, which comes at I3.
        odd = sum((bin(n).count("1") & 1) << n for n in range(16))
        for n in range(width + 1):
            a, b = self.i_sum[min(n, width - 1)], self.i_value[min(n, width - 1)]
            m.submodules[f"sum_{n}"] = Instance(
                "SB_LUT4", p_LUT_INIT=odd, i_I0=self.i_flip if n else self.i_flip_low, i_I1=a, i_I2=b,
                i_I3=carry, o_O=out[n])
            if n < width:
                following = Signal(name=f"carry_{n}")
                m.submodules[f"carry_{n}"] = Instance(
                    "SB_CARRY", i_I0=a, i_I1=b, i_CI=carry, o_CO=following)
                carry = following
        m.d.comb += Cat(self.o_low, self.o_sum).eq(out)
        return m
