# amaranth: UnusedElaboratable=no
"""A manager of an AXI4 port for Amaranth's simulator: random paces, all answers compared, rules watched."""
from collections import deque
from dataclasses import dataclass, field

from amaranth import Cat, Module, Signal
from amaranth.sim import Simulator
from celosia.rtl.link.axi import BURST_INCR


@dataclass
class Pace:
    """Chances that each side moves in a cycle: addresses offered, data offered, responses and data taken."""

    address: float = 1
    w: float = 1
    b: float = 1
    r: float = 1

    @classmethod
    def random(cls, rng):
        return cls(*(rng.choice([1, 1, 0.7, 0.3, 0.1]) for _ in range(4)))


@dataclass
class Burst:
    """``beats``: of a write its (data, strobe), of a read how many; ``expected``: what a read must give."""

    address: int
    beats: list | int
    resp: int = 0
    expected: list = field(default_factory=list)
    offered_at: int = 0
    done_at: int = 0

    @property
    def length(self):
        return self.beats if isinstance(self.beats, int) else len(self.beats)


class AXIManager:
    """Carries out queues of bursts.

    A subordinate is expected to do bursts in the order in which it takes their addresses, so what a read must
    give is known when its address is taken: ``memory`` is a dict of bytes, ``background(address)`` what the
    others are. ``resp_of(address, write)`` says the expected response; bursts that fail move nothing.
    """

    def __init__(self, rng, *, data_bytes, pace=None, outstanding=4, memory=None,
                 background=lambda address: 0, resp_of=lambda address, write: 0):
        self.rng, self.data_bytes, self.pace = rng, data_bytes, pace or Pace()
        self.outstanding, self.background, self.resp_of = outstanding, background, resp_of
        self.memory = {} if memory is None else memory
        self.reads, self.writes = deque(), deque()  # to be offered
        self.read_open, self.write_open, self.words = deque(), deque(), deque()
        self.offer = {"ar": None, "aw": None, "w": None}
        self.held = {}
        self.done, self.r_cycles, self.w_cycles, self.cycle = [], [], [], 0

    @property
    def busy(self):
        return bool(self.reads or self.writes or self.read_open or self.write_open or self.words
                    or any(each is not None for each in self.offer.values()))

    def chance(self, probability):
        return probability >= 1 or self.rng.random() < probability

    def drive(self):
        """The manager's outputs of this cycle."""
        for way, queue, open_ in (("ar", self.reads, self.read_open), ("aw", self.writes, self.write_open)):
            if self.offer[way] is None and queue and len(open_) < self.outstanding:
                if self.chance(self.pace.address):
                    self.offer[way] = burst = queue.popleft()
                    burst.offered_at = self.cycle
                    if way == "aw":  # data may be offered before its address is taken
                        self.words += [(*beat, n == len(burst.beats) - 1)
                                       for n, beat in enumerate(burst.beats)]
        if self.offer["w"] is None and self.words and self.chance(self.pace.w):
            self.offer["w"] = self.words.popleft()
        out = {"bready": int(self.chance(self.pace.b)), "rready": int(self.chance(self.pace.r))}
        for way in ("ar", "aw"):
            burst = self.offer[way]
            out[f"{way}valid"] = int(burst is not None)
            if burst is not None:
                out |= {f"{way}addr": burst.address, f"{way}len": burst.length - 1, f"{way}burst": BURST_INCR,
                        f"{way}size": self.data_bytes.bit_length() - 1}
        out["wvalid"] = int(self.offer["w"] is not None)
        if self.offer["w"] is not None:
            out["wdata"], out["wstrb"], out["wlast"] = self.offer["w"]
        self.driven = out
        return out

    def sample(self, port):
        """The subordinate's outputs of the same cycle."""
        for channel, names in (("b", ("bresp", "bid")), ("r", ("rdata", "rresp", "rlast", "rid"))):
            shown = tuple(port[name] for name in names) if port[f"{channel}valid"] else None
            if (before := self.held.pop(channel, None)) is not None:
                assert shown == before, f"{channel} changed while it waited"
            if shown is not None and not self.driven[f"{channel}ready"]:
                self.held[channel] = shown
        if self.offer["ar"] is not None and port["arready"]:
            burst, self.offer["ar"] = self.offer["ar"], None
            burst.resp = self.resp_of(burst.address, False)
            burst.expected = [self.word(at) for at in self.addresses(burst)]
            self.read_open.append([burst, 0])
        if self.offer["aw"] is not None and port["awready"]:
            burst, self.offer["aw"] = self.offer["aw"], None
            burst.resp = self.resp_of(burst.address, True)
            if not burst.resp:
                for at, (data, strobe) in zip(self.addresses(burst), burst.beats, strict=True):
                    for n in range(self.data_bytes):
                        if strobe >> n & 1:
                            self.memory[at + n] = data >> 8 * n & 255
            self.write_open.append(burst)
        if self.offer["w"] is not None and port["wready"]:
            self.offer["w"] = None
            self.w_cycles.append(self.cycle)
        if port["bvalid"] and self.driven["bready"]:
            assert self.write_open, "a response to nothing"
            burst = self.write_open.popleft()
            assert port["bresp"] == burst.resp
            self.finish(burst)
        if port["rvalid"] and self.driven["rready"]:
            assert self.read_open, "data that nobody asked for"
            burst, n = self.read_open[0]
            if not burst.resp:
                assert port["rdata"] == burst.expected[n], (
                    f"beat {n} of {burst.length} at {burst.address:#x} is {port['rdata']:#x}, "
                    f"expected {burst.expected[n]:#x}")
            assert port["rresp"] == burst.resp and port["rlast"] == (n == burst.beats - 1)
            self.read_open[0][1] += 1
            self.r_cycles.append(self.cycle)
            if port["rlast"]:
                self.read_open.popleft()
                self.finish(burst)
        self.cycle += 1

    def finish(self, burst):
        burst.done_at = self.cycle
        self.done.append(burst)

    def addresses(self, burst):
        first = burst.address & -self.data_bytes
        return range(first, first + burst.length * self.data_bytes, self.data_bytes)

    def word(self, address):
        return sum((self.memory[at] if at in self.memory else self.background(at)) << 8 * n
                   for n, at in enumerate(range(address, address + self.data_bytes)))


