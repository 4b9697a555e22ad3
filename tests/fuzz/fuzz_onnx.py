"""Damages small ONNX models at random and imports them: a typed error or a graph that runs, and soon.

    python tests/fuzz/fuzz_onnx.py --count 2000 --seed 1

Each import runs in this process, so whatever would abort ONNX Runtime aborts the fuzzer; ``--keep`` writes
the mutant at hand before it is tried.
"""
import argparse
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from celosia.host.graph.ir import Graph
from celosia.host.graph.passes import run_passes
from celosia.host.graph.verify import verify
from celosia.host.importers import load
from celosia.host.reference import Reference
from celosia.rtl.contract.errors import ModelError, UnsupportedError
from onnx import TensorProto, helper

sys.path.append(str(Path(__file__).parents[1]))
from support.onnx_models import build  # noqa: E402  (the path comes first)

SECONDS = 10.0  # of the processor for one import; a normal one takes a few dozen milliseconds
RUN_LIMIT = 10**6  # elements of networks that are run too
SIZES = [-2**63, -1, 0, 1, 2, 3, 5, 8, 2**16, 2**31, 2**62]
REALS = [0.0, -0.0, -1.0, 1e-45, 1e-30, 1e30, float("inf"), float("nan")]
OPERATORS = ["Add", "Conv", "DequantizeLinear", "Flatten", "Gemm", "Identity", "If", "Loop", "MatMul",
             "MaxPool", "NonZero", "QLinearAdd", "QLinearConv", "QLinearMatMul", "QuantizeLinear",
             "RandomUniform", "Relu", "Reshape", "Softmax", "Squeeze", "Transpose", "Unknown", ""]
OPSETS = [-1, 0, 1, 9, 10, 12, 13, 17, 21, 25, 28, 29, 2**40]
PLACES = {"location": ["w.bin", "/dev/zero", "../../etc/passwd", "", "a\0b", "."],
          "offset": ["0", "-1", "x", str(2**70)], "length": ["0", "-1", "16", str(2**62)],
          "checksum": ["0" * 40, "é"]}
"""Of external data."""


def seeds() -> list[onnx.ModelProto]:
    """Small models of both quantised styles."""
    rng = np.random.default_rng(7)
    small = {"shape": (1, 3, 4, 4)}
    made = [build("QLinearConv", rng, **small), build("Conv", rng, **small),
            build("QLinearConv", rng, per_channel=True, dtype="int8", **small),
            build("Conv", rng, activation="Clip", per_channel=True, **small),
            build("Gemm", rng, transB=1), build("MatMul", rng, ends="float"), build("Add", rng, b=(5,))]
    plain = ["QLinearMatMul", "QGemm", "QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearSigmoid",
             "QLinearGlobalAveragePool", "MaxPool", "Concat", "dynamic MatMul", "dynamic QLinearMatMul",
             "Reshape", "Transpose of bytes", "x * Sigmoid", "network", "network of QOperators"]
    return [layer.model for layer in (*made, *(build(kind, rng) for kind in plain))]


