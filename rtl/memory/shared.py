"""One memory for activations, weights and parameters: banks of one port, which the array shares."""
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..contract.fabric import Fabric
from ..primitives.cells import PORTABLE, Cells
from ..primitives.memory import SinglePort


def place_bits(fabric: Fabric) -> int:
    """Bits of the address of a byte of the shared memory."""
    return ceil_log2(fabric.shared_words * fabric.rows)


def place_of(address: data.View, fabric: Fabric):
    """The byte number that an Address stands for: with R a power of two, its digits side by side."""
    lane = ceil_log2(fabric.rows)
    return Cat(address.lane[:lane], address.word[:place_bits(fabric) - lane])


def word_request(fabric: Fabric) -> data.StructLayout:
    """A request for a word: a write of the bytes in ``mask``, or a read where there are none."""
    return data.StructLayout({
        "word": ceil_log2(fabric.shared_words), "mask": fabric.rows, "data": 8 * fabric.rows})


class WordPort(wiring.Signature):
    """A client (Out) of the shared memory.

    ``request`` is a stream. A word read is on ``data`` in the cycle after its request was taken, and only
    then; a write can be read from the next request on.
    """

    def __init__(self, fabric: Fabric):
        super().__init__({
            "request": Out(stream.Signature(word_request(fabric))),
            "data": In(8 * fabric.rows),
        })


class FrontPort(wiring.Signature):
    """Between the shared memory (In) and the array's front (Out), which reads R taps of a pixel at once.

    Row r's byte is in bank ``(lane + r) % R``: in word ``near``, or from row ``far_row`` on in word ``far``,
    and a word further on where lane + r has gone beyond the last bank (isa.Weights: the jumps of a tile are
    multiples of R). ``enable`` is low while somebody else has the banks: then the whole front stands still.
    ``data``, in the order of the rows, belongs to the last cycle in which enable was high and holds until the
    next such cycle is over.
    """

    def __init__(self, fabric: Fabric):
        word, lane = ceil_log2(fabric.shared_words), ceil_log2(fabric.rows)
        super().__init__({
            "near": Out(word), "far": Out(word), "lane": Out(lane), "far_row": Out(lane + 1),
            "data": In(data.ArrayLayout(8, fabric.rows)),
            "enable": In(1),
        })


class SharedMemory(wiring.Component):
    """R banks of ``shared_words`` bytes with one port each; byte ``a`` is word ``a // R`` of bank ``a % R``.

    In every cycle the clients' first request, by their order, is taken; only if there is none the front gets
    the cycle, and else it stands still (FrontPort.enable). The cycle after a read by client 0, the weights,
    is the front's, which takes the word then. So a client hardly waits for the front, and the front waits a
    cycle for each request::

        cycle            t          t+1        t+2        t+3
        front.near       a          b          b          c
        client           --         request    --         --
        front.enable     1          0          1          1
        front.data                  of a       of a       of b
        client's data                          there                   (LATENCY_READ = 1)

    Parameters
    ----------
    fabric : Fabric
        With shared_words.
    clients : int
        At least 1; the first goes first.
    cells : Cells

    Members
    -------
    access : ``In(WordPort(fabric)).array(clients)``
    front : ``In(FrontPort(fabric))``

    Raises
    ------
    ValueError
        If there is no client, or the fabric has no shared memory.
    """

    LATENCY_READ = 1

    def __init__(self, *, fabric: Fabric, clients: int, cells: Cells = PORTABLE):
        if clients < 1 or not fabric.shared_words:
            raise ValueError(f"{clients} clients of {fabric.shared_words} shared words; there must be some")
        self.fabric, self.cells = fabric, cells
        super().__init__({"access": In(WordPort(fabric)).array(clients), "front": In(FrontPort(fabric))})

    def elaborate(self, platform):
        m = Module()
        rows, words = self.fabric.rows, self.fabric.shared_words
        lanes, front = ceil_log2(rows), self.front
        chosen, taken = Signal(word_request(self.fabric)), Signal()
        turn = Signal()  # the front's
        before = Signal()
        m.d.comb += before.eq(turn)
        m.d.sync += turn.eq(self.access[0].request.valid & self.access[0].request.ready)
        for client in self.access:
            request = client.request
            m.d.comb += request.ready.eq(~before)
            with m.If(request.valid & ~before):
                m.d.comb += chosen.eq(request.payload)
            before = before | request.valid
        m.d.comb += [taken.eq(before & ~turn), front.enable.eq(~taken)]

        # Where each bank looks. A client's word is at the same place in all of them.
        near, far = Signal.like(front.near), Signal.like(front.far)
        m.d.comb += [near.eq(Mux(taken, chosen.word, front.near)), far.eq(front.far)]
        found = Signal(data.ArrayLayout(8, rows))
        # A RAM of 16 bits keeps two words of the bank beside each other.
        for bank in range(rows):
            m.submodules[f"bank_{bank}"] = memory = SinglePort(
                depth=words // 2, width=16, family=self.cells.family)
            word, odd = Signal(ceil_log2(words), name=f"word_{bank}"), Signal(name=f"odd_{bank}")
            row = (bank - front.lane)[:lanes]
            is_far = (row >= front.far_row) & ~taken
            is_next = (bank < front.lane) & ~taken
            m.d.comb += [
                word.eq(Mux(is_far, far, near) + is_next),
                memory.i_address.eq(word[1:]), memory.i_enable.eq(1),
                memory.i_write.eq(Mux(taken & chosen.mask[bank], Cat(~word[0], word[0]), 0)),
                memory.i_data.eq(chosen.data.word_select(bank, 8).replicate(2)),
                found[bank].eq(Mux(odd, memory.o_data[8:], memory.o_data[:8])),
            ]
            m.d.sync += odd.eq(word[0])

        # Back to the order of the rows.
        front_read, lane = Signal(), Signal.like(front.lane)
        m.d.sync += [front_read.eq(~taken), lane.eq(front.lane)]
        turned = found.as_value()
        for layer in range(lanes):
            turned = Mux(lane[layer], turned.rotate_right(8 << layer), turned)
        held = Signal(data.ArrayLayout(8, rows), reset_less=True)
        m.d.comb += front.data.eq(Mux(front_read, turned, held.as_value()))
        m.d.sync += held.eq(front.data)
        for client in self.access:
            m.d.comb += client.data.eq(found.as_value())
        return m
