"""Files to calibration samples and labels: folders, .npz, .npy, pictures, .csv."""
import csv
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ..host.quantise.samples import InputSpec, Sample, split, wanted
from ..rtl.contract.errors import InputError

Array = npt.NDArray[Any]
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
ARRAYS = (".npz", ".npy")
CHANNELS = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class Pixels:
    """What becomes of a picture's values 0..255: (pixel * scale - mean) / std, mean and std per channel."""

    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def apply(self, picture: Array) -> Array:
        """float32 [H, W, C] of uint8 [H, W, C].

        Raises
        ------
        InputError
            If mean or std have neither one value nor one for each channel, or std is 0.
        """
        for name, values in (("--mean", self.mean), ("--std", self.std)):
            if len(values) not in (1, picture.shape[2]):
                raise InputError(f"{name} has {len(values)} values for {picture.shape[2]} channels")
        if 0 in self.std:
            raise InputError("--std is 0")
        scaled: Array = (picture * np.float64(self.scale) - self.mean) / self.std
        return scaled.astype(np.float32)


@dataclass
class Files(Sequence[Sample]):
    """Samples of a file or folder; pictures are read when they are asked for.

    ``names`` are the files, one for each sample, ``labels`` what an .npz holds under that name.
    """

    inputs: Sequence[InputSpec]
    pixels: Pixels
    held: list[Sample | Path] = field(default_factory=list)
    names: list[Path] = field(default_factory=list)
    labels: list[int] | None = None

    def __len__(self) -> int:
        return len(self.held)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "Files": ...
    def __getitem__(self, index: int | slice) -> "Sample | Files":
        if isinstance(index, slice):
            return Files(self.inputs, self.pixels, self.held[index], self.names[index],
                         None if self.labels is None else self.labels[index])
        held = self.held[index]
        return read_picture(self.inputs, held, self.pixels) if isinstance(held, Path) else held


def read_calibration(inputs: Sequence[InputSpec], path: Path, pixels: Pixels) -> Files:
    """All samples of a folder (.npz, .npy and pictures, in the order of their names), or of one such file.

    Raises
    ------
    InputError
        Names the file, what it holds and what the model takes.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    files = ([file for file in sorted(path.rglob("*")) if file.suffix.lower() in ARRAYS + PICTURES
              and file.is_file() and not file.name.startswith(".")] if path.is_dir() else [path])
    found = Files(inputs, pixels)
    labels: list[int] = []
    for file in files:
        if file.suffix.lower() in PICTURES:
            samples: list[Sample | Path] = [file]
        else:
            held, marks = _arrays(inputs, file)
            samples = list(held)
            labels += marks
        found.held += samples
        found.names += [file] * len(samples)
    if not found.held:
        raise InputError(f"{path}: holds no sample: no .npz, .npy or picture; the model takes "
                         f"{wanted(inputs)}")
    if labels:
        if len(labels) != len(found):
            raise InputError(f"{path}: holds {len(labels)} labels for {len(found)} samples")
        found.labels = labels
    return found


def read_picture(inputs: Sequence[InputSpec], file: Path, pixels: Pixels) -> Sample:
    """A picture, resized to the model's only input, [1, C, H, W] or [1, H, W, C] with C 1 or 3."""
    only = inputs[0]
    if len(inputs) == 1 and only.dtype == "float32" and len(only.dims) == 4 and only.dims[0] in (1, None):
        first = only.dims[1] in CHANNELS
        depth, height, width = only.dims[1:] if first else (only.dims[3], *only.dims[1:3])
        if depth in CHANNELS and height is not None and width is not None:
            try:
                with Image.open(file) as image:
                    values = np.asarray(image.convert(CHANNELS[depth]).resize((width, height)))
            except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
                raise InputError(f"{file}: is no picture: {error}") from error
            scaled = pixels.apply(values.reshape(height, width, depth))
            return {only.name: (scaled.transpose(2, 0, 1) if first else scaled)[None]}
    raise InputError(f"{file}: a picture does not fit: the model takes {wanted(inputs)}; expected one "
                     "float32 input of 1 or 3 channels and a fixed size; give .npz or .npy instead")


def read_labels(path: Path, samples: Files) -> list[int]:
    """A label for each sample, from .csv (file name first, label last; or labels alone, in order) or .npy.

    Raises
    ------
    InputError
        If the file cannot be read, or a sample has no label.
    """
    try:
        if path.suffix == ".npy":
            held = np.load(path, allow_pickle=False).reshape(-1)
            if held.dtype.kind not in "iu":
                raise InputError(f"{path}: labels are whole numbers, these are {held.dtype}")
            return _as_many([int(label) for label in held], path, samples)
        with path.open(newline="") as lines:
            rows = [row for row in csv.reader(lines) if row]
    except (OSError, ValueError, EOFError, csv.Error) as error:
        raise InputError(f"{path}: labels cannot be read: {error}") from error
    if rows and not _is_label(rows[0][-1]):
        rows = rows[1:]  # a headline
    if wrong := next((row for row in rows if not _is_label(row[-1])), None):
        raise InputError(f"{path}: the last column of each line is the label, a whole number; here is "
                         f"{wrong}")
    if all(len(row) == 1 for row in rows):
        return _as_many([int(row[0]) for row in rows], path, samples)
    known: dict[str, int] = {}
    for row in rows:
        known.setdefault(Path(row[0].strip()).stem, int(row[-1]))
        known[row[0].strip()] = int(row[-1])
    labels = []
    for file in samples.names:
        label = next((known[name] for name in (file.as_posix(), file.name, file.stem) if name in known), None)
        if label is None:
            raise InputError(f"{path}: has no label for {file.name}; a line is the file's name first and its "
                             "label last")
        labels.append(label)
    return labels


def _as_many(labels: list[int], path: Path, samples: Files) -> list[int]:
    if len(labels) != len(samples):
        raise InputError(f"{path}: holds {len(labels)} labels for {len(samples)} samples")
    return labels


def _is_label(text: str) -> bool:
    return re.fullmatch(r"\s*\d+\s*", text) is not None


def _arrays(inputs: Sequence[InputSpec], file: Path) -> tuple[list[Sample], list[int]]:
    """Samples and labels of an .npz or .npy."""
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return split(inputs, loaded), []
        with loaded:
            held = {name: loaded[name] for name in loaded.files}
        labels: list[int] = []
        if "labels" in held and "labels" not in {spec.name for spec in inputs}:
            labels = [int(label) for label in held.pop("labels").reshape(-1)]
        return _numbered(inputs, held) or split(inputs, held), labels
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{file}: cannot be read, it may be damaged: {error}") from error


def _numbered(inputs: Sequence[InputSpec], held: Mapping[str, Array]) -> list[Sample]:
    """Samples from arrays named as the other commands take them: in{i}_{k}, input i of sample k."""
    if not all(re.fullmatch(r"in\d+_\d+", name) for name in held):
        return []
    count = len(held) // len(inputs)
    if set(held) != {f"in{i}_{k}" for i in range(len(inputs)) for k in range(count)}:
        raise InputError(f"holds {sorted(held)[:8]}; samples are numbered from 0 without a gap, "
                         f"in{{i}}_{{k}} for input i of sample k, and the model has {len(inputs)} inputs")
    return [sample for k in range(count)
            for sample in split(inputs, {spec.name: held[f"in{i}_{k}"] for i, spec in enumerate(inputs)})]
