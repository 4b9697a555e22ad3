"""What the tests of board builds share: a cache of their own, and a design that is built in seconds."""
import pytest
from amaranth import Elaboratable, Module, Signal
from amaranth.lib import io


class Blinker(Elaboratable):
    """A counter at a lamp, at the place where a board's post-processing would be."""

    def __init__(self, bits=20):
        self.bits = bits

    def elaborate(self, platform):
        m, core, fabric, post = Module(), Module(), Module(), Module()
        count = Signal(self.bits)
        post.d.sync += count.eq(count + 1)
        fabric.submodules.post = post
        core.submodules.fabric = fabric
        m.submodules.core = core
        m.submodules.led = led = io.Buffer("o", platform.request("led", 0, dir="-"))
        m.d.comb += led.o.eq(count[-1])
        return m


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "boards"


@pytest.fixture
def blinker():
    return Blinker
