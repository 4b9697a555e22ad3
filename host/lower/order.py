"""Execution order: independent steps between dependent ones.

A layer that reads what the step just before it wrote waits for the array to drain (about rows + cols + 38
cycles). So among the steps that are ready, one that does not read the last result goes first, as long as no
more activation bytes are live at once than in the model's own order. Layers stay together, and host
operators too: each change of side ends a run of the fabric. So does a layer whose weights were computed in
the same run, since it is the host that packs them.
"""
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..graph.ir import Graph
from .plan import Alias, HostStep, Layer

Step = Layer | HostStep | Alias


def reads(graph: Graph, step: Step) -> set[int]:
    """The computed tensors and network inputs that a step needs."""
    if isinstance(step, HostStep):
        return {t for t in graph.ops[step.op].inputs if t is not None and graph.tensors[t].data is None}
    if isinstance(step, Alias):
        return {step.input}
    computed = None if step.computed is None else step.computed.tensor
    return {t for t in (step.input, step.other, computed) if t is not None}


def writes(graph: Graph, step: Step) -> tuple[int, ...]:
    return graph.ops[step.op].outputs if isinstance(step, HostStep) else (step.output,)


def waits_for_host(step: Step, made: set[int]) -> bool:
    """Whether a layer takes its weights from what the fabric makes in the same run."""
    return isinstance(step, Layer) and step.computed is not None and step.computed.tensor in made


def made_in_run(graph: Graph, done: Sequence[Step]) -> set[int]:
    """What the fabric has made since the host had its last turn, under all its names."""
    made: set[int] = set()
    for step in done:
        if isinstance(step, HostStep) or waits_for_host(step, made):
            made.clear()
        if not isinstance(step, HostStep):
            made.update(writes(graph, step))
    return made


def order_steps(graph: Graph, steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps, given in model order (a layer with an add at its own place), in execution order."""
    model_order = _arrange(graph, steps, limit=None)
    limit = peak(graph, model_order)
    spread = _arrange(graph, model_order, limit=limit)
    return tuple(spread if peak(graph, spread) <= limit else model_order)


def peak(graph: Graph, steps: Sequence[Step]) -> int:
    """Most bytes of computed tensors and inputs that are live at once."""
    memory = _Memory(graph, steps)
    return max((memory.take(step) for step in steps), default=0)


class _Memory:
    """The tensors that are live, while steps are carried out in any order."""

    def __init__(self, graph: Graph, steps: Sequence[Step]):
        self.graph = graph
        self.readers: dict[int, int] = {t: 1 for t in graph.outputs}  # an output is read after the end
        for step in steps:
            for t in reads(graph, step):
                self.readers[t] = self.readers.get(t, 0) + 1
        self.live = {t for t in graph.inputs if self.readers.get(t)}

    def during(self, step: Step) -> int:
        """Bytes live while a step is carried out."""
        tensors = (self.graph.tensors[t] for t in self.live | set(writes(self.graph, step)))
        return sum(tensor.size * np.dtype(tensor.dtype).itemsize for tensor in tensors)

    def take(self, step: Step) -> int:
        """Carry out a step; the bytes that were live meanwhile."""
        bytes_live = self.during(step)
        for t in reads(self.graph, step):
            self.readers[t] -= 1
        self.live = {t for t in self.live | set(writes(self.graph, step)) if self.readers.get(t)}
        return bytes_live


def _arrange(graph: Graph, steps: Sequence[Step], limit: int | None) -> list[Step]:
    """A legal order: the first ready step each time, or with a limit the best ready one."""
    pending, done = list(steps), list[Step]()
    memory = _Memory(graph, steps)
    missing = Counter(t for step in steps for t in writes(graph, step))  # steps yet to write each tensor
    while pending:
        ready = _ready(graph, pending, set(missing))
        assert ready, "steps that wait for each other"
        chosen = ready[0] if limit is None else _best(graph, ready, done, memory, limit)
        pending.remove(chosen)
        done.append(chosen)
        memory.take(chosen)
        missing -= Counter(writes(graph, chosen))
    return done


def _ready(graph: Graph, pending: Sequence[Step], missing: set[int]) -> list[Step]:
    """The steps whose inputs are complete. Those that write parts of one tensor stay in order, since the
    first may fill what the others leave out."""
    ready: list[Step] = []
    waiting: set[int] = set()
    for step in pending:
        if not reads(graph, step) & missing and not waiting.intersection(writes(graph, step)):
            ready.append(step)
        waiting.update(writes(graph, step))
    return ready


def _best(graph: Graph, ready: list[Step], done: list[Step], memory: _Memory, limit: int) -> Step:
    for step in ready:
        if isinstance(step, Alias):  # costs nothing and may release a tensor
            return step
    working = [step for step in done if not isinstance(step, Alias)]
    if not working:
        return ready[0]
    last = working[-1]
    made = made_in_run(graph, done)
    going_on = [step for step in ready if not waits_for_host(step, made)] or ready
    same_side = [step for step in going_on if type(step) is type(last)] or going_on
    fitting = [step for step in same_side if memory.during(step) <= limit] or ready
    apart = [step for step in fitting if not reads(graph, step) & set(writes(graph, last))]
    return (apart or fitting)[0]
