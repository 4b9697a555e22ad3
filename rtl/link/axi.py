"""Signatures of the two buses: AXI4 (memory) and AXI4-Lite (control), named as in the AMBA specification."""
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class AXI4(wiring.Signature):
    """A manager's view of an AXI4 bus with one identifier, INCR bursts of full-width beats.

    Parameters
    ----------
    data_bytes : int
        Bytes of a beat.
    """

    def __init__(self, *, data_bytes: int):
        self.data_bytes = data_bytes
        super().__init__({
            **{f"a{way}{name}": Out(width) for way in "rw" for name, width in (
                ("id", 1), ("addr", 32), ("len", 8), ("size", 3), ("burst", 2), ("cache", 4), ("prot", 3),
                ("valid", 1))},
            "arready": In(1), "awready": In(1),
            "wdata": Out(8 * data_bytes), "wstrb": Out(data_bytes), "wlast": Out(1), "wvalid": Out(1),
            "wready": In(1),
            "bid": In(1), "bresp": In(2), "bvalid": In(1), "bready": Out(1),
            "rid": In(1), "rdata": In(8 * data_bytes), "rresp": In(2), "rlast": In(1), "rvalid": In(1),
            "rready": Out(1),
        })


class AXI4Lite(wiring.Signature):
    """A manager's view of a 32-bit AXI4-Lite bus."""

    def __init__(self, *, address_width: int = 8):
        super().__init__({
            "awaddr": Out(address_width), "awprot": Out(3), "awvalid": Out(1), "awready": In(1),
            "wdata": Out(32), "wstrb": Out(4), "wvalid": Out(1), "wready": In(1),
            "bresp": In(2), "bvalid": In(1), "bready": Out(1),
            "araddr": Out(address_width), "arprot": Out(3), "arvalid": Out(1), "arready": In(1),
            "rdata": In(32), "rresp": In(2), "rvalid": In(1), "rready": Out(1),
        })


BURST_INCR = 1
RESP_OKAY = 0
RESP_SLVERR = 2
RESP_DECERR = 3
