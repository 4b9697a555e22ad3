"""Products of computed matrices on compiled hardware: the host packs weights between runs of the fabric."""
from celosia.host.emit.program import FabricRun
from support.products import attention, check_on, heads

import celosia


def test_attention_is_exact_and_takes_the_cycles_predicted(built):
    """Queries, keys and values; softmax on the host between two products; a layer behind."""
    graph = attention(24, 20)
    program = celosia.compile(graph, fabric=built)
    assert [isinstance(step, FabricRun) for step in program.steps] == [True, True, False, True]
    with celosia.open("sim", fabric=built, memory_bytes=1 << 20) as device:
        result = check_on(device, graph, program, runs=3)
    assert abs(result.cycles - program.predicted) < 0.05 * result.cycles
    assert program.macs_on_fabric == 4 * 24 * 20 * 20 + 2 * 24 * 24 * 20
    assert result.utilisation > 0.5


def test_several_heads_are_exact(built):
    """Transposed images are written the other way round, transposed weights packed so."""
    graph = heads(11, 2, 7)
    program = celosia.compile(graph, fabric=built)
    assert [layer.op for layer in program.layers if layer.where == "host"] == ["SOFTMAX"]
    with celosia.open("sim", fabric=built, memory_bytes=1 << 20) as device:
        result = check_on(device, graph, program, runs=3)
    assert abs(result.cycles - program.predicted) < 0.1 * result.cycles
