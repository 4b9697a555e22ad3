"""Each operator: its layers equal the reference kernels, and lie on the fabric in the form they should."""
from dataclasses import replace

import numpy as np
import pytest
from celosia.host.graph.ir import Kind, Quant
from celosia.host.graph.verify import verify
from celosia.host.lower.check import run_plan
from celosia.host.lower.lower import lower
from celosia.host.lower.plan import Alias, Part
from celosia.rtl.contract.fabric import Fabric
from support.lowering import Builder, check, layers_of, on_host

BOTH = pytest.mark.parametrize("dtype", ["int8", "uint8"])
IMAGE = (1, 6, 5, 3)


def lowered(b, *outputs, fabric=None):
    """The layers of a graph of which nothing is left to the host."""
    graph = b.graph(*outputs)
    verify(graph)
    plan = check(graph, fabric=fabric)
    assert not on_host(plan)
    return layers_of(plan)


def refused(b, reason, *, fabric=None):
    graph = b.graph()
    verify(graph)
    assert any(reason in text for text in on_host(check(graph, fabric=fabric)))


# Weights

@pytest.mark.parametrize("zero", [0, 1, 128, 255])
@pytest.mark.parametrize("depthwise", [False, True])
def test_uint8_weights_lose_their_zero_point(zero, depthwise):
    b = Builder(IMAGE, dtype="uint8")
    b.conv(0, 6, depthwise=depthwise)
    w = b.ops[0].inputs[1]
    b.tensors[w] = replace(b.tensors[w], quant=Quant(np.array([0.01]), np.array([zero])))
    (layer,) = lowered(b)
    stored = b.tensors[w].data.astype(int)
    stored = stored[0] if depthwise else stored.transpose(1, 2, 3, 0)
    np.testing.assert_array_equal(layer.weights, stored - zero)
    assert layer.weight_zero == (0 if zero == 128 else zero - 128)
    if zero == 128:  # they fit 8 bits
        lowered(b, fabric=Fabric(weight_bits=8))
    else:
        np.testing.assert_array_equal(layer.weights + layer.weight_zero, stored - 128)
        refused(b, "weight_bits = 9", fabric=Fabric(weight_bits=8))


def test_int8_weights_may_have_a_zero_point_too():
    b = Builder((4, 20))
    b.dense(0, 7)
    w = b.ops[0].inputs[1]
    b.tensors[w] = replace(b.tensors[w], quant=Quant(np.array([0.01]), np.array([-100])))
    (layer,) = lowered(b)
    assert layer.weight_zero == -100 and layer.weights.max() > 127


@BOTH
def test_one_input_channel_makes_a_depthwise_convolution_dense(dtype):
    b = Builder((1, 6, 5, 1), dtype=dtype)
    b.conv(0, 6, (4, 3), depthwise=True, stride=(2, 1))
    (layer,) = lowered(b)
    assert (layer.mode, layer.weights.shape) == ("dense", (4, 3, 1, 6))


