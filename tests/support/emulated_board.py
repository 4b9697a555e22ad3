"""The far end of the link with an emulated fabric behind it."""
import numpy as np
from celosia.host.link.emulator import EmulatorLink
from celosia.rtl.contract.errors import DeviceError
from celosia.rtl.contract.link import BOARD_PAGE, Info, Kind, Status
from celosia.rtl.contract.registers import Reg

from .link_board import Board


class EmulatedBoard(Board):
    """A board whose fabric is the emulator's.

    Parameters
    ----------
    fabric : Fabric
    memory_size : int
        As that of EmulatorLink.
    """

    def __init__(self, fabric, *, memory_size=1 << 22):
        self.link = EmulatorLink(fabric, memory_size=memory_size)
        super().__init__(Info(board=3, clock=30_000_000, memory_bytes=self.link.memory_size,
                              rom_base=fabric.rom_base, rom_bytes=self.link.rom_size,
                              fingerprint=fabric.fingerprint))

    def _carry_out(self, kind, address, count, data):
        try:
            match kind:
                case Kind.READ_REGISTER if address < BOARD_PAGE:
                    return Status.OK, self.link.read(Reg(address)).to_bytes(4, "little")
                case Kind.WRITE_REGISTER if address < BOARD_PAGE:
                    self.link.write(Reg(address), int.from_bytes(data, "little"))
                    return Status.OK, b""
                case Kind.READ_MEMORY:
                    return Status.OK, self.link.read_memory(address, count).tobytes()
                case Kind.WRITE_MEMORY:
                    self.link.write_memory(address, np.frombuffer(data, np.uint8))
                    return Status.OK, b""
        except (DeviceError, ValueError):
            pass
        return Status.SLAVE_ERROR, b""
