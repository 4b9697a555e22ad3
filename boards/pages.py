"""Where an access goes on a board: to one of two memories, or nowhere."""
from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..rtl.link.axi import AXI4, RESP_DECERR, AXI4Lite

ADDRESS = "id", "addr", "len", "size", "burst", "cache", "prot"
REQUESTS = {"ar": ADDRESS, "aw": ADDRESS, "w": ("data", "strb", "last")}
ANSWERS = {"r": ("id", "data", "resp", "last"), "b": ("id", "resp")}
"""Channels of AXI4 and what they carry."""


class AXI4Split(wiring.Component):
    """Sends a manager's accesses below and from ``base`` on two ways, without a register.

    The manager holds an address until the answer, as LinkBridge does: so each direction has one transaction
    under way, and the address says whose answer comes.

    Parameters
    ----------
    base : int
        Address.
    data_bytes : int
        Bytes of a beat.

    Members
    -------
    manager : ``In(AXI4(data_bytes=data_bytes))``
    below, above : ``Out(AXI4(data_bytes=data_bytes))``
    """

    def __init__(self, *, base: int, data_bytes: int):
        self._base = base
        bus = AXI4(data_bytes=data_bytes)
        super().__init__({"manager": In(bus), "below": Out(bus), "above": Out(bus)})

    def elaborate(self, platform):
        m = Module()
        manager, below, above = self.manager, self.below, self.above
        is_above = {}
        for way in "rw":
            is_above[way] = Signal(name=f"{way}_is_above")
            m.d.comb += is_above[way].eq(getattr(manager, f"a{way}addr") >= self._base)

        def wire(bus, channel, name):
            return getattr(bus, channel + name)

        for channel, names in REQUESTS.items():
            chosen = is_above[channel[-1]]
            for port, here in ((below, ~chosen), (above, chosen)):
                m.d.comb += [wire(port, channel, name).eq(wire(manager, channel, name)) for name in names]
                m.d.comb += wire(port, channel, "valid").eq(wire(manager, channel, "valid") & here)
            m.d.comb += wire(manager, channel, "ready").eq(
                Mux(chosen, wire(above, channel, "ready"), wire(below, channel, "ready")))
        for channel, names in ANSWERS.items():
            chosen = is_above["r" if channel == "r" else "w"]
            m.d.comb += [wire(manager, channel, name).eq(
                Mux(chosen, wire(above, channel, name), wire(below, channel, name)))
                for name in (*names, "valid")]
            for port, here in ((below, ~chosen), (above, chosen)):
                m.d.comb += wire(port, channel, "ready").eq(wire(manager, channel, "ready") & here)
        return m


class EmptyPage(wiring.Component):
    """A page without registers: every access is answered with DECERR. One read and one write at a time.

    Members
    -------
    axil : ``In(AXI4Lite(address_width=12))``
    """

    def __init__(self):
        super().__init__({"axil": In(AXI4Lite(address_width=12))})

    def elaborate(self, platform):
        m = Module()
        axil = self.axil
        for answer, *requests in (("b", "aw", "w"), ("r", "ar")):
            valid = getattr(axil, f"{answer}valid")
            answered = valid & getattr(axil, f"{answer}ready")
            all_came = 1
            for channel in requests:
                came = Signal(name=f"{channel}_came")
                m.d.comb += getattr(axil, f"{channel}ready").eq(~came)
                with m.If(answered):
                    m.d.sync += came.eq(0)
                with m.Elif(getattr(axil, f"{channel}valid")):
                    m.d.sync += came.eq(1)
                all_came = all_came & came
            m.d.comb += [valid.eq(all_came), getattr(axil, f"{answer}resp").eq(RESP_DECERR)]
        return m
