# amaranth: UnusedElaboratable=no
"""The SDRAM controller between a random AXI4 manager and the model of the chip."""
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from amaranth import Signal
from amaranth.hdl import ResetInserter
from celosia.rtl.link.axi import RESP_DECERR
from celosia.rtl.sdram.controller import SDRAMController
from celosia.rtl.sdram.timing import SDRAMTiming

sys.path.append(str(Path(__file__).parents[2] / "support"))
from axi_manager import AXI_IN, AXI_OUT, AXIManager, Burst, Pace, simulate  # noqa: E402
from sdram_model import NAMES, SDRAMModel  # noqa: E402


def cycles_at(mhz, **changes):
    """The default chip, with a power-up of 1 us, and fewer rows to refresh in as much less time."""
    timing = SDRAMTiming(power_up=1_000, **changes)
    return replace(timing, t_refresh=timing.t_refresh * (1 << timing.row_bits) / 8192).at(mhz * 1e6)


class Bench:
    """``trace`` is the pins of each cycle and what the chip put on the data bus."""

    def __init__(self, timing, *, seed=0, data_bytes=4, pin_delay=0, pace=None, chip_timing=None,
                 outstanding=4, strict_reads=False, **options):
        print(f"seed {seed}")
        self.rng = np.random.default_rng(seed)
        self.timing, self.data_bytes = timing, data_bytes
        self.dut = SDRAMController(timing=timing, data_bytes=data_bytes, pin_delay=pin_delay, **options)
        self.chip = SDRAMModel(chip_timing or timing, pin_delay=pin_delay, strict_reads=strict_reads)
        self.bytes = 8 << timing.row_bits + timing.column_bits
        self.axi = AXIManager(self.rng, data_bytes=data_bytes, pace=pace, outstanding=outstanding,
                              resp_of=lambda address, write: RESP_DECERR if address >= self.bytes else 0)
        self.reset = Signal()
        self.trace = []

    def simulate(self, script):
        async def testbench(ctx, wires):
            self.ctx, self.wires = ctx, wires
            await script(self)

        axi, pins = self.dut.axi, self.dut.pins
        simulate(ResetInserter(self.reset)(self.dut),
                 {name: getattr(axi, name) for name in AXI_IN} | {"dq_i": pins.dq_i, "reset": self.reset},
                 {name: getattr(axi, name) for name in AXI_OUT}
                 | {name: getattr(pins, name) for name in NAMES}, testbench)

    async def step(self):
        """A clock cycle of the manager, the controller and the chip."""
        self.wires.set(self.ctx, self.axi.drive())
        seen = self.wires.get(self.ctx)
        pins = tuple(seen[name] for name in NAMES)
        bus = self.chip.clock(*pins)
        self.trace.append((*pins, bus))
        self.wires.set(self.ctx, {"dq_i": bus})
        self.axi.sample(seen)
        await self.ctx.tick()

    async def run(self, bound=20_000):
        """Until the manager has nothing more to do."""
        begin = self.axi.cycle
        while self.axi.busy:
            assert self.axi.cycle - begin < bound, f"not done after {bound} cycles"
            await self.step()

    def random_word(self):
        return int.from_bytes(self.rng.bytes(self.data_bytes), "little")

    def random_burst(self, write, *, address=None, beats=None, whole=False):
        """In a few rows of each bank, most of them short, within 4 KB."""
        size, rng = self.data_bytes, self.rng
        page = 2 << self.timing.column_bits
        if address is None:
            address = int(rng.integers(3)) * 4 * page + int(rng.integers(4)) * page
            address += int(rng.choice([0, page - size, page - 5 * size, rng.integers(page // size) * size]))
        if beats is None:
            beats = int(rng.choice([1, 2, 16, 16, rng.integers(1, 40), rng.integers(1, 130)]))
        beats = min(beats, (4096 - address % 4096) // size)
        if not write:
            return Burst(address, beats)
        full = (1 << size) - 1
        strobes = [full, full if whole else int(rng.integers(full + 1))]
        return Burst(address, [(self.random_word(), int(rng.choice(strobes))) for _ in range(beats)])


@pytest.fixture
def bench_class():
    return Bench


@pytest.fixture
def pace_class():
    return Pace


@pytest.fixture
def at_mhz():
    return cycles_at
