"""The C header of a fabric: registers, codes and instructions, from the one definition of them."""
from collections.abc import Iterator
from dataclasses import MISSING, fields
from enum import IntEnum

from .contract import isa
from .contract.fabric import LANE_BITS, PARAMETER_BYTES, TABLE_BYTES, WORD_BITS, Fabric
from .contract.isa import Cause, Field, Instruction, Space, Unit
from .contract.registers import MAGIC_WORD, Control, Fault, Reg, Status
from .glossary import members

PROLOGUE = """\
/* Registers, codes and instructions of a Celosia fabric, for C99 and C++.
 *
 * Written by `celosia verilog --header`; do not edit. What the instructions do: docs/isa.md.
 *
 * Fill a structure, encode it to where the fabric will fetch it:
 *
 *     struct celosia_fill fill = CELOSIA_FILL_DEFAULTS;
 *     fill.row_bytes = 16;
 *     if (celosia_encode_fill(memory, &fill)) ...  a member is too large for its field
 *
 * Activation addresses and steps are plain byte numbers in the structures.
 */
#ifndef CELOSIA_H
#define CELOSIA_H

#include <stdint.h>
"""

PUT = """\
/* Writes a field; 1 if the value needs more bits. The field's bits must be 0. */
static inline int celosia_put(uint8_t *code, unsigned offset, unsigned width, uint32_t value)
{
    unsigned bit;
    if (width < 32u && value >> width)
        return 1;
    for (bit = 0; bit < width; ++bit)
        if (value >> bit & 1u)
            code[(offset + bit) / 8u] |= (uint8_t)(1u << (offset + bit) % 8u);
    return 0;
}

static inline int celosia_put_signed(uint8_t *code, unsigned offset, unsigned width, int32_t value)
{
    const int32_t half = (int32_t)((uint32_t)1 << (width - 1u));
    if (value < -half || value >= half)
        return 1;
    return celosia_put(code, offset, width, (uint32_t)value & (((uint32_t)half << 1) - 1u));
}

/* An activation address: the hardware wants the word and the lane, so that it need not divide. */
static inline int celosia_put_address(uint8_t *code, unsigned offset, unsigned width, uint32_t byte)
{
    const uint32_t word = byte / CELOSIA_ROWS, lane = byte % CELOSIA_ROWS;
    if (word >> CELOSIA_WORD_BITS)
        return 1;
    return celosia_put(code, offset, width, word << CELOSIA_LANE_BITS | lane);
}
"""

CLEAR = """\
    unsigned byte;
    for (byte = 0; byte < CELOSIA_INSTRUCTION_BYTES; ++byte)
        code[byte] = 0;
"""


def c_header(fabric: Fabric) -> str:
    """``celosia.h`` for programs of one fabric."""
    values = {item.name: getattr(fabric, item.name) for item in fields(fabric) if item.name != "name"}
    parts = [
        PROLOGUE,
        f"/* Fabric {_comment(fabric.name)}; the registers must read this fingerprint. */",
        _define("FINGERPRINT_LO", f"0x{fabric.fingerprint & 0xFFFF_FFFF:08X}u"),
        _define("FINGERPRINT_HI", f"0x{fabric.fingerprint >> 32:08X}u"),
        *(_define(name.upper(), f"{int(value)}u") for name, value in values.items()),
        "",
        *_codes("REG", Reg, width=2),
        _define("MAGIC_WORD", f"0x{MAGIC_WORD:08X}u", "what REG_MAGIC reads"),
        _define("ISA_VERSION", f"{isa.ISA_VERSION}u", "what REG_VERSION reads"),
        "",
        *_codes("CONTROL", Control), *_codes("STATUS", Status), *_codes("FAULT", Fault),
        *_codes("UNIT", Unit), *_codes("CAUSE", Cause), *_codes("SPACE", Space),
        _define("INSTRUCTION_BYTES", f"{isa.INSTRUCTION_BYTES}u"),
        _define("WORD_BITS", f"{WORD_BITS}u", "of the word part of an activation address"),
        _define("LANE_BITS", f"{LANE_BITS}u", "of its lane part, the low one"),
        _define("PARAMETER_BYTES", f"{PARAMETER_BYTES}u", "of a record of the parameter memory"),
        _define("TABLE_BYTES", f"{TABLE_BYTES}u"),
        _define("TOKEN_MAX", f"{isa.TOKEN_MAX}u"),
        "",
        PUT,
        *(_instruction(kind) for kind in isa.INSTRUCTIONS),
        "#endif",
    ]
    return "\n".join(parts) + "\n"


def _define(name: str, value: str, comment: str = "") -> str:
    return f"#define CELOSIA_{name} {value}" + (f" /* {_comment(comment)} */" if comment else "")


def _comment(text: str) -> str:
    return " ".join(text.split()).replace("`", "").replace("*/", "* /").replace("/*", "/ *")


def _codes(prefix: str, enumeration: type[IntEnum], width: int = 1) -> Iterator[str]:
    for name, value, comment in members(enumeration):
        yield _define(f"{prefix}_{name}", f"0x{value:0{width}X}u", comment)
    yield ""


def _instruction(kind: type[Instruction]) -> str:
    """Structure, defaults, places of the fields, encoder."""
    low = kind.__name__.lower()
    up = low.upper()
    layout = kind.layout()[1:]
    defaults = {item.name: item.default for item in fields(kind) if item.default not in (0, MISSING)}
    lines = [
        f"/* {kind.__name__}: unit {kind.UNIT.name}. */",
        _define(f"OPCODE_{up}", f"{kind.OPCODE}u"),
        *(line for item in kind.layout() for line in (
            _define(f"{up}_{item.name.upper()}_OFFSET", f"{item.offset}u"),
            _define(f"{up}_{item.name.upper()}_WIDTH", f"{item.width}u"))),
        f"struct celosia_{low} {{",
        *(f"    {_type(item)} {item.name};" for item in layout),
        "};",
        _define(f"{up}_DEFAULTS", "{" + ", ".join(str(defaults.get(item.name, 0)) for item in layout) + "}"),
        "",
        f"static inline int celosia_encode_{low}(uint8_t *code, const struct celosia_{low} *{low})",
        "{",
        CLEAR + f"    celosia_put(code, 0, CELOSIA_{up}_OPCODE_WIDTH, CELOSIA_OPCODE_{up});",
        "    return " + "\n        || ".join(
            f"{_put(item)}(code, CELOSIA_{up}_{item.name.upper()}_OFFSET, "
            f"CELOSIA_{up}_{item.name.upper()}_WIDTH, {low}->{item.name})" for item in layout) + ";",
        "}",
        "",
    ]
    return "\n".join(lines)


def _type(item: Field) -> str:
    return "int32_t" if item.kind == "signed" else "uint32_t"


def _put(item: Field) -> str:
    return "celosia_put" if item.kind == "unsigned" else f"celosia_put_{item.kind}"
