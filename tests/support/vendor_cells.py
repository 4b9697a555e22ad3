"""A fabric as it is after synth_ecp5 or synth_ice40, made of simulation models of the chip's cells.

yosys ships a model of every cell but the ECP5's multiplier and block RAM. The multiplier's is in cells/. The
block RAM's is here; it follows Lattice's "ECP5 and ECP5-5G Memory Usage Guide" (FPGA-TN-02204) as far as
synth_ecp5 uses the cell, with ports of different widths, byte enables and all write modes (cells/dp16kd.v has
two ports of one width). A port that reads a word while the other writes it gets the complement of what is
written: the guide leaves open what it gets, so nothing may rely on it.
"""
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

from celosia.rtl.fabric import FabricTop
from celosia.rtl.verilog import MODULE, YOSYS, component_rtlil

WRITTEN = Path(__file__).parent / "cells"
SHARE = Path(importlib.util.find_spec("pyosys").origin).parent / "share"
INCLUDE = re.compile(r'^`include "(\S+)"$', re.MULTILINE)
BLACKBOX = re.compile(r"^\(\* blackbox \*\)\nmodule DP16KD\b.*?^endmodule\n", re.MULTILINE | re.DOTALL)
DELAYS = re.compile(r"^\s*specify\b.*?^\s*endspecify\b", re.MULTILINE | re.DOTALL)


def vendor_models(family):
    """Verilog of all cells of "ecp5" or "ice40"."""
    folder = SHARE / family
    text = INCLUDE.sub(lambda found: (folder / found[1]).read_text(), (folder / "cells_sim.v").read_text())
    text = "`define NO_INCLUDES\n" + DELAYS.sub("", text)  # of what only maps other names of the same cells
    if family == "ice40":
        # Without SB_SPRAM256KA's contents, which yosys would make a quarter of a million registers of.
        return "`define EQUIV\n" + text
    return BLACKBOX.sub("", text) + (WRITTEN / "mult18x18d.v").read_text() + block_ram()


LUTS = {
    "ecp5": """
module LUT4(input A, B, C, D, output Z);
  parameter [15:0] INIT = 0;
  \\$lut #(.WIDTH(4), .LUT(INIT)) lut (.A({D, C, B, A}), .Y(Z));
endmodule
""",
    "ice40": """
module SB_LUT4(output O, input I0, I1, I2, I3);
  parameter [15:0] LUT_INIT = 0;
  \\$lut #(.WIDTH(4), .LUT(LUT_INIT)) lut (.A({I3, I2, I1, I0}), .Y(O));
endmodule
"""}
"""The look-up tables, of which there are most, as cells that yosys writes in a line."""
SECONDS = 1800


def gate_level(fabric, cells, folder):
    """Verilog of a fabric after synthesis for ``cells.family``, each cell replaced by its model.

    It writes its files, gates.v the last, to ``folder``.
    """
    family = cells.family
    for name, text in (("fabric.il", component_rtlil(FabricTop(fabric=fabric, cells=cells), name=MODULE)),
                       ("models.v", vendor_models(family)), ("luts.v", LUTS[family])):
        (folder / name).write_text(text)
    commands = ("read_rtlil fabric.il", f"synth_{family} -no-rw-check -top {MODULE}", "delete t:$scopeinfo",
                "techmap -map luts.v", "techmap -autoproc -map models.v", "techmap -map luts.v",
                "rename -hide", "opt_expr", "opt_clean -purge", "opt_merge", "opt_expr", "opt_clean -purge",
                "memory_collect", "check -assert", "write_verilog -noattr gates.v")
    with (folder / "yosys.log").open("w") as log:
        subprocess.run([sys.executable, "-c", YOSYS, *commands], cwd=folder, check=True, timeout=SECONDS,
                       stdout=log, stderr=log)
    return (folder / "gates.v").read_text()


def bits(name, count):
    """Names of one bit each, the highest first: these cells have such ports."""
    return ", ".join(f"{name}{bit}" for bit in reversed(range(count)))


