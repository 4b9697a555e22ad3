"""The fabrics of these tests: small, odd, and each other's opposite in what can be left out."""
import pytest
from celosia.rtl.contract.fabric import Fabric
from support.lockstep import library

FABRICS = {
    fabric.name: fabric for fabric in (
        Fabric(name="3x5", rows=3, cols=5, lanes=2, am_words=171, wm_words=37, pm_words=29, acc_depth=19,
               fifo_depth=7, line_depth=9, tables=2, bus_bytes=4, max_burst=8, outstanding=2, queue_depth=2,
               profile_layers=3),
        # The least of everything.
        Fabric(name="1x1", rows=1, cols=1, am_words=8, wm_words=2, pm_words=4, acc_depth=4, fifo_depth=4,
               acc_width=20, weight_bits=8, line_depth=0, tables=0, bus_bytes=16, max_burst=1, outstanding=1,
               queue_depth=1, profile_layers=0),
    )
}


@pytest.fixture(scope="session", params=FABRICS)
def fabric(request) -> Fabric:
    return FABRICS[request.param]


@pytest.fixture(scope="session")
def odd() -> Fabric:
    """The one with everything in it."""
    return FABRICS["3x5"]


@pytest.fixture(scope="session")
def built():
    """The observed build of a fabric; the first of a fabric takes half a minute."""
    return library
