"""A device that runs Programs: the same code over the compiled RTL, the emulator or a board."""
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from ...rtl.contract.errors import InputError
from ...rtl.contract.fabric import Fabric
from ...rtl.contract.isa import Cause, Unit
from ...rtl.contract.registers import Reg, Status
from ..emit.program import DramTensor, FabricRun, LayerInfo, Program
from ..graph.ir import Graph
from ..link.link import Link, RunProgress
from ..reference import States, run_op
from .computed import packed
from .fabric_driver import FabricDriver

Array = npt.NDArray[Any]
Inputs = Array | Sequence[Array] | Mapping[str, Array]

STALLS = {
    Cause.FETCH: "instruction", Cause.OPERAND: "weights", Cause.RESULT: "post_processing",
    Cause.TOKEN_LOAD: "load", Cause.TOKEN_WEIGHTS: "weight_unit", Cause.TOKEN_STREAM: "array",
    Cause.TOKEN_POST: "results", Cause.TOKEN_STORE: "store",
}
"""What the array waited for, in the words of the report. "results": an earlier layer's post-processing."""
WATCHDOG = 2_000_000_000
"""Cycles that one run may take unless said otherwise: twenty seconds at 100 MHz, hours in simulation."""
PIECE = 1 << 16
"""Bytes of a transfer between two reports of progress, at multiples of as many: a block of a flash."""
UPLOAD = "upload"
FINISH = "finish"
"""The time after the array's last pixel: post-processing and the way out. Charged to the last layer."""


@dataclass(frozen=True)
class LayerResult(LayerInfo):
    """One layer's share of a run.

    ``cycles`` is 0 for what the host did, ``seconds`` for what the fabric did; ``stalls`` names what the
    array waited for.
    """

    cycles: int
    stalls: Mapping[str, int]
    seconds: float


@dataclass(frozen=True)
class Result:
    """One inference. ``cycles``: doorbell to done, summed over the runs on the fabric (0 on the emulator)."""

    outputs: tuple[Array, ...]
    cycles: int
    layers: tuple[LayerResult, ...]
    program: Program
    seconds: float

    @property
    def utilisation(self) -> float:
        """Multiply-accumulates on the fabric / (rows * cols * cycles)."""
        fabric = self.program.fabric
        return self.program.macs_on_fabric / (fabric.rows * fabric.cols * self.cycles) if self.cycles else 0.0


