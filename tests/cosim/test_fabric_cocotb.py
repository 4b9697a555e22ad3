# amaranth: UnusedElaboratable=no
"""Whole fabrics as exported Verilog, driven through their two AXI ports only."""
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
]


@pytest.mark.parametrize("fabric", FABRICS, ids=lambda fabric: fabric.name)
def test_the_fabric_between_its_buses_equals_numpy(fabric, tmp_path):
    cosimulate_verilog(fabric_verilog(fabric), BENCH, folder=tmp_path, name=MODULE, fabric=asdict(fabric))
