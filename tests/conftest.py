"""Fixtures for all tests: where the real models are, and the helpers in tests/support."""
import os
import sys
from pathlib import Path

import pytest

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
