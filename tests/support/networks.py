"""Networks of random layers without a model file: Plan, values by definition, and bytes in DRAM."""
import numpy as np
from celosia.host.emit.program import DramTensor, Program
from celosia.host.graph.ir import Graph, Kind, Op, Tensor
from celosia.host.lower.plan import Layer, Plan
from celosia.rtl.contract.numerics import Add, Channel, Product


class Network:
    """Layers over tensors 0, 1, 2 … with random weights and requantisation; tensor 0 is the input.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (height, width, channels)
        Of the input.
    """

    def __init__(self, rng, shape):
        self.rng, self.shapes, self.layers = rng, [shape], []

    def gemm(self, source, channels):
        """A matrix product: the pixels of ``source`` are the rows, its channels are summed over."""
        return self.conv(source, channels, (1, 1), padding=(0, 0, 0, 0))

    def conv(self, source, channels, kernel=(3, 3), *, stride=(1, 1), dilation=(1, 1), padding=(1, 1, 1, 1),
             mode="dense", multiplier=1, other=None, pad_value=3, times=None, maximum=False, table=False,
             weight_zero=0):
        """Append a layer (host/lower/plan.py); returns its tensor.

        ``other`` is an image to add, ``times`` one to multiply by; ``table`` puts a random one behind all.
        """
        rng, (height, width, depth) = self.rng, self.shapes[source]
        top, bottom, left, right = padding
        out = ((height + top + bottom - (kernel[0] - 1) * dilation[0] - 1) // stride[0] + 1,
               (width + left + right - (kernel[1] - 1) * dilation[1] - 1) // stride[1] + 1, channels)
        shape = {"dense": (*kernel, depth, channels), "depthwise": (*kernel, channels),
                 "window": (channels,)}[mode]
        taps = kernel[0] * kernel[1] * (depth if mode == "dense" else 1)
        weights = np.ones(shape) if maximum else rng.integers(-128, 128, shape) - weight_zero
        second = other if times is None else times
        layer = Layer(
            ops=(len(self.layers),), name=f"layer{len(self.layers)}", source=mode.upper(), mode=mode,
            input=source, output=len(self.shapes), other=second, in_shape=self.shapes[source], out_shape=out,
            other_shape=None if second is None or self.shapes[second] == out else self.shapes[second],
            kernel=kernel, stride=stride, dilation=dilation, padding=padding, multiplier=multiplier,
            weights=weights.astype(np.int16), weight_zero=weight_zero, maximum=maximum,
            channels=tuple(random_channel(rng, taps) for _ in range(channels)),
            zero=int(rng.integers(-20, 20)), low=int(rng.integers(-128, -90)),
            high=int(rng.integers(90, 128)), pad_value=pad_value,
            add=None if other is None else random_add(rng),
            multiply=None if times is None else random_product(rng),
            table=rng.integers(0, 256, 256).astype(np.uint8) if table else None)
        self.layers.append(layer)
        self.shapes.append(out)
        return layer.output

    def plan(self, outputs=None):
        """What lowering would make of it. ``outputs`` are tensors, the last one if not given."""
        tensors = tuple(Tensor(f"t{i}", (1, *shape), "int8") for i, shape in enumerate(self.shapes))
        ops = tuple(Op(Kind.CONV, layer.source, tuple({layer.input, layer.other} - {None}), (layer.output,),
                       {}, i) for i, layer in enumerate(self.layers))
        graph = Graph("random", "tflite", tensors, ops, (0,), tuple(outputs or [len(tensors) - 1]))
        return Plan(graph, tuple(self.layers))

    def image(self):
        """A random input."""
        return self.rng.integers(-128, 128, self.shapes[0]).astype(np.int8)

    def values(self, image):
        """Every tensor, int8[height, width, channels], by the definition of the layers."""
        values = {0: image}
        for layer in self.layers:
            values[layer.output] = golden(layer, values[layer.input], values.get(layer.other)).astype(np.int8)
        return values


def random_channel(rng, taps):
    """A requantisation that spreads the sums of ``taps`` random products over most of int8."""
    shift = int(rng.integers(8, 22))
    scale = rng.uniform(2**-7, 2**-5) / taps**0.5
    return Channel(bias=int(rng.integers(-9999, 9999)), mult=int(scale * 2 ** (shift + 15)), shift=shift,
                   round_pos=int(rng.integers(2**shift)), round_neg=int(rng.integers(2**shift)))


def random_add(rng):
    """Factors of either sign, 1/4 to 1."""
    shift = int(rng.integers(8, 24))
    mult_q, mult_other = rng.integers(2 ** (shift - 2), 2**shift, 2) * rng.choice([-1, 1], 2)
    return Add(mult_q=int(mult_q), mult_other=int(mult_other),
               constant=int(rng.integers(-20 << shift, 20 << shift)), shift=shift,
               low=int(rng.integers(-128, -100)), high=int(rng.integers(100, 128)))


def random_product(rng):
    return Product(offset_q=int(rng.integers(-127, 129)), offset_other=int(rng.integers(-127, 129)))


def golden(layer, image, other):
    """The layer by its definition, in int64."""
    top, bottom, left, right = layer.padding
    x = np.pad(image.astype(np.int64), ((top, bottom), (left, right), (0, 0)),
               constant_values=layer.pad_value)
    height, width, channels = layer.out_shape
    acc = np.full(layer.out_shape, -128 if layer.maximum else 0, np.int64)
    for ky in range(layer.kernel[0]):
        for kx in range(layer.kernel[1]):
            y0, x0 = ky * layer.dilation[0], kx * layer.dilation[1]
            part = x[y0:y0 + (height - 1) * layer.stride[0] + 1:layer.stride[0],
                     x0:x0 + (width - 1) * layer.stride[1] + 1:layer.stride[1]]
            if layer.mode == "dense":
                acc += part @ layer.weights[ky, kx].astype(np.int64)
            else:
                weights = layer.weights if layer.mode == "window" else layer.weights[ky, kx]
                seen = part[..., np.arange(channels) // layer.multiplier] * weights.astype(np.int64)
                acc = np.maximum(acc, seen) if layer.maximum else acc + seen
    if layer.multiply is not None:
        low = ((acc + 128) & 255) - 128
        acc = (low + layer.multiply.offset_q) * (other.astype(np.int64) + layer.multiply.offset_other)
    out = np.stack([layer.channels[c].apply(acc[..., c], zero=layer.zero, low=layer.low, high=layer.high)
                    for c in range(channels)], axis=-1)
    if layer.add is not None:
        out = layer.add.apply(out, other.astype(np.int64))
    return out if layer.table is None else layer.table.astype(np.int8)[out & 255]


def mixed(rng):
    """Every mode, kernel form and stride, residual adds, and channel counts that fit no array."""
    net = Network(rng, (12, 10, 3))
    a = net.conv(0, 16)
    b = net.conv(a, 16)
    c = net.conv(b, 16, other=a)
    d = net.conv(c, 21, stride=(2, 2), padding=(0, 1, 0, 1))
    e = net.conv(c, 21, (1, 1), stride=(2, 2), padding=(0, 0, 0, 0))
    f = net.conv(d, 21, other=e)
    g = net.conv(f, 21, mode="depthwise", padding=(1, 1, 0, 2))
    h = net.conv(g, 42, mode="depthwise", multiplier=2)
    i = net.conv(h, 5, (2, 3), dilation=(2, 2), padding=(1, 1, 2, 2))
    j = net.conv(i, 5, (3, 2), mode="window", padding=(0, 0, 0, 0), stride=(2, 1))
    net.conv(j, 70, net.shapes[j][:2], padding=(0, 0, 0, 0))
    return net


def every_post(rng):
    """What comes behind the sums: products, tables, sums with one pixel for all places, and maxima."""
    net = Network(rng, (7, 6, 5))
    a = net.conv(0, 12, table=True)
    b = net.conv(a, 12, mode="depthwise", other=a, table=True)
    c = net.conv(b, 12, (2, 2), mode="window", maximum=True, padding=(0, 0, 0, 0), table=True)
    d = net.conv(b, 12, (2, 2), weight_zero=77, padding=(0, 0, 0, 0))
    e = net.conv(c, 12, net.shapes[c][:2], mode="window", padding=(0, 0, 0, 0))
    f = net.conv(d, 12, (1, 1), mode="window", padding=(0, 0, 0, 0), times=c)
    g = net.conv(f, 12, (1, 1), mode="window", padding=(0, 0, 0, 0), times=e, table=True)
    h = net.conv(g, 12, (3, 3), mode="depthwise", weight_zero=-100, other=e)
    net.conv(h, 9, weight_zero=-128)
    return net


def put_program(dram, program: Program):
    """Weights, parameters and instructions at their places in uint8[…] ``dram``."""
    for address, blob in program.blobs:
        dram[address:address + len(blob)] = blob


def put_tensor(dram, home: DramTensor, value):
    for i, row in enumerate(value.reshape(home.rows, home.row_bytes).view(np.uint8)):
        dram[home.address + i * home.stride:][:home.row_bytes] = row


def get_tensor(dram, home: DramTensor):
    """int8[rows, row_bytes]."""
    rows = [dram[home.address + i * home.stride:][:home.row_bytes] for i in range(home.rows)]
    return np.stack(rows).view(np.int8)
