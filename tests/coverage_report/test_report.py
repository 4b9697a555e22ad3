"""The coverage report reads Verilator's counts as they are written."""
from coverage_report.run import block_of, gateware, points


def entry(page, what, count, line=7):
    fields = {"f": "a.v", "l": line, "n": 3, "page": page, "o": what}
    return "C '" + "".join(f"\x01{key}\x02{value}" for key, value in fields.items()) + f"' {count}\n"


def test_lines_and_toggles_are_read_and_nameless_wires_are_not():
    text = "".join(["# SystemC::Coverage-3\n", entry("v_line/dut", "block", 5),
                    entry("v_toggle/dut.pe", "o[1]:0->1", 0), entry("v_toggle/dut", "__02410[0]:0->1", 0)])
    assert list(points(text)) == [(("dut", "line", "7.3 block"), 5), (("dut.pe", "toggle", "o[1]:0->1"), 0)]


def test_blocks_are_the_fabrics_parts_or_the_bench():
    assert block_of("celosia_fabric.feeder.stream", "test_x") == "feeder"
    assert block_of("celosia_fabric", "test_x") == "fabric"
    assert block_of("dut.pe_0_0", "test_x") == "test_x"


def test_a_bit_is_covered_if_any_model_moves_it(tmp_path):
    for i, count in enumerate((0, 4)):
        module = "celosia_fabric.dma"
        (tmp_path / f"test_x{i}-dut-{i}.dat").write_text("".join([
            entry(f"v_toggle/{module}", "a:0->1", count), entry(f"v_toggle/{module}", "b:0->1", 0),
            entry(f"v_line/{module}", "block", count)]))
    counts = gateware(tmp_path)
    assert counts.rows == {"dma": [1, 2, 1, 2], "all": [1, 2, 1, 2]}
    assert counts.table().splitlines()[1].split() == ["dma", "1/2", "50.0", "%", "1/2", "50.0", "%"]
    assert counts.missing() == "dma celosia_fabric.dma: b:0->1"
