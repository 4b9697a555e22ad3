"""One body of tests on the compiled RTL and on the emulator: the same program leaves the same memory."""
import numpy as np
import pytest
from celosia.host.driver.fabric_driver import FabricDriver
from celosia.host.link.factory import DEVICES, is_board, open_link
from celosia.rtl.contract.errors import DeviceError, DeviceTimeout, FaultError, InputError, MismatchError
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.isa import INSTRUCTION_BYTES, Cause, Load, Store, Unit, Weights
from celosia.rtl.contract.registers import MAGIC_WORD, Fault, Reg, Status
from celosia.sim.native.model import Memory
from support.tiny_program import DRAM_BYTES, PROGRAM, RESULT, tiny_program

FABRIC = Fabric(rows=3, cols=2, am_words=64, wm_words=16, pm_words=16, acc_depth=16, fifo_depth=8,
                bus_bytes=4, profile_layers=4)
WATCHDOG = 20_000


@pytest.fixture(params=[name for name in DEVICES if not is_board(name)])
def link(request):
    link = open_link(request.param, FABRIC, memory_size=DRAM_BYTES)
    yield link
    link.close()


def encode(*instructions):
    return np.frombuffer(b"".join(item.encode(FABRIC) for item in instructions), np.uint8)


def run(driver, dram, count):
    driver.write_memory(0, dram)
    return driver.run_program(PROGRAM, count, watchdog=WATCHDOG)


def test_a_program_computes_what_numpy_does_and_touches_nothing_else(link):
    dram, count, want = tiny_program(FABRIC)
    stats = run(FabricDriver(link, FABRIC), dram, count)
    assert stats.retired == count
    assert stats.cycles == 0 or 50 < stats.cycles < WATCHDOG
    dram[RESULT:RESULT + want.size] = want.view(np.uint8).reshape(-1)
    np.testing.assert_array_equal(link.read_memory(0, DRAM_BYTES), dram)


def test_programs_run_one_after_the_other(link):
    driver = FabricDriver(link, FABRIC)
    for seed in range(3):
        dram, count, want = tiny_program(FABRIC, pixels=1 + 3 * seed, seed=seed)
        run(driver, dram, count)
        np.testing.assert_array_equal(driver.read_memory(RESULT, want.size), want.view(np.uint8).reshape(-1))


def test_an_illegal_instruction_is_a_fault_and_the_next_program_runs(link):
    driver = FabricDriver(link, FABRIC)
    dram, count, want = tiny_program(FABRIC)
    good = dram.copy()
    dram[PROGRAM + 3 * INSTRUCTION_BYTES] |= 0x0F  # no such opcode
    with pytest.raises(FaultError) as fault:
        run(driver, dram, count)
    assert (fault.value.code, fault.value.address) == (Fault.ILLEGAL_INSTRUCTION, 3)
    run(driver, good, count)
    np.testing.assert_array_equal(driver.read_memory(RESULT, want.size), want.view(np.uint8).reshape(-1))


def test_registers_read_as_the_contract_says(link):
    assert link.read(Reg.MAGIC) == MAGIC_WORD
    assert link.read(Reg.FINGERPRINT_LO) | link.read(Reg.FINGERPRINT_HI) << 32 == FABRIC.fingerprint
    assert link.read(Reg.STATUS) == 0
    link.write(Reg.PROGRAM_ADDRESS, 0x1234_5678)
    assert link.read(Reg.PROGRAM_ADDRESS) == 0x1234_5678
    assert link.read(Reg.CONTROL) == 0
    with pytest.raises(DeviceError):
        link.write(Reg.MAGIC, 0)


def test_memory_outside_is_refused(link):
    assert link.memory_size == DRAM_BYTES
    for address, count in ((-1, 1), (DRAM_BYTES, 1), (DRAM_BYTES - 1, 2)):
        with pytest.raises(DeviceError, match=f"outside the {DRAM_BYTES} bytes"):
            link.read_memory(address, count)
        with pytest.raises(DeviceError, match="outside"):
            link.write_memory(address, np.zeros(count, np.uint8))
    got = link.read_memory(0, 4)
    got[:] = 99  # a copy
    assert not link.read_memory(0, 4).any()


def test_the_driver_refuses_another_fabric(link):
    with pytest.raises(MismatchError, match=f"{FABRIC.fingerprint:#018x}"):
        FabricDriver(link, FABRIC.but(am_words=128))


