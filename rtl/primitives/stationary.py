"""What multiplies in a cell of the array: an operand of every cycle, and a weight that stays."""
from amaranth import Cat, ClockSignal, Const, Instance, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .cells import Cells
from .ecp5 import ADD_PRODUCTS, MULT18_BITS, MULT18_LATENCY, SUBTRACT_PRODUCT, carry_chain, mult18
from .multiplier import Multiplier

ACT_WIDTH = 8


class MultiplierLane(wiring.Signature):
    """Between a cell of the array (Out) and its multiplier (In); see StationaryMultiplier."""

    def __init__(self, *, weight_width: int):
        super().__init__({
            "act": Out(signed(ACT_WIDTH)),
            "weight": Out(signed(weight_width)), "keep": Out(1), "swap": Out(1),
            "product": In(signed(ACT_WIDTH + weight_width)),
        })


class StationaryMultiplier(wiring.Component):
    """Products of activations and the active weight, while a second weight waits in its shadow.

    Portable: the tools choose between logic and multiplier cells. The classes below are the same to whoever
    uses them, made of a chip's cells. No back-pressure::

        cycle      t     t+1   t+2   t+3      t+2+LATENCY
        weight     w     --    --    --
        keep       1     0     0     0
        swap       0     1     0     0        (in t+1 at the earliest)
        act        --    --    a0    a1
        product    --    --    --    --       a0*w

    ``keep`` and ``swap`` in the same cycle make the old shadow weight the active one and keep the new one.

    Parameters
    ----------
    weight_width : int
        Bits of a signed weight, 8 or 9.
    latency : int
        1, or more, as those made of a chip's cells have: the registers are where the tools can move them.

    Members
    -------
    i_enable : ``In(1, init=1)``
        For who stops the clock with an EnableInserter, which does not reach into a chip's cells: they hold
        while this is low.
    lane : ``In(MultiplierLane(weight_width)).array(LANES)``
        Each has its own weights. Nothing in them is reset: a product counts where its user says so.
    """

    LANES = 1

    def __init__(self, *, weight_width: int = 8, latency: int = 1):
        if latency < Multiplier.LATENCY:
            raise ValueError(f"latency is {latency}; it is at least {Multiplier.LATENCY}")
        self.weight_width = weight_width
        self.LATENCY = latency
        super().__init__({"i_enable": In(1, init=1),
                          "lane": In(MultiplierLane(weight_width=weight_width)).array(self.LANES)})

    def elaborate(self, platform):
        m = Module()
        lane = self.lane[0]
        m.submodules.multiplier = multiplier = Multiplier(a_width=ACT_WIDTH, b_width=self.weight_width)
        before = after = 0
        if self.LATENCY > Multiplier.LATENCY:
            before, after = 1, self.LATENCY - 1 - Multiplier.LATENCY
        m.d.comb += [
            multiplier.i_a.eq(_register(m, lane.act, before, "act")),
            multiplier.i_b.eq(_register(m, _active(m, lane), before, "active")),
            lane.product.eq(_register(m, multiplier.o_product, after, "product")),
        ]
        return m


def _register(m, value, cycles, name):
    for cycle in range(1, cycles + 1):
        register = Signal.like(value, name=f"{name}_s{cycle}", reset_less=True)
        m.d.sync += register.eq(value)
        value = register
    return value


def _active(m, lane, *, late=False, name="active"):
    """The active weight, as the lane says; if ``late``, a cycle later, to go with a register of ``act``.

    The array has the registers for that already, for the next cell: the tools find that they are the same.
    """
    weight, keep, swap = lane.weight, lane.keep, lane.swap
    if late:
        weight = _register(m, weight, 1, f"{name}_weight")
        keep, swap = Signal(name=f"{name}_keep_s1"), Signal(name=f"{name}_swap_s1")
        m.d.sync += [keep.eq(lane.keep), swap.eq(lane.swap)]
    shadow = Signal.like(lane.weight, name=f"{name}_shadow", reset_less=True)
    active = Signal.like(lane.weight, name=name, reset_less=True)
    with m.If(keep):
        m.d.sync += shadow.eq(weight)
    with m.If(swap):
        m.d.sync += active.eq(shadow)
    return active


