# amaranth: UnusedElaboratable=no
"""Sequencer as Verilog under cocotb, with stubs for the units."""
import os
from dataclasses import asdict
from pathlib import Path

import pytest
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.sequencer.sequencer import Sequencer
from celosia.sim.cosim import cosimulate

BENCH = Path(__file__).with_name("sequencer_bench.py")
FABRICS = [
    Fabric(name="3x5", rows=3, cols=5, bus_bytes=4, queue_depth=2, profile_layers=5),
    # What follows with CELOSIA_SOAK set.
    Fabric(name="queue of 1", rows=4, cols=4, bus_bytes=16, queue_depth=1, profile_layers=0),
    Fabric(name="queue of 16", rows=1, cols=1, bus_bytes=8, queue_depth=16, profile_layers=7),
]


@pytest.mark.parametrize("fabric", FABRICS if os.environ.get("CELOSIA_SOAK") else FABRICS[:1],
                         ids=lambda fabric: fabric.name)
def test_units_get_their_instructions_in_order_and_not_too_early(fabric, tmp_path):
    cosimulate(Sequencer(fabric=fabric), BENCH, folder=tmp_path, fabric=asdict(fabric))