def block_ram():
    """DP16KD: 1024 words of 18 bits behind two ports; where they have 36 bits, A writes and B reads."""
    inits = "".join(f"  parameter [319:0] INITVAL_{i:02X} = 320'h0;\n" for i in range(64))
    start = "".join(
        f"    for (i = 0; i < 16; i = i + 1) memory[{i * 16} + i] = INITVAL_{i:02X}[20 * i +: 18];\n"
        for i in range(64))
    ports = ",\n".join(
        f"  input {bits(f'DI{p}', 18)}, {bits(f'AD{p}', 14)},\n"
        f"  input CE{p}, OCE{p}, CLK{p}, WE{p}, RST{p}, CS{p}2, CS{p}1, CS{p}0, output {bits(f'DO{p}', 18)}"
        for p in "AB")
    both = "".join(f"""
  wire [13:0] ad_{p} = {{{bits(f'AD{p}', 14)}}};
  wire on_{p} = CE{p} & ~CS{p}2 & ~CS{p}1 & ~CS{p}0;
  wire write_{p} = on_{p} & WE{p} & ~RST{p};
  wire [35:0] in_{p} = spread(DATA_WIDTH_{p}, {{{high}, {bits(f'DI{p}', 18)}}}, ad_{p});
  wire [35:0] mask_{p} = write_{p} ? mask(DATA_WIDTH_{p}, ad_{p}) : 36'd0;
  wire [9:0] even_{p} = {{ad_{p}[13:5], 1'b0}};
  wire [9:0] odd_{p} = {{ad_{p}[13:5], 1'b1}};
  wire [35:0] old_{p} = {{memory[odd_{p}], memory[even_{p}]}};
  wire [35:0] new_{p} = old_{p} & ~mask_{p} | in_{p} & mask_{p};
  wire [35:0] clash_{p} = ad_A[13:5] == ad_B[13:5] ? mask_{q} : 36'd0;
  wire [35:0] seen_{p} = WRITEMODE_{p} == "WRITETHROUGH" && write_{p} ? new_{p} : old_{p};
  reg [35:0] out_{p} = 0, late_{p} = 0;
  always @(posedge CLK{p}) begin
    if (mask_{p}[17:0] != 0) memory[even_{p}] <= new_{p}[17:0];
    if (mask_{p}[35:18] != 0) memory[odd_{p}] <= new_{p}[35:18];
    if (RST{p}) out_{p} <= 0;
    else if (on_{p} && !(write_{p} && WRITEMODE_{p} == "NORMAL"))
      out_{p} <= picked(DATA_WIDTH_{p}, seen_{p} & ~clash_{p} | ~in_{q} & clash_{p}, ad_{p});
    if (RST{p}) late_{p} <= 0;
    else if (OCE{p}) late_{p} <= out_{p};
  end
  wire [35:0] read_{p} = REGMODE_{p} == "OUTREG" ? late_{p} : out_{p};
""" for p, q, high in (("A", "B", bits("DIB", 18)), ("B", "A", "18'd0")))
    return f"""
module DP16KD(
{ports});
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG", RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC";
  parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000", WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
  parameter GSR = "ENABLED", CLKAMUX = "CLKA", CLKBMUX = "CLKB", INIT_DATA = "STATIC", WID = 0;
{inits}
  // Where an access of some width lies in a pair of words.
  function [5:0] place(input integer width, input [13:0] ad);
    case (width)
      1: place = 18 * ad[4] + 9 * ad[3] + ad[2:0];
      2: place = 18 * ad[4] + 9 * ad[3] + 2 * ad[2:1];
      4: place = 18 * ad[4] + 9 * ad[3] + 4 * ad[2];
      9: place = 18 * ad[4] + 9 * ad[3];
      18: place = 18 * ad[4];
      default: place = 0;
    endcase
  endfunction
  // The lowest address bits of a wide port enable its bytes of 9 bits.
  function [35:0] mask(input integer width, input [13:0] ad);
    case (width)
      1: mask = 36'd1 << place(width, ad);
      2: mask = 36'd3 << place(width, ad);
      4: mask = 36'd15 << place(width, ad);
      9: mask = 36'd511 << place(width, ad);
      18: mask = {{18'd0, {{9{{ad[1]}}}}, {{9{{ad[0]}}}}}} << place(width, ad);
      default: mask = {{{{9{{ad[3]}}}}, {{9{{ad[2]}}}}, {{9{{ad[1]}}}}, {{9{{ad[0]}}}}}};
    endcase
  endfunction
  function [35:0] spread(input integer width, input [35:0] data, input [13:0] ad);
    spread = data << place(width, ad);
  endfunction
  function [35:0] picked(input integer width, input [35:0] data, input [13:0] ad);
    picked = data >> place(width, ad);
  endfunction
  reg [17:0] memory [0:1023];
  integer i;
  initial begin
{start}  end
{both}
  assign {{{bits('DOA', 18)}}} = DATA_WIDTH_B == 36 ? read_B[17:0] : read_A[17:0];
  assign {{{bits('DOB', 18)}}} = DATA_WIDTH_B == 36 ? read_B[35:18] : read_B[17:0];
  generate
    if (CLKAMUX != "CLKA" || CLKBMUX != "CLKB" || CSDECODE_A != "0b000" || CSDECODE_B != "0b000")
      UNSUPPORTED choice();
  endgenerate
endmodule
"""
