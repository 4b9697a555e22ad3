"""Who has a bus: several managers on one memory port, and one manager on the pages of the registers."""
from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..contract.link import BOARD_PAGE, FABRIC_PAGE
from .axi import AXI4, RESP_DECERR, AXI4Lite

MOST_UNDER_WAY = 15
"""Transactions of one direction; a manager that offers more waits."""
PAGE_BITS = 12


class AXI4Arbiter(wiring.Component):
    """Gives a memory port to one of several managers at a time, reads and writes apart.

    The owner of a direction keeps it while any of its transactions is under way, so bursts stay whole and an
    answer belongs to the owner. When others ask, the owner has one transaction and those it had before; when
    they are answered, the next manager behind it in turn that asks becomes the owner, a cycle later. So each
    that asks has a turn, provided that all take their answers.

    The owner is held in a register. All else passes through one multiplexer behind it and without a register,
    both ways: no cycle is lost while one manager has the port for itself.

    Parameters
    ----------
    managers : int
        2 or more.
    data_bytes : int
        Bytes of a beat.

    Members
    -------
    managers : ``In(AXI4(data_bytes=data_bytes)).array(managers)``
    port : ``Out(AXI4(data_bytes=data_bytes))``

    Raises
    ------
    ValueError
        If there are fewer than two managers.
    """

    def __init__(self, *, managers: int, data_bytes: int):
        if managers < 2:
            raise ValueError(f"managers is {managers}; it must be 2 or more")
        bus = AXI4(data_bytes=data_bytes)
        super().__init__({"managers": In(bus).array(managers), "port": Out(bus)})

    def elaborate(self, platform):
        m = Module()
        port = self.port
        self._direction(m, "r", answers="r", answered=port.rvalid & port.rready & port.rlast)
        owner, begin = self._direction(m, "w", answers="b", answered=port.bvalid & port.bready)

        # W may come before its address is taken, as AXI allows, but not before it is offered.
        unsent = Signal(range(MOST_UNDER_WAY + 1))
        open_ = Signal()
        m.d.comb += open_.eq((unsent != 0) | begin)
        m.d.sync += unsent.eq(unsent + begin - (port.wvalid & port.wready & port.wlast))
        with m.Switch(owner):
            for n, manager in enumerate(self.managers):
                with m.Case(n):
                    m.d.comb += [
                        port.wdata.eq(manager.wdata), port.wstrb.eq(manager.wstrb),
                        port.wlast.eq(manager.wlast), port.wvalid.eq(manager.wvalid & open_),
                        manager.wready.eq(port.wready & open_),
                    ]
        return m

    def _direction(self, m, way, *, answers, answered):
        """Address and answer channel of one direction; returns its owner, and that a transaction begins."""
        managers, count = self.managers, len(self.managers)
        valid = [getattr(manager, f"a{way}valid") for manager in managers]
        port_valid, port_ready = (getattr(self.port, f"a{way}{name}") for name in ("valid", "ready"))
        owner = Signal(range(count), name=f"{way}_owner")
        under_way = Signal(range(MOST_UNDER_WAY + 1), name=f"{way}_under_way")
        served, waits = Signal(name=f"{way}_served"), Signal(name=f"{way}_waits")
        others, allowed, begin = (Signal(name=f"{way}_{name}") for name in ("others", "allowed", "begin"))
        m.d.comb += [
            # What was offered to the port stays, as AXI demands.
            allowed.eq(waits | ((under_way != MOST_UNDER_WAY) & ~(served & others))),
            begin.eq(port_valid & ~waits),
        ]
        m.d.sync += [waits.eq(port_valid & ~port_ready), under_way.eq(under_way + begin - answered)]
        with m.If(begin):
            m.d.sync += served.eq(1)
        with m.Switch(owner):
            for n, manager in enumerate(managers):
                with m.Case(n):
                    in_turn = [(n + k) % count for k in range(1, count)]
                    m.d.comb += [
                        *(getattr(self.port, f"a{way}{name}").eq(getattr(manager, f"a{way}{name}"))
                          for name in ("id", "addr", "len", "size", "burst", "cache", "prot")),
                        port_valid.eq(valid[n] & allowed),
                        getattr(manager, f"a{way}ready").eq(port_ready & allowed),
                        getattr(manager, f"{answers}valid").eq(getattr(self.port, f"{answers}valid")),
                        getattr(self.port, f"{answers}ready").eq(getattr(manager, f"{answers}ready")),
                    ]
                    for k in reversed(in_turn):  # the last statement that holds wins: the first in turn
                        with m.If(valid[k]):
                            m.d.comb += others.eq(1)
                            with m.If((under_way == 0) & (served | ~valid[n])):
                                m.d.sync += [owner.eq(k), served.eq(0)]
        for manager in managers:
            names = ("id", "resp", "data", "last") if answers == "r" else ("id", "resp")
            m.d.comb += [getattr(manager, answers + name).eq(getattr(self.port, answers + name))
                         for name in names]
        return owner, begin


