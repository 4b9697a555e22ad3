"""Exact NumPy twins of TFLite's reference kernels: the golden results, and what the host computes itself.

For proofs about one operator:

* ``requantize_function(graph, op)``: accumulators to stored values, exactly, whatever rule the operator has.
  This is the function to prove against: CONV_2D and DEPTHWISE_CONV_2D round a fixed-point product twice, but
  LiteRT's FULLY_CONNECTED multiplies in float64 and rounds ties away from zero, which no (multiplier, shift)
  pair expresses.
* ``channel_scales(graph, op)``: the fixed-point (multiplier, shift) pairs, and ``real_scales(graph, op)``:
  the same as float64, a starting point for a search.
* ``add_function`` and ``sub_function``: stored values of both inputs to stored outputs.
* ``average_pool_function`` (full windows), ``mean_function``: sums of stored values to stored outputs.
* ``mul_function``: products of the centred inputs to stored outputs.
* ``unary_table``: any function of one stored byte, as 256 bytes.
"""
from .elementwise import add_function, mul_function, sub_function
from .linear import accumulate, channel_scales, real_scales, requantize_function
from .pooling import average_pool_function
from .reduce import mean_function
from .runner import Reference, States, run_op
from .table import unary_table

__all__ = ["Reference", "States", "accumulate", "add_function", "average_pool_function", "channel_scales",
           "mean_function", "mul_function", "real_scales", "requantize_function", "run_op", "sub_function",
           "unary_table"]
