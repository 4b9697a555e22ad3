"""Lockstep on random fabrics for as long as you like: `python tests/support/soak.py --seconds 3600 --seed 7`.

The first fabrics are the tests' own, one with everything in it, whose programs have every point of the
instruction set, and one with the least of everything; then comes the largest, and random ones. Prints each
fabric, each difference's name, and at the end the coverage of the instruction set; leaves its figures in
build/verification.
"""
import argparse
import sys
import time
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1]))

from celosia.rtl.contract.fabric import LINE_LEAST, LINE_MOST, Fabric
from celosia.rtl.contract.machine import Machine
from celosia.sim.native.model import CHANNELS, Memory
from support.isa_coverage import Coverage
from support.lockstep import FABRICS, ObservedModel, in_lockstep, library, overlapped
from support.programs import Generator
from support.results import record

PROGRAMS = 12
"""For each fabric and order, and twice as many for the first: the build costs more than these."""
LARGEST = Fabric(name="32x32", rows=32, cols=32, lanes=32, am_words=2048, wm_words=320, pm_words=192,
                 acc_depth=300, fifo_depth=300, line_depth=64, tables=15, bus_bytes=16, max_burst=256,
                 outstanding=16, queue_depth=16, profile_layers=64)


def random_fabric(rng: np.random.Generator) -> Fabric:
    """Any size from 1x1 to 32x32, small ones more often; memories from the least on."""
    def number(low: int, high: int) -> int:
        if rng.random() < 0.2:
            return int(rng.choice([low, high]))
        return round(low * (high / max(low, 1)) ** rng.random()) if low else int(rng.integers(low, high + 1))

    rows, cols = number(1, 32), number(1, 32)
    return Fabric(
        name=f"{rows}x{cols}", rows=rows, cols=cols, lanes=number(1, min(rows, cols)),
        am_words=number(8, 2048), wm_words=number(2 * rows, 8 * rows + 64),
        pm_words=number(2 * cols + 2, 4 * cols + 64), acc_depth=number(4, 300), fifo_depth=number(4, 300),
        acc_width=number(20, 32), weight_bits=int(rng.integers(8, 10)),
        line_depth=0 if rng.random() < 0.2 else number(LINE_LEAST, min(LINE_MOST, 64)), tables=number(0, 15),
        bus_bytes=int(rng.choice([4, 8, 16])), max_burst=number(1, 256), outstanding=number(1, 16),
        queue_depth=number(1, 16), profile_layers=number(0, 64), ties_to_even=bool(rng.random() < 0.5))


def random_memory(rng: np.random.Generator) -> Memory:
    """Fast, slow, or with gaps on any channel."""
    return Memory(read_latency=int(rng.integers(1, 60)), write_latency=int(rng.integers(1, 40)),
                  outstanding=int(rng.integers(1, 9)), seed=int(rng.integers(1 << 30)),
                  stall={channel: float(rng.choice([0, 0.2, 0.7])) for channel in CHANNELS})


class Soak:
    """Random programs on one fabric after another, and what came of them."""

    def __init__(self, seed: int):
        self.coverage, self.fabrics = Coverage(), list[str]()
        self.comparisons = self.differences = 0
        self._rng = np.random.default_rng(seed)
        self._pace = 0.15  # seconds that a build takes, for the size of its fabric: of two idle cores

    def run(self, seconds: float) -> None:
        """Until the time is over; the first difference is raised."""
        end = time.monotonic() + seconds
        first, skipped = [FABRICS["3x5"], FABRICS["1x1"], LARGEST], 0
        while time.monotonic() < end and skipped < 100:
            fabric = first.pop(0) if first else random_fabric(self._rng)
            skipped += 1
            if time.monotonic() + self._pace * size(fabric) < end:  # else it would not be built in time
                self._fabric(fabric, PROGRAMS if self.fabrics else 2 * PROGRAMS, end)
                skipped = 0

    def _fabric(self, fabric: Fabric, programs: int, end: float) -> None:
        start = time.monotonic()
        built = library(fabric)
        took = time.monotonic() - start
        self._pace = max(self._pace, took / size(fabric))
        print(f"{fabric}: built in {took:.0f} s", flush=True)
        instructions, comparisons = self.coverage.instructions, self.comparisons
        for number in range(programs):
            if time.monotonic() > end:
                break
            self._program(fabric, built, extreme=0.04 if number % 4 == 0 else 0.0)
        self.fabrics.append(fabric.name)
        print(f"  {self.coverage.instructions - instructions} instructions, "
              f"{self.comparisons - comparisons} comparisons, no difference, "
              f"{time.monotonic() - start - took:.0f} s", flush=True)

    def _program(self, fabric: Fabric, built: Path, extreme: float) -> None:
        """One program in both orders."""
        rng, seed = self._rng, int(self._rng.integers(1 << 30))
        program = Generator(fabric, seed, 150, extreme).program()
        for serial in (True, False):
            code = program.serial() if serial else program.overlapped(rng, extra=rng.random() / 3)
            machine = Machine(fabric, program.placed(code))
            model = ObservedModel(built, fabric, machine.dram.copy(), random_memory(rng))
            try:
                self.comparisons += (in_lockstep(model, code, machine, program.beside) if serial
                                     else overlapped(model, code, machine))
            except AssertionError:
                self.differences += 1
                print(f"seed {seed}, extreme {extreme}, {'serial' if serial else 'overlapped'}", flush=True)
                raise
            finally:
                model.close()
            self.coverage.add(code, fabric)

    def record(self) -> None:
        """Leave the figures for the table of docs/verification.md."""
        record("lockstep", {"fabrics": self.fabrics, "instructions": self.coverage.instructions,
                            "comparisons": self.comparisons, "differences": self.differences,
                            "units": self.coverage.by_unit()})


def size(fabric: Fabric) -> int:
    """What the time of a build goes with: cells, columns, lanes, and the rest as ten columns."""
    return fabric.rows * fabric.cols + 4 * (fabric.cols + fabric.lanes + 10)


def soak(seconds: float, seed: int) -> Coverage:
    """Run a Soak, keep its figures, print its coverage."""
    run = Soak(seed)
    try:
        run.run(seconds)
    finally:
        run.record()
        print(run.coverage.table())
    return run.coverage


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    return 1 if soak(options.seconds, options.seed).missing() else 0


if __name__ == "__main__":
    sys.exit(main())
