"""Models of one operator whose accumulators are chosen, and the frameworks that requantise them.

A 1 x 1 convolution with weights of one: the accumulator of channel c at pixel p is ``bias[c] + step[p]``, so
channels carry scales and thresholds, and pixels go up and down from them. Nothing of ours takes part: the
values that come back are the framework's own.
"""
from dataclasses import dataclass

import numpy as np
from celosia.host.importers.tflite_writer import ModelSpec, OpSpec, TensorSpec
from support.litert import LiteRt

STEPS = np.arange(-3, 4)
"""Distances from the accumulator that a channel's bias holds."""


@dataclass(frozen=True)
class Form:
    """Everything of the operator but its weights' scales and its biases.

    activation is the number of the fused one (0 none, 1 RELU, 2 RELU_N1_TO_1); dtype int8 or uint8, where
    zero is the output's zero point as stored.
    """

    source: str
    zero: int = 0
    activation: int = 0
    in_scale: float = 1.0
    out_scale: float = 1.0
    dtype: str = "int8"

    @property
    def in_zero(self) -> int:
        return 0 if self.dtype == "int8" else 100


def model(form: Form, scales: np.ndarray, biases: np.ndarray) -> ModelSpec:
    """CONV_2D, DEPTHWISE_CONV_2D or FULLY_CONNECTED with a channel for each bias, and as many scales
    (float32) or one for all.

    Its input are STEPS, from in_zero on; each channel of a depthwise convolution has its own.
    """
    count, places, dtype = len(biases), len(STEPS), form.dtype
    weight_zero = 0 if dtype == "int8" else 3
    bias = TensorSpec((count,), "int32", np.float32(form.in_scale) * np.float32(scales), 0, 0, biases)
    activation = {"FusedActivationFunction": form.activation}
    ones = ("Padding", "StrideW", "StrideH", "DilationWFactor", "DilationHFactor")  # 1: padding is VALID
    options = activation | dict.fromkeys(ones, 1)
    match form.source:
        case "FULLY_CONNECTED":
            x, y, w, axis = (places, 1), (places, count), (count, 1), 0
            options, kind, version = activation, "FullyConnectedOptions", 12
        case "CONV_2D":
            x, y, w, axis = (1, 1, places, 1), (1, 1, places, count), (count, 1, 1, 1), 0
            kind, version = "Conv2DOptions", 3
        case "DEPTHWISE_CONV_2D":
            x, y, w, axis = (1, 1, places, count), (1, 1, places, count), (1, 1, 1, count), 3
            kind, version = "DepthwiseConv2DOptions", 3
            options["DepthMultiplier"] = 1
    tensors = [TensorSpec(x, dtype, form.in_scale, form.in_zero),
               TensorSpec(w, dtype, scales, weight_zero, axis, np.full(w, weight_zero + 1)), bias,
               TensorSpec(y, dtype, form.out_scale, form.zero)]
    return ModelSpec(tensors, [OpSpec(form.source, [0, 1, 2], [3], options, kind, version)], [0], [3])


class Micro:
    """A model in TensorFlow Lite Micro."""

    def __init__(self, model: bytes) -> None:
        from tflite_micro import runtime

        self._interpreter = runtime.Interpreter.from_bytes(model, arena_size=len(model) * 4 + 2**20)

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        for index, value in enumerate(inputs):
            self._interpreter.set_input(value, index)
        self._interpreter.invoke()
        return [self._interpreter.get_output(0)]


FRAMEWORKS = {"litert": LiteRt, "tflm": Micro}


def requantised(framework: str, form: Form, scales: np.ndarray, biases: np.ndarray) -> np.ndarray:
    """The framework's stored values int64[channels, steps] of the accumulators ``biases + STEPS``."""
    spec = model(form, scales, biases)
    shape = spec.tensors[0].shape
    steps = (form.in_zero + STEPS).astype(form.dtype).reshape(-1, 1)
    inputs = np.broadcast_to(steps, (len(STEPS), shape[-1])).reshape(shape)
    values = FRAMEWORKS[framework](spec.build()).run([inputs])[0]
    return values.reshape(len(STEPS), len(biases)).T.astype(np.int64)


def two_inputs(framework: str, spec: ModelSpec) -> np.ndarray:
    """What an operator on two images of 256 x 256 gives for every pair of int8 values: int64[256, 256]."""
    values = np.arange(-128, 128, dtype=np.int8)
    first, second = (grid.reshape(1, 256, 256, 1) for grid in np.meshgrid(values, values, indexing="ij"))
    return FRAMEWORKS[framework](spec.build()).run([first, second])[0].reshape(256, 256).astype(np.int64)
