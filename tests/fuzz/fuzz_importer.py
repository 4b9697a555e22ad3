"""Damages small models at random and imports them: a typed error or a graph that verifies, and soon.

    python tests/fuzz/fuzz_importer.py --count 2000 --seed 1
"""
import argparse
import copy
import struct
import sys
import time
import traceback
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from celosia.host.graph.ir import Graph
from celosia.host.graph.passes import run_passes
from celosia.host.graph.verify import verify
from celosia.host.importers.tflite import load_tflite
from celosia.host.reference import Reference
from celosia.rtl.contract.errors import ModelError, UnsupportedError

sys.path.append(str(Path(__file__).parents[1]))
from celosia.host.importers.tflite_writer import TYPES, ModelSpec, OpSpec, TensorSpec  # noqa: E402
from support import single_ops  # noqa: E402  (the path comes first)

SECONDS = 2.0  # for one import; a normal one takes milliseconds
RUN_LIMIT = 10**6  # elements of networks that are run too
MEGABYTES = 32  # for one import of a model of a few kilobytes

INTEGERS = [0, 1, 2, 3, 4, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 4,
            2**32 - 1]
REALS = [0.0, -0.0, -1.0, 1e-45, 1e-30, 1e30, float("inf"), float("nan")]


def seeds() -> list[ModelSpec]:
    """One small model of each operator, and one of several operators."""
    rng = np.random.default_rng(7)
    singles = [single_ops.convolution(rng), single_ops.convolution(rng, "uint8", stride=(2, 2)),
               single_ops.depthwise(rng, multiplier=2), single_ops.fully_connected(rng),
               single_ops.pool(rng, "AVERAGE_POOL_2D"), single_ops.pool(rng, "MAX_POOL_2D"),
               single_ops.pairwise(rng, "ADD"), single_ops.pairwise(rng, "SUB", b=(3,)),
               single_ops.pairwise(rng, "MUL"), single_ops.softmax(rng),
               single_ops.unary(rng, "LOGISTIC"), single_ops.unary(rng, "RELU6"),
               single_ops.unary(rng, "QUANTIZE", "float32", "int8"), single_ops.mean(rng),
               single_ops.concatenation(rng), single_ops.pad(rng), single_ops.transpose(rng),
               single_ops.strided_slice(rng), single_ops.split(rng), single_ops.reshape(rng),
               single_ops.transpose_conv(rng), single_ops.lstm(rng, steps=2), single_ops.pack(rng),
               single_ops.resize(rng, "RESIZE_BILINEAR"), single_ops.resize(rng, "RESIZE_NEAREST_NEIGHBOR"),
               single_ops.arg(rng, "ARG_MAX"), single_ops.log_softmax(rng), single_ops.batch_matmul(rng),
               single_ops.activation(rng, "HARD_SWISH"), single_ops.activation(rng, "LEAKY_RELU"),
               single_ops.activation(rng, "LOG"), single_ops.prelu(rng), single_ops.pad_with(rng, "uint8"),
               single_ops.reduction(rng, "SUM", "uint8"), single_ops.l2_normalization(rng), *moving(rng)]
    return [*singles, chain(), chain(), chain()]


def moving(rng: np.random.Generator) -> list[ModelSpec]:
    """Operators that cut, mirror, gather and fold."""
    def one(source: str, shape: Any, result: Any, constants: Any = (), options: Any = None) -> ModelSpec:
        names = {"SLICE": "Slice", "MIRROR_PAD": "MirrorPad", "GATHER": "Gather",
                 "DEPTH_TO_SPACE": "DepthToSpace", "SPACE_TO_DEPTH": "SpaceToDepth"}
        return single_ops.one_input(rng, source, "int8", shape, result,
                                    tuple(single_ops.indices(*v) for v in constants), options,
                                    names[source] + "Options" if source in names else "")

    return [one("SLICE", (2, 5), (1, 3), ((1, 2), (1, 3))),
            one("MIRROR_PAD", (3, 4), (7, 5), (((2, 2), (1, 0)),), {"Mode": 0}),
            one("GATHER", (5, 3), (4, 3), ((3, 0, 0, 4),), {"Axis": 0}),
            one("DEPTH_TO_SPACE", (1, 2, 3, 8), (1, 4, 6, 2), (), {"BlockSize": 2}),
            one("SPACE_TO_DEPTH", (1, 4, 6, 2), (1, 2, 3, 8), (), {"BlockSize": 2}),
            one("SPACE_TO_BATCH_ND", (1, 5, 7, 3), (6, 3, 3, 3), ((2, 3), ((0, 1), (2, 0)))),
            one("BATCH_TO_SPACE_ND", (6, 3, 3, 2), (1, 5, 7, 2), ((2, 3), ((0, 1), (2, 0)))),
            single_ops.many_outputs(rng, "UNPACK", "int8", (2, 3), [(2,)] * 3, (), {"Num": 3, "Axis": 1},
                                    "UnpackOptions"),
            single_ops.many_outputs(rng, "SPLIT_V", "int8", (7,), [(2,), (5,)],
                                    (single_ops.indices(2, -1), TensorSpec((), "int32", data=np.array(0))),
                                    {"NumSplits": 2}, "SplitVOptions")]


