# amaranth: UnusedElaboratable=no
"""Accumulators with their result FIFO as Verilog under cocotb."""
import os
from dataclasses import asdict
from pathlib import Path

import pytest
from celosia.rtl.accumulate.accumulators import Accumulators
from celosia.rtl.contract.fabric import Fabric
from celosia.sim.cosim import cosimulate

BENCH = Path(__file__).with_name("accumulators_bench.py")
FABRICS = [
    Fabric(name="3 columns", rows=3, cols=3, acc_depth=13, fifo_depth=7),
    # What follows with CELOSIA_SOAK set.
    Fabric(name="1 column", rows=1, cols=1, acc_depth=4, fifo_depth=4, acc_width=20),
    Fabric(name="5 columns", rows=3, cols=5, acc_depth=8, fifo_depth=16, acc_width=24),
    Fabric(name="32 columns", rows=1, cols=32, acc_depth=512, fifo_depth=6),
]


@pytest.mark.parametrize("fabric", FABRICS if os.environ.get("CELOSIA_SOAK") else FABRICS[:1],
                         ids=lambda fabric: fabric.name)
def test_finished_sums_equal_numpy(fabric, tmp_path):
    dut = Accumulators(fabric=fabric)
    cosimulate(dut, BENCH, folder=tmp_path, fabric=asdict(fabric), latency=dut.LATENCY_RESULT)
