"""What a person sees of builds and runs that take long: on stderr a bar, or without a terminal lines."""
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..sim.native.build import Progress as BuildProgress
from .tables import progress_console

STAGES = {"elaborate": "hardware to Verilog", "verilate": "Verilog to C++", "compile": "C++ to native code",
          "wait": "waiting for another process that builds it"}
SLOW = 2.0
"""Seconds after which progress is shown."""
PAUSE = 10.0
"""Seconds between two lines where there is no terminal."""


@contextmanager
def build_progress() -> Iterator[BuildProgress]:
    """A callback for the stages of a build."""
    if not sys.stderr.isatty():
        seen = ""

        def line(stage: str, done: int, total: int) -> None:
            nonlocal seen
            if stage != seen:
                hint = "" if seen else " (once for each fabric, a minute or more)"
                seen = stage
                progress_console.print(f"building the simulator: {STAGES.get(stage, stage)}{hint}")

        yield line
        return
    with Progress(TextColumn("building the simulator: {task.description}"), BarColumn(), MofNCompleteColumn(),
                  TimeElapsedColumn(), console=progress_console, transient=True) as bar:
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
    show : called with samples done, and what the one under way has come to ("" at its beginning)
    """

    def __init__(self, total: int, unit: str, show: Callable[[int, str], None], *, pause: float):
        self.done, self.total = 0, total
        self._unit, self._show, self._pause = unit, show, pause
        self._next = time.perf_counter() + SLOW

    def tick(self, count: int, _seconds: float) -> None:
        """As the progress callback of ``Device.run``."""
        self._tell(f"{count:,} {self._unit}")

    def finished(self) -> None:
        """One more sample is done."""
        self.done += 1
        self._tell("")

    def _tell(self, text: str) -> None:
        now = time.perf_counter()
        if now >= self._next:
            self._next = now + self._pause
            self._show(self.done, text)


@contextmanager
def sample_progress(total: int, unit: str) -> Iterator[Samples]:
    """Progress of a run over ``total`` samples."""
    if not sys.stderr.isatty():
        def line(done: int, text: str) -> None:
            under_way = f", {text} into the next" if text else ""
            progress_console.print(f"{done} of {total} samples done{under_way}")

        yield Samples(total, unit, line, pause=PAUSE)
        return
    bar = Progress(TextColumn("running"), BarColumn(), MofNCompleteColumn(),
                   TextColumn("samples {task.description}"),
                   TimeElapsedColumn(), console=progress_console, transient=True)
    task = bar.add_task("", total=total)

    def update(done: int, text: str) -> None:
        bar.start()
        bar.update(task, completed=done, description=text)

    try:
        yield Samples(total, unit, update, pause=0)
    finally:
        bar.stop()
