"""Runs a program: fetches it, hands every unit its instructions, keeps their order, accounts for the time."""
from amaranth import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..contract.fabric import Fabric
from ..contract.isa import INSTRUCTIONS, Instruction, Unit, unit_bits
from ..contract.registers import Fault
from ..link.registers import ControlPort
from ..signatures import FaultPort, State, UnitPort
from .fetch import Fetch, fetch_command_layout
from .issue import Issue
from .profile import Profile
from .tokens import Tokens


class Sequencer(wiring.Component):
    """Fetch, dispatch, issue, run control and profile.

    **Way of an instruction.** Fetch delivers them in program order; the one at hand waits until the queue
    of its unit has room, and with it all that follow. Each unit's Issue then starts its own in order, as
    tokens allow. A program whose tokens are right in program order cannot get stuck by waiting for tokens.
    It can by dispatch: between two instructions that must run side by side (a Weights and the Streams that
    take its tiles, a Stream and the Posts that take more results than the FIFO holds) there must be no more
    than ``queue_depth`` instructions of one other unit that cannot start before the first of the two is
    complete.

    **Run.** START is obeyed when no run is under way, after a profile clear if one is. It resets the fault,
    ``cycles`` and ``retired``. The run is done when every instruction has completed and the DMA is quiet;
    ``cycles`` counts all cycles from the one after START to that one. BUSY stays until the profile memory
    is up to date as well, and ``clear`` has put every unit into its reset state, so that no run depends on
    the one before; memories keep what they hold.

    **Fault.** The first of a bus fault, an illegal instruction, the watchdog (``cycles`` has reached
    ``watchdog``) and RESET stops the run: ``fault`` can be read at once, ``abort`` tells the DMA to begin
    nothing new, and when it is ``quiet`` the units are cleared. As long as the memory owes an answer BUSY
    stays. RESET while nothing runs takes back a START that waits and clears the fault. START in the same
    write as RESET is ignored, as are START and CLEAR_PROFILE during a run. After a fault the profile of
    that run is incomplete.

    Parameters
    ----------
    fabric : Fabric

    Members
    -------
    control : ``In(ControlPort())``
    fetch_command, fetch_data : ``Out, In(stream)``
        See Fetch.
    load, weights, stream, post, store : ``Out(UnitPort)``
    fault : ``In(FaultPort())``
        From the DMA. A write fault is reported as STORE's, a read fault (also of the fetch) as LOAD's.
    abort : ``Out(1)``
    quiet : ``In(1)``
        The DMA has no transaction under way. Must tell the truth SETTLE cycles after ``abort`` rises.
    clear : ``Out(1)``
        Synchronous reset for everything but memories, registers and the sequencer itself; one cycle after
        each run.
    """

    SETTLE = 4

    def __init__(self, *, fabric: Fabric):
        self._fabric = fabric
        super().__init__({
            "control": In(ControlPort()),
            "fetch_command": Out(stream.Signature(fetch_command_layout())),
            "fetch_data": In(stream.Signature(8 * fabric.bus_bytes)),
            **{unit.name.lower(): Out(UnitPort(unit)) for unit in Unit},
            "fault": In(FaultPort()), "abort": Out(1), "quiet": In(1), "clear": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        control = self.control
        reset_on_clear = ResetInserter(self.clear)
        fetch, tokens = Fetch(fabric=self._fabric), Tokens()
        issues = {unit: Issue(fabric=self._fabric, unit=unit) for unit in Unit}
        m.submodules.fetch = reset_on_clear(fetch)
        m.submodules.tokens = reset_on_clear(tokens)
        for unit, issue in issues.items():
            m.submodules[f"issue_{unit.name.lower()}"] = reset_on_clear(issue)
            wiring.connect(m, issue.port, wiring.flipped(getattr(self, unit.name.lower())))
            m.d.comb += [
                tokens.i_take[unit].eq(issue.o_take), issue.i_some.eq(tokens.o_some[unit]),
                tokens.i_give[unit].eq(issue.o_give), issue.i_room.eq(tokens.o_room[unit])]
        wiring.connect(m, fetch.command, wiring.flipped(self.fetch_command))
        wiring.connect(m, fetch.data, wiring.flipped(self.fetch_data))

        run, stop = Signal(), Signal()
        m.d.comb += [stop.eq(~run), *(issue.i_stop.eq(stop) for issue in issues.values())]

        # Dispatch: the opcode says which queue.
        word = fetch.instruction.payload
        opcode = word[:Instruction.OPCODE_BITS]
        known = Signal()
        for unit, issue in issues.items():
            mine = Cat(opcode == kind.OPCODE for kind in INSTRUCTIONS if kind.UNIT == unit).any()
            m.d.comb += [issue.queue.payload.eq(word[:unit_bits(unit)]),
                         issue.queue.valid.eq(fetch.instruction.valid & mine & run)]
            with m.If(mine):
                m.d.comb += [known.eq(1), fetch.instruction.ready.eq(issue.queue.ready & run)]

        # Run control.
        start_waits, clearing = Signal(), Signal()
        idle, begin, fail = Signal(), Signal(), Signal()
        code, unit_at_fault, address = Signal(Fault), Signal(Unit), Signal(32)
        budget, retiring = Signal(32), Signal(range(len(Unit) + 1))
        settle = Signal(range(self.SETTLE + 1))
        clear_profile, profile_idle = Signal(), Signal()
        complete = fetch.o_done & Cat(issue.o_idle for issue in issues.values()).all() & self.quiet
        with m.If(control.reset):
            m.d.comb += [fail.eq(1), code.eq(Fault.ABORTED)]
        with m.If(budget == 1):
            m.d.comb += [fail.eq(1), code.eq(Fault.WATCHDOG)]
        with m.If(fetch.instruction.valid & ~known):
            m.d.comb += [fail.eq(1), code.eq(Fault.ILLEGAL_INSTRUCTION), address.eq(fetch.o_index)]
        with m.If(self.fault.valid):
            m.d.comb += [fail.eq(1), code.eq(self.fault.code), address.eq(self.fault.address)]
            m.d.comb += unit_at_fault.eq(Mux(self.fault.code == Fault.WRITE_RESPONSE, Unit.STORE, Unit.LOAD))

        started = start_waits | control.start
        m.d.comb += [
            clear_profile.eq(control.clear_profile & ~control.busy),
            begin.eq(idle & started & ~control.reset & ~clear_profile & ~clearing),
            control.busy.eq(~idle | start_waits | clearing),
            fetch.i_load.eq(begin), fetch.i_address.eq(control.program_address),
            fetch.i_count.eq(control.program_count)]
        m.d.sync += [retiring.eq(sum(issue.o_retired for issue in issues.values())),
                     control.retired.eq(control.retired + retiring)]
        with m.FSM(name="run_control"):
            with m.State("IDLE"):
                m.d.comb += idle.eq(1)
                with m.If(control.reset):
                    m.d.sync += start_waits.eq(0)
                with m.Else():
                    m.d.sync += start_waits.eq(started & ~begin)
                with m.If(control.reset | begin):
                    m.d.sync += [control.fault.eq(Fault.NONE), control.fault_address.eq(0),
                                 control.fault_unit.eq(0)]
                with m.If(begin):
                    m.d.sync += [control.finished.eq(0), control.cycles.eq(0), control.retired.eq(0),
                                 budget.eq(control.watchdog)]
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += run.eq(1)
                m.d.sync += control.cycles.eq(control.cycles + 1)
                with m.If(budget != 0):
                    m.d.sync += budget.eq(budget - 1)
                m.d.sync += settle.eq(self.SETTLE)
                with m.If(fail):
                    m.d.sync += [control.fault.eq(code), control.fault_address.eq(address),
                                 control.fault_unit.eq(unit_at_fault)]
                    m.next = "ABORT"
                with m.Elif(complete):
                    m.next = "ACCOUNT"
            with m.State("ABORT"):
                m.d.comb += self.abort.eq(1)
                with m.If(settle != 0):
                    m.d.sync += settle.eq(settle - 1)
                with m.Elif(self.quiet):
                    m.next = "CLEAR"
            with m.State("ACCOUNT"):
                with m.If(profile_idle):
                    m.next = "CLEAR"
            with m.State("CLEAR"):
                m.d.comb += self.clear.eq(1)
                m.d.sync += control.finished.eq(control.fault == Fault.NONE)
                m.next = "IDLE"

        if self._fabric.profile_layers:
            profile = Profile(fabric=self._fabric)
            m.submodules.profile = reset_on_clear(profile)
            m.d.comb += [
                profile.i_run.eq(run), profile.i_clear.eq(clear_profile), clearing.eq(profile.o_clearing),
                profile_idle.eq(profile.o_idle), profile.i_index.eq(control.profile_index),
                control.profile_data.eq(profile.o_data)]
            for unit, issue in issues.items():
                m.d.comb += [
                    profile.i_cause[unit].eq(issue.o_cause), profile.i_accept[unit].eq(issue.o_accept),
                    profile.i_active[unit].eq(issue.port.state != State.IDLE),
                    profile.i_layer[unit].eq(issue.o_layer), profile.i_follows[unit].eq(issue.o_follows),
                    issue.i_account.eq(profile.o_ready[unit])]
        else:
            m.d.comb += [profile_idle.eq(1), *(issue.i_account.eq(1) for issue in issues.values())]
        return m
