"""What the benches of single blocks share: clock and reset, drivers and monitors of streams, packed lanes.

Every model around a block has ``drive``, called behind the falling edge of the clock, ``sample``, called when
everything has settled and before the rising one, so that no simulator can order these differently, and
``forget``, called after a reset. (The drivers
of cocotb-bus move at the rising edge and know no valid/ready stream without a clock domain of their own.)
"""
import os
from collections import deque
from random import Random

import numpy as np
from celosia.rtl.contract.isa import unit_bits
from celosia.sim.cosim import inputs
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

PERIOD = 10  # ns
SOAK = bool(os.environ.get("CELOSIA_SOAK"))
PATTERNS = [(1, 1), (1, 0.3), (0.3, 1), (0.5, 0.5), (0.8, 0.2)]
"""Chances that a source offers and that a sink takes, in a cycle."""


def seeds(few, many):
    """So many seeds in every run of the tests, so many with CELOSIA_SOAK set."""
    return list(range(many if SOAK else few))


def packed(lanes, width):
    """Lanes of so many bits as one integer, lane 0 lowest."""
    return sum((int(lane) & (1 << width) - 1) << n * width for n, lane in enumerate(lanes))


def unpacked(value, width, lanes):
    """Signed lanes of a packed value."""
    half = 1 << width - 1
    return [((value >> lane * width & 2 * half - 1) ^ half) - half for lane in range(lanes)]


def lane(value, width, number):
    """One signed lane of the value of a port; simulators with four states may not know the others."""
    return value[(number + 1) * width - 1:number * width].to_signed()


def unit_code(instruction, fabric):
    """What the sequencer hands to a unit: the low bits of the instruction word."""
    code = int.from_bytes(instruction.encode(fabric), "little")
    return code & (1 << unit_bits(instruction.UNIT)) - 1


class Bench:
    """A block and the models around it.

    Attributes
    ----------
    models : list
        In the order in which they drive and sample.
    cycle : int
        The cycle under way.
    """

    def __init__(self, dut, seed):
        dut._log.info("seed %s", seed)
        self.dut, self.rng = dut, np.random.default_rng(seed)
        self.quick = Random(str(seed))  # ten times faster for a single number
        self.models, self.cycle = [], 0

    def chance(self, probability):
        return probability >= 1 or self.quick.random() < probability

    def noise(self, width):
        """Random bits: what a payload is that does not count."""
        return self.quick.getrandbits(width)

    async def start(self):
        """Every input driven, reset held, then the clock."""
        for name in inputs():
            getattr(self.dut, name).value = int(name == "rst")
        Clock(self.dut.clk, PERIOD, unit="ns").start()
        for _ in range(3):
            await FallingEdge(self.dut.clk)
        self.dut.rst.value = 0

    async def step(self):
        """One cycle."""
        for model in self.models:
            model.drive()
        await ReadOnly()
        for model in self.models:
            model.sample()
        await FallingEdge(self.dut.clk)
        self.cycle += 1

    async def run(self, until, *, limit):
        """Cycles until ``until()``, which is asked at the end of each."""
        for _ in range(limit):
            await self.step()
            if until():
                return
        raise AssertionError(f"not done after {limit} cycles")

    async def reset(self, cycles=1):
        """Hold reset while the models go on as they please; then they forget what was under way."""
        self.dut.rst.value = 1
        for _ in range(cycles):
            await self.step()
        self.dut.rst.value = 0
        for model in self.models:
            model.forget()


class Source:
    """Offers its ``items`` on a stream into the block, and noise while it offers nothing.

    Attributes
    ----------
    chance : float
        That it offers when it may.
    gate : callable
        Says whether the item at the front may be offered yet.
    taken : list of (cycle, item)
    """

    def __init__(self, bench, name, *, chance=1.0, items=(), gate=lambda: True):
        self.bench, self.chance, self.gate = bench, chance, gate
        self.valid, self.ready, self.payload = (
            getattr(bench.dut, f"{name}__{part}") for part in ("valid", "ready", "payload"))
        self.width = len(self.payload)
        self.items, self.taken, self.offers = deque(items), [], False
        bench.models.append(self)

    def drive(self):
        if not self.offers:
            self.offers = bool(self.items) and self.gate() and self.bench.chance(self.chance)
            self.valid.value = int(self.offers)
            self.payload.value = self.items[0] if self.offers else self.bench.noise(self.width)

    def sample(self):
        if self.offers and int(self.ready.value):
            self.taken.append((self.bench.cycle, self.items.popleft()))
            self.offers = False

    def forget(self):
        """Nothing is offered any more, and nothing was."""
        self.items.clear()
        self.taken.clear()
        self.offers = False


class Sink:
    """Takes what a stream out of the block offers, and sees to it that an offer stands until it is taken.

    Attributes
    ----------
    chance : float
        That it is ready in a cycle.
    taken : list of (cycle, payload)
    """

    def __init__(self, bench, name, *, chance=1.0, take=None):
        self.bench, self.chance, self.name, self.take = bench, chance, name, take
        self.valid, self.ready, self.payload = (
            getattr(bench.dut, f"{name}__{part}") for part in ("valid", "ready", "payload"))
        self.taken, self.held, self.willing = [], None, False
        bench.models.append(self)

    def drive(self):
        self.willing = self.bench.chance(self.chance)
        self.ready.value = int(self.willing)

    def sample(self):
        offer = int(self.payload.value) if int(self.valid.value) else None
        if self.held is not None:
            assert offer == self.held, f"{self.name} changes, or takes back, what it offers"
        self.held = offer
        if offer is not None and self.willing:
            self.held = None
            self.taken.append((self.bench.cycle, offer))
            if self.take:
                self.take(offer)

    def forget(self):
        """As after a reset."""
        self.taken.clear()
        self.held = None


class Unit:
    """Hands instructions to a UnitPort of the block, and keeps count of its ``done``.

    Attributes
    ----------
    source : Source
        Of encoded instructions.
    done : list of int
        The cycles of ``done``.
    """

    def __init__(self, bench, name, fabric, *, chance=1.0, on_done=None, gate=lambda: True):
        self.bench, self.fabric, self.name, self.on_done = bench, fabric, name, on_done
        self.source = Source(bench, f"{name}__instruction", chance=chance, gate=gate)
        self.done_pin, self.done = getattr(bench.dut, f"{name}__done"), []
        bench.models.append(self)

    def give(self, instructions):
        self.source.items.extend(unit_code(each, self.fabric) for each in instructions)

    def drive(self):
        pass

    def sample(self):
        if int(self.done_pin.value):
            self.done.append(self.bench.cycle)
            assert len(self.done) <= len(self.source.taken), f"{self.name} is done with nothing"
            if self.on_done:
                self.on_done(len(self.done) - 1)

    @property
    def idle(self):
        """Everything given has been taken and completed."""
        return not self.source.items and len(self.done) == len(self.source.taken)

    def forget(self):
        self.source.forget()
        self.done.clear()


class Later:
    """Values that count after a fixed number of cycles, each for one cycle: a memory's way back."""

    def __init__(self, bench):
        self.bench, self.due = bench, {}

    def put(self, latency, value):
        self.due[self.bench.cycle + latency] = value

    def now(self):
        """What is due in this cycle, else None."""
        return self.due.pop(self.bench.cycle, None)

    def clear(self):
        self.due.clear()
