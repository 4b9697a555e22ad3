"""The named fabrics, and how a fabric is read from a TOML file."""

import tomllib
from pathlib import Path

from .errors import FabricError
from .fabric import Fabric

PRESETS: dict[str, Fabric] = {
    fabric.name: fabric
    for fabric in (
        Fabric(
            name="tiny",
            rows=4,
            cols=4,
            am_words=4096,
            wm_words=8192,
            pm_words=256,
            acc_depth=256,
            fifo_depth=64,
            line_depth=0,
            tables=1,
            bus_bytes=4,
            profile_layers=64,
        ),
        # 256 KiB of activations, 768 KiB of weights.
        Fabric(
            name="sim8x8", rows=8, cols=8, am_words=32768, wm_words=98304, pm_words=4096, fifo_depth=1024
        ),
        Fabric(name="sim16x16", am_words=16384, wm_words=49152, pm_words=4096, fifo_depth=1024),
        Fabric(
            name="sim32x16", rows=32, am_words=8192, wm_words=49152, pm_words=4096, fifo_depth=1024
        ),
        # One memory of 128 KiB for everything; constants and instructions in 16 MiB of flash behind 2**24.
        Fabric(
            name="icebreaker",
            rows=4,
            cols=4,
            lanes=1,
            am_words=32768,
            wm_words=32768,
            pm_words=6553,
            acc_depth=255,
            fifo_depth=256,
            acc_width=24,
            weight_bits=8,
            line_depth=0,
            tables=1,
            ties_to_even=False,
            bus_bytes=4,
            max_burst=16,
            queue_depth=3,
            outstanding=1,
            profile_layers=0,
            shared_words=32768,
            rom_base=(1 << 24) + (1 << 20),  # in front of it the flash holds the bitstream
        ),
        # 197 of 208 block RAMs: delays of up to 128 pixels are of LUTs. The array's multipliers are of logic,
        # the 8 lanes take 72 of 156 multiplier cells; 16 lanes would save an eighth of the cycles, and leave
        # the router no room. The memory has 2 bytes a cycle: two long bursts at a time, so that no
        # instruction waits behind many.
        Fabric(
            name="ulx3s_85f",
            lanes=8,
            am_words=4096,
            wm_words=16384,
            pm_words=2048,
            fifo_depth=64,
            acc_width=24,
            weight_bits=8,
            line_depth=128,
            bus_bytes=4,
            max_burst=32,
            outstanding=2,
            queue_depth=8,
            profile_layers=32,
        ),
        Fabric(
            name="ulx3s_25f",
            rows=8,
            cols=8,
            am_words=4096,
            wm_words=4096,
            pm_words=512,
            acc_depth=256,
            fifo_depth=64,
            bus_bytes=4,
            profile_layers=0,
        ),
    )
}
DEFAULT = "sim16x16"


def load_fabric(name_or_file: str | Path | Fabric) -> Fabric:
    """A fabric by preset name, or from a TOML file (``base = "sim16x16"`` and the parameters that differ).

    Raises
    ------
    FabricError
        If there is neither such a preset nor such a file, or the file breaks a limit.
    """
    if isinstance(name_or_file, Fabric):
        return name_or_file
    if (preset := PRESETS.get(str(name_or_file))) is not None:
        return preset
    path = Path(name_or_file)
    if not path.is_file():
        raise FabricError(
            f"there is no fabric {str(name_or_file)!r}: it is neither a preset "
            f"({', '.join(PRESETS)}) nor a TOML file"
        )
    try:
        values = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FabricError(f"{path} is not TOML: {error}") from error
    base = values.pop("base", DEFAULT)
    if base not in PRESETS:
        raise FabricError(f"{path}: base is {base!r}; choose one of {', '.join(PRESETS)}")
    values.setdefault("name", path.stem)
    try:
        return PRESETS[base].but(**values)
    except FabricError as error:
        raise FabricError(f"{path}: {error}") from error
