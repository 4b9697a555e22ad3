"""Small float32 ONNX models."""
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def constant(rng: np.random.Generator, name: str, *shape: int) -> onnx.TensorProto:
    """Normal values, each output channel of another size: what scales per channel are for."""
    values = rng.standard_normal(shape) * 0.4
    if len(shape) > 1:
        values *= np.geomspace(0.2, 2, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return numpy_helper.from_array(values.astype(np.float32), name)


def save(path: Path, nodes, inputs, outputs, constants, opset=17) -> Path:
    """A checked model; inputs and outputs are (name, shape) of float32, or (name, shape, element type)."""
    def info(name, shape, kind=TensorProto.FLOAT):
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(nodes, "net", [info(*entry) for entry in inputs],
                              [info(*entry) for entry in outputs], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def classifier(path: Path, batch: int | str = "N", opset: int = 17) -> Path:
    """image [batch, 1, 8, 8] -> scores [batch, 4]: convolutions, a residual, pools, a matrix, softmax."""
    rng = np.random.default_rng(3)
    nodes = [
        helper.make_node("Conv", ["image", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1], name="stem"),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1], group=6, name="depthwise"),
        helper.make_node("Add", ["r0", "c1"], ["sum"]),
        helper.make_node("MaxPool", ["sum"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["pooled"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w2", "b2"], ["logits"], transB=1, name="head"),
        helper.make_node("Softmax", ["logits"], ["scores"])]
    constants = [constant(rng, "w0", 6, 1, 3, 3), constant(rng, "b0", 6), constant(rng, "w1", 6, 1, 3, 3),
                 constant(rng, "b1", 6), constant(rng, "w2", 4, 6), constant(rng, "b2", 4)]
    return save(path, nodes, [("image", [batch, 1, 8, 8])], [("scores", [batch, 4])], constants, opset)


def products(path: Path) -> Path:
    """a, b [1, 3, 5] -> a @ w + b @ v [1, 3, 6]: two inputs, matrix products, no activation."""
    rng = np.random.default_rng(4)
    nodes = [helper.make_node("MatMul", ["a", "w"], ["aw"]), helper.make_node("MatMul", ["b", "v"], ["bv"]),
             helper.make_node("Add", ["aw", "bv"], ["y"])]
    return save(path, nodes, [("a", [1, 3, 5]), ("b", [1, 3, 5])], [("y", [1, 3, 6])],
                [constant(rng, "w", 5, 6), constant(rng, "v", 5, 6)])


def embedding(path: Path) -> Path:
    """tokens int64 [1, T] -> y [1, T, 3]: an open length, integers in."""
    rng = np.random.default_rng(5)
    nodes = [helper.make_node("Gather", ["table", "tokens"], ["x"]),
             helper.make_node("MatMul", ["x", "w"], ["y"])]
    return save(path, nodes, [("tokens", [1, "T"], TensorProto.INT64)], [("y", [1, "T", 3])],
                [constant(rng, "table", 9, 4), constant(rng, "w", 4, 3)])
