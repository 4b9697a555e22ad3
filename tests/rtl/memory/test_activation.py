# amaranth: UnusedElaboratable=no
"""ActivationMemory against a byte array: mixed requests of several clients, and every latency."""
import numpy as np
import pytest
from amaranth.sim import Simulator
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.memory.activation import ActivationMemory


def simulate(dut, bench):
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def request(fabric, address, *, write=False, data=(), count=0):
    rows = fabric.rows
    return {"write": int(write), "address": {"word": address // rows, "lane": address % rows}, "count": count,
            "data": [int(byte) for byte in data] + [0] * (rows - len(data))}


@pytest.mark.parametrize("rows, words, clients", [
    (1, 8, 1), (1, 9, 2), (3, 11, 3), (4, 16, 4), (5, 13, 2), (8, 10, 3), (16, 8, 4)])
def test_random_requests_of_all_clients_match_a_byte_array(rows, words, clients):
    fabric = Fabric(rows=rows, cols=2, am_words=words)
    dut = ActivationMemory(fabric=fabric, clients=clients)
    rng = np.random.default_rng(seed=rows * 100 + words)
    size = fabric.am_bytes
    cycles = 600

    async def bench(ctx):
        memory = np.full(size, -1)  # as of the requests taken; -1: never written
        visible = memory.copy()  # the same as port A sees it
        due_b, due_a, landing = {}, {}, {}
        offered = [None] * clients
        taken = 0
        for t in range(cycles):
            # Port A sees what was taken LATENCY_WRITE cycles ago; what lands in this cycle may be anything.
            for place, byte in landing.pop(t - dut.LATENCY_WRITE, {}).items():
                visible[place] = byte
            word = rng.integers(0, words, rows)
            places = word * rows + np.arange(rows)
            ctx.set(dut.feeder.word, word.tolist())
            uncertain = landing.get(t - dut.LATENCY_WRITE + 1, {})
            due_a[t + dut.LATENCY_READ] = [-1 if p in uncertain else visible[p] for p in places]

            for i, access in enumerate(dut.access):
                if offered[i] is None and (t < 60 or rng.random() < 0.5):
                    write = t < cycles // 2 or bool(rng.integers(2))
                    count = int(rng.integers(1, rows + 1))
                    most = size - (count if write else rows)
                    address = int(rng.choice([0, most, *rng.integers(0, most + 1, 8)]))
                    offered[i] = (write, address, count, rng.integers(0, 256, rows))
                    ctx.set(access.request.payload, request(
                        fabric, address, write=write, data=offered[i][3], count=count))
                ctx.set(access.request.valid, offered[i] is not None)
            asking = [i for i in range(clients) if offered[i] is not None]
            passed = [i for i in asking if ctx.get(dut.access[i].request.ready)]
            assert len(passed) == bool(asking), "one request per cycle"
            for i in passed:
                write, address, count, data = offered[i]
                offered[i] = None
                taken += 1
                if write:
                    memory[address:address + count] = data[:count]
                    landing[t] = dict(zip(range(address, address + count), data, strict=False))
                else:
                    due_b[t + dut.LATENCY_ACCESS] = memory[address:address + rows].copy()

            for due, port in ((due_a, dut.feeder.data), (due_b, dut.access[t % clients].data)):
                if t in due:
                    for want, got in zip(due.pop(t), ctx.get(port), strict=True):
                        assert want < 0 or want == got & 0xFF, t
            await ctx.tick()
        assert taken > cycles // 2
        assert (memory >= 0).mean() > 0.9, "the test wrote hardly anything"

    simulate(dut, bench)


@pytest.mark.parametrize("late", [0, 1])
def test_port_a_sees_a_write_at_its_stated_latency_and_not_before(late):
    fabric = Fabric(rows=3, cols=1, am_words=8)
    dut = ActivationMemory(fabric=fabric, clients=1)

    async def bench(ctx):
        ctx.set(dut.access[0].request.payload, request(fabric, 4, write=True, data=[0x55], count=1))
        ctx.set(dut.access[0].request.valid, 1)
        await ctx.tick()
        ctx.set(dut.access[0].request.valid, 0)
        await ctx.tick().repeat(dut.LATENCY_WRITE - 2 + late)
        ctx.set(dut.feeder.word, [0, 1, 0])
        await ctx.tick()
        ctx.set(dut.feeder.word, [0, 0, 0])
        await ctx.tick().repeat(dut.LATENCY_READ - 1)
        assert ctx.get(dut.feeder.data[1]) == (0x55 if late else 0)

    simulate(dut, bench)


def test_clients_that_always_ask_take_turns():
    fabric = Fabric(rows=2, cols=1, am_words=8)
    dut = ActivationMemory(fabric=fabric, clients=3)

    async def bench(ctx):
        for access in dut.access:
            ctx.set(access.request.valid, 1)
        order = []
        for _ in range(9):
            order += [i for i in range(3) if ctx.get(dut.access[i].request.ready)]
            await ctx.tick()
        assert order == [0, 1, 2] * 3

    simulate(dut, bench)


def test_refuses_no_client():
    with pytest.raises(ValueError, match="clients is 0"):
        ActivationMemory(fabric=Fabric(), clients=0)
