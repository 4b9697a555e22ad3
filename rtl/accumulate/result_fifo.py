"""Finished sums wait here for post-processing: a FIFO that its columns write one after the other."""
from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

SHORT = 64
"""Depth up to which the RAMs are of LUTs, where a chip has such: block RAMs are too few to be half empty."""


class ResultWrite(wiring.Signature):
    """A column (Out) writes its part of a result: ``valid`` pulses with the slot and the sum."""

    def __init__(self, *, depth: int, width: int):
        super().__init__({"valid": Out(1), "slot": Out(range(depth)), "data": Out(signed(width))})


class ResultFifo(wiring.Component):
    """First in, first out; whole results leave, their columns come one after the other.

    ``claim`` takes the slot that ``slot`` shows; the slot travels along the columns with the result, each
    column writes its part, and the last column's write makes the result available. There is no back-
    pressure on that side: whoever claims keeps count of the credits, ``depth`` of them at reset, one back
    with each pulse of ``credit``. The ``results`` stream comes from registers; ``valid`` does not depend on
    ``ready``, and a result can leave every cycle. A last column's write to an empty FIFO, and a consumer
    that waits::

        cycle            t    t+1     t+2      t+3     t+4
        write[-1].valid  1
        (level)          0    1       0
        (block RAM)           read    data
        results.valid    0    0       0        1       0     (LATENCY_READ = 3)
        credit           0    0       1        0       0

    Parameters
    ----------
    depth : int
        Results; any number from 1 on. Two more wait in the registers behind the RAM, once their slots are
        free.
    width, cols : int
        Bits of a signed sum; sums of a result.

    Members
    -------
    claim : ``In(1)``
    slot : ``Out(range(depth))``
    write : ``In(ResultWrite).array(cols)``
    results : ``Out(stream of ArrayLayout(signed(width), cols))``
    credit : ``Out(1)``
        A slot became free.

    Raises
    ------
    ValueError
        If depth or cols is below 1.
    """

    LATENCY_READ = 3

    def __init__(self, *, depth: int, width: int, cols: int):
        if depth < 1 or cols < 1:
            raise ValueError(f"a FIFO of {depth} results of {cols} columns holds nothing")
        self._depth = depth
        super().__init__({
            "claim": In(1),
            "slot": Out(range(depth)),
            "write": In(ResultWrite(depth=depth, width=width)).array(cols),
            "results": Out(stream.Signature(data.ArrayLayout(signed(width), cols))),
            "credit": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        results = self.results
        level = Signal(range(self._depth + 1))  # results in RAM that all columns have written
        some = Signal()  # there are such
        front = Signal(range(self._depth))  # slot of the oldest
        fetched = Signal()  # the RAM's outputs hold a result
        fetch = Signal()
        move = Signal()  # from the RAM's outputs to the stream's registers

        def after(slot):
            return Mux(slot == self._depth - 1, 0, slot + 1)

        m.d.comb += [
            move.eq(fetched & (~results.valid | results.ready)),
            fetch.eq(some & (~fetched | move)),
        ]
        m.d.sync += [
            level.eq(level + self.write[-1].valid - fetch),
            some.eq(self.write[-1].valid | (level > 1) | (some & ~fetch)),
            fetched.eq(fetch | (fetched & ~move)),
            results.valid.eq(move | (results.valid & ~results.ready)),
            self.credit.eq(fetch),
        ]
        with m.If(self.claim):
            m.d.sync += self.slot.eq(after(self.slot))
        with m.If(fetch):
            m.d.sync += front.eq(after(front))

        attributes = {"no_rw_check": 1}  # a slot is never written while it is read
        if self._depth <= SHORT:
            attributes["ram_style"] = "distributed"
        for column, write in enumerate(self.write):
            m.submodules[f"memory_{column}"] = memory = Memory(
                shape=write.data.shape(), depth=self._depth, init=[],
                attrs=attributes)
            port = memory.write_port()
            m.d.comb += [port.en.eq(write.valid), port.addr.eq(write.slot), port.data.eq(write.data)]
            port = memory.read_port()
            m.d.comb += [port.en.eq(fetch), port.addr.eq(front)]
            with m.If(move):
                m.d.sync += results.payload[column].eq(port.data)
        return m
