"""examples/pytorch_digits.py from end to end, where PyTorch is installed."""
import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "pytorch_digits.py"


def test_a_network_trained_in_pytorch_reads_digits_on_the_fabric(tmp_path, capsys):
    pytest.importorskip("torch", reason="the example needs PyTorch: pip install 'celosia[torch]'")
    pytest.importorskip("sklearn", reason="the digits are scikit-learn's: pip install 'celosia[torch]'")
    main = runpy.run_path(str(EXAMPLE))["main"]
    main(["--epochs", "12", "--device", "emulator", "--count", "20", "--out", str(tmp_path)],
         standalone_mode=False)
    told = capsys.readouterr().out.splitlines()
    before, after = int(told[-2].split()[0]), int(told[-2].split()[-3])
    assert before > 320 and after > before - 20, told[-2]
    assert int(told[-1].split()[0]) >= 15 and "scores equal" in told[-1], told[-1]
