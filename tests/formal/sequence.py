# amaranth: UnusedElaboratable=no
"""The sequencer: tokens are counted right, instructions are issued with theirs, and no program gets stuck."""
from amaranth import Array, Cat, Const, Mux, Signal
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import INSTRUCTION_BYTES, INSTRUCTIONS, TOKEN_MAX, Unit
from celosia.rtl.contract.registers import Fault
from celosia.rtl.sequencer.issue import HEADER, IN_FLIGHT, Issue
from celosia.rtl.sequencer.sequencer import Sequencer
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


def whole(only, count=3, used=3):
    """The sequencer with every program of up to ``count`` instructions, of which some may be illegal.

    Fetch, dispatch, all issue stages, tokens and run control are the real ones. DRAM and the units are
    stand-ins that answer after a while, each of them at once or late, in any combination. Of an instruction
    there are opcode, masks, and its number in both of its beats. Units differ by their number only, so that
    with ``used`` below UNITS they come in order, as in ``program``.
    """
    bench = Bench(only)
    m = bench.m
    m.submodules.dut = dut = Sequencer(fabric=SMALL)
    control, units = dut.control, [getattr(dut, unit.name.lower()) for unit in Unit]
    tag_bits = (count - 1).bit_length()

    # The program. Its tokens are given before they are taken, in program order.
    length = bench.constant(range(count + 1))
    address = bench.constant(32)
    bench.assume(length <= count)
    opcode, wait, signal = ([bench.constant(bits) for _ in range(count)] for bits in (4, UNITS, UNITS))
    belongs = [[Cat(opcode[n] == kind.OPCODE for kind in INSTRUCTIONS if kind.UNIT == unit).any()
                & (n < length) for unit in Unit] for n in range(count)]
    legal = [Cat(mine).any() | (n >= length) for n, mine in enumerate(belongs)]
    seen = Const(0)
    for n in range(count):
        if used < UNITS:
            bench.assume(Cat(belongs[n][u] & (u > seen) for u in Unit) == 0)
            seen = Mux(Cat(belongs[n][u] & (seen == u) for u in Unit).any(), seen + 1, seen)
            bench.assume((wait[n] >> used | signal[n] >> used) == 0)
        for u in Unit:
            for v in Unit:
                given = sum(belongs[k][u] & signal[k][v] for k in range(n))
                taken = sum(belongs[k][v] & wait[k][u] for k in range(n + 1))
                if u != v:
                    bench.assume(~(belongs[n][v] & wait[n][u]) | (given >= taken))
    beats = [beat for n in range(count) for beat in (
        Cat(opcode[n], wait[n], signal[n], Const(n, tag_bits)), Cat(Const(0, TAG_AT), Const(n, tag_bits)))]

    # It is started once. All rules are judged at the end, from what was seen until then: one question to
    # the solver instead of one for each cycle.
    clock = bench.waiting(WHOLE_CYCLES + 2, Const(1))
    m.d.comb += [control.start.eq(clock == 0), control.program_address.eq(address),
                 control.program_count.eq(length)]

    def rule(name, holds):
        broken = Signal(name=f"broken_{name}")
        m.d.sync += broken.eq(broken | ~holds)
        bench.rule(name, (clock != WHOLE_CYCLES) | ~broken)

    # DRAM gives a beat in every cycle, or in every other one.
    asked = dut.fetch_command.valid & dut.fetch_command.ready
    taken = dut.fetch_data.valid & dut.fetch_data.ready
    owed, place = Signal(range(2 * count + 1)), Signal(range(2 * count + 1))
    slow, even = bench.constant(1), Signal()
    m.d.sync += even.eq(~even)
    with m.If(asked):
        m.d.sync += owed.eq(2 * length)
    with m.If(taken):
        m.d.sync += [owed.eq(owed - 1), place.eq(place + 1)]
    with m.If(dut.abort):
        m.d.sync += owed.eq(0)  # the DMA drops what still comes
    m.d.comb += [
        dut.fetch_command.ready.eq(1), dut.fetch_data.valid.eq((owed != 0) & ~dut.abort & (even | ~slow)),
        dut.fetch_data.payload.eq(Array(beats)[place]), dut.quiet.eq(owed == 0)]
    rule("asks_for_the_program_once", ~dut.fetch_command.valid | (
        (dut.fetch_command.payload.address == address)
        & (dut.fetch_command.payload.bytes == INSTRUCTION_BYTES * length) & (place == 0) & (owed == 0)))

    # The units: which instructions began and which are complete, those of a unit in order.
    began, complete = Signal(count), Signal(count)
    forgotten = dut.clear | bench.kept(dut.clear, 1)
    once, tokens_there, as_it_was = [], [], []
    for u, port in zip(Unit, units, strict=True):
        payload = port.instruction.payload
        slow = bench.constant(1)
        accepted = port.instruction.valid
        m.d.comb += [port.instruction.ready.eq(1), port.done.eq(
            Mux(slow, bench.past(accepted, SLOW), bench.past(accepted)) & ~forgotten)]
        older = Const(0)
        for n in range(count):
            mine = accepted & (payload[HEADER["layer"]] == n)
            before = Cat(began[k] | ~belongs[k][u] for k in range(n)).all()
            once.append(~mine | (belongs[n][u] & ~began[n] & before))
            as_it_was.append(~mine | (
                (payload[HEADER["wait"]] == wait[n]) & (payload[HEADER["signal"]] == signal[n])
                & (payload[BEAT + TAG_AT:BEAT + TAG_AT + tag_bits] == n)))
            for v in Unit:
                if u == v:
                    finished = Cat(complete[k] | ~belongs[k][u] for k in range(n)).all()
                    tokens_there.append(~(mine & wait[n][u]) | finished)
                else:
                    given = sum(belongs[k][v] & signal[k][u] & complete[k] for k in range(count))
                    taken_before = sum(belongs[k][u] & wait[k][v] for k in range(n))
                    tokens_there.append(~(mine & wait[n][v]) | (given > taken_before))
            oldest = belongs[n][u] & began[n] & ~complete[n]
            with m.If(mine):
                m.d.sync += began[n].eq(1)
            with m.If(port.done & oldest & ~older):
                m.d.sync += complete[n].eq(1)
            older = older | oldest
    rule("each_instruction_reaches_its_unit_once_and_in_order", Cat(once).all())
    rule("each_instruction_arrives_as_it_was", Cat(as_it_was).all())
    rule("each_instruction_begins_with_its_tokens", Cat(tokens_there).all())
    good = Cat(legal)
    rule("nothing_begins_behind_an_illegal_one", Cat(
        good[:n].all() | ~began[n] for n in range(count)).all())

    rule("the_run_comes_to_its_end", (clock < WHOLE_CYCLES - 1) | ~control.busy)
    ended = clock.any() & ~control.busy
    rule("a_finished_run_has_done_everything", ~(ended & control.finished) | (
        good.all() & Cat(complete[n] | (n >= length) for n in range(count)).all()
        & (control.retired == length)))
    rule("a_run_fails_only_if_it_is_illegal", ~ended | (
        control.finished == good.all()) & (control.finished == (control.fault == Fault.NONE)))
    first = Const(0)
    for n in reversed(range(count)):
        first = Mux(legal[n], first, n)
    rule("an_illegal_instruction_is_named", ~ended | good.all() | (
        (control.fault == Fault.ILLEGAL_INSTRUCTION) & (control.fault_address == first)))
    return bench


