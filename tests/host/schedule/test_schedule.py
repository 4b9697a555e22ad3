"""Scheduled layers on the ISA emulator against NumPy int64, with memories of every size."""
import numpy as np
import pytest

from celosia.host.emit.emit import emit
from celosia.host.emit.program import FabricRun, Program
from celosia.host.graph.ir import Graph, Kind, Op, Tensor
from celosia.host.lower.plan import Layer, Plan
from celosia.host.schedule.schedule import schedule
from celosia.rtl.contract.errors import CapacityError
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.numerics import Add, Channel
from celosia.sim.emulator import Emulator

SIZES = [(1, 1), (3, 5), (4, 4), (8, 16), (16, 16), (32, 7)]


class Network:
    """Layers over tensors 0, 1, 2 … with random weights; tensor 0 is the input."""

    def __init__(self, rng, shape):
        self.rng, self.shapes, self.layers, self.outputs = rng, [shape], [], None

    def conv(self, source, channels, kernel=(3, 3), *, stride=(1, 1), dilation=(1, 1), padding=(1, 1, 1, 1),
             mode="dense", multiplier=1, other=None, pad_value=3):
        rng, (height, width, depth) = self.rng, self.shapes[source]
        top, bottom, left, right = padding
        out = ((height + top + bottom - (kernel[0] - 1) * dilation[0] - 1) // stride[0] + 1,
               (width + left + right - (kernel[1] - 1) * dilation[1] - 1) // stride[1] + 1, channels)
        shape = {"dense": (*kernel, depth, channels), "diagonal": (*kernel, channels), "window": (channels,)}[mode]
        taps = kernel[0] * kernel[1] * (depth if mode == "dense" else 1)
        layer = Layer(
            ops=(len(self.layers),), name=f"layer{len(self.layers)}", source=mode.upper(), mode=mode, input=source,
            output=len(self.shapes), other=other, in_shape=self.shapes[source], out_shape=out, kernel=kernel,
            stride=stride, dilation=dilation, padding=padding, multiplier=multiplier,
            weights=rng.integers(-128, 128, shape).astype(np.int8),
            channels=tuple(Channel(bias=int(rng.integers(-9999, 9999)), mult=int(rng.integers(2**29, 2**31) / taps**0.5),
                                   round_pos=2**20, round_neg=2**20 - 1, shift=21) for _ in range(channels)),
            zero=int(rng.integers(-20, 20)), low=-120, high=127, pad_value=pad_value,
            add=None if other is None else Add(mult_q=2**20, mult_other=-(2**19), constant=2**20 + 5, shift=21, low=-128,
                                               high=100))
        self.layers.append(layer)
        self.shapes.append(out)
        return layer.output

    def plan(self, outputs=None):
        tensors = tuple(Tensor(f"t{i}", (1, *shape), "int8") for i, shape in enumerate(self.shapes))
        ops = tuple(Op(Kind.CONV, layer.source, tuple({layer.input, layer.other} - {None}), (layer.output,), {}, i)
                    for i, layer in enumerate(self.layers))
        graph = Graph("random", "tflite", tensors, ops, (0,), tuple(outputs or [len(tensors) - 1]))
        return Plan(graph, tuple(self.layers))


def golden(layer, image, other):
    """The layer by its definition, in int64."""
    top, bottom, left, right = layer.padding
    x = np.pad(image.astype(np.int64), ((top, bottom), (left, right), (0, 0)), constant_values=layer.pad_value)
    height, width, channels = layer.out_shape
    acc = np.zeros(layer.out_shape, np.int64)
    for ky in range(layer.kernel[0]):
        for kx in range(layer.kernel[1]):
            y0, x0 = ky * layer.dilation[0], kx * layer.dilation[1]
            part = x[y0:y0 + (height - 1) * layer.stride[0] + 1:layer.stride[0],
                     x0:x0 + (width - 1) * layer.stride[1] + 1:layer.stride[1]]
            if layer.mode == "dense":
                acc += part @ layer.weights[ky, kx].astype(np.int64)
            else:
                weights = layer.weights if layer.mode == "window" else layer.weights[ky, kx]
                acc += part[..., np.arange(channels) // layer.multiplier] * weights.astype(np.int64)
    out = np.stack([layer.channels[c].apply(acc[..., c], zero=layer.zero, low=layer.low, high=layer.high)
                    for c in range(channels)], axis=-1)
    return out if layer.add is None else layer.add.apply(out, other.astype(np.int64))


def run(program, image):
    """Execute setup and all runs on the emulator; returns outputs by tensor."""
    dram = np.zeros(program.dram_bytes, np.uint8)
    for address, blob in program.blobs:
        dram[address:address + len(blob)] = blob
    emulator = Emulator(program.fabric, dram)
    emulator.run(*program.setup)
    outputs = {}
    for step in program.steps:
        assert isinstance(step, FabricRun)
        for home in step.inputs:
            rows = image.reshape(home.rows, home.row_bytes).view(np.uint8)
            for i, row in enumerate(rows):
                dram[home.address + i * home.stride:][:home.row_bytes] = row
        emulator.run(step.address, step.count)
        for home in step.outputs:
            outputs[home.tensor] = np.stack([dram[home.address + i * home.stride:][:home.row_bytes]
                                             for i in range(home.rows)]).view(np.int8)
    return outputs


def check(network, fabric, outputs=None):
    program = emit(schedule(network.plan(outputs), fabric))
    image = network.rng.integers(-128, 128, network.shapes[0]).astype(np.int8)
    values = {0: image}
    for layer in network.layers:
        values[layer.output] = golden(layer, values[layer.input], values.get(layer.other)).astype(np.int8)
    got = run(program, image)
    for tensor, value in got.items():
        np.testing.assert_array_equal(value.reshape(value.shape[0], -1), values[tensor].reshape(value.shape[0], -1),
                                      err_msg=f"tensor {tensor}")
    assert set(got) == set(outputs or [len(network.shapes) - 1])
    return program


def mixed(rng):
    net = Network(rng, (12, 10, 3))
    a = net.conv(0, 16)
    b = net.conv(a, 16)
    c = net.conv(b, 16, other=a)
    d = net.conv(c, 21, stride=(2, 2), padding=(0, 1, 0, 1))
    e = net.conv(c, 21, (1, 1), stride=(2, 2), padding=(0, 0, 0, 0))
    f = net.conv(d, 21, other=e)
    g = net.conv(f, 21, mode="diagonal", padding=(1, 1, 0, 2))
    h = net.conv(g, 42, mode="diagonal", multiplier=2)
    i = net.conv(h, 5, (2, 3), dilation=(2, 2), padding=(1, 1, 2, 2))
    j = net.conv(i, 5, (3, 2), mode="window", padding=(0, 0, 0, 0), stride=(2, 1))
    net.conv(j, 70, net.shapes[j][:2], padding=(0, 0, 0, 0))
    return net


@pytest.mark.parametrize("rows,cols", SIZES)
def test_every_kind_of_layer_equals_numpy_on_chip(rows, cols):
    program = check(mixed(np.random.default_rng(rows * 100 + cols)), Fabric(rows=rows, cols=cols, am_words=65536 // rows,
                                                                           wm_words=200000, acc_depth=64))
    assert program.memory["segments"][0]["resident"] and program.memory["weights_resident"]


@pytest.mark.parametrize("rows,cols", SIZES)
def test_every_kind_of_layer_equals_numpy_when_nothing_fits(rows, cols):
    fabric = Fabric(rows=rows, cols=cols, am_words=-(-3300 // rows), wm_words=5 * rows + 100, pm_words=2 * (cols + 1),
                    acc_depth=16, fifo_depth=4)
    program = check(mixed(np.random.default_rng(rows * 100 + cols)), fabric, outputs=[3, 6, 11])
    assert program.memory["segments"][0]["spilled"] and not program.memory["weights_resident"]


def test_one_memory_too_small_for_a_row_is_named():
    net = Network(np.random.default_rng(0), (8, 200, 16))
    net.conv(0, 16)
    with pytest.raises(CapacityError, match=r"layer0.*am_words to at least"):
        schedule(net.plan(), Fabric(rows=4, cols=4, am_words=1000))


def test_program_file_round_trip(tmp_path):
    net = mixed(np.random.default_rng(5))
    program = emit(schedule(net.plan(), Fabric(rows=4, cols=4)))
    program.save(tmp_path / "p.celosia")
    again = Program.load(tmp_path / "p.celosia")
    assert again.steps == program.steps and again.layers == program.layers and again.fabric == program.fabric
    for (a, x), (b, y) in zip(program.blobs, again.blobs, strict=True):
        assert a == b
        np.testing.assert_array_equal(x, y)
