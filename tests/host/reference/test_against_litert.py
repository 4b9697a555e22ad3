"""Reference kernels against LiteRT's own, bit for bit, on networks of one operator."""

import zlib

import numpy as np
import pytest
from celosia.host.importers.tflite import load_tflite
from celosia.host.reference import Reference
from support import single_ops
from support.litert import LiteRt

BOTH = ("int8", "uint8")
ROUNDS = 3

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
_case("fully connected per channel int8", single_ops.fully_connected, per_channel=True)
_case("pad int64", single_ops.pad, index="int64")


@pytest.mark.parametrize("name", CASES)
def test_kernel_equals_litert(name):
    for number in range(ROUNDS):
        rng = np.random.default_rng([zlib.crc32(name.encode()), number])
        spec = CASES[name](rng)
        model = spec.build()
        ours, theirs = Reference(load_tflite(model, name)), LiteRt(model)
        for extreme in (True, False):
            values = single_ops.inputs_of(rng, spec, extreme)
            for got, want in zip(ours.run(values), theirs.run(values), strict=True):
                assert got.dtype == want.dtype
                np.testing.assert_array_equal(got, want, err_msg=f"round {number}, extreme {extreme}")
