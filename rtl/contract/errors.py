"""The tree of errors that a user can meet: each says what was seen, what was expected and what to do."""


class CelosiaError(Exception):
    """Base of every error Celosia raises on purpose.

    ``exit_code`` is what the command line returns for it (design: 1 wrong result, 2 bad input or usage,
    3 device trouble).
    """

    exit_code = 2


class FabricError(CelosiaError, ValueError):
    """A fabric parameter, or a combination of them, that cannot be built."""


class ModelError(CelosiaError, ValueError):
    """A model file that is not readable: wrong format, truncated, inconsistent."""


class UnsupportedError(CelosiaError):
    """A well-formed model that asks for something no kernel here computes."""


class GraphError(CelosiaError):
    """A graph that breaks a rule of the intermediate representation (after an import or a pass)."""


class CapacityError(CelosiaError):
    """A layer of which not even one tile fits the memories of the fabric.

    Parameters
    ----------
    message : str
    ops : the operators, as positions in the graph, that would have to run elsewhere
    """

    def __init__(self, message: str, ops: tuple[int, ...] = ()):
        super().__init__(message)
        self.ops = ops


class InputError(CelosiaError, ValueError):
    """Inputs of a wrong name, number, shape or type."""


class ProgramError(CelosiaError, ValueError):
    """A Program file that is damaged, or an instruction stream that breaks the ISA's rules."""


class MismatchError(ProgramError):
    """A Program made for another fabric than the one it is given to."""


class ToolError(CelosiaError):
    """A build tool (verilator, a C++ compiler, yosys) that is missing or failed."""

    exit_code = 3


class DeviceError(CelosiaError):
    """The fabric answered, but not as the contract says it must."""

    exit_code = 3


class LinkError(DeviceError):
    """The wire to a board: its port cannot be used, nothing answers, or the board was reset in between."""


class FaultError(DeviceError):
    """The fabric stopped and reported a fault; ``code``, ``address`` and ``unit`` are what it reported."""

    def __init__(self, message: str, *, code: int, address: int, unit: int):
        super().__init__(message)
        self.code, self.address, self.unit = code, address, unit


class DeviceTimeout(DeviceError, TimeoutError):
    """The fabric did not finish within the cycles or seconds it was given."""


class WrongResult(CelosiaError):
    """A checked run whose outputs differ from the reference."""

    exit_code = 1
