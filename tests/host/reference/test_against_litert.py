"""Reference kernels against LiteRT's own, bit for bit, on networks of one operator."""

import zlib

import numpy as np
import pytest
from celosia.host.importers.tflite import load_tflite
from celosia.host.importers.tflite_writer import TensorSpec
from celosia.host.reference import Reference
from support import single_ops
from support.litert import LiteRt

BOTH = ("int8", "uint8")
ROUNDS = 3
SINGLE_KERNEL = ("ELU",)  # BUILTIN_REF does not have it

CASES = {}


def _case(name, maker, *args, **options):
    CASES[name] = lambda rng: maker(rng, *args, **options)


for _dtype in BOTH:
    for _name, _options in {
        "plain": {},
        "valid": {"padding": "VALID"},
        "stride": {"stride": (2, 3)},
        "dilation": {"dilation": (2, 3)},
        "valid stride": {"padding": "VALID", "stride": (3, 2), "kernel": (2, 4)},
        "one pixel": {"size": (1, 1)},
        "relu": {"activation": "RELU"},
        "relu6": {"activation": "RELU6"},
        "relu1": {"activation": "RELU_N1_TO_1"},
        "per tensor": {"per_channel": False},
        "one row": {"size": (1, 9), "kernel": (1, 5)},
        "even kernel": {"kernel": (4, 2), "stride": (2, 2)},
    }.items():
        _case(f"conv {_name} {_dtype}", single_ops.convolution, _dtype, **_options)
        _case(f"depthwise {_name} {_dtype}", single_ops.depthwise, _dtype, **_options)
    _case(f"conv 1x1 {_dtype}", single_ops.convolution, _dtype, kernel=(1, 1), channels=13, outputs=17)
    _case(f"conv batch {_dtype}", single_ops.convolution, _dtype, batch=3)
    _case(f"conv long sum {_dtype}", single_ops.convolution, _dtype, channels=64, outputs=2)
    _case(f"depthwise no bias {_dtype}", single_ops.depthwise, _dtype, bias=False)
    _case(f"depthwise multiplier {_dtype}", single_ops.depthwise, _dtype, multiplier=4)
    for _name, _options in {
        "plain": {},
        "relu": {"activation": "RELU"},
        "no bias": {"bias": False},
        "long sum": {"inputs": 700},
        "one output": {"outputs": 1, "rows": 1},
    }.items():
        _case(f"fully connected {_name} {_dtype}", single_ops.fully_connected, _dtype, **_options)
    for _source in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        for _name, _options in {
            "same": {},
            "valid": {"padding": "VALID"},
            "relu6": {"activation": "RELU6"},
            "whole": {"window": (7, 6), "padding": "VALID"},
            "wide": {"window": (5, 5), "stride": (1, 2)},
        }.items():
            _case(f"{_source} {_name} {_dtype}", single_ops.pool, _source, _dtype, **_options)
    for _source in ("ADD", "SUB", "MUL"):
        for _name, _options in {
            "plain": {},
            "relu": {"activation": "RELU"},
            "relu6": {"activation": "RELU6"},
            "broadcast": {"b": (1, 1, 1, 3)},
            "broadcast left": {"a": (1, 1, 5, 1)},
            "rank": {"b": (3,)},
        }.items():
            _case(f"{_source} {_name} {_dtype}", single_ops.pairwise, _source, _dtype, **_options)
    for _name, _options in {
        "plain": {},
        "beta": {"beta": 0.3},
        "two": {"shape": (1, 2)},
        "many": {"shape": (2, 500)},
        "one": {"shape": (4, 1)},
        "tall": {"shape": (9000, 3)},  # enough values to miss a bit of the reciprocal
        "image": {"shape": (1, 3, 3, 4)},
    }.items():
        _case(f"SOFTMAX {_name} {_dtype}", single_ops.softmax, _dtype, **_options)
    for _source in ("RELU", "RELU6", "RELU_N1_TO_1", "LOGISTIC", "TANH"):
        _case(f"{_source} {_dtype}", single_ops.unary, _source, _dtype)
    for _other in BOTH:
        _case(f"QUANTIZE {_dtype} to {_other}", single_ops.unary, "QUANTIZE", _dtype, _other)
    _case(f"QUANTIZE float32 to {_dtype}", single_ops.unary, "QUANTIZE", "float32", _dtype)
    _case(f"DEQUANTIZE {_dtype}", single_ops.unary, "DEQUANTIZE", _dtype, "float32")
    for _name, _options in {
        "image": {},
        "keep": {"keep": True},
        "channels": {"axes": (-1,)},
        "seven": {"shape": (1, 7, 7, 5)},
        "all": {"axes": (0, 1, 2, 3), "keep": True},
    }.items():
        _case(f"MEAN {_name} {_dtype}", single_ops.mean, _dtype, **_options)
    for _maker in (
        single_ops.concatenation,
        single_ops.pad,
        single_ops.transpose,
        single_ops.strided_slice,
        single_ops.split,
        single_ops.reshape,
    ):
        _case(f"{_maker.__name__} {_dtype}", _maker, _dtype)
    for _name, _options in {
        "plain": {},
        "corners": {"corners": True},
        "centers": {"centers": True},
        "twice": {"to": (10, 8), "centers": True},
        "down": {"size": (9, 11), "to": (4, 3)},
        "one": {"size": (1, 1), "to": (3, 5), "corners": True},
        "to one": {"to": (1, 1), "corners": True},
    }.items():
        for _source in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
            _case(f"{_source} {_name} {_dtype}", single_ops.resize, _source, _dtype, **_options)
    for _source in ("ARG_MAX", "ARG_MIN"):
        for _axis, _to in ((-1, "int64"), (1, "int32")):
            _case(f"{_source} {_axis} {_dtype}", single_ops.arg, _source, _dtype, axis=_axis, to=_to)
    for _source in ("HARD_SWISH", "LEAKY_RELU"):
        _case(f"{_source} {_dtype}", single_ops.activation, _source, _dtype)
    _case(f"LEAKY_RELU steep {_dtype}", single_ops.activation, "LEAKY_RELU", _dtype, alpha=1.5)
    for _approximate in (False, True):
        _case(f"GELU {_approximate} {_dtype}", single_ops.activation, "GELU", _dtype,
              approximate=_approximate)
    _case(f"RELU_0_TO_1 {_dtype}", single_ops.unary, "RELU_0_TO_1", _dtype)
    for _name, _shape in {"plain": (3, 10), "one": (2, 1), "many": (2, 600), "tall": (4000, 3)}.items():
        _case(f"LOG_SOFTMAX {_name} {_dtype}", single_ops.log_softmax, _dtype, shape=_shape)
        _case(f"L2_NORMALIZATION {_name} {_dtype}", single_ops.l2_normalization, _dtype, shape=_shape)
    for _source in ("REDUCE_MAX", "REDUCE_MIN", *(["SUM"] if _dtype == "uint8" else [])):
        _case(f"{_source} {_dtype}", single_ops.reduction, _source, _dtype)
        _case(f"{_source} keep {_dtype}", single_ops.reduction, _source, _dtype, axes=(-1, 0), keep=True)
    for _source in ("MAXIMUM", "MINIMUM"):
        _case(f"{_source} {_dtype}", single_ops.two_inputs, _source, _dtype)
        _case(f"{_source} broadcast {_dtype}", single_ops.two_inputs, _source, _dtype, b=(5, 1))
        _case(f"{_source} constant {_dtype}", single_ops.two_inputs, _source, _dtype, b=(1,), constant=True)
    _case(f"PRELU {_dtype}", single_ops.prelu, _dtype)
    _case(f"PRELU whole {_dtype}", single_ops.prelu, _dtype, slopes=(1, 4, 5, 3))
    for _axis in (0, 1, -1):
        _case(f"PACK {_axis} {_dtype}", single_ops.pack, _dtype, axis=_axis)
    for _name, (_shape, _results, _constants, _options, _type) in {
        "SPLIT_V": ((2, 7), [(2, 2), (2, 4), (2, 1)], ((2, -1, 1), 1), {"NumSplits": 3}, "SplitV"),
        "UNPACK": ((2, 3, 4), [(2, 4)] * 3, (), {"Num": 3, "Axis": 1}, "Unpack"),
    }.items():
        _axes = [single_ops.indices(*v) if isinstance(v, tuple) else
                 TensorSpec((), "int32", data=np.array(v)) for v in _constants]
        _case(f"{_name} {_dtype}", single_ops.many_outputs, _name, _dtype, _shape, _results, tuple(_axes),
              _options, f"{_type}Options")
    for _name, (_shape, _result, _constants, _options, _type) in {
        "SLICE": ((2, 5, 4), (1, 3, 3), ((1, 2, 1), (1, 3, -1)), {}, "Slice"),
        "MIRROR_PAD": ((1, 3, 4), (1, 7, 5), (((0, 0), (2, 2), (1, 0)),), {"Mode": 0}, "MirrorPad"),
        "MIRROR_PAD symmetric": ((1, 3, 4), (1, 9, 5), (((0, 0), (3, 3), (1, 0)),), {"Mode": 1}, "MirrorPad"),
        "GATHER": ((2, 5, 3), (2, 4, 3), ((3, 0, 0, 4),), {"Axis": 1}, "Gather"),
        "DEPTH_TO_SPACE": ((2, 3, 4, 12), (2, 6, 8, 3), (), {"BlockSize": 2}, "DepthToSpace"),
        "SPACE_TO_DEPTH": ((2, 6, 8, 3), (2, 3, 4, 12), (), {"BlockSize": 2}, "SpaceToDepth"),
        "SPACE_TO_BATCH_ND": ((1, 5, 7, 3), (6, 3, 3, 3), ((2, 3), ((0, 1), (2, 0))), {}, ""),
        "SPACE_TO_BATCH_ND 3": ((2, 5, 3), (4, 3, 3), ((2,), ((1, 0),)), {}, ""),
        "BATCH_TO_SPACE_ND": ((6, 3, 3, 2), (1, 5, 7, 2), ((2, 3), ((0, 1), (2, 0))), {}, ""),
    }.items():
        _case(f"{_name} {_dtype}", single_ops.one_input, _name.split()[0], _dtype, _shape, _result,
              tuple(single_ops.indices(*v) for v in _constants), _options, f"{_type}Options" if _type else "",
              version=1 if _name == "DEPTH_TO_SPACE" else 2)
    _case(f"PADV2 {_dtype}", single_ops.pad_with, _dtype)
    for _name, _options in {
        "plain": {},
        "valid": {"padding": "VALID"},
        "one stride": {"stride": (1, 1), "activation": "RELU"},
        "wide stride": {"stride": (3, 4), "kernel": (2, 3)},
        "kernel 4": {"kernel": (4, 4), "bias": False},
        "valid kernel 2": {"kernel": (2, 2), "padding": "VALID", "activation": "RELU6"},
    }.items():
        _case(f"TRANSPOSE_CONV {_name} {_dtype}", single_ops.transpose_conv, _dtype, **_options)
