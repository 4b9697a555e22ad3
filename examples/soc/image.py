"""Makes of a model what a system without an operating system can run: a memory image and a C header.

    python examples/soc/image.py model.tflite --fabric tiny -o build/soc

writes network.bin (all bytes from the fabric's address 0 on), network.hex (the same for $readmemh, a bus word
a line), network.h and network.vh (where the instructions, the input and the output lie, for C and Verilog).
Operators behind the last one that the fabric runs, such as a softmax, are named and left to you.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
from celosia.host.emit.program import DramTensor, FabricRun, Program

import celosia


def memory_image(program: Program) -> np.ndarray:
    """Everything the Program needs in memory; inputs and outputs are zeros."""
    image = np.zeros(program.dram_bytes, np.uint8)
    for address, blob in program.blobs:
        image[address:address + len(blob)] = blob
    return image


def network_places(program: Program) -> dict[str, int]:
    """Addresses and counts, as network.c wants them.

    Raises
    ------
    ValueError
        If the fabric does not run it first, at once, from one input to one output: the rest is the Python
        driver's business.
    """
    run, *rest = program.steps
    if not isinstance(run, FabricRun) or any(isinstance(step, FabricRun) for step in rest):
        raise ValueError(f"{program.name} has operators before the fabric's last that run on the host; see "
                         "`celosia inspect`")
    if len(run.inputs) != 1 or len(run.outputs) != 1 or run.weights:
        raise ValueError(f"{program.name} has {len(run.inputs)} inputs and {len(run.outputs)} outputs on the "
                         "fabric, or weights that it computes; network.c shows the case of one and one")
    return {"SETUP_ADDRESS": program.setup[0], "SETUP_COUNT": program.setup[1],
            "ADDRESS": run.address, "COUNT": run.count,
            **places("INPUT", run.inputs[0]), **places("OUTPUT", run.outputs[0])}


def places(name: str, home: DramTensor) -> dict[str, int]:
    """Where a tensor lies."""
    if home.flipped:
        raise ValueError("a uint8 tensor lies in memory with the top bit of each byte inverted; network.c "
                         "does not do that")
    return {f"{name}_ADDRESS": home.address, f"{name}_ROWS": home.rows, f"{name}_ROW_BYTES": home.row_bytes,
            f"{name}_STRIDE": home.stride}


def words(image: np.ndarray, width: int) -> str:
    """The image for $readmemh: the first byte is the low one of the first word."""
    padded = np.pad(image, (0, -len(image) % width)).reshape(-1, width)
    return "".join(f"{word[::-1].tobytes().hex()}\n" for word in padded)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--fabric", default="tiny")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder")
    wanted = parser.parse_args()
    try:
        program = celosia.compile(wanted.model, fabric=wanted.fabric)
        values = network_places(program)
    except (celosia.CelosiaError, ValueError) as error:
        sys.exit(f"image.py: {error}")
    image = memory_image(program)
    wanted.output.mkdir(parents=True, exist_ok=True)
    (wanted.output / "network.h").write_text(
        "".join(f"#define NETWORK_{name} {value}u\n" for name, value in values.items()))
    (wanted.output / "network.vh").write_text(
        "".join(f"`define NETWORK_{name} {value}\n" for name, value in values.items()))
    (wanted.output / "network.bin").write_bytes(image.tobytes())
    (wanted.output / "network.hex").write_text(words(image, program.fabric.bus_bytes))
    for step in program.steps[1:]:
        print(f"left to you: {program.graph.ops[step.op].kind} ({step.reason})")
    print(f"{wanted.output}: {program.name} for fabric {program.fabric.name}, {len(image):,} bytes")


if __name__ == "__main__":
    main()
