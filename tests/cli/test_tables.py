"""Tables: they fit the terminal, and names stay readable."""
import io

import pytest
from rich.console import Console

import celosia
from celosia.cli.tables import fabric_table, layer_table, program_tables, short


@pytest.mark.parametrize("name,want", [
    ("conv", "conv"), ("a/b/Conv2D;c/BiasAdd;d/Relu", "a/b/Conv2D"), ("x" * 28, "x" * 28),
    ("model_1/block_13/depthwise_conv/Conv2D", "…ck_13/depthwise_conv/Conv2D"), ("", "")])
def test_short_names(name, want):
    assert short(name) == want and len(want) <= 28


def layers(cycles):
    return [{"index": 10 + n, "name": "model/a_long_name_of_a_block/Conv2D;other", "op": "DEPTHWISE_CONV_2D",
             "where": "fabric" if n else "host",
             "reason": "" if n else "the fabric has no [brackets] operator",
             "macs": 12_345_678, "cycles": cycles * n, "predicted": 100_001, "seconds": 0.25,
             "stalls": {"instruction": cycles // 2, "weights": cycles // 3, "load": 1}} for n in range(3)]


def rendered(table, width):
    stream = io.StringIO()
    Console(file=stream, width=width).print(table)
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("cycles", [0, 1_000_000])
def test_a_layer_table_fits_and_loses_no_number(width, cycles):
    text = rendered(layer_table(layers(cycles), 16, 16, width=width), width)
    assert max(map(len, text.splitlines())) <= width
    assert "250.0 ms" in text.replace("\n", " ") and "DEPTHWISE_CONV_2D" in text and "10 " in text
    assert "[brackets]" in text
    assert ("2,000,000" in text and "instruction" in text and "load 1" not in text) == bool(cycles)


@pytest.mark.parametrize("width", [80, 140])
def test_other_tables_fit(width, digits):
    program = celosia.compile(digits, fabric="tiny")
    presets = fabric_table(list(celosia.PRESETS.values()), width=width)
    for table in (*program_tables(program, width=width), presets):
        text = rendered(table, width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
    assert all(f"{fabric.rows}x{fabric.cols} " in text for fabric in celosia.PRESETS.values())
