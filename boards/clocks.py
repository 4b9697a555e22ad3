"""The clocks of a board from its oscillator: a PLL, and a reset that ends when all is settled."""
from dataclasses import dataclass

from amaranth import ClockDomain, ClockSignal, Elaboratable, Instance, Module, ResetSignal, Signal
from amaranth.lib.cdc import FFSynchronizer

SETTLED_CYCLES = 1024
"""Reset cycles after the PLL has locked. An iCE40's block RAMs read as zeros for some microseconds more
(github.com/cliffordwolf/icestorm/issues/76), and here even 50 MHz makes 20 of them."""


@dataclass(frozen=True)
class ECP5Divisions:
    """Of an EHXPLLL whose output CLKOP is its feedback: input ÷ ``reference`` × ``feedback``.

    ``output`` divides the oscillator of 400 to 800 MHz in it (ECP5 family data sheet, FPGA-DS-02012).
    """

    reference: int
    feedback: int
    output: int

    @classmethod
    def of(cls, source: float, wanted: float) -> "ECP5Divisions":
        """The divisions that make exactly ``wanted`` Hz, with the fastest comparison and oscillator.

        Raises
        ------
        ValueError
            If there are none.
        """
        for reference in range(1, 9):
            feedback = round(wanted * reference / source)
            if not 1 <= feedback <= 80 or abs(source * feedback / reference - wanted) > 1 \
                    or source / reference < 10e6:
                continue
            outputs = [div for div in range(1, 129) if 400e6 <= wanted * div <= 800e6]
            if outputs:
                return cls(reference, feedback, outputs[-1])
        raise ValueError(f"the PLL of an ECP5 does not make {wanted / 1e6:g} MHz of {source / 1e6:g} MHz")

    def phase(self, degrees: float) -> tuple[int, int]:
        """Whole cycles of the oscillator, and eighths, by which an output of the same rate comes later."""
        eighths = round(degrees / 360 * self.output * 8)
        return divmod(eighths, 8)


@dataclass(frozen=True)
class ICE40Divisions:
    """Of an SB_PLL40 with SIMPLE feedback: input × (``divf`` + 1) ÷ 2**``divq``.

    The oscillator between has 533 to 1066 MHz (iCE40 sysCLOCK PLL Design and Usage Guide, FPGA-TN-02052).
    """

    divf: int
    divq: int

    @classmethod
    def of(cls, source: float, wanted: float) -> "ICE40Divisions":
        """The divisions that make exactly ``wanted`` Hz.

        Raises
        ------
        ValueError
            If there are none.
        """
        for divq in range(1, 7):
            divf = round(wanted * (1 << divq) / source) - 1
            if 533e6 <= wanted * (1 << divq) <= 1066e6 and 0 <= divf < 128 \
                    and abs(source * (divf + 1) / (1 << divq) - wanted) < 1:
                return cls(divf, divq)
        raise ValueError(f"the PLL of an iCE40 does not make {wanted / 1e6:g} MHz of {source / 1e6:g} MHz")


class ECP5Clocks(Elaboratable):
    """Drives domain "sync" at ``wanted`` Hz, and domain "late", without a reset, the same ``degrees`` later.

    The domains are the parent's.

    Parameters
    ----------
    pad : Signal
        The oscillator's clock.
    source, wanted : float
        Hz.
    degrees : float
    """

    def __init__(self, *, pad: Signal, source: float, wanted: float, degrees: float):
        self._pad, self._degrees = pad, degrees
        self._source, self._wanted = source, wanted
        self.divisions = ECP5Divisions.of(source, wanted)

    def elaborate(self, platform):
        m = Module()
        div = self.divisions
        locked = Signal()
        whole, eighths = div.phase(self._degrees)
        first = (div.output - 1) // 2
        hertz = f"{self._wanted / 1e6:g}"
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{self._source / 1e6:g}", a_FREQUENCY_PIN_CLKOP=hertz,
            a_FREQUENCY_PIN_CLKOS=hertz,
            # The loop filter of Lattice's own tool for these rates; ecppll writes the same.
            a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1", a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED", p_FEEDBK_PATH="CLKOP",
            **{f"p_OUTDIVIDER_MUX{output}": f"DIV{output}" for output in "ABCD"},
            p_CLKI_DIV=div.reference, p_CLKFB_DIV=div.feedback,
            p_CLKOP_ENABLE="ENABLED", p_CLKOP_DIV=div.output, p_CLKOP_CPHASE=first, p_CLKOP_FPHASE=0,
            p_CLKOS_ENABLE="ENABLED", p_CLKOS_DIV=div.output, p_CLKOS_CPHASE=first + whole,
            p_CLKOS_FPHASE=eighths,
            i_CLKI=self._pad, i_CLKFB=ClockSignal(), o_CLKOP=ClockSignal(), o_CLKOS=ClockSignal("late"),
            i_RST=0, i_STDBY=0, i_PHASESEL0=0, i_PHASESEL1=0, i_PHASEDIR=1, i_PHASESTEP=1, i_PHASELOADREG=1,
            i_PLLWAKESYNC=0, i_ENCLKOP=0, o_LOCK=locked)
        m.submodules.reset = SettledReset(locked=locked)
        return m


class ICE40Clocks(Elaboratable):
    """Drives its parent's domain "sync" at ``wanted`` Hz, from the oscillator at the pad that feeds the PLL.

    Parameters
    ----------
    pad : IOPort
    source, wanted : float
        Hz; the source between 10 and 17 MHz.
    """

    def __init__(self, *, pad, source: float, wanted: float):
        if not 10e6 <= source < 17e6:
            raise ValueError(f"source is {source:g} Hz; the PLL's filter is chosen for 10 to 17 MHz")
        self._pad = pad
        self.divisions = ICE40Divisions.of(source, wanted)

    def elaborate(self, platform):
        m = Module()
        locked = Signal()
        m.submodules.pll = Instance(
            "SB_PLL40_PAD", p_FEEDBACK_PATH="SIMPLE", p_DIVR=0, p_DIVF=self.divisions.divf,
            p_DIVQ=self.divisions.divq, p_FILTER_RANGE=1,
            i_PACKAGEPIN=self._pad, i_RESETB=1, i_BYPASS=0, o_PLLOUTGLOBAL=ClockSignal(), o_LOCK=locked)
        m.submodules.reset = SettledReset(locked=locked)
        return m


class SettledReset(Elaboratable):
    """Reset of domain "sync": from the start, and whenever ``locked`` is low, until SETTLED_CYCLES after.

    The reset comes out of a flip-flop of its own domain, so all registers leave it in one cycle.
    """

    def __init__(self, *, locked: Signal):
        self._locked = locked

    def elaborate(self, platform):
        m = Module()
        m.domains.settling = settling = ClockDomain("settling", reset_less=True, local=True)
        m.d.comb += settling.clk.eq(ClockSignal("sync"))
        seen, left, running = Signal(), Signal(range(SETTLED_CYCLES), init=SETTLED_CYCLES - 1), Signal()
        m.submodules.locked = FFSynchronizer(self._locked, seen, o_domain="settling", reset_less=True)
        m.d.settling += running.eq(left == 0)
        with m.If(~seen):
            m.d.settling += [left.eq(SETTLED_CYCLES - 1), running.eq(0)]
        with m.Elif(left != 0):
            m.d.settling += left.eq(left - 1)
        m.d.comb += ResetSignal("sync").eq(~running)
        return m