for _source in ("ELU", "ABS", "EXP", "LOG"):
    _case(f"{_source} int8", single_ops.activation, _source)
for _name, _options in {
    "plain": {},
    "constant": {"constant": True},
    "broadcast": {"a": (3, 1, 4, 5), "b": (2, 5, 3), "result": (3, 2, 4, 3)},
    "adjoint": {"a": (2, 5, 4), "b": (2, 3, 5), "adjoint": (True, True)},
    "adjoint y": {"b": (2, 3, 5), "adjoint": (False, True)},
}.items():
    _case(f"BATCH_MATMUL {_name} int8", single_ops.batch_matmul, **_options)
for _name, _options in {
    "plain": {},
    "time major": {"time_major": True},
    "long": {"steps": 25, "batch": 1, "units": 9},
    "clip": {"clip": 0.7},
    "fine cells": {"cell_power": -15},
    "coarse cells": {"cell_power": -11},
    "no input gate": {"input_gate": False},
    "hidden zero": {"hidden_zero": 17},
}.items():
    _case(f"UNIDIRECTIONAL_SEQUENCE_LSTM {_name}", single_ops.lstm, **_options)
_case("LOG_SOFTMAX float32", single_ops.log_softmax, "float32", shape=(200, 10))
_case("fully connected per channel int8", single_ops.fully_connected, per_channel=True)
_case("pad int64", single_ops.pad, index="int64")


@pytest.mark.parametrize("name", CASES)
def test_kernel_equals_litert(name):
    for number in range(ROUNDS):
        rng = np.random.default_rng([zlib.crc32(name.encode()), number])
        spec = CASES[name](rng)
        model = spec.build()
        ours = Reference(load_tflite(model, name))
        theirs = LiteRt(model, reference=spec.ops[0].source not in SINGLE_KERNEL)
        for extreme in (True, False):
            values = single_ops.inputs_of(rng, spec, extreme)
            for got, want in zip(ours.run(values), theirs.run(values), strict=True):
                assert got.dtype == want.dtype
                np.testing.assert_array_equal(got, want, err_msg=f"round {number}, extreme {extreme}")
