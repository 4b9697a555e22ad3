"""Runs of the fabric with the host in between: what one leaves for another, on the emulator."""
import pytest
from celosia.host.emit.program import FabricRun
from celosia.host.graph.ir import Kind
from celosia.rtl.contract.fabric import Fabric
from support.lowering import Builder
from support.products import check_graph, linear, product, softmax

FABRIC = Fabric(rows=4, cols=4)


def reshape(builder, x, *shape):
    return builder.op(Kind.RESHAPE, "RESHAPE", (x,), shape, **builder.like(x))


def kinds(program):
    """"fabric" for a run, the operator for what the host does."""
    return ["fabric" if isinstance(step, FabricRun) else program.graph.ops[step.op].source
            for step in program.steps]


def test_an_image_lies_in_each_run_as_its_readers_there_want_it():
    """With a border for a convolution in the first, without one for a sum in the second."""
    builder = Builder((1, 6, 6, 4))
    first = builder.conv(builder.inputs[0], 4)
    graph = builder.graph(builder.add(first, softmax(builder, builder.conv(first, 4))))
    assert kinds(check_graph(graph, FABRIC)) == ["fabric", "SOFTMAX", "fabric"]


def test_parts_of_one_image_come_from_two_runs():
    builder = Builder((1, 4, 4, 4))
    x, quant = builder.inputs[0], {"scale": 0.05, "zero": 3}
    early = builder.conv(x, 4, **quant)
    late = builder.conv(softmax(builder, builder.conv(x, 4)), 4, **quant)
    both = builder.host("CONCATENATION", (early, late), (1, 4, 4, 8), kept=early, axis=3)
    program = check_graph(builder.graph(both), FABRIC)
    assert kinds(program) == ["fabric", "SOFTMAX", "fabric"]
    assert [layer.op for layer in program.layers].count("CONCATENATION") == 0  # no copies


def test_the_host_renames_what_a_later_run_reads():
    builder = Builder((1, 16))
    x = builder.inputs[0]
    renamed = reshape(builder, linear(builder, x, 16), 4, 4)
    other = reshape(builder, softmax(builder, linear(builder, x, 16)), 4, 4)
    program = check_graph(builder.graph(builder.add(linear(builder, renamed, 4), other)), FABRIC)
    assert kinds(program) == ["fabric", "RESHAPE", "SOFTMAX", "RESHAPE", "fabric"]


@pytest.mark.parametrize("same", [False, True])
def test_operands_of_a_product_may_be_renamed(same):
    """As two tensors, or as one that is both image and weights."""
    builder = Builder((1, 20))
    a, b = (linear(builder, builder.inputs[0], 20) for _ in range(2))
    if same:
        a = b = reshape(builder, a, 5, 4)
    else:
        a, b = reshape(builder, a, 5, 4), reshape(builder, b, 5, 4)
    program = check_graph(builder.graph(product(builder, a, b, (5, 5), adj_y=True)), FABRIC)
    assert kinds(program)[0] == kinds(program)[-1] == "fabric"
    assert kinds(program).count("fabric") == 2


def test_a_reshape_inside_a_run_costs_nothing():
    builder = Builder((1, 16))
    renamed = reshape(builder, linear(builder, builder.inputs[0], 16), 4, 4)
    assert kinds(check_graph(builder.graph(linear(builder, renamed, 3)), FABRIC)) == ["fabric"]


def test_a_rename_waits_for_the_end_of_the_run():
    """Until something reads its result."""
    builder = Builder((1, 16))
    x = builder.inputs[0]
    a = linear(builder, x, 16)
    renamed = reshape(builder, a, 4, 4)
    graph = builder.graph(builder.add(a, linear(builder, x, 16)), linear(builder, renamed, 3))
    assert kinds(check_graph(graph, FABRIC)).count("fabric") == 2
