# amaranth: UnusedElaboratable=no
"""The way from a design to a bitstream, with the real tools on a small one."""
import stat
import sys
from dataclasses import replace
from functools import partial

import pytest
from amaranth import Cat, Elaboratable, Module, Signal
from amaranth.lib import io
from celosia.boards.board import BOARDS
from celosia.boards.build import build
from celosia.boards.netlist import count_cells, origins, places
from celosia.boards.report import check_budget, make_report
from celosia.boards.tools import TOOLS, Tool, run
from celosia.rtl.contract.errors import InputError, ToolError

SYNC = {"ecp5": bytes.fromhex("ffffbdb3"), "ice40": bytes.fromhex("7eaa997e")}
"""What a chip looks for at the beginning of a bitstream."""
LIMITS = """
[{board}]
lut = {lut}
ff = 100
fmax = {fmax}
"""


@pytest.mark.parametrize("name", ["ulx3s_85f", "icebreaker"])
def test_a_design_becomes_a_bitstream_once_and_its_figures_are_told(name, cache, blinker, tmp_path):
    stages = []
    # The blinker runs from the oscillator itself, so the board's clock is none it has to meet.
    board = replace(BOARDS[name], clock=BOARDS[name].clock // 4)
    built = build(board, top=blinker, progress=lambda stage, text: stages.append(stage))
    assert list(dict.fromkeys(stages)) == ["elaborate", "synthesise", "place", "route", "pack"]
    assert SYNC[board.family] in built.bitstream.read_bytes()[:1000]
    assert built.bitstream.name == board.bitstream

    report = make_report(built)
    blocks = dict(report.blocks)
    assert blocks["fabric.post"]["ff"] >= 11 and blocks["fabric.post"]["lut"] >= 11
    assert report.totals["ff"] >= 12 and report.totals["dsp"] == report.totals["ram"] == 0
    assert report.fmax > 50
    assert ("post", "count") in [(hop.block, hop.signal) for hop in report.path]
    used, available = report.used["TRELLIS_COMB" if board.family == "ecp5" else "ICESTORM_LC"]
    assert 12 <= used < 100 and available > 5000

    # The second call runs no tool.
    stages.clear()
    assert build(board, top=blinker, progress=lambda stage, text: stages.append(stage)) == built
    assert stages == ["elaborate"]
    # Another seed places and routes, but does not synthesise.
    other = build(board, top=blinker, seed=2, progress=lambda stage, text: stages.append(stage))
    assert "place" in stages and "synthesise" not in stages and other.bitstream != built.bitstream
    # Another design does all.
    stages.clear()
    build(board, top=partial(blinker, 21), synthesis_only=True,
          progress=lambda stage, text: stages.append(stage))
    assert list(dict.fromkeys(stages)) == ["elaborate", "synthesise"]

    # And the figures are held to a budget.
    budgets = tmp_path / "budgets.toml"
    budgets.write_text(LIMITS.format(board=name, lut=report.totals["lut"], fmax=50))
    check_budget(report, built, budgets)
    budgets.write_text(LIMITS.format(board=name, lut=report.totals["lut"] - 2, fmax=5000))
    with pytest.raises(ToolError, match=rf"LUT {report.totals['lut']}, 2 more than the accepted .*"
                                        r"Fmax .* MHz, .* below the accepted 5000\.0"):
        check_budget(report, built, budgets)


def test_without_place_and_route_there_is_a_netlist_and_no_clock(cache, blinker):
    built = build(BOARDS["icebreaker"], top=blinker, synthesis_only=True)
    report = make_report(built)
    assert built.bitstream is None and report.fmax is None and report.totals["ff"] >= 12
    assert report.speed == BOARDS["icebreaker"].clock / 1e6


def test_a_design_that_is_too_large_is_said_to_be(cache, monkeypatch):
    class Shift(Elaboratable):
        """More registers than the chip has cells."""

        def elaborate(self, platform):
            m = Module()
            m.submodules.led = led = io.Buffer("o", platform.request("led", 0, dir="-"))
            held = Signal(5400)
            m.d.sync += held.eq(Cat(~held[-1], held))
            m.d.comb += led.o.eq(held[-1])
            return m

    with pytest.raises(ToolError, match=r"does not fit the chip of icebreaker: ICESTORM_LC 5,\d+ of 5,280"):
        build(BOARDS["icebreaker"], top=Shift)


@pytest.fixture
def failing_tool(tmp_path):
    """A program that says something and fails."""
    file = tmp_path / "nextpnr"
    file.write_text(f"#!{sys.executable}\nimport sys\nprint('ERROR: cell does not fit')\nsys.exit(7)\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def test_a_tool_that_fails_is_quoted_and_leaves_nothing_behind(cache, blinker, failing_tool, monkeypatch):
    monkeypatch.setenv("NEXTPNR_ICE40", str(failing_tool))
    with pytest.raises(ToolError, match=r"(?s)nextpnr-ice40 failed \(exit code 7\).*cell does not fit"):
        build(BOARDS["icebreaker"], top=blinker)
    assert [path for path in (cache / "bitstreams").iterdir() if path.suffix not in (".lock", ".draft")] == []


def test_a_tool_that_is_missing_is_found_out_before_the_work(cache, blinker, monkeypatch):
    monkeypatch.setenv("ICEPACK", "/nowhere/icepack")
    with pytest.raises(ToolError, match="ICEPACK names '/nowhere/icepack', and there is no such program"):
        build(BOARDS["icebreaker"], top=blinker)
    assert not cache.exists()
    monkeypatch.delenv("ICEPACK")
    absent = Tool("icepack", "no-such-package", "no_such_package", "")
    monkeypatch.setitem(TOOLS, "icepack", absent)
    with pytest.raises(ToolError, match=r"icepack is not installed; type: pip install 'celosia\[boards\]'"):
        build(BOARDS["icebreaker"], top=blinker)


def test_a_tool_has_a_time_limit(tmp_path):
    command = [sys.executable, "-c", "import time; print('began', flush=True); time.sleep(60)"]
    with pytest.raises(ToolError, match=r"(?s)it took longer than 1 s and was stopped.*began"):
        run(command, tmp_path, what="it", seconds=1, log="log")
    assert (tmp_path / "log").read_text() == "began\n"


RTLIL = """
module \\top
  wire width 8 \\sum
  cell \\top.core \\core
    connect \\sum \\sum [7:0]
    connect \\result { \\high [3:0] \\low }
  end
module \\top.core
  wire width 8 output 0 \\sum
  wire width 8 output 1 \\result
  cell \\top.core.post \\post
    connect \\sum \\sum [7:0]
  end
  cell \\top.core.link \\link
    connect \\amount \\sum
  end
module \\top.core.post
  wire width 8 output 0 \\sum
  cell $dff $1
    connect \\Q \\sum
  end
module \\top.core.link
  attribute \\x 1
  wire width 8 input 0 \\amount
"""


def test_a_cell_belongs_to_the_block_that_makes_its_wire_under_whatever_name():
    origin = origins(RTLIL)
    assert origin == {"sum": "core.post", "core.sum": "core.post", "core.link.amount": "core.post",
                      "high": "core", "low": "core"}

    def wire(bit):
        return {"bits": [bit, "0"], "attributes": {}}

    def cell(kind, bit):
        return {"type": kind, "connections": {"A": [1], "Q": [bit]},
                "port_directions": {"A": "input", "Q": "output"}}

    netlist = {"modules": {"top": {
        "netnames": {"sum": wire(1), "core.link.go": wire(2), "core.sum_LUT4_Z_1_CCU2C_S0": wire(3),
                     "$abc$1": wire(4)},
        "cells": {"sum_FF": cell("FF", 1), "go_LUT": cell("LUT4", 2), "sum_CARRY": cell("CCU2C", 3),
                  "$abc$2": cell("LUT4", 4), "core.pll": cell("PLL", 5), "core": cell("$scopeinfo", 6)}}}}
    where = places(netlist, "top", origin)
    assert where == {"sum_FF": ("core.post", "sum"), "go_LUT": ("core.link", "go"),
                     "sum_CARRY": ("core.post", "sum"), "$abc$2": ("?", ""), "core.pll": ("core", "pll")}
    assert count_cells(netlist, "top", where) == {
        "?": {"LUT4": 1}, "core": {"PLL": 1}, "core.link": {"LUT4": 1}, "core.post": {"CCU2C": 1, "FF": 1}}


def test_a_board_that_amaranth_boards_lacks_is_refused():
    with pytest.raises(InputError, match="amaranth-boards has no Nothing"):
        replace(BOARDS["icebreaker"], definition="Nothing").platform()
