"""The shared memory as others see it: a subordinate of an AXI4 bus."""
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..contract.fabric import Fabric
from ..link.axi import AXI4
from .shared import WordPort


class Window(wiring.Component):
    """Answers INCR bursts of whole words, one burst at a time; of an address only what the memory has counts.

    A beat takes three cycles to read and one to write, if the memory is free. Every answer is OKAY.

    Parameters
    ----------
    fabric : Fabric
        With a shared memory.

    Members
    -------
    axi : ``In(AXI4(data_bytes=rows))``
    memory : ``Out(WordPort(fabric))``
    """

    def __init__(self, *, fabric: Fabric):
        self.fabric = fabric
        super().__init__({"axi": In(AXI4(data_bytes=fabric.rows)), "memory": Out(WordPort(fabric))})

    def elaborate(self, platform):
        m = Module()
        axi, request = self.axi, self.memory.request
        word = Signal.like(request.p.word, reset_less=True)
        left = Signal.like(axi.arlen, reset_less=True)
        shift = (self.fabric.rows - 1).bit_length()
        m.d.comb += [
            request.p.word.eq(word), request.p.data.eq(axi.wdata), axi.rlast.eq(left == 0),
        ]
        with m.FSM(name="window"):
            with m.State("IDLE"):
                m.d.comb += [axi.arready.eq(1), axi.awready.eq(~axi.arvalid)]
                with m.If(axi.arvalid):
                    m.d.sync += [word.eq(axi.araddr[shift:]), left.eq(axi.arlen)]
                    m.next = "ASK"
                with m.Elif(axi.awvalid):
                    m.d.sync += word.eq(axi.awaddr[shift:])
                    m.next = "WRITE"
            with m.State("ASK"):
                m.d.comb += request.valid.eq(1)
                with m.If(request.ready):
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.d.sync += axi.rdata.eq(self.memory.data)
                m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += axi.rvalid.eq(1)
                with m.If(axi.rready):
                    m.d.sync += [word.eq(word + 1), left.eq(left - 1)]
                    m.next = "ASK"
                    with m.If(axi.rlast):
                        m.next = "IDLE"
            with m.State("WRITE"):
                m.d.comb += [
                    request.valid.eq(axi.wvalid & axi.wstrb.any()), request.p.mask.eq(axi.wstrb),
                    axi.wready.eq(request.ready),
                ]
                with m.If(axi.wvalid & axi.wready):
                    m.d.sync += word.eq(word + 1)
                    with m.If(axi.wlast):
                        m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += axi.bvalid.eq(1)
                with m.If(axi.bready):
                    m.next = "IDLE"
        return m
