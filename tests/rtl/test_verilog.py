# amaranth: UnusedElaboratable=no
"""The exported Verilog: its ports, and that nothing of Yosys' chatter or Amaranth's naming is left in it."""
import re

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from celosia.rtl import verilog as verilog_module
from celosia.rtl.contract.errors import ToolError
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.link.axi import AXI4, AXI4Lite
from celosia.rtl.verilog import MEMORY, fabric_rtlil, fabric_verilog

FABRIC = Fabric(rows=2, cols=3, am_words=16, wm_words=8, pm_words=16, acc_depth=8, fifo_depth=4, bus_bytes=4,
                profile_layers=2)


@pytest.fixture(scope="module")
def verilog():
    return fabric_verilog(FABRIC)


def test_ports_carry_the_amba_names_and_directions(verilog):
    top = verilog[re.search(r"^module celosia_fabric\(", verilog, re.MULTILINE).start():]
    top = top[:top.index("endmodule")]
    found = {name: (direction, int(high or 0) + 1) for direction, high, name in
             re.findall(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);$", top, re.MULTILINE)}
    expected = {"clk": ("input", 1), "rst": ("input", 1)}
    for prefix, signature in (("s_axil", AXI4Lite().flip()), ("m_axi", AXI4(data_bytes=4))):
        for name, member in signature.members.items():
            expected[f"{prefix}_{name}"] = ("output" if member.flow.name == "Out" else "input", member.shape)
    assert found == expected


def test_hierarchy_is_kept_and_memories_start_with_zeros_in_simulation_only(verilog):
    modules = re.findall(r"^module (\\?\S+?) ?\(", verilog, re.MULTILINE)
    assert modules.count("celosia_fabric") == 1 and len(modules) > 20
    memories = MEMORY.findall(verilog)
    assert len(memories) > FABRIC.rows + FABRIC.cols
    assert verilog.count("`ifndef SYNTHESIS") == verilog.count("`endif") == len(memories)


def test_the_export_is_reproducible_and_silent(verilog, capfd):
    assert fabric_verilog(FABRIC) == verilog
    assert capfd.readouterr() == ("", "")


def test_a_failure_of_yosys_says_what_it_said(monkeypatch):
    monkeypatch.setattr(verilog_module, "fabric_rtlil", lambda fabric: "this is no RTLIL\n")
    with pytest.raises(ToolError, match=r"(?s)Yosys did not.*this"):
        fabric_verilog(FABRIC)


def test_a_memory_with_contents_keeps_them(monkeypatch):

    class WithMemory(wiring.Component):
        def __init__(self, *, fabric):
            super().__init__({"data": wiring.Out(8)})

        def elaborate(self, platform):
            m = Module()
            m.submodules.memory = memory = Memory(shape=8, depth=4, init=[1, 2])
            m.d.comb += self.data.eq(memory.read_port().data)
            return m

    monkeypatch.setattr(verilog_module, "FabricTop", WithMemory)
    assert "$meminit_v2" in fabric_rtlil(FABRIC)
