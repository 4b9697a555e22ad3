"""The best Program for a fabric: where one memory serves for everything, of several ways to divide it."""

from collections.abc import Iterator, Sequence

from ...rtl.contract.errors import CapacityError
from ...rtl.contract.fabric import Fabric
from ..lower.plan import Plan
from ..schedule.partition import smaller
from ..schedule.schedule import Scheduled, Segment, schedule
from .emit import emit
from .program import Program


def fit(plan: Plan, fabric: Fabric) -> Program:
    """Schedule and emit a network.

    With ``shared_words`` the less images take, the more weights stay on chip; but images that do not fit pass
    in strips, with some rows computed twice. Of some sizes that with the fewest predicted cycles is taken.

    Raises
    ------
    CapacityError
        See ``schedule``.
    """
    if not fabric.shared_words:
        return emit(schedule(plan, fabric))
    error: CapacityError | None = None
    best: Program | None = None
    for scheduled in _schedules(plan, fabric):
        if isinstance(scheduled, CapacityError):
            error = error or scheduled
            continue
        program = emit(scheduled)
        if best is None or program.predicted < best.predicted:
            best = program
    if best is None:
        assert error is not None
        raise error
    return best


def _schedules(plan: Plan, fabric: Fabric) -> Iterator[Scheduled | CapacityError]:
    """Schedules, or why there is none, until everything stays on chip in one."""
    for in_place in (True, False):  # the latter only if there is none of the former
        sizes: Sequence[int | None] = [None]
        found = False
        while sizes:
            tried, *sizes = sizes
            try:
                scheduled = schedule(plan, fabric, am_words=tried, adds_in_place=in_place)
            except CapacityError as error:
                yield error
                if tried is None:
                    sizes = smaller(fabric, fabric.shared_words)
                continue
            yield scheduled
            if _stays(scheduled):
                return
            found = True
            if tried is None:
                sizes = _sizes(scheduled)
        if found:
            return


def _sizes(scheduled: Scheduled) -> Sequence[int]:
    """Words for images to try where not all that they wanted left room for all the rest."""
    fabric, partition, constants = scheduled.fabric, scheduled.partition, scheduled.constants
    assert partition is not None
    need = (fabric.am_bytes - partition.ports) // fabric.rows + constants.weights.size
    need += (constants.params.size + 1) * fabric.parameter_words
    return smaller(fabric, partition.am_words, fabric.shared_words - need)


def _stays(scheduled: Scheduled) -> bool:
    """Whether weights, parameters and whole images are on chip throughout."""
    stores = scheduled.constants.weights, scheduled.constants.params
    images = [part.images for part in scheduled.parts if isinstance(part, Segment)]
    return all(store.residency.resident for store in stores) and not any(
        part is not None and (part.spilled or part.groups) for part in images)
