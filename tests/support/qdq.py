"""Single float operators between quantised tensors: as a graph of the IR, and as ONNX Runtime runs them."""
import base64
from dataclasses import dataclass

import numpy as np
import onnxruntime
from celosia.host.graph.ir import Graph, Kind, Op, Quant, Tensor
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def session(nodes, inputs, outputs, constants=(), threads=1):
    """ONNX Runtime with nothing optimised. inputs: names and NumPy types."""
    def info(name, dtype):
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), None)

    graph = helper.make_graph(
        nodes, "test", [info(*item) for item in inputs], [info(*item) for item in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return start(model.SerializeToString(), threads), model


def start(model: bytes, threads: int = 1):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@dataclass
class Qdq:
    """A graph with one operator that has attrs["float"], and ONNX Runtime's session for it."""

    graph: Graph
    runtime: onnxruntime.InferenceSession

    def expected(self, *computed):
        return self.runtime.run(["o0"], self.feeds(computed))[0]

    def real(self, *computed):
        """The operator's float result, before any activation; that of a convolution turned to NHWC."""
        (got,) = self.runtime.run(["real"], self.feeds(computed))
        return got.transpose(0, 2, 3, 1) if self.graph.ops[0].source == "Conv" else got

    def feeds(self, computed):
        (op,), values = self.graph.ops, dict(zip(self.graph.inputs, computed, strict=True))
        given = (values[i] if i in values else self.graph.tensors[i].data for i in op.inputs if i is not None)
        return {f"i{n}": value for n, value in enumerate(given)}

    def image(self, rng):
        tensors = [self.graph.tensors[i] for i in self.graph.inputs]
        return [rng.integers(*_ends(t.dtype), t.shape).astype(t.dtype) for t in tensors]


def _ends(dtype):
    limits = np.iinfo(dtype)
    return limits.min, limits.max + 1


def _quant(rng, dtype, scale, axis=None):
    count = len(scale)
    zero = rng.integers(-20, 20) + (128 if dtype == "uint8" else 0) if axis is None else 0
    scales = np.asarray(scale, np.float32).astype(np.float64)
    return Quant(scales, np.full(count, zero, np.int64), axis)


def random_layer(rng, kind, *, shape, weights, stride=(1, 1), dilation=(1, 1), padding=(0, 0, 0, 0),
                 dtype="int8", operator=None, transposed=False, bias="last", bias_type="int32",
                 activation=None, per_channel=True, gain=1.0):
    """An operator with random weights and scales such that results fill their range.

    shape : of x in the IR;  weights : shape of w in the IR, for MATMUL of the second matrix
    """
    operator = operator or {Kind.FULLY_CONNECTED: "Gemm", Kind.MATMUL: "MatMul"}.get(kind, "Conv")
    axis = {Kind.DEPTHWISE_CONV: 3, Kind.MATMUL: None}.get(kind, 0) if per_channel else None
    channels = weights[-1] if kind in (Kind.DEPTHWISE_CONV, Kind.MATMUL) else weights[0]
    depth = int(np.prod(weights)) // channels if kind != Kind.MATMUL else weights[-2]
    x_quant = _quant(rng, dtype, [rng.uniform(0.005, 0.1)])
    w_quant = _quant(rng, "int8" if axis is not None else dtype,
                     rng.uniform(0.001, 0.02, channels if axis is not None else 1), axis)
    w_type = "int8" if axis is not None else dtype
    spread = x_quant.scale[0] * w_quant.scale.mean() * 74 * 74 * np.sqrt(depth)
    y_quant = _quant(rng, dtype, [spread / 40 / gain])
    # Bell-shaped, as trained weights are.
    taps = rng.normal(0, 40, weights) + w_quant.zero_point[0]
    taps = np.clip(np.rint(taps), *np.iinfo(w_type).min + np.array([0, 255])).astype(w_type)

    tensors = [Tensor("x", shape, dtype, x_quant),
               Tensor("w", weights, w_type, w_quant, None if kind == Kind.MATMUL else taps)]
    inputs = [0, 1]
    if bias is not None:
        values = rng.normal(0, spread, channels)
        if bias_type == "int32":
            scale = np.float32(x_quant.scale[0] * w_quant.scale).reshape(-1)
            quant = Quant(scale.astype(np.float64), np.zeros(len(scale), np.int64),
                          0 if len(scale) > 1 else None)
            tensors.append(Tensor("b", (channels,), "int32", quant,
                                  np.rint(values / scale).astype(np.int32)))
        else:
            tensors.append(Tensor("b", (channels,), "float32", None, values.astype(np.float32)))
        inputs.append(2)
    attrs = {"float": {"operator": operator, "transposed": transposed, "bias": bias,
                       "activation": activation}, **dict(zip(("low", "high"), _ends(dtype), strict=True))}
    attrs["high"] -= 1
    geometry = {"stride": stride, "dilation": dilation, "padding": padding}
    if operator == "Conv":
        attrs |= geometry
    nodes, constants = _model(kind, operator, tensors, y_quant, dtype, geometry, attrs["float"])
    runtime, model = session(
        nodes, [(f"i{n}", t.dtype) for n, t in enumerate(tensors)], [("o0", dtype), ("real", "float32")],
        constants)
    del model.graph.output[1]
    attrs["ort"] = base64.b64encode(model.SerializeToString()).decode()
    zeros = {f"i{n}": t.data if t.data is not None else np.zeros(t.shape, t.dtype)
             for n, t in enumerate(tensors)}
    tensors.append(Tensor("y", runtime.run(["o0"], zeros)[0].shape, dtype, y_quant))
    op = Op(kind, operator, tuple(inputs), (len(tensors) - 1,), attrs)
    graph_inputs = (0, 1) if kind == Kind.MATMUL else (0,)
    return Qdq(Graph("one layer", "onnx", tuple(tensors), (op,), graph_inputs, (len(tensors) - 1,)), runtime)


def _model(kind, operator, tensors, y_quant, dtype, geometry, options):
    """Nodes and constants: layouts as ONNX has them inside, those of the IR outside."""
    nodes, constants, names = [], [], []
    layouts = {Kind.CONV: [(0, 3, 1, 2), (0, 3, 1, 2)], Kind.DEPTHWISE_CONV: [(0, 3, 1, 2), (3, 0, 1, 2)],
               Kind.FULLY_CONNECTED: [None, None if options["transposed"] else (1, 0)],
               Kind.MATMUL: [None, tuple(range(len(tensors[1].shape) - 2)) + (-1, -2)
                             if options["transposed"] else None]}[kind]
    for n, tensor in enumerate(tensors):
        name, axis = f"i{n}", tensor.quant.axis if tensor.quant else None
        layout = layouts[n] if n < 2 else None
        if layout is not None:
            layout = tuple(a % len(tensor.shape) for a in layout)
            nodes.append(helper.make_node("Transpose", [name], [f"{name}t"], perm=layout))
            name, axis = f"{name}t", axis if axis is None else layout.index(axis)
        if tensor.quant:
            scale, zero = tensor.quant.scale.astype(np.float32), tensor.quant.zero_point.astype(tensor.dtype)
            constants += [(f"s{n}", scale if axis is not None else scale[0]),
                          (f"z{n}", zero if axis is not None else zero[0])]
            nodes.append(helper.make_node("DequantizeLinear", [name, f"s{n}", f"z{n}"], [f"f{n}"],
                                          axis=axis or 0))
            name = f"f{n}"
        names.append(name)
    attrs = {}
    if operator == "Conv":
        top, bottom, left, right = geometry["padding"]
        x, w = tensors[0].shape, tensors[1].shape
        attrs = {"strides": geometry["stride"], "dilations": geometry["dilation"],
                 "pads": [top, left, bottom, right],
                 "group": x[3] if kind == Kind.DEPTHWISE_CONV else x[3] // w[3]}
    elif operator == "Gemm":
        attrs = {"transB": int(options["transposed"])}
    apart = options["bias"] == "last" and operator != "Conv"
    nodes.append(helper.make_node(operator, names[:2] if apart else names, ["r0" if apart else "real"],
                                  **attrs))
    if apart:
        nodes.append(helper.make_node("Add", ["r0", names[2]], ["real"]))
    last = "real"
    if options["activation"] is not None:
        low, high = (np.float32(end) for end in options["activation"])
        constants += [("low", low), ("high", high)]
        nodes.append(helper.make_node("Clip", [last, "low", "high"], ["r2"]))
        last = "r2"
    constants += [("sy", np.float32(y_quant.scale[0])),
                  ("zy", np.asarray(y_quant.zero_point[0], dtype))]
    conv = operator == "Conv"
    nodes.append(helper.make_node("QuantizeLinear", [last, "sy", "zy"], ["q" if conv else "o0"]))
    if conv:
        nodes.append(helper.make_node("Transpose", ["q"], ["o0"], perm=(0, 2, 3, 1)))
    return nodes, constants