class Device:
    """Runs Programs on one fabric.

    Parameters
    ----------
    link : Link
        An open connection to the fabric and its memory.
    fabric : Fabric
        What is expected behind it.
    watchdog : int
        Cycles that one run may take.
    progress : callable
        Told about long transfers: UPLOAD, the bytes done and the bytes in all.

    Raises
    ------
    MismatchError, DeviceError
        If there is something else behind the link.
    """

    def __init__(self, link: Link, fabric: Fabric, *, watchdog: int = WATCHDOG,
                 progress: Callable[[str, int, int], None] | None = None):
        self.fabric = fabric
        self._progress = progress
        self.link = link
        self.driver = FabricDriver(link, fabric)
        self.watchdog = watchdog
        self.setup_cycles = 0
        self._loaded: Program | None = None
        self._states: States = {}
        self._counted = _no_counts(0)  # the profile as it was last read; the hardware goes on counting

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the link; safe to call twice."""
        self.link.close()

    def load(self, program: Program) -> None:
        """Bring a Program's constants into the device; done by run() where needed.

        Raises
        ------
        MismatchError
            If it was compiled for another fabric; nothing has been moved then.
        InputError
            If the device's memory is too small.
        """
        program.check_fabric(self.fabric)
        if program.dram_bytes > self.link.memory_size:
            raise InputError(f"{program.name} needs {program.dram_bytes} bytes of memory; the device has "
                             f"{self.link.memory_size}. Open the device with more memory")
        if program.rom_bytes > self.link.rom_size:
            raise InputError(f"{program.name} needs {program.rom_bytes} bytes for its constants and "
                             f"instructions from {self.fabric.rom_base:#x} on; the device has "
                             f"{self.link.rom_size} there. Open the device with more memory")
        self._loaded = None
        if self.link.read(Reg.STATUS) & Status.BUSY:  # with a run that the caller interrupted
            self.driver.reset()
        self._upload(program)
        address, count = program.setup
        if count:
            self.setup_cycles = self.driver.run_program(address, count, watchdog=self.watchdog).cycles
        tags = 1 + max((layer.tag for layer in program.layers), default=-1)
        self._counted = _no_counts(min(tags, self.fabric.profile_layers))
        if len(self._counted):
            self.driver.clear_profile()
        self.reset_states()
        self._loaded = program

    def _upload(self, program: Program) -> None:
        """Write the constants, in pieces between which somebody can be told how far it is."""
        blocks = [(address, blob) for address, blob in program.blobs if not self._read_only(address)]
        if program.rom_bytes:  # as one block: a flash is erased and written in pieces larger than the gaps
            rom = np.full(program.rom_bytes, 0xFF, np.uint8)
            for address, blob in program.blobs:
                if self._read_only(address):
                    rom[address - self.fabric.rom_base:][:blob.size] = blob
            blocks.append((self.fabric.rom_base, rom))
        done, total = 0, sum(blob.size for _, blob in blocks)
        for address, blob in blocks:
            start = 0
            while start < blob.size:
                end = min(blob.size, start + PIECE - (address + start) % PIECE)
                self.link.write_memory(address + start, blob[start:end])
                done, start = done + end - start, end
                if self._progress is not None:
                    self._progress(UPLOAD, done, total)

    def _read_only(self, address: int) -> bool:
        return 0 < self.fabric.rom_base <= address

    def reset_states(self) -> None:
        """Let recurrent operators start afresh. Otherwise only a Program's first run does."""
        self._states.clear()

    def run(self, program: Program, inputs: Inputs, *,
            progress: RunProgress | None = None) -> Result:
        """One inference.

        Parameters
        ----------
        program : Program
        inputs : array, sequence of arrays, or mapping by tensor name
            Stored (quantised) values of the network's inputs; the leading 1 of the shape may be left out.
        progress : called in long runs with the cycles of the run under way and its seconds

        Raises
        ------
        InputError
            For inputs of a wrong number, name, shape or type.
        DeviceError
            If the fabric stops with a fault or does not finish; FaultError says where.
        """
        values = named_inputs(program.graph, inputs)
        if self._loaded is not program:
            self.load(program)
        try:
            return self._run(program, values, progress)
        except BaseException:
            self._loaded = None  # whatever stopped it, the next run starts from clean memories
            raise

    def _run(self, program: Program, values: dict[int, Array], progress: RunProgress | None) -> Result:
        began = time.perf_counter()
        graph = program.graph
        values = {index: tensor.data for index, tensor in enumerate(graph.tensors)
                  if tensor.data is not None} | values
        cycles = 0
        host_seconds: dict[int, float] = {}
        for step in program.steps:
            if isinstance(step, FabricRun):
                for home in step.inputs:
                    self._put(home, values[home.tensor])
                for weights in step.weights:
                    for address, block in packed(program, weights, values[weights.tensor]):
                        self.link.write_memory(address, block)
                cycles += self.driver.run_program(step.address, step.count, watchdog=self.watchdog,
                                                  progress=progress).cycles
                for home in step.outputs:
                    tensor = graph.tensors[home.tensor]
                    values[home.tensor] = self._get(home).view(tensor.dtype).reshape(tensor.shape)
            else:
                started = time.perf_counter()
                op = graph.ops[step.op]
                operands = [None if i is None else values[i] for i in op.inputs]
                values.update(zip(op.outputs, run_op(graph, op, operands, self._states), strict=True))
                host_seconds[step.op] = time.perf_counter() - started
        profile = self._profile() if cycles else _no_counts(0)
        outputs = tuple(values[index] for index in graph.outputs)
        return Result(outputs, cycles, tuple(_layers(program, profile, cycles, host_seconds)), program,
                      time.perf_counter() - began)

    def run_many(self, program: Program, samples: Iterable[Inputs], *,
                 progress: RunProgress | None = None) -> Iterator[Result]:
        """One inference after the other; results come one by one: none is lost if a later one fails."""
        for inputs in samples:
            yield self.run(program, inputs, progress=progress)

    def _profile(self) -> npt.NDArray[np.int64]:
        """What the stream unit's 32-bit counters counted since they were read last."""
        before = self._counted
        self._counted = self.driver.read_profile(len(before), (Unit.STREAM,))
        return (self._counted - before) % (1 << 32)

    def _put(self, home: DramTensor, value: Array) -> None:
        rows = np.ascontiguousarray(value).view(np.uint8).reshape(home.rows, home.row_bytes)
        padded = np.zeros((home.rows, home.stride), np.uint8)
        padded[:, :home.row_bytes] = rows ^ 0x80 if home.flipped else rows
        self.link.write_memory(home.address, padded.reshape(-1))

    def _get(self, home: DramTensor) -> npt.NDArray[np.uint8]:
        data = self.link.read_memory(home.address, home.rows * home.stride)
        rows = np.ascontiguousarray(data.reshape(home.rows, home.stride)[:, :home.row_bytes])
        return rows ^ np.uint8(0x80) if home.flipped else rows


