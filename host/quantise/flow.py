"""The whole of it: calibrate, quantise, check the result, and measure what was lost."""
import io
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
from onnxruntime.quantization import quantize_static as ort_quantize

from ...rtl.contract.errors import CelosiaError, InputError, ToolError, UnsupportedError
from .loss import Comparison, LayerLoss
from .model import input_specs, prepare, read_model
from .samples import Array, InputSpec, Sample, check, split, wanted

Method = Literal["minmax", "entropy", "percentile"]
Format = Literal["qdq", "qoperator"]
Stored = Literal["int8", "uint8"]
Progress = Callable[[str, int, int], None]
"""Called with a stage ("calibrate", "ranges", "measure"), the steps done and the steps in all."""

METHODS = {"minmax": CalibrationMethod.MinMax, "entropy": CalibrationMethod.Entropy,
           "percentile": CalibrationMethod.Percentile}
FORMATS = {"qdq": QuantFormat.QDQ, "qoperator": QuantFormat.QOperator}
TYPES = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
CALIBRATION_BYTES = 1 << 30
"""Activations that a histogram may take at once; it is made in several goes if there are more."""


@dataclass(frozen=True)
class Accuracy:
    """Samples of which the largest output is that of the label, by the float model and the quantised one."""

    before: int
    after: int
    samples: int


@dataclass(frozen=True)
class Quantised:
    """A quantised model, and what is known about it.

    Attributes
    ----------
    file : where it is
    calibrated, measured : numbers of samples
    bytes_before, bytes_after : sizes of the files
    layers : losses in the order of the float model; ``outputs`` those of them that are the model's outputs
    accuracy : None without labels
    same : samples with the same largest output before and after; None if that says nothing
    notices : what ONNX Runtime's tools had to say
    """

    file: Path
    calibrated: int
    measured: int
    bytes_before: int
    bytes_after: int
    layers: list[LayerLoss]
    outputs: list[LayerLoss]
    accuracy: Accuracy | None
    same: int | None
    notices: list[str]


def quantise(model: str | Path, output: str | Path,
             calibration: Sequence[Sample] | Mapping[str, Array] | Array, *,
             test: Sequence[Sample] | Mapping[str, Array] | Array | None = None,
             labels: Sequence[int] | None = None, method: Method = "minmax", percentile: float = 99.999,
             per_channel: bool = True, format: Format = "qdq", activations: Stored = "int8",
             weights: Stored = "int8", exclude: Sequence[str] = (),
             progress: Progress | None = None) -> Quantised:
    """Quantise a float ONNX model with ONNX Runtime's tools.

    Parameters
    ----------
    model, output : files; dimensions that the model leaves open become those of the samples
    calibration : samples to take the ranges of activations from; or arrays by input name, or the array of
        the only input, of one sample or several along a leading axis
    test : samples to measure the loss with; those of the calibration unless given
    labels : for each of these the index of the output that should be the largest
    method : how ranges come from the activations seen; ``percentile`` is the share kept by that method
    per_channel : weights get one scale per output channel instead of one for all
    format : "qdq" or "qoperator" (integer operators)
    activations, weights : stored types; int8 activations with uint8 weights do not exist, and "qoperator"
        stores the weights of a convolution per channel as int8 whatever is asked for
    exclude : names of operators to leave in float32

    Raises
    ------
    ModelError, UnsupportedError : see read_model; also a model of which nothing can be quantised
    InputError : samples, labels or names that do not fit, or none
    ToolError : ONNX Runtime's tools failed
    """
    source, target = Path(model), Path(output)
    if (activations, weights) == ("int8", "uint8"):
        raise InputError("int8 activations with uint8 weights: ONNX Runtime has no such operators; "
                         "take int8 weights, or uint8 activations too")
    if not 0 < percentile <= 100:
        raise InputError(f"percentile is {percentile}; it must be more than 0 and at most 100")
    if target.exists() and target.samefile(source):
        raise InputError(f"{target} is the float model itself; write the quantised one to another file")
    read = read_model(source)
    specs = input_specs(read)
    given = _samples(specs, calibration)
    shapes = {spec.name: given[0][spec.name].shape for spec in specs}
    tested = given if test is None else _samples(specs, test)
    if labels is not None and len(labels) != len(tested):
        raise InputError(f"{len(labels)} labels for {len(tested)} samples")
    tell = progress or (lambda stage, done, total: None)
    notices: list[str] = []
    with TemporaryDirectory(prefix="celosia-quantise-") as name, _listening(notices):
        folder = Path(name)
        with _tool("pre-processing"):
            prepared = prepare(read, shapes, folder)
        _check_names(prepared, exclude)
        size = _output_size(prepared, check(specs, given[0], shapes))
        if labels is not None:
            _check_labels(labels, size)
        result = folder / "quantised.onnx"
        options: dict[str, Any] = {"CalibPercentile": percentile} if method == "percentile" else {}
        count = len(given)
        if method != "minmax":
            count, options["CalibStridedMinMax"] = _goes(count, prepared)
            if count < len(given):
                notices.append(f"{len(given) - count} samples left out: histograms are made of equal parts")
        with _tool("the quantiser"):
            ort_quantize(prepared, result, _Reader(specs, shapes, given, count, tell),
                         calibrate_method=METHODS[method], quant_format=FORMATS[format],
                         activation_type=TYPES[activations], weight_type=TYPES[weights],
                         per_channel=per_channel, nodes_to_exclude=list(exclude), extra_options=options)
        _check_result(result, source)
        comparison = Comparison(prepared, result)
        guesses = np.zeros((2, len(tested)), np.int64)
        for done, sample in enumerate(tested):
            found = comparison.run(check(specs, sample, shapes))
            guesses[:, done] = [np.argmax(output) if size else 0 for output in found]
            tell("measure", done + 1, len(tested))
        layers = comparison.losses()
        try:
            shutil.copyfile(result, target)
        except OSError as error:
            raise InputError(f"{target} cannot be written: {error.strerror or error}") from error
    return Quantised(
        target, count, len(tested), source.stat().st_size, target.stat().st_size, layers,
        [layer for layer in layers if layer.tensor in comparison.outputs],
        None if labels is None else _accuracy(guesses, labels),
        int((guesses[0] == guesses[1]).sum()) if size > 1 else None, notices)


