"""A quad SPI flash (Winbond W25Q128JV) at its pins: keeps the data and checks what a controller can do wrong.

sim/virtual/flash_model.h is the same in C++; tests/rtl/flash/test_models.py holds both to each other.
"""
from math import ceil

NAMES = ("cs_n", "sck_en", "io_o", "io_oe")
"""The controller's outputs, in the order in which `clock` takes them."""
COMMAND, ADDRESS, MODE, DUMMY, OUT, IN, IGNORE = range(7)


class FlashError(AssertionError):
    """The controller broke a rule of the chip's datasheet."""


class FlashModel:
    """One call of ``clock`` for each cycle; ``memory`` is a bytearray."""

    def __init__(self, *, clock=30e6, size=16 << 20, jedec_id=0xEF7018, program_seconds=0.4e-3,
                 erase_seconds=45e-3, asleep=True, quad_enabled=False, pin_delay=0):
        self.clock_hz, self.jedec_id = clock, jedec_id
        self.program_seconds, self.erase_seconds = program_seconds, erase_seconds
        self.memory, self.asleep = bytearray(b"\xff" * size), asleep
        self.delayed = [15] * pin_delay
        self.cycle = self.commands = self.busy_until = self.awake_at = 0
        self.rose = -(1 << 40)
        self.selected = self.write_enabled = self.volatile_enabled = False
        self.status_2 = 2 if quad_enabled else 0
        self.phase, self.command, self.shift, self.bits, self.width = COMMAND, 0, 0, 0, 1
        self.count = self.address = self.out = self.answer = self.driven = 0
        self.data = []

    def need(self, holds, what):
        if not holds:
            raise FlashError(f"flash, cycle {self.cycle}, command {self.command:#04x}: {what}")

    def cycles(self, seconds):
        return ceil(seconds * self.clock_hz - 1e-6)

    @property
    def busy(self):
        return self.cycle < self.busy_until

    def clock(self, cs_n, sck_en, io_o, io_oe):
        """The pins of one cycle; returns what is on the four lines in this very cycle."""
        self.delayed.append(self.step(cs_n, sck_en, io_o, io_oe))
        self.cycle += 1
        return self.delayed.pop(0)

    def step(self, cs_n, sck_en, io_o, io_oe):
        chip = self.driven if self.selected else 0
        self.need(not chip & io_oe, "controller and flash both drive a line")
        lines = self.answer & chip | io_o & io_oe | 15 & ~chip & ~io_oe
        if cs_n:
            self.need(not sck_en, "a clock pulse while the flash is not selected")
            if self.selected:
                self.finish()
            self.selected = False
            return lines
        if not self.selected:
            self.need(self.cycle - self.rose >= self.cycles(50e-9),
                      "selected within tSHSL2 of the command before")
            self.selected, self.phase, self.command, self.driven = True, COMMAND, 0, 0
            self.shift, self.bits, self.width, self.count, self.data = 0, 0, 1, 0, []
            self.commands += 1
        if sck_en:
            self.pulse(lines, io_oe)
        return lines

    def pulse(self, lines, oe):
        if not self.status_2 & 2 and self.phase != IGNORE:
            self.need(lines & 12 == 12, "HOLD or WP low while the flash is not in quad mode")
        if self.phase in (COMMAND, ADDRESS, MODE, IN):
            mask = 15 if self.width == 4 else 1
            self.need(oe & mask == mask, "nobody drives a line that the flash samples")
        if self.phase == IGNORE:
            return
        if self.phase == DUMMY:
            self.count -= 1
            if not self.count:
                self.begin_out()
            return
        if self.phase == OUT:
            self.next_out()
            return
        self.shift = self.shift << self.width | lines & (1 << self.width) - 1
        self.bits += self.width
        if self.phase == COMMAND and self.bits == 8:
            self.begin(self.shift & 255)
        elif self.phase == ADDRESS and self.bits == 24:
            self.addressed()
        elif self.phase == MODE and self.bits == 8:
            self.need(self.shift >> 4 & 3 != 2, "continuous read mode is not modelled")
            self.phase, self.count = DUMMY, 4
        elif self.phase == IN and self.bits == 8:
            self.data.append(self.shift & 255)
            self.shift = self.bits = 0

    def go(self, phase, width):
        self.phase, self.width, self.shift, self.bits = phase, width, 0, 0

    def begin(self, command):
        self.command = command
        self.go(IGNORE, 1)
        if self.asleep or self.cycle < self.awake_at:
            self.need(command == 0xAB, "a command to a flash that is asleep, or within tRES1 of its waking")
            return
        self.need(not self.busy or command in (0x05, 0x35),
                  "a command while the flash programs or erases")
        if command in (0x05, 0x35, 0x9F):
            self.begin_out()
        elif command in (0x03, 0xEB):
            self.go(ADDRESS, 4 if command == 0xEB else 1)
        elif command in (0x02, 0x32, 0x20, 0xD8):
            self.need(self.write_enabled, "program or erase without a write enable")
            self.go(ADDRESS, 1)
        elif command == 0x31:
            self.need(self.write_enabled or self.volatile_enabled,
                      "a status register is written without an enable")
            self.go(IN, 1)
        else:
            self.need(command in (0x06, 0x04, 0x50, 0xAB, 0xB9), "no such command in this model")
        if command in (0xEB, 0x32):
            self.need(self.status_2 & 2, "a quad command while quad mode is not enabled")

    def addressed(self):
        self.address = self.shift & len(self.memory) - 1
        if self.command == 0x03:
            self.begin_out()
        else:
            self.go(*{0xEB: (MODE, 4), 0x02: (IN, 1), 0x32: (IN, 4)}.get(self.command, (IGNORE, 1)))

    def begin_out(self):
        """The falling edge of the pulse under way puts the first bits of a byte on the lines."""
        self.go(OUT, 4 if self.command == 0xEB else 1)
        self.driven, self.count = 15 if self.command == 0xEB else 2, 0
        self.next_out()

    def next_out(self):
        if not self.bits:
            self.out, self.bits = self.next_byte(), 8
        self.bits -= self.width
        self.answer = self.out >> self.bits & 15 if self.width == 4 else (self.out >> self.bits & 1) << 1

    def next_byte(self):
        if self.command == 0x05:
            return int(self.busy) | self.write_enabled << 1
        if self.command == 0x35:
            return self.status_2
        if self.command == 0x9F:
            self.count += 1
            return self.jedec_id >> 8 * (2 - (self.count - 1) % 3) & 255
        byte = self.memory[self.address]
        self.address = self.address + 1 & len(self.memory) - 1
        return byte

    def finish(self):
        self.rose, self.driven = self.cycle, 0
        if self.phase == COMMAND:
            self.need(not self.bits, "deselected within a command's code")
            return
        self.need(self.phase not in (ADDRESS, MODE, IN) or not self.bits, "deselected within a byte")
        command = self.command
        if command in (0x06, 0x04):
            self.write_enabled = command == 0x06
        elif command == 0x50:
            self.volatile_enabled = True
            return
        elif command == 0xB9:
            self.asleep = True
        elif command == 0xAB:
            if self.asleep:
                self.awake_at = self.cycle + self.cycles(3e-6)
            self.asleep = False
        elif command == 0x31:
            self.need(len(self.data) == 1, "a status register takes one byte")
            self.status_2 = self.data[0]
            if not self.volatile_enabled:
                self.busy_until = self.cycle + self.cycles(10e-3)
            self.write_enabled = False
        elif command in (0x02, 0x32):
            self.need(self.data, "a program command without data")
            self.need(len(self.data) <= 256, "more data than a page holds")
            for n, byte in enumerate(self.data):
                self.memory[self.address & ~255 | self.address + n & 255] &= byte
            self.busy_until = self.cycle + self.cycles(self.program_seconds)
            self.write_enabled = False
        elif command in (0x20, 0xD8):
            self.need(self.phase == IGNORE, "an erase command without its address")
            size = 4096 if command == 0x20 else 65536
            first = self.address & -size
            self.memory[first:first + size] = b"\xff" * size
            self.busy_until = self.cycle + self.cycles(self.erase_seconds * (1 if command == 0x20 else 3))
            self.write_enabled = False
        self.volatile_enabled = False
