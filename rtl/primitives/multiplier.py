"""The multiplier of one cell of the array, behind which a vendor's multiplier can be put."""
from amaranth import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Multiplier(wiring.Component):
    """Signed product of two operands, one every cycle, with a register after it.

    Portable: the tools choose between logic and multiplier cells. Whatever replaces it keeps the members and
    may have another LATENCY; the cells and the array count with it::

        cycle       t          t+1
        i_a, i_b    a, b       ..
        o_product   --         a*b     (LATENCY = 1)

    Parameters
    ----------
    a_width, b_width : int
        Bits of each signed operand.

    Members
    -------
    i_a, i_b : ``In(signed(a_width))``, ``In(signed(b_width))``
        Best driven by registers or little behind them: the product has the cycle for itself.
    o_product : ``Out(signed(a_width + b_width))``
        Holds every product, that of the two most negative operands too. Not reset.

    Raises
    ------
    ValueError
        If an operand has no bits.
    """

    LATENCY = 1

    def __init__(self, *, a_width: int = 8, b_width: int = 8):
        if a_width < 1 or b_width < 1:
            raise ValueError(f"{a_width} bits by {b_width}; an operand has at least 1 bit")
        super().__init__({
            "i_a": In(signed(a_width)),
            "i_b": In(signed(b_width)),
            "o_product": Out(signed(a_width + b_width)),
        })

    def elaborate(self, platform):
        m = Module()
        product = Signal.like(self.o_product, reset_less=True)
        # Edge t -> t+1.
        m.d.sync += product.eq(self.i_a * self.i_b)
        m.d.comb += self.o_product.eq(product)
        return m