class LogicMultiplier(StationaryMultiplier):
    """In the carry chains of an ECP5 (LATENCY 3): 74 LUTs for a weight of 8 bits, 82 for 9.

    Each of the activation's bits is a weight or nothing; four chains add two of these each while they make
    them, two chains those sums, one the rest::

        cycle   t      t+1                            t+2                             t+3
        act     a      register, then w*(2 bits),     w*(low 4 bits), w*(high 4 bits) product
                       w*(4 bits)
    """

    def __init__(self, *, weight_width: int = 8):
        super().__init__(weight_width=weight_width, latency=LATENCIES["logic"])

    def elaborate(self, platform):
        m = Module()
        lane = self.lane[0]
        act = _register(m, lane.act, 1, "act")
        weight = _active(m, lane, late=True)
        # Edge t+1 -> t+2.
        low = _register(m, self._nibble(m, "low", act[:4], weight, signed=False), 1, "low")
        high = _register(m, self._nibble(m, "high", act[4:], weight, signed=True), 1, "high")
        # Edge t+2 -> t+3: the lowest four bits are ready as they are.
        product = Signal.like(lane.product, reset_less=True)
        m.d.sync += product.eq(Cat(low[:4], low[4:].as_signed() + high))
        m.d.comb += lane.product.eq(product)
        return m

    def _nibble(self, m, name, act, weight, *, signed):
        """The weight times four bits, the highest of which counts negative if they are signed."""
        one, last = Const(1), len(weight) - 1

        def pair(low, high):
            """(A, B, C, D) of the sum's bits from 1 on; bit 0 is low & weight[0], with nothing to add."""
            return [(weight[min(n, last)], low, weight[min(n - 1, last)], high) for n in range(1, last + 3)]

        first = carry_chain(m, f"{name}_first", [(ADD_PRODUCTS, *pins) for pins in pair(act[0], act[1])])
        if signed:
            # Minus a number is plus its complement plus 1: the cell of bit 0 adds 1 and 1.
            second = carry_chain(m, f"{name}_second", [
                (ADD_PRODUCTS, one, one, one, one),
                *((SUBTRACT_PRODUCT, c, d, a, b) for a, b, c, d in pair(act[2], act[3]))])[1:]
        else:
            second = carry_chain(m, f"{name}_second", [
                (ADD_PRODUCTS, *pins) for pins in pair(act[2], act[3])])
        # Bits 0 and 1 are those of the first pair; from 2 on the second is added, its bit 0 made on the way.
        both = carry_chain(m, f"{name}_both", [
            (ADD_PRODUCTS, first[1], one, weight[0], act[2]),
            *((ADD_PRODUCTS, first[min(n + 2, len(first) - 1)], one, second[n], one)
              for n in range(len(second)))])
        return Cat(act[0] & weight[0], first[0], both).as_signed()


class CellMultiplier(StationaryMultiplier):
    """In a MULT18X18D of an ECP5 with its three registers, and one before it (LATENCY 4).

    These cells are far from everything, and what the array multiplies is chosen just before.
    """

    def __init__(self, *, weight_width: int = 8):
        super().__init__(weight_width=weight_width, latency=LATENCIES["cell"])

    def elaborate(self, platform):
        m = Module()
        lane = self.lane[0]
        act = _register(m, lane.act, self.LATENCY - MULT18_LATENCY, "act")
        m.d.comb += lane.product.eq(mult18(
            m, "cell", act, _active(m, lane, late=True), enable=self.i_enable))
        return m


class PairMultiplier(StationaryMultiplier):
    """Two in one MULT18X18D of an ECP5, where the second's activations are the first's, a cycle later.

    So are those of neighbours in a row of the array. From M. Langhammer et al., "Extracting INT8 Multipliers
    from INT18 Multipliers", FPL 2019, which leaves out the weight of -128; with the lower weight without a
    sign, as w0 + 2^(W-1), both are put together without an adder, and everything is exact::

        a * (w1 * 2^k + u0) = a*w1 * 2^k + a*u0         k = 18 - W, u0 = w0 + 2^(W-1), W bits of a weight

    The lowest k bits of that are those of a*u0; its others overlap with the lowest of a*w1, of which as many
    are made in logic and subtracted. What is left of a*w1 and a*u0, and 2^(W-1)*a, are subtracted too.
    LATENCY is 5: the activation's register, the cell's three, and the correction's.

    Members
    -------
    lane : ``In(MultiplierLane(weight_width)).array(2)``
        ``lane[1].act`` must be what lane[0].act was a cycle ago wherever the product counts; it is not used.
    """

    LANES = 2

    def __init__(self, *, weight_width: int = 8):
        super().__init__(weight_width=weight_width, latency=LATENCIES["pair"])

    def elaborate(self, platform):
        m = Module()
        width, low = self.weight_width, MULT18_BITS - self.weight_width
        whole = ACT_WIDTH + width
        # Edge t -> t+1, when the second lane's control, which is a cycle later, comes just in time.
        act_s1 = _register(m, self.lane[0].act, 1, "act")
        weight_0 = _active(m, self.lane[0], late=True, name="active_0")
        weight_1 = _active(m, self.lane[1], name="active_1")
        # Edges t+1 -> t+4: the cell; beside it the lowest bits of a*w1.
        weights = Cat(weight_0[:-1], ~weight_0[-1], Const(0, low - width), weight_1)
        both = mult18(m, "cell", act_s1, weights.as_signed(), enable=self.i_enable)
        overlap_s2 = Signal(whole - low, reset_less=True)
        m.d.sync += overlap_s2.eq(_low_product(m, act_s1, weight_1, whole - low))
        overlap_s4 = _register(m, overlap_s2, 2, "overlap_s2")
        act_s4 = _register(m, act_s1, 3, "act_s1")
        # Edge t+4 -> t+5, and t+6 for the lane that is a cycle later.
        high = Signal(signed(whole - low))
        m.d.comb += high.eq(both[low:whole] - overlap_s4)
        lower = Cat(both[:low], high)
        product_0 = Signal(signed(whole), reset_less=True)
        product_1 = Signal(signed(whole), reset_less=True)
        m.d.sync += [
            product_0.eq(Cat(lower[:width - 1], lower[width - 1:].as_signed() - act_s4)),
            product_1.eq(both[low:].as_signed() - high),
        ]
        m.d.comb += [self.lane[0].product.eq(product_0),
                     self.lane[1].product.eq(_register(m, product_1, 1, "product_1"))]
        return m


