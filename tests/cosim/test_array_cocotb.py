# amaranth: UnusedElaboratable=no
"""SystolicArray as Verilog under Verilator and cocotb; and that the bench sees a broken one."""
from pathlib import Path

import pytest
from amaranth import Module
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.systolic import array
from celosia.rtl.systolic.skew import Skew
from celosia.sim.cosim import CosimError, cosimulate

BENCH = Path(__file__).with_name("array_bench.py")
SHAPE = {"rows": 3, "cols": 5}


def test_tiles_match_numpy(tmp_path):
    cosimulate(array.SystolicArray(fabric=Fabric(**SHAPE)), BENCH, folder=tmp_path, **SHAPE)


def test_the_bench_sees_an_array_without_skew(tmp_path, monkeypatch):
    class Straight(Skew):
        def elaborate(self, platform):
            m = Module()
            m.d.comb += self.o.eq(self.i)
            return m

    monkeypatch.setattr(array, "Skew", Straight)
    dut = array.SystolicArray(fabric=Fabric(**SHAPE))
    with pytest.raises(CosimError, match="4 of 4 tests failed"):
        cosimulate(dut, BENCH, folder=tmp_path, **SHAPE)