def chain() -> ModelSpec:
    """Convolution, rectifier, two reshapes, fully connected, softmax: here the order can go wrong."""
    rng = np.random.default_rng(8)
    tensors = [
        TensorSpec((1, 4, 4, 2), scale=0.1), TensorSpec((3, 1, 1, 2), scale=[0.1, 0.2, 0.3],
                                                        data=rng.integers(-127, 128, (3, 1, 1, 2))),
        TensorSpec((3,), "int32", data=[1, 2, 3]),
        TensorSpec((1, 4, 4, 3), scale=0.2), TensorSpec((1, 4, 4, 3), scale=0.2),
        TensorSpec((1, 6, 8), scale=0.2), TensorSpec((1, 48), scale=0.2),
        TensorSpec((5, 48), scale=0.1, data=rng.integers(-127, 128, (5, 48))), TensorSpec((1, 5), scale=0.9),
        TensorSpec((1, 5), scale=1 / 256, zero=-128)]
    ops = [OpSpec("CONV_2D", [0, 1, 2], [3], {"StrideW": 1, "StrideH": 1}, "Conv2DOptions"),
           OpSpec("RELU", [3], [4]), OpSpec("RESHAPE", [4], [5]), OpSpec("RESHAPE", [5], [6]),
           OpSpec("FULLY_CONNECTED", [6, 7, -1], [8], {}, "FullyConnectedOptions"),
           OpSpec("SOFTMAX", [8], [9], {"Beta": 1.0}, "SoftmaxOptions")]
    return ModelSpec(tensors, ops, [0], [9])


def pick(rng: np.random.Generator, values: list[Any]) -> Any:
    return values[rng.integers(len(values))]


def wrong_spec(rng: np.random.Generator, spec: ModelSpec) -> ModelSpec:
    """A well-formed file of a network that makes no sense."""
    spec = copy.deepcopy(spec)
    tensor, op = pick(rng, spec.tensors), pick(rng, spec.ops)
    sizes = [-2**31, -2, -1, 0, 1, 2, 3, 5, 8, 2**16, 2**31 - 1]
    indices = [-2**31, -2, -1, *range(len(spec.tensors) + 1), 2**31 - 1]
    match int(rng.integers(14)):
        case 0:
            shape = list(tensor.shape) or [1]
            shape[rng.integers(len(shape))] = pick(rng, sizes)
            tensor.shape = tuple(shape)
        case 1:
            tensor.shape = tuple(int(pick(rng, sizes)) for _ in range(rng.integers(10)))
        case 2:
            tensor.dtype = pick(rng, list(TYPES))
        case 3:
            tensor.scale = pick(rng, [None, [], [0.1, 0.2], [0.1] * 5, *REALS])
        case 4:
            tensor.zero = pick(rng, [-2**63, -129, -128, 0, 1, 127, 128, 255, 256, [0, 0], 2**63 - 1])
        case 5:
            tensor.axis = pick(rng, [-2**31, -1, 0, 1, 2, 3, 4, 2**31 - 1])
        case 6:
            tensor.data = pick(rng, [None, [], [7], np.arange(24)])
        case 7:
            tensor.signature = tuple(int(pick(rng, [-1, 1, 3])) for _ in tensor.shape)
        case 8:
            tensor.variable = True
        case 9:
            op.source = pick(rng, [name for name in vars(tflite.BuiltinOperator) if not name.startswith("_")])
        case 10:
            place = pick(rng, [op.inputs, op.outputs, spec.inputs, spec.outputs])
            if place:  # an earlier change may have emptied it
                place[rng.integers(len(place))] = pick(rng, indices)
        case 11:
            place = pick(rng, [op.inputs, op.outputs, spec.inputs, spec.outputs])
            place[:] = [int(pick(rng, indices)) for _ in range(rng.integers(5))]
        case 12:
            if op.options:
                name = pick(rng, list(op.options))
                others = {float: REALS, bool: [False, True]}
                op.options[name] = pick(rng, others.get(type(op.options[name]), [0, 1, 2, 5, 127, -1, -128]))
        case 13:
            rng.shuffle(spec.ops)
    return spec


