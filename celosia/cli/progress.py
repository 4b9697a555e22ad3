"""What a person sees of builds and runs that take long: on stderr a bar, or without a terminal lines."""
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..host.driver.device import UPLOAD
from ..sim.native.build import Progress as BuildProgress
from .tables import progress_console

STAGES = {"elaborate": "building the simulator: hardware to Verilog",
          "verilate": "building the simulator: Verilog to C++",
          "compile": "building the simulator: C++ to native code",
          "wait": "building the simulator: waiting for another process that builds it",
          UPLOAD: "sending weights and instructions to the board"}
SLOW = 2.0
"""Seconds after which progress is shown."""
PAUSE = 10.0
"""Seconds between two lines where there is no terminal."""


@contextmanager
def build_progress() -> Iterator[BuildProgress]:
    """A callback for the stages of a build, and of what is sent to a board."""
    if not sys.stderr.isatty():
        seen = ""

        def line(stage: str, done: int, total: int) -> None:
            nonlocal seen
            if stage != seen and (stage != UPLOAD or done < total):
                hint = "" if seen or stage == UPLOAD else " (once for each fabric, a minute or more)"
                amount = f": {total:,} bytes" if stage == UPLOAD else ""
                seen = stage
                progress_console.print(f"{STAGES.get(stage, stage)}{amount}{hint}")

        yield line
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                  console=progress_console, transient=True) as bar:
        task = bar.add_task("", visible=False)

        def update(stage: str, done: int, total: int) -> None:
            bar.update(task, description=STAGES.get(stage, stage), completed=done, total=total, visible=True)

        yield update


class Samples:
    """Counts the samples of a run, and shows where it is once that takes longer than SLOW.

    Parameters
    ----------
    total : samples in all
    unit : what a device counts while it works: "cycles", or "instructions"
    show : called with samples done (the one under way as a fraction, where that is known), and in words what
        the one under way has come to ("" at its beginning)
    expected : units that one sample should take; 0 if nobody knows
    """

    def __init__(self, total: int, unit: str, show: Callable[[float, str], None], *, pause: float,
                 expected: int = 0):
        self.done, self.total = 0, total
        self._unit, self._show, self._pause, self._expected = unit, show, pause, expected
        self._began = time.perf_counter()
        self._next = self._began + SLOW
        self._before = self._last = 0

    def tick(self, count: int, _seconds: float) -> None:
        """As the progress callback of ``Device.run``, which counts each run on the fabric from 0."""
        if count < self._last:
            self._before += self._last
        self._last = count
        count += self._before
        text, part = f"{count:,} {self._unit}", 0.0
        if count > self._expected > 0:
            part = 0.99
            text += f" (more than the {self._expected:,} predicted)"
        elif self._expected:
            part = count / self._expected
            text += f" ({part:.0%})"
            if share := (self.done + part) / self.total:
                text += f", about {duration((time.perf_counter() - self._began) * (1 / share - 1))} left"
        self._tell(self.done + part, text)

    def finished(self) -> None:
        """One more sample is done."""
        self.done += 1
        self._before = self._last = 0
        self._tell(self.done, "")

    def _tell(self, done: float, text: str) -> None:
        now = time.perf_counter()
        if now >= self._next:
            self._next = now + self._pause
            self._show(done, text)


def duration(seconds: float) -> str:
    """A time to wait, as exact as such an estimate is."""
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


@contextmanager
def sample_progress(total: int, unit: str, expected: int = 0) -> Iterator[Samples]:
    """Progress of a run over ``total`` samples, each of about ``expected`` units."""
    if not sys.stderr.isatty():
        def line(done: float, text: str) -> None:
            under_way = f"; in the next {text}" if text else ""
            progress_console.print(f"{int(done)} of {total} samples done{under_way}")

        yield Samples(total, unit, line, pause=PAUSE, expected=expected)
        return
    bar = Progress(TextColumn("running"), BarColumn(), TextColumn("{task.description}"),
                   TimeElapsedColumn(), console=progress_console, transient=True)
    task = bar.add_task("", total=total)

    def update(done: float, text: str) -> None:
        bar.start()
        samples = f"{int(done)}/{total} samples"
        bar.update(task, completed=done, description=f"{samples}, {text}" if text else samples)

    try:
        yield Samples(total, unit, update, pause=0, expected=expected)
    finally:
        bar.stop()