def test_a_reset_leaves_an_idle_fabric_and_its_memories(link):
    driver = FabricDriver(link, FABRIC)
    dram, count, want = tiny_program(FABRIC)
    run(driver, dram, count)
    driver.reset()
    assert not link.read(Reg.STATUS) & Status.BUSY
    driver.write_memory(RESULT, np.zeros(want.size, np.uint8))
    last = encode(Store(dram=RESULT, row_bytes=want.size, local=-(-21 // 3) * 3))
    driver.write_memory(0, last)
    driver.run_program(0, 1, watchdog=WATCHDOG)
    np.testing.assert_array_equal(driver.read_memory(RESULT, want.size), want.view(np.uint8).reshape(-1))


def test_a_closed_link_says_so(link):
    link.close()
    link.close()
    with pytest.raises(DeviceError, match="closed"):
        link.read(Reg.STATUS)


def test_the_emulator_says_which_rule_was_broken():
    link = open_link("emulator", FABRIC, memory_size=DRAM_BYTES)
    driver = FabricDriver(link, FABRIC)
    driver.write_memory(0, encode(Load(dram=2, row_bytes=4)))
    with pytest.raises(FaultError, match="instruction 0 at 0x0.*multiples of 4") as fault:
        driver.run_program(0, 1, watchdog=WATCHDOG)
    assert fault.value.unit == Unit.LOAD
    driver.write_memory(0, encode(Weights(run=3)))
    with pytest.raises(FaultError, match="ends with 1 weight tiles"):
        driver.run_program(0, 1, watchdog=WATCHDOG)


def test_the_emulator_tells_long_runs(monkeypatch):
    monkeypatch.setattr("celosia.host.link.emulator.PROGRESS_SECONDS", 0.0)
    link = open_link("emulator", FABRIC, memory_size=DRAM_BYTES)
    dram, count, _ = tiny_program(FABRIC)
    told = []
    link.write_memory(0, dram)
    FabricDriver(link, FABRIC).run_program(0, count, watchdog=1, progress=lambda *now: told.append(now))
    assert [done for done, _ in told] == list(range(1, count + 1))


@pytest.mark.parametrize("memory", [
    Memory(read_latency=1, write_latency=1), Memory(read_latency=80, outstanding=1, bytes_per_cycle=1),
    Memory(stall=0.7, seed=5),
], ids=["fast", "slow", "stalls"])
def test_the_rtl_is_right_on_any_memory(memory):
    link = open_link("sim", FABRIC, memory_size=DRAM_BYTES, memory=memory)
    dram, count, want = tiny_program(FABRIC)
    driver = FabricDriver(link, FABRIC)
    run(driver, dram, count)
    np.testing.assert_array_equal(driver.read_memory(RESULT, want.size), want.view(np.uint8).reshape(-1))


def test_the_profile_of_the_rtl_accounts_for_the_run():
    link = open_link("sim", FABRIC, memory_size=DRAM_BYTES)
    driver = FabricDriver(link, FABRIC)
    dram, count, _ = tiny_program(FABRIC)
    driver.clear_profile()
    stats = run(driver, dram, count)
    profile = driver.read_profile(6)
    assert profile.shape == (6, len(Unit), len(Cause))
    assert not profile[2:].any()
    used = profile.sum(axis=(0, 2))  # a unit's account ends with its last instruction
    assert (used > 0).all() and (used <= stats.cycles).all()
    assert stats.cycles - used[Unit.STORE] <= 30
    assert profile[0, Unit.LOAD, Cause.BUSY] > 0 and profile[1, Unit.STREAM, Cause.BUSY] > 0
    driver.clear_profile()
    assert not driver.read_profile(2).any()


@pytest.mark.parametrize(("failing", "code"), [
    ((0x1000, 0x1003, 2), Fault.READ_RESPONSE), ((RESULT, RESULT, 3), Fault.WRITE_RESPONSE)])
def test_a_bus_error_is_a_fault_with_its_address(failing, code):
    link = open_link("sim", FABRIC, memory_size=DRAM_BYTES, memory=Memory(failing=[failing]))
    driver = FabricDriver(link, FABRIC)
    dram, count, want = tiny_program(FABRIC)
    with pytest.raises(FaultError, match=f"{failing[0]:#x}.*bus error") as fault:
        run(driver, dram, count)
    assert (fault.value.code, fault.value.address) == (code, failing[0])
    link.model.configure(Memory())
    run(driver, dram, count)
    np.testing.assert_array_equal(driver.read_memory(RESULT, want.size), want.view(np.uint8).reshape(-1))


def test_the_watchdog_ends_a_run_that_takes_too_long():
    link = open_link("sim", FABRIC, memory_size=DRAM_BYTES)
    driver = FabricDriver(link, FABRIC)
    dram, count, want = tiny_program(FABRIC)
    driver.write_memory(0, dram)
    with pytest.raises(DeviceTimeout, match="watchdog of 30 cycles"):
        driver.run_program(0, count, watchdog=30)
    run(driver, dram, count)
    np.testing.assert_array_equal(driver.read_memory(RESULT, want.size), want.view(np.uint8).reshape(-1))


def test_a_memory_that_never_answers_ends_in_a_time_out(monkeypatch):
    monkeypatch.setattr("celosia.host.driver.fabric_driver.GRACE_CYCLES", 2000)
    link = open_link("sim", FABRIC, memory_size=DRAM_BYTES, memory=Memory(frozen=["R"]))
    driver = FabricDriver(link, FABRIC)
    dram, count, _ = tiny_program(FABRIC)
    driver.write_memory(0, dram)
    with pytest.raises(DeviceTimeout, match="memory behind it does not answer"):
        driver.run_program(0, count, watchdog=500)


def test_an_unknown_device_is_named():
    with pytest.raises(InputError, match="no device 'fpga'; choose one of sim, emulator"):
        open_link("fpga", FABRIC)
