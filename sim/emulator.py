"""Executes the ISA: nothing but the effects that rtl/contract/isa.py gives each instruction."""
from ..rtl.contract.errors import ProgramError
from ..rtl.contract.fabric import Fabric
from ..rtl.contract.isa import INSTRUCTION_BYTES, Instruction
from ..rtl.contract.machine import Bytes, Machine


class Emulator:
    """One fabric in pure NumPy; memories live on from run to run, as they do in the hardware."""

    def __init__(self, fabric: Fabric, dram: Bytes, rom: Bytes | None = None):
        self.machine = Machine(fabric, dram, rom)

    def run(self, address: int, count: int) -> int:
        """Execute ``count`` instructions that lie in memory at ``address``; returns the number executed.

        Raises
        ------
        ProgramError
            Names the index of the instruction that broke a rule, and the rule.
        """
        machine = self.machine
        for index in range(count):
            start = address + index * INSTRUCTION_BYTES
            code = machine.memory(start, INSTRUCTION_BYTES)
            try:
                if code is None:
                    raise ProgramError("there is no memory")
                machine.step(Instruction.decode(code.tobytes(), machine.fabric))
            except ProgramError as error:
                raise ProgramError(f"instruction {index} at {start:#x}: {error}") from error
        machine.finish()
        return count
