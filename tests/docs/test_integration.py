"""The commands and the code of docs/integration.md are real."""
import os
import re
import shutil
import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "integration.md").read_text()
BLOCK = re.search(r"^(?:    .+\n)+", PAGE, re.MULTILINE)[0]


def squeezed(text):
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def test_the_block_of_commands_is_found():
    assert [line.split()[0] for line in BLOCK.splitlines()] == ["celosia", "python", "gcc", "iverilog", "vvp"]


def test_the_commands_run(tmp_path):
    """All but the simulation itself, unless CELOSIA_SOAK asks for it."""
    with as_file(files("celosia") / "demo" / "digits.tflite") as model:
        shutil.copy(model, tmp_path / "model.tflite")
    shutil.copytree(ROOT / "examples" / "soc", tmp_path / "soc")
    tools = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    for line in squeezed(BLOCK):
        tool = line.split()[0]
        if tool in ("iverilog", "vvp") and shutil.which(tool) is None:
            pytest.skip("Icarus Verilog is not installed (apt install iverilog)")
        if tool == "vvp" and not os.environ.get("CELOSIA_SOAK"):
            continue
        found = subprocess.run(line, shell=True, cwd=tmp_path, env=environment, text=True,
                               capture_output=True, timeout=600)
        assert found.returncode == 0, f"{line}\n{found.stderr}"
        if tool == "vvp":
            assert "status 2, fault 0, 24512 cycles" in found.stdout


def test_the_loop_shown_is_the_drivers():
    driver = squeezed((ROOT / "examples" / "soc" / "driver.c").read_text())
    shown = squeezed(re.findall(r"```c\n(.*?)```", PAGE, re.DOTALL)[0])
    assert [line for line in shown if line not in driver] == []


def test_the_instruction_shown_compiles(tmp_path):
    from celosia.rtl.c_header import c_header
    from celosia.rtl.contract.presets import load_fabric

    code = re.findall(r"```c\n(.*?)```", PAGE, re.DOTALL)[1]
    (tmp_path / "celosia.h").write_text(c_header(load_fabric("tiny")))
    (tmp_path / "fill.c").write_text(f'#include "celosia.h"\nint fill(uint8_t *memory);\n'
                                     f"int fill(uint8_t *memory)\n{{\n{code}return 0;\n}}\n")
    subprocess.run(["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-c", "fill.c"], cwd=tmp_path,
                   check=True, timeout=60)