def _low_product(m, act, weight, bits):
    """The lowest bits of a product, each pair of the activation's bits in a carry chain of its own."""
    total = Const(0, bits)
    for first in range(0, bits, 2):
        pair = carry_chain(m, f"low_{first}", [
            (ADD_PRODUCTS, weight[n], act[first], weight[n - 1] if n else Const(0), act[first + 1])
            for n in range(bits - first)])
        total = Cat(total[:first], (total[first:] + pair)[:bits - first])
    return total


class DualMultiplier(StationaryMultiplier):
    """Two in a SB_MAC16 of an iCE40, and a register before it (LATENCY 4).

    The cell has three: for the operands, the product, and its sum with zero.
    """

    LANES = 2

    def __init__(self, *, weight_width: int = 8):
        if weight_width != ACT_WIDTH:
            raise ValueError(f"weights have {weight_width} bits; half a SB_MAC16 takes {ACT_WIDTH}")
        super().__init__(weight_width=weight_width, latency=LATENCIES["cell"])

    def elaborate(self, platform):
        m = Module()
        low, high = self.lane
        zero = {f"i_{name}": Const(0) for name in (
            "AHOLD", "BHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT", "OLOADTOP",
            "OLOADBOT", "ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT", "CI", "ACCUMCI", "SIGNEXTIN")}
        both = {f"p_{half}{name}": value for half in ("TOP", "BOT") for name, value in (
            ("_8x8_MULT_REG", 1), ("OUTPUT_SELECT", Const(1, 2)), ("ADDSUB_LOWERINPUT", Const(1, 2)),
            ("ADDSUB_UPPERINPUT", 1), ("ADDSUB_CARRYSELECT", Const(0, 2)))}
        m.submodules.cell = Instance(
            "SB_MAC16", p_MODE_8x8=1, p_A_SIGNED=1, p_B_SIGNED=1, p_A_REG=1, p_B_REG=1, **both,
            i_CLK=ClockSignal(), i_CE=self.i_enable, **zero, i_C=Const(0, 16), i_D=Const(0, 16),
            i_A=Cat(_register(m, lane.act, 1, f"act_{n}") for n, lane in enumerate(self.lane)),
            i_B=Cat(_active(m, lane, late=True, name=f"active_{n}") for n, lane in enumerate(self.lane)),
            o_O=Cat(low.product, high.product))
        return m


LATENCIES = {"inferred": Multiplier.LATENCY, "logic": 3, "cell": 4, "pair": 5}
"""Of each kind of multiplier: the same on every chip, so that one simulation holds for all."""


def stationary_multiplier(cells: Cells, *, weight_width: int) -> StationaryMultiplier:
    """One of the array's multipliers, of the kind and chip that ``cells`` says.

    Raises
    ------
    ValueError
        If the chip has no such cell.
    """
    if cells.array == "inferred" or cells.family == "portable":
        return StationaryMultiplier(weight_width=weight_width, latency=LATENCIES[cells.array])
    kinds = {("ecp5", "logic"): LogicMultiplier, ("ecp5", "cell"): CellMultiplier,
             ("ice40", "cell"): DualMultiplier}
    if (kind := kinds.get((cells.family, cells.array))) is None:
        raise ValueError(f"there is no array of {cells.array!r} multipliers for {cells.family}")
    return kind(weight_width=weight_width)
