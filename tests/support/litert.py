"""LiteRT's reference kernels: the interpreter that results must equal bit for bit."""
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


class LiteRt:
    """One model in the interpreter, with every tensor kept.

    BUILTIN_REF leaves out a few operators that have a single kernel; ``reference=False`` has these too.
    """

    def __init__(self, model: bytes, *, reference: bool = True) -> None:
        resolver = (OpResolverType.BUILTIN_REF if reference
                    else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
        self._interpreter = Interpreter(model_content=model,
                                        experimental_op_resolver_type=resolver,
                                        experimental_preserve_all_tensors=True)
        self._interpreter.allocate_tensors()

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Outputs of the network; states last from run to run."""
        for detail, value in zip(self._interpreter.get_input_details(), inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], value)
        self._interpreter.invoke()
        return [self.tensor(detail["index"]) for detail in self._interpreter.get_output_details()]

    def reset(self) -> None:
        """Fresh states for the next run."""
        self._interpreter.reset_all_variables()

    def tensor(self, index: int) -> np.ndarray:
        """Any tensor after run()."""
        return self._interpreter.get_tensor(index)
