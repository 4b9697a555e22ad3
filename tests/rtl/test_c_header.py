"""The C header: it compiles without a warning, and C encodes what Python encodes."""
import ctypes
import random
import re
import shutil
import subprocess

import pytest
from celosia.rtl.c_header import c_header
from celosia.rtl.contract.fabric import WORD_BITS, Fabric
from celosia.rtl.contract.isa import INSTRUCTION_BYTES, INSTRUCTIONS, Cause, Space, Unit
from celosia.rtl.contract.registers import MAGIC_WORD, Control, Fault, Reg, Status

FABRICS = [Fabric(rows=3, cols=5), Fabric(rows=16, cols=16), Fabric(rows=1, cols=1)]
STRICT = ("-Wall", "-Wextra", "-Werror", "-Wconversion", "-pedantic")


def compiled(folder, header, body, *, command=("gcc", "-std=c99"), suffix="c"):
    """A shared library of C that includes the header."""
    (folder / "celosia.h").write_text(header)
    source, library = folder / f"encode.{suffix}", folder / f"encode_{suffix}.so"
    source.write_text(f'#include "celosia.h"\n{body}')
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]}")
    found = subprocess.run([*command, *STRICT, "-shared", "-fPIC", str(source), "-o", str(library)],
                           text=True, capture_output=True, timeout=60)
    assert found.returncode == 0, found.stderr
    return ctypes.CDLL(str(library))


def encoder(kind):
    """A C function that takes the fields as 32-bit words."""
    low, layout = kind.__name__.lower(), kind.layout()[1:]
    types = {"signed": "int32_t", "unsigned": "uint32_t", "address": "uint32_t"}
    lines = "".join(f"    in.{item.name} = ({types[item.kind]})words[{place}];\n"
                    for place, item in enumerate(layout))
    return (f"int {low}(uint8_t *code, const uint32_t *words);\n"
            f"int {low}(uint8_t *code, const uint32_t *words)\n{{\n"
            f"    struct celosia_{low} in = CELOSIA_{low.upper()}_DEFAULTS;\n{lines}"
            f"    return celosia_encode_{low}(code, &in);\n}}\n"
            f"int {low}_defaults(uint8_t *code);\n"
            f"int {low}_defaults(uint8_t *code)\n{{\n"
            f"    struct celosia_{low} in = CELOSIA_{low.upper()}_DEFAULTS;\n"
            f"    return celosia_encode_{low}(code, &in);\n}}\n")


def limits(item, fabric):
    match item.kind:
        case "signed":
            return -(1 << item.width - 1), (1 << item.width - 1) - 1
        case "address":
            return 0, fabric.rows * (1 << WORD_BITS) - 1
    return 0, (1 << item.width) - 1


def encoded(library, kind, values):
    code = (ctypes.c_uint8 * INSTRUCTION_BYTES)(*[0xA5] * INSTRUCTION_BYTES)
    words = (ctypes.c_uint32 * len(values))(*(value & 0xFFFF_FFFF for value in values))
    refused = getattr(library, kind.__name__.lower())(code, words)
    return None if refused else bytes(code)


@pytest.fixture(scope="module", params=FABRICS, ids=lambda fabric: f"{fabric.rows}x{fabric.cols}")
def built(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("c")
    return request.param, compiled(folder, c_header(request.param), "".join(map(encoder, INSTRUCTIONS)))


@pytest.mark.parametrize("kind", INSTRUCTIONS, ids=lambda kind: kind.__name__)
def test_c_encodes_what_python_encodes(built, kind):
    fabric, library = built
    layout = kind.layout()[1:]
    rng = random.Random(1)
    ranges = [limits(item, fabric) for item in layout]
    cases = [[low for low, _ in ranges], [high for _, high in ranges],
             *([rng.randint(low, high) for low, high in ranges] for _ in range(200))]
    for values in cases:
        instruction = kind(**dict(zip((item.name for item in layout), values, strict=True)))
        assert encoded(library, kind, values) == instruction.encode(fabric)
    code = (ctypes.c_uint8 * INSTRUCTION_BYTES)()
    assert getattr(library, f"{kind.__name__.lower()}_defaults")(code) == 0
    assert bytes(code) == kind().encode(fabric)


@pytest.mark.parametrize("kind", INSTRUCTIONS, ids=lambda kind: kind.__name__)
def test_a_value_that_its_field_does_not_hold_is_refused(built, kind):
    fabric, library = built
    layout = kind.layout()[1:]
    for place, item in enumerate(layout):
        low, high = limits(item, fabric)
        for value in {high + 1, low - 1} - {1 << 32, -1}:
            values = [0] * len(layout)
            values[place] = value
            assert encoded(library, kind, values) is None, (item.name, value)


def test_every_number_of_the_contract_is_there():
    fabric = FABRICS[0]
    found = {name: int(value, 0) for name, value in
             re.findall(r"^#define CELOSIA_(\w+) (\w+)u\b", c_header(fabric), re.MULTILINE)}
    for prefix, enumeration in (("REG", Reg), ("CONTROL", Control), ("STATUS", Status), ("FAULT", Fault),
                                ("UNIT", Unit), ("CAUSE", Cause), ("SPACE", Space)):
        assert {name: found[f"{prefix}_{name}"] for name in enumeration.__members__} == {
            name: int(value) for name, value in enumeration.__members__.items()}
    assert found["MAGIC_WORD"] == MAGIC_WORD and found["ROWS"] == 3 and found["TIES_TO_EVEN"] == 1
    assert found["FINGERPRINT_HI"] << 32 | found["FINGERPRINT_LO"] == fabric.fingerprint
    for kind in INSTRUCTIONS:
        for item in kind.layout():
            name = f"{kind.__name__}_{item.name}".upper()
            assert (found[f"{name}_OFFSET"], found[f"{name}_WIDTH"]) == (item.offset, item.width)


def test_cpp_takes_it_too(tmp_path):
    compiled(tmp_path, c_header(FABRICS[0]), "", command=("g++", "-std=c++11"), suffix="cpp")


def test_the_name_of_a_fabric_cannot_end_its_comment(tmp_path):
    compiled(tmp_path, c_header(Fabric(name="*/ #error \" /* x", rows=2, cols=2)), "")
