# amaranth: UnusedElaboratable=no
"""Whole fabrics as exported Verilog, driven through their two AXI ports only."""
import os
from dataclasses import asdict
from pathlib import Path

import pytest
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.verilog import MODULE, fabric_verilog
from celosia.sim.cosim import cosimulate_verilog

BENCH = Path(__file__).with_name("fabric_bench.py")
FABRICS = [
    # Everything fits on chip.
    Fabric(name="4x4", rows=4, cols=4, am_words=1024, wm_words=1024, pm_words=128, acc_depth=64,
           fifo_depth=16, line_depth=16, tables=2, bus_bytes=4, profile_layers=6),
    # Nothing but the image at hand does; odd everywhere.
    Fabric(name="3x5", rows=3, cols=5, lanes=2, am_words=701, wm_words=47, pm_words=13, acc_depth=19,
           fifo_depth=5, acc_width=24, line_depth=4, tables=1, bus_bytes=8, max_burst=5, outstanding=2,
           queue_depth=2, profile_layers=0),
    # What follows with CELOSIA_SOAK set.
    Fabric(name="1x1", rows=1, cols=1, am_words=6000, wm_words=400, pm_words=20, acc_depth=33, fifo_depth=7,
           line_depth=4, tables=1, bus_bytes=4, max_burst=1, outstanding=1, queue_depth=1, profile_layers=9),
    Fabric(name="8x16", rows=8, cols=16, lanes=4, am_words=500, wm_words=300, pm_words=80, acc_depth=64,
           fifo_depth=64, line_depth=32, tables=4, bus_bytes=16, max_burst=256, profile_layers=20),
]


@pytest.mark.parametrize("fabric", FABRICS if os.environ.get("CELOSIA_SOAK") else FABRICS[:2],
                         ids=lambda fabric: fabric.name)
def test_the_fabric_between_its_buses_equals_numpy(fabric, tmp_path):
    cosimulate_verilog(fabric_verilog(fabric), BENCH, folder=tmp_path, name=MODULE, fabric=asdict(fabric))
