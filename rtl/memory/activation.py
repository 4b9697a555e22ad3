"""Activation memory: R byte-wide banks; the feeder has one port of each, everyone else shares the other."""
from amaranth import Cat, EnableInserter, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2

from ..contract.fabric import Fabric
from ..primitives.cells import PORTABLE, Cells
from ..primitives.memory import TrueDualPort
from ..signatures import AMAccessPort, AMReadPort, am_request
from .arbiter import RoundRobin
from .delay import delay
from .rotate import Rotator


class ActivationMemory(wiring.Component):
    """R banks of am_words bytes, each a true dual-port RAM; byte ``a`` is word ``a // R`` of bank ``a % R``.

    Port A only reads: any word of each bank, every cycle, without stall. Port B is shared by the clients, one
    request of any of them per cycle, round-robin. A request's bytes lie in different banks: from its lane on
    at its word, below its lane at the next word. ``request.ready`` depends combinationally on the *other*
    clients' ``request.valid``, never on the own. All clients see the same ``data``; each knows by counting
    when its own comes::

        cycle      t         t+1       t+2       t+3       t+4      t+5         t+6       t+7
        request    taken     register  rotating  at banks  written                        LATENCY_WRITE = 4
        data                                               read     register    rotating  LATENCY_ACCESS = 7

        feeder     word      read      data                                               LATENCY_READ = 2

    Requests take effect in the order in which they are taken, so port B sees every write taken before. Port A
    sees a write LATENCY_WRITE cycles after it was taken; in the cycle before it may see any byte there. A
    word that the memory lacks reads as anything, and writing it changes any word or none.

    Parameters
    ----------
    fabric : Fabric
    clients : int
        Users of port B, at least 1.
    cells : Cells
        What the chip builds it from.

    Members
    -------
    feeder : ``In(AMReadPort(fabric))``
        Port A.
    access : ``In(AMAccessPort(fabric)).array(clients)``
        Port B.

    Raises
    ------
    ValueError
        If there is no client.
    """

    LATENCY_READ = TrueDualPort.LATENCY_READ
    LATENCY_WRITE = 1 + Rotator.LATENCY + TrueDualPort.LATENCY_WRITE
    LATENCY_ACCESS = 1 + Rotator.LATENCY + LATENCY_READ + Rotator.LATENCY

    def __init__(self, *, fabric: Fabric, clients: int, cells: Cells = PORTABLE):
        if clients < 1:
            raise ValueError(f"clients is {clients}; port B needs at least 1")
        self.fabric, self.cells = fabric, cells
        super().__init__({
            "feeder": In(AMReadPort(fabric)),
            "access": In(AMAccessPort(fabric)).array(clients),
        })

    def elaborate(self, platform):
        m = Module()
        rows = self.fabric.rows
        word_bits = ceil_log2(self.fabric.am_words)

        m.submodules.arbiter = arbiter = RoundRobin(count=len(self.access))
        chosen = Signal(am_request(self.fabric))
        for i, access in enumerate(self.access):
            m.d.comb += arbiter.i_valid[i].eq(access.request.valid)
            m.d.comb += access.request.ready.eq(arbiter.o_ready[i])
            with m.If(access.request.valid & access.request.ready):
                m.d.comb += chosen.eq(access.request.payload)

        # Edge t -> t+1: the request is taken. From here to the banks everything takes as long as the rotator.
        request_s1 = Signal.like(chosen)
        valid_s1 = Signal()
        m.d.sync += valid_s1.eq(arbiter.i_valid.any())
        with m.If(arbiter.i_valid.any()):
            m.d.sync += request_s1.eq(chosen)
        lane_s1 = request_s1.address.lane[:ceil_log2(rows)]
        # The rotators stand still while no request is in them: port B is idle most of the time.
        scatter = Rotator(lanes=rows, width=8 + 1, forward=True)
        valid_s2 = delay(m, valid_s1, 1, name="valid_s1")
        m.submodules.scatter = EnableInserter(valid_s1 | valid_s2)(scatter)
        m.d.comb += scatter.i_amount.eq(lane_s1)
        for i in range(rows):
            m.d.comb += scatter.i_lanes[i].eq(Cat(request_s1.data[i], i < request_s1.count))
        read_s3 = delay(m, valid_s1 & ~request_s1.write, Rotator.LATENCY, name="read_s1")
        write_s3 = delay(m, valid_s1 & request_s1.write, Rotator.LATENCY, name="write_s1")

        # Edge t+1 -> t+2: both words, and which banks want the later one.
        word_s2, next_s2, wants_next_s2 = Signal(word_bits), Signal(word_bits), Signal(rows)
        m.d.sync += [
            word_s2.eq(request_s1.address.word),
            next_s2.eq(request_s1.address.word + 1),
            wants_next_s2.eq(Cat(bank < lane_s1 for bank in range(rows))),
        ]

        gather = Rotator(lanes=rows, width=8, forward=False)
        read_s5, read_s6 = (delay(m, read_s3, self.LATENCY_READ + n, name=f"gather_{n}") for n in range(2))
        m.submodules.gather = EnableInserter(read_s5 | read_s6)(gather)
        m.d.comb += gather.i_amount.eq(delay(m, lane_s1, Rotator.LATENCY + self.LATENCY_READ, name="lane_s1"))
        for bank in range(rows):
            m.submodules[f"bank_{bank}"] = memory = TrueDualPort(
                depth=self.fabric.am_words, width=8, family=self.cells.family)
            word_s3, writes_s3 = Signal(word_bits, name=f"word_s3_{bank}"), Signal(name=f"writes_s3_{bank}")
            m.d.comb += [
                writes_s3.eq(write_s3 & scatter.o_lanes[bank][8]),
                memory.i_b_address.eq(word_s3),
                memory.i_b_enable.eq(read_s3 | writes_s3),
                memory.i_b_write.eq(writes_s3),
                memory.i_b_data.eq(scatter.o_lanes[bank][:8]),
                # Edges t+3 -> t+5 at port B, t -> t+2 at port A.
                gather.i_lanes[bank].eq(memory.o_b_data),
                memory.i_a_address.eq(self.feeder.word[bank]),
                self.feeder.data[bank].eq(memory.o_a_data),
            ]
            # Edge t+2 -> t+3: the word of this bank.
            m.d.sync += word_s3.eq(Mux(wants_next_s2[bank], next_s2, word_s2))
        for access in self.access:
            m.d.comb += access.data.eq(gather.o_lanes)
        return m
