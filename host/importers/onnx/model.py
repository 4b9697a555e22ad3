"""An ONNX file, read and made concrete: every value's shape and type, and the values of all constants.

ONNX leaves shapes open and computes constants while the network runs. Instead of a second implementation of
its shape rules, ONNX Runtime runs the network once on zeros, with every value as an output.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from ....rtl.contract.errors import ModelError, UnsupportedError
from ...graph.ir import NARROW_DTYPES, PLAIN_DTYPES, Array
from ...reference.onnxruntime_kernel import evaluator, first_line, microsoft_schema, session

OPSET_LEAST = 10
"""Of the standard operators: the first with QLinearConv."""
DOMAINS = ("", "ai.onnx", "com.microsoft")
DTYPES = PLAIN_DTYPES + NARROW_DTYPES
RANDOM = {
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
}
BY_DATA = {"NonZero", "Unique", "NonMaxSuppression", "Compress", "StringNormalizer", "TfIdfVectorizer"}
"""Operators whose results have a shape that depends on the values."""
INPUT_LIMIT = 2**27
"""Elements of an input. The network is run once to find out its shapes."""


@dataclass(frozen=True)
class Value:
    """Shape and NumPy type of a value of the network."""

    shape: tuple[int, ...]
    dtype: str


@dataclass
class Model:
    """A network in execution order.

    Attributes
    ----------
    name : for messages
    nodes : those that compute something from the inputs, and those that dequantise constants
    values : by name
    constants : values that do not depend on the inputs, initialisers among them
    inputs, outputs : names
    opsets : version by domain
    """

    name: str
    nodes: list[onnx.NodeProto]
    values: dict[str, Value]
    constants: dict[str, Array]
    inputs: list[str]
    outputs: list[str]
    opsets: dict[str, int]
    ir_version: int
    size: int
    users: dict[str, list[int]] = field(default_factory=dict)  # places in nodes
    maker: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for place, node in enumerate(self.nodes):
            for name in dict.fromkeys(node.input):
                self.users.setdefault(name, []).append(place)
            self.maker.update(dict.fromkeys(node.output, place))


def is_onnx(data: bytes) -> bool:
    """Whether a file may be an ONNX model: a protobuf whose first field is ir_version, or opens otherwise."""
    return data[:1] == b"\x08"


def read_model(path: Path, *, batch: int = 1, examples: Mapping[str, Array] | None = None) -> Model:
    """Read and check an ONNX file.

    Open dimensions become ``batch`` where they are the first of an input, or those of ``examples``: values of
    inputs, by name, that also settle shapes which depend on values.

    Raises
    ------
    ModelError : no sound model, or one whose external data is missing or damaged
    UnsupportedError : opset, operator, type or dimensions that cannot be had
    """
    name = path.name
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (DecodeError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: no ONNX model, or damaged ({first_line(error)})") from None
    return prepare(proto, name, folder=path.parent, size=path.stat().st_size, batch=batch, examples=examples)


def prepare(
    proto: onnx.ModelProto,
    name: str,
    *,
    folder: Path | None = None,
    size: int = 0,
    batch: int = 1,
    examples: Mapping[str, Array] | None = None,
) -> Model:
    """The same from a model in memory; ``folder`` is where its external data lies."""
    if not proto.graph.node and not proto.graph.output:
        raise ModelError(f"{name}: no ONNX model: it has no graph")
    _texts(proto, name)
    opsets = _opsets(proto, name)
    _external(proto, name, folder)
    if proto.functions:
        try:
            proto = onnx.inliner.inline_local_functions(proto)
        except Exception as error:
            raise ModelError(f"{name}: its functions cannot be expanded ({first_line(error)})") from None
    graph = proto.graph
    nodes = _sorted(graph, name)
    constants = {tensor.name: _array(tensor, name) for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    outputs = list(dict.fromkeys(value.name for value in graph.output))
    _connected(nodes, {value.name for value in inputs} | set(constants), outputs, name)
    _sound(nodes, opsets, max(3, min(proto.ir_version, onnx.IR_VERSION)), name)
    examples = examples or {}
    given = {
        value.name: np.asarray(examples[value.name]) if value.name in examples else _zeros(value, name, batch)
        for value in inputs
    }
    opsets, seen = _probe(proto, nodes, inputs, given, opsets, name)
    fixed = _constants(nodes, set(constants))
    known = constants | {key: array for key, array in seen.items() if key in fixed}
    for node in nodes:
        random = node.op_type in RANDOM
        if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
            random = bool({**known, **examples}.get(node.input[2], True))  # whether it trains
        if (random or (node.op_type in BY_DATA and not examples)) and not set(node.output) <= fixed:
            raise UnsupportedError(
                f"{name}: node {node.name or node.output[0]!r} ({node.op_type}) has results that differ from "
                "run to run or whose shape depends on the values; supported are networks of fixed shapes"
            )
    values = {key: Value(array.shape, array.dtype.name) for key, array in (seen | constants | given).items()}
    for key, value in values.items():
        if value.dtype not in DTYPES:
            raise UnsupportedError(
                f"{name}: {key!r} has type {value.dtype}; supported are {', '.join(DTYPES)}"
            )
    constants |= {key: array for key, array in seen.items() if key in fixed}
    kept = [node for node in nodes if node.op_type == "DequantizeLinear" or not set(node.output) <= fixed]
    return Model(
        name,
        kept,
        values,
        constants,
        [value.name for value in inputs],
        outputs,
        opsets,
        min(proto.ir_version, onnx.IR_VERSION),
        size,
    )


def _texts(proto: onnx.ModelProto, name: str) -> None:
    """Protobuf hands out names that are not UTF-8 as bytes."""
    graph = proto.graph
    names: list[object] = [entry.domain for entry in proto.opset_import]
    names += [part.name for part in (*graph.input, *graph.output, *graph.initializer)]
    for node in graph.node:
        names += [node.op_type, node.domain, node.name, *node.input, *node.output]
        names += [attribute.name for attribute in node.attribute]
    for value in graph.input:
        names += [dimension.dim_param for dimension in value.type.tensor_type.shape.dim]
    if (broken := next((text for text in names if not isinstance(text, str)), None)) is not None:
        raise ModelError(f"{name}: damaged: a name is {broken!r}, no text")


def _opsets(proto: onnx.ModelProto, name: str) -> dict[str, int]:
    opsets = {
        ("" if entry.domain == "ai.onnx" else entry.domain): entry.version for entry in proto.opset_import
    }
    newest, version = onnx.defs.onnx_opset_version(), opsets.get("", 0)
    if not version:
        raise UnsupportedError(f"{name}: imports no standard operators, only {sorted(filter(None, opsets))}")
    if not OPSET_LEAST <= version <= newest:
        raise UnsupportedError(
            f"{name}: is of opset {version}; supported are {OPSET_LEAST} to {newest}. Convert it with "
            "onnx.version_converter, or export it anew"
        )
    return opsets


def _external(proto: onnx.ModelProto, name: str, folder: Path | None) -> None:
    """Bring in what lies in files beside the model, checksums compared."""
    tensors = [
        *proto.graph.initializer,
        *(
            attribute.t
            for node in proto.graph.node
            for attribute in node.attribute
            if attribute.HasField("t")
        ),
    ]
    digests: dict[Path, str] = {}
    for tensor in tensors:
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        where = {entry.key: entry.value for entry in tensor.external_data}
        told = f"{name}: tensor {tensor.name!r} lies in file {where.get('location')!r}"
        if folder is None or not where.get("location"):
            raise ModelError(f"{told}, and there is no folder to look in")
        try:
            file = (folder / where["location"]).resolve()
            inside = file.is_relative_to(folder.resolve())
            size = file.stat().st_size if inside else 0
            start = int(where.get("offset", 0))
            end = start + int(where["length"]) if "length" in where else size
            if inside and "checksum" in where and file not in digests:
                digests[file] = hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()
            data = b""
            if inside and 0 <= start <= end <= size:
                with file.open("rb") as opened:
                    opened.seek(start)
                    data = opened.read(end - start)
        except OSError as error:
            raise ModelError(
                f"{told}, which cannot be read ({error.strerror}); put it beside the model") from None
        except ValueError:
            raise ModelError(f"{told}, at no sound place ({where})") from None
        if not inside:
            raise ModelError(f"{told}, outside the model's own folder")
        if not 0 <= start <= end:
            raise ModelError(f"{told}, at no sound place ({where})")
        if "checksum" in where and digests[file] != where["checksum"].lower():
            raise ModelError(f"{told}, whose checksum is {digests[file]}, not {where['checksum']}: "
                             "it belongs to another model or is damaged")
        if end > size:
            raise ModelError(f"{told} of {size} bytes, but reaches from byte {start} to {end}")
        tensor.raw_data = data
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def _array(tensor: TensorProto, name: str) -> Array:
    if any(size < 0 for size in tensor.dims):
        raise ModelError(f"{name}: initialiser {tensor.name!r} has shape {list(tensor.dims)}")
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{name}: initialiser {tensor.name!r} is damaged ({first_line(error)})") from None


def _sound(nodes: Sequence[onnx.NodeProto], opsets: Mapping[str, int], ir_version: int, name: str) -> None:
    """Operands and attributes by the operators' own definitions. ONNX Runtime relies on them: some of its
    kernels crash for an operand that is left out."""
    context = onnx.checker.DEFAULT_CONTEXT.__class__()
    context.ir_version, context.opset_imports = ir_version, {"": opsets[""]}
    for node in nodes:
        told = f"{name}: node {node.name or (*node.output, '?')[0]!r} ({node.op_type})"
        if node.domain not in DOMAINS:
            raise UnsupportedError(f"{told} is of domain {node.domain!r}; supported are the standard "
                                   "operators and com.microsoft")
        if node.domain == "com.microsoft":
            schema = microsoft_schema(node.op_type)
        else:
            try:
                schema = onnx.defs.get_schema(node.op_type, opsets[""], "")
                onnx.checker.check_node(node, context)
            except onnx.defs.SchemaError:
                schema = None
            except onnx.checker.ValidationError as error:
                raise ModelError(f"{told} is not sound: {first_line(error)}") from None
        if schema is None:
            version = "com.microsoft" if node.domain == "com.microsoft" else f"opset {opsets['']}"
            raise UnsupportedError(f"{told} is no operator of {version}")
        if not schema.min_input <= len(node.input) <= schema.max_input:
            raise ModelError(
                f"{told} has {len(node.input)} operands, not {schema.min_input} to {schema.max_input}")
        for place, operand in enumerate(node.input):
            formal = schema.inputs[min(place, len(schema.inputs) - 1)]
            if not operand and formal.option.name != "Optional":
                raise ModelError(f"{told} lacks its operand {place}, {formal.name!r}")


def _sorted(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    """Nodes in execution order; most files are in it already."""
    makers: dict[str, int] = {}
    for place, node in enumerate(graph.node):
        for output in filter(None, node.output):
            if output in makers:
                raise ModelError(f"{name}: {output!r} is made twice")
            makers[output] = place
    order: list[int] = []
    state = [0] * len(graph.node)  # 1: on the way, 2: done
    for start in range(len(graph.node)):
        stack = [start]
        while stack:
            place = stack[-1]
            if state[place] == 0:
                state[place] = 1
                waiting = [makers[i] for i in graph.node[place].input if i in makers]
                for before in waiting:
                    if state[before] == 1:
                        node = graph.node[before]
                        raise ModelError(
                            f"{name}: node {node.name or node.output[0]!r} ({node.op_type}) waits "
                            "for its own result: the graph has a cycle"
                        )
                stack += [before for before in waiting if state[before] == 0]
            else:
                stack.pop()
                if state[place] == 1:
                    state[place] = 2
                    order.append(place)
    return (
        [graph.node[place] for place in sorted(order)]
        if _in_order(graph, makers)
        else [graph.node[place] for place in order]
    )


def _in_order(graph: onnx.GraphProto, makers: Mapping[str, int]) -> bool:
    return all(makers.get(i, -1) < place for place, node in enumerate(graph.node) for i in node.input)


def _connected(nodes: Sequence[onnx.NodeProto], known: set[str], outputs: Sequence[str], name: str) -> None:
    if not outputs:
        raise ModelError(f"{name}: the network has no output")
    known = known | {""}
    for node in nodes:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise UnsupportedError(
                f"{name}: node {node.name or node.output[0]!r} ({node.op_type}) holds a graph "
                "of its own; supported are networks without control flow"
            )
        for needed in node.input:
            if needed not in known:
                raise ModelError(
                    f"{name}: node {node.name or node.output[0]!r} ({node.op_type}) reads {needed!r}, "
                    "which is no input, no initialiser and made by no node"
                )
        known.update(node.output)
    for output in outputs:
        if output not in known:
            raise ModelError(f"{name}: nothing makes the output {output!r}")


def _zeros(value: onnx.ValueInfoProto, name: str, batch: int) -> Array:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        raise UnsupportedError(
            f"{name}: input {value.name!r} is no tensor of known rank; supported are tensors"
        )
    shape: list[int] = []
    for axis, dimension in enumerate(kind.shape.dim):
        if dimension.HasField("dim_value") and dimension.dim_value > 0:
            shape.append(dimension.dim_value)
        elif axis == 0:
            shape.append(batch)
        else:
            called = f" ({dimension.dim_param})" if dimension.dim_param else ""
            raise UnsupportedError(
                f"{name}: dimension {axis}{called} of input {value.name!r} is open; fix it, "
                "for instance with `python -m onnxruntime.tools.make_dynamic_shape_fixed`"
            )
    if prod(shape) > INPUT_LIMIT:
        raise UnsupportedError(
            f"{name}: input {value.name!r} has shape {shape}, more than {INPUT_LIMIT} elements")
    return np.zeros(shape, _numpy_type(kind.elem_type, value.name, name))


def _numpy_type(element: int, value: str, name: str) -> str:
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(element)).name
    except (KeyError, TypeError, ValueError):
        dtype = (
            TensorProto.DataType.Name(element) if element in TensorProto.DataType.values() else str(element)
        )
    if dtype not in DTYPES:
        raise UnsupportedError(f"{name}: {value!r} has type {dtype}; supported are {', '.join(DTYPES)}")
    return dtype


def _probe(
    proto: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    given: dict[str, Array],
    opsets: dict[str, int],
    name: str,
) -> tuple[dict[str, int], dict[str, Array]]:
    """Every value that a node makes of ``given``, and the versions of the operators that were run."""
    wanted = [output for node in nodes for output in node.output if output]
    wanted += [value.name for value in proto.graph.output if value.name in given]
    probe = onnx.ModelProto()
    probe.CopyFrom(proto)
    del probe.graph.node[:], probe.graph.output[:], probe.graph.value_info[:], probe.graph.input[:]
    probe.graph.node.extend(nodes)
    probe.graph.input.extend(
        helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, given[value.name].shape)
        for value in inputs
    )
    probe.graph.output.extend(onnx.ValueInfoProto(name=output) for output in wanted)
    try:
        opsets, runner, first = _runner(
            probe, opsets, any(array.dtype.name in NARROW_DTYPES for array in given.values())
        )
    except UnsupportedError as error:
        raise UnsupportedError(f"{name}: {error}") from None
    try:
        found = runner.run(wanted, given)
    except Exception as error:
        try:  # a type that ONNX Runtime computes but cannot hand out
            found = evaluator(probe).run(wanted, given)
        except Exception:
            raise UnsupportedError(
                f"{name}: {first or 'cannot be run to find out its shapes: ' + first_line(error)}"
            ) from None
    for key, array in zip(wanted, found, strict=True):
        if not isinstance(array, np.ndarray | np.generic):
            raise UnsupportedError(f"{name}: {key!r} is no tensor but {type(array).__name__}")
    return opsets, {key: np.asarray(array) for key, array in zip(wanted, found, strict=True)}


def _runner(
    probe: onnx.ModelProto, opsets: dict[str, int], narrow: bool
) -> tuple[dict[str, int], Any, UnsupportedError | None]:
    """ONNX Runtime, if need be with the operators taken for those of an older opset that it knows, if the
    older ones have the same attributes; or else the onnx package's evaluator, and what ONNX Runtime had
    against the model."""
    if narrow:
        return opsets, evaluator(probe), None
    try:
        return opsets, session(probe.SerializeToString()), None
    except UnsupportedError as error:
        first = error
    _typed(probe, first)
    older = onnx.ModelProto()
    older.CopyFrom(probe)
    for version in range(opsets[""] - 1, max(opsets[""] - 8, OPSET_LEAST), -1):
        if not all(_known(node, version) for node in probe.graph.node if node.domain in ("", "ai.onnx")):
            break
        for entry in older.opset_import:
            if entry.domain in ("", "ai.onnx"):
                entry.version = version
        try:
            return opsets | {"": version}, session(older.SerializeToString()), None
        except UnsupportedError:
            continue
    try:
        return opsets, evaluator(probe), first
    except UnsupportedError:
        raise first from None


def _typed(probe: onnx.ModelProto, refusal: UnsupportedError) -> None:
    """Raises the refusal, if types or shapes break the operators' definitions: the evaluator does not
    look."""
    bare = onnx.ModelProto()
    bare.CopyFrom(probe)
    del bare.graph.output[:]
    try:
        onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True)
    except onnx.shape_inference.InferenceError:
        raise refusal from None
    except ValueError:  # too large for a protobuf
        pass


def _known(node: onnx.NodeProto, version: int) -> bool:
    """Whether an operator of an older opset has all that a node uses."""
    try:
        schema = onnx.defs.get_schema(node.op_type, version, "")
    except onnx.defs.SchemaError:
        return False
    return all(attribute.name in schema.attributes for attribute in node.attribute) and (
        schema.min_input <= len(node.input) <= schema.max_input
    )


def _constants(nodes: Iterable[onnx.NodeProto], known: set[str]) -> set[str]:
    """Values that do not depend on the inputs."""
    fixed = known | {""}
    for node in nodes:
        if set(node.input) <= fixed and node.op_type not in RANDOM:
            fixed |= set(node.output)
    return fixed - {""}


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name, strings decoded."""
    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {key: value.decode() if isinstance(value, bytes) else value for key, value in found.items()}
