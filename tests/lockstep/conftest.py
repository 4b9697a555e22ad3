"""The fabrics of these tests, see support.lockstep.FABRICS."""
import pytest
from celosia.rtl.contract.fabric import Fabric
from support.lockstep import FABRICS, library


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
