"""From PyTorch to the fabric: train on handwritten digits, export, quantise, run, and compare.

    pip install 'celosia[torch]'
    python examples/pytorch_digits.py --device emulator      # less than a minute on one core
    python examples/pytorch_digits.py                        # on the simulated hardware

The digits are scikit-learn's, 8x8 pixels. The network is a convolution, two depthwise separable ones with a
residual between them, a pool and a fully connected layer. Writes digits.onnx (float32), digits_int8.onnx and
digits_test.npz, which `celosia quantize`, `celosia inspect` and `celosia run` take as well.
"""
import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnxruntime
import torch
from celosia.host.quantise import quantise
from sklearn.datasets import load_digits
from torch import nn

import celosia


class DigitNet(nn.Module):
    """[N, 1, 8, 8] grey values 0 to 1 -> [N, 10] scores."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.body = self._separable(16, 16, stride=1)
        self.down = self._separable(16, 32, stride=2)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))

    @staticmethod
    def _separable(inputs: int, outputs: int, stride: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs), nn.BatchNorm2d(inputs), nn.ReLU(),
            nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs), nn.ReLU())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        stem = self.stem(images)
        return self.head(self.down(stem + self.body(stem)))


def train(images: np.ndarray, labels: np.ndarray, epochs: int) -> DigitNet:
    """A network for float32 images [N, 1, 8, 8]."""
    network = DigitNet()
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=1e-2)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    for epoch in range(epochs):
        network.train()
        total = 0.0
        for batch in torch.randperm(len(x)).split(64):
            shift = tuple(torch.randint(-1, 2, (2,)).tolist())  # a pixel of wobble: there are few images
            loss = nn.functional.cross_entropy(network(x[batch].roll(shift, (2, 3))), y[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(batch)
        rates.step()
        print(f"epoch {epoch + 1:2d}  loss {total / len(x):.4f}")
    return network.eval()


def export(network: DigitNet, file: Path) -> None:
    """Write the network as float32 ONNX for one image at a time.

    The exporter based on TorchScript (dynamo=False) needs no package beside onnx, and says that it is old.
    """
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        torch.onnx.export(network, (torch.zeros(1, 1, 8, 8),), str(file), input_names=["image"],
                          output_names=["scores"], opset_version=17, dynamo=False)


def framework(file: Path, images: np.ndarray) -> np.ndarray:
    """Scores [N, 10] by ONNX Runtime, operator by operator as the file has them."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])


@click.command(help=__doc__)
@click.option("--epochs", default=40, show_default=True)
@click.option("--seed", default=7, show_default=True)
@click.option("--device", default="sim", show_default=True, help="sim or emulator.")
@click.option("--fabric", default="tiny", show_default=True, help="As `celosia run --fabric`.")
@click.option("--format", "form", default="qdq", show_default=True, help="qdq or qoperator.")
@click.option("--count", default=20, show_default=True, help="Digits to run on the device.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=".", show_default=True)
def main(epochs: int, seed: int, device: str, fabric: str, form: Any, count: int, out: Path) -> None:
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # so small a network gains nothing from more
    order = np.random.default_rng(seed).permutation(1797)
    digits = load_digits()
    images, labels = (digits.images / 16).astype(np.float32)[order, None], digits.target[order]
    test, rest = slice(0, 400), slice(400, None)
    out.mkdir(parents=True, exist_ok=True)
    export(train(images[rest], labels[rest], epochs), out / "digits.onnx")
    np.savez_compressed(out / "digits_test.npz", image=images[test], labels=labels[test])

    made = quantise(out / "digits.onnx", out / "digits_int8.onnx", images[rest][:256],
                    test=images[test], labels=labels[test], format=form)
    for layer in made.layers:
        print(f"{layer.name:32} {layer.op:18} {layer.total:5.1f} dB")
    assert made.accuracy is not None
    print(f"{made.accuracy.before} of {made.accuracy.samples} test digits right in float32, "
          f"{made.accuracy.after} in int8")

    program = celosia.compile(made.file, fabric=fabric)
    with celosia.open(device, fabric=fabric) as opened:
        results = [opened.run(program, image[None]) for image in images[:count]]
    scores = np.concatenate([result.outputs[0] for result in results])
    right = int((scores.argmax(1) == labels[:count]).sum())
    equal = np.array_equal(scores, framework(made.file, images[:count]))
    cycles = f", {results[0].cycles:,} cycles each" if results[0].cycles else ""
    print(f"{right} of {count} right on {fabric} ({device}){cycles}, scores "
          f"{'equal' if equal else 'NOT equal'} to ONNX Runtime's")


if __name__ == "__main__":
    main()
