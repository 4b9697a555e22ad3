"""Fabrics by the fingerprint that a device tells."""
from ...rtl.contract.errors import MismatchError
from ...rtl.contract.fabric import Fabric
from ...rtl.contract.presets import PRESETS


def preset_of(fingerprint: int) -> Fabric:
    """The preset with a fingerprint.

    Raises
    ------
    MismatchError
        If there is none.
    """
    for fabric in PRESETS.values():
        if fabric.fingerprint == fingerprint:
            return fabric
    raise MismatchError(f"the device has {name_of(fingerprint)}, no preset of this software; name the TOML "
                        "file that it was built from as the fabric, or build and flash it again")


def name_of(fingerprint: int) -> str:
    """A fabric in words: the preset's name, if it is one."""
    names = [fabric.name for fabric in PRESETS.values() if fabric.fingerprint == fingerprint]
    return f"fabric {names[0]} ({fingerprint:#018x})" if names else f"an unknown fabric ({fingerprint:#018x})"
