"""What the multiplier of a fabric's post-processing takes, which the search for records has to keep to."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...rtl.contract.fabric import Fabric
from ...rtl.contract.numerics import (
    ADD_CONSTANT_BITS,
    ADD_MULT_BITS,
    ADD_SHIFT_BITS,
    MULT_BITS,
)


@dataclass(frozen=True)
class Multiplier:
    """Bits of the fields of numerics.Channel and Add that count.

    ``odd``: the lowest bit of every multiplier is taken for 1. ``products``: numerics.Product is known.
    ``sum_bits``: of a biased sum.
    """

    sum_bits: int = 32
    bits: int = MULT_BITS
    add_bits: int = ADD_MULT_BITS
    constant_bits: int = ADD_CONSTANT_BITS
    add_shift_bits: int = ADD_SHIFT_BITS
    odd: bool = False
    products: bool = True

    def nearest(self, value: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """The multiplier nearest to each value."""
        if self.odd:
            return 2 * np.rint((value - 1) / 2).astype(np.int64) + 1
        return np.rint(value).astype(np.int64)


LARGE = Multiplier()
SERIAL = Multiplier(bits=24, add_bits=25, constant_bits=32, add_shift_bits=5, odd=True, products=False)
"""That of the small fabrics: its digits are +1 and -1, one a row of logic cells."""


def multiplier_of(fabric: Fabric) -> Multiplier:
    """A fabric whose memory serves for everything has the serial post-processing."""
    kind = SERIAL if fabric.shared_words else LARGE
    return replace(kind, sum_bits=fabric.acc_width)
