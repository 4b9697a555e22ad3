"""Lowering: every tensor of real networks equals LiteRT's, and each refusal says why."""
import time
from dataclasses import replace

import numpy as np
import pytest
from celosia.host.graph.ir import Kind, Quant
from celosia.host.graph.passes import run_passes
from celosia.host.importers import load
from celosia.host.lower.check import run_plan
from celosia.host.lower.lower import lower
from celosia.host.lower.plan import Alias, HostStep, Layer
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.presets import PRESETS
from support.litert import LiteRt
from support.lowering import Builder, assert_covers_each_operator_once, check, layers_of

MLPERF = ["mlperf_ic_resnet8", "mlperf_kws_dscnn", "mlperf_vww_mnv1_025_96", "mlperf_ad_fcae"]


# Real networks

@pytest.mark.parametrize("name", [*MLPERF, "cfu_model_mobilenetv2_160_035", "openmv_fomo_face_detection",
                                  "cfu_model_magic_wand", "mlperf_sww_stream",
                                  "coral_mobilenet_v1_025_128_quant", "coral_split_concat",
                                  "silabs_micro_speech", "mcunet_vww"])
def test_every_tensor_equals_litert(models, name):
    file = models / f"{name}.tflite"
    graph = load(file)
    plan = lower(graph, Fabric())
    assert_covers_each_operator_once(plan)
    golden = np.load(models / "goldens" / f"{name}.npz")
    runtime = LiteRt(file.read_bytes())
    for sample in range(2):
        arrays = [golden[f"in{i}_{sample}"].reshape(graph.tensors[t].shape)
                  for i, t in enumerate(graph.inputs)]
        runtime.run(arrays)
        values = run_plan(plan, dict(zip(graph.inputs, arrays, strict=True)))
        for step in plan.steps:
            for t in graph.ops[step.op].outputs if isinstance(step, HostStep) else [step.output]:
                np.testing.assert_array_equal(values[t], runtime.tensor(t), err_msg=graph.tensors[t].name)


@pytest.mark.parametrize("name", MLPERF)
def test_all_channels_of_mlperf_tiny_are_proved(models, name):
    graph = load(models / f"{name}.tflite")
    plan = lower(graph, Fabric())
    layers = [step for step in plan.steps if isinstance(step, Layer)]
    assert sum(layer.macs for layer in layers) == sum(graph.macs(op) for op in graph.ops)
    assert [graph.ops[s.op].source for s in plan.steps if isinstance(s, HostStep)] in ([], ["SOFTMAX"])
    assert all(p.proved == p.channels for p in plan.proofs) and len(plan.proofs) == len(layers)


def test_sums_far_from_zero_run_on_narrow_accumulators(models):
    """Channels of this network that are always off have biases of 2**30; 24 bits do for what varies."""
    graph = load(models / "mlperf_vww_mnv1_025_96.tflite")
    plan = lower(graph, PRESETS["icebreaker"])
    assert [graph.ops[s.op].source for s in plan.steps if isinstance(s, HostStep)] == ["SOFTMAX"]
    golden = np.load(models / "goldens" / "mlperf_vww_mnv1_025_96.npz")
    runtime = LiteRt((models / "mlperf_vww_mnv1_025_96.tflite").read_bytes())
    image = golden["in0_0"].reshape(graph.tensors[graph.inputs[0]].shape)
    runtime.run([image])
    values = run_plan(plan, {graph.inputs[0]: image}, acc_width=24)
    for layer in plan.steps:
        if isinstance(layer, Layer):
            np.testing.assert_array_equal(values[layer.output], runtime.tensor(layer.output))


def test_resnet8_runs_each_shortcut_between_the_layers_of_its_block(models):
    plan = lower(load(models / "mlperf_ic_resnet8.tflite"), Fabric())
    listing = [(s.source, s.kernel, s.other is not None) for s in plan.steps if isinstance(s, Layer)]
    conv, shortcut = ("CONV_2D", (3, 3), False), ("CONV_2D", (1, 1), False)
    adds = ("CONV_2D+ADD", (3, 3), True)
    assert listing == [conv, conv, adds, conv, shortcut, adds, conv, shortcut, adds,
                       ("AVERAGE_POOL_2D", (8, 8), False), ("FULLY_CONNECTED", (1, 1), False)]
    texts = [proof.text for proof in plan.proofs]
    assert texts[1] == "16 of 16 channels proved equal over [-909178, 775896] (255 thresholds each)"
    assert texts[2].endswith("sum proved equal on all 65536 pairs")


