"""The driver against a link that answers as it is told: every error has its type and says what to do."""
import numpy as np
import pytest
from celosia.host.driver.fabric_driver import FabricDriver, RunStats
from celosia.rtl.contract.errors import DeviceError, DeviceTimeout, FaultError, InputError, MismatchError
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import ISA_VERSION, Cause, Unit
from celosia.rtl.contract.registers import MAGIC_WORD, Control, Fault, Reg, Status

FABRIC = Fabric(rows=2, cols=2, bus_bytes=8, profile_layers=2)


class FakeLink:
    """Registers from a dictionary; a run ends as ``ends`` says."""

    memory_size = 4096

    def __init__(self, **registers):
        self.registers = {reg: 0 for reg in Reg} | {
            Reg.MAGIC: MAGIC_WORD, Reg.VERSION: ISA_VERSION,
            Reg.FINGERPRINT_LO: FABRIC.fingerprint & 0xFFFF_FFFF,
            Reg.FINGERPRINT_HI: FABRIC.fingerprint >> 32}
        self.registers |= {Reg[name]: value for name, value in registers.items()}
        self.ends = {Reg.STATUS: Status.DONE}
        self.stuck = False
        self.log = []

    def read(self, reg):
        if reg == Reg.PROFILE_DATA:
            return self.registers[Reg.PROFILE_INDEX] + 1
        return self.registers[reg]

    def write(self, reg, value):
        self.log.append((reg, value))
        self.registers[reg] = value
        if reg == Reg.CONTROL and value & Control.START:
            self.registers |= {Reg.RETIRED: self.registers[Reg.PROGRAM_COUNT]} | self.ends

    def wait_idle(self, *, max_cycles, progress=None):
        self.log.append(("wait", max_cycles))
        if isinstance(self.stuck, BaseException):
            raise self.stuck
        if self.stuck:
            raise DeviceTimeout("stuck")

    def read_memory(self, address, count):
        return np.zeros(count, np.uint8)

    def write_memory(self, address, data):
        self.log.append(("memory", address))

    def fault_detail(self):
        return ""

    def close(self):
        self.log.append("close")


def test_a_run_returns_64_bit_cycles_and_writes_start_last():
    link = FakeLink()
    link.ends |= {Reg.CYCLES_LO: 5, Reg.CYCLES_HI: 2}
    assert FabricDriver(link, FABRIC).run_program(64, 3, watchdog=1000) == RunStats((2 << 32) + 5, 3)
    written = [entry for entry in link.log if entry[0] != "wait"]
    assert written[-1] == (Reg.CONTROL, Control.START)
    assert {(Reg.PROGRAM_ADDRESS, 64), (Reg.PROGRAM_COUNT, 3), (Reg.WATCHDOG, 1000)} == set(written[:-1])
    assert all(limit < 1_000_000 for what, limit in link.log if what == "wait")


@pytest.mark.parametrize(("registers", "error", "text"), [
    ({"MAGIC": 0xFFFF_FFFF}, DeviceError, "MAGIC reads 0xffffffff, expected 0x434c5341; check the port"),
    ({"VERSION": 99}, MismatchError, "version 99.*build and flash"),
    ({"FINGERPRINT_LO": 0}, MismatchError,
     f"{FABRIC.fingerprint:#018x}.*device has an unknown fabric .0x.*00000000.; compile the model"),
    ({"FINGERPRINT_HI": 1}, MismatchError, "device has an unknown fabric .0x00000001"),
])
def test_a_wrong_device_is_refused_before_a_byte_moves(registers, error, text):
    link = FakeLink(**registers)
    with pytest.raises(error, match=text):
        FabricDriver(link, FABRIC)
    assert link.log == []


def test_a_device_that_is_busy_is_reset_first():
    link = FakeLink(STATUS=Status.BUSY)
    FabricDriver(link, FABRIC)
    assert link.log[0] == (Reg.CONTROL, Control.RESET)


