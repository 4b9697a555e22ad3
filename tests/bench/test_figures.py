"""The cycles of the four MLPerf Tiny networks are those that the newest release recorded, or fewer."""
import json
import os
from fractions import Fraction
from pathlib import Path

import pytest
from celosia.host.driver.device import WATCHDOG

import celosia
from celosia.cli.bench import MLPERF_TINY, measure
from celosia.cli.record import compare, read_record

FOLDER = Path(__file__).parents[2] / "bench"
FABRICS = ("sim16x16", "sim8x8")
TOLERANCE = Fraction(2, 100)


def newest(folder: Path) -> Path | None:
    """The record of the latest release in a folder."""
    return max(folder.glob("*.json"), key=lambda file: [int(part) for part in file.stem.split(".")],
               default=None)


def test_the_newest_record_is_that_of_the_latest_version(tmp_path):
    assert newest(tmp_path) is None
    for version in ("0.9.0", "0.10.0", "0.2.11"):
        (tmp_path / f"{version}.json").touch()
    assert newest(tmp_path).stem == "0.10.0"


@pytest.fixture(scope="module")
def figures():
    file = newest(FOLDER)
    if file is None:
        reason = "no release has recorded figures yet: make bench-record"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return read_record(file)


def test_every_network_of_the_gate_is_in_the_record(figures):
    recorded = {(kept["model"], kept["fabric"]) for kept in figures}
    assert recorded >= {(f"{model}.tflite", fabric) for model in MLPERF_TINY for fabric in FABRICS}


@pytest.mark.parametrize("fabric", FABRICS)
@pytest.mark.parametrize("model", MLPERF_TINY)
def test_a_network_is_not_slower_than_recorded(models, figures, model, fabric):
    result = measure(models / f"{model}.tflite", celosia.PRESETS[fabric], None, 1, (), rounding="litert",
                     check=False, watchdog=WATCHDOG)
    assert result["error"] is None, result["error"]
    (found,) = compare([result], figures, TOLERANCE)
    told = json.dumps(found.summary())
    assert found.verdict in ("same", "faster"), (
        f"{told}; see bench/README.md for a change that costs cycles on purpose")