def test_resnet8_lowers_well_within_the_compile_budget(models):
    graph = load(models / "mlperf_ic_resnet8.tflite")
    start = time.process_time()
    lower(graph, Fabric())
    assert time.process_time() - start < 1.0  # measured: 0.1 s


def test_a_narrow_accumulator_sends_layers_to_the_host_and_says_so(models):
    graph = load(models / "mlperf_ic_resnet8.tflite")
    plan = lower(graph, Fabric(acc_width=20))
    reasons = [s.reason for s in plan.steps if isinstance(s, HostStep)]
    assert any("beyond the fabric's 20-bit accumulators" in reason for reason in reasons)
    assert_covers_each_operator_once(plan)


def test_operators_kept_on_the_host_by_request(models):
    plan = lower(load(models / "mlperf_ic_resnet8.tflite"), Fabric(), on_host={4: "no room", 7: "no room"})
    assert {s.op: s.reason for s in plan.steps if isinstance(s, HostStep)}.keys() == {4, 7, 15}
    assert_covers_each_operator_once(plan)


# Small graphs

@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("kernel, stride, dilation, padding", [
    ((1, 1), (1, 1), (1, 1), (0, 0, 0, 0)), ((3, 3), (2, 2), (1, 1), (0, 1, 0, 1)),
    ((3, 2), (1, 2), (2, 3), (2, 1, 0, 3)), ((5, 1), (3, 1), (1, 1), (2, 2, 0, 0))])
def test_convolutions_of_odd_geometry(depthwise, kernel, stride, dilation, padding):
    b = Builder((1, 9, 8, 3))
    b.conv(0, 6, kernel, stride=stride, dilation=dilation, padding=padding, depthwise=depthwise)
    (layer,) = layers_of(check(b.graph()))
    assert (layer.mode, layer.multiplier) == (("depthwise", 2) if depthwise else ("dense", 1))
    assert layer.weights.shape == (*kernel, *(() if depthwise else (3,)), 6)
    assert (layer.kernel, layer.stride, layer.dilation, layer.padding) == (kernel, stride, dilation, padding)


def test_a_fused_activation_narrows_the_range_of_the_next_layer():
    b = Builder((1, 6, 6, 4))
    x = b.conv(0, 4, zero=-30, low=-30, high=90)
    b.conv(x, 4)
    narrow = check(b.graph()).proofs[1].text
    b.ops[0] = replace(b.ops[0], attrs={**b.ops[0].attrs, "low": -128, "high": 127})
    assert narrow != check(b.graph()).proofs[1].text


def test_padding_counts_to_the_range_even_where_no_activation_can_equal_it():
    b = Builder((1, 6, 6, 1))
    x = b.conv(0, 1, zero=-100, low=10, high=90)
    y = b.conv(x, 1)
    _, weights, bias = b.ops[1].inputs
    b.tensors[weights] = replace(b.tensors[weights], data=np.ones((1, 3, 3, 1), np.int8))
    real_bias = int(b.tensors[bias].data[0])
    assert f"over [{real_bias}, {real_bias + 9 * 190}]" in check(b.graph(y)).proofs[1].text


@pytest.mark.parametrize("rows", [1, 5])
def test_fully_connected_rows_become_an_image_one_pixel_wide(rows):
    b = Builder((rows, 20))
    b.dense(0, 7)
    (layer,) = layers_of(check(b.graph()))
    assert layer.in_shape == (rows, 1, 20) and layer.out_shape == (rows, 1, 7) and layer.kernel == (1, 1)


def test_fully_connected_over_an_image_is_a_kernel_of_its_size_and_takes_the_reshape_along():
    b = Builder((1, 4, 4, 3))
    x = b.conv(0, 5)
    flat = b.op(Kind.RESHAPE, "RESHAPE", (x,), (1, 80), scale=b.tensors[x].quant.scale,
                zero=b.tensors[x].quant.zero_point)
    b.dense(flat, 9)
    plan = check(b.graph())
    assert [layer.ops for layer in layers_of(plan)] == [(0,), (2, 1)]
    assert layers_of(plan)[1].kernel == (4, 4) and layers_of(plan)[1].weights.shape == (4, 4, 5, 9)
    # If the flat tensor is wanted by itself, the reshape stays.
    assert Alias(1, x, flat) in check(b.graph(b.ops[-1].outputs[0], flat)).steps


