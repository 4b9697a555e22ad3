"""Random graphs of everything the fabric can do: what rides on what, and in which order, changes no value."""
import pytest
from celosia.host.graph.passes import run_passes
from celosia.host.graph.verify import verify
from celosia.host.lower.order import order_steps, peak, reads
from celosia.host.lower.plan import Layer
from support.lowering import check, layers_of
from support.random_graphs import random_graph


@pytest.mark.parametrize("seed", range(24))
def test_random_graphs_keep_every_value(seed):
    graph = random_graph(seed)
    verify(graph)
    check(graph)
    plan = check(run_passes(graph))
    written = {step.output for step in layers_of(plan)}
    for place, step in enumerate(plan.steps):  # no step reads what is not complete
        later = {s.output for s in plan.steps[place:] if isinstance(s, Layer)}
        assert not reads(plan.graph, step) & later & written
    again = order_steps(plan.graph, plan.steps)
    assert peak(plan.graph, again) <= peak(plan.graph, plan.steps)
