"""One lane's tables: the last step of a value whose layer ends with a unary function."""
from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..contract.fabric import TABLE_ADDRESS_BITS, TABLE_BYTES, Fabric
from ..memory.delay import delay
from ..signatures import WideWritePort


class TableLookup(wiring.Component):
    """Entry ``i_q & 255`` of table ``i_number``, or ``i_q`` as it is, one value every cycle.

    No back-pressure. The RAM holds ``fabric.tables`` tables in words of a beat, as the DMA delivers them::

        cycle           t          t+1               t+2          t+3
        i_q             q          RAM               its beat     o_q         (LATENCY = 3)
        write.address   a          visible to i_q                             (LATENCY_WRITE = 1)

    Parameters
    ----------
    fabric : Fabric
        With at least one table.

    Members
    -------
    write : ``In(WideWritePort(address_bits=TABLE_ADDRESS_BITS, width=8 * bus_bytes))``
        Beat a % n of table a // n, where n = 256 / bus_bytes. Of a table that is read at the same time
        anything may come.
    i_q : ``In(signed(8))``
    i_number : ``In(range(tables))``
    i_look : ``In(1)``
        Look ``i_q`` up; else it passes, and the RAM is not read.
    o_q : ``Out(signed(8))``
        Not reset.

    Raises
    ------
    ValueError
        If the fabric has no tables.
    """

    LATENCY = 3
    LATENCY_WRITE = 1

    def __init__(self, *, fabric: Fabric):
        if fabric.tables < 1:
            raise ValueError("the fabric has no tables to look values up in")
        self.fabric = fabric
        super().__init__({
            "write": In(WideWritePort(address_bits=TABLE_ADDRESS_BITS, width=8 * fabric.bus_bytes)),
            "i_q": In(signed(8)), "i_number": In(range(fabric.tables)), "i_look": In(1),
            "o_q": Out(signed(8)),
        })

    def elaborate(self, platform):
        m = Module()
        bus = self.fabric.bus_bytes
        within = exact_log2(bus)
        depth = self.fabric.tables * TABLE_BYTES // bus
        m.submodules.memory = memory = Memory(shape=8 * bus, depth=depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.addr.eq(self.write.address), write.data.eq(self.write.data), write.en.eq(self.write.enable),
            read.addr.eq(Cat(self.i_q[within:], self.i_number)), read.en.eq(self.i_look),
        ]
        q_s2, look_s2 = delay(m, self.i_q, 2, name="q"), delay(m, self.i_look, 2, name="look")
        # Edge t+1 -> t+2: out of the RAM, which is slow.
        beat_s2 = Signal(8 * bus, reset_less=True)
        m.d.sync += beat_s2.eq(read.data)
        # Edge t+2 -> t+3: the byte out of its beat.
        byte = beat_s2.word_select(q_s2[:within], 8).as_signed()
        q_s3 = Signal(signed(8), reset_less=True)
        m.d.sync += q_s3.eq(Mux(look_s2, byte, q_s2))
        m.d.comb += self.o_q.eq(q_s3)
        return m
