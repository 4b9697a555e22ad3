"""A pytest plugin: models that cocotb tests build count what they do, see run.py."""
import os
import shutil
from pathlib import Path

DATA = "CELOSIA_COVERAGE"
"""Environment variable: the folder where Verilator's counts are kept."""


class _Counting:
    """cocotb's runner, with counters built in and their values kept."""

    def __init__(self, runner, folder: Path):
        self._runner, self._folder = runner, folder

    def build(self, *, build_args=(), **rest):
        self._runner.build(build_args=[*build_args, "--coverage-line", "--coverage-toggle"], **rest)

    def test(self, *, test_dir, **rest):
        try:
            self._runner.test(test_dir=test_dir, **rest)
        finally:
            made = Path(test_dir, "coverage.dat")
            if made.exists():
                self._folder.mkdir(parents=True, exist_ok=True)
                # A test's folder has its name.
                name = f"{Path(test_dir).name}-{rest['hdl_toplevel']}-{os.getpid()}.dat"
                shutil.move(made, self._folder / name)


def pytest_configure(config):
    """As a pytest plugin (-p): every cosimulation counts."""
    from celosia.sim import cosim

    plain = cosim.get_runner
    cosim.get_runner = lambda name: _Counting(plain(name), Path(os.environ[DATA]))
