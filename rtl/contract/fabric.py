"""The parameters of one fabric: the one place that gateware, compiler, emulator and driver read."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from .errors import FabricError

WORD_BITS = 16
"""Bits of the word part of an activation address in an instruction."""
LANE_BITS = 5
"""Bits of the lane part: which of the (at most 32) banks."""
WM_ADDRESS_BITS = 18
PM_ADDRESS_BITS = 14
LAYER_BITS = 10

TABLE_BITS = 4
TABLE_BYTES = 256
TABLE_ADDRESS_BITS = 10
"""Address of a beat in the table memory."""
LINE_LEAST, LINE_MOST = 4, 1024
FIR_GROUPS = 3
"""Kernel rows that a FIR pass can sum at most: the pixel stream and two delayed copies of it."""
RING_LEAST = 3
"""Shortest delay between the copies: a RAM is written, read and its output registered in between."""

PARAMETER_BYTES = 20
"""Bytes of one record of the parameter memory (see ``numerics.Channel``)."""


@dataclass(frozen=True, kw_only=True)
class Fabric:
    """A buildable fabric.

    Parameters
    ----------
    name : str
        For people; not part of the fingerprint.
    rows, cols : int
        R and C of the array, 1 to 32. Row r multiplies tap r of a tile, column c makes output channel c.
    lanes : int
        Results post-processed per cycle, 1 to min(rows, cols); 0 means as many as that allows.
    am_words : int
        Depth of each of the R byte-wide banks of the activation memory.
    wm_words : int
        Words of C bytes in the weight memory; a tile takes R of them.
    pm_words : int
        Records in the parameter memory, one per output channel.
    acc_depth : int
        Partial sums each column keeps: the most pixels a pass over several tiles can have.
    fifo_depth : int
        Finished pixels that wait for post-processing.
    acc_width : int
        Bits of a partial sum (two's complement, wraps).
    weight_bits : int
        Bits of a weight in the array: 8, or 9 for weights with a zero point (isa.Load subtracts it).
    line_depth : int
        Pixels that each column can delay by, so that several kernel rows are summed in one pass over an image
        (isa.Stream, FIR mode); 0 for one kernel row a pass.
    tables : int
        256-byte tables of unary functions that post-processing keeps; 0 leaves the unit out.
    ties_to_even : bool
        Requantisation can round as a product in float32 does (numerics.Channel, ``even``); ONNX models want
        it.
    bus_bytes : int
        Bytes of a beat on the memory port: 4, 8 or 16.
    max_burst : int
        Beats of the longest AXI burst, 1 to 256.
    outstanding : int
        Read bursts that may be under way at once.
    queue_depth : int
        Instructions that wait in front of each unit.
    profile_layers : int
        Layers the profile memory holds counters for; 0 leaves it out.
    shared_words : int
        Words of R bytes in one memory that serves as activation, weight and parameter memory: word w of the
        weight memory is the R bytes from activation word w on, parameter record p is
        ``parameter_words`` words from ``p * parameter_words`` on, and the memory port reaches the same bytes
        from address 0 on. A Program keeps what it puts into them apart. 0: three memories of their own.
    rom_base : int
        Where the memory port reaches a memory that the fabric cannot write; a Program's constants and
        instructions lie there. 0: all lies in one memory from address 0 on.

    Raises
    ------
    FabricError
        Names the parameter, its value and the limit.
    """

    name: str = "custom"
    rows: int = 16
    cols: int = 16
    lanes: int = 0
    am_words: int = 8192
    wm_words: int = 16384
    pm_words: int = 1024
    acc_depth: int = 512
    fifo_depth: int = 512
    acc_width: int = 32
    weight_bits: int = 9
    line_depth: int = 256
    tables: int = 4
    ties_to_even: bool = True
    bus_bytes: int = 8
    max_burst: int = 16
    outstanding: int = 4
    queue_depth: int = 4
    profile_layers: int = 128
    shared_words: int = 0
    rom_base: int = 0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name == "ties_to_even":
                if not isinstance(value, bool):
                    raise FabricError(f"{item.name} must be true or false, not {value!r}")
            elif item.name != "name" and not isinstance(value, int):
                raise FabricError(f"{item.name} must be a whole number, not {value!r}")
        self._within("rows", 1, 32)
        self._within("cols", 1, 32)
        most = min(self.rows, self.cols)
        if self.lanes == 0:
            object.__setattr__(self, "lanes", most)
        self._within("lanes", 1, most, "min(rows, cols), what one cycle can write to the activation memory")
        self._within("am_words", 8, 1 << WORD_BITS, "the address field")
        self._within("wm_words", 2 * self.rows, 1 << WM_ADDRESS_BITS, "two tiles, the address field")
        self._within(
            "pm_words",
            2 * (self.cols + 1),
            1 << PM_ADDRESS_BITS,
            "two sets of one record per column and one for an add, the address field",
        )
        self._within("acc_depth", 4, 1 << 14, "the pixel counters")
        self._within("fifo_depth", 4, 1 << 14, "the pixel counters")
        self._within("acc_width", 20, 32)
        self._within("weight_bits", 8, 9)
        if self.line_depth:
            self._within("line_depth", LINE_LEAST, LINE_MOST, "or 0 for none")
        self._within("tables", 0, (1 << TABLE_BITS) - 1, "the instruction's field")
        if self.bus_bytes not in (4, 8, 16):
            raise FabricError(f"bus_bytes is {self.bus_bytes}; choose 4, 8 or 16")
        self._within("max_burst", 1, 256, "AXI4")
        self._within("outstanding", 1, 16)
        self._within("queue_depth", 1, 16)
        self._within("profile_layers", 0, 1 << LAYER_BITS)
        if self.shared_words:
            self._shares()
        if self.rom_base:
            self._within("rom_base", 1, 1 << 31, "or 0 for none")
            if self.rom_base % 4096:
                raise FabricError(f"rom_base is {self.rom_base:#x}; it must be a multiple of 4096")

    def _shares(self) -> None:
        """Check what one memory for everything needs."""
        self._within("shared_words", 8, 1 << WORD_BITS, "the address field, or 0 for memories of their own")
        if self.rows not in (4, 8, 16) or self.cols != self.rows or self.weight_bits != 8:
            raise FabricError(
                f"shared_words is {self.shared_words}, so a word must hold a weight for each column: rows "
                f"and cols are to be the same 4, 8 or 16 and weight_bits 8, not {self.rows}, {self.cols} and "
                f"{self.weight_bits}"
            )
        for name, value, most in (
            ("am_words", self.am_words, self.shared_words),
            ("wm_words", self.wm_words, self.shared_words),
            ("pm_words", self.pm_words, self.shared_words // self.parameter_words),
        ):
            if value != most:
                raise FabricError(f"{name} is {value}; with shared_words = {self.shared_words} it is {most}")

    def _within(self, name: str, low: int, high: int, why: str = "") -> None:
        value = getattr(self, name)
        if not low <= value <= high:
            reason = f" ({why})" if why else ""
            raise FabricError(f"{name} is {value}; it must be {low} to {high}{reason}")

    @property
    def am_bytes(self) -> int:
        """Capacity of the activation memory."""
        return self.rows * self.am_words

    @property
    def wm_bytes(self) -> int:
        """Capacity of the weight memory."""
        return self.cols * self.wm_words

    @property
    def wm_word_stride(self) -> int:
        """Bytes that one weight word takes in DRAM: a whole number of beats."""
        return -(-self.cols // self.bus_bytes) * self.bus_bytes

    @property
    def pm_word_stride(self) -> int:
        """Bytes that one parameter record takes in DRAM: a whole number of beats."""
        return -(-PARAMETER_BYTES // self.bus_bytes) * self.bus_bytes

    @property
    def parameter_words(self) -> int:
        """Words of the shared memory that one parameter record takes."""
        return -(-PARAMETER_BYTES // self.rows)

    @property
    def fingerprint(self) -> int:
        """64 bits that differ when anything a Program depends on differs; readable from the hardware."""
        from .isa import ISA_VERSION

        values = {key: value for key, value in asdict(self).items() if key != "name"}
        text = json.dumps([ISA_VERSION, values], sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")

    def but(self, **changes: Any) -> "Fabric":
        """A copy with other values; lanes are chosen anew if rows or cols change and lanes do not."""
        known = {item.name for item in fields(self)}
        for key in changes:
            if key not in known:
                raise FabricError(f"a fabric has no parameter {key!r}; it has {', '.join(sorted(known))}")
        if ("rows" in changes or "cols" in changes) and "lanes" not in changes:
            changes["lanes"] = 0
        return replace(self, **changes)
