"""Every kind of layer, scheduled for memories of every size, on the ISA emulator against NumPy int64."""
from dataclasses import replace

import numpy as np
import pytest
from celosia.host.lower.plan import Part
from celosia.host.schedule.schedule import schedule
from celosia.rtl.contract.errors import CapacityError
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import INSTRUCTION_BYTES, Instruction, Load, Space, Stream
from support.emulated import check
from support.networks import every_post
from support.wide_networks import WideNetwork, chain, random_network, same

SIZES = [(1, 1), (3, 5), (4, 4), (8, 16), (16, 16), (32, 7)]


def fabric_of(rows, cols, *, am_bytes=1 << 16, **options):
    return Fabric(**{"rows": rows, "cols": cols, "am_words": -(-am_bytes // rows), "wm_words": 100_000,
                     "acc_depth": 64, "fifo_depth": 64, "line_depth": 32, **options})


def instructions(program, kind, tag=None):
    """Those of a kind (and layer) in the runs of a program."""
    code = {address: blob.tobytes() for address, blob in program.blobs}
    found = []
    for step in program.steps:
        blob = code[step.address]
        found += [Instruction.decode(blob[i:i + INSTRUCTION_BYTES], program.fabric)
                  for i in range(0, len(blob), INSTRUCTION_BYTES)]
    return [item for item in found if isinstance(item, kind) and tag in (None, item.layer)]


def smallest(network, outputs, fabric):
    """The fabric with the least activation memory, in steps of a tenth, that the network fits."""
    am_words = 8
    while True:
        try:
            schedule(network.plan(outputs), fabric.but(am_words=am_words))
            return fabric.but(am_words=am_words)
        except CapacityError:
            am_words += 1 + am_words // 10


@pytest.mark.parametrize("seed", range(18))
def test_random_networks_on_chip(seed):
    network, outputs = random_network(seed)
    program = check(network, fabric_of(*SIZES[seed % 6], tables=2), outputs)
    assert program.memory["segments"][0]["resident"] and program.memory["weights_resident"]


@pytest.mark.parametrize("seed", range(18))
def test_random_networks_where_as_little_fits_as_can_be(seed):
    network, outputs = random_network(seed)
    rows, cols = SIZES[seed % 6]
    fabric = fabric_of(rows, cols, wm_words=3 * rows + 5, pm_words=2 * (cols + 1), acc_depth=8, fifo_depth=7,
                       line_depth=[0, 4, 9][seed % 3], tables=1)
    program = check(network, smallest(network, outputs, fabric), outputs)
    assert not program.memory["parameters_resident"]


@pytest.mark.parametrize("kernel", [(1, 1), (1, 7), (2, 2), (3, 3), (4, 1), (5, 4), (7, 2), (7, 7)],
                         ids=lambda kernel: "{}x{}".format(*kernel))
@pytest.mark.parametrize("rows,cols", SIZES)
def test_fir_kernels(rows, cols, kernel):
    """Strides and dilations, with lines that are cut and results that do not fit the FIFO at once."""
    network = WideNetwork(np.random.default_rng(rows + cols), (8, 13, 5))
    outputs = [network.depthwise(0, kernel, stride=stride)
               for stride in ((1, 1), (2, 1), (1, 2), (2, 2), (3, 3))]
    outputs += [network.depthwise(0, kernel, dilation=dilation) for dilation in ((1, 2), (2, 3))]
    outputs += [network.depthwise(0, kernel, padding=(0, 1, 2, 0), weight_zero=99)]
    line_depth = [0, 7, 256][(rows + kernel[0]) % 3]
    fabric = fabric_of(rows, cols, line_depth=line_depth, fifo_depth=25, acc_depth=12)
    program = check(network, fabric, outputs)
    streams = instructions(program, Stream)
    assert streams and all(stream.fir for stream in streams)
    if rows >= 3 * kernel[1] and fabric.line_depth:
        together = -(-kernel[0] // -(-kernel[0] // 3))
        assert {together} == {stream.groups for stream in instructions(program, Stream, 0)}


def test_a_line_too_long_for_the_delay_is_cut():
    network = WideNetwork(np.random.default_rng(0), (5, 40, 4))
    network.depthwise(0, (3, 3))
    for depth, widths in ((256, {40}), (9, {10})):
        program = check(network, fabric_of(16, 16, line_depth=depth, fifo_depth=512))
        assert {stream.x_count for stream in instructions(program, Stream)} == widths


@pytest.mark.parametrize("rows,cols", SIZES)
@pytest.mark.parametrize("multiplier", [2, 3])
def test_depthwise_with_several_outputs_a_channel(rows, cols, multiplier):
    network = WideNetwork(np.random.default_rng(multiplier), (6, 7, 9))
    first = network.depthwise(0, (3, 2), multiplier=multiplier, stride=(2, 1))
    network.depthwise(first, (2, 2), multiplier=multiplier, weight_zero=-50)
    check(network, fabric_of(rows, cols))


@pytest.mark.parametrize("rows,cols", [(9, 5), (16, 16), (32, 7)])
def test_a_depthwise_layer_writes_its_output_over_its_input(rows, cols):
    """Twice: the halo must still be there."""
    network = WideNetwork(np.random.default_rng(cols), (7, 6, 5))
    a = network.conv(0, 12, (1, 1), padding=(0, 0, 0, 0), pad_value=7)
    b = network.depthwise(a, (3, 3), pad_value=-90)
    c = network.conv(b, 9, (1, 1), padding=(0, 0, 0, 0))
    network.depthwise(c, (3, 3), pad_value=55)
    program = check(network, fabric_of(rows, cols))
    images = program.memory["segments"][0]["images"]
    assert images.get(f"t{b}", images[f"t{a}"]) == images[f"t{a}"]
    assert program.memory["segments"][0]["activation_bytes"] < 8 * 9 * (5 + 12 + 9 + 9)


@pytest.mark.parametrize("fifo_depth", [64, 12])
def test_a_depthwise_layer_spares_an_input_that_is_wanted_again(fifo_depth):
    """By a later layer, by another pass of its own, or as the halo of what it would write."""
    network = WideNetwork(np.random.default_rng(3), (6, 7, 5))
    nothing = (0, 0, 0, 0)
    a = network.conv(0, 6, (1, 1), padding=nothing)
    b = network.depthwise(a, (3, 3))
    c = network.conv(b, 6, (1, 1), padding=nothing, other=a)
    d = network.depthwise(c, (3, 3), pad_value=-99)
    e = network.conv(d, 6, (3, 3), pad_value=50)
    f = network.depthwise(e, (6, 6))
    g = network.conv(f, 6, (1, 1), padding=nothing)
    h = network.depthwise(g, (3, 3), other=g)
    network.conv(h, 6, (1, 1), padding=nothing)
    check(network, fabric_of(16, 16, fifo_depth=fifo_depth))


@pytest.mark.parametrize("rows,cols", SIZES[1:])
def test_layers_run_strip_by_strip_alone_and_together(rows, cols):
    network = chain(np.random.default_rng(rows), unsigned=rows % 2 == 1)
    longest, spilled = set(), set()
    for am_bytes in (2300, 3500, 4600, 5200, 6400, 8200):
        fabric = fabric_of(rows, cols, am_bytes=am_bytes, fifo_depth=40, acc_depth=24)
        (segment,) = check(network, fabric).memory["segments"]
        assert all(strip["rows"] <= strip["of"] for strip in segment["strips"])
        longest.add(max((len(strip["layers"]) for strip in segment["strips"]), default=0))
        spilled.add(len(segment["spilled"]))
    assert max(longest) >= 3 and max(spilled) >= 4 and 0 in longest, (longest, spilled)


@pytest.mark.parametrize("rows,cols", SIZES)
def test_what_comes_behind_the_sums(rows, cols):
    network = every_post(np.random.default_rng(rows))
    check(network, fabric_of(rows, cols, tables=1))


@pytest.mark.parametrize("tables", [1, 2, 5])
def test_more_tables_than_the_fabric_holds(tables):
    network = WideNetwork(np.random.default_rng(1), (4, 4, 3))
    last = 0
    for _ in range(5):
        last = network.identity(last, table=True)
    network.layers.append(replace(network.layers[0], input=last, output=last + 1))  # the first one again
    network.shapes.append(network.shapes[last])
    program = check(network, fabric_of(4, 4, tables=tables))
    loads = [load for load in instructions(program, Load) if load.space == Space.TABLE]
    assert bool(loads) == (tables < 5)


@pytest.mark.parametrize("rows,cols", SIZES)
def test_parts_of_images(rows, cols):
    """Concatenation, split, pad with a fill, upsampling by strided writes, crops."""
    network = WideNetwork(np.random.default_rng(7), (6, 5, 9), unsigned=True)
    left = network.conv(0, 4, (1, 1), padding=(0, 0, 0, 0), read=(0, 4))
    right = network.identity(0, read=(3, 5))
    both = network.concat([right, left, right])
    shape, large = (12, 10, 14), None
    for y in (0, 1):
        for x in (0, 1):
            network.identity(both)
            large = network.into(shape, Part(y, x, 2, 2), image=large)
    network.identity(large)
    framed = network.into((15, 13, 14), Part(2, 1), fill=-128)
    network.depthwise(framed, (3, 3), padding=(-1, -2, -1, 0))
    program = check(network, fabric_of(rows, cols), outputs=[large, framed, len(network.shapes) - 1])
    assert program.memory["segments"][0]["resident"]


def test_same_padding_keeps_the_size():
    network = WideNetwork(np.random.default_rng(0), (5, 6, 2))
    for kernel, dilation in (((1, 1), (1, 1)), ((2, 5), (1, 1)), ((3, 2), (2, 3))):
        assert network.shapes[network.depthwise(0, kernel, dilation=dilation,
                                                padding=same(kernel, dilation))] == (5, 6, 2)
