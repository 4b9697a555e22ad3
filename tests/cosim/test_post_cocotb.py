# amaranth: UnusedElaboratable=no
"""PostProcess as Verilog under cocotb."""
import os
from dataclasses import asdict
from pathlib import Path

import pytest
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.memory.activation import ActivationMemory
from celosia.rtl.memory.wide import WideMemory
from celosia.rtl.postprocess.post import PostProcess
from celosia.sim.cosim import cosimulate

BENCH = Path(__file__).with_name("post_bench.py")
SMALL = {"am_words": 700, "pm_words": 128}
FABRICS = [
    Fabric(name="3x5", rows=3, cols=5, lanes=2, acc_width=24, bus_bytes=4, tables=2, **SMALL),
    # What follows with CELOSIA_SOAK set.
    Fabric(name="1x1", rows=1, cols=1, tables=1, acc_width=20, **SMALL),
    Fabric(name="4x4", rows=4, cols=4, tables=0, **SMALL),
    Fabric(name="8x16", rows=8, cols=16, lanes=8, tables=3, bus_bytes=16, **{**SMALL, "pm_words": 512}),
]


@pytest.mark.parametrize("fabric", FABRICS if os.environ.get("CELOSIA_SOAK") else FABRICS[:1],
                         ids=lambda fabric: fabric.name)
def test_what_is_in_memory_at_every_done_equals_numpy(fabric, tmp_path):
    dut = PostProcess(fabric=fabric, pm_latency=WideMemory.LATENCY_READ,
                      read_latency=ActivationMemory.LATENCY_ACCESS,
                      write_latency=ActivationMemory.LATENCY_WRITE)
    cosimulate(dut, BENCH, folder=tmp_path, fabric=asdict(fabric))
