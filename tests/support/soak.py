"""Lockstep on random fabrics for as long as you like: `python tests/support/soak.py --seconds 3600 --seed 7`.

Prints each fabric, each difference's name, and at the end the coverage of the instruction set.
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
from support.lockstep import ObservedModel, in_lockstep, library, overlapped
from support.programs import Generator

PROGRAMS = 12
"""For each fabric and order: the build costs more than these."""


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
        queue_depth=number(1, 16), profile_layers=number(0, 64))


def random_memory(rng: np.random.Generator) -> Memory:
    """Fast, slow, or with gaps on any channel."""
    return Memory(read_latency=int(rng.integers(1, 60)), write_latency=int(rng.integers(1, 40)),
                  outstanding=int(rng.integers(1, 9)), seed=int(rng.integers(1 << 30)),
                  stall={channel: float(rng.choice([0, 0.2, 0.7])) for channel in CHANNELS})


def soak(seconds: float, seed: int) -> Coverage:
    """Random programs on random fabrics until the time is over; the first difference is raised."""
    coverage, rng, end = Coverage(), np.random.default_rng(seed), time.monotonic() + seconds
    while time.monotonic() < end:
        fabric = random_fabric(rng)
        start = time.monotonic()
        built, compared, before = library(fabric), 0, coverage.instructions
        print(f"{fabric}: built in {time.monotonic() - start:.0f} s", flush=True)
        for number in range(PROGRAMS):
            if time.monotonic() > end:
                break
            program_seed = int(rng.integers(1 << 30))
            program = Generator(fabric, program_seed, 150, extreme=0.04 if number % 4 == 0 else 0.0).program()
            for serial in (True, False):
                code = program.serial() if serial else program.overlapped(rng, extra=rng.random() / 3)
                machine = Machine(fabric, program.placed(code))
                model = ObservedModel(built, fabric, machine.dram.copy(), random_memory(rng))
                try:
                    compared += (in_lockstep(model, code, machine, program.beside) if serial
                                 else overlapped(model, code, machine))
                except AssertionError:
                    print(f"seed {program_seed}, {'serial' if serial else 'overlapped'}", flush=True)
                    raise
                finally:
                    model.close()
                coverage.add(code, fabric)
        print(f"  {coverage.instructions - before} instructions, {compared} comparisons, no difference",
              flush=True)
    print(coverage.table())
    return coverage


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    return 1 if soak(options.seconds, options.seed).missing() else 0


if __name__ == "__main__":
    sys.exit(main())