def pick(rng: np.random.Generator, values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


def wrong_model(rng: np.random.Generator, model: onnx.ModelProto) -> onnx.ModelProto:
    """A well-formed file of a network that makes no sense."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    names = [value.name for value in graph.input] + [t.name for t in graph.initializer] + [
        name for node in graph.node for name in node.output] + ["", "nowhere"]
    node = pick(rng, graph.node) if graph.node else graph.node.add()
    tensor = pick(rng, graph.initializer) if graph.initializer else graph.initializer.add()
    value = pick(rng, [*graph.input, *graph.output]) if graph.input or graph.output else graph.input.add()
    types = [*TensorProto.DataType.values(), 99]
    match int(rng.integers(21)):
        case 0:
            if graph.initializer:
                del graph.initializer[int(rng.integers(len(graph.initializer)))]
        case 1:
            if node.input:
                node.input[int(rng.integers(len(node.input)))] = pick(rng, names)
        case 2:
            if node.output:
                node.output[int(rng.integers(len(node.output)))] = pick(rng, names)
        case 3:
            tensor.name = pick(rng, names)
        case 4:
            value.name = pick(rng, names)
        case 5:
            if tensor.dims:
                tensor.dims[int(rng.integers(len(tensor.dims)))] = pick(rng, SIZES)
        case 6:
            tensor.dims[:] = [pick(rng, SIZES) for _ in range(rng.integers(10))]
        case 7:
            tensor.data_type = pick(rng, types[:-1])
        case 8:
            value.type.tensor_type.elem_type = pick(rng, types)
        case 9:
            dims = value.type.tensor_type.shape.dim
            if dims:
                dims[int(rng.integers(len(dims)))].dim_value = pick(rng, SIZES)
        case 10:
            dims = value.type.tensor_type.shape.dim
            if dims:
                dims[int(rng.integers(len(dims)))].dim_param = pick(rng, ["N", "", "x" * 300])
        case 11:
            value.type.CopyFrom(pick(rng, [
                onnx.TypeProto(), helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [2])),
                helper.make_tensor_type_proto(1, None)]))
        case 12:
            if not node.attribute:
                node.attribute.add(name="axis", type=2)
            attribute = pick(rng, node.attribute)
            if attribute.ints:
                attribute.ints[int(rng.integers(len(attribute.ints)))] = pick(rng, SIZES)
            attribute.i = pick(rng, SIZES)
            attribute.f = pick(rng, REALS)
        case 13:
            if node.attribute:
                attribute = pick(rng, node.attribute)
                attribute.type = pick(rng, onnx.AttributeProto.AttributeType.values())
        case 14:
            node.attribute.append(helper.make_attribute(
                pick(rng, ["axis", "group", "pads", "strides", "auto_pad", "kernel_shape", "block_size",
                           "nonsense"]),
                pick(rng, [1, -7, 2**62, 0.5, "SAME_UPPER", "nonsense", [1, 1], [0, 0, 0, 0], [2**40] * 4])))
        case 15:
            node.op_type = pick(rng, OPERATORS)
        case 16:
            node.domain = pick(rng, ["", "ai.onnx", "com.microsoft", "ai.onnx.ml", "somebody"])
        case 17:
            if made.opset_import:
                pick(rng, made.opset_import).version = pick(rng, OPSETS)
            made.ir_version = pick(rng, [-1, 0, 3, 8, 10, 14, 99])
        case 18:
            tensor.data_location = TensorProto.EXTERNAL
            for key, values in PLACES.items():
                if rng.integers(2):
                    tensor.external_data.add(key=key, value=pick(rng, values))
        case 19:
            data = tensor.raw_data
            tensor.raw_data = pick(rng, [b"", b"\0", np.float32(REALS).tobytes(), data * 2, data[:-1],
                                         bytes(rng.permutation(bytearray(data)))])
        case 20:
            extra = pick(rng, [graph.node, graph.output, graph.input, graph.initializer])
            if extra:
                extra.append(pick(rng, extra))
    return made


def injured(rng: np.random.Generator, data: bytearray, other: bytes) -> bytearray:
    """The file with one injury."""
    at = int(rng.integers(len(data)))
    match int(rng.integers(6)):
        case 0:
            data[at] ^= 1 << int(rng.integers(8))
        case 1:
            data[at] = int(rng.integers(256))
        case 2:
            data[at:at + 10] = b"\xff" * int(rng.integers(1, 11))  # a long varint
        case 3:
            data[at] = (data[at] + int(rng.integers(-3, 4))) % 256  # lengths and field numbers
        case 4:
            del data[at:at + int(rng.integers(1, 64)) if rng.integers(2) else len(data)]
        case 5:
            start, size = int(rng.integers(len(other))), int(rng.integers(1, 128))
            data[at:at + size] = other[start:start + size]
    return data


def mutant(rng: np.random.Generator, models: list[onnx.ModelProto]) -> bytes:
    """A network that makes no sense, a damaged file, or both."""
    kind = rng.choice(3, p=[0.15, 0.7, 0.15])  # injured, wrong, both: most injuries leave no protobuf
    model = pick(rng, models)
    if kind != 0:
        for _ in range(rng.integers(1, 4)):
            model = wrong_model(rng, model)
    data = bytearray(model.SerializeToString())
    if kind != 1:
        for _ in range(rng.integers(1, 4)):
            data = injured(rng, data, pick(rng, models).SerializeToString()) if data else data
    return bytes(data)


def check(data: bytes, path: Path) -> str:
    """Imports once, from a file; the name of what came of it. Raises for anything but a typed error or a
    graph."""
    path.write_bytes(data)
    start = time.process_time()
    try:
        graph = load(path)
        verify(graph)
        outcome = "imported"
    except (ModelError, UnsupportedError) as error:
        assert path.name in str(error), f"an error that does not name the file: {error}"
        outcome = type(error).__name__
    seconds = time.process_time() - start
    assert seconds < SECONDS, f"took {seconds:.1f} s"
    if outcome == "imported":
        outcome = run(graph)
    return outcome


def run(graph: Graph) -> str:
    """What verifies must also run, before and after the passes, with the same results; or be refused by its
    kernel, such as a product whose operands are not finite."""
    if sum(tensor.size for tensor in graph.tensors) > RUN_LIMIT:
        return "imported"
    inputs = [np.full(graph.tensors[i].shape, 7, graph.tensors[i].dtype) for i in graph.inputs]
    try:
        plain, short = Reference(graph).run(inputs), Reference(run_passes(graph)).run(inputs)
    except UnsupportedError:
        return "refused by a kernel"
    for index, a, b in zip(graph.outputs, plain, short, strict=True):
        tensor = graph.tensors[index]
        assert (a.shape, a.dtype) == (tensor.shape, tensor.dtype), f"{tensor} came out as {a.dtype} {a.shape}"
        np.testing.assert_array_equal(a, b)
    return "imported"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz_onnx"),
                        help="folder for the mutant at hand, and for those that broke the importer")
    arguments = parser.parse_args()
    arguments.keep.mkdir(parents=True, exist_ok=True)
    models, outcomes, failures = seeds(), Counter[str](), 0
    for number in range(arguments.first, arguments.first + arguments.count):
        data = mutant(np.random.default_rng([arguments.seed, number]), models)
        try:
            outcomes[check(data, arguments.keep / "mutant.onnx")] += 1
        except Exception:  # noqa: BLE001  (any other error is what we are looking for)
            failures += 1
            print(f"mutant {number} of seed {arguments.seed}:\n{traceback.format_exc()}", file=sys.stderr)
            (arguments.keep / f"mutant_{arguments.seed}_{number}.onnx").write_bytes(data)
    print(f"{arguments.count} mutants: {dict(outcomes)}, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
