"""Link to a board over a serial port."""
import numpy as np

from ...rtl.contract.errors import DeviceError, DeviceTimeout, MismatchError
from ...rtl.contract.fabric import Fabric
from ...rtl.contract.link import BOARDS, FABRIC_PAGE, REGISTER_BYTES, Answer, Info, Kind, Status
from ...rtl.contract.registers import Reg
from ...rtl.contract.registers import Status as FabricStatus
from .flash import FlashWriter
from .link import Bytes, RunProgress, check_range
from .session import Order, Session
from .wire import SerialWire, Wire

BAUD = 3_000_000
POLL_SECONDS = 0.001
MOST_POLL_SECONDS = 0.05
PROGRESS_SECONDS = 0.1
STILL_SECONDS = 3.0
"""A busy fabric whose cycle counter shows the same for so long, and for as long as the cycles it was allowed
take, is stuck."""


class SerialLink:
    """A board that was found to have the fabric that is asked for.

    Every access is carried out once and right, or raises an error within some seconds (session.py). A board
    that is reset while the link is open refuses everything from then on.

    Parameters
    ----------
    port : str or Wire
        Name of the serial port; or anything that carries bytes.
    fabric : Fabric
        What the board must have been built with.
    baud : int
        Speed of the wire; the board's gateware knows one.

    Attributes
    ----------
    info : Info
        What the board says of itself.

    Raises
    ------
    LinkError
        If the port cannot be used, nothing answers on it, the board was unplugged, or it was reset.
    MismatchError
        If the board has another fabric, or speaks another version of the link.
    DeviceError
        From an access that a bus of the board refused.
    """

    def __init__(self, port: str | Wire, fabric: Fabric, *, baud: int = BAUD):
        wire = SerialWire(port, baud=baud) if isinstance(port, str) else port
        try:
            self.session = Session(wire, baud=baud)
            self._check_fabric(self.info, fabric)
        except BaseException:
            wire.close()
            raise

    @property
    def info(self) -> Info:
        return self.session.info

    @property
    def memory_size(self) -> int:
        """Bytes of the memory behind the fabric, from address 0 on, without the read-only one."""
        return self.info.memory_bytes

    @property
    def rom_size(self) -> int:
        """Bytes of the read-only one, from Fabric.rom_base on."""
        return self.info.rom_bytes

    def read(self, reg: Reg) -> int:
        return self.read_register(FABRIC_PAGE + reg)

    def write(self, reg: Reg, value: int) -> None:
        self.write_register(FABRIC_PAGE + reg, value)

    def read_register(self, address: int) -> int:
        """A register of the fabric or of the board, by its address in the register space."""
        answer = self.session.ask(Order(kind=Kind.READ_REGISTER, address=address))
        self._check(answer, "read", f"register {address:#06x}")
        return int.from_bytes(answer.data, "little")

    def write_register(self, address: int, value: int) -> None:
        """Write such a register."""
        data = (value & 0xFFFF_FFFF).to_bytes(REGISTER_BYTES, "little")
        answer = self.session.ask(Order(kind=Kind.WRITE_REGISTER, address=address, data=data))
        self._check(answer, "write", f"register {address:#06x}")

    def read_memory(self, address: int, count: int) -> Bytes:
        """As in Link; the read-only memory too."""
        self._in_rom(address, count)
        answers = self.session.read_memory(address, count)
        for answer in answers:
            self._check(answer, "read", f"the memory near {address:#x}")
        return np.frombuffer(b"".join(answer.data for answer in answers), np.uint8).copy()

    def write_memory(self, address: int, data: Bytes) -> None:
        """As in Link; in the read-only memory, sectors that differ are erased and programmed."""
        if self._in_rom(address, data.size):
            FlashWriter(self.session, self.read_memory).write(address, data)
            return
        for answer in self.session.write_memory(address, data.tobytes()):
            self._check(answer, "write", f"the memory near {address:#x}")

    def wait_idle(self, *, max_cycles: int, progress: RunProgress | None = None) -> None:
        """As in Link. A fabric whose cycle counter stands still for STILL_SECONDS is given up too."""
        session = self.session
        start = moved = told = session.now()
        pause, cycles, seen = POLL_SECONDS, 0, None
        allowed = max(STILL_SECONDS, 2 * max_cycles / self.info.clock)
        while self.read(Reg.STATUS) & FabricStatus.BUSY:
            now, counter = session.now(), self.read(Reg.CYCLES_LO)
            if seen is not None and counter != seen:
                cycles += (counter - seen) & 0xFFFF_FFFF
                moved = now
            seen = counter
            if cycles > max_cycles or now - moved > allowed:
                raise DeviceTimeout(f"the fabric is still busy after {cycles} cycles and {now - start:.1f} "
                                    "s; allow more cycles, or look at what the memory port waits for")
            if progress is not None and now - told >= PROGRESS_SECONDS:
                told = now
                progress(cycles, now - start)
            session.pause(pause)
            pause = min(2 * pause, MOST_POLL_SECONDS)

    def fault_detail(self) -> str:
        return ""

    def close(self) -> None:
        self.session.close()

    def _in_rom(self, address: int, count: int) -> bool:
        """Whether the bytes are in the read-only memory, else in the other; DeviceError if in neither."""
        info = self.info
        if info.rom_bytes and address >= info.rom_base:
            check_range(address, count, info.rom_bytes, info.rom_base)
            return True
        check_range(address, count, info.memory_bytes)
        return False

    @staticmethod
    def _check(answer: Answer, way: str, what: str) -> None:
        if answer.status != Status.OK:
            error = "DECERR: nothing is there" if answer.status == Status.DECODE_ERROR else "SLVERR"
            raise DeviceError(f"the board cannot {way} {what} ({error}); flash it again with this "
                              "software")

    @staticmethod
    def _check_fabric(info: Info, fabric: Fabric) -> None:
        if info.fingerprint != fabric.fingerprint:
            board = BOARDS.get(info.board, f"board {info.board}")
            raise MismatchError(f"the bitstream of this board ({board}) has fabric "
                                f"{info.fingerprint:#018x}, not {fabric.name} "
                                f"({fabric.fingerprint:#018x}); choose the fabric it has with "
                                "--fabric, or build and flash it again")
