"""Fixtures for all tests: where the real models are, and the helpers in tests/support."""
import os
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

# pytest-xdist tells its workers the width of the terminal, and tables would be as narrow.
os.environ.pop("COLUMNS", None)

TESTS = Path(__file__).parent
sys.path.append(str(TESTS))  # so that tests say `from support.litert import …`


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of real models and goldens: $CELOSIA_MODELS, or ../shared/models beside the checkout."""
    folder = Path(os.environ.get("CELOSIA_MODELS", TESTS.parents[1] / "shared" / "models"))
    if folder.is_dir():
        return folder
    reason = f"no real models at {folder}; set CELOSIA_MODELS to their folder"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def digits() -> Path:
    """The demo network."""
    return Path(str(files("celosia") / "demo" / "digits.tflite"))


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Its test images, int8[36, 8, 8, 1]."""
    with np.load(str(files("celosia") / "demo" / "digits.npz")) as held:
        return held["images"]
