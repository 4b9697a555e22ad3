"""Exact NumPy twins of TFLite's reference kernels: the golden results, and what the host computes itself.

For proofs about one operator:

* ``requantize_function(graph, op)``: accumulators to stored values, exactly, whatever rule the operator has.
  This is the function to prove against: CONV_2D and DEPTHWISE_CONV_2D round a fixed-point product twice, but
  LiteRT's FULLY_CONNECTED multiplies in float64 and rounds ties away from zero, which no (multiplier, shift)
  pair expresses.
* ``channel_scales(graph, op)``: the fixed-point (multiplier, shift) pairs, and ``real_scales(graph, op)``:
  the same as float64, a starting point for a search.
* ``add_function`` and ``average_pool_function``: the same for ADD and full AVERAGE_POOL_2D windows.
"""
from .elementwise import add_function, mul_function, sub_function
from .linear import accumulate, channel_scales, real_scales, requantize_function
from .pooling import average_pool_function
from .runner import Reference, run_op

__all__ = ["Reference", "accumulate", "add_function", "average_pool_function", "channel_scales",
           "mul_function", "real_scales", "requantize_function", "run_op", "sub_function"]
