"""Train, quantise and write the demo network: handwritten digits, 8x8 pixels, from scikit-learn.

    pip install 'celosia[train]'
    python examples/digits/train.py            # writes celosia/demo/digits.tflite and digits.npz

A small residual network is trained in plain NumPy (Adam, cross entropy), quantised after training the way
TFLite specifies it (int8, weights per output channel, https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec)
and checked with LiteRT's reference kernels.
"""

from pathlib import Path

import click
import numpy as np
from celosia.host.importers.tflite_writer import ModelSpec, OpSpec, TensorSpec
from sklearn.datasets import load_digits

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent.parent / "celosia" / "demo"
SAME, VALID, RELU = 0, 1, 1

# name, kernel, input channels, output channels, stride
CONVS = [("stem", 3, 1, 16, 1), ("body", 3, 16, 16, 1), ("join", 3, 16, 16, 1), ("down", 3, 16, 32, 2)]


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    return total // 2, total - total // 2


def patches(x, kernel, stride):
    """im2col: [N, H, W, C] -> [N, H', W', kernel*kernel*C]."""
    pad = same_padding(x.shape[1], kernel, stride)
    x = np.pad(x, ((0, 0), pad, pad, (0, 0)))
    view = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (1, 2))[:, ::stride, ::stride]
    return view.transpose(0, 1, 2, 4, 5, 3).reshape(*view.shape[:3], -1)


def unpatch(grad, shape, kernel, stride):
    """The transpose of ``patches``: adds up what flows back to each pixel."""
    pad = same_padding(shape[1], kernel, stride)
    out = np.zeros((shape[0], shape[1] + sum(pad), shape[2] + sum(pad), shape[3]), np.float32)
    grad = grad.reshape(*grad.shape[:3], kernel, kernel, shape[3])
    height, width = grad.shape[1:3]
    for ky in range(kernel):
        for kx in range(kernel):
            out[:, ky : ky + height * stride : stride, kx : kx + width * stride : stride] += grad[
                :, :, :, ky, kx
            ]
    return out[:, pad[0] : pad[0] + shape[1], pad[0] : pad[0] + shape[2]]


def forward(params, x):
    """All activations of the network, by name, and the patches that backward needs."""
    acts, cols = {"input": x}, {}

    def conv(name, source, relu=True):
        _, kernel, _, _, stride = next(c for c in CONVS if c[0] == name)
        cols[name] = patches(acts[source], kernel, stride)
        out = cols[name] @ params[name + "_w"] + params[name + "_b"]
        acts[name] = np.maximum(out, 0) if relu else out

    conv("stem", "input")
    conv("body", "stem")
    conv("join", "body", relu=False)
    acts["sum"] = np.maximum(acts["stem"] + acts["join"], 0)
    conv("down", "sum")
    acts["pool"] = acts["down"].mean((1, 2))
    acts["logits"] = acts["pool"] @ params["head_w"] + params["head_b"]
    return acts, cols


def gradients(params, x, labels):
    """Cross-entropy loss and its gradients."""
    acts, cols = forward(params, x)
    prob = np.exp(acts["logits"] - acts["logits"].max(1, keepdims=True))
    prob /= prob.sum(1, keepdims=True)
    loss = -np.log(prob[np.arange(len(x)), labels] + 1e-9).mean()
    grad = prob
    grad[np.arange(len(x)), labels] -= 1
    grad /= len(x)
    out = {"head_w": acts["pool"].T @ grad, "head_b": grad.sum(0)}
    size = acts["down"].shape[1] * acts["down"].shape[2]
    flow = np.broadcast_to((grad @ params["head_w"].T)[:, None, None] / size, acts["down"].shape)

    def back(name, source, flow, relu=True):
        _, kernel, _, _, stride = next(c for c in CONVS if c[0] == name)
        if relu:
            flow = flow * (acts[name] > 0)
        out[name + "_w"] = np.einsum("nhwk,nhwo->ko", cols[name], flow, optimize=True)
        out[name + "_b"] = flow.sum((0, 1, 2))
        return unpatch(flow @ params[name + "_w"].T, acts[source].shape, kernel, stride)

    flow = back("down", "sum", flow) * (acts["sum"] > 0)
    skip = flow
    flow = back("body", "stem", back("join", "body", flow, relu=False)) + skip
    back("stem", "input", flow)
    return loss, out


def train(images, labels, epochs, rng):
    params = {}
    for name, kernel, cin, cout, _ in CONVS:
        fan = kernel * kernel * cin
        params[name + "_w"] = rng.normal(0, np.sqrt(2 / fan), (fan, cout)).astype(np.float32)
        params[name + "_b"] = np.zeros(cout, np.float32)
    params["head_w"] = rng.normal(0, 0.2, (32, 10)).astype(np.float32)
    params["head_b"] = np.zeros(10, np.float32)
    first = {k: np.zeros_like(v) for k, v in params.items()}
    second = {k: np.zeros_like(v) for k, v in params.items()}
    step = 0
    for epoch in range(epochs):
        rate = 3e-3 * 0.5 * (1 + np.cos(np.pi * epoch / epochs))
        order = rng.permutation(len(images))
        for start in range(0, len(order), 64):
            batch = order[start : start + 64]
            shift = rng.integers(-1, 2, 2)  # a pixel of wobble, so that the few images go further
            loss, grads = gradients(params, np.roll(images[batch], shift, (1, 2)), labels[batch])
            step += 1
            for key, grad in grads.items():
                first[key] += 0.1 * (grad - first[key])
                second[key] += 0.001 * (grad**2 - second[key])
                params[key] -= (
                    rate * (first[key] / (1 - 0.9**step)) / (np.sqrt(second[key] / (1 - 0.999**step)) + 1e-8)
                )
        print(f"epoch {epoch + 1:3d}  loss {loss:.4f}")
    return params


