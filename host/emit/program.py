"""The Program: everything a device needs to run one network, and the file it is kept in."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...rtl.contract.errors import FabricError, MismatchError, ProgramError
from ...rtl.contract.fabric import Fabric
from ...rtl.contract.isa import ISA_VERSION
from ..graph.ir import Graph, Kind, Op, Quant, Tensor

FORMAT = "celosia-program"
FORMAT_VERSION = 4


@dataclass(frozen=True)
class DramTensor:
    """An image in DRAM: ``rows`` rows of ``row_bytes`` bytes, ``stride`` apart, from ``address`` on.

    ``flipped``: with the top bit of each byte inverted, as the fabric takes uint8 for int8.
    """

    tensor: int
    address: int
    rows: int
    row_bytes: int
    stride: int
    flipped: bool = False


@dataclass(frozen=True)
class ComputedWeights:
    """Weights of one column tile that the network computes: the host packs them before a run.

    They are words of the weight memory, ``stride`` apart from ``address`` on, laid out like
    ``Program.maps[map]``: place p > 0 takes byte ``first + p - 1`` of the tensor, place 0 is a weight of 0.

    Attributes
    ----------
    tensor, first, flipped :
        Its bytes from ``first`` on, in memory order; ``flipped`` as in DramTensor.
    zero : int
        The byte that is a weight of 0.
    records, record_stride, input_zero : int
        Where the records of the tile's channels lie: each bias, as it is in ``Program.blobs``, is lowered by
        ``input_zero`` times the sum of the channel's weights. No record changes where ``input_zero`` is 0.
    """

    tensor: int
    first: int
    flipped: bool
    map: int
    address: int
    stride: int
    zero: int
    records: int
    record_stride: int
    input_zero: int


@dataclass(frozen=True)
class FabricRun:
    """Run ``count`` instructions at ``address``.

    The host puts ``inputs`` and ``weights`` in DRAM before and takes ``outputs`` after.
    """

    address: int
    count: int
    inputs: tuple[DramTensor, ...]
    outputs: tuple[DramTensor, ...]
    weights: tuple[ComputedWeights, ...] = ()


@dataclass(frozen=True)
class HostRun:
    """Compute operator ``op`` of the graph with its reference kernel."""

    op: int
    reason: str


@dataclass(frozen=True)
class LayerInfo:
    """One line of the report. ``tag`` is the layer number in the profile, -1 for what the host does."""

    index: int
    name: str
    op: str
    where: str
    reason: str
    macs: int
    tag: int
    predicted: int
    proof: str


@dataclass(frozen=True)
class Program:
    """A compiled network.

    Attributes
    ----------
    fabric : Fabric
        What it was compiled for.
    graph : Graph
        Inputs, outputs and host operators with their constants; weights of fabric layers are left out.
    steps : FabricRun and HostRun in order
    setup : (address, count)
        Instructions that bring resident weights on chip, run once per device; count may be 0.
    blobs : (address, bytes) of weights, parameters and instructions
    dram_bytes : int
        Memory the program needs from address 0 on.
    rom_bytes : int
        The same from Fabric.rom_base on: constants and instructions, if the fabric has such memory.
    layers : LayerInfo in order
    memory : what the planner decided, for ``inspect``
    maps : int32[words, columns] each
        How computed weights lie in a column tile (ComputedWeights).
    """

    name: str
    fabric: Fabric
    graph: Graph
    steps: tuple[FabricRun | HostRun, ...]
    setup: tuple[int, int]
    blobs: tuple[tuple[int, npt.NDArray[np.uint8]], ...]
    dram_bytes: int
    layers: tuple[LayerInfo, ...]
    predicted: int
    memory: Mapping[str, Any] = field(default_factory=dict)
    maps: tuple[npt.NDArray[np.int32], ...] = ()
    rom_bytes: int = 0

    @property
    def memory_bytes(self) -> int:
        """The ``memory_size`` with which a simulated device has room for the Program."""
        return max(self.dram_bytes, self.rom_bytes)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def macs_on_fabric(self) -> int:
        return sum(layer.macs for layer in self.layers if layer.where == "fabric")

    def holds(self, address: int, count: int) -> bool:
        """Whether bytes lie within the memory that the program says it needs."""
        base = self.fabric.rom_base
        if base and address >= base:
            return address + count <= base + self.rom_bytes
        return 0 <= address and address + count <= self.dram_bytes

    def constants(self, address: int, count: int) -> npt.NDArray[np.uint8]:
        """A copy of ``count`` bytes of the blobs."""
        for start, blob in self.blobs:
            if start <= address and address + count <= start + len(blob):
                return blob[address - start : address - start + count].copy()
        raise ProgramError(f"{self.name} has no {count} bytes at {address:#x}")

    def check_fabric(self, fabric: Fabric) -> None:
        """Raise MismatchError unless ``fabric`` is what the program was compiled for."""
        if fabric.fingerprint != self.fabric.fingerprint:
            raise MismatchError(
                f"the Program {self.name!r} was compiled for fabric {self.fabric.name} "
                f"({self.fabric.fingerprint:#018x}); the device is {fabric.name} "
                f"({fabric.fingerprint:#018x}). "
                "Compile the model for this fabric, or open the device with the Program's"
            )

    def _check_weights(self) -> None:
        """Raise ProgramError unless all computed weights have a tensor, a map and their places in DRAM."""
        for step in self.steps:
            for each in step.weights if isinstance(step, FabricRun) else ():
                tensor, places = self.graph.tensors[each.tensor], self.maps[each.map]
                words, columns = places.shape
                self.constants(each.address, words * each.stride)
                if each.input_zero:
                    self.constants(each.records, columns * each.record_stride)
                least, most = int(places.min()), int(places.max())
                if places.dtype != np.int32 or least < 0 or each.first + most > tensor.size:
                    raise ProgramError(f"{self.name}: the weights that {tensor.name!r} holds reach beyond it")

    def save(self, file: str | Path) -> None:
        """Write the Program file (a zip archive of JSON and NumPy arrays)."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        head = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "isa": ISA_VERSION,
            "name": self.name,
            "fabric": asdict(self.fabric),
            "fingerprint": f"{self.fabric.fingerprint:#018x}",
            "graph": _graph_out(self.graph, arrays),
            "steps": [{"kind": type(step).__name__, **asdict(step)} for step in self.steps],
            "setup": self.setup,
            "dram_bytes": self.dram_bytes,
            "rom_bytes": self.rom_bytes,
            "predicted": self.predicted,
            "layers": [asdict(layer) for layer in self.layers],
            "memory": dict(self.memory),
            "blobs": [address for address, _ in self.blobs],
            "maps": len(self.maps),
        }
        for index, places in enumerate(self.maps):
            arrays[f"map{index}"] = places
        for index, (_, blob) in enumerate(self.blobs):
            arrays[f"blob{index}"] = blob
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("program.json", json.dumps(head, indent=1))
            for name, array in arrays.items():
                buffer = BytesIO()
                np.save(buffer, array, allow_pickle=False)
                archive.writestr(f"{name}.npy", buffer.getvalue())

    @classmethod
    def load(cls, file: str | Path) -> "Program":
        """Read a Program file.

        Raises
        ------
        ProgramError
            If it is not one, is damaged, or is of another version.
        """
        try:
            with zipfile.ZipFile(file) as archive:
                head = json.loads(archive.read("program.json"))
                arrays = {
                    name[:-4]: np.load(BytesIO(archive.read(name)), allow_pickle=False)
                    for name in archive.namelist()
                    if name.endswith(".npy")
                }
            if head["format"] != FORMAT:
                raise ProgramError(f"{file} is no Program file: its format is {head['format']!r}")
            if (head["version"], head["isa"]) != (FORMAT_VERSION, ISA_VERSION):
                raise ProgramError(
                    f"{file} is of version {head['version']}, ISA {head['isa']}; this is version "
                    f"{FORMAT_VERSION}, ISA {ISA_VERSION}: compile the model again"
                )
            program = cls(
                name=head["name"],
                fabric=Fabric(**head["fabric"]),
                graph=_graph_in(head["graph"], arrays),
                steps=tuple(_step_in(step) for step in head["steps"]),
                setup=tuple(head["setup"]),
                blobs=tuple((address, arrays[f"blob{i}"]) for i, address in enumerate(head["blobs"])),
                dram_bytes=head["dram_bytes"],
                rom_bytes=head["rom_bytes"],
                layers=tuple(LayerInfo(**layer) for layer in head["layers"]),
                predicted=head["predicted"],
                memory=head["memory"],
                maps=tuple(arrays[f"map{i}"] for i in range(head["maps"])),
            )
            for address, blob in program.blobs:
                if blob.dtype != np.uint8 or not program.holds(address, len(blob)):
                    raise ProgramError(f"{file} is damaged: a block at {address:#x} does not fit its memory")
            program._check_weights()
            return program
        except OSError as error:
            raise ProgramError(f"{file} cannot be read: {error.strerror or error}") from error
        except FabricError as error:
            raise ProgramError(f"{file} is for a fabric that cannot be built: {error}") from error
        except (
            zipfile.BadZipFile,
            zipfile.LargeZipFile,
            KeyError,
            ValueError,
            TypeError,
            IndexError,
            EOFError,
            AttributeError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            if isinstance(error, ProgramError):
                raise
            raise ProgramError(
                f"{file} is no Program file or is damaged ({type(error).__name__}: {error}); "
                "make it anew with `celosia compile`"
            ) from error


def _step_in(step: dict[str, Any]) -> FabricRun | HostRun:
    kind = step.pop("kind")
    if kind == "HostRun":
        return HostRun(**step)
    inputs, outputs = (
        tuple(DramTensor(**tensor) for tensor in step.pop(key)) for key in ("inputs", "outputs")
    )
    weights = tuple(ComputedWeights(**each) for each in step.pop("weights"))
    return FabricRun(inputs=inputs, outputs=outputs, weights=weights, **step)


def _graph_out(graph: Graph, arrays: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
    tensors = []
    for index, tensor in enumerate(graph.tensors):
        entry: dict[str, Any] = {"name": tensor.name, "shape": tensor.shape, "dtype": tensor.dtype}
        if tensor.quant is not None:
            arrays[f"scale{index}"], arrays[f"zero{index}"] = tensor.quant.scale, tensor.quant.zero_point
            entry["axis"] = tensor.quant.axis
        if tensor.data is not None:
            arrays[f"data{index}"] = tensor.data
        tensors.append(entry)
    return {
        "name": graph.name,
        "framework": graph.framework,
        "rounding": graph.rounding,
        "tensors": tensors,
        "source_bytes": graph.source_bytes,
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "ops": [{**asdict(op), "kind": op.kind.value} for op in graph.ops],
    }


def _graph_in(head: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> Graph:
    tensors = []
    for index, entry in enumerate(head["tensors"]):
        quant = (
            Quant(arrays[f"scale{index}"], arrays[f"zero{index}"], entry["axis"])
            if f"scale{index}" in arrays
            else None
        )
        tensors.append(
            Tensor(entry["name"], tuple(entry["shape"]), entry["dtype"], quant, arrays.get(f"data{index}"))
        )
    ops = tuple(
        Op(
            Kind(op["kind"]),
            op["source"],
            tuple(op["inputs"]),
            tuple(op["outputs"]),
            {key: tuple(value) if isinstance(value, list) else value for key, value in op["attrs"].items()},
            op["index"],
        )
        for op in head["ops"]
    )
    return Graph(
        head["name"],
        head["framework"],
        tuple(tensors),
        ops,
        tuple(head["inputs"]),
        tuple(head["outputs"]),
        head["rounding"],
        head["source_bytes"],
    )
