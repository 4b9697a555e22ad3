"""CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED."""
from ..graph.ir import Graph, Op


def channel_scales(graph: Graph, op: Op) -> list[tuple[int, int]]:
    """(multiplier, shift) of each output channel, exactly as the framework derives them from the scales."""
    raise NotImplementedError
