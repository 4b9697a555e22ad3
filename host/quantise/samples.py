"""Calibration data: arrays to samples, each checked against the inputs of the model."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...rtl.contract.errors import InputError

Array = npt.NDArray[Any]
Sample = Mapping[str, Array]
"""The inputs of one inference, by name."""


@dataclass(frozen=True)
class InputSpec:
    """One input of a model: ``dtype`` is a NumPy name, a dimension that the model leaves open is None."""

    name: str
    dtype: str
    dims: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join('?' if d is None else str(d) for d in self.dims)}]"

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether an array of this shape is the input of one inference."""
        return len(shape) == len(self.dims) and all(
            want in (None, has) for want, has in zip(self.dims, shape, strict=True))


def wanted(inputs: Sequence[InputSpec]) -> str:
    """The inputs in words, for messages."""
    return ", ".join(map(str, inputs))


def split(inputs: Sequence[InputSpec], arrays: Mapping[str, Array] | Array) -> list[Sample]:
    """Samples from arrays by input name (or the array of the only input).

    An array is one sample, or several along a leading axis of its own; where the model's first dimension is
    1 or open, that one may count the samples, or be left out.

    Raises
    ------
    InputError
        If names, shapes or types are not the model's, or the arrays hold different numbers of samples.
    """
    if not isinstance(arrays, Mapping):
        if len(inputs) != 1:
            raise InputError(f"one array for a model of {len(inputs)} inputs; give arrays by name: "
                             f"{wanted(inputs)}")
        arrays = {inputs[0].name: arrays}
    names = [spec.name for spec in inputs]
    if set(arrays) != set(names):
        raise InputError(f"holds {sorted(arrays)[:8]}; the model takes {wanted(inputs)}")
    columns = [_rows(spec, np.asarray(arrays[spec.name])) for spec in inputs]
    if len({len(column) for column in columns}) > 1:
        counts = ", ".join(f"{len(column)} of {name}" for name, column in zip(names, columns, strict=True))
        raise InputError(f"holds {counts}; every sample needs all inputs")
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def check(inputs: Sequence[InputSpec], sample: Sample, shapes: Mapping[str, Sequence[int]]) -> Sample:
    """A sample as ONNX Runtime takes it.

    Raises
    ------
    InputError
        If an input is missing, of another shape than ``shapes``, or not of the model's type.
    """
    if set(sample) != {spec.name for spec in inputs}:
        raise InputError(f"a sample holds {sorted(sample)[:8]}; the model takes {wanted(inputs)}")
    for spec in inputs:
        if sample[spec.name].shape != tuple(shapes[spec.name]):
            raise InputError(f"a sample's {spec.name} has shape {list(sample[spec.name].shape)}, expected "
                             f"{list(shapes[spec.name])}; all samples need the same shape")
    return {spec.name: _typed(spec, np.asarray(sample[spec.name])) for spec in inputs}


def _rows(spec: InputSpec, array: Array) -> list[Array]:
    array = _typed(spec, array)
    if spec.dims and spec.dims[0] in (1, None):
        if array.ndim == len(spec.dims) and spec.fits((1, *array.shape[1:])):
            return [row[None] for row in array]
        if spec.fits((1, *array.shape)):
            return [array[None]]
    if array.ndim == len(spec.dims) + 1 and spec.fits(array.shape[1:]):
        return list(array)
    if spec.fits(array.shape):
        return [array]
    raise InputError(f"{spec.name} is {array.dtype}{list(array.shape)}; the model takes {spec}, one sample "
                     "or several along a leading axis")


def _typed(spec: InputSpec, array: Array) -> Array:
    want = np.dtype(spec.dtype)
    if array.dtype == want:
        found = array
    elif array.dtype.kind == want.kind == "f" or (array.dtype.kind in "iu" and want.kind in "iu"):
        found = array.astype(want)
        if want.kind != "f" and (found != array).any():
            raise InputError(f"{spec.name} holds values that are no {want}")
    else:
        raise InputError(f"{spec.name} is of type {array.dtype}; the model takes {spec}. Give the values "
                         "that the model is to see, scaled as in its training")
    if want.kind == "f" and not np.isfinite(found).all():
        raise InputError(f"{spec.name} holds values that are not finite (NaN or infinity)")
    return found
