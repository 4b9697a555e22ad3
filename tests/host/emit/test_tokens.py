"""Tokens: whatever the units' speeds, an instruction starts only when what it depends on is complete."""
import numpy as np
import pytest
from celosia.host.emit.tokens import Access, Item, Memory, with_tokens
from celosia.rtl.contract.isa import Fill, Post, Store, Stream, Unit, Weights

KINDS = {Unit.LOAD: Fill, Unit.WEIGHTS: Weights, Unit.STREAM: Stream, Unit.POST: Post, Unit.STORE: Store}
WRITERS = (Unit.LOAD, Unit.POST)


def random_items(rng, count):
    items = []
    for _ in range(count):
        unit = Unit(int(rng.integers(len(Unit))))
        low = int(rng.integers(0, 60))
        access = Access(Memory.AM, low, low + int(rng.integers(1, 20)), unit in WRITERS)
        items.append(Item(KINDS[unit](), (access,)))
    return items


def run(program, rng):
    """Start and end of each instruction on units of random speed, obeying tokens only."""
    queues = {unit: [i for i, x in enumerate(program) if unit == x.UNIT] for unit in Unit}
    tokens = {(a, b): 0 for a in Unit for b in Unit}
    start, end, under_way = {}, {}, {}
    for time in range(100 * len(program)):
        for unit, index in list(under_way.items()):
            if rng.random() < 0.3:
                end[index] = time
                del under_way[unit]
                for other in Unit:
                    tokens[unit, other] += program[index].signal >> other & 1
        for unit in Unit:
            if not queues[unit] or unit in under_way:
                continue
            needs = [other for other in Unit if program[queues[unit][0]].wait >> other & 1 and other != unit]
            # A Post takes the results of the Streams before it, and their reads are done by then.
            fed = unit != Unit.POST or all(i in end for i, x in enumerate(program[:queues[unit][0]])
                                           if x.UNIT == Unit.STREAM)
            if fed and all(tokens[other, unit] for other in needs):
                for other in needs:
                    tokens[other, unit] -= 1
                under_way[unit] = queues[unit].pop(0)
                start[under_way[unit]] = time
        if len(end) == len(program):
            assert not any(tokens.values())
            return start, end
    raise AssertionError("the program never ends")


@pytest.mark.parametrize("seed", range(8))
def test_conflicting_instructions_of_different_units_never_overlap(seed):
    rng = np.random.default_rng(seed)
    items = random_items(rng, 60)
    start, end = run(with_tokens(items), rng)
    for later, item in enumerate(items):
        for earlier, before in enumerate(items[:later]):
            a, b = before.accesses[0], item.accesses[0]
            units = before.instruction.UNIT, item.instruction.UNIT
            if a.low < b.high and b.low < a.high and (a.write or b.write) and units[0] != units[1] \
                    and units != (Unit.STREAM, Unit.POST):
                assert end[earlier] <= start[later], (earlier, later)


def test_a_dependence_that_follows_from_another_costs_no_token():
    touch = (Access(Memory.AM, 0, 8, True),)
    fill, post, store = with_tokens([Item(Fill(), touch), Item(Post(), touch),
                                     Item(Store(), (Access(Memory.AM, 0, 8, False),))])
    assert (fill.signal, post.wait, post.signal, store.wait) == (
        1 << Unit.POST, 1 << Unit.LOAD, 1 << Unit.STORE, 1 << Unit.POST)


def test_a_post_that_reads_what_a_post_wrote_waits_for_its_own_unit():
    first, second = with_tokens([Item(Post(), (Access(Memory.AM, 0, 8, True),)),
                                 Item(Post(), (Access(Memory.AM, 4, 6, False),))])
    assert first.wait == 0 and second.wait == 1 << Unit.POST
