# amaranth: UnusedElaboratable=no
"""What synthesis made of a fabric runs a network as the fabric does: the same results in as many cycles.

It takes some minutes: with CELOSIA_SOAK=1 only.
"""
import os
from pathlib import Path

import numpy as np
import pytest
from celosia.boards.cache import cached
from celosia.rtl.contract.presets import PRESETS
from celosia.rtl.primitives.cells import Cells
from celosia.sim.native import build
from support import vendor_cells

import celosia

pytestmark = [pytest.mark.slow, pytest.mark.skipif(
    not os.environ.get("CELOSIA_SOAK"), reason="minutes of synthesis and compilation; set CELOSIA_SOAK=1")]

SMALL = PRESETS["tiny"].but(
    name="small", rows=2, cols=2, lanes=1, am_words=2048, wm_words=4096, pm_words=128, acc_depth=32,
    acc_width=24, fifo_depth=16, profile_layers=0, weight_bits=8, ties_to_even=False, queue_depth=1,
    outstanding=1)
"""Every unit but the profile, as small as it gets: two registers in three of a fabric belong to control."""
CELLS = [Cells(family="ecp5", array="logic"), Cells(family="ecp5", array="cell"),
         Cells(family="ice40", array="cell")]
MODEL = "tflm_hello_world_int8.tflite"


@pytest.mark.parametrize("cells", CELLS, ids=lambda cells: f"{cells.family}-{cells.array}")
def test_the_netlist_computes_what_the_rtl_does_in_as_many_cycles(cells, models, monkeypatch):
    program = celosia.compile(models / MODEL, fabric=SMALL)
    assert program.macs_on_fabric == program.macs
    inputs = [np.array([[value]], np.int8) for value in (-128, -7, 0, 55, 127)]

    def run():
        with celosia.open("sim", fabric=SMALL) as device:
            results = [device.run(program, value) for value in inputs]
        return [(result.outputs[0].tolist(), result.cycles) for result in results]

    expected = run()
    assert len({str(outputs) for outputs, _ in expected}) > 2  # the network does something
    key = build.digest(repr(SMALL), repr(cells), *build.source_texts(build.RTL),
                 Path(vendor_cells.__file__).read_text())
    gates = cached("gates", key, lambda folder: vendor_cells.gate_level(SMALL, cells, folder),
                   lambda stage, text: None) / "gates.v"
    library = build.library_of_verilog(gates.read_text(), observed=False)
    monkeypatch.setattr(build, "library", lambda *arguments, **options: library)
    assert run() == expected