@pytest.mark.parametrize(("code", "text"), [
    (Fault.ILLEGAL_INSTRUCTION, "instruction 64 is illegal .STREAM, after 9 cycles and 1 of 3.*compile"),
    (Fault.READ_RESPONSE, "read from address 0x40 by STREAM.*4096 bytes: give the device more memory"),
    (Fault.WRITE_RESPONSE, "write to address 0x40"),
    (Fault.ABORTED, "aborted.*start it again"),
    (77, "fault 77 at 0x40.*unknown"),
])
def test_a_fault_is_decoded_and_the_fabric_reset(code, text):
    link = FakeLink()
    link.ends = {Reg.STATUS: Status.FAULT, Reg.FAULT: code, Reg.FAULT_ADDRESS: 0x40,
                 Reg.FAULT_UNIT: Unit.STREAM, Reg.CYCLES_LO: 9, Reg.RETIRED: 1}
    with pytest.raises(FaultError, match=text) as fault:
        FabricDriver(link, FABRIC).run_program(0, 3, watchdog=100)
    assert (fault.value.code, fault.value.address, fault.value.unit) == (code, 0x40, Unit.STREAM)
    assert (Reg.CONTROL, Control.RESET) in link.log


def test_the_watchdog_is_a_time_out():
    link = FakeLink()
    link.ends = {Reg.STATUS: Status.FAULT, Reg.FAULT: Fault.WATCHDOG, Reg.RETIRED: 2}
    with pytest.raises(DeviceTimeout, match="completed 2 of 3.*watchdog of 100 cycles.*allow more"):
        FabricDriver(link, FABRIC).run_program(0, 3, watchdog=100)


@pytest.mark.parametrize("ends", [{Reg.STATUS: 0}, {Reg.STATUS: Status.DONE, Reg.RETIRED: 2}])
def test_a_run_that_ends_without_saying_how_returns_nothing(ends):
    link = FakeLink()
    link.ends = ends
    with pytest.raises(DeviceError, match="stopped without a fault after"):
        FabricDriver(link, FABRIC).run_program(0, 3, watchdog=100)


def test_a_fabric_that_stays_busy_is_a_time_out():
    link = FakeLink()
    driver = FabricDriver(link, FABRIC)
    link.stuck = True
    with pytest.raises(DeviceTimeout, match="after a reset.*power the board"):
        driver.run_program(0, 3, watchdog=100)
    assert (Reg.CONTROL, Control.RESET) in link.log


def test_an_interrupt_stops_the_fabric():
    link = FakeLink()
    driver = FabricDriver(link, FABRIC)
    link.stuck = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        driver.run_program(0, 3, watchdog=100)
    assert (Reg.CONTROL, Control.RESET) in link.log


@pytest.mark.parametrize(("address", "count", "watchdog"), [
    (4, 1, 1), (-8, 1, 1), (1 << 32, 1, 1), (0, 0, 1), (0, 1 << 32, 1), (0, 1, 0), (0, 1, 1 << 32)])
def test_a_run_that_the_registers_cannot_hold_is_refused(address, count, watchdog):
    link = FakeLink()
    with pytest.raises(InputError):
        FabricDriver(link, FABRIC).run_program(address, count, watchdog=watchdog)
    assert link.log == []


def test_the_profile_is_indexed_by_layer_unit_and_cause():
    profile = FabricDriver(FakeLink(), FABRIC).read_profile(3)
    assert profile.shape == (3, len(Unit), len(Cause))
    assert profile[1, Unit.POST, Cause.TOKEN_STORE] == (1 << 7 | Unit.POST << 4 | Cause.TOKEN_STORE) + 1
    assert not profile[2].any()
    some = FabricDriver(FakeLink(), FABRIC).read_profile(2, (Unit.STREAM,))
    np.testing.assert_array_equal(some[:, Unit.STREAM], profile[:2, Unit.STREAM])
    assert some.sum() == some[:, Unit.STREAM].sum()
