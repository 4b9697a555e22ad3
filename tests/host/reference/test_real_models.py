"""Real networks on the reference kernels: goldens of both frameworks, every inner tensor against LiteRT."""

from pathlib import Path

import numpy as np
import pytest
from celosia.host.graph.ir import Kind
from celosia.host.graph.passes import run_passes
from celosia.host.graph.verify import RULES
from celosia.host.importers import load
from celosia.host.importers.tflite import HANDLERS, KINDS
from celosia.host.reference import Reference
from celosia.host.reference.runner import KERNELS
from celosia.host.reference.settle import SETTLE
from celosia.rtl.contract.errors import InputError
from support.litert import LiteRt

IMPORTED = [
    "cfu_model_magic_wand",
    "cfu_model_mobilenetv2_160_035",
    "cfu_presence_0_320_240_1_20220415_172145_201k_26k_96ops",
    "coral_deeplabv3_mnv2_dm05_pascal_quant",
    "coral_mobilenet_v1_025_128_quant",
    "coral_mobilenet_v2_10_224_quant",
    "coral_split_concat",
    "coral_tf2_mobilenet_v2_10_224_ptq",
    "mcunet_lenet300_100",
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
    "tflm_mnist_lstm_int8",
    "tflm_person_detect",
]
LSTM = "tflm_mnist_lstm_int8"
LARGE = ("mobilenet_v2", "deeplabv3")  # one sample is enough of these


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
    assert {path.stem for path in models.glob("*.tflite")} == set(IMPORTED)


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
    if name == LSTM:
        samples = samples[:1]  # the goldens of the others carry states over, see below
    for values, wanted in samples[:1] if any(part in name for part in LARGE) else samples:
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


def test_an_lstm_keeps_its_states_until_they_are_cleared(models):
    """LiteRT keeps states from one inference to the next, and the goldens were made that way."""
    path = models / f"{LSTM}.tflite"
    graph, litert = load(path), LiteRt(path.read_bytes())
    assert graph.ops[0].source == "UNIDIRECTIONAL_SEQUENCE_LSTM"
    lasting, cleared, differs = Reference(graph), Reference(graph), False
    for (values,), (wanted,) in golden(models, LSTM, "litert", 1, 1):
        np.testing.assert_array_equal(lasting.run([values])[0], wanted)
        cleared.states.clear()
        litert.reset()
        fresh = cleared.run([values])[0]
        np.testing.assert_array_equal(fresh, litert.run([values])[0])
        differs |= not np.array_equal(fresh, wanted)
    assert differs


def test_rules_kernels_and_importer_know_the_same_operators():
    """Of TFLite; KERNELS has two more, for ONNX graphs."""
    known = {KINDS.get(source, source) for source in HANDLERS}
    assert set(RULES) == known == set(KERNELS) - {Kind.MATMUL, SETTLE}


def test_inputs_of_a_wrong_number_shape_or_type_are_refused(models):
    reference = Reference(load(models / "mlperf_ic_resnet8.tflite"))
    image = np.zeros((1, 32, 32, 3), np.int8)
    with pytest.raises(InputError, match="takes 1 inputs, 2 were given"):
        reference.run([image, image])
    with pytest.raises(InputError, match=r"is int8 \[1, 32, 32, 3\]; what was given is int8 \[1, 32, 32\]"):
        reference.run([image[..., 0]])
    with pytest.raises(InputError, match="given is uint8"):
        reference.run([image.astype(np.uint8)])
