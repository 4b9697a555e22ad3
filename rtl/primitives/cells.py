"""Which cells of a chip a fabric is built from: the same results from each, at other sizes and speeds."""
from dataclasses import dataclass

FAMILIES = "portable", "ecp5", "ice40"
MULTIPLIERS = "inferred", "logic", "cell", "pair"


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The choice for one build; no Program depends on it.

    Parameters
    ----------
    family : str
        "ecp5" and "ice40" put the vendor's cells where there are such; "portable" leaves all to the tools,
        and is what simulators are given.
    array : str
        The array's multipliers: "inferred" by the tools, in "logic" (carry chains), one product to a "cell",
        or two ("pair").

    Raises
    ------
    ValueError
        If there is no such choice.
    """

    family: str = "portable"
    array: str = "inferred"

    def __post_init__(self) -> None:
        for name, choices in (("family", FAMILIES), ("array", MULTIPLIERS)):
            if (value := getattr(self, name)) not in choices:
                raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}")


PORTABLE = Cells()