class Wires:
    """One signal for all inputs and one for all outputs of a design, since each access costs a settling."""

    def __init__(self, m: Module, inputs, outputs):
        self.inputs, self.outputs, self.values = {}, {}, {}
        at = 0
        self.drive = Signal(sum(len(signal) for signal in inputs.values()))
        for name, signal in inputs.items():
            self.inputs[name] = at, (1 << len(signal)) - 1
            m.d.comb += signal.eq(self.drive[at:at + len(signal)])
            at += len(signal)
        at = 0
        for name, signal in outputs.items():
            self.outputs[name] = at, (1 << len(signal)) - 1
            at += len(signal)
        self.shown = Signal(at)
        m.d.comb += self.shown.eq(Cat(*outputs.values()))

    def set(self, ctx, values):
        self.values |= values
        ctx.set(self.drive, sum((self.values.get(name, 0) & mask) << at
                                for name, (at, mask) in self.inputs.items()))

    def get(self, ctx):
        shown = ctx.get(self.shown)
        return {name: shown >> at & mask for name, (at, mask) in self.outputs.items()}


AXI_IN = tuple(f"a{way}{name}" for way in "rw" for name in ("addr", "len", "size", "burst", "valid")) + (
    "wdata", "wstrb", "wlast", "wvalid", "bready", "rready")
AXI_OUT = ("arready", "awready", "wready", "bid", "bresp", "bvalid", "rid", "rdata", "rresp", "rlast",
           "rvalid")


def simulate(dut, inputs, outputs, script):
    """Run ``script(ctx, wires)`` as the only testbench; ``inputs`` and ``outputs`` are dicts of signals."""
    m = Module()
    m.submodules.dut = dut
    wires = Wires(m, inputs, outputs)

    async def testbench(ctx):
        await script(ctx, wires)

    sim = Simulator(m)
    sim.add_clock(1e-8)
    sim.add_testbench(testbench)
    sim.run()
