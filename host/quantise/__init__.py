"""Post-training quantisation: a float ONNX model and samples of its inputs become an int8 ONNX model."""
from .flow import Accuracy, Quantised, quantise
from .samples import Sample, split

__all__ = ["Accuracy", "Quantised", "Sample", "quantise", "split"]
