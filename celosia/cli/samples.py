"""Input files to samples: .npz, .npy and pictures."""
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ..host.driver.device import named_inputs
from ..host.graph.ir import Graph
from ..rtl.contract.errors import InputError

Array = npt.NDArray[Any]


def read_samples(graph: Graph, files: Sequence[Path]) -> list[list[Array]]:
    """Samples (lists of the network's inputs) from files, in order.

    ``.npz``: arrays by tensor name, or ``in{i}_{k}``, input i of sample k. ``.npy``: one sample, or several
    along a leading axis. Anything else is opened as a picture, resized to the network's only input; int8
    inputs take pixel - 128.

    Raises
    ------
    InputError
        Names the file, what it holds and what the network takes.
    """
    samples: list[list[Array]] = []
    for file in files:
        try:
            found = _read(graph, file)
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{file}: cannot be read, it may be damaged: {error}") from error
        if not found:
            raise InputError(f"{file}: holds no sample")
        samples += found
    return samples


def random_sample(graph: Graph, seed: int = 0) -> list[Array]:
    """Inputs over the whole range of their type, for when there is nothing else to run.

    Integers of an ONNX network that are no bytes are 0 or 1, since they may be indices.
    """
    rng = np.random.default_rng(seed)
    found: list[Array] = []
    for index in graph.inputs:
        tensor = graph.tensors[index]
        dtype = np.dtype(tensor.dtype)
        if dtype.kind in "iu":
            info = np.iinfo(dtype)
            if graph.framework == "onnx" and dtype.itemsize > 1:
                found.append(rng.integers(0, 2, tensor.shape, dtype))
                continue
            found.append(rng.integers(info.min, info.max, tensor.shape, dtype, endpoint=True))
        elif dtype.kind == "b":
            found.append(rng.random(tensor.shape) < 0.5)
        else:
            found.append(rng.standard_normal(tensor.shape).astype(dtype))
    return found


def _read(graph: Graph, file: Path) -> list[list[Array]]:
    if not file.is_file():
        raise InputError("there is no such file")
    if file.suffix in (".npz", ".npy"):
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return _stacked(graph, loaded)
        with loaded:
            return _archive(graph, loaded)
    return [[_picture(graph, file)]]


def _checked(graph: Graph, inputs: list[Array] | dict[str, Array]) -> list[Array]:
    values = named_inputs(graph, inputs)
    return [values[index] for index in graph.inputs]


def _archive(graph: Graph, archive: Any) -> list[list[Array]]:
    names = [graph.tensors[index].name for index in graph.inputs]
    if set(names) <= set(archive.files):
        return [_checked(graph, {name: archive[name] for name in names})]
    samples: list[list[Array]] = []
    while all(f"in{i}_{len(samples)}" in archive.files for i in range(len(names))):
        samples.append(_checked(graph, [archive[f"in{i}_{len(samples)}"] for i in range(len(names))]))
    if not samples:
        raise InputError(f"holds {sorted(archive.files)[:8]}; expected arrays named {names}, or in0_0, "
                         "in1_0, …")
    numbered = {name for name in archive.files if re.fullmatch(r"in\d+_\d+", name)}
    if unread := sorted(numbered - {f"in{i}_{k}" for i in range(len(names)) for k in range(len(samples))}):
        raise InputError(f"holds {unread[:8]} beside {len(samples)} complete samples of {len(names)} inputs; "
                         "samples are numbered from 0 without a gap")
    return samples


def _stacked(graph: Graph, array: Array) -> list[list[Array]]:
    if len(graph.inputs) != 1:
        raise InputError(f"one array for a network of {len(graph.inputs)} inputs; use .npz")
    shape = graph.tensors[graph.inputs[0]].shape
    if array.ndim == len(shape) and array.shape[1:] == shape[1:] and shape[0] == 1 != array.shape[0]:
        return [_checked(graph, [row[None]]) for row in array]
    if array.ndim == len(shape) + 1 and array.shape[1:] == shape:
        return [_checked(graph, [row]) for row in array]
    return [_checked(graph, [array])]


def _picture(graph: Graph, file: Path) -> Array:
    tensor = graph.tensors[graph.inputs[0]]
    if len(graph.inputs) != 1 or len(tensor.shape) != 4 or tensor.shape[3] not in (1, 3) \
            or tensor.dtype not in ("int8", "uint8"):
        raise InputError(f"a picture does not fit: the network takes "
                         f"{[(graph.tensors[i].dtype, list(graph.tensors[i].shape)) for i in graph.inputs]}")
    try:
        with Image.open(file) as image:
            _, height, width, depth = tensor.shape
            pixels = np.asarray(image.convert("L" if depth == 1 else "RGB").resize((width, height)))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise InputError(f"is no picture, .npz or .npy: {error}") from error
    pixels = pixels.reshape(tensor.shape)
    return pixels if tensor.dtype == "uint8" else (pixels.astype(np.int16) - 128).astype(np.int8)
