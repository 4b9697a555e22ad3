"""The command line in this process, and small models as files."""
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import single_ops

from celosia.cli.main import main


@dataclass
class Outcome:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """All of stdout as one JSON value."""
        return json.loads(self.stdout)

    @property
    def complaint(self) -> str:
        """The error: one paragraph, the only one on stderr."""
        told = [line for line in self.stderr.splitlines() if line.startswith("celosia: ")]
        assert len(told) == 1 and self.stderr.rstrip().endswith(told[0]), self.stderr
        assert "Traceback" not in self.stderr
        return told[0]


@pytest.fixture
def celosia_cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs ``celosia`` with arguments."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Outcome(caught.value.code or 0, out, err)

    return run


@pytest.fixture(scope="session")
def adder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of two inputs, t0 and t1: int8[1, 4, 5, 3] each."""
    path = tmp_path_factory.mktemp("models") / "adder.tflite"
    path.write_bytes(single_ops.pairwise(np.random.default_rng(1), "ADD").build())
    return path


@pytest.fixture(scope="session")
def splitter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of three outputs."""
    path = tmp_path_factory.mktemp("models") / "splitter.tflite"
    path.write_bytes(single_ops.split(np.random.default_rng(2)).build())
    return path
