# amaranth: UnusedElaboratable=no
"""DMA as Verilog under cocotb, between cocotbext-axi's RAM and the on-chip memories."""
import os
from dataclasses import asdict
from pathlib import Path

import pytest
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.dma.dma import DMA
from celosia.rtl.memory.activation import ActivationMemory
from celosia.sim.cosim import cosimulate

BENCH = Path(__file__).with_name("dma_bench.py")
SMALL = {"wm_words": 80, "pm_words": 80}
FABRICS = [
    Fabric(name="3x5", rows=3, cols=5, am_words=211, bus_bytes=4, max_burst=5, outstanding=2, tables=2,
           **SMALL),
    # What follows with CELOSIA_SOAK set.
    Fabric(name="1x1", rows=1, cols=1, am_words=500, bus_bytes=8, max_burst=1, outstanding=1, tables=0,
           **SMALL),
    Fabric(name="4x4", rows=4, cols=4, am_words=200, bus_bytes=16, weight_bits=8, max_burst=256, **SMALL),
    Fabric(name="8x16", rows=8, cols=16, am_words=100, bus_bytes=8, **SMALL),
]


@pytest.mark.parametrize("fabric", FABRICS if os.environ.get("CELOSIA_SOAK") else FABRICS[:1],
                         ids=lambda fabric: fabric.name)
def test_the_memories_equal_numpy_behind_cocotbexts_ram(fabric, tmp_path):
    dut = DMA(fabric=fabric, am_read_latency=ActivationMemory.LATENCY_ACCESS,
              am_write_latency=ActivationMemory.LATENCY_WRITE)
    cosimulate(dut, BENCH, folder=tmp_path, fabric=asdict(fabric))
