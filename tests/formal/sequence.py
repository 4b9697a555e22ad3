# amaranth: UnusedElaboratable=no
"""The sequencer: tokens are counted right, instructions are issued with theirs, and no program gets stuck."""
from amaranth import Array, Cat, Const, Mux, Signal
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import TOKEN_MAX, Unit
from celosia.rtl.sequencer.issue import HEADER, IN_FLIGHT, Issue
from celosia.rtl.sequencer.tokens import Tokens
from harness import Mutant, Proof
from rules import Bench

UNITS = len(Unit)
SMALL = Fabric(rows=1, cols=1, bus_bytes=16, queue_depth=1, profile_layers=0, line_depth=0, tables=0)


def tokens(only):
    """One counter, any one, against a model; the issue stages keep to o_some and o_room, as Issue does."""
    bench = Bench(only)
    m = bench.m
    m.submodules.dut = dut = Tokens()
    for u in Unit:
        bench.free(dut.i_give[u], dut.i_take[u])
        bench.assume((dut.i_give[u] & ~dut.o_room[u]) == 0)
        bench.assume((dut.i_take[u] & ~dut.o_some[u]) == 0)
    gives, takes, some, room = (
        Cat(masks[a][b] for a in Unit for b in Unit if a != b)
        for masks, swap in ((dut.i_give, 0), (dut.i_take, 1), (dut.o_some, 1), (dut.o_room, 0)))
    pairs = [(u, v) for u in Unit for v in Unit if u != v]
    models = [bench.count(TOKEN_MAX, dut.i_give[u][v], dut.i_take[v][u]) for u, v in pairs]
    bench.rule("never_count_below_zero_or_beyond_the_limit",
               Cat(model <= TOKEN_MAX for model in models).all())
    bench.rule("say_some_when_there_is_one", Cat(
        dut.o_some[v][u] == (model != 0) for (u, v), model in zip(pairs, models, strict=True)).all())
    bench.rule("say_room_when_one_more_fits", Cat(
        dut.o_room[u][v] == (model != TOKEN_MAX) for (u, v), model in zip(pairs, models, strict=True)).all())
    bench.rule("a_unit_never_waits_for_itself", Cat(
        dut.o_some[u][u] & dut.o_room[u][u] for u in Unit).all())
    return bench


def issue(only):
    """The stage of one unit: it takes and gives what its instructions say, in order."""
    bench, unit = Bench(only), Unit.STREAM
    m = bench.m
    m.submodules.dut = dut = Issue(fabric=SMALL.but(queue_depth=2), unit=unit)
    bench.free(dut.queue.valid, dut.i_stop, dut.i_some, dut.i_room, dut.i_account, dut.port.state,
               dut.port.instruction.ready, dut.port.done)
    # Of an instruction only the two masks count here: the others are zeros, for the prover's sake.
    wait, signal = bench.any(UNITS), bench.any(UNITS)
    m.d.comb += [dut.queue.payload[HEADER["wait"]].eq(wait), dut.queue.payload[HEADER["signal"]].eq(signal)]
    accepted, put = dut.o_accept, dut.queue.valid & dut.queue.ready
    undone = bench.count(IN_FLIGHT, accepted, dut.port.done)
    bench.assume(~dut.port.done | (undone != 0))
    offered = dut.port.instruction.valid
    payload = dut.port.instruction.payload
    others = (1 << UNITS) - 1 - (1 << unit)
    begins = offered & ~bench.past(offered & ~dut.port.instruction.ready)
    bench.steady("keep_the_instruction_on_offer", offered, dut.port.instruction.ready, payload)
    bench.rule("take_only_tokens_that_are_there", (dut.o_take & ~dut.i_some) == 0)
    bench.rule("give_only_where_there_is_room", (dut.o_give & ~dut.i_room) == 0)
    bench.rule("offer_what_has_taken_its_tokens",
               ~begins | (bench.past(dut.o_take) == (payload[HEADER["wait"]] & others)))
    bench.rule("take_no_token_without_an_offer", (bench.past(dut.o_take) == 0) | begins)
    bench.rule("begin_nothing_after_a_stop", ~(begins & bench.past(dut.i_stop)))
    retiring = bench.count(IN_FLIGHT, begins, dut.o_retired)
    bench.rule("have_no_more_in_flight_than_allowed", retiring <= IN_FLIGHT)
    bench.rule("retire_only_what_is_done", ~dut.o_retired | (
        dut.port.done | (bench.count(IN_FLIGHT, dut.port.done, dut.o_retired) != 0)))
    level, turn, given = bench.follow(put=begins, item=payload[HEADER["signal"]] & others,
                                      take=dut.o_retired, capacity=IN_FLIGHT)
    bench.rule("give_the_tokens_of_the_instruction", ~(turn & dut.o_retired) | (dut.o_give == given))
    bench.rule("give_no_token_otherwise", dut.o_retired | (dut.o_give == 0))
    bench.rule("are_idle_when_all_is_done", ~dut.o_idle | (
        bench.count(2 * IN_FLIGHT, put, dut.o_retired) == 0))
    return bench