def residual_block(b, x):
    """x -> a -> b, x -> shortcut, b + shortcut; returns the ADD's output."""
    channels = b.tensors[x].shape[3]
    a = b.conv(x, channels)
    deep = b.conv(a, channels)
    shortcut = b.conv(x, channels, (1, 1), padding=(0, 0, 0, 0))
    return b.add(deep, shortcut)


def test_the_deeper_operand_takes_the_add_and_the_other_goes_between():
    b = Builder((1, 5, 5, 4))
    residual_block(b, 0)
    plan = check(b.graph())
    assert [layer.ops for layer in layers_of(plan)] == [(0,), (2,), (1, 3)]
    assert layers_of(plan)[2].other == b.ops[2].outputs[0]


def test_an_add_of_tensors_that_others_want_runs_alone():
    b = Builder((1, 5, 5, 4))
    x = b.conv(0, 4)
    y = b.conv(x, 4)
    total = b.add(x, y)
    plan = check(b.graph(total, y))
    alone = layers_of(plan)[-1]
    assert alone.ops == (2,) and alone.mode == "window" and (alone.input, alone.other) == (x, y)
    twice = Builder((1, 3, 3, 2))
    twice.add(0, 0)
    assert layers_of(check(twice.graph()))[0].ops == (0,)


def test_a_chain_of_adds_rides_on_one_layer_each():
    b = Builder((1, 4, 4, 3))
    first = b.conv(0, 3)
    second = b.conv(first, 3)
    third = b.conv(second, 3)
    total = b.add(b.add(first, second), third)
    check(b.graph(total))


def test_only_one_add_rides_on_a_layer():
    b = Builder((1, 4, 4, 3), (1, 4, 4, 3), (1, 4, 4, 3))
    b.add(b.add(b.conv(0, 3), 1), 2)
    plan = check(b.graph())
    assert [layer.ops for layer in layers_of(plan)] == [(0, 1), (2,)]


def softmax(b, x):
    return b.op(Kind.SOFTMAX, "SOFTMAX", (x,), b.tensors[x].shape, beta=1.0, scale=1 / 256, zero=-128)


@pytest.mark.parametrize("tensor, change, reason", [
    (1, {"quant": Quant(np.full(4, 1e6), np.zeros(4, int))}, "overflow the framework's 32 bits"),
    (1, {"data": None}, "are computed, not constant"),
    (2, {"data": np.full(4, 2**31 - 1, np.int32)}, "more than 32 bits hold"),
    (0, {"shape": (2, 5, 5, 4)}, "batch of 2 images"),
    (0, {"shape": (1, 5, 5, 6)}, "do not share 6 channels"),
    (0, {"dtype": "int16"}, "is int16"),
    (1, {"quant": Quant(np.full(4, 0.01), np.arange(4))}, "have zero points from 0 to 3"),
    (0, {"data": np.zeros((1, 5, 5, 4), np.int8)}, "works on the constant"),
])
def test_what_the_fabric_cannot_do_is_left_to_the_host_with_the_reason(tensor, change, reason):
    b = Builder((1, 5, 5, 4))
    b.tensors[0] = replace(b.tensors[0], quant=Quant(np.array([0.02]), np.array([-128])))
    b.conv(0, 4)
    b.tensors[1] = replace(b.tensors[1], data=np.abs(b.tensors[1].data))  # makes the folded bias large
    b.tensors[tensor] = replace(b.tensors[tensor], **change)
    (step,) = lower(b.graph(), Fabric()).steps
    assert isinstance(step, HostStep) and reason in step.reason


def test_an_operator_without_hardware_is_named():
    b = Builder((1, 10))
    softmax(b, 0)
    assert check(b.graph()).steps == (HostStep(0, "the fabric has no SOFTMAX"),)


def test_all_but_the_softmax_of_a_mobilenet_is_on_the_fabric_in_good_time(models):
    """QUANTIZE, MEAN, and one ADD whose ties take three."""
    graph = run_passes(load(models / "coral_tf2_mobilenet_v2_10_224_ptq.tflite"))
    start = time.process_time()
    plan = lower(graph, Fabric())
    assert time.process_time() - start < 4.0  # measured: 1.0 s
    assert [graph.ops[s.op].source for s in plan.steps if isinstance(s, HostStep)] == ["SOFTMAX"]
    assert_covers_each_operator_once(plan)
