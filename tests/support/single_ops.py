"""Random networks of one operator each, for tests against the framework."""

from typing import Any

import numpy as np
from celosia.host.importers.tflite_writer import TYPES, ModelSpec, OpSpec, TensorSpec

PADDING = {"SAME": 0, "VALID": 1}
FIRST_VERSION = ("ELU", "GELU", "HARD_SWISH", "RELU_0_TO_1", "RELU_N1_TO_1")  # of which there is no second
ACTIVATION = {"NONE": 0, "RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}


def scale(rng: np.random.Generator, low: float = 1e-3, high: float = 0.2) -> float:
    return float(np.float32(np.exp(rng.uniform(np.log(low), np.log(high)))))


def zero(rng: np.random.Generator, dtype: str) -> int:
    """Corners half of the time."""
    limits = np.iinfo(dtype)
    return int(
        rng.choice(
            [
                limits.min,
                limits.max,
                (limits.min + limits.max + 1) // 2,
                rng.integers(limits.min, limits.max + 1),
            ]
        )
    )


def _activation_tensors(rng: np.random.Generator, dtype: str, *shapes: tuple[int, ...]) -> list[TensorSpec]:
    return [TensorSpec(shape, dtype, scale(rng), zero(rng, dtype)) for shape in shapes]


def _weights(rng: np.random.Generator, dtype: str, shape: tuple[int, ...], axis: int | None) -> TensorSpec:
    limits = np.iinfo(dtype)
    data = rng.integers(limits.min, limits.max + 1, shape)
    if axis is None:
        zeros = zero(rng, dtype) if dtype == "uint8" else 0
        return TensorSpec(shape, dtype, scale(rng), zeros, data=data)
    return TensorSpec(shape, dtype, [scale(rng) for _ in range(shape[axis])], 0, axis, data)


def _bias(rng: np.random.Generator, x: TensorSpec, w: TensorSpec, count: int) -> TensorSpec:
    product = np.float32(x.scale) * np.atleast_1d(np.float32(w.scale))
    return TensorSpec((count,), "int32", product.tolist(), 0, data=rng.integers(-3000, 3000, count))


def _output_scale(x: TensorSpec, w: TensorSpec, taps: int) -> float:
    """So that results spread over, and some beyond, the stored range."""
    return float(np.float32(x.scale * float(np.mean(w.scale)) * 100 * 74 * np.sqrt(taps) / 80))


def convolution(
    rng: np.random.Generator,
    dtype: str = "int8",
    *,
    size: tuple[int, int] = (7, 6),
    channels: int = 3,
    outputs: int = 5,
    kernel: tuple[int, int] = (3, 3),
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    padding: str = "SAME",
    activation: str = "NONE",
    per_channel: bool = True,
    bias: bool = True,
    batch: int = 1,
) -> ModelSpec:
    """CONV_2D; strides and dilations are (y, x)."""
    x, y = _activation_tensors(
        rng, dtype, (batch, *size, channels), _places(batch, size, kernel, stride, dilation, padding, outputs)
    )
    w = _weights(rng, dtype, (outputs, *kernel, channels), 0 if per_channel and dtype == "int8" else None)
    y.scale = _output_scale(x, w, kernel[0] * kernel[1] * channels)
    tensors = [x, w, *([_bias(rng, x, w, outputs)] if bias else []), y]
    options = {
        "Padding": PADDING[padding],
        "StrideW": stride[1],
        "StrideH": stride[0],
        "FusedActivationFunction": ACTIVATION[activation],
        "DilationWFactor": dilation[1],
        "DilationHFactor": dilation[0],
    }
    return _single("CONV_2D", tensors, options, "Conv2DOptions", inputs=[0], version=3)


def depthwise(
    rng: np.random.Generator,
    dtype: str = "int8",
    *,
    size: tuple[int, int] = (7, 6),
    channels: int = 3,
    multiplier: int = 1,
    kernel: tuple[int, int] = (3, 3),
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    padding: str = "SAME",
    activation: str = "NONE",
    per_channel: bool = True,
    bias: bool = True,
) -> ModelSpec:
    """DEPTHWISE_CONV_2D."""
    outputs = channels * multiplier
    x, y = _activation_tensors(
        rng, dtype, (1, *size, channels), _places(1, size, kernel, stride, dilation, padding, outputs)
    )
    w = _weights(rng, dtype, (1, *kernel, outputs), 3 if per_channel and dtype == "int8" else None)
    y.scale = _output_scale(x, w, kernel[0] * kernel[1])
    tensors = [x, w, *([_bias(rng, x, w, outputs)] if bias else []), y]
    options = {
        "Padding": PADDING[padding],
        "StrideW": stride[1],
        "StrideH": stride[0],
        "DepthMultiplier": multiplier,
        "FusedActivationFunction": ACTIVATION[activation],
        "DilationWFactor": dilation[1],
        "DilationHFactor": dilation[0],
    }
    return _single("DEPTHWISE_CONV_2D", tensors, options, "DepthwiseConv2DOptions", inputs=[0], version=3)


def fully_connected(
    rng: np.random.Generator,
    dtype: str = "int8",
    *,
    rows: int = 2,
    inputs: int = 9,
    outputs: int = 7,
    activation: str = "NONE",
    per_channel: bool = False,
    bias: bool = True,
) -> ModelSpec:
    """FULLY_CONNECTED; per-tensor int8 weights get a zero point now and then, as old converters wrote."""
    x, y = _activation_tensors(rng, dtype, (rows, inputs), (rows, outputs))
    w = _weights(rng, dtype, (outputs, inputs), 0 if per_channel else None)
    if not per_channel and dtype == "int8":
        w.zero = int(rng.choice([0, 0, 3, -128]))
    y.scale = _output_scale(x, w, inputs)
    tensors = [x, w, *([_bias(rng, x, w, outputs)] if bias else []), y]
    return _single(
        "FULLY_CONNECTED",
        tensors,
        {"FusedActivationFunction": ACTIVATION[activation]},
        "FullyConnectedOptions",
        inputs=[0],
        version=4,
    )


def pool(
    rng: np.random.Generator,
    source: str,
    dtype: str = "int8",
    *,
    size: tuple[int, int] = (7, 6),
    channels: int = 3,
    window: tuple[int, int] = (2, 3),
    stride: tuple[int, int] = (2, 1),
    padding: str = "SAME",
    activation: str = "NONE",
) -> ModelSpec:
    """AVERAGE_POOL_2D or MAX_POOL_2D."""
    x, y = _activation_tensors(
        rng, dtype, (1, *size, channels), _places(1, size, window, stride, (1, 1), padding, channels)
    )
    y.scale, y.zero = x.scale, x.zero
    options = {
        "Padding": PADDING[padding],
        "StrideW": stride[1],
        "StrideH": stride[0],
        "FilterWidth": window[1],
        "FilterHeight": window[0],
        "FusedActivationFunction": ACTIVATION[activation],
    }
    return _single(source, [x, y], options, "Pool2DOptions", inputs=[0], version=2)


def pairwise(
    rng: np.random.Generator,
    source: str,
    dtype: str = "int8",
    *,
    a: tuple[int, ...] = (1, 4, 5, 3),
    b: tuple[int, ...] = (1, 4, 5, 3),
    activation: str = "NONE",
) -> ModelSpec:
    """ADD, SUB or MUL; shapes broadcast."""
    x, z, y = _activation_tensors(rng, dtype, a, b, tuple(np.broadcast_shapes(a, b)))
    reach = max(x.scale, z.scale) if source != "MUL" else x.scale * z.scale * 100
    y.scale = float(np.float32(reach * rng.uniform(0.6, 2)))
    options = {"FusedActivationFunction": ACTIVATION[activation]}
    return _single(source, [x, z, y], options, source.capitalize() + "Options", inputs=[0, 1], version=2)


def softmax(
    rng: np.random.Generator, dtype: str = "int8", *, shape: tuple[int, ...] = (3, 10), beta: float = 1.0
) -> ModelSpec:
    x, y = _activation_tensors(rng, dtype, shape, shape)
    y.scale, y.zero = 1 / 256, int(np.iinfo(dtype).min)
    return _single("SOFTMAX", [x, y], {"Beta": beta}, "SoftmaxOptions", inputs=[0], version=2)


def unary(rng: np.random.Generator, source: str, dtype: str = "int8", to: str | None = None) -> ModelSpec:
    """RELU and its kin, LOGISTIC, TANH, QUANTIZE, DEQUANTIZE, on all 256 stored values (or as many reals)."""
    x, y = TensorSpec((1, 256), dtype), TensorSpec((1, 256), to or dtype)
    for tensor in (x, y):
        if tensor.dtype != "float32":
            tensor.scale, tensor.zero = scale(rng), zero(rng, tensor.dtype)
    if source == "LOGISTIC":
        y.scale = 1 / 256
    return _single(source, [x, y], {}, "", inputs=[0], version=1 if source in FIRST_VERSION else 2)


def mean(
    rng: np.random.Generator,
    dtype: str = "int8",
    *,
    shape: tuple[int, ...] = (1, 4, 5, 3),
    axes: tuple[int, ...] = (1, 2),
    keep: bool = False,
) -> ModelSpec:
    positive = {axis % len(shape) for axis in axes}
    result = tuple(1 if i in positive else n for i, n in enumerate(shape) if keep or i not in positive)
    x, y = _activation_tensors(rng, dtype, shape, result)
    y.scale = float(np.float32(x.scale * rng.uniform(0.2, 1.5)))
    tensors = [x, TensorSpec((len(axes),), "int32", data=axes), y]
    return _single("MEAN", tensors, {"KeepDims": keep}, "ReducerOptions", inputs=[0], version=2)


def concatenation(rng: np.random.Generator, dtype: str = "int8", *, axis: int = -1) -> ModelSpec:
    a, b, y = _activation_tensors(rng, dtype, (1, 3, 4, 2), (1, 3, 4, 5), (1, 3, 4, 7))
    if dtype == "int8":
        a.scale = b.scale = y.scale
        a.zero = b.zero = y.zero
    return _single(
        "CONCATENATION", [a, b, y], {"Axis": axis}, "ConcatenationOptions", inputs=[0, 1], version=2
    )


def pad(rng: np.random.Generator, dtype: str = "int8", index: str = "int32") -> ModelSpec:
    x, y = _activation_tensors(rng, dtype, (1, 3, 4, 2), (1, 6, 4, 5))
    y.scale, y.zero = x.scale, x.zero
    widths = TensorSpec((4, 2), index, data=[[0, 0], [1, 2], [0, 0], [3, 0]])
    return _single("PAD", [x, widths, y], {}, "PadOptions", inputs=[0], version=2)


def transpose(rng: np.random.Generator, dtype: str = "int8") -> ModelSpec:
    x, y = _activation_tensors(rng, dtype, (1, 3, 4, 2), (2, 1, 4, 3))
    return _single(
        "TRANSPOSE",
        [x, TensorSpec((4,), "int32", data=[3, 0, 2, 1]), y],
        {},
        "TransposeOptions",
        inputs=[0],
        version=2,
    )


def strided_slice(rng: np.random.Generator, dtype: str = "int8") -> ModelSpec:
    x, y = _activation_tensors(rng, dtype, (2, 7, 6, 3), (3, 6, 2))
    limits = [TensorSpec((4,), "int32", data=data) for data in ([1, 5, 9, 0], [2, 0, 9, -1], [1, -2, 1, 1])]
    options = {"BeginMask": 4, "EndMask": 4, "ShrinkAxisMask": 1}
    return _single("STRIDED_SLICE", [x, *limits, y], options, "StridedSliceOptions", inputs=[0], version=2)


def pad_with(rng: np.random.Generator, dtype: str = "int8") -> ModelSpec:
    """PADV2; the border has the quantisation of the tensor."""
    spec = pad(rng, dtype)
    x, widths, y = spec.tensors
    border = TensorSpec((1,), dtype, x.scale, x.zero, data=[77])
    spec.tensors, spec.outputs = [x, widths, border, y], [3]
    spec.ops = [OpSpec("PADV2", [0, 1, 2], [3], {}, "PadV2Options", 2)]
    return spec


def split(rng: np.random.Generator, dtype: str = "int8") -> ModelSpec:
    axis = TensorSpec((), "int32", data=np.array(-1))
    x, *parts = _activation_tensors(rng, dtype, (1, 3, 6), (1, 3, 2), (1, 3, 2), (1, 3, 2))
    op = OpSpec("SPLIT", [0, 1], [2, 3, 4], {"NumSplits": 3}, "SplitOptions", 2)
    return ModelSpec([axis, x, *parts], [op], [1], [2, 3, 4])


def reshape(rng: np.random.Generator, dtype: str = "int8") -> ModelSpec:
    x, y = _activation_tensors(rng, dtype, (1, 3, 4, 2), (1, 24))
    return _single(
        "RESHAPE", [x, TensorSpec((2,), "int32", data=[1, -1]), y], {}, "ReshapeOptions", inputs=[0]
    )


def one_input(
    rng: np.random.Generator,
    source: str,
    dtype: str,
    shape: tuple[int, ...],
    result: tuple[int, ...],
    constants: tuple[TensorSpec, ...] = (),
    options: dict[str, Any] | None = None,
    options_type: str = "",
    *,
    kept: bool = True,
    version: int = 2,
) -> ModelSpec:
    """Any operator of one input, its constants, and one output; ``kept``: the quantisation stays the same."""
    x, y = _activation_tensors(rng, dtype, shape, result)
    if kept:
        y.scale, y.zero = x.scale, x.zero
    return _single(source, [x, *constants, y], options or {}, options_type, inputs=[0], version=version)


def indices(*values: Any, dtype: str = "int32") -> TensorSpec:
    """A constant operand of integers."""
    return TensorSpec(np.shape(values), dtype, data=np.array(values))


def resize(
    rng: np.random.Generator,
    source: str,
    dtype: str = "int8",
    *,
    size: tuple[int, int] = (5, 4),
    to: tuple[int, int] = (8, 9),
    corners: bool = False,
    centers: bool = False,
) -> ModelSpec:
    options = {"AlignCorners": corners, "HalfPixelCenters": centers}
    kind = "ResizeBilinearOptions" if source == "RESIZE_BILINEAR" else "ResizeNearestNeighborOptions"
    shapes = (1, *size, 3), (1, *to, 3)
    return one_input(rng, source, dtype, *shapes, (indices(*to),), options, kind, version=3)


def activation(
    rng: np.random.Generator,
    source: str,
    dtype: str = "int8",
    *,
    low: float = 5e-3,
    alpha: float = 0.3,
    approximate: bool = False,
) -> ModelSpec:
    """HARD_SWISH, LEAKY_RELU, ELU, GELU, ABS, EXP, LOG on all 256 stored values."""
    x, y = _activation_tensors(rng, dtype, (1, 256), (1, 256))
    x.scale = scale(rng, low, 0.1)
    y.scale = float(np.float32(x.scale * rng.uniform(0.4, 1.5)))
    options, kind = {
        "LEAKY_RELU": ({"Alpha": alpha}, "LeakyReluOptions"),
        "GELU": ({"Approximate": approximate}, "GeluOptions"),
    }.get(source, ({}, ""))
    version = 1 if source in FIRST_VERSION else 2
    return _single(source, [x, y], options, kind, inputs=[0], version=version)


def arg(
    rng: np.random.Generator,
    source: str,
    dtype: str = "int8",
    *,
    axis: int = -1,
    to: str = "int32",
    shape: tuple[int, ...] = (2, 3, 4, 7),
) -> ModelSpec:
    result = tuple(n for i, n in enumerate(shape) if i != axis % len(shape))
    x, y = TensorSpec(shape, dtype, scale(rng), zero(rng, dtype)), TensorSpec(result, to)
    name = "ArgMaxOptions" if source == "ARG_MAX" else "ArgMinOptions"
    axes = TensorSpec((), "int32", data=np.array(axis))
    return _single(source, [x, axes, y], {"OutputType": TYPES[to]}, name, inputs=[0], version=2)


def log_softmax(
    rng: np.random.Generator, dtype: str = "int8", *, shape: tuple[int, ...] = (3, 10)
) -> ModelSpec:
    x, y = TensorSpec(shape, dtype), TensorSpec(shape, dtype)
    if dtype != "float32":
        x.scale, x.zero = scale(rng), zero(rng, dtype)
        y.scale, y.zero = 1 / 16, int(np.iinfo(dtype).max)
    return _single("LOG_SOFTMAX", [x, y], {}, "LogSoftmaxOptions", inputs=[0], version=2)


def reduction(
    rng: np.random.Generator,
    source: str,
    dtype: str = "int8",
    *,
    shape: tuple[int, ...] = (2, 4, 5, 3),
    axes: tuple[int, ...] = (1, 2),
    keep: bool = False,
) -> ModelSpec:
    """SUM, REDUCE_MAX, REDUCE_MIN."""
    spec = mean(rng, dtype, shape=shape, axes=axes, keep=keep)
    spec.ops[0].source = source
    x, y = spec.tensors[0], spec.tensors[-1]
    if source == "SUM":
        y.scale = float(np.float32(x.scale * rng.uniform(1, 9)))
    else:
        y.scale, y.zero = x.scale, x.zero
    return spec


def two_inputs(
    rng: np.random.Generator,
    source: str,
    dtype: str = "int8",
    *,
    a: tuple[int, ...] = (1, 4, 5, 3),
    b: tuple[int, ...] = (1, 4, 5, 3),
    constant: bool = False,
) -> ModelSpec:
    """MAXIMUM, MINIMUM; with ``constant``, the second operand is not an input."""
    x, z, y = _activation_tensors(rng, dtype, a, b, tuple(np.broadcast_shapes(a, b)))
    z.scale, z.zero, y.scale, y.zero = x.scale, x.zero, x.scale, x.zero
    if constant:
        limits = np.iinfo(dtype)
        z.data = rng.integers(limits.min, limits.max + 1, b)
    options_type = "" if source == "PRELU" else "MaximumMinimumOptions"
    return _single(source, [x, z, y], {}, options_type, inputs=[0] if constant else [0, 1], version=2)


def prelu(
    rng: np.random.Generator, dtype: str = "int8", *, slopes: tuple[int, ...] = (1, 1, 3)
) -> ModelSpec:
    spec = two_inputs(rng, "PRELU", dtype, b=slopes, constant=True)
    x, z, y = spec.tensors
    z.scale, z.zero = scale(rng), zero(rng, dtype)
    y.scale, y.zero = float(np.float32(x.scale * rng.uniform(0.5, 2))), zero(rng, dtype)
    spec.ops[0].version = 1
    return spec


def many_outputs(
    rng: np.random.Generator,
    source: str,
    dtype: str,
    shape: tuple[int, ...],
    results: list[tuple[int, ...]],
    constants: tuple[TensorSpec, ...] = (),
    options: dict[str, Any] | None = None,
    options_type: str = "",
) -> ModelSpec:
    """SPLIT_V, UNPACK."""
    x, *parts = _activation_tensors(rng, dtype, shape, *results)
    for part in parts:
        part.scale, part.zero = x.scale, x.zero
    first = 1 + len(constants)
    outputs = list(range(first, first + len(parts)))
    op = OpSpec(source, list(range(first)), outputs, options or {}, options_type, 2)
    return ModelSpec([x, *constants, *parts], [op], [0], outputs)


def pack(rng: np.random.Generator, dtype: str = "int8", *, axis: int = 1) -> ModelSpec:
    a, b, y = _activation_tensors(rng, dtype, (2, 3, 4), (2, 3, 4), (0,))
    y.shape = tuple(np.insert((2, 3, 4), axis % 4, 2).tolist())
    b.scale, b.zero, y.scale, y.zero = a.scale, a.zero, a.scale, a.zero
    return _single(
        "PACK", [a, b, y], {"ValuesCount": 2, "Axis": axis}, "PackOptions", inputs=[0, 1], version=2
    )


def transpose_conv(
    rng: np.random.Generator,
    dtype: str = "int8",
    *,
    size: tuple[int, int] = (4, 3),
    channels: int = 3,
    outputs: int = 5,
    kernel: tuple[int, int] = (3, 3),
    stride: tuple[int, int] = (2, 2),
    padding: str = "SAME",
    activation: str = "NONE",
    bias: bool = True,
) -> ModelSpec:
    extra = (0, 0) if padding == "SAME" else tuple(max(k - s, 0) for k, s in zip(kernel, stride, strict=True))
    places = tuple(n * s + e for n, s, e in zip(size, stride, extra, strict=True))
    x, y = _activation_tensors(rng, dtype, (1, *size, channels), (1, *places, outputs))
    w = _weights(rng, dtype, (outputs, *kernel, channels), 0 if dtype == "int8" else None)
    y.scale = _output_scale(x, w, kernel[0] * kernel[1] * channels)
    options = {
        "Padding": PADDING[padding],
        "StrideW": stride[1],
        "StrideH": stride[0],
        "FusedActivationFunction": ACTIVATION[activation],
    }
    tensors = [indices(*y.shape), w, x, *([_bias(rng, x, w, outputs)] if bias else []), y]
    return _single("TRANSPOSE_CONV", tensors, options, "TransposeConvOptions", inputs=[2], version=4)


def batch_matmul(
    rng: np.random.Generator,
    *,
    a: tuple[int, ...] = (2, 4, 5),
    b: tuple[int, ...] = (2, 5, 3),
    result: tuple[int, ...] = (2, 4, 3),
    adjoint: tuple[bool, bool] = (False, False),
    constant: bool = False,
) -> ModelSpec:
    x, z, y = _activation_tensors(rng, "int8", a, b, result)
    y.scale = float(np.float32(x.scale * z.scale * 100 * 74 * np.sqrt(5) / 80))
    if constant:
        z.data, z.zero = rng.integers(-128, 128, b), 0
    options = {"AdjX": adjoint[0], "AdjY": adjoint[1]}
    inputs = [0] if constant else [0, 1]
    return _single("BATCH_MATMUL", [x, z, y], options, "BatchMatMulOptions", inputs=inputs, version=2)


def l2_normalization(
    rng: np.random.Generator, dtype: str = "int8", *, shape: tuple[int, ...] = (3, 10)
) -> ModelSpec:
    x, y = _activation_tensors(rng, dtype, shape, shape)
    y.scale, y.zero = 1 / 128, 0 if dtype == "int8" else 128
    return _single("L2_NORMALIZATION", [x, y], {}, "L2NormOptions", inputs=[0], version=2)


def lstm(
    rng: np.random.Generator,
    *,
    batch: int = 2,
    steps: int = 6,
    inputs: int = 5,
    units: int = 4,
    time_major: bool = False,
    cell_power: int = -12,
    clip: float = 0.0,
    input_gate: bool = True,
    hidden_zero: int | None = None,
) -> ModelSpec:
    """UNIDIRECTIONAL_SEQUENCE_LSTM with plain gates."""
    lead = (steps, batch) if time_major else (batch, steps)
    hidden = zero(rng, "int8") if hidden_zero is None else hidden_zero
    x = TensorSpec((*lead, inputs), "int8", scale(rng, 5e-3, 0.05), zero(rng, "int8"))
    state = TensorSpec((batch, units), "int8", 1 / 128, hidden, variable=True)
    cell = TensorSpec((batch, units), "int16", 2.0**cell_power, 0, variable=True)
    y = TensorSpec((*lead, units), "int8", 1 / 128, hidden)
    tensors, places = [x], [0]

    def add(tensor: TensorSpec) -> int:
        tensors.append(tensor)
        return len(tensors) - 1

    for width in (inputs, units):
        for gate in range(4):
            data = rng.integers(-127, 128, (units, width))
            weights = TensorSpec((units, width), "int8", scale(rng, 2e-3, 0.03), 0, data=data)
            places.append(add(weights) if gate or input_gate else -1)
    places += [-1, -1, -1]
    for gate in range(4):
        bias = TensorSpec((units,), "int32", 1e-4, 0, data=rng.integers(-3000, 3000, units))
        places.append(add(bias) if gate or input_gate else -1)
    places += [-1, -1, add(state), add(cell), -1, -1, -1, -1]
    intermediates = [add(TensorSpec((0,), "float32")) for _ in range(4)]
    intermediates.append(add(TensorSpec((0,), "int8", 1 / 128, hidden)))
    options = {"FusedActivationFunction": 4, "CellClip": clip, "TimeMajor": time_major}
    name = "UnidirectionalSequenceLSTMOptions"
    last = add(y)
    op = OpSpec("UNIDIRECTIONAL_SEQUENCE_LSTM", places, [last], options, name, 1, intermediates)
    return ModelSpec(tensors, [op], [0], [last])


def inputs_of(rng: np.random.Generator, model: ModelSpec, extreme: bool) -> list[np.ndarray]:
    """Random inputs; extreme ones hold only the least and the greatest stored value."""
    values = []
    for tensor in (model.tensors[i] for i in model.inputs):
        if tensor.dtype == "float32":
            values.append((rng.standard_normal(tensor.shape) * (1e12 if extreme else 3)).astype(np.float32))
            continue
        limits = np.iinfo(tensor.dtype)
        if tensor.shape == (1, 256):
            values.append(np.arange(limits.min, limits.max + 1).astype(tensor.dtype).reshape(1, 256))
        elif extreme:
            values.append(rng.choice([limits.min, limits.max], tensor.shape).astype(tensor.dtype))
        else:
            values.append(rng.integers(limits.min, limits.max + 1, tensor.shape).astype(tensor.dtype))
    return values


def _places(
    batch: int,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: str,
    channels: int,
) -> tuple[int, ...]:
    reach = [(k - 1) * d + 1 if padding == "VALID" else 1 for k, d in zip(kernel, dilation, strict=True)]
    y, x = ((n - r) // s + 1 for n, r, s in zip(size, reach, stride, strict=True))
    return batch, y, x, channels


def _single(
    source: str,
    tensors: list[TensorSpec],
    options: dict[str, Any],
    options_type: str,
    *,
    inputs: list[int],
    version: int = 1,
) -> ModelSpec:
    last = len(tensors) - 1
    return ModelSpec(
        tensors, [OpSpec(source, list(range(last)), [last], options, options_type, version)], inputs, [last]
    )
