"""Lowering: every tensor of real networks equals LiteRT's, and each refusal says why."""
import time
from dataclasses import replace

import numpy as np
import pytest
from celosia.host.graph.ir import Graph, Kind, Op, Quant, Tensor
from celosia.host.importers import load
from celosia.host.lower.check import run_plan
from celosia.host.lower.lower import lower
from celosia.host.lower.plan import Alias, HostStep, Layer
from celosia.host.reference import run_op
from celosia.rtl.contract.fabric import Fabric
from support.litert import LiteRt

MLPERF = ["mlperf_ic_resnet8", "mlperf_kws_dscnn", "mlperf_vww_mnv1_025_96", "mlperf_ad_fcae"]


# Real networks

@pytest.mark.parametrize("name", [*MLPERF, "cfu_model_mobilenetv2_160_035", "openmv_fomo_face_detection",
                                  "cfu_model_magic_wand", "mlperf_sww_stream"])
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

class Builder:
    """A graph of int8 tensors, operator by operator, with random constants."""

    def __init__(self, *shapes, seed=0):
        self.rng = np.random.default_rng(seed)
        self.tensors, self.ops = [], []
        self.inputs = [self.tensor(shape) for shape in shapes]

    def tensor(self, shape, scale=None, dtype="int8", zero=None, data=None):
        scale = self.rng.uniform(0.02, 0.06) if scale is None else scale
        zero = int(self.rng.integers(-128, 128)) if zero is None else zero
        quant = Quant(np.atleast_1d(np.float32(scale)).astype(np.float64), np.atleast_1d(np.int64(zero)))
        self.tensors.append(Tensor(f"t{len(self.tensors)}", shape, dtype, quant, data))
        return len(self.tensors) - 1

    def weights(self, shape, channels, **quant):
        data = self.rng.integers(-127, 128, shape).astype(np.int8)
        scale = self.rng.uniform(0.002, 0.02, channels)
        w = self.tensor(shape, **{"scale": scale, "zero": np.zeros(channels), "data": data, **quant})
        bias = self.rng.integers(-2000, 2000, channels).astype(np.int32)
        return w, self.tensor((channels,), scale=scale, dtype="int32", zero=np.zeros(channels), data=bias)

    def op(self, kind, source, inputs, shape, **attrs):
        y = self.tensor(shape, zero=attrs.pop("zero", None), scale=attrs.pop("scale", None))
        attrs = {"low": -128, "high": 127, **attrs} if kind not in (Kind.RESHAPE, Kind.SOFTMAX) else attrs
        self.ops.append(Op(kind, source, tuple(inputs), (y,), attrs, len(self.ops)))
        return y

    def conv(self, x, channels, kernel=(3, 3), *, stride=(1, 1), dilation=(1, 1), padding=(1, 1, 1, 1),
             depthwise=False, **attrs):
        _, h, w, c = self.tensors[x].shape
        out = tuple((n + before + after - d * (k - 1) - 1) // s + 1 for n, before, after, d, k, s in
                    zip((h, w), padding[::2], padding[1::2], dilation, kernel, stride, strict=True))
        shape = (1, *kernel, channels) if depthwise else (channels, *kernel, c)
        kind, source = ((Kind.DEPTHWISE_CONV, "DEPTHWISE_CONV_2D") if depthwise else (Kind.CONV, "CONV_2D"))
        return self.op(kind, source, (x, *self.weights(shape, channels)), (1, *out, channels), stride=stride,
                       dilation=dilation, padding=padding, **attrs)

    def dense(self, x, outputs, shape=None, inputs=None):
        size = inputs or self.tensors[x].shape[-1]
        rows = self.tensors[x].size // size
        return self.op(Kind.FULLY_CONNECTED, "FULLY_CONNECTED", (x, *self.weights((outputs, size), outputs)),
                       shape or (rows, outputs))

    def add(self, a, b, **attrs):
        return self.op(Kind.ADD, "ADD", (a, b), self.tensors[a].shape, **attrs)

    def graph(self, *outputs):
        return Graph("test", "tflite", tuple(self.tensors), tuple(self.ops), tuple(self.inputs),
                     tuple(outputs or [self.ops[-1].outputs[0]]))


