"""The demo network, its images and goldens, and one small odd fabric that is compiled to native code once."""

import numpy as np
import pytest
from celosia.host.reference.framework import LiteRT

import celosia

ODD = celosia.PRESETS["tiny"].but(name="odd", rows=3, cols=5)
"""What most tests here run on: neither square nor a power of two, and quick to compile."""


@pytest.fixture(scope="session")
def golden(digits, images) -> np.ndarray:
    """What LiteRT's reference kernels make of them, int8[36, 10]."""
    reference = LiteRT(digits)
    return np.concatenate([reference.run([image[None]])[0] for image in images])


@pytest.fixture(scope="session")
def odd() -> celosia.Fabric:
    return ODD


@pytest.fixture(scope="session")
def program(digits, odd) -> celosia.Program:
    return celosia.compile(digits, fabric=odd)


@pytest.fixture(scope="session")
def built(odd) -> celosia.Fabric:
    """The odd fabric once its simulator is in the cache."""
    celosia.open("sim", fabric=odd).close()
    return odd
