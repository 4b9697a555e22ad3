"""Tokens: whatever the units' speeds, an instruction starts only when what it depends on is complete."""
import numpy as np
import pytest
from celosia.host.emit.tokens import Access, Item, Memory, Window, with_tokens
from celosia.rtl.contract.isa import TOKEN_MAX, Fill, Post, Store, Stream, Unit, Weights

KINDS = {Unit.LOAD: Fill, Unit.WEIGHTS: Weights, Unit.STREAM: Stream, Unit.POST: Post, Unit.STORE: Store}
WRITERS = (Unit.LOAD, Unit.POST)


def random_items(rng, count, windows=False):
    items = []
    for _ in range(count):
        unit = Unit(int(rng.integers(len(Unit))))
        low = int(rng.integers(0, 60))
        window = None
        if windows and rng.random() < 0.8:
            period = int(rng.choice([4, 6]))
            window = Window(period, int(rng.integers(period)), int(rng.integers(1, period)))
        access = Access(Memory.AM, low, low + int(rng.integers(1, 20)), unit in WRITERS, window)
        items.append(Item(KINDS[unit](), (access,)))
    return items


def places(access):
    """The bytes that an access touches."""
    window = access.window or Window(1, 0, 1)
    return {place for place in range(access.low, access.high)
            if (place - window.phase) % window.period < window.width}


def run(program, rng):
    """Start and end of each instruction on units of random speed, obeying tokens only.

    As in the hardware, an instruction is not complete before every counter has room for its tokens.
    """
    queues = {unit: [i for i, x in enumerate(program) if unit == x.UNIT] for unit in Unit}
    tokens = {(a, b): 0 for a in Unit for b in Unit}
    start, end, under_way = {}, {}, {}
    for time in range(100 * len(program)):
        for unit, index in list(under_way.items()):
            given = [(unit, other) for other in Unit if program[index].signal >> other & 1]
            if rng.random() < 0.3 and all(tokens[pair] < TOKEN_MAX for pair in given):
                end[index] = time
                del under_way[unit]
                for pair in given:
                    tokens[pair] += 1
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


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_conflicting_instructions_of_different_units_never_overlap(seed, windows):
    rng = np.random.default_rng(seed)
    items = random_items(rng, 60, windows)
    start, end = run(with_tokens(items), rng)
    for later, item in enumerate(items):
        for earlier, before in enumerate(items[:later]):
            a, b = before.accesses[0], item.accesses[0]
            units = before.instruction.UNIT, item.instruction.UNIT
            if places(a) & places(b) and (a.write or b.write) and units[0] != units[1] \
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


@pytest.mark.parametrize("period", [2, 3, 5, 8])
def test_windows_meet_where_they_have_a_byte_in_common(period):
    windows = [Window(period, phase, width) for phase in range(period) for width in range(1, period)]
    for a in windows:
        for b in windows:
            common = places(Access(Memory.AM, 0, period, False, a)) & places(
                Access(Memory.AM, 0, period, False, b))
            assert a.meets(b) == bool(common), (a, b)
    assert windows[0].meets(Window(period + 1, period, 1))  # of another period: nobody knows


def test_channels_beside_each_other_need_no_order():
    """Two instructions between the same first and last byte, on other channels of each pixel."""
    fill = Item(Fill(), (Access(Memory.AM, 0, 60, True, Window(6, 4, 2)),))
    store = Item(Store(), (Access(Memory.AM, 0, 60, False, Window(6, 0, 4)),))
    assert [item.signal | item.wait for item in with_tokens([fill, store])] == [0, 0]
    wider = Item(Store(), (Access(Memory.AM, 0, 60, False, Window(6, 0, 5)),))
    assert [item.wait for item in with_tokens([fill, wider])] == [0, 1 << Unit.LOAD]


@pytest.mark.parametrize("ahead", [TOKEN_MAX - 1, TOKEN_MAX, TOKEN_MAX + 1, 3 * TOKEN_MAX])
def test_a_counter_never_holds_more_than_it_can(ahead):
    """A unit may be any number of instructions ahead of one that needs each of them."""
    items = [Item(Fill(), (Access(Memory.AM, i, i + 1, True),)) for i in range(ahead)]
    for i in range(ahead):
        items.append(Item(Store(), (Access(Memory.AM, i, i + 1, False),)))
        items.append(Item(Fill(), (Access(Memory.AM, 1000 + i, 1001 + i, True),)))
    items += [Item(Store(), (Access(Memory.AM, 1000 + i, 1001 + i, False),)) for i in range(ahead)]
    program = with_tokens(items)
    held = most = 0
    for instruction in program:  # one after the other, as the emulator does
        held += bool(instruction.signal) - bool(instruction.wait)
        most = max(most, held)
    assert held == 0 and most == min(ahead, TOKEN_MAX)
    start, end = run(program, np.random.default_rng(ahead))
    writers = {item.accesses[0].low: i for i, item in enumerate(items) if item.accesses[0].write}
    for i, item in enumerate(items):
        if not item.accesses[0].write:
            assert end[writers[item.accesses[0].low]] <= start[i]
