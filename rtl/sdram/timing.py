"""Geometry and timing of SDR SDRAM chips, from their datasheets; pure Python."""
from dataclasses import dataclass
from math import ceil, floor

BANKS = 4


@dataclass(frozen=True, kw_only=True)
class SDRAMTiming:
    """A chip: its size, and how long things take, in nanoseconds unless said otherwise.

    The defaults are the slowest figures of the 32 MB chips that are put on small boards, in their grades -6,
    -7 and -75: Alliance AS4C16M16SA, ISSI IS42S16160, Micron MT48LC16M16A2, Winbond W9825G6KH. What a chip
    gives in clock cycles is given in both, ``cycles(ns, least=clocks)``.
    """

    name: str = "16Mx16"
    row_bits: int = 13
    column_bits: int = 9
    power_up: float = 200_000  # stable clock and NOP before the first command
    init_refreshes: int = 8
    t_rcd: float = 21  # ACTIVE to READ or WRITE
    t_rp: float = 21  # PRECHARGE to ACTIVE or REFRESH
    t_ras: float = 45  # ACTIVE to PRECHARGE
    t_ras_max: float = 100_000
    t_rc: float = 67.5  # ACTIVE to ACTIVE of one bank
    t_rfc: float = 67.5  # REFRESH to anything
    t_rrd: float = 15  # ACTIVE to ACTIVE of two banks
    t_wr: float = 15  # last data written to PRECHARGE, and 2 clocks
    t_mrd: float = 15  # LOAD MODE to anything, and 2 clocks
    t_refresh: float = 64e6  # all rows
    t_ck2: float = 10  # shortest clock period at CAS latency 2
    t_ck3: float = 7  # the same at 3

    def __post_init__(self) -> None:
        if not 8 <= self.column_bits <= 10 or not 11 <= self.row_bits <= 13:
            raise ValueError(f"{self.name}: {self.row_bits} row and {self.column_bits} column bits; "
                             "11 to 13 and 8 to 10 are possible")

    @property
    def bytes(self) -> int:
        """Size of the chip."""
        return 2 * BANKS << self.row_bits + self.column_bits

    def at(self, hz: float) -> "SDRAMCycles":
        """The same in clock cycles of this frequency.

        Raises
        ------
        ValueError
            If the chip is not that fast.
        """
        def cycles(ns: float, least: int = 1) -> int:
            return max(least, ceil(ns * hz / 1e9 - 1e-6))

        period = 1e9 / hz
        if period < self.t_ck3 - 1e-6:
            raise ValueError(f"{self.name} needs a clock period of {self.t_ck3} ns, {hz / 1e6:g} MHz has "
                             f"{period:.2f} ns")
        return SDRAMCycles(
            cas=2 if period >= self.t_ck2 - 1e-6 else 3, power_up=cycles(self.power_up),
            init_refreshes=self.init_refreshes, t_rcd=cycles(self.t_rcd), t_rp=cycles(self.t_rp),
            t_ras=cycles(self.t_ras), t_ras_max=floor(self.t_ras_max * hz / 1e9),
            t_rc=cycles(self.t_rc), t_rfc=cycles(self.t_rfc), t_rrd=cycles(self.t_rrd),
            t_wr=cycles(self.t_wr, 2), t_mrd=cycles(self.t_mrd, 2),
            t_refresh=floor(self.t_refresh * hz / 1e9), row_bits=self.row_bits,
            column_bits=self.column_bits)


@dataclass(frozen=True, kw_only=True)
class SDRAMCycles:
    """An SDRAMTiming at some clock frequency: the same names, in cycles; ``cas`` is the CAS latency."""

    cas: int
    power_up: int
    init_refreshes: int
    t_rcd: int
    t_rp: int
    t_ras: int
    t_ras_max: int
    t_rc: int
    t_rfc: int
    t_rrd: int
    t_wr: int
    t_mrd: int
    t_refresh: int
    row_bits: int
    column_bits: int

    @property
    def refresh_interval(self) -> int:
        """Cycles between two refreshes, short enough that one may now and then come some dozens late."""
        return -(-self.t_refresh // (1 << self.row_bits)) - 1
