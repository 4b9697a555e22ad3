# amaranth: UnusedElaboratable=no
"""Arbiter and splitter between random managers and a random memory: every answer to its asker, none lost."""
import random
from collections import deque

import pytest
from amaranth.sim import Simulator
from celosia.rtl.link.arbiter import AXI4Arbiter, PageSplitter
from celosia.rtl.link.axi import RESP_DECERR, RESP_OKAY

MOST_CYCLES = 6000


class Channel:
    """One end of a channel: offers what it is given, or takes; stalls at random."""

    def __init__(self, valid, ready, fields, rng, stall):
        self.valid, self.ready, self.fields, self.rng, self.stall = valid, ready, fields, rng, stall
        self.queue, self.offered, self.taken = deque(), False, []

    def drive(self, ctx):
        """Before the edge, for a source: offer the first item, and keep to it."""
        self.offered = bool(self.queue) and (self.offered or self.rng.random() >= self.stall)
        ctx.set(self.valid, self.offered)
        if self.offered:
            for signal, value in zip(self.fields, self.queue[0], strict=True):
                ctx.set(signal, value)

    def moved(self, ctx):
        """Just before the edge, for a source: whether it was taken; it then goes on."""
        if self.offered and ctx.get(self.ready):
            self.offered = False
            return self.queue.popleft()
        return None

    def listen(self, ctx):
        """Before the edge, for a sink."""
        ctx.set(self.ready, self.rng.random() >= self.stall)

    def heard(self, ctx):
        """Just before the edge, for a sink: what came, or None."""
        if ctx.get(self.valid) and ctx.get(self.ready):
            return tuple(ctx.get(signal) for signal in self.fields)
        return None


def channels(bus, rng, stall):
    def of(name, *fields):
        return Channel(getattr(bus, name + "valid"), getattr(bus, name + "ready"),
                       [getattr(bus, name + field) for field in fields], rng, stall)

    return {"ar": of("ar", "addr", "len"), "aw": of("aw", "addr", "len"),
            "w": of("w", "data", "strb", "last"), "r": of("r", "data", "resp", "last"), "b": of("b", "resp")}


class Memory:
    """Answers in order. Beat n of a read of address a is a + n; a write is answered when all has come."""

    def __init__(self, bus, rng, stall):
        self.ch = channels(bus, rng, stall)
        self.rng = rng
        self.addresses, self.beats, self.writes = deque(), deque(), []

    def drive(self, ctx):
        for name in ("ar", "aw", "w"):
            self.ch[name].listen(ctx)
        for name in ("r", "b"):
            self.ch[name].drive(ctx)

    def edge(self, ctx):
        for name in ("r", "b"):
            self.ch[name].moved(ctx)
        if (item := self.ch["ar"].heard(ctx)) is not None:
            address, length = item
            self.ch["r"].queue.extend(((address + n) & 0xFFFF_FFFF, address >> 4 & 2, n == length)
                                      for n in range(length + 1))
        if (item := self.ch["aw"].heard(ctx)) is not None:
            self.addresses.append(item)
        if (item := self.ch["w"].heard(ctx)) is not None:
            self.beats.append(item)
        if self.addresses and any(last for _, _, last in self.beats):
            address, length = self.addresses.popleft()
            burst = [self.beats.popleft() for _ in range(length + 1)]
            assert [last for _, _, last in burst] == [0] * length + [1], "bursts got mixed"
            self.writes.append((address, [data for data, _, _ in burst], [strobe for _, strobe, _ in burst]))
            self.ch["b"].queue.append((address >> 4 & 2,))


