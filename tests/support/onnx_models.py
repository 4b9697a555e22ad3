"""Random layers as ONNX models, of both quantised styles; their scales are such that results fill their
range.

    layer = build("QLinearConv", rng, dtype="uint8", group=2)
    x = layer.feeds(rng)

QOperator: ``QLinearConv``, ``QLinearMatMul``, ``QGemm`` … take and make bytes. QDQ: the float operators
``Conv``, ``Gemm``, ``Add`` … stand between DequantizeLinear and QuantizeLinear. ``ends="float"`` puts a
QuantizeLinear before the first and a DequantizeLinear behind the last value, as in a model that was float
once.
"""
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotImplementedByRuntime

NEWEST = onnx.defs.onnx_opset_version()
MICROSOFT = {"QGemm", "QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearSigmoid", "QLinearLeakyRelu",
             "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearSoftmax"}
IR_VERSION = 8
"""Old enough for every ONNX Runtime; a model of a newer opset gets the version that it needs."""


@dataclass(frozen=True)
class Quant:
    """Names of scale and zero point, and their values."""

    scale: str
    zero: str
    step: np.ndarray
    offset: np.ndarray

    @property
    def names(self) -> tuple[str, str]:
        return self.scale, self.zero


@dataclass(frozen=True)
class Layer:
    """``inputs``: name -> (type, shape); batch sizes and the like are fixed here even if the model has them
    open."""

    model: onnx.ModelProto
    inputs: dict[str, tuple[str, tuple[int, ...]]]

    def feeds(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {name: values(rng, dtype, shape) for name, (dtype, shape) in self.inputs.items()}

    def expected(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return session(self.model).run(None, feeds)

    def save(self, path):
        onnx.save(self.model, str(path))
        return path


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """ONNX Runtime with graph optimisations disabled. A model of an opset that it has no kernels for yet is
    taken for one of the newest that it has; no operator here has changed since."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    known = onnx.ModelProto()
    known.CopyFrom(model)
    (standard,) = (entry for entry in known.opset_import if not entry.domain)
    while True:
        try:
            return onnxruntime.InferenceSession(known.SerializeToString(), options,
                                                providers=["CPUExecutionProvider"])
        except NotImplementedByRuntime:
            standard.version -= 1
            if standard.version < 21:
                raise


def values(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random bytes with the two ends among them, or real numbers."""
    if dtype == "float32":
        return rng.normal(0, 1.5, shape).astype(np.float32)
    limits = np.iinfo(dtype)
    made = rng.integers(limits.min, limits.max + 1, shape).astype(dtype)
    made.reshape(-1)[:2] = (limits.min, limits.max)[:made.size]
    return made


class Writer:
    """A model in the making. Every method that adds a node returns the name of its result."""

    def __init__(self, rng: np.random.Generator, *, opset: int = 17, ends: str = "bytes"):
        self.rng, self.opset, self.ends = rng, opset, ends
        self.nodes: list[onnx.NodeProto] = []
        self.held: list[onnx.TensorProto] = []
        self.inputs: dict[str, tuple[str, tuple[int, ...]]] = {}
        self.outputs: list[tuple[str, str]] = []

    def constant(self, value, name: str = "") -> str:
        name = name or f"c{len(self.held)}"
        self.held.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(
            operator, inputs, [name], f"{operator} {len(self.nodes)}",
            domain="com.microsoft" if operator in MICROSOFT else "", **attributes))
        return name

    def quant(self, dtype: str, step=None) -> Quant:
        """Per tensor, or per channel with a zero point of 0 if ``step`` is an array."""
        step = np.float32(self.rng.uniform(0.01, 0.05)) if step is None else np.asarray(step, np.float32)
        zero = int(self.rng.integers(-20, 21)) + (128 if dtype == "uint8" else 0)
        offset = np.full(step.shape, zero if step.ndim == 0 else 128 * (dtype == "uint8"), dtype)
        return Quant(self.constant(step), self.constant(offset), step, offset)

    def dequantise(self, name: str, quant: Quant, axis: int | None = None) -> str:
        given = {} if axis is None or quant.step.ndim == 0 else {"axis": axis}
        return self.node("DequantizeLinear", name, *quant.names, **given)

    def quantise(self, name: str, quant: Quant) -> str:
        return self.node("QuantizeLinear", name, *quant.names)

    def input(self, dtype: str, shape: tuple[int, ...], quant: Quant | None = None) -> str:
        """A stored value that is an input, or made of one."""
        name = "xyz"[len(self.inputs)]
        real = self.ends == "float" and quant is not None
        self.inputs[name] = ("float32" if real else dtype, tuple(shape))
        return self.quantise(name, quant) if real else name

    def finish(self, name: str, dtype: str, quant: Quant | None = None) -> None:
        """Make a value an output."""
        if self.ends == "float" and quant is not None:
            name, dtype = self.dequantise(name, quant), "float32"
        self.outputs.append((name, dtype))

    def layer(self, *, open_batch: bool = False) -> Layer:
        def info(name, dtype, shape):
            element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            return helper.make_tensor_value_info(name, element, shape)

        inputs = [info(name, dtype, ["N", *shape[1:]] if open_batch else shape)
                  for name, (dtype, shape) in self.inputs.items()]
        outputs = [info(name, dtype, None) for name, dtype in self.outputs]
        graph = helper.make_graph(self.nodes, "layer", inputs, outputs, self.held)
        opsets = [helper.make_opsetid("", self.opset)]
        if any(node.domain for node in self.nodes):
            opsets.append(helper.make_opsetid("com.microsoft", 1))
        needed = max(IR_VERSION, helper.find_min_ir_version_for(opsets[:1]))
        model = helper.make_model(graph, ir_version=needed, opset_imports=opsets)
        if open_batch:  # the outputs' shapes, as exporters write them
            model = onnx.shape_inference.infer_shapes(model)
        return Layer(model, dict(self.inputs))

    # Weights

    def taps(self, dtype: str, shape: tuple[int, ...], channel: int, per_channel: bool,
             beside: str) -> tuple[str, Quant]:
        """Bell-shaped weights, as trained ones are; ``channel`` is the axis of the output channels.

        ``beside`` activations of the other type they have seven bits: with eight, ONNX Runtime's sums
        saturate on processors without VNNI instructions.
        """
        step = self.rng.uniform(0.002, 0.02, shape[channel] if per_channel else None)
        quant = self.quant(dtype, step)
        if not per_channel and dtype == "int8":  # mostly symmetric
            quant = Quant(quant.scale, self.constant(np.int8(0)), quant.step, np.int8(0))
        reach, centre = (127 if dtype == beside else 63), int(np.max(quant.offset))
        made = np.clip(np.rint(self.rng.normal(0, reach / 3, shape)), -reach, reach) + centre
        limits = np.iinfo(dtype)
        return self.constant(np.clip(made, limits.min, limits.max).astype(dtype)), quant

    def spread(self, x: Quant, w: Quant, depth: int) -> float:
        """What a sum of products deviates by."""
        return float(x.step * np.mean(w.step) * 74 * 30 * np.sqrt(depth))

    def bias(self, x: Quant, w: Quant, depth: int, channels: int) -> tuple[str, np.ndarray]:
        """int32, in units of the sum."""
        units = np.broadcast_to(x.step * w.step, (channels,))
        whole = np.rint(self.rng.normal(0, self.spread(x, w, depth), channels) / units)
        return self.constant(whole.astype(np.int32)), units

    def dequantised_bias(self, x: Quant, w: Quant, depth: int, channels: int, kind: str | bool) -> str:
        """Of a float operator: stored as int32 ("int32") or as it is ("float32")."""
        name, units = self.bias(x, w, depth, channels)
        if kind == "float32":
            whole = numpy_helper.to_array(self.held.pop())
            return self.constant((whole * units).astype(np.float32) + np.float32(1e-3))
        step = np.asarray(x.step * w.step, np.float32)
        scale, zero = self.constant(step), self.constant(np.zeros(step.shape, np.int32))
        return self.node("DequantizeLinear", name, scale, zero, **({"axis": 0} if step.ndim else {}))

    def activation(self, name: str, which: str, low: float = 0.0, high: float = 6.0) -> str:
        if which == "Relu":
            return self.node("Relu", name)
        if which == "Clip" and self.opset < 11:
            return self.node("Clip", name, min=low, max=high)
        if which == "Clip":
            return self.node("Clip", name, self.constant(np.float32(low)), self.constant(np.float32(high)))
        return name


# Convolutions and products


def convolution(w: Writer, *, quantised: bool, shape=(1, 3, 8, 7), filters=5, kernel=(3, 3), dtype="uint8",
                weights="int8", per_channel=False, group=1, bias="int32", activation="", open_batch=False,
                **attributes) -> Layer:
    """NCHW, or NCL; ``attributes`` are those of the operator: strides, dilations, pads, auto_pad."""
    filters = filters * group
    x = w.quant(dtype)
    stored = w.input(dtype, shape, x)
    depth = shape[1] // group * int(np.prod(kernel))
    taps, wq = w.taps(weights, (filters, shape[1] // group, *kernel), 0, per_channel, dtype)
    y = w.quant(dtype, w.spread(x, wq, depth) / 40)
    attributes = {"kernel_shape": kernel, "group": group, **attributes}
    if quantised:
        more = [w.bias(x, wq, depth, filters)[0]] if bias else []
        out = w.node("QLinearConv", stored, *x.names, taps, *wq.names, *y.names, *more, **attributes)
    else:
        more = [w.dequantised_bias(x, wq, depth, filters, bias)] if bias else []
        out = w.node("Conv", w.dequantise(stored, x), w.dequantise(taps, wq, 0), *more, **attributes)
        out = w.quantise(w.activation(out, activation, high=float(y.step) * 60), y)
    w.finish(out, dtype, y)
    return w.layer(open_batch=open_batch)


def product(w: Writer, *, operator: str, shape=(4, 20), columns=7, dtype="uint8", weights="int8",
            per_channel=False, bias="int32", activation="", open_batch=False, transB=0) -> Layer:
    """Constant weights: QLinearMatMul, QGemm, Gemm, MatMul (with an Add for its bias)."""
    x = w.quant(dtype)
    stored = w.input(dtype, shape, x)
    depth, channel = shape[-1], 0 if transB else 1
    taps, wq = w.taps(weights, (columns, depth) if transB else (depth, columns), channel, per_channel, dtype)
    y = w.quant(dtype, w.spread(x, wq, depth) / 40)
    if operator == "QLinearMatMul":
        out = w.node(operator, stored, *x.names, taps, *wq.names, *y.names)
    elif operator == "QGemm":
        more = w.bias(x, wq, depth, columns)[0] if bias else ""
        out = w.node(operator, stored, *x.names, taps, *wq.names, more, *y.names, transB=transB)
    else:
        given = {"transB": transB} if operator == "Gemm" else {}
        operands = [w.dequantise(stored, x), w.dequantise(taps, wq, channel)]
        real = [w.dequantised_bias(x, wq, depth, columns, bias)] if bias else []
        if operator == "Gemm":
            out = w.node(operator, *operands, *real, **given)
        else:
            out = w.node(operator, *operands)
            out = w.node("Add", out, *real) if real else out
        out = w.quantise(w.activation(out, activation, high=float(y.step) * 60), y)
    w.finish(out, dtype, y)
    return w.layer(open_batch=open_batch)


def dynamic_product(w: Writer, *, quantised: bool, a=(2, 5, 12), b=(2, 12, 6), dtype="uint8",
                    others="") -> Layer:
    """Two computed matrices."""
    xq, yq = w.quant(dtype), w.quant(others or dtype)
    names = w.input(dtype, a, xq), w.input(others or dtype, b, yq)
    out = w.quant(dtype, float(xq.step * yq.step) * 74 * 74 * np.sqrt(a[-1]) / 40)
    if quantised:
        made = w.node("QLinearMatMul", names[0], *xq.names, names[1], *yq.names, *out.names)
    else:
        made = w.quantise(w.node("MatMul", w.dequantise(names[0], xq), w.dequantise(names[1], yq)), out)
    w.finish(made, dtype, out)
    return w.layer()


# Elementwise operators, and those that move values


def pair(w: Writer, *, operator: str, a=(1, 3, 6, 5), b=None, dtype="uint8", constant=False, activation="",
         pooled=False) -> Layer:
    """QLinearAdd, QLinearMul, or float Add, Sub, Mul; ``b`` a shape that broadcasts, ``constant`` or
    computed; the first operand ``pooled`` before, so that it is an image."""
    aq, bq = w.quant(dtype), w.quant(dtype)
    shape = a if b is None else b
    first = w.input(dtype, a, aq)
    if pooled:
        real = w.node("MaxPool", w.dequantise(first, aq), kernel_shape=(2, 2), pads=(1, 1, 0, 0))
        first = w.quantise(real, aq)
    second = w.constant(values(w.rng, dtype, shape)) if constant else w.input(dtype, shape, bq)
    reach = float(aq.step * bq.step) * 74 * 74 if operator.endswith("Mul") else float(aq.step + bq.step) * 74
    out = w.quant(dtype, reach / 60)
    if operator.startswith("QLinear"):
        made = w.node(operator, first, *aq.names, second, *bq.names, *out.names)
    else:
        made = w.node(operator, w.dequantise(first, aq), w.dequantise(second, bq))
        made = w.quantise(w.activation(made, activation, high=float(out.step) * 60), out)
    w.finish(made, dtype, out)
    return w.layer()


def unary(w: Writer, *, operator: str, shape=(1, 3, 6, 5), dtype="uint8", **attributes) -> Layer:
    """QLinearSigmoid, QLinearLeakyRelu, or any float operator of one operand."""
    x = w.quant(dtype)
    out = w.quant(dtype, 1 / 200 if operator.endswith(("Sigmoid", "Tanh")) else None)
    stored = w.input(dtype, shape, x)
    if operator.startswith("QLinear"):
        made = w.node(operator, stored, *x.names, *out.names, **attributes)
    elif operator in ("Relu", "Clip"):
        made = w.quantise(w.activation(w.dequantise(stored, x), operator, high=2.5), out)
    elif operator == "QuantizeLinear":  # to another scale
        made = w.quantise(w.dequantise(stored, x), out)
    else:
        made = w.quantise(w.node(operator, w.dequantise(stored, x), **attributes), out)
    w.finish(made, dtype, out)
    return w.layer()


def chain(w: Writer, *, shape=(1, 3, 6, 5), dtype="uint8") -> Layer:
    """x * sigmoid(x): several float operators that make one function of a byte."""
    x, out = w.quant(dtype), w.quant(dtype)
    real = w.dequantise(w.input(dtype, shape, x), x)
    made = w.quantise(w.node("Mul", real, w.node("Sigmoid", real)), out)
    w.finish(made, dtype, out)
    return w.layer()


def pool(w: Writer, *, operator: str = "MaxPool", quantised: bool, shape=(1, 3, 8, 7), dtype="uint8",
         **attributes) -> Layer:
    """MaxPool on bytes or between scales that are the same; averages have scales of their own."""
    attributes = {} if "Global" in operator else {"kernel_shape": (2, 2), **attributes}
    x = w.quant(dtype)
    stored = w.input(dtype, shape, x)
    out = x
    if operator.startswith("QLinear"):
        out = w.quant(dtype, float(x.step) / 2)
        made = w.node(operator, stored, *x.names, *out.names, **attributes)
    elif quantised:  # the scale comes from the value that is read
        doubled = w.quant(dtype)
        stored = w.node("QLinearSigmoid", stored, *x.names, *doubled.names)
        made, out = w.node(operator, stored, **attributes), doubled
    else:
        if operator != "MaxPool":
            out = w.quant(dtype, float(x.step) / 2)
        made = w.quantise(w.node(operator, w.dequantise(stored, x), **attributes), out)
    w.finish(made, dtype, out)
    return w.layer()


def concat(w: Writer, *, quantised: bool, shapes=((1, 3, 6, 5), (1, 4, 6, 5)), axis=1, dtype="uint8",
           same=False) -> Layer:
    """Operands of scales of their own, or the result's."""
    out = w.quant(dtype, 0.05)
    quants = [out if same else w.quant(dtype) for _ in shapes]
    names = [w.input(dtype, shape, quant) for shape, quant in zip(shapes, quants, strict=True)]
    if quantised:
        parts = [part for name, quant in zip(names, quants, strict=True) for part in (name, *quant.names)]
        made = w.node("QLinearConcat", *out.names, *parts, axis=axis)
    else:
        parts = [w.dequantise(name, quant) for name, quant in zip(names, quants, strict=True)]
        made = w.quantise(w.node("Concat", *parts, axis=axis), out)
    w.finish(made, dtype, out)
    return w.layer()


def softmax(w: Writer, *, shape=(1, 10), dtype="uint8") -> Layer:
    x = w.quant(dtype)
    out = w.quant(dtype, 1 / 256)
    made = w.node("QLinearSoftmax", w.input(dtype, shape, x), *x.names, *out.names, axis=-1, opset=w.opset)
    w.finish(made, dtype, out)
    return w.layer()


def move(w: Writer, *, operator: str, quantised: bool, shape=(1, 3, 4, 5), dtype="uint8", to=(1, 60),
         perm=(0, 2, 3, 1), axis=1) -> Layer:
    """Reshape, Flatten, Transpose: on bytes, or between scales that are the same."""
    x = w.quant(dtype)
    name = w.input(dtype, shape, x)
    name = name if quantised else w.dequantise(name, x)
    given = {"Reshape": {}, "Flatten": {"axis": axis}, "Transpose": {"perm": perm}}[operator]
    more = [w.constant(np.array(to, np.int64))] if operator == "Reshape" else []
    made = w.node(operator, name, *more, **given)
    w.finish(made if quantised else w.quantise(made, x), dtype, x)
    return w.layer()


def network(w: Writer, *, quantised: bool, dtype="uint8", open_batch=False) -> Layer:
    """Convolution, convolution with an addition, pooling, flattening, a fully connected layer."""
    def step(depth, x, wq):
        return w.quant(dtype, w.spread(x, wq, depth) / 40)

    def conv(stored, x, channels, filters):
        taps, wq = w.taps("int8", (filters, channels, 3, 3), 0, w.opset >= 13 or quantised, dtype)
        y = step(9 * channels, x, wq)
        if quantised:
            bias, _ = w.bias(x, wq, 9 * channels, filters)
            return w.node("QLinearConv", stored, *x.names, taps, *wq.names, *y.names, bias, pads=(1,) * 4), y
        bias = w.dequantised_bias(x, wq, 9 * channels, filters, "int32")
        real = w.node("Conv", w.dequantise(stored, x), w.dequantise(taps, wq, 0), bias, pads=(1,) * 4)
        return w.quantise(w.node("Relu", real), y), y

    x = w.quant(dtype)
    stored = w.input(dtype, (1, 3, 8, 8), x)
    first, y = conv(stored, x, 3, 8)
    second, z = conv(first, y, 8, 8)
    total = w.quant(dtype, float(y.step + z.step))
    if quantised:
        both = w.node("QLinearAdd", first, *y.names, second, *z.names, *total.names)
        pooled = w.node("QLinearGlobalAveragePool", both, *total.names, *total.names)
    else:
        both = w.quantise(w.node("Add", w.dequantise(first, y), w.dequantise(second, z)), total)
        small = w.node("MaxPool", w.dequantise(both, total), kernel_shape=(2, 2), strides=(2, 2))
        pooled = w.quantise(small, total)
    shape = (8, 10) if quantised else (128, 10)
    taps, wq = w.taps("int8", shape, 1, False, dtype)
    out = step(shape[0], total, wq)
    if quantised:
        flat = w.node("Flatten", pooled)
        made = w.node("QLinearMatMul", flat, *total.names, taps, *wq.names, *out.names)
    else:
        flat = w.node("Flatten", w.dequantise(pooled, total))
        flat = w.dequantise(w.quantise(flat, total), total)
        bias = w.dequantised_bias(total, wq, shape[0], 10, "int32")
        made = w.quantise(w.node("Gemm", flat, w.dequantise(taps, wq), bias), out)
    w.finish(made, dtype, out)
    return w.layer(open_batch=open_batch)


KINDS = {
    "QLinearConv": lambda w, **o: convolution(w, quantised=True, **o),
    "Conv": lambda w, **o: convolution(w, quantised=False, **o),
    **{name: lambda w, name=name, **o: product(w, operator=name, **o)
       for name in ("QLinearMatMul", "QGemm", "Gemm", "MatMul")},
    "dynamic QLinearMatMul": lambda w, **o: dynamic_product(w, quantised=True, **o),
    "dynamic MatMul": lambda w, **o: dynamic_product(w, quantised=False, **o),
    **{name: lambda w, name=name, **o: pair(w, operator=name, **o)
       for name in ("QLinearAdd", "QLinearMul", "Add", "Sub", "Mul")},
    **{name: lambda w, name=name, **o: unary(w, operator=name, **o)
       for name in ("QLinearSigmoid", "QLinearLeakyRelu", "QuantizeLinear", "Relu", "Clip", "Sigmoid", "Tanh",
                    "HardSwish", "Exp", "LeakyRelu", "Elu", "Erf")},
    "x * Sigmoid": chain,
    "QLinearAveragePool": lambda w, **o: pool(w, operator="QLinearAveragePool", quantised=True, **o),
    "QLinearGlobalAveragePool": lambda w, **o: pool(w, operator="QLinearGlobalAveragePool", quantised=True,
                                                    **o),
    "MaxPool of bytes": lambda w, **o: pool(w, quantised=True, **o),
    "MaxPool": lambda w, **o: pool(w, quantised=False, **o),
    "AveragePool": lambda w, **o: pool(w, operator="AveragePool", quantised=False, **o),
    "GlobalAveragePool": lambda w, **o: pool(w, operator="GlobalAveragePool", quantised=False, **o),
    "QLinearConcat": lambda w, **o: concat(w, quantised=True, **o),
    "Concat": lambda w, **o: concat(w, quantised=False, **o),
    "QLinearSoftmax": softmax,
    **{f"{name}{of}": lambda w, name=name, q=bool(of), **o: move(w, operator=name, quantised=q, **o)
       for name in ("Reshape", "Flatten", "Transpose") for of in ("", " of bytes")},
    "network of QOperators": lambda w, **o: network(w, quantised=True, **o),
    "network": lambda w, **o: network(w, quantised=False, **o),
}


def build(kind: str, rng: np.random.Generator, *, opset: int = 17, ends: str = "bytes", **options) -> Layer:
    """A model of one layer (or, for the two networks, of a few)."""
    return KINDS[kind](Writer(rng, opset=opset, ends=ends), **options)
