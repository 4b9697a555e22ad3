"""Weights that the network computes: how they are packed, when they come, what a Program keeps of them."""
from dataclasses import replace

import numpy as np
import pytest
from celosia.host.driver.computed import packed
from celosia.host.emit.emit import emit
from celosia.host.emit.program import FabricRun, Program
from celosia.host.lower.lower import lower
from celosia.host.lower.plan import Computed
from celosia.host.schedule.constants import Store
from celosia.host.schedule.residency import plan_residency
from celosia.host.schedule.schedule import schedule
from celosia.host.schedule.weights import column_tiles
from celosia.rtl.contract.errors import ProgramError
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import Space
from support.lowering import Builder
from support.networks import Network
from support.products import attention, check_graph, heads, linear, product, product_of

import celosia

SIZES = [(1, 1), (3, 5), (4, 4), (8, 16), (16, 16), (32, 7)]


def runs_of(program):
    return [step for step in program.steps if isinstance(step, FabricRun)]


@pytest.mark.parametrize("rows,cols", SIZES)
@pytest.mark.parametrize("kernel,mode,channels", [
    ((1, 1), "dense", 9), ((3, 3), "dense", 7), ((2, 1), "dense", 20), ((3, 3), "depthwise", 6),
    ((3, 5), "depthwise", 12), ((1, 1), "window", 6)], ids=str)
def test_gathered_weights_lie_as_constant_ones_do(rows, cols, kernel, mode, channels):
    """Words and biases, for shuffled places and some weights of none."""
    rng = np.random.default_rng(rows + cols)
    fabric, zero = Fabric(rows=rows, cols=cols), 11
    network = Network(rng, (6, 7, 6))
    multiplier = channels // 6 if mode == "depthwise" else 1
    network.conv(0, channels, kernel, mode=mode, multiplier=multiplier, pad_value=-5)
    (layer,) = network.layers
    value = rng.integers(-128, 128, 2 * layer.weights.size).astype(np.int8)
    index = rng.permutation(value.size)[:layer.weights.size].reshape(layer.weights.shape).astype(np.int32)
    index[rng.random(index.shape) < 0.1] = -1
    weights = np.where(index < 0, 0, value[index].astype(np.int16) - np.int16(zero))
    computed = replace(layer, weights=np.zeros_like(layer.weights), weight_zero=zero,
                       computed=Computed(0, index))
    constant = replace(computed, computed=None).with_weights(weights)
    pairs = zip(column_tiles(computed, 50, fabric), column_tiles(constant, 50, fabric), strict=True)
    for tile, want in pairs:
        assert (tile.walk, tile.fir, tile.tiles) == (want.walk, want.fir, want.tiles)
        taken = np.where(tile.places > 0, value[tile.places - 1], zero)
        np.testing.assert_array_equal(taken, want.words[:, :want.count])
        assert (tile.words == zero).all() and want.places is None
        sums = taken.sum(axis=0, dtype=np.int64) - zero * len(taken)
        biases = tile.records[:, :4].copy().view("<i4")[:, 0] + 5 * sums
        np.testing.assert_array_equal(biases, want.records[:, :4].copy().view("<i4")[:, 0])
        np.testing.assert_array_equal(tile.records[:, 4:], want.records[:, 4:])


