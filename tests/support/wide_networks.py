"""Networks like support.networks.Network, of all that a Layer can say: parts of images, crops, uint8."""
from dataclasses import replace

import numpy as np
from celosia.host.lower.plan import WHOLE, Part
from support.networks import Network, golden


class WideNetwork(Network):
    """A Network whose layers may read some channels, crop their input and write parts of an image.

    Parameters
    ----------
    unsigned : bool
        The tensors of the graph are uint8: devices flip the top bit of what goes in and comes out.
    """

    def __init__(self, rng, shape, *, unsigned=False):
        super().__init__(rng, shape)
        self.unsigned = unsigned

    def conv(self, source, channels, kernel=(3, 3), *, read=None, **options):
        """As Network.conv; ``read`` is (first channel, how many), when not all of them are read.

        Negative padding leaves out the border.
        """
        whole = self.shapes[source]
        first, count = read or (0, whole[2])
        self.shapes[source] = (*whole[:2], count)
        output = super().conv(source, channels, kernel, **options)
        self.shapes[source] = whole
        self.layers[-1] = replace(self.layers[-1], in_shape=whole, in_channel=first)
        return output

    def depthwise(self, source, kernel=(3, 3), **options):
        """One output for each input channel, and as large as the input at stride 1, unless said otherwise."""
        return self.conv(source, self.shapes[source][2] * options.get("multiplier", 1), kernel,
                         mode="depthwise", **{"padding": same(kernel, options.get("dilation", (1, 1))),
                                              **options})

    def identity(self, source, **options):
        """Each value for itself: what additions, products, tables and copies ride on."""
        channels = options.get("read", (0, self.shapes[source][2]))[1]
        return self.conv(source, channels, (1, 1), mode="window", padding=(0, 0, 0, 0), **options)

    def into(self, shape, part, *, image=None, fill=None):
        """Let the last layer write a part of an image of that shape: a new one, or a tensor made before."""
        layer = self.layers[-1]
        self.shapes.pop()
        if image is None:
            self.shapes.append(shape)
            image = len(self.shapes) - 1
        self.layers[-1] = replace(layer, output=image, out_image=shape, out_part=part, fill=fill)
        return image

    def concat(self, sources):
        """The channels of several images, one after the other."""
        channels = [self.shapes[source][2] for source in sources]
        shape, image = (*self.shapes[sources[0]][:2], sum(channels)), None
        for n, source in enumerate(sources):
            self.identity(source)
            image = self.into(shape, Part(channel=sum(channels[:n])), image=image)
        return image

    def plan(self, outputs=None):
        plan = super().plan(outputs)
        if not self.unsigned:
            return plan
        tensors = tuple(replace(tensor, dtype="uint8") for tensor in plan.graph.tensors)
        return replace(plan, graph=replace(plan.graph, tensors=tensors))

    def values(self, image):
        values = {0: image}
        for layer in self.layers:
            made = golden_part(layer, values[layer.input], values.get(layer.other)).astype(np.int8)
            whole = values.setdefault(layer.output, np.zeros(layer.image, np.int8))
            if layer.fill is not None:
                whole[:] = layer.fill
            place(whole, layer.out_part, made.shape)[:] = made
        return values

    def stored(self, value):
        """An int8 value as the host sees it."""
        return value.view(np.uint8) ^ 0x80 if self.unsigned else value