BEAT = 8 * SMALL.bus_bytes
TAG_AT = 2
"""Where in its second beat an instruction of ``whole`` has its number a second time."""

WHOLE_CYCLES = 44
"""Three instructions one after the other, from START to the last cycle of BUSY, everything slow."""

USED = 3
"""Units that three instructions can be for."""

SLOW = 3
"""Cycles from the acceptance of an instruction to its done in a slow unit; in the others it is 1."""

PROGRAM_CYCLES = 30
"""Three instructions one after the other: dispatched, queued, issued, offered, done, and tokens given."""


TOKENS, ISSUE, FETCH, SEQUENCER = (
    f"celosia.rtl.sequencer.{name}" for name in ("tokens", "issue", "fetch", "sequencer"))


def _mutants(module, *changes):
    return tuple(Mutant(module=module, old=old, new=new, rule=rule) for rule, old, new in changes)


PROOFS = (
    Proof(name="tokens", block="sequencer", claim="token counters", make=tokens, engine="pdr",
          mutants=_mutants(
        TOKENS,
        ("never_count_below_zero_or_beyond_the_limit", "room.eq(room_now)", "room.eq(1)"),
        ("say_some_when_there_is_one", "with m.If(give & ~take):", "with m.If(give):"),
        ("say_room_when_one_more_fits", "with m.If(take & ~give):", "with m.If(take):"),
        ("a_unit_never_waits_for_itself", "[some.eq(1), room.eq(1)]", "[some.eq(0), room.eq(1)]"),
    )),
    Proof(name="issue", block="sequencer", claim="an issue stage, with its queue and what is in flight",
          make=issue,
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
              ("have_no_more_in_flight_than_allowed", "| in_flight[IN_FLIGHT]", ""),
              ("retire_only_what_is_done", "retire.eq((self.port.done | (completed != 0))",
               "retire.eq(~in_flight[0]"),
              ("give_the_tokens_of_the_instruction", "Mux(retire, in_flight[place + 1], in_flight[place])",
               "in_flight[place]"),
              ("give_no_token_otherwise", "Mux(retire, oldest, 0)", "oldest"),
              ("are_idle_when_all_is_done", "(queue.level == 0) & in_flight[0]", "queue.level == 0"),
          )),
    Proof(name="program", block="sequencer", claim="every legal program of 3 instructions ends", engine="bmc",
          make=program, depth=PROGRAM_CYCLES + 2, mutants=_mutants(
              ISSUE,
              ("programs_come_to_their_end", "in_flight.eq(in_flight >> 1)",
               "in_flight.eq(in_flight)"),
              ("no_instruction_is_issued_twice", "queue.r_en.eq(self.o_accept)",
               "queue.r_en.eq(self.o_accept & ~self.port.done)"))),
    Proof(name="sequencer_units", block="sequencer",
          claim="every program of 2 instructions, of any units", engine="bmc",
          make=lambda only: whole(only, count=2, used=UNITS), depth=WHOLE_CYCLES + 2, mutants=_mutants(
              SEQUENCER, ("each_instruction_reaches_its_unit_once_and_in_order",
                          "opcode == kind.OPCODE for", "opcode[:2] == kind.OPCODE for"))),
    Proof(name="sequencer", block="sequencer",
          claim="every program of 3 instructions: each done once, all end", engine="bmc", make=whole,
          depth=WHOLE_CYCLES + 2, mutants=_mutants(
              SEQUENCER,
              ("the_run_comes_to_its_end", "tokens.i_give[unit].eq(issue.o_give)",
               "tokens.i_give[unit].eq(issue.o_give & 1)"),
              ("each_instruction_begins_with_its_tokens", "issue.i_some.eq(tokens.o_some[unit])",
               "issue.i_some.eq(~0)"),
              ("nothing_begins_behind_an_illegal_one", "with m.If(mine):",
               "with m.If(mine | (opcode == 0)):"),
              ("a_finished_run_has_done_everything",
               "fetch.o_done & Cat(issue.o_idle for issue in issues.values()).all()", "fetch.o_done"),
              ("a_run_fails_only_if_it_is_illegal",
               "control.finished.eq(control.fault == Fault.NONE)", "control.finished.eq(1)"),
              ("an_illegal_instruction_is_named", "address.eq(fetch.o_index)", "address.eq(0)"),
              ("each_instruction_arrives_as_it_was", "word[:unit_bits(unit)]", "word[:unit_bits(unit) // 2]"),
          ) + _mutants(
              FETCH,
              ("asks_for_the_program_once", "self.i_count * INSTRUCTION_BYTES", "self.i_count * self._beats"),
              ("each_instruction_reaches_its_unit_once_and_in_order", "m.d.sync += filled.eq(0)",
               "m.d.sync += filled.eq(filled)"),
          )),
)
