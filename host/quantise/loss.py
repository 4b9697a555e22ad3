"""What quantisation loses, layer by layer: the quantised model beside the float one on the same samples."""
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, log10
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]
ACTIVATIONS = ("Relu", "Clip")
"""Operators that the quantiser merges into the one before: the limits of the stored type do their work."""
CHANNEL_AXIS = {"ConvTranspose": 1, "MatMul": -1}
"""Of weights quantised per channel; 0 for all others but Gemm without transB."""


@dataclass(frozen=True)
class LayerLoss:
    """Signal to quantisation noise of one layer's output, in dB; infinite if nothing is lost.

    Attributes
    ----------
    name, op : of the float model's operator (Conv+Relu: two that became one)
    tensor : the float model's tensor that is compared
    scale, zero_point : of that tensor; None if it stays float
    weights : the layer's weights after quantisation against before; None without quantised weights
    rounding : the float model's tensor against itself once quantised; None if it stays float
    total : the quantised model's tensor against the float model's: all that was lost up to here
    """

    name: str
    op: str
    tensor: str
    scale: float | None
    zero_point: int | None
    weights: float | None
    rounding: float | None
    total: float

    def summary(self) -> dict[str, Any]:
        """As JSON has it: an infinite ratio is null, what does not apply is left out."""
        return {key: None if value == inf else round(value, 2) if key in ("weights", "rounding", "total")
                else value for key, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class _Pair:
    """A tensor of the float model, and the one that stands for it in the quantised model."""

    name: str
    op: str
    tensor: str
    twin: str
    scale: Array | None
    zero_point: Array | None
    weights: float | None


class Comparison:
    """Both models, run side by side; sums of squares are all it keeps.

    Parameters
    ----------
    float_model, quantised_model : files; the float one pre-processed, as it was quantised
    """

    def __init__(self, float_model: Path, quantised_model: Path):
        before, after = onnx.load(float_model), onnx.load(quantised_model)
        self._pairs = _match(before, after)
        self.outputs = [value.name for value in before.graph.output]
        self._before = _Session(before, [pair.tensor for pair in self._pairs])
        self._after = _Session(after, [pair.twin for pair in self._pairs])
        self._sums = np.zeros((len(self._pairs), 3))  # signal, noise of rounding alone, noise in all

    def run(self, sample: Mapping[str, Array]) -> tuple[Array, Array]:
        """Add one sample; returns the first output of the float model and of the quantised one."""
        before = dict(zip(self._before.names, self._before.run(sample), strict=True))
        after = dict(zip(self._after.names, self._after.run(sample), strict=True))
        for sums, pair in zip(self._sums, self._pairs, strict=True):
            signal = before[pair.tensor].astype(np.float64)
            sums[0] += np.square(signal).sum()
            if pair.scale is not None and pair.zero_point is not None:
                sums[1] += np.square(signal - requantised(signal, pair.scale, pair.zero_point)).sum()
            sums[2] += np.square(signal - after[pair.twin]).sum()
        return before[self.outputs[0]], after[self.outputs[0]]

    def losses(self) -> list[LayerLoss]:
        """One for each layer, in the order of the float model, its inputs first."""
        return [LayerLoss(pair.name, pair.op, pair.tensor,
                          None if pair.scale is None else float(pair.scale),
                          None if pair.zero_point is None else int(pair.zero_point), pair.weights,
                          None if pair.scale is None else decibels(signal, rounding),
                          decibels(signal, total))
                for pair, (signal, rounding, total) in zip(self._pairs, self._sums, strict=True)]


def decibels(signal: float, noise: float) -> float:
    """Ratio of two energies; infinite without noise, and never minus infinity."""
    return inf if noise == 0 else 10 * log10(max(signal, np.finfo(np.float64).tiny) / noise)


def requantised(values: Array, scale: Array, zero_point: Array) -> Array:
    """Quantised and back, as QuantizeLinear and DequantizeLinear do it."""
    limits = np.iinfo(zero_point.dtype)
    zero = zero_point.astype(np.float64)
    stored = np.clip(np.rint(values / scale) + zero, limits.min, limits.max)
    stepped: Array = (stored - zero) * scale
    return stepped


class _Session:
    """A model that also gives the tensors named; computed operator by operator, without fusions."""

    def __init__(self, model: onnx.ModelProto, tensors: list[str]):
        has = [value.name for value in model.graph.output]
        added = [name for name in dict.fromkeys(tensors)
                 if name not in has and name not in {value.name for value in model.graph.input}]
        model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in added)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._inner = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                                   providers=["CPUExecutionProvider"])
        self._inputs = [value.name for value in self._inner.get_inputs()]
        self.names = [*self._inputs, *has, *added]

    def run(self, sample: Mapping[str, Array]) -> list[Array]:
        found: list[Array] = self._inner.run(self.names[len(self._inputs):], dict(sample))
        return [sample[name] for name in self._inputs] + found


