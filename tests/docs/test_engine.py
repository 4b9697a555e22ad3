# amaranth: UnusedElaboratable=no
"""The numbers of docs/engine.md against the code that they describe."""
import re
from pathlib import Path

import numpy as np
import pytest
from celosia.host.emit.tokens import Memory
from celosia.host.schedule.fir import fir_grids, fir_of, line_of
from celosia.host.schedule.layout import layout_for, walk_of
from celosia.host.schedule.schedule import schedule
from celosia.rtl.accumulate.accumulators import Accumulators
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import Stream, Weights
from celosia.rtl.contract.machine import Machine
from celosia.rtl.contract.numerics import PRODUCT_DROP
from celosia.rtl.feeder.feeder import Feeder
from celosia.rtl.memory.activation import ActivationMemory
from celosia.rtl.postprocess.post import PostProcess
from celosia.rtl.systolic.array import SystolicArray
from celosia.rtl.systolic.ring import copies_in
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
    post = PostProcess(fabric=fabric, read_latency=ActivationMemory.LATENCY_ACCESS,
                       write_latency=ActivationMemory.LATENCY_WRITE)
    cycles = {
        "Feeder.LATENCY_ACT": Feeder.LATENCY_ACT,
        "SystolicArray.LATENCY_PSUM": SystolicArray(fabric=fabric).LATENCY_PSUM,
        "Accumulators.LATENCY_RESULT": Accumulators(fabric=fabric).LATENCY_RESULT,
        "PostProcess.LATENCY_PLAIN": post.LATENCY_PLAIN,
        "ActivationMemory.LATENCY_WRITE": ActivationMemory.LATENCY_WRITE}
    assert cycles == {"Feeder.LATENCY_ACT": 8, "SystolicArray.LATENCY_PSUM": rows + 1,
                      "Accumulators.LATENCY_RESULT": cols + 5, "PostProcess.LATENCY_PLAIN": 20,
                      "ActivationMemory.LATENCY_WRITE": 4}
    assert post.LATENCY_ADD == 28
    assert sum(cycles.values()) == rows + cols + 38
    for name, written in (("Feeder.LATENCY_ACT", "8"), ("SystolicArray.LATENCY_PSUM", "R + 1"),
                          ("Accumulators.LATENCY_RESULT", "C + 5"), ("ActivationMemory.LATENCY_WRITE", "4")):
        assert f"| `{name}` | {written} |" in TEXT
    assert "`LATENCY_ADD`) | 20 (28) |" in TEXT and "R + C + 38: 70 cycles" in TEXT


def test_a_post_follows_the_one_before_as_closely_as_the_page_says():
    assert f"{PostProcess.LATENCY_NEXT} cycles (`PostProcess.LATENCY_NEXT`)" in TEXT


def test_the_bits_dropped_from_the_product():
    assert f"* mult) >> {PRODUCT_DROP}) + round)" in TEXT


# -- FIR mode: R = 6, a kernel of 2x3, an image 5 pixels wide and 3 high, padded left and right

FIR_FABRIC = Fabric(rows=6, cols=1)


@pytest.fixture(scope="module")
def fir_pass():
    """The Stream of the example as it is scheduled."""
    network = Network(np.random.default_rng(0), (3, 5, 2))
    network.conv(0, 2, (2, 3), mode="depthwise", padding=(0, 0, 1, 1))
    layer = network.layers[0]
    fir, layout = fir_of(layer, FIR_FABRIC), layout_for(layer.in_shape, [layer], FIR_FABRIC.rows)
    (grid,) = fir_grids(layer, fir, 0, layer.out_shape[0], FIR_FABRIC)
    assert (fir.taps, fir.groups, fir.passes) == (3, 2, 1)
    line = line_of(layer, fir, layout, grid.width)
    return Stream(x_count=grid.width, y_count=grid.height, fir=1, line=line, taps=fir.taps, groups=fir.groups,
                  stride_x=1, stride_y=1, outputs=grid.width * grid.height, x_step=1, y_step=line)


def seen_by_rows():
    """What the page's rows see: {(row, cycle): pixel}, and the cells that it marks."""
    seen, marked = {}, []
    for row, line in re.findall(r"^  row (\d) +(.*)$", TEXT, re.MULTILINE):
        for cycle, cell in enumerate(line.split()):
            if cell != ".":
                seen[int(row), cycle] = int(cell.strip("[]"))
            if "[" in cell:
                marked.append((int(row), cycle))
    return seen, marked


def test_the_lines_of_the_fir_example(fir_pass):
    lines = [[int(pixel) for pixel in re.findall(r"\d+", line)[:6]]
             for line in re.findall(r"^  line \d +(.*)$", TEXT, re.MULTILINE)]
    assert lines == np.arange(3 * fir_pass.line).reshape(3, fir_pass.line).tolist()
    assert fir_pass.pass_pixels == 19 and "take 19 cycles (`Stream.pass_pixels`)" in TEXT


def test_what_each_row_sees_in_each_cycle_of_the_fir_example(fir_pass):
    seen, marked = seen_by_rows()
    ring = fir_pass.line - fir_pass.taps
    late = [(fir_pass.groups - 1 - row // fir_pass.taps) * ring for row in range(FIR_FABRIC.rows)]
    assert seen == {(row, cycle): cycle - late[row] for row in range(FIR_FABRIC.rows) for cycle in range(11)
                    if cycle >= late[row]}
    assert all(copies_in(row, FIR_FABRIC) > late[row] // ring for row in range(FIR_FABRIC.rows))
    assert marked == [(row, fir_pass.warm_up + row) for row in range(FIR_FABRIC.rows)]


def test_the_sums_of_the_fir_example_are_those_of_the_instruction(fir_pass):
    seen, marked = seen_by_rows()
    rng = np.random.default_rng(1)
    machine = Machine(FIR_FABRIC, np.zeros(0, np.uint8))
    machine.am[:] = rng.integers(-128, 128, len(machine.am))
    weights = rng.integers(-128, 128, (FIR_FABRIC.rows, 1)).astype(np.int16)
    machine.tiles.append((weights, np.arange(FIR_FABRIC.rows)))
    fir_pass.execute(machine)
    for place in (0, 1):  # the first sum, and the one a cycle behind it
        sums = sum(int(machine.am[seen[row, cycle] + place]) * int(weights[row, 0]) for row, cycle in marked)
        assert machine.results[0][place, 0] == sums


def test_depthwise_layers_of_the_size_of_ds_cnn_take_what_the_page_says():
    network = Network(np.random.default_rng(0), (25, 5, 64))
    network.conv(0, 64, mode="depthwise")
    (segment,) = schedule(network.plan(), Fabric(fifo_depth=1024)).parts
    streams = [item.instruction for item in segment.items if isinstance(item.instruction, Stream)]
    assert len(streams) == 4 and sum(stream.pass_pixels for stream in streams) == 652 == 4 * (27 * 6 + 1)
    assert "takes 652 cycles" in " ".join(TEXT.split())


def test_the_last_two_tiles_of_a_1x1_convolution_wait_for_their_own_channels():
    network = Network(np.random.default_rng(0), (25, 5, 64))
    network.gemm(network.conv(0, 64, mode="depthwise"), 64)
    (segment,) = schedule(network.plan(), Fabric(fifo_depth=1024)).parts
    first = [item for item in segment.items if isinstance(item.instruction, Stream)
             and item.instruction.layer == 1][:3]
    assert [item.instruction.tiles for item in first] == [2, 1, 1]
    windows = [access.window for item in first for access in item.accesses if access.memory == Memory.AM]
    assert [window.width for window in windows] == [32, 16, 16]
