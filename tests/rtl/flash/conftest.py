# amaranth: UnusedElaboratable=no
"""The flash controller between a random AXI4 manager, a host at its registers, and the model of the chip."""
import sys
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from amaranth import Signal
from amaranth.hdl import ResetInserter
from celosia.rtl.flash.controller import FlashController
from celosia.rtl.link.axi import RESP_SLVERR

sys.path.append(str(Path(__file__).parents[2] / "support"))
from axi_manager import AXI_IN, AXI_OUT, AXIManager, Burst, Pace, simulate  # noqa: E402
from flash_model import NAMES, FlashModel  # noqa: E402

LITE_IN = ("awaddr", "awvalid", "wdata", "wstrb", "wvalid", "bready", "araddr", "arvalid", "rready")
LITE_OUT = ("awready", "wready", "bresp", "bvalid", "arready", "rdata", "rresp", "rvalid")


class Bench:
    """``trace`` is the pins of each cycle and what was on the flash's lines."""

    def __init__(self, *, seed=0, clock=30e6, pin_delay=0, pace=None, **chip):
        print(f"seed {seed}")
        self.rng = np.random.default_rng(seed)
        self.dut = FlashController(pin_delay=pin_delay)
        self.chip = FlashModel(clock=clock, pin_delay=pin_delay, **{"size": 1 << 16} | chip)
        self.size = len(self.chip.memory)
        self.chip.memory[:] = self.rng.bytes(self.size)
        self.axi = AXIManager(self.rng, data_bytes=4, pace=pace, outstanding=2,
                              background=lambda address: self.chip.memory[address % self.size],
                              resp_of=lambda address, write: RESP_SLVERR if write else 0)
        self.reset, self.trace = Signal(), []
        self.registers, self.answers, self.lite = deque(), [], None

    def simulate(self, script):
        async def testbench(ctx, wires):
            self.ctx, self.wires = ctx, wires
            await script(self)

        axi, axil, pins = self.dut.axi, self.dut.axil, self.dut.pins
        simulate(ResetInserter(self.reset)(self.dut),
                 {name: getattr(axi, name) for name in AXI_IN}
                 | {f"lite_{name}": getattr(axil, name) for name in LITE_IN}
                 | {"io_i": pins.io_i, "reset": self.reset},
                 {name: getattr(axi, name) for name in AXI_OUT}
                 | {f"lite_{name}": getattr(axil, name) for name in LITE_OUT}
                 | {name: getattr(pins, name) for name in NAMES}, testbench)

    def drive_lite(self):
        """One access to the registers after the other: (address, value), or (address, None) to read."""
        if self.lite is None and self.registers:
            address, value = self.registers.popleft()
            self.lite = {"address": address, "value": value,
                         "to do": {"ar"} if value is None else {"aw", "w"}}
        out = {f"lite_{name}": 0 for name in ("awvalid", "wvalid", "arvalid", "bready", "rready")}
        if self.lite is not None:
            lite = self.lite
            for channel in lite["to do"]:
                out[f"lite_{channel}valid"] = 1
            out |= {"lite_awaddr": lite["address"], "lite_araddr": lite["address"],
                    "lite_wdata": lite["value"] or 0, "lite_wstrb": 15}
            out["lite_bready"] = out["lite_rready"] = int(self.axi.chance(self.axi.pace.b))
        return out

    def sample_lite(self, seen, driven):
        if self.lite is None:
            return
        for channel in list(self.lite["to do"]):
            if seen[f"lite_{channel}ready"]:
                self.lite["to do"].remove(channel)
        write = self.lite["value"] is not None
        held, now = self.lite.get("held"), (seen["lite_bresp"] if write else seen["lite_rdata"])
        if seen["lite_bvalid" if write else "lite_rvalid"]:
            assert held in (None, now), "an answer changed while it waited"
            self.lite["held"] = now
            if driven["lite_bready" if write else "lite_rready"]:
                self.answers.append(now)
                self.lite = None
        else:
            assert held is None

    async def step(self):
        driven = self.axi.drive() | self.drive_lite()
        self.wires.set(self.ctx, driven)
        seen = self.wires.get(self.ctx)
        pins = tuple(seen[name] for name in NAMES)
        lines = self.chip.clock(*pins)
        self.trace.append((*pins, lines))
        self.wires.set(self.ctx, {"io_i": lines})
        self.sample_lite(seen, driven)
        self.axi.sample(seen)
        await self.ctx.tick()

    async def run(self, bound=40_000):
        begin = self.axi.cycle
        while self.axi.busy or self.registers or self.lite is not None:
            assert self.axi.cycle - begin < bound, f"not done after {bound} cycles"
            await self.step()

    async def register(self, *accesses):
        """Carry out accesses to the registers; returns the answers to them."""
        self.answers = []
        self.registers += accesses
        while len(self.answers) < len(accesses):
            await self.step()
        return self.answers


@pytest.fixture
def bench_class():
    return Bench


@pytest.fixture
def pace_class():
    return Pace


@pytest.fixture
def burst_class():
    return Burst


