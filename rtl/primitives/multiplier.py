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
    width : int
        Bits of each signed operand.

    Members
    -------
    i_a, i_b : ``In(signed(width))``
        Best driven by registers: the product has the whole cycle for itself.
    o_product : ``Out(signed(2 * width))``
        Holds every product, that of the two most negative operands too. Not reset.

    Raises
    ------
    ValueError
        If width is below 1.
    """

    LATENCY = 1

    def __init__(self, *, width: int = 8):
        if width < 1:
            raise ValueError(f"width is {width}; an operand has at least 1 bit")
        super().__init__({
            "i_a": In(signed(width)),
            "i_b": In(signed(width)),
            "o_product": Out(signed(2 * width)),
        })

    def elaborate(self, platform):
        m = Module()
        product = Signal.like(self.o_product, reset_less=True)
        # Edge t -> t+1.
        m.d.sync += product.eq(self.i_a * self.i_b)
        m.d.comb += self.o_product.eq(product)
        return m