@BOTH
@pytest.mark.parametrize("groups", [2, 3, 6])
def test_a_convolution_in_groups_is_a_layer_for_each(dtype, groups):
    b = Builder((1, 5, 4, 6), dtype=dtype)
    b.conv(0, 12)
    w = b.ops[0].inputs[1]
    b.tensors[w] = replace(b.tensors[w], shape=(12, 3, 3, 6 // groups),
                           data=np.ascontiguousarray(b.tensors[w].data[..., :6 // groups]))
    layers = layers_of(lower(b.graph(), Fabric()))
    if groups == 6:
        assert [(layer.mode, layer.multiplier) for layer in layers] == [("depthwise", 2)]
        return
    assert [layer.in_channel for layer in layers] == list(range(0, 6, 6 // groups))
    assert [layer.out_part.channel for layer in layers] == list(range(0, 12, 12 // groups))
    assert [layer.ops for layer in layers] == [(0,)] + [()] * (groups - 1)
    stored = b.tensors[w].data.astype(int).transpose(1, 2, 3, 0)
    np.testing.assert_array_equal(np.concatenate([layer.weights for layer in layers], axis=3),
                                  stored - b.tensors[w].quant.zero_point[0])


@BOTH
@pytest.mark.parametrize("groups", [2, 3, 6])
def test_groups_equal_convolutions_of_each_part(dtype, groups):
    """The reference has no groups: compare with a convolution whose weights between groups are zero."""
    b = Builder((1, 5, 4, 6), dtype=dtype)
    b.conv(0, 12)
    w = b.ops[0].inputs[1]
    zero = int(b.tensors[w].quant.zero_point[0])
    data = b.tensors[w].data.copy()
    mine = np.arange(12)[:, None] // (12 // groups) == np.arange(6) // (6 // groups)
    data.transpose(0, 3, 1, 2)[~mine] = zero
    b.tensors[w] = replace(b.tensors[w], data=data)
    whole = lower(b.graph(), Fabric())
    parts = [data[n][..., np.flatnonzero(mine[n])] for n in range(12)]
    b.tensors[w] = replace(b.tensors[w], shape=(12, 3, 3, 6 // groups), data=np.stack(parts))
    grouped = lower(b.graph(), Fabric())
    image = {0: b.rng.integers(b.limits.min, b.limits.max + 1, (1, 5, 4, 6)).astype(dtype)}
    np.testing.assert_array_equal(run_plan(whole, image)[3], run_plan(grouped, image)[3])


@BOTH
@pytest.mark.parametrize("kernel, stride, padding, size", [
    ((3, 3), (2, 2), (0, 0, 0, 0), (13, 11)), ((3, 3), (2, 2), (1, 0, 0, 1), (12, 10)),
    ((4, 2), (1, 3), (1, 2, 0, 0), (6, 14)), ((2, 1), (3, 2), (0, 0, 0, 0), (18, 9)),
    ((5, 5), (2, 2), (2, 2, 2, 2), (11, 9))])
def test_a_transposed_convolution_is_one_for_each_place_within_a_stride(dtype, kernel, stride, padding, size):
    b = Builder(IMAGE, dtype=dtype)
    b.op(Kind.HOST, "TRANSPOSE_CONV", (0, *b.weights((4, *kernel, 3), 4)), (1, *size, 4), stride=stride,
         padding=padding, low=int(b.limits.min), high=int(b.limits.max))
    layers = lowered(b)
    assert len(layers) == stride[0] * stride[1]
    assert {layer.out_part for layer in layers} == {
        Part(y, x, *stride) for y in range(stride[0]) for x in range(stride[1])}


# Windows

@BOTH
@pytest.mark.parametrize("kind", [Kind.AVERAGE_POOL, Kind.MAX_POOL])
@pytest.mark.parametrize("window, stride, padding, size, regions", [
    ((2, 2), (2, 2), (0, 0, 0, 0), (3, 2), 1),
    ((3, 3), (1, 1), (1, 1, 1, 1), (6, 5), 9),
    ((3, 3), (2, 2), (0, 1, 1, 1), (3, 3), 6),
    ((5, 5), (1, 1), (2, 2, 2, 2), (6, 5), 25),
    ((6, 5), (1, 1), (0, 0, 0, 0), (1, 1), 1)])
def test_pools_of_any_padding(dtype, kind, window, stride, padding, size, regions):
    b = Builder((1, 6, 5, 4), dtype=dtype)
    b.pool(kind, 0, (1, *size, 4), window, stride, padding)
    layers = lowered(b)
    if kind == Kind.MAX_POOL:  # the only reader may choose the border
        assert len(layers) == 1 and layers[0].maximum
        b.add(0, 0)
        layers = lowered(b, *(op.outputs[0] for op in b.ops))[:-1]
    assert len(layers) == regions
    assert all(max(layer.padding) <= 0 for layer in layers)


def test_a_max_pool_of_rectified_values_shares_the_border_of_convolutions():
    b = Builder(IMAGE)
    x = b.conv(0, 3, zero=-30, low=-30)
    b.pool(Kind.MAX_POOL, x, (1, 6, 5, 3), (3, 3), (1, 1), (1, 1, 1, 1))
    b.conv(x, 3)
    layers = lowered(b, *(op.outputs[0] for op in b.ops))
    assert [layer.pad_value for layer in layers[1:]] == [-30, -30]


@pytest.mark.parametrize("source, dtype", [  # LiteRT has no SUM of int8
    ("MEAN", "int8"), ("MEAN", "uint8"), ("SUM", "uint8"), ("REDUCE_MAX", "int8"), ("REDUCE_MAX", "uint8")])
@pytest.mark.parametrize("axes, keep, shape", [
    ((1, 2), True, (1, 1, 1, 4)), ((1, 2), False, (1, 4)), ((2, 1), True, (1, 1, 1, 4)),
    ((1,), False, (1, 5, 4)), ((2,), True, (1, 6, 1, 4)), ((3,), True, (1, 6, 5, 1))])
def test_reductions_over_an_image(source, dtype, axes, keep, shape):
    b = Builder((1, 6, 5, 4), dtype=dtype)
    b.host(source, (0, b.integers(*axes)), shape, kept=0 if source == "REDUCE_MAX" else None, keep_dims=keep)
    if source == "REDUCE_MAX" and axes == (3,):
        refused(b, "greatest of several channels")
    else:
        (layer,) = lowered(b)
        assert layer.mode == ("dense" if axes == (3,) else "window")


def test_a_mean_that_moves_axes_is_left_to_the_host():
    b = Builder((1, 6, 5, 4))
    b.host("MEAN", (0, b.integers(2)), (1, 6, 4), keep_dims=False)
    refused(b, "changes its place")


# Pairs

PAIRS = pytest.mark.parametrize("kind", [Kind.ADD, Kind.SUB, Kind.MUL])


def pair(b, kind, x, y, shape=IMAGE, **attrs):
    scale = {"scale": 0.12} if kind != Kind.MUL else {"scale": 0.11}
    return b.op(kind, kind.name, (x, y), shape, **{**scale, **attrs})


@BOTH
@PAIRS
def test_pairs_of_images(dtype, kind):
    b = Builder(IMAGE, IMAGE, dtype=dtype)
    pair(b, kind, 0, 1)
    (layer,) = lowered(b)
    assert layer.mode == "window" and (layer.input, layer.other, layer.other_shape) == (0, 1, None)


@BOTH
@PAIRS
@pytest.mark.parametrize("shapes", [(IMAGE, (1, 1, 1, 3)), ((1, 1, 1, 3), IMAGE), (IMAGE, (3,))])
def test_one_operand_may_be_a_pixel_for_all_places(dtype, kind, shapes):
    b = Builder(*shapes, dtype=dtype)
    pair(b, kind, 0, 1)
    (layer,) = lowered(b)
    assert (layer.in_shape, layer.other_shape) == ((6, 5, 3), (1, 1, 3))


@PAIRS
@pytest.mark.parametrize("shape", [(1, 6, 1, 3), (1, 6, 5, 1), (1, 1, 1, 1)])
def test_other_repetitions_are_left_to_the_host(kind, shape):
    b = Builder(IMAGE, shape)
    pair(b, kind, 0, 1)
    refused(b, "repeats only a whole pixel")


@BOTH
@PAIRS
@pytest.mark.parametrize("first", [False, True])
def test_constants_for_each_channel_become_records(dtype, kind, first):
    b = Builder(IMAGE, dtype=dtype)
    c = b.constant([[[[20, 40, 90]]]], zero=40)  # below, at and above the zero point
    pair(b, kind, *((c, 0) if first else (0, c)))
    (layer,) = lowered(b)
    signs = {Kind.ADD: [1, 1, 1], Kind.SUB: [-1] * 3 if first else [1] * 3, Kind.MUL: [-1, 1, 1]}[kind]
    assert layer.table is None and layer.weights.tolist() == signs


@BOTH
@PAIRS
def test_a_single_constant_or_the_same_operand_twice_is_a_table(dtype, kind):
    b = Builder(IMAGE, dtype=dtype)
    x = b.conv(0, 3)
    y = pair(b, kind, x, b.constant([77]))
    pair(b, kind, y, y)
    layers = lowered(b)
    assert [layer.source for layer in layers] == [f"CONV_2D+{kind.name}", kind.name]
    assert all(layer.table is not None for layer in layers)


@PAIRS
def test_without_tables_constants_are_records(kind):
    b = Builder(IMAGE)
    pair(b, kind, 0, b.constant([77]))
    (layer,) = lowered(b, fabric=Fabric(tables=0))
    assert layer.table is None


@PAIRS
def test_a_constant_image_is_left_to_the_host(kind):
    b = Builder(IMAGE)
    pair(b, kind, 0, b.constant(b.rng.integers(-128, 128, IMAGE)))
    refused(b, "not the same at all places")


@BOTH
@pytest.mark.parametrize("kind", [Kind.ADD, Kind.SUB])
@pytest.mark.parametrize("first", [False, True])
def test_sums_and_differences_ride_on_the_layer_of_either_operand(dtype, kind, first):
    b = Builder(IMAGE, dtype=dtype)
    x = b.conv(0, 3)
    pair(b, kind, *((x, 0) if first else (0, x)))
    (layer,) = lowered(b)
    assert layer.ops == (0, 1) and layer.other == 0


@PAIRS
def test_a_squeeze_and_excite_block(kind):
    """Image, global mean, two small layers, and the image times (or plus) what they made of it."""
    b = Builder(IMAGE)
    x = b.conv(0, 4)
    small = b.host("MEAN", (x, b.integers(1, 2)), (1, 1, 1, 4), keep_dims=True)
    gate = b.conv(b.conv(small, 2, (1, 1), padding=(0, 0, 0, 0), zero=-128), 4, (1, 1), padding=(0, 0, 0, 0))
    pair(b, kind, x, gate, (1, 6, 5, 4))
    layers = lowered(b)
    assert layers[-1].other_shape == (1, 1, 4)


# Functions of one value

def unary(b, source, x, **quant):
    y = b.host(source, (x,), b.tensors[x].shape)
    b.tensors[y] = replace(b.tensors[y], quant=Quant(np.array([quant.get("scale", 1 / 256)]),
                                                     np.array([quant.get("zero", b.limits.min)])))
    return y


@BOTH
@pytest.mark.parametrize("source", ["LOGISTIC", "TANH", "HARD_SWISH", "RELU6", "QUANTIZE"])
def test_a_function_of_one_value_rides_on_the_layer_before_it(dtype, source):
    b = Builder(IMAGE, dtype=dtype)
    y = unary(b, source, b.conv(0, 3))
    (layer,) = lowered(b)
    assert layer.source == f"CONV_2D+{source}" and layer.ops == (0, 1) and layer.table is not None
    assert layer.name == b.tensors[y].name


@BOTH
def test_two_functions_in_a_row_take_two_layers(dtype):
    b = Builder(IMAGE, dtype=dtype)
    unary(b, "RELU6", unary(b, "LOGISTIC", b.conv(0, 3)), scale=0.01)
    assert [layer.source for layer in lowered(b)] == ["CONV_2D+LOGISTIC", "RELU6"]
    refused(b, "this fabric has no tables", fabric=Fabric(tables=0))


def test_a_value_that_others_read_is_looked_up_in_a_pass():
    b = Builder(IMAGE)
    x = b.conv(0, 3)
    y = unary(b, "LOGISTIC", x)
    assert [layer.source for layer in lowered(b, x, y)] == ["CONV_2D", "LOGISTIC"]


def test_a_function_follows_a_residual_add_and_every_part_of_a_pool():
    b = Builder(IMAGE)
    unary(b, "LOGISTIC", b.add(b.conv(0, 3), 0))
    (layer,) = lowered(b)
    assert layer.source == "CONV_2D+ADD+LOGISTIC" and layer.add is not None and layer.table is not None
    b = Builder(IMAGE)
    unary(b, "LOGISTIC", b.pool(Kind.AVERAGE_POOL, 0, IMAGE, (3, 3), (1, 1), (1, 1, 1, 1)))
    assert all(layer.table is not None for layer in lowered(b))


def test_between_int8_and_uint8_of_the_same_scale_nothing_changes_in_the_fabric():
    b = Builder(IMAGE)
    x = b.conv(0, 3, scale=0.1, zero=-28)
    y = unary(b, "QUANTIZE", x, scale=0.1, zero=100)
    b.tensors[x], b.tensors[y] = (replace(b.tensors[t], quant=Quant(np.array([0.1]), np.array([zero])))
                                  for t, zero in ((x, -28), (y, 100)))
    b.tensors[y] = replace(b.tensors[y], dtype="uint8")
    (layer,) = lowered(b)
    assert layer.ops == (0, 1) and layer.table is None


# Movement

def pad(b, x, shape, *widths, **quant):
    return b.host("PAD", (x, b.integers(*widths)), shape, kept=x)


@BOTH
def test_a_border_is_filled_by_the_layer_that_writes_its_middle(dtype):
    b = Builder(IMAGE, dtype=dtype)
    x = b.conv(0, 3)
    y = pad(b, x, (1, 9, 6, 5), (0, 0), (1, 2), (0, 1), (2, 0))
    unary(b, "LOGISTIC", y)
    (layer,) = lowered(b)
    assert (layer.out_part, layer.out_image) == (Part(1, 0, channel=2), (9, 6, 5)) and layer.fill is not None
    alone = Builder(IMAGE, dtype=dtype)
    first = pad(alone, 0, (1, 7, 5, 3), (0, 0), (1, 0), (0, 0), (0, 0))
    pad(alone, first, (1, 7, 6, 3), (0, 0), (0, 0), (0, 1), (0, 0))
    assert [layer.source for layer in lowered(alone)] == ["PAD", "PAD"]


@BOTH
def test_a_border_of_any_value(dtype):
    b = Builder(IMAGE, dtype=dtype)
    value = b.constant([99], **b.like(0))
    b.host("PADV2", (0, b.integers((0, 0), (1, 2), (0, 1), (2, 0)), value), (1, 9, 6, 5), kept=0)
    (layer,) = lowered(b)
    assert layer.fill == (99 if dtype == "int8" else -29)


@BOTH
@pytest.mark.parametrize("axis", [1, 2, 3, -1])
def test_a_join_is_written_by_those_that_make_its_parts(dtype, axis):
    b = Builder(IMAGE, dtype=dtype)
    quant = {"scale": 0.3, "zero": 9}
    parts = [b.conv(0, 3, **quant), b.pool(Kind.AVERAGE_POOL, b.conv(0, 3, **quant), IMAGE, (3, 3), (1, 1),
                                           (1, 1, 1, 1))]
    shape = list(IMAGE)
    shape[axis] *= 2
    y = b.host("CONCATENATION", parts, tuple(shape), kept=parts[0], axis=axis)
    z = b.conv(y, 2)
    layers = lowered(b, z)
    assert [layer.source for layer in layers].count("CONCATENATION") == 0
    assert parts[0] not in {layer.output for layer in layers} and len(layers) == 1 + 1 + 9 + 1


@BOTH
def test_parts_that_others_read_or_that_come_twice_are_copied(dtype):
    b = Builder(IMAGE, dtype=dtype)
    x = b.conv(0, 3, **b.like(0))
    y = b.host("CONCATENATION", (x, 0, 0), (1, 6, 5, 9), kept=0, axis=3)
    pad(b, y, (1, 8, 5, 9), (0, 0), (1, 1), (0, 0), (0, 0))
    layers = lowered(b)
    assert [layer.source for layer in layers] == ["CONV_2D+PAD", "CONCATENATION", "CONCATENATION"]
    assert [layer.fill is None for layer in layers] == [False, True, True]


def test_uint8_parts_of_other_scales_are_rescaled_by_tables():
    b = Builder(IMAGE, IMAGE, dtype="uint8")
    x = b.conv(0, 3)
    b.host("CONCATENATION", (x, 1), (1, 6, 5, 6), axis=3)
    layers = lowered(b)
    assert len(layers) == 2 and all(layer.table is not None for layer in layers)


@BOTH
def test_joins_within_joins_and_a_filled_part(dtype):
    b = Builder(IMAGE, dtype=dtype)
    quant = b.like(0)
    x, y = b.conv(0, 3, **quant), b.conv(0, 3, **quant)
    inner = b.host("CONCATENATION", (x, y), (1, 6, 5, 6), kept=0, axis=3)
    outer = b.host("CONCATENATION", (inner, inner), (1, 6, 5, 12), kept=0, axis=3)
    filled = pad(b, b.conv(0, 12, **quant), (1, 8, 5, 12), (0, 0), (1, 1), (0, 0), (0, 0))
    b.host("CONCATENATION", (outer, filled), (1, 14, 5, 12), kept=0, axis=1)
    lowered(b)


MOVES = {
    "split": ("SPLIT", lambda b: (b.integers(3), 0), [(1, 8, 6, 2)] * 4, {}),
    "split rows": ("SPLIT", lambda b: (b.integers(1), 0), [(1, 2, 6, 8)] * 4, {}),
    "split v": ("SPLIT_V", lambda b: (0, b.integers(3, -1), b.integers(2)), [(1, 8, 3, 8)] * 2, {}),
    "slice": ("SLICE", lambda b: (0, b.integers(0, 2, 1, 3), b.integers(1, 5, -1, 4)), [(1, 5, 5, 4)], {}),
    "strided slice": ("STRIDED_SLICE", lambda b: (
        0, b.integers(0, 1, 5, 2), b.integers(1, 8, 6, 7), b.integers(1, 3, 1, 1)), [(1, 3, 1, 5)],
        {"begin_mask": 0, "end_mask": 0, "shrink_axis_mask": 0}),
    "rows of a slice": ("STRIDED_SLICE", lambda b: (
        0, b.integers(0, 1, 1), b.integers(1, 8, 6), b.integers(1, 2, 3)), [(1, 4, 2, 8)],
        {"begin_mask": 0, "end_mask": 0, "shrink_axis_mask": 0}),
    "nearest": ("RESIZE_NEAREST_NEIGHBOR", lambda b: (0, b.integers(16, 18)), [(1, 16, 18, 8)],
                {"align_corners": False, "half_pixel_centers": True}),
    "nearest, smaller": ("RESIZE_NEAREST_NEIGHBOR", lambda b: (0, b.integers(4, 3)), [(1, 4, 3, 8)],
                         {"align_corners": False, "half_pixel_centers": False}),
    "nearest, uneven": ("RESIZE_NEAREST_NEIGHBOR", lambda b: (0, b.integers(11, 9)), [(1, 11, 9, 8)],
                        {"align_corners": True, "half_pixel_centers": False}),
    "depth to space": ("DEPTH_TO_SPACE", lambda b: (0,), [(1, 16, 12, 2)], {"block_size": 2}),
    "space to depth": ("SPACE_TO_DEPTH", lambda b: (0,), [(1, 4, 3, 32)], {"block_size": 2}),
    "mirror": ("MIRROR_PAD", lambda b: (0, b.integers((0, 0), (2, 1), (1, 1), (0, 0))), [(1, 11, 8, 8)],
               {"symmetric": False}),
    "unpack": ("UNPACK", lambda b: (0,), [(1, 6, 8)] * 8, {"axis": 1}),
    "gather": ("GATHER", lambda b: (0, b.integers(1, 2, 5, 7)), [(1, 4, 6, 8)], {"axis": 1, "batch_dims": 0}),
}


@BOTH
@pytest.mark.parametrize("name", MOVES)
def test_moves_are_a_few_copies(dtype, name):
    source, inputs, shapes, options = MOVES[name]
    b = Builder((1, 8, 6, 8), dtype=dtype)
    outputs = b.host(source, inputs(b), *shapes, kept=0, **options)
    layers = lowered(b, *(outputs if isinstance(outputs, tuple) else (outputs,)))
    most = {"depth to space": 4, "space to depth": 4, "nearest": 6, "nearest, uneven": 64, "mirror": 12}
    assert len(layers) <= most.get(name, len(shapes) * 2)
    assert [layer.ops for layer in layers] == [(0,)] + [()] * (len(layers) - 1)


def test_a_transposition_that_moves_nothing_is_an_alias_and_others_are_left_to_the_host():
    b = Builder((1, 1, 5, 3))
    y = b.host("TRANSPOSE", (0, b.integers(0, 2, 1, 3)), (1, 5, 1, 3), kept=0)
    assert check(b.graph()).steps == (Alias(0, 0, y),)
    b = Builder((1, 30, 20, 10))
    b.host("TRANSPOSE", (0, b.integers(0, 3, 1, 2)), (1, 10, 30, 20), kept=0)
    refused(b, "not made of a few regular copies")
