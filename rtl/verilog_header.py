"""The comment at the head of a fabric's Verilog: parameters, ports, registers, a run, an instance to copy."""
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields

from .contract.fabric import Fabric
from .contract.isa import ISA_VERSION
from .contract.registers import MAGIC_WORD, Control, Fault, Reg, Status
from .glossary import members

WIDTH = 107

WAIVERS = {
    "DECLFILENAME": "One file holds all modules, under whatever name you give it.",
    "UNUSEDSIGNAL": "Interfaces between units are whole records, of which each unit reads its part; carries "
                    "out of the top of a sum are dropped. AXI identifiers that come back, and AxPROT of the "
                    "registers' port, are not looked at.",
    "PROCASSINIT": "Each register starts with its reset value: FPGAs configure it so, and simulators too.",
    "WIDTHEXPAND": "A narrow operand of a sum or comparison is meant to be extended as Verilog does it.",
    "WIDTHTRUNC": "`!` asks whether a whole word is 0; a shift takes the low bits of a wide result.",
    "CASEOVERLAP": "A case over several conditions has one at a time, or the first is meant.",
    "CMPCONST": "An index is compared with the end of a table that fills its bits.",
    "UNOPTFLAT": "No logic loops: a bit of a record depends on another bit of the same record.",
}
"""Warnings of ``verilator --lint-only -Wall`` that the text has by construction; there must be no others."""

def verilog_header(fabric: Fabric, *, module: str, ports: Mapping[str, tuple[bool, int]]) -> str:
    """The comment, and the lint directives with their reasons.

    Parameters
    ----------
    fabric : Fabric
    module : str
        Name of the top module.
    ports : mapping
        Of every port but ``clk`` and ``rst``: whether it is an input, and its bits.
    """
    lines = [
        f"{module}: an int8 neural-network accelerator, made by Celosia as Verilog 2005.",
        "",
        *_section("Fabric", _fabric(fabric)),
        *_section("Ports", _ports(fabric)),
        *_section("Registers (byte addresses; R read-only, W write-only, RW both)", _registers()),
        *_section("One run", RUN),
        "Instance", *(f"    {line}" for line in instance(module, ports).splitlines()), "",
        *_section("Lint: what `verilator --lint-only -Wall` would say, and why it is meant so",
                  (f"{code}: {why}" for code, why in WAIVERS.items())),
    ]
    comment = "".join(f"// {line}".rstrip() + "\n" for line in lines)
    directives = "".join(f"/* verilator lint_off {code} */\n" for code in WAIVERS)
    return f"{comment}{directives}\n"


def instance(module: str, ports: Mapping[str, tuple[bool, int]]) -> str:
    """Wires for every port, and the module connected to them by name."""
    wires = [f"wire {f'[{bits - 1}:0] ' if bits > 1 else ''}{name};" for name, (_, bits) in ports.items()]
    width = max(map(len, wires))
    wires = [f"{wire:{width}}  // {'to' if is_input else 'from'} the fabric"
             for wire, (is_input, _) in zip(wires, ports.values(), strict=True)]
    names = ["clk", "rst", *ports]
    pins = [f"    .{name}({name})" for name in names]
    return "\n".join([*wires, f"{module} fabric (", ",\n".join(pins), ");"])


def _section(title: str, paragraphs: Iterable[str]) -> Iterator[str]:
    yield title
    for text in paragraphs:
        columns = " " * (text.rfind("  ") + 2 if "  " in text else 0)  # lines go on below the last column
        yield from textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    " + columns,
                                 break_long_words=False, break_on_hyphens=False)
    yield ""


def _fabric(fabric: Fabric) -> Iterator[str]:
    yield f"{fabric.name}, fingerprint 0x{fabric.fingerprint:016X}, instruction set version {ISA_VERSION}"
    yield ", ".join(f"{item.name} = {getattr(fabric, item.name):d}" for item in fields(fabric)
                    if item.name != "name")


def _ports(fabric: Fabric) -> Iterator[str]:
    yield "clk: everything happens at its rising edge. rst: synchronous, active high, for a cycle or more."
    yield AXIL
    beat = fabric.bus_bytes
    yield AXI.format(bits=8 * beat, size=beat.bit_length() - 1, beat=beat, burst=fabric.max_burst,
                     outstanding=fabric.outstanding)
    if fabric.rom_base:
        yield ROM.format(base=fabric.rom_base)


def _registers() -> Iterator[str]:
    for name, address, comment in members(Reg):
        access, _, meaning = comment.partition(" ")
        yield f"0x{address:02X}  {access:2}  {name:15}  {meaning.strip()}"
    yield f"MAGIC reads 0x{MAGIC_WORD:08X}."
    for listed, bits in ((Control, True), (Status, True), (Fault, False)):
        yield f"{listed.__name__.upper()}: " + "; ".join(
            f"{f'bit {value.bit_length() - 1}' if bits else value} {name}{f' ({comment})' if comment else ''}"
            for name, value, comment in members(listed))


AXIL = """\
s_axil_*: AXI4-Lite subordinate, 32-bit data, byte addresses of 8 bits (connect the low ones). The two low
bits are ignored, byte strobes are honoured; address and data of a write may come in any order. An address
without a register, and a write to a read-only one, are answered with SLVERR."""

AXI = """\
m_axi_*: AXI4 manager, 32-bit byte addresses, {bits}-bit data. All bursts are INCR, of full-width beats
(AxSIZE {size}), aligned to {beat} bytes, at most {burst} beats long, and stay within 4 KB. One identifier,
0: answer in order, and do not interleave reads. At most {outstanding} reads and {outstanding} writes are
under way. W follows AW; the strobes of the last beat of a row may be partly clear. AxCACHE is normal,
non-cacheable, bufferable; there is no AxLOCK, AxQOS or AxREGION: tie them to 0. Any channel may wait as long
as it likes; SLVERR or DECERR stops the run with a fault that says where."""

ROM = """\
From 0x{base:X} on the fabric only reads: constants and instructions of a program lie there."""

RUN = ("""\
Write PROGRAM_ADDRESS, PROGRAM_COUNT and WATCHDOG, then CONTROL = START. Poll STATUS until BUSY is clear. If
it shows FAULT, then FAULT, FAULT_ADDRESS and FAULT_UNIT say what and where; else the outputs are in memory.
""", "`celosia verilog --header FILE.h` writes these numbers, and the instructions, for C.")