def quantise(params, images):
    """Post-training quantisation to a TFLite model; activation ranges are those of ``images``."""
    acts, _ = forward(params, images)
    tensors, ops = [], []

    def activation(name, shape, scale=None, zero=None):
        if scale is None:
            low, high = min(0.0, float(acts[name].min())), max(0.0, float(acts[name].max()))
            scale = np.float32((high - low) / 255)
            zero = int(round(-128 - low / scale))
        tensors.append(TensorSpec(shape, scale=scale, zero=zero, name=name))
        return len(tensors) - 1

    def constants(name, weights, bias, source):
        """Weights [O, ...] per channel or tensor, bias in int32 at the product of the scales."""
        flat = weights.reshape(len(weights), -1)
        peak = np.abs(flat).max(1) if weights.ndim == 4 else np.full(1, np.abs(flat).max())
        scale = np.float32(peak / 127)
        stored = np.clip(np.round(weights / scale.reshape(-1, *[1] * (weights.ndim - 1))), -127, 127)
        tensors.append(TensorSpec(weights.shape, scale=scale, name=name + "_w", data=stored.astype(np.int8)))
        product = np.float32(scale * tensors[source].scale)
        tensors.append(
            TensorSpec(
                bias.shape,
                "int32",
                scale=product,
                name=name + "_b",
                data=np.round(bias / product).astype(np.int32),
            )
        )
        return [len(tensors) - 2, len(tensors) - 1]

    at = {"input": activation("input", (1, 8, 8, 1))}
    for name, kernel, cin, cout, stride in CONVS:
        source = {"stem": "input", "body": "stem", "join": "body", "down": "sum"}[name]
        size = 8 // stride
        weights = params[name + "_w"].reshape(kernel, kernel, cin, cout).transpose(3, 0, 1, 2)
        inputs = [at[source], *constants(name, weights, params[name + "_b"], at[source])]
        at[name] = activation(name, (1, size, size, cout))
        ops.append(
            OpSpec(
                "CONV_2D",
                inputs,
                [at[name]],
                {
                    "Padding": SAME,
                    "StrideW": stride,
                    "StrideH": stride,
                    "DilationWFactor": 1,
                    "DilationHFactor": 1,
                    "FusedActivationFunction": RELU if name != "join" else 0,
                },
                "Conv2DOptions",
                3,
            )
        )
        if name == "join":
            at["sum"] = activation("sum", (1, 8, 8, 16))
            ops.append(
                OpSpec(
                    "ADD",
                    [at["stem"], at["join"]],
                    [at["sum"]],
                    {"FusedActivationFunction": RELU},
                    "AddOptions",
                    2,
                )
            )
    down = tensors[at["down"]]
    at["pool"] = activation("pool", (1, 1, 1, 32), down.scale, down.zero)
    ops.append(
        OpSpec(
            "AVERAGE_POOL_2D",
            [at["down"]],
            [at["pool"]],
            {"Padding": VALID, "StrideW": 4, "StrideH": 4, "FilterWidth": 4, "FilterHeight": 4},
            "Pool2DOptions",
            2,
        )
    )
    tensors.append(TensorSpec((2,), "int32", name="shape", data=np.array([1, 32], np.int32)))
    shape = len(tensors) - 1
    at["flat"] = activation("flat", (1, 32), down.scale, down.zero)
    ops.append(OpSpec("RESHAPE", [at["pool"], shape], [at["flat"]], {"NewShape": [1, 32]}, "ReshapeOptions"))
    inputs = [at["flat"], *constants("head", params["head_w"].T, params["head_b"], at["flat"])]
    at["logits"] = activation("logits", (1, 10))
    ops.append(OpSpec("FULLY_CONNECTED", inputs, [at["logits"]], {}, "FullyConnectedOptions", 4))
    at["probabilities"] = activation("probabilities", (1, 10), np.float32(1 / 256), -128)
    ops.append(OpSpec("SOFTMAX", [at["logits"]], [at["probabilities"]], {"Beta": 1.0}, "SoftmaxOptions", 2))
    return ModelSpec(tensors, ops, [at["input"]], [at["probabilities"]])


def reference(model: bytes, inputs):
    """Outputs of LiteRT's reference kernels."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    outputs = []
    for x in inputs:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.array(outputs)


@click.command(help=__doc__)
@click.option("--epochs", default=40, show_default=True)
@click.option("--seed", default=7, show_default=True)
@click.option("--keep", default=36, show_default=True, help="Test digits to keep for the demo.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=DEMO, show_default=True)
def main(epochs, seed, keep, out):
    rng = np.random.default_rng(seed)
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[..., None]
    order = rng.permutation(len(images))
    test, training = order[:400], order[400:]
    params = train(images[training], digits.target[training], epochs, rng)
    spec = quantise(params, images[training])
    model = spec.build()
    source = spec.tensors[0]
    stored = np.clip(np.round(images / source.scale) + source.zero, -128, 127).astype(np.int8)
    right = (reference(model, stored[test]).argmax(1) == digits.target[test]).mean()
    exact = (forward(params, images[test])[0]["logits"].argmax(1) == digits.target[test]).mean()
    print(f"{len(test)} test digits: float {exact:.2%}, quantised {right:.2%}; model {len(model)} bytes")
    out.mkdir(parents=True, exist_ok=True)
    (out / "digits.tflite").write_bytes(model)
    np.savez_compressed(out / "digits.npz", images=stored[test[:keep]], labels=digits.target[test[:keep]])


if __name__ == "__main__":
    main()
