"""Fabrics whose one memory serves for everything, and Programs run on them from memories full of rubbish."""
import numpy as np
from celosia.host.emit.program import FabricRun
from celosia.rtl.contract.fabric import Fabric
from celosia.sim.emulator import Emulator

from .networks import get_tensor, put_tensor

ROM = 1 << 24


def lean(rows, words, *, rom=True, **changes):
    """A square fabric with one memory of so many words."""
    values = {
        "name": "lean", "rows": rows, "cols": rows, "shared_words": words, "am_words": words,
        "wm_words": words, "pm_words": words // -(-20 // rows), "weight_bits": 8, "acc_depth": 64,
        "fifo_depth": 64, "line_depth": 0, "tables": 1, "bus_bytes": 4, "rom_base": ROM if rom else 0}
    return Fabric(**(values | changes))


class Board:
    """The emulator with both its memories; what nothing has written is random."""

    def __init__(self, program, seed=0):
        fabric = program.fabric
        rng = np.random.default_rng(seed)
        size = fabric.am_bytes if fabric.rom_base else max(program.dram_bytes, fabric.am_bytes)
        self.program = program
        self.dram = rng.integers(0, 256, size).astype(np.uint8)
        self.rom = rng.integers(0, 256, program.rom_bytes).astype(np.uint8)
        self.emulator = Emulator(fabric, self.dram, self.rom)
        base = fabric.rom_base or 1 << 32
        for address, blob in program.blobs:
            memory, start = (self.rom, address - base) if address >= base else (self.dram, address)
            memory[start:start + len(blob)] = blob
        self.emulator.run(*program.setup)

    def run(self, image):
        """Outputs by tensor."""
        outputs = {}
        for step in self.program.steps:
            assert isinstance(step, FabricRun)
            for home in step.inputs:
                put_tensor(self.dram, home, image)
            self.emulator.run(step.address, step.count)
            outputs |= {home.tensor: get_tensor(self.dram, home) for home in step.outputs}
        return outputs