def _samples(specs: Sequence[InputSpec],
             given: Sequence[Sample] | Mapping[str, Array] | Array) -> Sequence[Sample]:
    found = split(specs, given) if isinstance(given, (Mapping, np.ndarray)) else given
    if not len(found):
        raise InputError(f"there is no sample; the model takes {wanted(specs)}")
    return found


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands samples to a calibrator; ``set_range`` chooses those of one go."""

    def __init__(self, specs: Sequence[InputSpec], shapes: Mapping[str, Sequence[int]],
                 samples: Sequence[Sample], count: int, tell: Progress):
        self._specs, self._shapes, self._samples, self._tell = specs, shapes, samples, tell
        self._next, self._end, self._count = 0, count, count

    def __len__(self) -> int:
        return self._count

    def set_range(self, start_index: int, end_index: int) -> None:
        self._next, self._end = start_index, end_index

    def get_next(self) -> Sample | None:
        if self._next == self._end:
            if self._end == self._count:
                self._tell("ranges", 0, 0)
            return None
        sample = check(self._specs, self._samples[self._next], self._shapes)
        self._next += 1
        self._tell("calibrate", self._next, self._count)
        return sample


def _goes(count: int, prepared: Path) -> tuple[int, int]:
    """How many of ``count`` samples are used, and how many at once, so that their activations fit."""
    graph = onnx.load(prepared).graph
    size = sum(4 * prod(dim.dim_value for dim in value.type.tensor_type.shape.dim)
               for value in (*graph.input, *graph.value_info, *graph.output))
    goes = -(-count * max(size, 1) // CALIBRATION_BYTES)
    together = max(count // goes, 1)
    return count // together * together, together


def _check_names(prepared: Path, exclude: Sequence[str]) -> None:
    names = [node.name for node in onnx.load(prepared).graph.node]
    for name in exclude:
        if name not in names:
            raise InputError(f"there is no operator {name!r}; there are {', '.join(names[:40])}"
                             + (", …" if len(names) > 40 else ""))


def _check_result(result: Path, source: Path) -> None:
    """The file is sound, ONNX Runtime takes it, and something in it is quantised."""
    with _tool("what the quantiser wrote"):
        onnx.checker.check_model(result)
        onnxruntime.InferenceSession(result, providers=["CPUExecutionProvider"])
    if not any(node.op_type == "QuantizeLinear" for node in onnx.load(result).graph.node):
        raise UnsupportedError(f"{source}: none of its operators can be quantised")


def _output_size(prepared: Path, sample: Sample) -> int:
    """Values of the first output; shows that the float model runs before anything that takes long begins."""
    with _tool("the float model"):
        session = onnxruntime.InferenceSession(prepared, providers=["CPUExecutionProvider"])
        return int(session.run(None, dict(sample))[0].size)


def _check_labels(labels: Sequence[int], size: int) -> None:
    if size < 2 or not 0 <= min(labels) <= max(labels) < size:
        raise InputError(f"labels are {min(labels)} to {max(labels)}, and the model's first output has "
                         f"{size} value{'s' if size != 1 else ''}; a label is the index of the one that "
                         "should be the largest")


def _accuracy(guesses: Array, labels: Sequence[int]) -> Accuracy:
    right = (guesses == np.asarray(labels)).sum(axis=1)
    return Accuracy(int(right[0]), int(right[1]), len(labels))


@contextmanager
def _tool(name: str) -> Iterator[None]:
    """Errors of ONNX Runtime's tools, which raise anything, as one of ours."""
    try:
        yield
    except CelosiaError:
        raise
    except Exception as error:
        raise ToolError(f"ONNX Runtime: {name} failed ({type(error).__name__}: {error})") from error


@contextmanager
def _listening(notices: list[str]) -> Iterator[None]:
    """Keep what ONNX Runtime's tools print and log, instead of letting them."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            notices.append(record.getMessage().strip())

    handler, printed = Handler(logging.WARNING), io.StringIO()
    root = logging.getLogger()
    kept, root.handlers = root.handlers, [handler]
    onnxruntime.set_default_logger_severity(3)  # errors only
    try:
        with redirect_stdout(printed):
            yield
    finally:
        root.handlers = kept
        onnxruntime.set_default_logger_severity(2)  # as it is by default: warnings
        notices.extend(line for line in printed.getvalue().splitlines() if line.strip())
