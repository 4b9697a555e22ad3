"""The mutants themselves: that every kind is made, where it should be, and nowhere else."""
import ast
import tomllib

import pytest
from mutation import run
from mutation.operators import KINDS, mutants_of

COUNTER = '''
class Counter:
    def __init__(self, depth):
        if depth < 1:
            raise ValueError(f"depth is {depth + 1}")

    def elaborate(self, platform):
        m = Module()
        count = Signal(range(8))
        level = Signal(8, reset_less=True)
        with m.If(self.i_up & ~self.i_hold):
            m.d.sync += count.eq(count + 1)
        with m.Elif(count >= 3):
            m.d.sync += [count.eq(0), level.eq(Mux(self.i_up, self.a.as_signed(), count - level))]
        m.d.comb += self.o.eq(delay(m, count, 2, name="count"))
        return m


def exact_log2(value):
    return value.bit_length() - 1
'''


@pytest.fixture
def mutants(tmp_path):
    (tmp_path / "counter.py").write_text(COUNTER)
    return mutants_of(tmp_path, "counter.py")


@pytest.mark.parametrize("kind, old, new", [
    ("removed", "count.eq(0)", "[]"),
    ("stuck", "count + 1", "((count + 1) | 1)"),
    ("inverted", "count >= 3", "((count >= 3) == 0)"),
    ("off by one", "3", "4"),
    ("compared", "count >= 3", "(count > 3)"),
    ("swapped", "self.a.as_signed(), count - level", "count - level, self.a.as_signed()"),
    ("swapped", "count - level", "((level) - (count))"),
    ("gate", "self.i_up & ~self.i_hold", "((self.i_up) | (~self.i_hold))"),
    ("gate", "~self.i_hold", "(self.i_hold)"),
    ("arithmetic", "count + 1", "((count) - (1))"),
    ("sign", "self.a.as_signed()", "self.a"),
    ("reset", "Signal(range(8))", "Signal(range(8), init=1)"),
    ("latency", "2", "(2) + 1"),
    ("latency", "comb", "sync"),
])
def test_each_kind_of_fault_is_made(mutants, kind, old, new):
    assert [m for m in mutants if (m.kind, m.old, m.new) == (kind, old, new)]


def test_only_hardware_is_broken_and_every_mutant_is_python(mutants):
    assert {m.function for m in mutants} == {"Counter.elaborate"}
    assert not any("reset_less" in m.old for m in mutants)
    for mutant in mutants:
        ast.parse(mutant.apply(COUNTER.encode()))


def test_a_mutant_keeps_its_name_when_lines_move(mutants, tmp_path):
    (tmp_path / "counter.py").write_text("# A line more.\n" + COUNTER)
    assert [m.id for m in mutants_of(tmp_path, "counter.py")] == [m.id for m in mutants]
    assert len({m.id for m in mutants}) == len(mutants)


def test_the_gateware_has_mutants_of_every_kind_in_every_block_and_all_have_tests():
    everything = run.every_mutant()
    assert {m.kind for m in everything} == set(KINDS)
    assert {m.block for m in everything} == set(run.OWN_TESTS)
    for tests in run.OWN_TESTS.values():
        assert all((run.ROOT / test).exists() for test in tests)
    chosen = run.sample(everything, 120, seed=1)
    assert chosen == run.sample(run.every_mutant(), 120, seed=1) and len({m.id for m in chosen}) == 120
    assert {m.kind for m in chosen} == set(KINDS) and {m.block for m in chosen} == set(run.OWN_TESTS)


def test_every_explained_survivor_is_still_a_mutant():
    with run.EXPLAINED.open("rb") as file:
        entries = tomllib.load(file).get("survivor", [])
    known = {m.id for m in run.every_mutant()}
    assert not [entry["id"] for entry in entries if entry["id"] not in known or not entry["reason"]]
    assert len({entry["id"] for entry in entries}) == len(entries)


def test_the_report_counts_and_asks_for_reasons():
    def result(verdict):
        return {"block": "dma", "verdict": verdict, "what": f"a {verdict} one"}

    results = {"a": result("killed"), "b": result("survived"), "c": result("stillborn")}
    table, well = run.report(results, {})
    assert "| all | 3 | 1 | 0 | 1 | 0 | 1 | 50.0% |" in table and "NOT EXPLAINED" in table and not well
    assert run.report(results, {"b": {"reason": "reset twice", "equivalent": True}})[1]
    results |= {f"k{i}": result("killed") for i in range(60)}
    assert not run.report(results, {})[1]
    table, well = run.report(results, {"b": {"reason": "reset twice"}})
    assert "| all | 63 | 1 | 0 | 61 | 1 | 0 | 98.4% |" in table and "reset twice" in table and well
