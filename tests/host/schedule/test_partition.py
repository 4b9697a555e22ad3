"""One memory for everything: how it is divided, that nothing overlaps, what is said if it is too small."""
from dataclasses import replace

import numpy as np
import pytest
from celosia.host.emit.emit import emit
from celosia.host.emit.fit import fit
from celosia.host.emit.program import Program
from celosia.host.schedule.schedule import schedule
from celosia.rtl.contract.errors import CapacityError
from celosia.rtl.contract.isa import INSTRUCTION_BYTES, Instruction, Load, Space, Weights
from support.networks import Network, every_post, mixed
from support.products import check_graph, product_of
from support.shared import ROM, Board, lean

import celosia


def check(network, program):
    """Two inferences from memories full of rubbish."""
    board = Board(program)
    for _ in range(2):
        image = network.image()
        values, got = network.values(image), board.run(image)
        for tensor in program.graph.outputs:
            np.testing.assert_array_equal(got[tensor], values[tensor].reshape(got[tensor].shape))


def residual(rng, channels=8):
    """Sums whose operand nothing wants any more, and one whose operand is wanted."""
    net = Network(rng, (9, 7, channels))
    a = net.conv(0, channels, pad_value=5)
    b = net.conv(a, channels, pad_value=-7)
    c = net.conv(b, channels, other=a, pad_value=11)
    d = net.conv(c, channels, pad_value=2)
    e = net.conv(d, channels, other=c, pad_value=-3)
    f = net.conv(e, channels, (1, 1), padding=(0, 0, 0, 0), other=c)
    net.conv(f, 5, pad_value=9)
    return net


def instructions(program):
    """Of everything that runs."""
    code = dict(program.blobs)
    for address, count in (program.setup, *((step.address, step.count) for step in program.steps)):
        for i in range(count):
            yield Instruction.decode(
                code[address][i * INSTRUCTION_BYTES:][:INSTRUCTION_BYTES].tobytes(), program.fabric)


@pytest.mark.parametrize("rom", [True, False])
@pytest.mark.parametrize("rows,words,resident", [(4, 40000, True), (8, 14000, True), (16, 9000, True),
                                                 (4, 3600, False), (8, 2200, False), (16, 1400, False)])
def test_every_kind_of_layer_equals_numpy(rows, words, resident, rom):
    network = mixed(np.random.default_rng(rows))
    program = fit(network.plan(), lean(rows, words, rom=rom))
    assert program.memory["weights_resident"] == resident
    check(network, program)


@pytest.mark.parametrize("words", [20000, 1500])
def test_products_tables_and_maxima(words):
    network = every_post(np.random.default_rng(1))
    network.layers = [  # 8-bit weights have no zero point
        replace(layer, weight_zero=0, weights=np.clip(layer.weights, -128, 127)) for layer in network.layers]
    program = fit(network.plan(), lean(4, words))
    check(network, program)


