# amaranth: UnusedElaboratable=no
"""Feeder as Verilog under cocotb."""
import os
from dataclasses import asdict
from pathlib import Path

import pytest
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.feeder.feeder import Feeder
from celosia.sim.cosim import cosimulate

BENCH = Path(__file__).with_name("feeder_bench.py")
SMALL = {"am_words": 77, "acc_depth": 24, "fifo_depth": 9, "line_depth": 11}
FABRICS = [
    Fabric(name="3x5", rows=3, cols=5, wm_words=48, **SMALL),
    # What follows with CELOSIA_SOAK set.
    Fabric(name="1x1", rows=1, cols=1, wm_words=16, **SMALL),
    Fabric(name="4x4", rows=4, cols=4, wm_words=64, **{**SMALL, "line_depth": 0, "weight_bits": 8}),
    Fabric(name="16x3", rows=16, cols=3, wm_words=200, **SMALL),
]


@pytest.mark.parametrize("fabric", FABRICS if os.environ.get("CELOSIA_SOAK") else FABRICS[:1],
                         ids=lambda fabric: fabric.name)
def test_what_enters_the_array_is_what_the_isa_says(fabric, tmp_path):
    cosimulate(Feeder(fabric=fabric), BENCH, folder=tmp_path, fabric=asdict(fabric))