def program(only, count=3):
    """Every program of so many instructions whose tokens are right in program order comes to its end.

    Three of the issue stages, tokens and dispatch in program order, as Sequencer joins them. Units, waits,
    signals and which of the units are slow are symbolic, so that one run of PROGRAM_CYCLES is all programs.
    Units differ by their number only: instruction 0 is unit 0's, each later one a unit's seen before or the
    next one's.
    """
    bench = Bench(only)
    m = bench.m
    m.submodules.tokens = tokens = Tokens()
    # The program, and that its tokens are right: each is given before it is taken, in program order.
    held = {(u, v): Signal(count.bit_length(), name=f"none_{u}_{v}") for u in Unit for v in Unit if u != v}
    unit_of, masks, seen = [], [], Const(0)
    for n in range(count):
        unit, wait, signal = bench.constant(range(UNITS)), bench.constant(UNITS), bench.constant(UNITS)
        bench.assume((wait >> USED | signal >> USED) == 0)
        bench.assume((unit <= seen) & (unit < USED))
        seen = Mux(unit == seen, seen + 1, seen)
        later = {}
        for (u, v), before in held.items():
            taken, given = (unit == v) & wait[u], (unit == u) & signal[v]
            bench.assume(~taken | (before != 0))
            later[u, v] = Signal(count.bit_length(), name=f"tokens_{n}_{u}_{v}")
            m.d.comb += later[u, v].eq(before - taken + given)
        held = later
        unit_of.append(unit)
        masks.append(Cat(wait, signal))

    place = Signal(range(count + 1))
    more = place != count
    now = Array(unit_of)[place]
    wait, signal = (Array([mask[low:low + UNITS] for mask in masks])[place] for low in (0, UNITS))
    retired = []
    for unit in list(Unit)[:USED]:
        m.submodules[f"issue_{unit.name.lower()}"] = stage = Issue(fabric=SMALL, unit=unit)
        mine = more & (now == unit)
        m.d.comb += [
            stage.queue.valid.eq(mine), stage.queue.payload[HEADER["wait"]].eq(wait),
            stage.queue.payload[HEADER["signal"]].eq(signal),
            tokens.i_take[unit].eq(stage.o_take), stage.i_some.eq(tokens.o_some[unit]),
            tokens.i_give[unit].eq(stage.o_give), stage.i_room.eq(tokens.o_room[unit])]
        with m.If(mine & stage.queue.ready):
            m.d.sync += place.eq(place + 1)
        accepted = stage.port.instruction.valid
        slow = bench.constant(1)
        m.d.comb += [
            stage.port.instruction.ready.eq(1),
            stage.port.done.eq(Mux(slow, bench.past(accepted, SLOW), bench.past(accepted)))]
        retired.append(stage.o_retired)
    left = Signal(range(count + 1), init=count)
    m.d.sync += left.eq(left - sum(retired))
    time = bench.waiting(PROGRAM_CYCLES, Const(1))
    bench.rule("programs_come_to_their_end", (time < PROGRAM_CYCLES) | (left == 0))
    bench.rule("no_instruction_is_issued_twice", sum(retired) <= left)
    return bench


USED = 3
"""Units that three instructions can be for."""

SLOW = 3
"""Cycles from the acceptance of an instruction to its done in a slow unit; in the others it is 1."""

PROGRAM_CYCLES = 30
"""Three instructions one after the other: dispatched, queued, issued, offered, done, and tokens given."""


TOKENS, ISSUE = (f"celosia.rtl.sequencer.{name}" for name in ("tokens", "issue"))


def _mutants(module, *changes):
    return tuple(Mutant(module=module, old=old, new=new, rule=rule) for rule, old, new in changes)


PROOFS = (
    Proof(name="tokens", claim="token counters", make=tokens, engine="pdr", mutants=_mutants(
        TOKENS,
        ("never_count_below_zero_or_beyond_the_limit", "room.eq(count != TOKEN_MAX)", "room.eq(1)"),
        ("say_some_when_there_is_one", "with m.If(give & ~take):", "with m.If(give):"),
        ("say_room_when_one_more_fits", "with m.If(take & ~give):", "with m.If(take):"),
        ("a_unit_never_waits_for_itself", "[some.eq(1), room.eq(1)]", "[some.eq(0), room.eq(1)]"),
    )),
    Proof(name="issue", claim="an issue stage, with its queue and what is in flight", make=issue,
          engine="pdr", mutants=_mutants(
              ISSUE,
              ("keep_the_instruction_on_offer", "queue.r_en.eq(self.o_accept)", "queue.r_en.eq(offered)"),
              ("take_only_tokens_that_are_there", "(wait & ~self.i_some & others)",
               "(wait & ~self.i_some & 1)"),
              ("give_only_where_there_is_room", "& ~(oldest & ~self.i_room).any()", ""),
              ("offer_what_has_taken_its_tokens", "Mux(take, wait & others, 0)", "Mux(take, wait & 1, 0)"),
              ("take_no_token_without_an_offer", "Mux(take, wait & others, 0)",
               "Mux(queue.r_rdy & ~missing.any(), wait & others, 0)"),
              ("begin_nothing_after_a_stop", "& self.i_account & ~self.i_stop)", "& self.i_account)"),
              ("have_no_more_in_flight_than_allowed", "| (in_flight == IN_FLIGHT)", ""),
              ("retire_only_what_is_done", "retire.eq((self.port.done | (completed != 0))",
               "retire.eq((in_flight != 0)"),
              ("give_the_tokens_of_the_instruction", "with m.Switch(in_flight - retire):",
               "with m.Switch(in_flight):"),
              ("give_no_token_otherwise", "Mux(retire, oldest, 0)", "oldest"),
              ("are_idle_when_all_is_done", "(queue.level == 0) & (in_flight == 0)", "queue.level == 0"),
          )),
    Proof(name="program", claim="every legal program of 3 instructions ends", engine="bmc",
          make=program, depth=PROGRAM_CYCLES + 2, mutants=_mutants(
              ISSUE,
              ("programs_come_to_their_end", "in_flight.eq(in_flight + take - retire)",
               "in_flight.eq(in_flight + take)"),
              ("no_instruction_is_issued_twice", "queue.r_en.eq(self.o_accept)",
               "queue.r_en.eq(self.o_accept & ~self.port.done)"))),
)
