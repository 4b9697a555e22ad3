"""Graphs with products of computed matrices, and whole graphs on a device against the reference kernels."""
import numpy as np
from celosia.host.graph.ir import Kind, Op
from celosia.host.reference import run_op

import celosia

from .lowering import Builder


def product(builder, a, b, shape, *, adj_x=False, adj_y=False):
    """Append a BATCH_MATMUL whose outputs spread over most of the stored range."""
    x, w = (builder.tensors[t] for t in (a, b))
    depth = x.shape[-2 if adj_x else -1]
    y = builder.tensor(shape, scale=x.quant.scale * w.quant.scale * 70 * np.sqrt(depth))
    builder.ops.append(Op(Kind.HOST, "BATCH_MATMUL", (a, b), (y,),
                          {"options": {"adj_x": adj_x, "adj_y": adj_y}}, len(builder.ops)))
    return y


def product_of(a, b, shape, *, constant=None, seed=0, dtype="int8", zeros=(None, None), **options):
    """A graph of one product; operand number ``constant`` is not computed."""
    builder = Builder(seed=seed, dtype=dtype)
    operands = []
    for number, (given, zero) in enumerate(zip((a, b), zeros, strict=True)):
        limits = builder.limits
        data = builder.rng.integers(limits.min, limits.max + 1, given).astype(dtype)
        operands.append(builder.tensor(given, zero=zero, data=data if number == constant else None))
    builder.inputs = [t for number, t in enumerate(operands) if number != constant]
    return builder.graph(product(builder, *operands, shape, **options))


def softmax(builder, x):
    """With the quantisation that converters give it."""
    return builder.op(Kind.SOFTMAX, "SOFTMAX", (x,), builder.tensors[x].shape, beta=1.0, scale=1 / 256,
                      zero=-128)


def linear(builder, x, outputs):
    """A fully connected layer on each row."""
    shape = (*builder.tensors[x].shape[:-1], outputs)
    weights = builder.weights((outputs, builder.tensors[x].shape[-1]), outputs)
    return builder.op(Kind.FULLY_CONNECTED, "FULLY_CONNECTED", (x, *weights), shape, scale=0.2)


def attention(tokens, size, seed=0):
    """Queries, keys and values of tokens, softmax between the products, and a layer behind."""
    builder = Builder((tokens, size), seed=seed)
    q, k, v = (linear(builder, builder.inputs[0], size) for _ in range(3))
    scores = product(builder, q, k, (tokens, tokens), adj_y=True)
    mixed = product(builder, softmax(builder, scores), v, (tokens, size))
    return builder.graph(linear(builder, mixed, size))


def transposed(builder, x, *axes):
    shape = builder.tensors[x].shape
    return builder.host("TRANSPOSE", (x, builder.integers(*axes)), tuple(shape[i] for i in axes), kept=x)


def reshaped(builder, x, *shape):
    return builder.op(Kind.RESHAPE, "RESHAPE", (x,), shape, **builder.like(x))


def heads(tokens, count, size, seed=0):
    """Attention of several heads, as frameworks write it down: reshape and transpose around the products."""
    builder = Builder((1, tokens, count * size), seed=seed)
    q, k, v = (reshaped(builder, linear(builder, builder.inputs[0], count * size), 1, tokens, count, size)
               for _ in range(3))
    q, k, v = (transposed(builder, t, *axes) for t, axes in
               ((q, (0, 2, 1, 3)), (k, (0, 2, 3, 1)), (v, (0, 2, 1, 3))))
    scores = softmax(builder, product(builder, q, k, (1, count, tokens, tokens)))
    mixed = transposed(builder, product(builder, scores, v, (1, count, tokens, size)), 0, 2, 1, 3)
    return builder.graph(linear(builder, reshaped(builder, mixed, 1, tokens, count * size), count * size))


def golden(graph, inputs):
    """Every tensor, by the reference kernels."""
    values = {t: tensor.data for t, tensor in enumerate(graph.tensors) if tensor.data is not None} | inputs
    for op in graph.ops:
        results = run_op(graph, op, [None if t is None else values[t] for t in op.inputs])
        values.update(zip(op.outputs, results, strict=True))
    return values


def random_inputs(graph, rng):
    return {t: rng.integers(0, 256, graph.tensors[t].shape).astype(np.uint8).view(graph.tensors[t].dtype)
            for t in graph.inputs}


def check_on(device, graph, program, *, runs=2, seed=0):
    """Every output of some inferences equals the reference; the last result."""
    rng = np.random.default_rng(seed)
    for _ in range(runs):
        inputs = random_inputs(graph, rng)
        want = golden(graph, inputs)
        result = device.run(program, [inputs[t] for t in graph.inputs])
        for t, output in zip(graph.outputs, result.outputs, strict=True):
            np.testing.assert_array_equal(output, want[t], err_msg=f"tensor {t}")
    return result


def check_graph(graph, fabric, *, program=None, **options):
    """On the emulator, compiled here unless given; returns the Program."""
    program = program or celosia.compile(graph, fabric=fabric)
    with celosia.open("emulator", fabric=fabric, memory_bytes=1 << 20) as device:
        check_on(device, graph, program, **options)
    return program
