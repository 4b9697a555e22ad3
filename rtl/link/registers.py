"""The register block: the driver's door to the fabric, over AXI4-Lite."""
from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..contract.fabric import Fabric
from ..contract.isa import ISA_VERSION, Unit
from ..contract.registers import MAGIC_WORD, Control, Fault, Reg, Status
from .axi import RESP_OKAY, RESP_SLVERR, AXI4Lite

PROFILE_INDEX_BITS = 17


class ControlPort(wiring.Signature):
    """Between the register block (Out) and the sequencer (In).

    ``start``, ``reset`` and ``clear_profile`` are pulses.
    """

    def __init__(self) -> None:
        super().__init__({
            "start": Out(1), "reset": Out(1), "clear_profile": Out(1),
            "program_address": Out(32), "program_count": Out(32), "watchdog": Out(32),
            "profile_index": Out(PROFILE_INDEX_BITS),
            "busy": In(1), "finished": In(1),
            "fault": In(Fault), "fault_address": In(32), "fault_unit": In(Unit),
            "cycles": In(64), "retired": In(32), "profile_data": In(32),
        })


class Registers(wiring.Component):
    """AXI4-Lite subordinate that holds the registers of rtl/contract/registers.py.

    Full back-pressure on all channels; address and data of a write may come in any order. One write and one
    read are under way at a time; a read or write is carried out in the cycle after its last part arrived,
    and answered in the next. Byte strobes are honoured. The low two address bits are ignored. A read of an
    unknown address returns 0, and it, a write to an unknown address and a write to a read-only register are
    answered with SLVERR and change nothing.

    Parameters
    ----------
    fabric : Fabric
        Gives the fingerprint.

    Members
    -------
    axil : ``In(AXI4Lite())``
    control : ``Out(ControlPort())``
    """

    def __init__(self, *, fabric: Fabric):
        self._fingerprint = fabric.fingerprint
        super().__init__({"axil": In(AXI4Lite()), "control": Out(ControlPort())})

    def elaborate(self, platform):
        m = Module()
        axil, control = self.axil, self.control
        kept = {Reg.PROGRAM_ADDRESS: control.program_address, Reg.PROGRAM_COUNT: control.program_count,
                Reg.WATCHDOG: control.watchdog, Reg.PROFILE_INDEX: control.profile_index}
        word_bits = len(axil.awaddr) - 2

        # Write: collect address and data, carry out, answer.
        address_held, data_held = Signal(), Signal()
        address, data, strobe = Signal(word_bits), Signal(32), Signal(4)
        m.d.comb += [axil.awready.eq(~address_held), axil.wready.eq(~data_held)]
        with m.If(axil.awvalid & axil.awready):
            m.d.sync += [address_held.eq(1), address.eq(axil.awaddr[2:])]
        with m.If(axil.wvalid & axil.wready):
            m.d.sync += [data_held.eq(1), data.eq(axil.wdata), strobe.eq(axil.wstrb)]
        m.d.sync += [control.start.eq(0), control.reset.eq(0), control.clear_profile.eq(0)]
        with m.If(axil.bvalid & axil.bready):
            m.d.sync += axil.bvalid.eq(0)
        with m.If(address_held & data_held & ~axil.bvalid):
            m.d.sync += [address_held.eq(0), data_held.eq(0), axil.bvalid.eq(1), axil.bresp.eq(RESP_OKAY)]
            with m.Switch(address):
                for reg, target in kept.items():
                    with m.Case(reg >> 2):
                        for i in range(0, len(target), 8):
                            with m.If(strobe[i // 8]):
                                m.d.sync += target[i:i + 8].eq(data[i:i + 8])
                with m.Case(Reg.CONTROL >> 2):
                    for bit, pulse in ((Control.START, control.start), (Control.RESET, control.reset),
                                       (Control.CLEAR_PROFILE, control.clear_profile)):
                        m.d.sync += pulse.eq(strobe[0] & (data & bit).any())
                with m.Default():
                    m.d.sync += axil.bresp.eq(RESP_SLVERR)

        # Read.
        status = Mux(control.busy, Status.BUSY, 0) | Mux(control.finished, Status.DONE, 0) | Mux(
            control.fault != Fault.NONE, Status.FAULT, 0)
        readable = {
            Reg.MAGIC: MAGIC_WORD, Reg.VERSION: ISA_VERSION,
            Reg.FINGERPRINT_LO: self._fingerprint & 0xFFFF_FFFF, Reg.FINGERPRINT_HI: self._fingerprint >> 32,
            Reg.CONTROL: 0, Reg.STATUS: status, **kept,
            Reg.FAULT: control.fault, Reg.FAULT_ADDRESS: control.fault_address,
            Reg.FAULT_UNIT: control.fault_unit, Reg.RETIRED: control.retired,
            Reg.CYCLES_LO: control.cycles[:32], Reg.CYCLES_HI: control.cycles[32:],
            Reg.PROFILE_DATA: control.profile_data,
        }
        wanted, index = Signal(), Signal(word_bits)
        m.d.comb += axil.arready.eq(~wanted & ~axil.rvalid)
        with m.If(axil.arvalid & axil.arready):
            m.d.sync += [wanted.eq(1), index.eq(axil.araddr[2:])]
        with m.If(axil.rvalid & axil.rready):
            m.d.sync += axil.rvalid.eq(0)
        with m.If(wanted):
            m.d.sync += [wanted.eq(0), axil.rvalid.eq(1), axil.rresp.eq(RESP_OKAY)]
            with m.Switch(index):
                for reg, value in readable.items():
                    with m.Case(reg >> 2):
                        m.d.sync += axil.rdata.eq(value)
                with m.Default():
                    m.d.sync += [axil.rdata.eq(0), axil.rresp.eq(RESP_SLVERR)]
        return m
