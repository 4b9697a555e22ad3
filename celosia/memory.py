"""The memory behind the fabric's port as a user names it, and the cycles a Program should take with it."""
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from .host.emit.program import Program
from .host.schedule.predict import Latencies, Prediction, predicted_cycles
from .rtl.contract.errors import InputError
from .sim.native.model import MEMORIES, Memory

AUTO = "auto"
FORMS = f"{AUTO}, {', '.join(MEMORIES)}, or BYTES_PER_CYCLE[:READ_LATENCY[:WRITE_LATENCY]] such as 2:14:10"
FINEST = 10_000
"""The largest denominator of a bandwidth."""

_LATENCIES = (MEMORIES["bus"].read_latency, MEMORIES["bus"].write_latency)


@dataclass(frozen=True)
class NamedMemory:
    """A memory with the name that reports give it."""

    name: str
    memory: Memory

    def summary(self) -> dict[str, Any]:
        """As ``--json`` tells it; ``bytes_per_cycle`` is null where the bus alone is the limit."""
        rate = self.memory.bytes_per_cycle
        return {"name": self.name, "bytes_per_cycle": None if rate is None else round(float(rate), 4),
                "read_latency": self.memory.read_latency, "write_latency": self.memory.write_latency}


def read_memory(text: str) -> NamedMemory | None:
    """A memory from what was typed; None for "auto", which each Program decides.

    Raises
    ------
    InputError
        If it is neither a name nor numbers that make a memory.
    """
    if text == AUTO:
        return None
    if text in MEMORIES:
        return NamedMemory(text, MEMORIES[text])
    rate, *latencies = text.split(":")
    try:
        if len(latencies) > 2:
            raise ValueError("it has more than two latencies")
        read, write = [*map(int, latencies), *_LATENCIES[len(latencies):]]
        return NamedMemory(text, Memory(bytes_per_cycle=Fraction(rate).limit_denominator(FINEST),
                                        read_latency=read, write_latency=write))
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"there is no memory {text!r}: {error}; choose one of {FORMS}") from error


def memory_for(program: Program, chosen: NamedMemory | None) -> NamedMemory:
    """What was chosen, or for "auto": ``sdram16`` for a Program that moves weights or images during a run.

    One that keeps all on chip gets ``bus``: only its instructions, inputs and outputs cross the port.
    """
    if chosen is not None:
        return chosen
    name = "bus" if stays_on_chip(program.memory) else "sdram16"
    return NamedMemory(name, MEMORIES[name])


def stays_on_chip(plan: Mapping[str, Any]) -> bool:
    """Whether ``Program.memory`` says that weights, parameters and images never leave the chip."""
    return all([plan.get("weights_resident", True), plan.get("parameters_resident", True),
                *(part["resident"] for part in plan.get("segments", ()))])


def predicted(program: Program, memory: Memory | None) -> Prediction:
    """Cycles of one inference, and of its layers by their tags; None stands for a memory like ``bus``."""
    if memory is None or memory == MEMORIES["bus"]:  # what the compiler reckoned with
        return Prediction(program.predicted,
                          {layer.tag: layer.predicted for layer in program.layers if layer.tag >= 0})
    return predicted_cycles(program, Latencies(read=memory.read_latency, write=memory.write_latency,
                                               bytes_per_cycle=memory.bytes_per_cycle))