def injured(rng: np.random.Generator, data: bytearray, other: bytes) -> bytearray:
    """The file with one injury."""
    at = int(rng.integers(len(data)))
    aligned = at & ~3
    match int(rng.choice(8, p=[0.15, 0.15, 0.2, 0.2, 0.15, 0.05, 0.05, 0.05])):
        case 0:
            data[at] ^= 1 << rng.integers(8)
        case 1:
            data[at] = int(rng.integers(256))
        case 2:  # lengths, offsets, indices and sizes stand at aligned places
            data[aligned:aligned + 4] = struct.pack("<I", pick(rng, INTEGERS))
        case 3:
            old = int.from_bytes(data[aligned:aligned + 4], "little")
            data[aligned:aligned + 4] = struct.pack("<I", (old + int(rng.integers(-8, 9))) % 2**32)
        case 4:  # the fields of a vtable have 16 bits
            data[at & ~1:(at & ~1) + 2] = struct.pack("<H", int(rng.integers(0, 64)))
        case 5:
            data[aligned:aligned + 4] = struct.pack("<f", pick(rng, REALS))
        case 6:
            del data[at:at + int(rng.integers(1, 64)) if rng.integers(2) else len(data)]
        case 7:
            start, size = int(rng.integers(len(other))), int(rng.integers(1, 128))
            data[at:at + size] = other[start:start + size]
    return data


def mutant(rng: np.random.Generator, specs: list[ModelSpec]) -> bytes:
    """A network that makes no sense, a damaged file, or both."""
    kind = rng.integers(3)
    spec = pick(rng, specs)
    if kind != 0:
        for _ in range(rng.integers(1, 4)):
            spec = wrong_spec(rng, spec)
    data = bytearray(spec.build())
    if kind != 1:
        for _ in range(rng.integers(1, 4)):
            data = injured(rng, data, pick(rng, specs).build()) if data else data
    return bytes(data)


def check(data: bytes) -> str:
    """Imports once; the name of what came of it. Raises for anything but a typed error or a graph."""
    start = time.perf_counter()
    try:
        graph = load_tflite(data, "mutant")
        verify(graph)
        outcome = "imported"
    except (ModelError, UnsupportedError) as error:
        assert str(error).startswith("mutant: "), f"an error that does not name the file: {error}"
        outcome = type(error).__name__
    seconds = time.perf_counter() - start
    if tracemalloc.is_tracing():
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        assert peak < MEGABYTES, f"took {peak:.0f} MB"
    assert seconds < SECONDS, f"took {seconds:.1f} s"
    if outcome == "imported":
        run(graph)
    return outcome


def run(graph: Graph) -> None:
    """What verifies must also run, before and after the passes, with the same results."""
    used = {i for op in graph.ops for i in (*op.inputs, *op.outputs) if i is not None}
    if sum(graph.tensors[i].size for i in used) > RUN_LIMIT:
        return
    inputs = [np.full(graph.tensors[i].shape, 7, graph.tensors[i].dtype) for i in graph.inputs]
    plain, short = Reference(graph).run(inputs), Reference(run_passes(graph)).run(inputs)
    for index, a, b in zip(graph.outputs, plain, short, strict=True):
        tensor = graph.tensors[index]
        assert (a.shape, a.dtype) == (tensor.shape, tensor.dtype), f"{tensor} came out as {a.dtype} {a.shape}"
        np.testing.assert_array_equal(a, b)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for mutants that broke the importer")
    arguments = parser.parse_args()
    specs, outcomes, failures = seeds(), Counter[str](), 0
    tracemalloc.start()
    for number in range(arguments.count):
        data = mutant(np.random.default_rng([arguments.seed, number]), specs)
        tracemalloc.reset_peak()
        try:
            outcomes[check(data)] += 1
        except Exception:  # noqa: BLE001  (any other error is what we are looking for)
            failures += 1
            print(f"mutant {number} of seed {arguments.seed}:\n{traceback.format_exc()}", file=sys.stderr)
            if arguments.keep:
                arguments.keep.mkdir(parents=True, exist_ok=True)
                (arguments.keep / f"mutant_{arguments.seed}_{number}.tflite").write_bytes(data)
    print(f"{arguments.count} mutants: {dict(outcomes)}, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