class Manager:
    """Reads and writes at random; knows what it must get."""

    def __init__(self, bus, rng, stall, *, number, transactions, gap, w_first):
        self.ch = channels(bus, rng, stall)
        self.rng, self.number, self.left, self.gap, self.w_first = rng, number, transactions, gap, w_first
        self.want_r, self.want_b, self.wrote, self.done = deque(), deque(), [], 0
        self.waits_since = None

    def drive(self, ctx):
        rng = self.rng
        if self.left and rng.random() >= self.gap and len(self.want_r) < 40 and len(self.want_b) < 6:
            self.left -= 1
            address, length = self.number << 24 | rng.randrange(1 << 12) << 4, rng.choice([0, 0, 1, 3, 7])
            if rng.random() < 0.5:
                self.ch["ar"].queue.append((address, length))
                self.want_r.extend((address + n, address >> 4 & 2, int(n == length))
                                   for n in range(length + 1))
            else:
                data = [rng.getrandbits(32) for _ in range(length + 1)]
                strobes = [rng.getrandbits(4) for _ in data]
                self.ch["aw"].queue.append((address, length))
                last = [int(n == length) for n in range(length + 1)]
                self.ch["w"].queue.extend(zip(data, strobes, last, strict=True))
                self.want_b.append((address >> 4 & 2,))
                self.wrote.append((address, data, strobes))
        for name in ("ar", "aw", "w"):
            self.ch[name].drive(ctx)
        for name in ("r", "b"):
            self.ch[name].listen(ctx)

    def edge(self, ctx):
        for name in ("ar", "aw", "w"):
            self.ch[name].moved(ctx)
        if (item := self.ch["r"].heard(ctx)) is not None:
            assert item == self.want_r.popleft(), f"manager {self.number} got another's data"
        if (item := self.ch["b"].heard(ctx)) is not None:
            assert item == self.want_b.popleft(), f"manager {self.number} got another's response"

    @property
    def idle(self):
        return not self.left and not self.want_r and not self.want_b


@pytest.mark.parametrize("count,stall,gap,seed", [(2, 0.0, 0.0, 0), (2, 0.4, 0.0, 1), (2, 0.1, 0.9, 2),
                                                  (3, 0.3, 0.5, 3), (5, 0.2, 0.2, 4)])
def test_each_manager_gets_its_own_answers_and_nothing_is_lost(count, stall, gap, seed):
    print(f"seed {seed}")
    rng = random.Random(seed)
    dut = AXI4Arbiter(managers=count, data_bytes=4)
    memory = Memory(dut.port, rng, stall)
    managers = [Manager(bus, rng, stall, number=n, transactions=80, gap=gap, w_first=n % 2)
                for n, bus in enumerate(dut.managers)]

    async def bench(ctx):
        for _ in range(MOST_CYCLES * count):
            for side in (memory, *managers):
                side.drive(ctx)
            await ctx.delay(1e-8)  # for what passes through without a register
            for side in (memory, *managers):
                side.edge(ctx)
            await ctx.tick()
            if all(manager.idle for manager in managers):
                break
        assert all(manager.idle for manager in managers), "some never got their answers"

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    for n, manager in enumerate(managers):
        assert [write for write in memory.writes if write[0] >> 24 == n] == manager.wrote


def test_a_manager_that_asks_seldom_waits_for_few_transactions_of_one_that_asks_always():
    """The busy one has 15 reads under way at most; behind those comes the other."""
    rng = random.Random(5)
    dut = AXI4Arbiter(managers=2, data_bytes=4)
    memory = Memory(dut.port, rng, 0.0)
    busy = channels(dut.managers[0], rng, 0.0)
    rare = channels(dut.managers[1], rng, 0.0)
    waits = []

    async def bench(ctx):
        since = None
        for cycle in range(3000):
            if len(busy["ar"].queue) < 3:
                busy["ar"].queue.append((cycle, 3))
            if cycle % 200 == 100:
                rare["ar"].queue.append((1 << 24, 0))
                since = cycle
            memory.drive(ctx)
            for side in (busy, rare):
                side["ar"].drive(ctx)
                side["r"].listen(ctx)
            await ctx.delay(1e-8)
            memory.edge(ctx)
            for side in (busy, rare):
                side["ar"].moved(ctx)
            if rare["r"].heard(ctx) is not None:
                waits.append(cycle - since)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(waits) == 15 and max(waits) < 16 * 4 + 10, waits


def test_one_manager_alone_loses_no_cycle():
    rng = random.Random(6)
    dut = AXI4Arbiter(managers=2, data_bytes=4)
    memory = Memory(dut.port, rng, 0.0)
    alone = channels(dut.managers[1], rng, 0.0)
    beats = []

    async def bench(ctx):
        alone["ar"].queue.extend((n << 4, 7) for n in range(20))
        for cycle in range(200):
            memory.drive(ctx)
            alone["ar"].drive(ctx)
            alone["r"].listen(ctx)
            await ctx.delay(1e-8)
            memory.edge(ctx)
            alone["ar"].moved(ctx)
            if alone["r"].heard(ctx) is not None:
                beats.append(cycle)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(beats) == 160 and beats[-1] - beats[0] == 159


def test_rejects_a_single_manager():
    with pytest.raises(ValueError, match="managers is 1; it must be 2 or more"):
        AXI4Arbiter(managers=1, data_bytes=4)