def same(kernel, dilation=(1, 1)):
    """Padding that keeps the size at stride 1."""
    spans = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    return tuple(side for span in spans for side in (span // 2, span - span // 2))


def place(image, part, shape):
    """The pixels and channels of an image that a part of that shape stands for."""
    height, width, channels = shape
    return image[part.y:part.y + (height - 1) * part.step_y + 1:part.step_y,
                 part.x:part.x + (width - 1) * part.step_x + 1:part.step_x,
                 part.channel:part.channel + channels]


def golden_part(layer, image, other):
    """What a layer makes, by its definition; crops and channels are taken first."""
    top, bottom, left, right = layer.padding
    count = layer.weights.shape[2] if layer.mode == "dense" else layer.out_shape[2] // layer.multiplier
    height, width, _ = image.shape
    seen = image[max(0, -top):height - max(0, -bottom), max(0, -left):width - max(0, -right),
                 layer.in_channel:layer.in_channel + count]
    plain = replace(layer, in_shape=seen.shape, in_channel=0, out_image=None, out_part=WHOLE, fill=None,
                    padding=tuple(max(0, side) for side in layer.padding))
    return golden(plain, seen, other)


def chain(rng, **options):
    """Six layers over an image that is high enough for strips: an expansion, a residual sum, a table, a pool.
    """
    network = WideNetwork(rng, (24, 8, 4), **options)
    nothing = (0, 0, 0, 0)
    a = network.conv(0, 14, (3, 3), stride=(2, 1), padding=(0, 1, 1, 1))
    b = network.conv(a, 30, (1, 1), padding=nothing)
    c = network.depthwise(b, (3, 3), pad_value=9)
    d = network.conv(c, 14, (1, 1), padding=nothing, other=a)
    e = network.conv(d, 20, (5, 3), padding=(2, 2, 1, 1), table=True)
    network.conv(e, 20, (2, 2), mode="window", maximum=True, stride=(2, 2), padding=nothing)
    return network


def random_network(seed):
    """Ten layers of any kind over a small image; uint8 for odd seeds. What nobody reads is an output."""
    rng = np.random.default_rng(seed)
    net = WideNetwork(rng, (int(rng.integers(5, 13)), int(rng.integers(5, 13)), int(rng.integers(1, 9))),
                      unsigned=seed % 2 == 1)

    def number(low, high):
        return int(rng.integers(low, high + 1))

    def behind(source):
        """What may come behind the sums, for an output like ``source``."""
        height, width, channels = net.shapes[source]
        alike = [t for t, shape in enumerate(net.shapes) if shape in ((height, width, channels),
                                                                     (1, 1, channels))]
        return [{}, {"table": True}, {"other": int(rng.choice(alike))}, {"times": int(rng.choice(alike))},
                {"other": int(rng.choice(alike)), "table": True}][number(0, 4)]

    def depthwise(source):
        kernel = number(1, 7), number(1, 7)
        way = number(0, 3)
        if way == 0:
            return net.depthwise(source, kernel, weight_zero=number(-128, 127), **behind(source))
        if way == 1:
            return net.depthwise(source, kernel, stride=(number(1, 3), number(1, 3)))
        if way == 2:
            return net.depthwise(source, kernel, dilation=(number(1, 3), number(1, 3)))
        return net.depthwise(source, kernel, multiplier=2)

    def dense(source):
        kernel = [(1, 1), (3, 3), (2, 3), (1, 4)][number(0, 3)]
        if number(0, 2):
            return net.conv(source, net.shapes[source][2], kernel, padding=same(kernel), **behind(source))
        stride = number(1, 2), number(1, 2)
        return net.conv(source, number(1, 20), kernel, padding=same(kernel), stride=stride,
                        weight_zero=number(-128, 127))

    def pool(source):
        height, width, channels = net.shapes[source]
        if number(0, 2) == 0:
            return net.conv(source, channels, (height, width), mode="window", padding=(0, 0, 0, 0))
        kernel = number(1, min(3, height)), number(1, min(3, width))
        return net.conv(source, channels, kernel, mode="window", padding=(0, 0, 0, 0),
                        stride=(number(1, 2), number(1, 2)), maximum=bool(number(0, 1)))

    def some_channels(source):
        channels = net.shapes[source][2]
        first = number(0, channels - 1)
        return net.conv(source, number(1, 9), (1, 1), padding=(0, 0, 0, 0),
                        read=(first, number(1, channels - first)))

    def crop(source):
        height, width, _ = net.shapes[source]
        if height < 3 or width < 3:
            return net.identity(source, table=True)
        return net.conv(source, number(1, 9), (2, 2), padding=(-1, number(0, 1), number(0, 1), -1))

    def border(source):
        height, width, channels = net.shapes[source]
        top, left, sparse = number(0, 2), number(0, 2), number(1, 2)
        net.identity(source, **behind(source))
        shape = (top + (height - 1) * sparse + 1 + number(0, 1), left + width + number(0, 1), channels)
        return net.into(shape, Part(top, left, step_y=sparse), fill=number(-128, 127))

    def join(source):
        alike = [t for t, shape in enumerate(net.shapes) if shape[:2] == net.shapes[source][:2]]
        return net.concat([source, *(int(t) for t in rng.choice(alike, number(1, 2)))])

    makers = [depthwise, depthwise, depthwise, dense, dense, pool, some_channels, crop, border, join,
              lambda source: net.identity(source, **behind(source))]
    for _ in range(10):
        wide = [t for t in range(max(0, len(net.shapes) - 4), len(net.shapes))
                if np.prod(net.shapes[t]) <= 3000 and net.shapes[t][2] <= 40]
        makers[number(0, len(makers) - 1)](int(rng.choice(wide or [0])))
    read = {t for layer in net.layers for t in (layer.input, layer.other)}
    return net, [t for t in range(1, len(net.shapes)) if t not in read]
