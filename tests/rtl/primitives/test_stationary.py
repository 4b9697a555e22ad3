# amaranth: UnusedElaboratable=no
"""The array's multipliers: those of a chip's cells against the portable one, all pairs of operands."""
import pytest
from amaranth import Cat, Module, Mux, Signal
from celosia.rtl.primitives import stationary
from celosia.rtl.primitives.cells import Cells
from celosia.rtl.primitives.ecp5 import mult18
from celosia.rtl.primitives.stationary import (
    CellMultiplier,
    DualMultiplier,
    LogicMultiplier,
    PairMultiplier,
    StationaryMultiplier,
)
from support.twins import MODELS, WRITTEN, differences

ECP5 = [MODELS / "ecp5" / "cells_sim.v", WRITTEN / "mult18x18d.v"]
ICE40 = [MODELS / "ice40" / "cells_sim.v"]


def side_by_side(make, weight_width):
    """Every pair of operands: activations run through all values, then the next weight comes.

    In a second half of the cycles they jump, and weights are kept and swapped in any order.
    """
    def build(m, noise, count):
        m.submodules.dut = dut = make(weight_width=weight_width)
        differs = []
        for n, lane in enumerate(dut.lane):
            twin = StationaryMultiplier(weight_width=weight_width, latency=dut.LATENCY)
            m.submodules[f"twin_{n}"] = twin
            part = noise[64 * n:64 * (n + 1)]
            weight = Signal(weight_width, name=f"weight_{n}")
            phase = count[:8]
            m.d.comb += weight.eq(count[8:] * (2 * n + 1) + 7 * n)
            for one in (lane, twin.lane[0]):
                m.d.comb += [
                    one.act.eq(count[:8] ^ part[:8] & count[weight_width + 8].replicate(8)),
                    one.weight.eq(weight),
                    one.keep.eq((phase == 254 - n) | (part[8:12] == 0) & count[weight_width + 8]),
                    one.swap.eq((phase == 255) | (part[12:16] == 0) & count[weight_width + 8]),
                ]
            # What was there before the first swap is nobody's business.
            differs.append((lane.product != twin.lane[0].product) & (count > 256 + dut.LATENCY))
        return Cat(*differs).any()
    return build


@pytest.mark.parametrize(("make", "weight_width", "models", "defines"), [
    (LogicMultiplier, 8, ECP5, ""), (LogicMultiplier, 9, ECP5, ""),
    (CellMultiplier, 9, ECP5, ""),
    (DualMultiplier, 8, ICE40, "-DICE40_U -DEQUIV"),
], ids=lambda value: getattr(value, "__name__", None))
def test_all_operands_make_the_products_of_the_portable_twin(make, weight_width, models, defines, tmp_path):
    cycles = (2 << weight_width + 8) + 1000
    found = differences(side_by_side(make, weight_width), tmp_path, cycles=cycles, models=models,
                        defines=defines)
    assert found == (0, -1)


@pytest.mark.parametrize(("weight_width", "bits"), [(8, 24), (9, 20)])
def test_pairs_are_exact_whatever_the_three_operands_are(weight_width, bits, tmp_path):
    """All 2^24 of them with weights of 8 bits; with 9, corners and noise."""
    def build(m, noise, count):
        m.submodules.dut = dut = PairMultiplier(weight_width=weight_width)
        operands = Signal(8 + 2 * weight_width)
        later = Signal.like(operands)
        if weight_width == 8:
            m.d.comb += operands.eq(count)
        else:
            parts = [(0, 8), (8, 8 + weight_width), (8 + weight_width, len(operands))]
            for n, (start, stop) in enumerate(parts):
                high = 1 << stop - start - 1
                corner = Mux(noise[64 + n], Mux(noise[70 + n], high, high - 1), noise[74 + n].replicate(9))
                m.d.comb += operands[start:stop].eq(Mux(noise[67 + n], noise[start:stop], corner))
        m.d.sync += later.eq(operands)
        differs = []
        for n, given in enumerate((operands, later)):
            twin = StationaryMultiplier(weight_width=weight_width, latency=dut.LATENCY)
            m.submodules[f"twin_{n}"] = twin
            place = 8 + n * weight_width
            for one in (dut.lane[n], twin.lane[0]):
                m.d.comb += [one.act.eq(given[:8]), one.weight.eq(given[place:place + weight_width]),
                             one.keep.eq(1), one.swap.eq(1)]
            # The lane that is late sees the weights of a later cycle than the activation of the early one.
            differs.append(dut.lane[n].product != twin.lane[0].product)
        return Cat(*differs).any() & (count > 10)

    assert differences(build, tmp_path, cycles=1 << bits, models=ECP5) == (0, -1)


def test_a_wrong_cell_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr(stationary, "SUBTRACT_PRODUCT", stationary.ADD_PRODUCTS)
    differ, first = differences(side_by_side(LogicMultiplier, 8), tmp_path, cycles=1 << 17, models=ECP5)
    assert differ > 1000 and first > 0


def test_each_kind_has_the_latency_that_its_portable_twin_is_given():
    made = {"logic": LogicMultiplier, "cell": CellMultiplier, "pair": PairMultiplier}
    for kind, make in made.items():
        twin = stationary.stationary_multiplier(Cells(array=kind), weight_width=8)
        assert make(weight_width=8).LATENCY == twin.LATENCY == stationary.LATENCIES[kind]
    assert DualMultiplier(weight_width=8).LATENCY == stationary.LATENCIES["cell"]
    assert StationaryMultiplier().LATENCY == stationary.LATENCIES["inferred"] == 1


def test_refuses_a_product_without_a_register_and_weights_that_do_not_fit():
    with pytest.raises(ValueError, match="latency is 0; it is at least 1"):
        StationaryMultiplier(latency=0)
    with pytest.raises(ValueError, match="weights have 9 bits; half a SB_MAC16 takes 8"):
        DualMultiplier(weight_width=9)
    with pytest.raises(ValueError, match="operand B of x has 19 bits; a MULT18X18D takes 18"):
        mult18(Module(), "x", Signal(4), Signal(19))
