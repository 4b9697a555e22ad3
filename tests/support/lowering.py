"""Small graphs for tests of lowering, and the comparison of a plan with the reference kernels."""
import numpy as np
from celosia.host.graph.ir import Graph, Kind, Op, Quant, Tensor
from celosia.host.lower.check import run_plan
from celosia.host.lower.lower import lower
from celosia.host.lower.plan import HostStep, Layer
from celosia.host.reference import run_op
from celosia.rtl.contract.fabric import Fabric


class Builder:
    """A graph of int8 (or uint8) tensors, operator by operator, with random constants."""

    def __init__(self, *shapes, seed=0, dtype="int8"):
        self.rng, self.dtype, self.limits = np.random.default_rng(seed), dtype, np.iinfo(dtype)
        self.tensors, self.ops = [], []
        self.inputs = [self.tensor(shape) for shape in shapes]

    def tensor(self, shape, scale=None, dtype=None, zero=None, data=None, axis=None):
        scale = self.rng.uniform(0.02, 0.06) if scale is None else scale
        zero = int(self.rng.integers(self.limits.min, self.limits.max + 1)) if zero is None else zero
        scale, zero = np.atleast_1d(np.float32(scale)).astype(np.float64), np.atleast_1d(np.int64(zero))
        quant = Quant(scale, zero, axis)
        self.tensors.append(Tensor(f"t{len(self.tensors)}", shape, dtype or self.dtype, quant, data))
        return len(self.tensors) - 1

    def constant(self, data, **quant):
        """A constant of stored values."""
        return self.tensor(np.shape(data), data=np.array(data, self.dtype), **quant)

    def integers(self, *values):
        """Axes, sizes and the like."""
        data = np.array(values, np.int32)
        self.tensors.append(Tensor(f"t{len(self.tensors)}", data.shape, "int32", None, data))
        return len(self.tensors) - 1

    def like(self, tensor):
        """The quantisation of a tensor, for one that keeps it."""
        quant = self.tensors[tensor].quant
        return {"scale": quant.scale, "zero": quant.zero_point}

    def weights(self, shape, channels, *, axis=0, **quant):
        """One scale a channel; uint8 weights have one in all and a zero point."""
        if self.dtype == "uint8":
            data = self.rng.integers(0, 256, shape).astype(np.uint8)
            w = self.tensor(shape, **{"scale": 0.01, "data": data, **quant})
            bias = self.rng.integers(-2000, 2000, channels).astype(np.int32)
            return w, self.tensor((channels,), scale=0.01, dtype="int32", zero=0, data=bias)
        data = self.rng.integers(-127, 128, shape).astype(np.int8)
        scale = self.rng.uniform(0.002, 0.02, channels)
        each = {"scale": scale, "zero": np.zeros(channels)}
        w = self.tensor(shape, **{**each, "data": data, "axis": axis, **quant})
        bias = self.rng.integers(-2000, 2000, channels).astype(np.int32)
        return w, self.tensor((channels,), dtype="int32", data=bias, axis=0, **each)

    def op(self, kind, source, inputs, shape, **attrs):
        """Append an operator; returns its output."""
        y = self.tensor(shape, zero=attrs.pop("zero", None), scale=attrs.pop("scale", None))
        if kind not in (Kind.RESHAPE, Kind.SOFTMAX, Kind.HOST):
            limits = np.iinfo(self.tensors[y].dtype)
            attrs = {"low": int(limits.min), "high": int(limits.max), **attrs}
        self.ops.append(Op(kind, source, tuple(inputs), (y,), attrs, len(self.ops)))
        return y

    def conv(self, x, channels, kernel=(3, 3), *, stride=(1, 1), dilation=(1, 1), padding=(1, 1, 1, 1),
             depthwise=False, **attrs):
        _, h, w, c = self.tensors[x].shape
        out = tuple((n + before + after - d * (k - 1) - 1) // s + 1 for n, before, after, d, k, s in
                    zip((h, w), padding[::2], padding[1::2], dilation, kernel, stride, strict=True))
        shape = (1, *kernel, channels) if depthwise else (channels, *kernel, c)
        kind, source = ((Kind.DEPTHWISE_CONV, "DEPTHWISE_CONV_2D") if depthwise else (Kind.CONV, "CONV_2D"))
        weights = self.weights(shape, channels, axis=3 if depthwise else 0)
        return self.op(kind, source, (x, *weights), (1, *out, channels), stride=stride, dilation=dilation,
                       padding=padding, **attrs)

    def dense(self, x, outputs, shape=None, inputs=None):
        size = inputs or self.tensors[x].shape[-1]
        rows = self.tensors[x].size // size
        return self.op(Kind.FULLY_CONNECTED, "FULLY_CONNECTED", (x, *self.weights((outputs, size), outputs)),
                       shape or (rows, outputs))

    def host(self, source, inputs, *shapes, kept=None, **options):
        """An operator without a kind of its own; ``kept`` is the tensor whose quantisation its outputs keep.
        """
        quant = {} if kept is None else self.like(kept)
        outputs = tuple(self.tensor(shape, **quant) for shape in shapes)
        self.ops.append(Op(Kind.HOST, source, tuple(inputs), outputs, {"options": options}, len(self.ops)))
        return outputs[0] if len(outputs) == 1 else outputs

    def pool(self, kind, x, shape, window, stride, padding=(0, 0, 0, 0)):
        source = {Kind.AVERAGE_POOL: "AVERAGE_POOL_2D", Kind.MAX_POOL: "MAX_POOL_2D"}[kind]
        return self.op(kind, source, (x,), shape, window=window, stride=stride, padding=padding,
                       **self.like(x))

    def add(self, a, b, **attrs):
        return self.op(Kind.ADD, "ADD", (a, b), self.tensors[a].shape, **attrs)

    def graph(self, *outputs):
        return Graph("test", "tflite", tuple(self.tensors), tuple(self.ops), tuple(self.inputs),
                     tuple(outputs or [self.ops[-1].outputs[0]]))


def assert_covers_each_operator_once(plan):
    covered = [i for s in plan.steps for i in (s.ops if isinstance(s, Layer) else [s.op])]
    assert sorted(covered) == list(range(len(plan.graph.ops)))


def check(graph, seed=0, fabric=None, **options):
    """Lowers, runs, compares every tensor that a step makes with the reference kernels; returns the plan."""
    plan = lower(graph, fabric or Fabric(), **options)
    assert_covers_each_operator_once(plan)
    rng = np.random.default_rng(seed)
    extremes = [lambda limits, shape: np.full(shape, limits.min),
                lambda limits, shape: rng.choice([limits.min, limits.max], shape),
                lambda limits, shape: rng.integers(limits.min, limits.max + 1, shape)]
    for make in extremes:
        tensors = {t: graph.tensors[t] for t in graph.inputs}
        inputs = {t: make(np.iinfo(x.dtype), x.shape).astype(x.dtype) for t, x in tensors.items()}
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


def on_host(plan):
    """Reasons."""
    return [step.reason for step in plan.steps if isinstance(step, HostStep)]
