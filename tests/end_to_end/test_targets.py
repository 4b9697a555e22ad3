"""The networks of MLPerf Tiny, doorbell to done: how busy the array is, and how well that is foretold."""
import pytest

import celosia
from celosia.cli.samples import random_sample

FABRICS = ("sim16x16", "sim8x8")
UTILISATION = {
    "mlperf_ic_resnet8": (0.93, 0.95),
    "mlperf_kws_dscnn": (0.70, 0.75),
    "mlperf_vww_mnv1_025_96": (0.60, 0.75),
}
"""The least on each of FABRICS."""
WEIGHTS_OF_THE_AUTOENCODER = 264_192
"""One row of C weights a cycle is what the weight port gives: no fully connected layer can be faster."""


@pytest.fixture(scope="module", params=FABRICS)
def device(request):
    with celosia.open("sim", fabric=request.param) as opened:
        yield opened


def measured(models, name, device):
    program = celosia.compile(models / f"{name}.tflite", fabric=device.fabric)
    return program, device.run(program, random_sample(program.graph))


@pytest.mark.parametrize("name", UTILISATION)
def test_the_array_is_busy(models, name, device):
    _, result = measured(models, name, device)
    assert result.utilisation >= UTILISATION[name][FABRICS.index(device.fabric.name)]


def test_the_autoencoder_runs_at_the_weight_port_s_limit(models, device):
    _, result = measured(models, "mlperf_ad_fcae", device)
    assert result.cycles <= 1.15 * WEIGHTS_OF_THE_AUTOENCODER / device.fabric.cols


@pytest.mark.parametrize("name", [*UTILISATION, "mlperf_ad_fcae"])
def test_cycles_are_as_predicted(models, name, device):
    program, result = measured(models, name, device)
    assert abs(program.predicted - result.cycles) <= 0.03 * result.cycles
