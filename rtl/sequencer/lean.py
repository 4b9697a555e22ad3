"""The sequencer of a small fabric: instructions and tokens in block RAM, and one clerk for all units."""
from amaranth import Array, Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from ..contract.fabric import Fabric
from ..contract.isa import INSTRUCTION_BYTES, INSTRUCTIONS, TOKEN_MAX, Instruction, Unit, unit_bits
from ..contract.registers import Fault
from ..link.registers import ControlPort
from ..signatures import FaultPort, UnitPort
from .issue import HEADER

RING = 4
"""Instructions of a unit that the RAM holds, the one that it works on among them."""
WORDS = INSTRUCTION_BYTES // 4
UNITS = len(Unit)


class Clerk(wiring.Component):
    """Keeps the instructions of all units in one RAM, and hands each unit its next one.

    Word by word an instruction comes in, to its unit's ring of RING places; ``o_room`` says that there is a
    place in each. In turn the clerk looks after the units: gives the tokens of one that has completed its
    instruction, or takes those that its next one waits for, if they are all there, and then copies that to
    the unit's port. It takes two cycles for each token and one for each word. LOAD and STORE share their
    port's register, and so take turns. A unit has one instruction at a time: its ``done`` must come with, or
    behind, ``ready``.

    Members
    -------
    i_word, i_valid : ``In(32)``, ``In(1)``
        The next word of the program.
    o_room, o_illegal, o_idle : ``Out(1)``
        An instruction of any unit fits; the word that is coming in begins one that does not exist; nothing
        is here or with a unit.
    o_retired : ``Out(1)``
        Pulse: an instruction has completed and its tokens were given.
    i_stop : ``In(1)``
        Begin nothing.
    load, weights, stream, post, store : ``Out(UnitPort)``
    """

    def __init__(self) -> None:
        super().__init__({
            "i_word": In(32), "i_valid": In(1), "i_stop": In(1),
            "o_room": Out(1), "o_illegal": Out(1), "o_idle": Out(1), "o_retired": Out(1),
            **{unit.name.lower(): Out(UnitPort(unit)) for unit in Unit},
        })

    def elaborate(self, platform):
        m = Module()
        ports = [getattr(self, unit.name.lower()) for unit in Unit]
        m.submodules.instructions = instructions = Memory(
            shape=32, depth=8 * RING * WORDS, init=[], attrs={"no_rw_check": 1})
        m.submodules.tokens = tokens = Memory(shape=6, depth=64, init=[], attrs={"no_rw_check": 1})
        incoming, outgoing = instructions.write_port(), instructions.read_port()
        put, get = tokens.write_port(), tokens.read_port()

        heads, tails = ([Signal(2, name=f"{name}_{u}") for u in range(UNITS)] for name in ("head", "tail"))
        counts = [Signal(3, name=f"count_{u}") for u in range(UNITS)]
        busy, done, offered = (Signal(UNITS, name=name) for name in ("busy", "done", "offered"))

        # In: the first word says whose ring it goes to.
        opcode = self.i_word[:Instruction.OPCODE_BITS]
        place, owner, kept_owner, known = Signal(3), Signal(3), Signal(3), Signal()
        with m.Switch(opcode):
            for kind in INSTRUCTIONS:
                with m.Case(kind.OPCODE):
                    m.d.comb += [owner.eq(kind.UNIT), known.eq(1)]
        with m.If(place != 0):
            m.d.comb += [owner.eq(kept_owner), known.eq(1)]
        arrived = Signal(UNITS)
        m.d.comb += [
            self.o_illegal.eq(self.i_valid & ~known),
            incoming.en.eq(self.i_valid), incoming.data.eq(self.i_word),
            incoming.addr.eq(Cat(place, Array(tails)[owner], owner)),
            self.o_room.eq(~Cat(count[2] for count in counts).any()),
            self.o_idle.eq(~Cat(counts).any()),
        ]
        with m.If(self.i_valid):
            m.d.sync += [place.eq(place + 1), kept_owner.eq(owner)]
            with m.If(place == WORDS - 1):
                m.d.comb += arrived.eq(1 << owner)
        for u in range(UNITS):
            with m.If(arrived[u]):
                m.d.sync += tails[u].eq(tails[u] + 1)

        # Out: one unit after the other.
        unit, word, word_before = Signal(3), Signal(3), Signal(3)
        giving, commit, copies = Signal(), Signal(), Signal()
        left, wanted, other = Signal(UNITS), Signal(UNITS), Signal(range(UNITS))
        gone = Signal(UNITS)
        header = outgoing.data
        mine = (1 << unit)[:UNITS]
        move = (1 << Unit.LOAD) | (1 << Unit.STORE)
        occupied = busy | Mux((busy & move).any(), move, 0)
        m.d.comb += [
            outgoing.addr.eq(Cat(word, Array(heads)[unit], unit)), outgoing.en.eq(0),
            wanted.eq(Mux(giving, header[HEADER["signal"]], header[HEADER["wait"]]) & ~mine),
            get.addr.eq(Mux(giving, Cat(other, unit), Cat(unit, other))),
            put.addr.eq(get.addr), put.data.eq(Mux(giving, get.data + 1, get.data - 1)),
        ]
        for n in reversed(range(UNITS)):
            with m.If(left[n]):
                m.d.comb += other.eq(n)
        # The next in turn, but those first that have tokens to give.
        following = Signal(3)
        m.d.comb += following.eq(Mux(unit == UNITS - 1, 0, unit + 1))
        for n in reversed(range(UNITS)):
            with m.If(done[n] & ~mine[n]):
                m.d.comb += following.eq(n)
        with m.FSM(name="clerk"):
            with m.State("WIPE"):  # no token from the run before
                m.d.comb += [put.en.eq(1), put.addr.eq(Cat(word, unit)), put.data.eq(0)]
                m.d.sync += word.eq(word + 1)
                with m.If(word == 7):
                    m.d.sync += unit.eq(following)  # nothing is done yet
                    with m.If(unit == UNITS - 1):
                        m.next = "LOOK"
            with m.State("LOOK"):
                m.d.comb += outgoing.en.eq(1)
                m.d.sync += [giving.eq((done & mine).any()), commit.eq(0)]
                with m.If((done & mine).any() | (
                        (Array(counts)[unit] != 0) & ~(occupied & mine).any() & ~self.i_stop)):
                    m.next = "HEADER"
                with m.Else():
                    m.d.sync += unit.eq(following)
            with m.State("HEADER"):
                m.d.sync += left.eq(wanted)
                m.next = "TOKEN"
            with m.State("TOKEN"):
                with m.If(left.any()):
                    m.next = "COUNT"
                with m.Elif(~commit & wanted.any()):
                    m.d.sync += [commit.eq(1), left.eq(wanted)]
                with m.Elif(giving):
                    m.d.comb += [gone.eq(mine), self.o_retired.eq(1)]
                    m.d.sync += [done.eq(done & ~mine), busy.eq(busy & ~mine)]
                    m.next = "LOOK"
                with m.Else():
                    m.d.comb += outgoing.en.eq(1)
                    m.d.sync += [busy.eq(busy | mine), word.eq(1), copies.eq(1)]
                    m.next = "COPY"
            with m.State("COUNT"):
                m.d.sync += left.eq(left & (left - 1))
                m.d.comb += put.en.eq(commit)
                m.next = "TOKEN"
                with m.If(~commit & (get.data == Mux(giving, TOKEN_MAX, 0))):
                    m.d.sync += unit.eq(following)
                    m.next = "LOOK"
            with m.State("COPY"):
                m.d.comb += outgoing.en.eq(1)
                m.d.sync += word.eq(word + 1)
                with m.If(word == 0):
                    m.d.sync += [word.eq(0), copies.eq(0), offered.eq(offered | mine), unit.eq(following)]
                    m.next = "LOOK"
        m.d.sync += word_before.eq(word)

        for u, port in enumerate(ports):
            m.d.sync += counts[u].eq(counts[u] + arrived[u] - gone[u])
            with m.If(gone[u]):
                m.d.sync += heads[u].eq(heads[u] + 1)
            with m.If(port.instruction.ready & offered[u]):
                m.d.sync += offered[u].eq(0)
            with m.If(port.done):
                m.d.sync += done[u].eq(1)
            m.d.comb += port.instruction.valid.eq(offered[u])

        # The ports' registers, a word at a time.
        registers = {}
        for units in ((Unit.LOAD, Unit.STORE), (Unit.WEIGHTS,), (Unit.STREAM,), (Unit.POST,)):
            payload = Signal(max(unit_bits(u) for u in units), name=f"instruction_{units[0].name.lower()}",
                             reset_less=True)
            for n in range(0, len(payload), 32):
                part = payload[n:n + 32]
                with m.If(copies & (word_before == n // 32) & Cat(unit == u for u in units).any()):
                    m.d.sync += part.eq(outgoing.data)
            registers |= dict.fromkeys(units, payload)
        for u, port in zip(Unit, ports, strict=True):
            m.d.comb += port.instruction.payload.eq(registers[u])
        return m


class LeanSequencer(wiring.Component):
    """Fetch, Clerk and run control: what Sequencer does, at a few cycles more for each instruction.

    An instruction is fetched only when each unit has room for one more, so that no word ever waits at the
    memory port; ``queue_depth`` is RING - 1. Of the counter of cycles 32 bits are kept. There is no profile.
    Start, faults and aborts are as in Sequencer.

    Parameters
    ----------
    fabric : Fabric
        With profile_layers 0, a bus of 4 bytes and a queue_depth below RING.

    Members
    -------
    control : ``In(ControlPort())``
    fetch : ``Out(stream of 32 bits)``
        Address of an instruction that is wanted; WORDS words come, some time.
    i_word, i_word_valid : ``In(32)``, ``In(1)``
    load, weights, stream, post, store : ``Out(UnitPort)``
    fault, abort, quiet, clear
        As in Sequencer.

    Raises
    ------
    ValueError
        If the fabric is no such.
    """

    SETTLE = 4

    def __init__(self, *, fabric: Fabric):
        if fabric.profile_layers or fabric.bus_bytes != 4 or fabric.queue_depth >= RING:
            raise ValueError(f"this sequencer has no profile, takes 4 bytes at a time and keeps {RING - 1} "
                             "instructions; the fabric wants something else")
        super().__init__({
            "control": In(ControlPort()),
            "fetch": Out(stream.Signature(32)), "i_word": In(32), "i_word_valid": In(1),
            **{unit.name.lower(): Out(UnitPort(unit)) for unit in Unit},
            "fault": In(FaultPort()), "abort": Out(1), "quiet": In(1), "clear": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        control = self.control
        m.submodules.clerk = clerk = ResetInserter(self.clear)(Clerk())
        for unit in Unit:
            name = unit.name.lower()
            connect(m, getattr(clerk, name), flipped(getattr(self, name)))

        run, begin, fail, idle, started, waits = (
            Signal(name=name) for name in ("run", "begin", "fail", "idle", "started", "start_waits"))
        # Fetch: an instruction is on its way until its last word has come.
        address, left = Signal(32, reset_less=True), Signal(32)
        coming, words = Signal(), Signal(3)
        m.d.comb += [
            self.fetch.valid.eq(run & (left != 0) & clerk.o_room & ~coming), self.fetch.payload.eq(address),
            clerk.i_word.eq(self.i_word), clerk.i_valid.eq(self.i_word_valid & run), clerk.i_stop.eq(~run),
        ]
        with m.If(self.fetch.valid & self.fetch.ready):
            m.d.sync += [coming.eq(1), left.eq(left - 1)]
        with m.If(self.i_word_valid):
            m.d.sync += words.eq(words + 1)
            with m.If(words == WORDS - 1):
                m.d.sync += [coming.eq(0), address.eq(address + INSTRUCTION_BYTES)]

        code, at_fault, where = Signal(Fault), Signal(Unit), Signal(32)
        settle = Signal(range(self.SETTLE + 1))
        elapsed = Signal(32)
        complete = (left == 0) & ~coming & clerk.o_idle & self.quiet
        m.d.comb += elapsed.eq(control.cycles[:32] + 1)
        with m.If(control.reset):
            m.d.comb += [fail.eq(1), code.eq(Fault.ABORTED)]
        with m.If(elapsed == control.watchdog):
            m.d.comb += [fail.eq(1), code.eq(Fault.WATCHDOG)]
        with m.If(clerk.o_illegal):
            # What is left does not count the instruction that is coming in.
            m.d.comb += [fail.eq(1), code.eq(Fault.ILLEGAL_INSTRUCTION),
                         where.eq(control.program_count - left - 1)]
        with m.If(self.fault.valid):
            m.d.comb += [fail.eq(1), code.eq(self.fault.code), where.eq(self.fault.address)]
            m.d.comb += at_fault.eq(Mux(self.fault.code == Fault.WRITE_RESPONSE, Unit.STORE, Unit.LOAD))
        m.d.comb += [
            started.eq(waits | control.start), begin.eq(idle & started & ~control.reset),
            control.busy.eq(~idle | waits),
        ]
        with m.If(clerk.o_retired):
            m.d.sync += control.retired.eq(control.retired + 1)
        with m.FSM(name="run_control"):
            with m.State("IDLE"):
                m.d.comb += idle.eq(1)
                m.d.sync += waits.eq(started & ~begin & ~control.reset)
                with m.If(control.reset | begin):
                    m.d.sync += [control.fault.eq(Fault.NONE), control.fault_address.eq(0),
                                 control.fault_unit.eq(0)]
                with m.If(begin):
                    m.d.sync += [control.finished.eq(0), control.cycles.eq(0), control.retired.eq(0),
                                 address.eq(control.program_address), left.eq(control.program_count),
                                 coming.eq(0), words.eq(0)]
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += run.eq(1)
                m.d.sync += [control.cycles.eq(elapsed), settle.eq(self.SETTLE)]
                with m.If(fail):
                    m.d.sync += [control.fault.eq(code), control.fault_address.eq(where),
                                 control.fault_unit.eq(at_fault)]
                    m.next = "ABORT"
                with m.Elif(complete):
                    m.next = "CLEAR"
            with m.State("ABORT"):
                m.d.comb += self.abort.eq(1)
                with m.If(settle != 0):
                    m.d.sync += settle.eq(settle - 1)
                with m.Elif(self.quiet):
                    m.next = "CLEAR"
            with m.State("CLEAR"):
                m.d.comb += self.clear.eq(1)
                m.d.sync += control.finished.eq(control.fault == Fault.NONE)
                m.next = "IDLE"
        return m
