"""The memory behind an AXI4 port: the AxiRam of cocotbext-axi, parts of which can be broken."""
from itertools import repeat
from mmap import mmap

import numpy as np
from cocotbext.axi import AxiRam


class Memory(AxiRam):
    """Answers an access to the byte at ``broken``, or outside, with SLVERR: AxiRam's answer to an exception.

    Attributes
    ----------
    data : uint8 array
        The contents, shared.
    broken : int or None
    """

    def __init__(self, bus, clock, reset, *, size):
        super().__init__(bus, clock, reset, size=size, mem=mmap(-1, size))
        self.data = np.frombuffer(self.mem, np.uint8)
        self.broken = None
        read, write = self.read_if._read, self.write_if._write

        async def checked_read(address, length):
            self.check(address, length)
            return await read(address, length)

        async def checked_write(address, data):
            self.check(address, len(data))
            await write(address, data)

        self.read_if._read, self.write_if._write = checked_read, checked_write

    def check(self, address, length):
        if address + length > self.size:
            raise ValueError(f"{address:#x} is outside")
        if self.broken is not None and address <= self.broken < address + length:
            raise ValueError(f"{self.broken:#x} is broken")


def pause(model, chance):
    """From now on each channel of a master, a slave or a RAM rests in so many of the cycles, by ``chance()``.
    """
    write, read = model.write_if, model.read_if
    for channel in (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel):
        channel.set_pause_generator(chance() for _ in repeat(None))