class Page:
    """Registers of one page: reads give their address and which page it is."""

    def __init__(self, bus, rng, mark):
        self.bus, self.rng, self.mark = bus, rng, mark
        self.aw = self.w = self.ar = None
        self.written = []

    def step(self, ctx, handshakes):
        bus, rng = self.bus, self.rng
        if handshakes.get("b"):
            self.aw = self.w = None
        if handshakes.get("r"):
            self.ar = None
        for name in ("aw", "w", "ar"):
            if handshakes.get(name) is not None:
                assert getattr(self, name) is None, "two at a time"
                setattr(self, name, handshakes[name])
                if self.aw is not None and self.w is not None and name != "ar":
                    self.written.append((self.aw, self.w))
        ctx.set(bus.awready, self.aw is None and rng.random() < 0.6)
        ctx.set(bus.wready, self.w is None and rng.random() < 0.6)
        ctx.set(bus.arready, self.ar is None and rng.random() < 0.6)
        ready = self.aw is not None and self.w is not None
        ctx.set(bus.bvalid, ready and (ctx.get(bus.bvalid) or rng.random() < 0.6))
        ctx.set(bus.bresp, RESP_OKAY)
        ctx.set(bus.rvalid, self.ar is not None and (ctx.get(bus.rvalid) or rng.random() < 0.6))
        ctx.set(bus.rdata, self.mark << 16 | (self.ar or 0))

    def handshakes(self, ctx):
        bus = self.bus
        both = lambda name: ctx.get(getattr(bus, name + "valid")) and ctx.get(getattr(bus, name + "ready"))
        return {"aw": ctx.get(bus.awaddr) if both("aw") else None,
                "w": ctx.get(bus.wdata) if both("w") else None,
                "ar": ctx.get(bus.araddr) if both("ar") else None, "b": both("b"), "r": both("r")}


def test_register_accesses_go_to_their_page_and_elsewhere_nothing_is():
    rng = random.Random(7)
    dut = PageSplitter()
    fabric, board = Page(dut.fabric, rng, 1), Page(dut.board, rng, 2)
    wrote = {1: [], 2: []}

    async def bench(ctx):
        async def cycle():
            await ctx.delay(1e-8)
            seen = {page: page.handshakes(ctx) for page in (fabric, board)}
            own = {name: (ctx.get(getattr(dut.axil, name + "valid"))
                          and ctx.get(getattr(dut.axil, name + "ready")))
                   for name in ("aw", "w", "ar", "b", "r")}
            result = ctx.get(dut.axil.bresp), ctx.get(dut.axil.rresp), ctx.get(dut.axil.rdata)
            await ctx.tick()
            for page, handshakes in seen.items():
                page.step(ctx, handshakes)
            return own, result

        for _ in range(300):
            page, offset = rng.choice([0, 1, 1, 0, 2, 4, 5, 15]), rng.randrange(0, 256, 4)
            value = rng.getrandbits(32)
            address = page << 12 | offset
            write = rng.random() < 0.5
            start = {name: rng.randrange(4) for name in ("aw", "w", "ar")}
            pending = {"aw", "w"} if write else {"ar"}
            ctx.set(dut.axil.awaddr, address)
            ctx.set(dut.axil.araddr, address)
            ctx.set(dut.axil.wdata, value)
            for n in range(200):
                for name in ("aw", "w", "ar"):
                    ctx.set(getattr(dut.axil, name + "valid"), name in pending and start[name] <= n)
                ctx.set(dut.axil.bready, rng.random() < 0.5)
                ctx.set(dut.axil.rready, rng.random() < 0.5)
                own, (bresp, rresp, rdata) = await cycle()
                pending -= {name for name in pending if own[name]}
                if own["b"] or own["r"]:
                    break
            else:
                raise AssertionError("no answer")
            assert not pending and bool(own["b"]) == write
            known = page < 2
            assert (bresp if write else rresp) == (RESP_OKAY if known else RESP_DECERR)
            if known and write:
                wrote[page + 1].append((offset, value))
            elif known:
                assert rdata == (page + 1) << 16 | offset
            for name in ("aw", "w", "ar"):
                ctx.set(getattr(dut.axil, name + "valid"), 0)
            ctx.set(dut.axil.bready, 0)
            ctx.set(dut.axil.rready, 0)
            await cycle()
        assert (fabric.written, board.written) == (wrote[1], wrote[2]) and wrote[1] and wrote[2]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