def _match(before: onnx.ModelProto, after: onnx.ModelProto) -> list[_Pair]:
    """Pairs of tensors; adds a DequantizeLinear to ``after`` where a tensor exists as integers only."""
    twins = _Twins(after)
    uses: dict[str, list[onnx.NodeProto]] = {}
    for node in before.graph.node:
        for name in node.input:
            uses.setdefault(name, []).append(node)
    kinds = {value.name: value.type.tensor_type.elem_type
             for value in (*before.graph.input, *before.graph.value_info, *before.graph.output)}
    weights = {tensor.name: tensor for tensor in before.graph.initializer}
    outputs = {value.name for value in before.graph.output}
    pairs = []

    def add(name: str, op: str, tensor: str, source: str, lost: float | None) -> None:
        twin, scale, zero_point = twins.find(source)
        pairs.append(_Pair(name, op, tensor, twin, scale, zero_point, lost))

    for value in before.graph.input:
        if value.name not in weights and kinds[value.name] == TensorProto.FLOAT \
                and twins.quantises(value.name):
            add(value.name, "input", value.name, value.name, None)
    merged: set[str] = set()
    for node in before.graph.node:
        tensor = node.output[0]
        if kinds.get(tensor) != TensorProto.FLOAT or tensor in merged:
            continue
        lost = twins.weight_loss(node, weights)
        follower = uses.get(tensor, [])
        if len(follower) == 1 and tensor not in outputs and follower[0].op_type in ACTIVATIONS \
                and twins.has(tensor) != twins.has(follower[0].output[0]):
            after_it = follower[0].output[0]
            merged.add(after_it)
            add(node.name, f"{node.op_type}+{follower[0].op_type}", after_it,
                tensor if twins.has(tensor) else after_it, lost)
        elif twins.has(tensor):
            add(node.name, node.op_type, tensor, tensor, lost)
    return pairs


class _Twins:
    """Finds tensors of a float model in its quantised model, by the names that ONNX Runtime's tools give."""

    def __init__(self, model: onnx.ModelProto):
        self._graph = model.graph
        self._made = {name: node for node in model.graph.node for name in node.output}
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}

    def quantises(self, tensor: str) -> bool:
        """Whether the model keeps the tensor as integers."""
        return f"{tensor}_DequantizeLinear_Output" in self._made or f"{tensor}_quantized" in self._made

    def has(self, tensor: str) -> bool:
        """Whether the model has the tensor at all."""
        return self.quantises(tensor) or tensor in self._made

    def find(self, tensor: str) -> tuple[str, Array | None, Array | None]:
        """The tensor's name as float in the quantised model, its scale and its zero point."""
        name = f"{tensor}_DequantizeLinear_Output"
        if name not in self._made:
            name = tensor
        node = self._made.get(name)
        if node is None:  # the operators are integer ones
            name = f"{tensor}_float_again"
            node = helper.make_node("DequantizeLinear",
                                    [f"{tensor}_quantized", *self._scale(f"{tensor}_quantized")], [name])
            self._graph.node.append(node)
        if node.op_type != "DequantizeLinear":
            return name, None, None
        scale, zero_point = (numpy_helper.to_array(self._constants[name]) for name in node.input[1:3])
        return name, scale, zero_point

    def _scale(self, name: str) -> tuple[str, str]:
        """Names of scale and zero point of integers; of pools and the like they are those of the input."""
        while True:
            stem = name.removesuffix("_quantized")
            if f"{stem}_scale" in self._constants:
                return f"{stem}_scale", f"{stem}_zero_point"
            name = self._made[name].input[0]

    def weight_loss(self, node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> float | None:
        """Of the first constant operand that was quantised, in dB."""
        for name in node.input[:2]:
            stored = self._constants.get(f"{name}_quantized")
            if name not in weights or stored is None:
                continue
            values = numpy_helper.to_array(weights[name]).astype(np.float64)
            scale, zero = (numpy_helper.to_array(self._constants[f"{name}_{part}"]).astype(np.float64)
                           for part in ("scale", "zero_point"))
            if scale.size > 1:
                shape = [1] * values.ndim
                shape[self._axis(name, node)] = scale.size
                scale, zero = scale.reshape(shape), zero.reshape(shape)
            back = (numpy_helper.to_array(stored) - zero) * scale
            return decibels(float(np.square(values).sum()), float(np.square(values - back).sum()))
        return None

    def _axis(self, name: str, node: onnx.NodeProto) -> int:
        """The axis of scales per channel: DequantizeLinear says it, an integer operator implies it."""
        reader = self._made.get(f"{name}_DequantizeLinear_Output")
        if reader is not None:
            return next((attribute.i for attribute in reader.attribute if attribute.name == "axis"), 1)
        if node.op_type == "Gemm":
            return 0 if any(attribute.name == "transB" and attribute.i for attribute in node.attribute) else 1
        return CHANNEL_AXIS.get(node.op_type, 0)
