"""Exact NumPy twins of TFLite's reference kernels: the golden results, and what the host computes itself."""
from .elementwise import add_function
from .linear import channel_scales
from .pooling import average_pool_function
from .runner import KERNELS, Reference, run_op

__all__ = ["KERNELS", "Reference", "add_function", "average_pool_function", "channel_scales", "run_op"]
