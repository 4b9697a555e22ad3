"""Real networks on the reference kernels: goldens of both frameworks, every inner tensor against LiteRT."""

from pathlib import Path

import numpy as np
import pytest
from celosia.host.graph.passes import run_passes
from celosia.host.graph.verify import RULES
from celosia.host.importers import load
from celosia.host.importers.tflite import HANDLERS, KINDS
from celosia.host.reference import Reference
from celosia.host.reference.runner import KERNELS
from celosia.rtl.contract.errors import InputError, UnsupportedError
from support.litert import LiteRt

IMPORTED = [
    "cfu_model_magic_wand",
    "cfu_model_mobilenetv2_160_035",
    "cfu_presence_0_320_240_1_20220415_172145_201k_26k_96ops",
    "coral_mobilenet_v1_025_128_quant",
    "coral_mobilenet_v2_10_224_quant",
    "coral_split_concat",
    "coral_tf2_mobilenet_v2_10_224_ptq",
    "mcunet_vww",
    "mlperf_ad_fcae",
    "mlperf_ic_resnet8",
    "mlperf_kws_dscnn",
    "mlperf_sww_stream",
    "mlperf_vww_mnv1_025_96",
    "openmv_fomo_face_detection",
    "silabs_micro_speech",
    "tflm_hello_world_int8",
    "tflm_micro_speech",
    "tflm_person_detect",
]
NOT_YET = {
    "coral_deeplabv3_mnv2_dm05_pascal_quant": "RESIZE_BILINEAR",
    "mcunet_lenet300_100": "LOG_SOFTMAX",
    "tflm_mnist_lstm_int8": "UNIDIRECTIONAL_SEQUENCE_LSTM",
}


def golden(models: Path, name: str, rounding: str, inputs: int, outputs: int):
    """(inputs, outputs) of each sample; TFLM's outputs are stored only where they differ from LiteRT's."""
    stored = np.load(models / "goldens" / f"{name}.npz")
    sample = 0
    while f"in0_{sample}" in stored:
        own = {o: f"tflm{o}_{sample}" for o in range(outputs) if rounding == "tflm"}
        wanted = [stored[own[o] if own.get(o) in stored else f"ref{o}_{sample}"] for o in range(outputs)]
        yield [stored[f"in{i}_{sample}"] for i in range(inputs)], wanted
        sample += 1


def test_every_tflite_model_of_the_folder_is_listed(models):
    assert {path.stem for path in models.glob("*.tflite")} == {*IMPORTED, *NOT_YET}


@pytest.mark.parametrize(
    "name, rounding",
    [
        *(
            (name, "litert") for name in IMPORTED if name != "tflm_person_detect"
        ),  # which LiteRT does not load
        *(
            (name, "tflm")
            for name in ("tflm_person_detect", "mlperf_ad_fcae", "mlperf_kws_dscnn", "mlperf_ic_resnet8")
        ),
    ],
)
def test_outputs_equal_the_goldens(models, name, rounding):
    graph = load(models / f"{name}.tflite", rounding=rounding)
    reference = Reference(graph)
    samples = list(golden(models, name, rounding, len(graph.inputs), len(graph.outputs)))
    assert samples
    for values, wanted in samples[:1] if "mobilenet_v2" in name else samples:
        for got, want in zip(reference.run(values), wanted, strict=True):
            assert (got.dtype, got.shape) == (want.dtype, want.shape)
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", [name for name in IMPORTED if name != "tflm_person_detect"])
def test_every_inner_tensor_equals_litert(models, name):
    path = models / f"{name}.tflite"
    graph, litert = load(path), LiteRt(path.read_bytes())
    values, _ = next(golden(models, name, "litert", len(graph.inputs), len(graph.outputs)))
    litert.run(values)
    ours = Reference(graph).run_all(values)
    assert graph.ops
    for op in graph.ops:
        for index in op.outputs:
            np.testing.assert_array_equal(ours[index], litert.tensor(index), err_msg=f"{op.label}")


@pytest.mark.parametrize("name", ["mlperf_ic_resnet8", "mcunet_vww", "coral_split_concat"])
def test_passes_keep_the_results(models, name):
    graph = load(models / f"{name}.tflite")
    values, wanted = next(golden(models, name, "litert", len(graph.inputs), len(graph.outputs)))
    for got, want in zip(Reference(run_passes(graph)).run(values), wanted, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name, operator", NOT_YET.items())
def test_models_beyond_reach_name_the_operator(models, name, operator):
    with pytest.raises(
        UnsupportedError, match=rf"{name}.tflite: operator \d+ \({operator}\).*supported are ADD"
    ):
        load(models / f"{name}.tflite")


def test_rules_kernels_and_importer_know_the_same_operators():
    assert set(RULES) == set(KERNELS) == {KINDS.get(source, source) for source in HANDLERS}


def test_inputs_of_a_wrong_number_shape_or_type_are_refused(models):
    reference = Reference(load(models / "mlperf_ic_resnet8.tflite"))
    image = np.zeros((1, 32, 32, 3), np.int8)
    with pytest.raises(InputError, match="takes 1 inputs, 2 were given"):
        reference.run([image, image])
    with pytest.raises(InputError, match=r"is int8 \[1, 32, 32, 3\]; what was given is int8 \[1, 32, 32\]"):
        reference.run([image[..., 0]])
    with pytest.raises(InputError, match="given is uint8"):
        reference.run([image.astype(np.uint8)])
