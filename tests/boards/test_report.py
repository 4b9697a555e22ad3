"""The figures of a build: blocks, clock, critical path and budget, from small hand-made reports."""
import json
from pathlib import Path

import pytest
from celosia.boards.board import BOARDS
from celosia.boards.build import Build
from celosia.boards.report import (
    BudgetError,
    Hop,
    budget,
    check_budget,
    make_report,
    outside,
    resources,
    shown,
)

CELLS = {"": {"TRELLIS_IO": 3}, "clocks.reset": {"TRELLIS_FF": 4}, "core.link.frames": {"LUT4": 7},
         "core.fabric.post.lane_0": {"LUT4": 10, "CCU2C": 3, "TRELLIS_FF": 20, "MULT18X18D": 2},
         "core.fabric.post": {"LUT4": 1, "TRELLIS_DPR16X4": 2}, "core.fabric.weight_memory": {"DP16KD": 5},
         "?": {"LUT4": 2}}
PLACES = {"core.fabric.post.sum_FF": ("core.fabric.post", "sum"), "x_LUT4": ("core.fabric.post", "x"),
          "go_LUT4": ("core.fabric.feeder.walk", "go"), "end_FF": ("core.link", "end"), "$1": ("?", "")}


def step(kind, delay, cell):
    return {"type": kind, "delay": delay, "from": {"cell": cell}, "to": {"cell": cell}}


def placed(achieved=90.0, clock="$glbnet$clk"):
    """What nextpnr's --report holds, as far as it is read."""
    path = [step("clk-to-q", 0.5, "core.fabric.post.sum_FF"), step("routing", 1.0, "core.fabric.post.sum_FF"),
            step("logic", 0.25, "x_LUT4_LC"), step("routing", 2.0, "x_LUT4_LC"),
            step("logic", 0.25, "$1"), step("logic", 0.5, "go_LUT4$CCU2_COMB0"),
            step("routing", 3.0, "go_LUT4$CCU2_COMB0"), step("setup", 0.25, "end_FF")]
    return {
        "fmax": {clock: {"achieved": achieved, "constraint": 100.0},
                 "slow": {"achieved": 30.0, "constraint": 25.0}},
        "utilization": {"TRELLIS_COMB": {"used": 40, "available": 83640}},
        "critical_paths": [{"from": "posedge slow", "to": f"posedge {clock}", "path": []},
                           {"from": f"posedge {clock}", "to": f"posedge {clock}", "path": path}]}


@pytest.fixture
def built(tmp_path):
    def make(report=None, board="ulx3s_85f"):
        (tmp_path / "places.json").write_text(json.dumps(PLACES))
        return Build(BOARDS[board], 1, CELLS, tmp_path / "places.json", report, None, Path("log"))

    return make


def test_cells_are_summed_by_block_the_largest_first(built):
    report = make_report(built())
    assert report.blocks == [
        ("fabric.post", {"lut": 10 + 6 + 1 + 8, "ff": 20, "dsp": 2}), ("link", {"lut": 7}), ("?", {"lut": 2}),
        ("top", {"ff": 4}), ("fabric.weight_memory", {"ram": 5})]
    assert report.totals == {"lut": 34, "ff": 24, "dsp": 2, "ram": 5, "spram": 0}
    assert report.fmax is None and report.path == [] and report.speed == 100


@pytest.mark.parametrize("cell, resource", [
    ("SB_LUT4", "lut"), ("SB_DFFESR", "ff"), ("SB_DFF", "ff"), ("SB_MAC16", "dsp"), ("SB_RAM40_4K", "ram"),
    ("SB_RAM40_4KNR", "ram"), ("SB_SPRAM256KA", "spram"), ("SB_CARRY", None), ("EHXPLLL", None)])
def test_every_kind_of_cell_counts_for_one_resource(cell, resource):
    assert resources({cell: 3}) == ({resource: 3} if resource else {})


@pytest.mark.parametrize("path, block", [
    ("", "top"), ("clocks.pll", "top"), ("core", "core"), ("core.link.deep", "link"),
    ("core.fabric", "fabric"), ("core.fabric.post.lane", "fabric.post"), ("?", "?")])
def test_a_path_is_shown_as_a_part_of_the_core_or_a_unit_of_the_fabric(path, block):
    assert shown(path) == block


def test_the_critical_path_is_told_in_our_blocks(built):
    report = make_report(built(placed()))
    assert report.path == [Hop("post", "sum", 1.0, 3.0), Hop("feeder.walk", "go", 0.5, 3.0),
                           Hop("link", "end", 0.25, 0.0)]
    assert report.fmax == 90 and report.clock == 100 and report.speed == 90
    assert report.used == {"TRELLIS_COMB": (40, 83640)}


def test_a_clock_that_is_not_met_is_always_outside(built, tmp_path):
    nothing = tmp_path / "budgets.toml"
    nothing.write_text("")
    one = built(placed(99.5))
    assert outside(make_report(one), one, {}) == ["Fmax 99.5 MHz, 0.5 below the board's clock, 100.0 MHz"]
    with pytest.raises(BudgetError, match=r"0\.5 below the board's clock") as caught:
        check_budget(make_report(one), one, nothing)
    assert caught.value.exit_code == 3


def test_each_figure_outside_is_named_with_how_much(built, tmp_path):
    one = built(placed(110))
    file = tmp_path / "budgets.toml"
    file.write_text("[ulx3s_85f]\nlut = 34\nff = 20\nlogic = 39\nram = 5\nfmax = 112.5\n")
    report = make_report(one)
    assert outside(report, one, budget("ulx3s_85f", file)) == [
        "FF 24, 4 more than the accepted 20", "logic (TRELLIS_COMB) 40, 1 more than the accepted 39",
        "Fmax 110.0 MHz, 2.5 below the accepted 112.5"]
    file.write_text("[ulx3s_85f]\nlut = 34\nff = 24\nlogic = 40\nram = 5\ndsp = 2\nfmax = 110\n")
    check_budget(report, one, file)
