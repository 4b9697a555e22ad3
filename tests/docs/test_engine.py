# amaranth: UnusedElaboratable=no
"""The numbers of docs/engine.md against the code that they describe."""
import re
from pathlib import Path

import numpy as np
import pytest
from celosia.host.schedule.layout import layout_for, walk_of
from celosia.rtl.accumulate.accumulators import Accumulators
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import Weights
from celosia.rtl.contract.numerics import PRODUCT_DROP
from celosia.rtl.feeder.feeder import Feeder
from celosia.rtl.memory.activation import ActivationMemory
from celosia.rtl.postprocess.post import PostProcess
from celosia.rtl.systolic.array import SystolicArray
from support.networks import Network

TEXT = (Path(__file__).parents[2] / "docs" / "engine.md").read_text()
ROWS, SIZE, CHANNELS = 4, 4, 2


@pytest.fixture(scope="module")
def example():
    """Layout of the example's image, and the offsets of its tiles."""
    network = Network(np.random.default_rng(0), (SIZE, SIZE, CHANNELS))
    network.conv(0, 4)
    layer = network.layers[0]
    layout = layout_for(layer.in_shape, [layer], ROWS)
    walk = walk_of(layer, layout.pitch, ROWS, CHANNELS)
    tiles = Weights(tiles=walk.tiles(ROWS), run=walk.run, runs_x=walk.runs_x, jump_x=walk.jump_x,
                    jump_y=walk.jump_y, ragged=walk.ragged).walk(ROWS)
    return layout, list(tiles)


def picture(layout):
    """The byte at each address as the page writes it."""
    names = ["·"] * layout.size
    for y in range(SIZE):
        for x in range(SIZE):
            for c in range(CHANNELS):
                names[layout.start + y * layout.pitch + x * CHANNELS + c] = f"{y}{x}{'ab'[c]}"
    return names


def test_the_offsets_of_the_example(example):
    layout, tiles = example
    assert (layout.pitch, layout.size) == (10, 62) and "first words of the 62 bytes" in TEXT
    written = [[int(number) for number in line.split()[:ROWS]]
               for line in re.findall(r"^  tile \d+ +(.*)$", TEXT, re.MULTILINE)]
    assert written == tiles


def test_the_picture_of_the_memory(example):
    names = picture(example[0])
    lines = re.findall(r"^  word (\d) +(.*)$", TEXT, re.MULTILINE)
    assert [int(word) for word, _ in lines] == list(range(9))
    assert [line.split()[:ROWS] for _, line in lines] == [names[ROWS * w:ROWS * (w + 1)] for w in range(9)]


def test_the_two_pixels_that_are_read(example):
    layout, tiles = example
    for x, places, read in ((1, [16, 17, 22, 23], "02a 02b 10a 10b"),
                            (2, [18, 19, 24, 25], "03a 03b 11a 11b")):
        base = layout.start + (x - 1) * CHANNELS  # output (1, x): image pixel (0, x - 1)
        assert [base + offset for offset in tiles[1]] == places
        assert ", ".join(map(str, places[:3])) in TEXT
        assert " ".join(picture(layout)[place] for place in places) == read
    assert "`02a 02b 10a 10b`" in TEXT


@pytest.mark.parametrize("rows, cols", [(16, 16), (3, 5)])
def test_the_latencies_of_the_table(rows, cols):
    fabric = Fabric(rows=rows, cols=cols)
    cycles = {
        "Feeder.LATENCY_ACT": Feeder.LATENCY_ACT,
        "SystolicArray.LATENCY_PSUM": SystolicArray(fabric=fabric).LATENCY_PSUM,
        "Accumulators.LATENCY_RESULT": Accumulators(fabric=fabric).LATENCY_RESULT,
        "PostProcess.LATENCY_PLAIN": PostProcess.LATENCY_PLAIN,
        "ActivationMemory.LATENCY_WRITE": ActivationMemory.LATENCY_WRITE}
    assert cycles == {"Feeder.LATENCY_ACT": 8, "SystolicArray.LATENCY_PSUM": rows + 1,
                      "Accumulators.LATENCY_RESULT": cols + 5, "PostProcess.LATENCY_PLAIN": 15,
                      "ActivationMemory.LATENCY_WRITE": 4}
    assert PostProcess.LATENCY_ADD == 23
    assert sum(cycles.values()) == rows + cols + 33
    for name, written in (("Feeder.LATENCY_ACT", "8"), ("SystolicArray.LATENCY_PSUM", "R + 1"),
                          ("Accumulators.LATENCY_RESULT", "C + 5"), ("ActivationMemory.LATENCY_WRITE", "4")):
        assert f"| `{name}` | {written} |" in TEXT
    assert "`LATENCY_ADD`) | 15 (23) |" in TEXT and "R + C + 33: 65 cycles" in TEXT


def test_the_bits_dropped_from_the_product():
    assert f"* mult) >> {PRODUCT_DROP}) + round)" in TEXT
