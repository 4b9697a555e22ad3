"""``celosia board``: a board without the board."""
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from .build import board_argument
from .commands import debug_option, json_option
from .progress import build_progress
from .tables import console

PAUSE = 0.1


@click.command()
@board_argument
@click.option("--link", type=click.Path(dir_okay=False, path_type=Path), metavar="PATH",
              help="A symbolic link to the terminal, to have a name that is known beforehand.")
@click.option("--baud", type=click.IntRange(min=1), metavar="BITS",
              help="Bits a second of the board's clock on its serial wires. Default: the fastest that it "
              "takes, 6 cycles a bit, since simulated cycles take long. (The board itself has 3,000,000.)")
@click.option("--seconds", type=click.FloatRange(min=0), metavar="S", help="End after so long.")
@click.option("--idle", type=click.FloatRange(min=0), metavar="S",
              help="End when nothing came over the wires for so long.")
@json_option
@debug_option
def board(board: str, link: Path | None, baud: int | None, seconds: float | None, idle: float | None,
          as_json: bool) -> None:
    """Run the gateware of BOARD as native code, from its serial wires to the chip at its memory's pins.

    Prints the name of a pseudo terminal, on which the board answers as on a serial port, and runs until it is
    interrupted. Simulated time stands still while nothing happens.

    \b
    celosia board ulx3s_85f --link board &
    celosia run model.tflite --device serial:board --check
    """
    from ..sim.virtual.board import VirtualBoard

    with build_progress() as progress:
        made = VirtualBoard(board, baud=baud or 0, link=link, progress=progress)
    with made as running, until_told():
        name = link if link is not None else running.port
        if as_json:
            click.echo(json.dumps({
                "board": running.board.name, "fabric": running.board.fabric.name, "port": running.port,
                "link": None if link is None else str(link), "clock": running.wire.clock,
                "baud": running.wire.baud}))
        else:
            console.print(escape(f"virtual {running.board.title} with fabric {running.board.fabric.name}, "
                                 f"{running.wire.clock // running.wire.baud} cycles a bit"))
            console.print(escape(f"try: celosia run MODEL --device serial:{name}"), highlight=False)
        wait(running, seconds, idle)
    counters = running.counters
    if as_json:
        click.echo(json.dumps({"cycles": counters.cycles, "fabric_cycles": counters.fabric_cycles,
                               "bytes_in": counters.bytes_in, "bytes_out": counters.bytes_out,
                               "cycles_per_second": round(running.cycles_per_second)}))
    else:
        console.print(f"{counters.cycles:,} cycles at {running.cycles_per_second:,.0f} a second; "
                      f"{counters.bytes_in:,} bytes in, {counters.bytes_out:,} out")


@contextmanager
def until_told() -> Iterator[None]:
    """Ctrl-C or a SIGTERM is the usual way to end it, and no error."""
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def wait(running: Any, seconds: float | None, idle: float | None) -> None:
    """Return when the time is over, nothing has come for too long, or the simulation broke."""
    begin = heard = time.monotonic()
    seen = 0
    while running.running:
        now = time.monotonic()
        counters = running.counters
        if (moved := counters.bytes_in + counters.bytes_out) != seen:
            seen, heard = moved, now
        if seconds is not None and now - begin >= seconds or idle is not None and now - heard >= idle:
            return
        time.sleep(PAUSE)