def _no_counts(layers: int) -> npt.NDArray[np.int64]:
    return np.zeros((layers, len(Unit), len(Cause)), np.int64)


def _layers(program: Program, profile: npt.NDArray[np.int64], cycles: int,
            host_seconds: Mapping[int, float]) -> Iterator[LayerResult]:
    """Cycles of a layer are those of the stream unit: it is the one that every other serves."""
    last = max((layer.index for layer in program.layers if layer.where == "fabric"), default=-1)
    finish = cycles - int(profile[:, Unit.STREAM].sum())
    hosted = iter([step.op for step in program.steps if not isinstance(step, FabricRun)])
    for layer in program.layers:
        count, stalls, seconds = 0, {}, 0.0
        if layer.where == "host":
            seconds = host_seconds.get(next(hosted), 0.0)
        elif layer.tag < len(profile):
            counters = profile[layer.tag, Unit.STREAM]
            count = int(counters.sum())
            stalls = {STALLS[cause]: int(counters[cause])
                      for cause in Cause if cause in STALLS and counters[cause]}
            if layer.index == last and finish > 0:
                count += finish
                stalls[FINISH] = finish
        yield LayerResult(**vars(layer), cycles=count, stalls=stalls, seconds=seconds)


def named_inputs(graph: Graph, inputs: Inputs) -> dict[int, Array]:
    """Inputs by tensor index, checked.

    Raises
    ------
    InputError
        Says what was given and what the network takes.
    """
    names = [graph.tensors[index].name for index in graph.inputs]
    if isinstance(inputs, Mapping):
        unknown = sorted(set(inputs) - set(names))
        missing = [name for name in names if name not in inputs]
        if unknown or missing:
            raise InputError(f"inputs {unknown or '(none)'} are unknown and {missing or '(none)'} are "
                             f"missing; {graph.name} takes {names}")
        given = [inputs[name] for name in names]
    elif isinstance(inputs, (list, tuple)):
        given = list(inputs)
    else:
        given = [np.asarray(inputs)]
    if len(given) != len(names):
        raise InputError(f"{len(given)} inputs were given; {graph.name} takes {len(names)}: {names}")
    values: dict[int, Array] = {}
    for index, array in zip(graph.inputs, given, strict=True):
        tensor = graph.tensors[index]
        value = np.asarray(array)
        if value.shape == tensor.shape[1:] and tensor.shape[:1] == (1,):
            value = value[None]
        if value.shape != tensor.shape or value.dtype != tensor.dtype:
            raise InputError(f"input {tensor.name!r} is {value.dtype}{list(value.shape)}; "
                             f"{graph.name} takes {tensor.dtype}{list(tensor.shape)}")
        values[index] = value
    return values