@pytest.mark.parametrize("rows,cols", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_random_products_equal_the_kernel(rows, cols, seed):
    rng = np.random.default_rng(100 * rows + seed)
    batch, height, depth, columns = (int(n) for n in rng.integers(1, [5, 9, 70, 30]))
    shared, adj_y = rng.integers(0, 2, 2)
    b = (columns, depth) if adj_y else (depth, columns)
    graph = product_of((batch, height, depth), (1 if shared else batch, *b), (batch, height, columns),
                       adj_y=bool(adj_y), seed=seed, zeros=rng.choice([-128, 0, 127, -17], 2).tolist())
    fabric = Fabric(rows=rows, cols=cols, am_words=-(-12000 // rows), acc_depth=16, fifo_depth=8)
    program = check_graph(graph, fabric)
    assert {layer.where for layer in program.layers} == {"fabric"}


@pytest.mark.parametrize("constant", [0, 1])
def test_one_operand_may_be_constant(constant):
    graph = product_of((2, 4, 9), (2, 9, 3), (2, 4, 3), constant=constant)
    program = check_graph(graph, Fabric(rows=3, cols=5))
    (run,) = runs_of(program)
    assert bool(run.weights) == (constant == 0) and len(run.inputs) == 1


@pytest.mark.parametrize("rows,cols", SIZES)
def test_attention_is_three_runs_and_one_turn_of_the_host(rows, cols):
    program = check_graph(attention(9, 12), Fabric(rows=rows, cols=cols))
    assert [isinstance(step, FabricRun) for step in program.steps] == [True, True, False, True]
    assert [len(step.outputs) for step in runs_of(program)] == [3, 1, 1]


@pytest.mark.parametrize("rows,cols", SIZES[1:4])
def test_several_heads_need_the_host_for_softmax_only(rows, cols):
    program = check_graph(heads(6, 3, 4), Fabric(rows=rows, cols=cols))
    assert [isinstance(step, FabricRun) for step in program.steps] == [True, True, False, True]


def test_attention_where_nothing_fits():
    """The ring takes a part of a tile at a time, images pass in strips."""
    fabric = Fabric(rows=4, cols=4, am_words=30, wm_words=11, pm_words=10, acc_depth=8, fifo_depth=4)
    program = check_graph(attention(9, 20), fabric)
    assert not program.memory["weights_resident"] and not program.memory["parameters_resident"]


def test_constant_weights_stay_and_computed_ones_come_each_time():
    graph = attention(9, 12)
    fabric = Fabric(rows=4, cols=4)
    scheduled = schedule(lower(graph, fabric), fabric)
    store = scheduled.constants.weights
    assert [block.changing for block in store.blocks] == [
        place is None for place in store.residency.place]
    memory = emit(scheduled).memory
    assert memory["weight_words_computed"] == (3 + 3) * 3 * 4  # 9 columns of 12 taps, 12 of 9, in 4 x 4
    assert memory["weight_words"] == memory["weight_words_to_stay_on_chip"] == 4 * 9 * 4
    assert not memory["weights_resident"]


def test_equal_zeros_in_dram_are_not_one_block():
    """Two products of the same shape, and two columns of tiles of each."""
    builder = Builder((3, 8), (8, 7), (8, 7))
    a, b, c = builder.inputs
    graph = builder.graph(product(builder, a, b, (3, 7)), product(builder, a, c, (3, 7)))
    program = check_graph(graph, Fabric(rows=4, cols=4))
    (run,) = runs_of(program)
    assert len({each.address for each in run.weights}) == len(run.weights) == 4
    assert len(program.maps) == 2  # the second matrix lies as the first one does


def test_what_changes_shares_no_block_with_what_does_not():
    for first, second in ((False, True), (True, False), (True, True)):
        store = Store(Space.WM, 8)
        numbers = [store.add(np.zeros((4, 8), np.int8), changing=each) for each in (first, second)]
        assert numbers == [0, 1]


def test_bytes_of_uint8_are_packed_as_the_fabric_takes_them():
    graph = product_of((4, 6), (6, 7), (4, 7), dtype="uint8", zeros=(120, 140))
    fabric = Fabric(rows=3, cols=5)
    check_graph(graph, fabric, program=emit(schedule(lower(graph, fabric), fabric)))


def test_records_change_only_where_the_input_has_a_zero_point():
    for zero, changing in ((0, False), (-128, True)):
        graph = product_of((4, 6), (6, 3), (4, 3), zeros=(zero, 9))
        fabric = Fabric(rows=4, cols=4)
        program = check_graph(graph, fabric)
        assert program.memory["parameters_resident"] != changing
        (weights,) = runs_of(program)[0].weights
        value = np.random.default_rng(0).integers(-128, 128, (6, 3)).astype(np.int8)
        assert len(list(packed(program, weights, value))) == 1 + changing


def test_a_product_of_one_tensor_with_itself():
    builder = Builder((2, 5, 6))
    x = builder.inputs[0]
    y = linear(builder, x, 6)
    graph = builder.graph(product(builder, y, y, (2, 5, 5), adj_y=True))
    program = check_graph(graph, Fabric(rows=3, cols=5))
    assert len(runs_of(program)) == 2


@pytest.mark.parametrize("sizes,changing,capacity,ring,stay", [
    ([10, 20, 30], {1}, 60, 20, 2),  # all fits: the ring is what is left
    ([10, 20, 30], {1}, 100, 60, 2),
    ([10, 20, 30], {1}, 59, 24, 1),
    ([10, 30], set(), 40, 0, 2),
    ([10, 30, 1], {2}, 41, 12, 1),  # beside the least ring not all fits
    ([50], {0}, 40, 20, 0),
])
def test_a_ring_is_there_for_what_changes(sizes, changing, capacity, ring, stay):
    found = plan_residency(sizes, capacity, ring_least=12, ring_wanted=24, gain=[(1, -s) for s in sizes],
                           changing=frozenset(changing))
    assert capacity - found.ring_start >= ring
    assert sum(place is not None for place in found.place) == stay
    assert all(found.place[i] is None for i in changing)
    assert found.wanted == sum(size for i, size in enumerate(sizes) if i not in changing)


def test_a_program_keeps_maps_in_its_file(tmp_path):
    graph, fabric = attention(5, 9), Fabric(rows=3, cols=5)
    program = celosia.compile(graph, fabric=fabric)
    program.save(tmp_path / "p.celosia")
    again = Program.load(tmp_path / "p.celosia")
    assert again.steps == program.steps and len(again.maps) == len(program.maps) > 0
    for one, other in zip(program.maps, again.maps, strict=True):
        np.testing.assert_array_equal(one, other)
    check_graph(graph, fabric, program=again)


@pytest.mark.parametrize("change", [
    {"map": 9}, {"address": 1 << 30}, {"records": 1 << 30}, {"first": 45}, {"tensor": 99}], ids=str)
def test_weights_that_reach_beyond_what_there_is_are_refused(change, tmp_path):
    program = celosia.compile(attention(5, 9), fabric=Fabric(rows=3, cols=5))
    step = runs_of(program)[1]
    wrong = replace(step, weights=(replace(step.weights[0], **change), *step.weights[1:]))
    steps = tuple(wrong if each is step else each for each in program.steps)
    replace(program, steps=steps).save(tmp_path / "p.celosia")
    with pytest.raises(ProgramError):
        Program.load(tmp_path / "p.celosia")


def test_blobs_are_found_by_address():
    program = celosia.compile(attention(5, 9), fabric=Fabric(rows=3, cols=5))
    address, blob = program.blobs[0]
    np.testing.assert_array_equal(program.constants(address + 3, 5), blob[3:8])
    with pytest.raises(ProgramError, match="has no 8 bytes"):
        program.constants(address + len(blob) - 7, 8)
