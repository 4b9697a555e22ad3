"""How many cocotb tests passed goes into pytest's report, see tests/verification.py."""
import pytest
from cocotb_tools.check_results import get_results


@pytest.fixture(autouse=True)
def count(tmp_path, record_property):
    yield
    if (made := tmp_path / "results.xml").exists():
        tests, failed = get_results(made)
        record_property("cocotb tests", tests - failed)
