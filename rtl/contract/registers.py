"""Register map of the fabric's AXI4-Lite port: 32-bit registers at byte addresses."""

from enum import IntEnum


class Reg(IntEnum):
    """Byte addresses. R read-only, W write-only (reads 0), RW both; all reset to 0 unless said."""

    MAGIC = 0x00  # R   constant, see MAGIC_WORD
    VERSION = 0x04  # R   ISA_VERSION
    FINGERPRINT_LO = 0x08  # R   low half of Fabric.fingerprint
    FINGERPRINT_HI = 0x0C  # R   high half
    CONTROL = 0x10  # W   see Control
    STATUS = 0x14  # R   see Status
    PROGRAM_ADDRESS = 0x18  # RW  DRAM byte address of the first instruction, a multiple of the bus width
    PROGRAM_COUNT = 0x1C  # RW  instructions to run
    WATCHDOG = 0x20  # RW  cycles a run may take before it is stopped with Fault.WATCHDOG; 0 = no limit
    FAULT = 0x24  # R   see Fault; holds until the next START or RESET
    FAULT_ADDRESS = 0x28  # R   DRAM address (bus faults), index of the instruction (illegal ones)
    FAULT_UNIT = 0x2C  # R   Unit at fault
    CYCLES_LO = 0x30  # R   cycles from doorbell to done of the run under way or the last one
    CYCLES_HI = 0x34  # R   high half
    RETIRED = 0x38  # R   instructions completed in that run
    PROFILE_INDEX = 0x3C  # RW  bits 3:0 Cause, bits 6:4 Unit, bits 16:7 layer
    PROFILE_DATA = 0x40  # R   that counter, 8 cycles after the index; 0 where profile_layers is too small


class Control(IntEnum):
    """Bits of CONTROL. RESET aborts a run; poll STATUS until BUSY is clear."""

    START = 1 << 0  # run the program
    RESET = 1 << 1  # abort a run
    CLEAR_PROFILE = 1 << 2  # set all counters of the profile to 0; BUSY until done


class Status(IntEnum):
    """Bits of STATUS."""

    BUSY = 1 << 0  # from START until all units are idle and every bus transaction has been answered
    DONE = 1 << 1  # the last run ended without a fault
    FAULT = 1 << 2  # the last run was stopped: see FAULT


class Fault(IntEnum):
    """Why a run was stopped."""

    NONE = 0
    ILLEGAL_INSTRUCTION = 1  # an opcode that does not exist
    READ_RESPONSE = 2  # SLVERR or DECERR to a read
    WRITE_RESPONSE = 3  # the same to a write
    WATCHDOG = 4  # WATCHDOG cycles have passed
    ABORTED = 5  # CONTROL.RESET


MAGIC_WORD = 0x434C_5341  # "CLSA"
