"""The five AXI4 channels as streams: what the engines speak; dma.py wires them to the bus."""
from amaranth.lib import data

from ..contract.fabric import Fabric

ADDRESS_CHANNEL = data.StructLayout({"address": 32, "len": 8})
"""AR and AW; what they do not carry is constant."""

WRITE_RESPONSE = data.StructLayout({"resp": 2})
"""B."""


def read_beat(fabric: Fabric) -> data.StructLayout:
    """R."""
    return data.StructLayout({"data": 8 * fabric.bus_bytes, "resp": 2, "last": 1})


def write_beat(fabric: Fabric) -> data.StructLayout:
    """W."""
    return data.StructLayout({"data": 8 * fabric.bus_bytes, "strobe": fabric.bus_bytes, "last": 1})
