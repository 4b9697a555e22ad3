# amaranth: UnusedElaboratable=no
"""The boards: what their PLLs make, what they say of themselves, and that their tops elaborate."""
import json
from dataclasses import replace

import pytest
from celosia.boards.board import BOARDS, find_board
from celosia.boards.clocks import ECP5Divisions, ICE40Divisions
from celosia.boards.core import board_info
from celosia.boards.elaborate import plan_files
from celosia.boards.report import BUDGETS, RESOURCES, budget
from celosia.rtl.contract import link
from celosia.rtl.contract.errors import InputError, ToolError


def test_a_name_that_is_no_board_is_refused():
    with pytest.raises(InputError, match="there is no board 'arty'; choose one of ulx3s_85f, ulx3s_25f"):
        find_board("arty")


@pytest.mark.parametrize("mhz, expected", [  # as yowasp-ecppll chooses
    (100, (1, 4, 6)), (125, (1, 5, 5)), (25, (1, 1, 24)), (80, (2, None, 8)),
])
def test_the_ecp5_pll_makes_the_clock_exactly(mhz, expected):
    if expected[1] is None:  # 80 = 25 / 5 * 16 would compare at 5 MHz
        with pytest.raises(ValueError, match="does not make 80 MHz of 25 MHz"):
            ECP5Divisions.of(25e6, mhz * 1e6)
        return
    div = ECP5Divisions.of(25e6, mhz * 1e6)
    assert (div.reference, div.feedback) == expected[:2]
    assert 25 * div.feedback / div.reference == mhz
    assert 400 <= mhz * div.output <= 800


def test_a_phase_is_counted_in_eighths_of_the_oscillator():
    div = ECP5Divisions(1, 4, 6)
    assert div.phase(270) == (4, 4)  # 4.5 of 6: what ecppll writes
    assert div.phase(0) == (0, 0) and div.phase(180) == (3, 0)


@pytest.mark.parametrize("mhz, divf, divq", [(30, 79, 5), (36, 47, 4), (33, 87, 5), (24, 63, 5)])
def test_the_ice40_pll_makes_the_clock_exactly(mhz, divf, divq):
    assert ICE40Divisions.of(12e6, mhz * 1e6) == ICE40Divisions(divf, divq)  # as yowasp-icepll says


def test_an_ice40_clock_that_needs_another_division_is_refused():
    with pytest.raises(ValueError, match="does not make 31.1 MHz of 12 MHz"):
        ICE40Divisions.of(12e6, 31.1e6)


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_a_board_is_known_to_the_link_and_says_what_it_is(name):
    board = BOARDS[name]
    info = board_info(board)
    assert link.BOARDS[info.board] == name and info.clock == board.clock
    assert info.fingerprint == board.fabric.fingerprint
    assert info.memory_bytes and bool(info.rom_bytes) == bool(info.rom_base) == bool(board.fabric.rom_base)


@pytest.mark.parametrize("name, pins", [("ulx3s_25f", "lpf"), ("icebreaker", "pcf")])
def test_a_top_elaborates_with_all_its_pins(name, pins):
    board = BOARDS[name]
    if board.memory == "sdram":
        board = replace(board, preset="tiny")
    files = plan_files(board, None)
    constraints = files[f"top.{pins}"]
    ports, cells = {
        "lpf": (("sdram_0__dq", "sdram_0__clk", "sdram_0__ba"),
                ("EHXPLLL", "ODDRX1F", "OFS1P3DX", "IFS1P3DX")),
        "pcf": (("spi_flash_4x_0__dq", "spi_flash_4x_0__clk"), ("SB_PLL40_PAD", "SB_IO")),
    }[pins]
    for port in ("uart_0__rx", "uart_0__tx", *ports):
        assert port in constraints, port
    for cell in cells:
        assert f"\\{cell} " in files["top.il"], cell
    commands = json.loads(files["commands.json"])
    assert all("--quiet" not in arguments and "--svf" not in arguments for arguments in commands.values())


def test_every_budget_is_of_a_board_and_of_known_figures(tmp_path):
    for name in BOARDS:
        assert all(limit > 0 for limit in budget(name).values())
    file = tmp_path / "budgets.toml"
    file.write_text("[icebreaker]\nluts = 5\n")
    known = ", ".join(RESOURCES)
    with pytest.raises(ToolError, match=rf"\[icebreaker\] has luts; it may have {known}, logic and fmax"):
        budget("icebreaker", file)
    assert budget("ulx3s_85f", file) == {} and BUDGETS.is_file()
