"""A board's design as text for the tools: RTLIL, pins and commands, as amaranth-boards plans them."""
import json
import re
import warnings
from collections.abc import Callable
from typing import Any

from .board import Board
from .build import COMMANDS, CONSTRAINTS, DESIGN, SCRIPT, TOP

BARE = "setattr -unset src; setattr -mod -unset src"
"""After synthesis: without places in yosys' library a netlist is half as large, and the same everywhere."""

READ_PORT = re.compile(r"^  cell \$memrd_v2 .*?^  end$", re.MULTILINE | re.DOTALL)
UNCLOCKED = re.compile(r"parameter \\CLK_ENABLE (?:1')?0$", re.MULTILINE)
COLLISION = re.compile(r"(parameter \\COLLISION_X_MASK )(\d+)'[01]+")
NUMBERED = re.compile(r"\\[^\s\[\]]+(?:\[\d+\][^\s\[\]]*)+")


def for_synthesis(rtlil: str) -> str:
    """A design as yosys' mappers want it.

    A word that is read while it is written may be anything: none of our units counts on it, and a block RAM
    that had to give the old word would get a comparator and registers (yosys' -no-rw-check does nothing for
    memories that are read with a clock). And wires that Amaranth names for the elements of an array, such as
    ``psum[3]``, lose their brackets: abc9's files name bits of a wire like that, and cannot be read back.
    """
    def relaxed(cell: re.Match[str]) -> str:
        if UNCLOCKED.search(cell[0]):
            return cell[0]
        return COLLISION.sub(lambda mask: f"{mask[1]}{mask[2]}'" + "1" * int(mask[2]), cell[0])

    return NUMBERED.sub(lambda name: re.sub(r"[\[\]]", "_", name[0]), READ_PORT.sub(relaxed, rtlil))


def plan_files(board: Board, top: Callable[[], Any] | None) -> dict[str, str]:
    """The files of a design by name: RTLIL, yosys' script, constraints, and the tools' arguments as JSON."""
    platform = board.platform()
    made = top() if top is not None else board_top(board)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        plan = platform.prepare(made, TOP, emit_src=False, script_after_synth=BARE,
                                synth_opts=" ".join(("-no-rw-check", *board.synthesis)))
    commands = json.loads(plan.files[f"build_{TOP}.json"])["commands"]
    calls = {name: _without_logs(arguments) for name, *arguments in commands if name != "yosys"}
    pins = CONSTRAINTS[board.family]
    return {DESIGN: for_synthesis(plan.files[DESIGN]), SCRIPT: plan.files[SCRIPT],
            COMMANDS: json.dumps(calls), pins: plan.files[pins]}


def _without_logs(arguments: list[str]) -> list[str]:
    """What a log needs that we read ourselves, and no file that nobody wants."""
    kept: list[str] = []
    skip = False
    for word in arguments:
        if skip:
            skip = False
        elif word in ("--log", "--svf"):
            skip = True
        elif word != "--quiet":
            kept.append(word)
    return kept


def board_top(board: Board) -> Any:
    """The board's own design."""
    from .icebreaker import ICEBreakerTop
    from .ulx3s import ULX3STop

    return (ULX3STop if board.family == "ecp5" else ICEBreakerTop)(board=board)
