# amaranth: UnusedElaboratable=no
"""AXI4Split and EmptyPage: every access gets to its memory and its own answer back."""
import pytest
from amaranth import ClockDomain, Module
from amaranth.sim import Simulator
from celosia.boards.pages import AXI4Split, EmptyPage
from celosia.rtl.link.axi import RESP_DECERR

LIMIT = 20


def simulate(dut, *benches):
    top = Module()
    top.domains.sync = ClockDomain()  # AXI4Split has no register
    top.submodules.dut = dut
    sim = Simulator(top)
    sim.add_clock(1e-6)
    for bench, background in benches:
        sim.add_testbench(bench, background=background)
    sim.run()


async def until(ctx, signal):
    for _ in range(LIMIT):
        if ctx.get(signal):
            return
        await ctx.tick()
    raise AssertionError(f"{signal.name} stayed low")


async def subordinate(ctx, bus, tag, seen):
    """Answers single beats with ``tag``, after a while."""
    while True:
        if ctx.get(bus.arvalid):
            seen.append(("read", ctx.get(bus.araddr)))
            await answer(ctx, bus, "ar", "r", {"rdata": tag, "rlast": 1, "rresp": 2})
        elif ctx.get(bus.awvalid) and ctx.get(bus.wvalid):
            seen.append(("write", ctx.get(bus.awaddr), ctx.get(bus.wdata), ctx.get(bus.wstrb)))
            ctx.set(bus.wready, 1)
            await answer(ctx, bus, "aw", "b", {"bresp": 3})
        await ctx.tick()


async def answer(ctx, bus, taken, given, values):
    ctx.set(getattr(bus, f"{taken}ready"), 1)
    await ctx.tick()
    ctx.set(bus.wready, 0)
    ctx.set(getattr(bus, f"{taken}ready"), 0)
    await ctx.tick().repeat(2)
    for name, value in values.items():
        ctx.set(getattr(bus, name), value)
    ctx.set(getattr(bus, f"{given}valid"), 1)
    await until(ctx, getattr(bus, f"{given}ready"))
    await ctx.tick()
    ctx.set(getattr(bus, f"{given}valid"), 0)


def test_accesses_part_at_the_base_and_answers_come_from_where_they_went():
    base = 0x100000
    dut = AXI4Split(base=base, data_bytes=4)
    below, above, got = [], [], []

    async def manager(ctx):
        bus = dut.manager
        for address in (0, base - 4, base, base + 4, 0xFFFFFFFC, 8):
            ctx.set(bus.araddr, address)
            ctx.set(bus.arvalid, 1)
            await until(ctx, bus.arready)
            await ctx.tick()
            ctx.set(bus.arvalid, 0)
            await until(ctx, bus.rvalid)
            got.append((ctx.get(bus.rdata), ctx.get(bus.rresp), ctx.get(bus.rlast)))
            ctx.set(bus.rready, 1)
            await ctx.tick()
            ctx.set(bus.rready, 0)
            for name, value in (("awaddr", address), ("wdata", address ^ 0x55), ("wstrb", 5), ("wlast", 1),
                                ("awvalid", 1), ("wvalid", 1)):
                ctx.set(getattr(bus, name), value)
            await until(ctx, bus.awready)
            await ctx.tick()
            ctx.set(bus.awvalid, 0)
            ctx.set(bus.wvalid, 0)
            ctx.set(bus.bready, 1)
            await until(ctx, bus.bvalid)
            assert ctx.get(bus.bresp) == 3
            await ctx.tick()
            ctx.set(bus.bready, 0)

    async def answer_below(ctx):
        await subordinate(ctx, dut.below, 0xB0, below)

    async def answer_above(ctx):
        await subordinate(ctx, dut.above, 0xA0, above)

    simulate(dut, (manager, False), (answer_below, True), (answer_above, True))

    def both(*addresses):
        return [entry for address in addresses
                for entry in (("read", address), ("write", address, address ^ 0x55, 5))]

    assert below == both(0, base - 4, 8)
    assert above == both(base, base + 4, 0xFFFFFFFC)
    assert got == [(tag, 2, 1) for tag in (0xB0, 0xB0, 0xA0, 0xA0, 0xA0, 0xB0)]


@pytest.mark.parametrize("data_first", [False, True])
def test_an_empty_page_answers_everything_with_an_error(data_first):
    dut = EmptyPage()

    async def manager(ctx):
        bus = dut.axil
        for _ in range(3):
            ctx.set(bus.arvalid, 1)
            await until(ctx, bus.arready)
            await ctx.tick()
            ctx.set(bus.arvalid, 0)
            ctx.set(bus.rready, 1)
            await until(ctx, bus.rvalid)
            assert ctx.get(bus.rresp) == RESP_DECERR
            await ctx.tick()
            ctx.set(bus.rready, 0)
            for channel in ("w", "aw") if data_first else ("aw", "w"):
                assert not ctx.get(bus.bvalid)
                ctx.set(getattr(bus, f"{channel}valid"), 1)
                await until(ctx, getattr(bus, f"{channel}ready"))
                await ctx.tick()
                ctx.set(getattr(bus, f"{channel}valid"), 0)
            await until(ctx, bus.bvalid)
            assert ctx.get(bus.bresp) == RESP_DECERR
            ctx.set(bus.bready, 1)
            await ctx.tick()
            ctx.set(bus.bready, 0)
            assert not ctx.get(bus.bvalid)

    simulate(dut, (manager, False))