def test_the_parts_are_as_reported_and_lie_apart():
    program = fit(mixed(np.random.default_rng(2)).plan(), lean(4, 3600))
    shared = program.memory["shared"]
    bounds = np.cumsum([shared[name] for name in ("activations", "weights")])
    ports = shared["bytes"] - shared["inputs_and_outputs"]
    records = range(-(-int(bounds[1]) // 20) * 20, ports - shared["parameters"] + 1)
    assert bounds[1] + shared["parameters"] <= ports
    for instruction in instructions(program):
        match instruction:
            case Load(space=Space.WM, word=word, row_bytes=size):
                assert bounds[0] <= 4 * word and 4 * word + size <= bounds[1]
            case Load(space=Space.PM, word=word, row_bytes=size):
                assert records.start <= 20 * word and 20 * word + size <= ports
            case Weights(base=base, tiles=tiles):
                assert bounds[0] <= 4 * base and 4 * (base + 4 * tiles) <= bounds[1]
    for step in program.steps:
        for home in (*step.inputs, *step.outputs):
            assert ports <= home.address
            assert home.address + home.rows * home.stride <= shared["bytes"] == program.dram_bytes
    assert all(address >= ROM for address, _ in program.blobs)
    end = max(address + len(blob) for address, blob in program.blobs) - ROM
    assert 0 <= program.rom_bytes - end < 64


def test_parts_that_overlap_by_mistake_show_on_the_emulator():
    """The weights moved into the activations, for those who load and those who use them."""
    network = residual(np.random.default_rng(3))
    program = fit(network.plan(), lean(4, 3000))
    shift = program.memory["shared"]["activations"] // 4
    blobs = []
    counts = dict([program.setup, *((step.address, step.count) for step in program.steps)])
    for address, blob in program.blobs:
        if (count := counts.get(address)) is not None:
            words = [Instruction.decode(blob[i * 32:][:32].tobytes(), program.fabric) for i in range(count)]
            words = [replace(w, base=w.base - shift) if isinstance(w, Weights)
                     else replace(w, word=w.word - shift) if isinstance(w, Load) and w.space == Space.WM
                     else w for w in words]
            blob = np.frombuffer(b"".join(w.encode(program.fabric) for w in words), np.uint8)
        blobs.append((address, blob))
    with pytest.raises(AssertionError):
        check(network, replace(program, blobs=tuple(blobs)))
    check(network, program)


@pytest.mark.parametrize("rows", [4, 8])
def test_a_sum_is_written_over_its_operand_with_a_halo_of_its_own(rows):
    network = residual(np.random.default_rng(rows))
    fabric = lean(rows, 12000)
    placed = {in_place: emit(schedule(network.plan(), fabric, adds_in_place=in_place))
              for in_place in (True, False)}
    used = {key: program.memory["segments"][0]["activation_bytes"] for key, program in placed.items()}
    assert used[True] < used[False]
    for program in placed.values():
        check(network, program)
    images = placed[True].memory["segments"][0]["images"]
    assert images["t3"] == images["t1"]  # the first sum; the second one's operand is wanted later
    assert images["t5"] != images["t3"]


def test_ordinary_fabrics_keep_sums_apart():
    network = residual(np.random.default_rng(0))
    program = emit(schedule(network.plan(), lean(4, 12000).but(shared_words=0)))
    images = program.memory["segments"][0]["images"]
    assert images["t3"] != images["t1"]


def test_images_that_must_pass_in_strips():
    network = Network(np.random.default_rng(4), (40, 16, 4))
    for _ in range(3):
        network.conv(len(network.shapes) - 1, 4)
    program = fit(network.plan(), lean(4, 2000))
    assert program.memory["segments"][0]["strips"]
    check(network, program)


def test_the_fewest_predicted_cycles_are_taken():
    network = mixed(np.random.default_rng(6))
    fabric = lean(4, 3600)
    program = fit(network.plan(), fabric)
    assert program.predicted <= emit(schedule(network.plan(), fabric, adds_in_place=True)).predicted


def test_an_input_beyond_the_memory_is_named():
    network = Network(np.random.default_rng(0), (40, 40, 4))
    network.conv(0, 4)
    with pytest.raises(CapacityError, match=r"of the fabric lean") as caught:
        fit(network.plan(), lean(4, 1000))
    assert "12800 bytes of inputs" in str(caught.value) and "4000 bytes" in str(caught.value)
    assert caught.value.ops == (0,)


def test_weights_that_the_network_computes_lie_where_they_can_be_written():
    graph = product_of((9, 12), (12, 10), (9, 10), zeros=(5, 0))
    fabric = lean(4, 20000)
    program = celosia.compile(graph, fabric=fabric)
    weights = [each for step in program.steps for each in getattr(step, "weights", ())]
    assert weights and all(each.address < 4 * 20000 for each in weights)
    check_graph(graph, fabric, program=program)


def test_program_file_round_trip(tmp_path):
    program = fit(mixed(np.random.default_rng(5)).plan(), lean(4, 3600))
    program.save(tmp_path / "p.celosia")
    again = Program.load(tmp_path / "p.celosia")
    assert (again.rom_bytes, again.dram_bytes, again.memory) == (
        program.rom_bytes, program.dram_bytes, program.memory)
