"""Progress: on stderr, only when it takes long, and never more than there is."""
import io

import numpy as np
import pytest
from rich.console import Console

from celosia.cli import progress


@pytest.fixture
def told(monkeypatch):
    """What the progress console shows."""
    stream = io.StringIO()
    monkeypatch.setattr(progress, "progress_console", Console(file=stream, width=140, highlight=False))
    return stream


class Clock:
    """time.perf_counter under the test's control."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(progress.time, "perf_counter", lambda: self.now)


def test_a_short_run_says_nothing(told, monkeypatch):
    clock = Clock(monkeypatch)
    with progress.sample_progress(3, "cycles") as samples:
        for _ in range(3):
            clock.now += 0.5
            samples.tick(100, 0.1)
            samples.finished()
    assert told.getvalue() == ""


def test_a_long_run_says_where_it_is_and_never_counts_beyond_the_end(told, monkeypatch):
    clock = Clock(monkeypatch)
    with progress.sample_progress(2, "cycles") as samples:
        clock.now += 1.0
        samples.tick(5, 1.0)
        clock.now += 1.5
        samples.tick(123_456, 2.5)  # the first line
        clock.now += 5.0
        samples.tick(200_000, 7.5)  # too soon for another
        clock.now += 6.0
        samples.finished()
        clock.now += 11.0
        samples.finished()
    assert told.getvalue().splitlines() == ["0 of 2 samples done; in the next 123,456 cycles",
                                            "1 of 2 samples done",
                                            "2 of 2 samples done"]


def test_a_run_of_known_length_says_how_much_is_left(told, monkeypatch):
    clock = Clock(monkeypatch)
    with progress.sample_progress(2, "cycles", 1000) as samples:
        clock.now += 30.0
        samples.tick(250, 30.0)  # an eighth of both in 30 s
        clock.now += 60.0
        samples.tick(750, 90.0)
        clock.now += 20.0
        samples.tick(5000, 110.0)  # an estimate would be wrong
        samples.finished()
        clock.now += 10.0
        samples.tick(500, 10.0)
    assert told.getvalue().splitlines() == [
        "0 of 2 samples done; in the next 250 cycles (25%), about 4 min left",
        "0 of 2 samples done; in the next 750 cycles (75%), about 2 min left",
        "0 of 2 samples done; in the next 5,000 cycles (more than the 1,000 predicted)",
        "1 of 2 samples done; in the next 500 cycles (50%), about 40 s left"]


def test_runs_on_the_fabric_of_one_sample_add_up(told, monkeypatch):
    clock = Clock(monkeypatch)
    with progress.sample_progress(1, "cycles", 1000) as samples:
        for count in (100, 300, 50, 150, 10):  # three runs: 300, 150 and 10 so far
            clock.now += 11.0
            samples.tick(count, 1.0)
    assert [line.split("next ")[1].split(" cycles")[0] for line in told.getvalue().splitlines()] == [
        "100", "300", "350", "450", "460"]


@pytest.mark.parametrize("seconds,want", [(0, "1 s"), (99.4, "99 s"), (100, "2 min"), (5000, "83 min"),
                                          (9000, "2.5 h")])
def test_a_duration_is_as_exact_as_an_estimate(seconds, want):
    assert progress.duration(seconds) == want


def test_a_build_tells_each_stage_once(told):
    with progress.build_progress() as tell:
        for stage in ("elaborate", "verilate", "compile"):
            tell(stage, 0, 2)
            tell(stage, 1, 2)
    lines = told.getvalue().splitlines()
    assert len(lines) == 3 and "once for each fabric" in lines[0]
    assert [line.split(": ")[1].split(" (")[0] for line in lines] == [
        "hardware to Verilog", "Verilog to C++", "C++ to native code"]


def test_on_a_terminal_there_is_a_bar_that_goes_away(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(progress, "progress_console", Console(file=stream, width=100, force_terminal=True))
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    clock = Clock(monkeypatch)
    with progress.sample_progress(4, "cycles", 4_000_000) as samples:
        clock.now += 3
        samples.tick(1_000_000, 3.0)
    assert "0/4 samples, 1,000,000 cycles (25%), about 45 s left" in stream.getvalue()
    with progress.sample_progress(4, "cycles") as samples:
        clock.now += 3
        samples.finished()
    assert "1/4" in stream.getvalue()
    with progress.build_progress() as tell:
        tell("compile", 3, 12)
    assert "C++ to native code" in stream.getvalue() and "3/12" in stream.getvalue()


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_progress_of_a_long_run_is_on_stderr_only(celosia_cli, digits, images, tmp_path, monkeypatch,
                                                  as_json):
    monkeypatch.setattr(progress, "SLOW", 0.0)
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    np.save(tmp_path / "in.npy", images[:3])
    outcome = celosia_cli("run", digits, tmp_path / "in.npy", "--device", "emulator", "--fabric", "tiny",
                          *as_json)
    assert outcome.stderr.splitlines() == [f"{n} of 3 samples done" for n in (1, 2, 3)]
    assert "samples done" not in outcome.stdout
    if as_json:
        assert outcome.json["samples"] == 3
