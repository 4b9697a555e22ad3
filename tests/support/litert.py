"""LiteRT's reference kernels: the interpreter that results must equal bit for bit."""
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


class LiteRt:
    """One model in the interpreter, with BUILTIN_REF and every tensor kept."""

    def __init__(self, model: bytes) -> None:
        self._interpreter = Interpreter(model_content=model,
                                        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
                                        experimental_preserve_all_tensors=True)
        self._interpreter.allocate_tensors()

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Outputs of the network."""
        for detail, value in zip(self._interpreter.get_input_details(), inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], value)
        self._interpreter.invoke()
        return [self.tensor(detail["index"]) for detail in self._interpreter.get_output_details()]

    def tensor(self, index: int) -> np.ndarray:
        """Any tensor after run()."""
        return self._interpreter.get_tensor(index)
