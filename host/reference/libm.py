"""float32 functions of the C library, which the framework calls too.

NumPy's own differ from it in the last place, and so does a float64 result that is rounded to float32, in
about one of a thousand values. Where no C library is found, the latter must do.
"""
import ctypes
import ctypes.util
import math
from collections.abc import Callable

import numpy as np

from ..graph.ir import Array


def _load() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")
    except OSError:
        return None


_LIBRARY = _load()


def _rounded(name: str) -> Callable[[float], float]:
    function: Callable[[float], float] = getattr(math, name)

    def call(value: float) -> float:
        try:
            return float(np.float32(function(value)))
        except OverflowError:
            return math.inf

    return call


def function(name: str) -> Callable[[Array], Array]:
    """erfc, exp, expm1, log or tanh on each element of a float32 array."""
    scalar = getattr(_LIBRARY, name + "f", None)
    if scalar is None:
        scalar = _rounded(name)
    else:
        scalar.restype, scalar.argtypes = ctypes.c_float, [ctypes.c_float]

    def call(values: Array) -> Array:
        flat = [scalar(value) for value in values.ravel().tolist()]
        return np.array(flat, np.float32).reshape(values.shape)

    return call


erfc, exp, expm1, log, tanh = (function(name) for name in ("erfc", "exp", "expm1", "log", "tanh"))