class PageSplitter(wiring.Component):
    """Sends register accesses to the fabric or to the board, by their page (rtl/contract/link.py).

    One read and one write are under way at a time. Address and data pass to the page in the cycle after the
    address came, and answers pass back, both without a register. Data wait for their address. An access to
    another page is answered with DECERR.

    Members
    -------
    axil : ``In(AXI4Lite(address_width=16))``
    fabric : ``Out(AXI4Lite(address_width=8))``
        Page 0; addresses repeat every 256 bytes.
    board : ``Out(AXI4Lite(address_width=12))``
        Page 1.
    """

    def __init__(self):
        super().__init__({
            "axil": In(AXI4Lite(address_width=16)),
            "fabric": Out(AXI4Lite(address_width=8)), "board": Out(AXI4Lite(address_width=PAGE_BITS)),
        })

    def elaborate(self, platform):
        m = Module()
        axil = self.axil
        pages = {FABRIC_PAGE >> PAGE_BITS: self.fabric, BOARD_PAGE >> PAGE_BITS: self.board}

        for way, requests, answers, results in (("w", ("aw", "w"), "b", ("resp",)),
                                                ("r", ("ar",), "r", ("resp", "data"))):
            busy, page = Signal(name=f"{way}_busy"), Signal(range(len(pages) + 1), name=f"{way}_page")
            sent = {channel: Signal(name=f"{channel}_sent") for channel in requests}
            address = getattr(axil, f"a{way}addr")
            answer_valid = getattr(axil, f"{answers}valid")
            with m.If(~busy):
                m.d.sync += [
                    busy.eq(getattr(axil, f"a{way}valid")),
                    page.eq(Mux(address[PAGE_BITS:] < len(pages), address[PAGE_BITS:], len(pages))),
                ]
            for channel in requests:
                valid, ready = getattr(axil, f"{channel}valid"), getattr(axil, f"{channel}ready")
                with m.If(answer_valid & getattr(axil, f"{answers}ready")):
                    m.d.sync += [sent[channel].eq(0), busy.eq(0)]
                with m.Elif(valid & ready):
                    m.d.sync += sent[channel].eq(1)
            with m.Switch(page):
                for number, target in pages.items():
                    with m.Case(number):
                        for channel in requests:
                            m.d.comb += [
                                getattr(target, f"{channel}valid").eq(
                                    getattr(axil, f"{channel}valid") & busy & ~sent[channel]),
                                getattr(axil, f"{channel}ready").eq(
                                    getattr(target, f"{channel}ready") & busy & ~sent[channel]),
                            ]
                        m.d.comb += [
                            answer_valid.eq(getattr(target, f"{answers}valid")),
                            getattr(target, f"{answers}ready").eq(getattr(axil, f"{answers}ready")),
                            *(getattr(axil, answers + name).eq(getattr(target, answers + name))
                              for name in results),
                        ]
                with m.Default():
                    for channel in requests:
                        m.d.comb += getattr(axil, f"{channel}ready").eq(busy & ~sent[channel])
                    complete = busy
                    for channel in requests:
                        complete = complete & sent[channel]
                    m.d.comb += [answer_valid.eq(complete), getattr(axil, f"{answers}resp").eq(RESP_DECERR)]
            for target in pages.values():
                m.d.comb += [getattr(target, f"a{way}addr").eq(address),
                             getattr(target, f"a{way}prot").eq(getattr(axil, f"a{way}prot"))]
        for target in pages.values():
            m.d.comb += [target.wdata.eq(axil.wdata), target.wstrb.eq(axil.wstrb)]
        return m
