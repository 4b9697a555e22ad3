"""A 16-bit SDR SDRAM chip at its pins: keeps the data and checks every rule that a controller can break.

sim/virtual/sdram_model.h is the same in C++; tests/rtl/sdram/test_models.py holds both to each other.
"""
from dataclasses import dataclass

NAMES = ("cke", "cs_n", "ras_n", "cas_n", "we_n", "ba", "a", "dqm", "dq_o", "dq_oe")
"""The controller's outputs, in the order in which `clock` takes them."""
LONG_AGO = -(1 << 40)
POSTPONED = 8
"""The chip may be behind by so many refreshes: what later standards allow to postpone."""


class SDRAMError(AssertionError):
    """The controller broke a rule of the chip's datasheet."""


@dataclass
class Bank:
    active: bool = False
    row: int = 0
    activated: int = LONG_AGO
    precharged: int = LONG_AGO
    busy_until: int = LONG_AGO
    written: int = LONG_AGO


class SDRAMModel:
    """One call of ``clock`` for each cycle.

    Parameters
    ----------
    timing : SDRAMCycles
    pin_delay : int
        Cycles between the controller's pins and the chip, both ways together.
    strict_reads : bool
        A READ of bytes that nobody wrote is an error.

    Attributes
    ----------
    cycle, refreshes, column_commands : int
        How many there were; of refreshes those since the initialisation.
    """

    def __init__(self, timing, *, pin_delay=0, strict_reads=False):
        self.timing, self.strict = timing, strict_reads
        self.memory, self.written = {}, {}  # by column: 16-bit word, and which bytes of it
        self.banks = [Bank() for _ in range(4)]
        self.rows = 1 << timing.row_bits
        self.refreshed = [0] * self.rows
        self.delayed = [0] * pin_delay
        self.cycle = self.refreshes = self.column_commands = 0
        self.ready_at = None
        self.last_refresh = self.last_mode = self.last_activate = self.bursts_end = LONG_AGO
        self.precharged_all = self.mode_set = False
        self.burst = 0
        self.dqm = [3, 3]  # of the last cycle, and of the one before
        self.bus = {}  # cycle -> (write, bank, column)

    def need(self, holds, what, bank=None):
        if not holds:
            where = "" if bank is None else f", bank {bank}"
            raise SDRAMError(f"SDRAM, cycle {self.cycle}{where}: {what}")

    def since(self, event, least, what, bank=None):
        self.need(self.cycle - event >= least, what, bank)

    def noise(self):
        return self.cycle * 0x9E3779B97F4A7C15 >> 40 & 0xFFFF

    def place(self, address):
        """Column of a byte address, row : bank : column, and the shift of its byte in it."""
        return address >> 1, 8 * (address & 1)

    def peek(self, address):
        column, shift = self.place(address)
        return self.memory.get(column, 0) >> shift & 255

    def poke(self, address, value):
        column, shift = self.place(address)
        self.memory[column] = self.memory.get(column, 0) & ~(255 << shift) | value << shift
        self.written[column] = self.written.get(column, 0) | 1 << shift // 8

    def clock(self, cke, cs_n, ras_n, cas_n, we_n, ba, a, dqm, dq_o, dq_oe):
        """The pins of one cycle; returns what is on the data bus in this very cycle."""
        self.need(cke, "CKE low: power down and self refresh are not modelled")
        command = 7 if cs_n else ras_n << 2 | cas_n << 1 | we_n
        if command != 7:
            t = self.timing
            self.need(self.cycle >= t.power_up, "a command before the power-up time is over")
            self.since(self.last_mode, t.t_mrd, "a command within tMRD of LOAD MODE")
            self.since(self.last_refresh, t.t_rfc, "a command within tRFC of REFRESH")
            (self.load_mode, self.refresh, self.precharge, self.activate, self.write, self.read,
             self.terminate)[command](ba, a)
        self.overdue()
        word = self.data(dqm, dq_o, dq_oe)
        self.cycle += 1
        self.delayed.append(word)
        return self.delayed.pop(0)

    def all_idle(self):
        for n, bank in enumerate(self.banks):
            self.need(not bank.active, "REFRESH or LOAD MODE with an active bank", n)
            self.since(bank.precharged, self.timing.t_rp, "REFRESH or LOAD MODE within tRP of PRECHARGE", n)
        self.need(self.precharged_all, "REFRESH or LOAD MODE before the first PRECHARGE of all banks")

    def check_ready(self):
        if self.ready_at is None and self.mode_set and self.refreshes >= self.timing.init_refreshes:
            self.ready_at, self.refreshes = self.cycle, 0
            self.refreshed = [self.cycle] * self.rows

    def load_mode(self, ba, a):
        self.all_idle()
        self.need(ba == 0 and a >> 7 == 0, "LOAD MODE of a reserved code, or of single writes")
        self.need(a >> 4 & 7 == self.timing.cas, "LOAD MODE of another CAS latency than the clock needs")
        self.need(not a & 8, "LOAD MODE of interleaved bursts")
        self.need(a & 7 <= 3, "LOAD MODE of a full-page or reserved burst length")
        self.burst = 1 << (a & 3)
        self.last_mode, self.mode_set = self.cycle, True
        self.check_ready()

    def refresh(self, ba, a):
        self.all_idle()
        self.last_refresh = self.refreshed[self.refreshes % self.rows] = self.cycle
        self.refreshes += 1
        self.check_ready()

    def overdue(self):
        if self.ready_at is None:
            return
        t = self.timing
        self.need(self.cycle - self.refreshed[self.refreshes % self.rows] <= t.t_refresh,
                  "a row has not been refreshed for tREF")
        self.need((self.cycle - self.ready_at) * self.rows <= (self.refreshes + POSTPONED + 1) * t.t_refresh,
                  "more than 8 refreshes are overdue")

    def activate(self, ba, a):
        bank, t = self.banks[ba], self.timing
        self.need(self.ready_at is not None, "ACTIVE before the initialisation is complete", ba)
        self.need(not bank.active, "ACTIVE of an active bank", ba)
        self.since(bank.precharged, t.t_rp, "ACTIVE within tRP of PRECHARGE", ba)
        self.since(bank.activated, t.t_rc, "ACTIVE within tRC of ACTIVE", ba)
        self.since(self.last_activate, t.t_rrd, "ACTIVE within tRRD of another bank's", ba)
        self.need(a < self.rows, "ACTIVE of a row that does not exist", ba)
        bank.active, bank.row, bank.activated, self.last_activate = True, a, self.cycle, self.cycle

    def precharge(self, ba, a):
        everything, t = a >> 10 & 1, self.timing
        for n, bank in enumerate(self.banks):
            if not everything and n != ba:
                continue
            if bank.active:
                self.since(bank.activated, t.t_ras, "PRECHARGE within tRAS of ACTIVE", n)
                self.need(self.cycle - bank.activated <= t.t_ras_max, "PRECHARGE later than tRAS(max)", n)
                self.since(bank.written, t.t_wr, "PRECHARGE within tWR of the last data written", n)
                self.need(self.cycle >= bank.busy_until, "PRECHARGE cuts a burst short", n)
            if bank.active or (everything and not self.precharged_all):
                bank.precharged = self.cycle
            bank.active = False
        self.precharged_all = self.precharged_all or bool(everything)

    def write(self, ba, a):
        self.column(ba, a, True)

    def read(self, ba, a):
        self.column(ba, a, False)

    def terminate(self, ba, a):
        self.need(False, "BURST TERMINATE is not modelled")

    def column(self, ba, a, write):
        bank, t = self.banks[ba], self.timing
        self.need(bank.active, "WRITE to an idle bank" if write else "READ of an idle bank", ba)
        self.since(bank.activated, t.t_rcd, "READ or WRITE within tRCD of ACTIVE", ba)
        self.need(self.cycle - bank.activated <= t.t_ras_max, "bank active for longer than tRAS(max)", ba)
        self.need(not a >> 10 & 1, "auto precharge is not modelled", ba)
        self.need((a & 0x3FF) >> t.column_bits == 0, "READ or WRITE of a column that does not exist", ba)
        self.need(self.cycle >= self.bursts_end, "READ or WRITE cuts a burst short", ba)
        base, first = (bank.row << 2 | ba) << t.column_bits, a & 0x3FF
        for i in range(self.burst):
            at = self.cycle + i + (0 if write else t.cas)
            self.bus[at] = write, ba, base | first & -self.burst | first + i & self.burst - 1
        self.bursts_end = bank.busy_until = self.cycle + self.burst
        if write:
            bank.written = self.cycle + self.burst - 1
        self.column_commands += 1

    def data(self, dqm, dq_o, dq_oe):
        now = self.bus.get(self.cycle)
        word = dq_o if dq_oe else self.noise()
        if dq_oe:
            self.need(self.ready_at is not None, "the controller drives the data bus before it may")
            near = (self.bus.get(self.cycle + n, (True,)) for n in (-1, 0, 1))
            self.need(all(write for write, *_ in near), "controller and chip both drive the data bus")
        if now is not None:
            write, bank, column = now
            mask = dqm if write else self.dqm[1]
            bits = 255 * (mask & 1) | 0xFF00 * (mask >> 1)
            if write:
                self.need(dq_oe or mask == 3, "WRITE with nothing on the data bus", bank)
                self.memory[column] = self.memory.get(column, 0) & bits | dq_o & ~bits & 0xFFFF
                self.written[column] = self.written.get(column, 0) | ~mask & 3
            else:
                self.need(not self.strict or self.written.get(column, 0) | mask == 3,
                          "READ of bytes that nobody wrote", bank)
                word = self.memory.get(column, 0) & ~bits & 0xFFFF | self.noise() & bits
        self.bus.pop(self.cycle - 1, None)
        self.dqm = [dqm, self.dqm[0]]
        return word