def assert_covers_each_operator_once(plan):
    covered = [i for s in plan.steps for i in (s.ops if isinstance(s, Layer) else [s.op])]
    assert sorted(covered) == list(range(len(plan.graph.ops)))


def check(graph, seed=0, **options):
    """Lowers, runs, compares every tensor that a step makes with the reference kernels; returns the plan."""
    plan = lower(graph, Fabric(), **options)
    assert_covers_each_operator_once(plan)
    rng = np.random.default_rng(seed)
    corners = [np.full, lambda shape, _: rng.integers(-128, 128, shape)]
    for make in corners:
        inputs = {t: make(graph.tensors[t].shape, -128).astype(np.int8) for t in graph.inputs}
        want = {t: tensor.data for t, tensor in enumerate(graph.tensors) if tensor.data is not None} | inputs
        for op in graph.ops:
            results = run_op(graph, op, [None if t is None else want[t] for t in op.inputs])
            want.update(zip(op.outputs, results, strict=True))
        got = run_plan(plan, inputs)
        for t in set(got) | set(graph.outputs):
            np.testing.assert_array_equal(got[t], want[t], err_msg=f"tensor {t}")
    return plan


def layers_of(plan):
    return [step for step in plan.steps if isinstance(step, Layer)]


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("kernel, stride, dilation, padding", [
    ((1, 1), (1, 1), (1, 1), (0, 0, 0, 0)), ((3, 3), (2, 2), (1, 1), (0, 1, 0, 1)),
    ((3, 2), (1, 2), (2, 3), (2, 1, 0, 3)), ((5, 1), (3, 1), (1, 1), (2, 2, 0, 0))])
def test_convolutions_of_odd_geometry(depthwise, kernel, stride, dilation, padding):
    b = Builder((1, 9, 8, 3))
    b.conv(0, 6, kernel, stride=stride, dilation=dilation, padding=padding, depthwise=depthwise)
    (layer,) = layers_of(check(b.graph()))
    assert (layer.mode, layer.multiplier) == (("diagonal", 2) if depthwise else ("dense", 1))
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


def test_an_average_pool_is_a_window_unless_it_is_padded():
    for padding, mode in (((0, 0, 0, 0), Layer), ((0, 1, 0, 1), HostStep)):
        b = Builder((1, 7, 7, 5))
        y = (1, 3, 3, 5)
        zero, scale = b.tensors[0].quant.zero_point, b.tensors[0].quant.scale
        b.op(Kind.AVERAGE_POOL, "AVERAGE_POOL_2D", (0,), y, window=(3, 2), stride=(2, 2), padding=padding,
             zero=zero, scale=scale)
        if padding[1]:
            b.tensors[-1] = replace(b.tensors[-1], shape=(1, 3, 4, 5))
        assert isinstance(check(b.graph()).steps[0], mode)


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
    (1, {"quant": Quant(np.array([0.01]), np.array([3]))}, "have zero point 3"),
    (1, {"quant": Quant(np.full(4, 1e6), np.zeros(4, int))}, "overflow the framework's 32 bits"),
    (1, {"data": None}, "are computed, not constant"),
    (2, {"data": np.full(4, 2**31 - 1, np.int32)}, "more than 32 bits hold"),
    (0, {"shape": (2, 5, 5, 4)}, "batch of 2 images"),
    (0, {"shape": (1, 5, 5, 8)}, "in groups of 4"),
    (0, {"dtype": "uint8"}, "is uint8"),
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


def test_a_broadcast_and_a_constant_are_not_added_on_the_fabric():
    b = Builder((1, 4, 4, 3), (1, 1, 1, 3))
    b.add(0, 1)
    b.add(0, b.tensor((1, 4, 4, 3), data=np.ones((1, 4, 4, 3), np.int8)))
    reasons = [step.reason for step in check(b.graph()).steps]
    assert "broadcasts" in reasons[0] and "constant" in reasons[1]
