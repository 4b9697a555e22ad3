"""Random graphs of everything the fabric can do, for tests of lowering and of whole compilations."""
import numpy as np
from celosia.host.graph.ir import Kind
from support.lowering import Builder

QUANT = {"scale": 0.05, "zero": 100}
"""All tensors have the same, so that any of them can be joined; scales of 0.05 make sums and products fit."""


def random_graph(seed):
    """Twelve operators over a 6 x 5 x 4 image; int8 for even seeds, uint8 for odd ones. What nobody reads is
    an output."""
    rng = np.random.default_rng(seed)
    dtype = ("int8", "uint8")[seed % 2]
    b = Builder((1, 6, 5, 4), seed=seed, dtype=dtype)
    b.tensors[0] = b.tensors[b.tensor((1, 6, 5, 4), **QUANT)]
    pool = [0]

    def shape(x):
        return b.tensors[x].shape

    def any_image():
        return int(rng.choice(pool[-6:]))

    def alike(x):
        return int(rng.choice([t for t in pool if shape(t) == shape(x)]))

    def border(x):
        _, h, w, c = shape(x)
        sides = rng.integers(0, 2, 4).tolist()
        return b.host("PAD", (x, b.integers((0, 0), sides[:2], sides[2:], (0, 0))),
                      (1, h + sides[0] + sides[1], w + sides[2] + sides[3], c), kept=x)

    def join(x):
        others = [t for t in pool if shape(t)[1:3] == shape(x)[1:3]]
        parts = [x, *(int(t) for t in rng.choice(others, int(rng.integers(1, 3))))]
        channels = sum(shape(t)[3] for t in parts)
        return b.host("CONCATENATION", parts, (*shape(x)[:3], channels), kept=x, axis=3)

    def pick(x):
        channels = shape(x)[3]
        if channels % 2:
            return None
        return b.host("SPLIT", (b.integers(3), x), *[(*shape(x)[:3], channels // 2)] * 2, kept=x)[0]

    def function(x):
        return b.host(str(rng.choice(["TANH", "RELU6", "QUANTIZE", "HARD_SWISH"])), (x,), shape(x), kept=x)

    def pair(kind, x):
        y = alike(x) if rng.random() < 0.7 else b.constant(
            rng.integers(b.limits.min, b.limits.max, (1, 1, 1, shape(x)[3])), **QUANT)
        return b.op(kind, kind.name, (x, y), shape(x), **QUANT)

    makers = [
        lambda x: b.conv(x, int(rng.integers(1, 6)), (3, 3), **QUANT),
        lambda x: b.conv(x, shape(x)[3], (1, 1), padding=(0, 0, 0, 0), **QUANT),
        lambda x: b.conv(x, shape(x)[3], (3, 3), depthwise=True, **QUANT),
        lambda x: b.pool(Kind.MAX_POOL, x, shape(x), (3, 3), (1, 1), (1, 1, 1, 1)),
        lambda x: b.pool(Kind.AVERAGE_POOL, x, shape(x), (2, 3), (1, 1), (1, 0, 1, 1)),
        lambda x: pair(Kind.ADD, x), lambda x: pair(Kind.SUB, x), lambda x: pair(Kind.MUL, x),
        function, border, join, pick]
    for _ in range(12):
        made = makers[int(rng.integers(len(makers)))](any_image())
        if made is not None and shape(made)[3] <= 16:
            pool.append(made)
    read = {t for op in b.ops for t in op.inputs}
    return b.graph(*[t for op in b.ops for t in op.outputs if t not in read])
