"""Cells of the ECP5: multipliers with all their registers, and carry chains with logic in them."""
from amaranth import Cat, ClockSignal, Const, Instance, Signal, signed

MULT18_LATENCY = 3
"""Cycles from the operands of ``mult18`` to the product."""
MULT18_BITS = 18


def mult18(m, name, a, b, *, enable=1):
    """Product of two operands of at most 18 bits, by a MULT18X18D with all three of its registers in use.

    Each operand is signed or not as its shape says. The registers hold while not enabled. No path inside
    the cell is left that the tools would have to time, but do not.
    """
    product = Signal(signed(2 * MULT18_BITS), name=f"{name}_product")
    operands = {}
    for port, value in (("A", a), ("B", b)):
        if len(value) > MULT18_BITS:
            raise ValueError(
                f"operand {port} of {name} has {len(value)} bits; a MULT18X18D takes {MULT18_BITS}")
        sign = value[-1] if value.shape().signed else Const(0)
        bits = Cat(value, sign.replicate(MULT18_BITS - len(value)))
        operands |= {f"i_{port}{n}": bits[n] for n in range(MULT18_BITS)}
        operands |= {f"i_C{n}": Const(0) for n in range(MULT18_BITS)}
        operands[f"i_SIGNED{port}"] = Const(int(value.shape().signed))
        operands[f"i_SOURCE{port}"] = Const(0)
    # SOURCEB_MODE stays what it is when nobody says: another value does not make it into a bitstream.
    m.submodules[name] = Instance(
        "MULT18X18D",
        **{f"p_REG_{register}_CLK": "CLK0" for register in ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT")},
        i_CLK0=ClockSignal(), i_CE0=enable, i_RST0=Const(0),
        **operands, **{f"o_P{n}": product[n] for n in range(2 * MULT18_BITS)})
    return product


def lut4(function):
    """The INIT of a LUT4: ``function`` of its inputs A, B, C and D."""
    return sum(int(function(n & 1, n >> 1 & 1, n >> 2 & 1, n >> 3 & 1)) << n for n in range(16))


ADD_PRODUCTS = lut4(lambda a, b, c, d: (a & b) ^ (c & d))
"""Of a carry cell that adds A & B and C & D."""
SUBTRACT_PRODUCT = lut4(lambda a, b, c, d: (1 - (a & b)) ^ (c & d))
"""Of one that adds the complement of A & B, and C & D."""


def carry_chain(m, name, cells):
    """The sum of two numbers, each bit of them made in the carry cell that adds it; combinational.

    ``cells``: from the lowest bit on, (INIT, A, B, C, D). The cell takes what the LUT makes of its inputs for
    the exclusive or of the two bits, and what it makes with C and D at zero for the first of them: that must
    be a function of A and B, and the second bit a function of C and D that is zero at zero.
    """
    total = Signal(len(cells), name=f"{name}_sum")
    carry = Const(0)
    for low in range(0, len(cells), 2):
        pair = [*cells[low:low + 2], (0, *[Const(0)] * 4)][:2]
        sums = Signal(2, name=f"{name}_s{low}")
        following = Signal(name=f"{name}_carry{low}")
        m.submodules[f"{name}_{low}"] = Instance(
            "CCU2C", p_INJECT1_0="NO", p_INJECT1_1="NO", i_CIN=carry, o_COUT=following,
            **{f"p_INIT{n}": Const(cell[0], 16) for n, cell in enumerate(pair)},
            **{f"i_{pin}{n}": value for n, cell in enumerate(pair)
               for pin, value in zip("ABCD", cell[1:], strict=True)},
            **{f"o_S{n}": sums[n] for n in range(2)})
        m.d.comb += total[low:low + 2].eq(sums)
        carry = following
    return total
