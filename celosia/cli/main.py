"""The ``celosia`` command: subcommands, and one place where errors become messages and exit codes."""
import io
import sys
import traceback
from collections.abc import Sequence

import click

from ..rtl.contract.errors import CelosiaError
from .bench import bench
from .board import board
from .build import build, flash
from .commands import compile_, debug_option, demo, doctor, fabrics, inspect, run, verilog
from .quantize import quantize

EPILOG = ("Exit codes: 0 done, 1 wrong result (--check failed) or slower than recorded, "
          "2 bad input or usage, 3 device or tool trouble.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
             epilog=EPILOG)
@debug_option
@click.version_option(package_name="celosia")
def cli() -> None:
    """Run int8 neural networks on an open systolic matrix engine, exactly.

    \b
    celosia demo                                  a network of our own on the simulated hardware
    celosia run model.tflite --check              your model; every output compared with LiteRT's
    celosia run model.tflite --fabric sim8x8      on a smaller fabric
    """


for command in (run, compile_, inspect, quantize, bench, fabrics, verilog, build, flash, board, demo, doctor):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: errors go to stderr in one paragraph, tracebacks only with --debug.

    --debug may stand before or after the subcommand.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without box characters shows "?" instead
    try:
        code = cli(arguments, prog_name="celosia", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("celosia: stopped", err=True)
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        message, code = explain(error)
        click.echo(f"celosia: {message}", err=True)
    sys.exit(code if isinstance(code, int) else 0)


def explain(error: Exception) -> tuple[str, int]:
    """What to say about an error, and the exit code."""
    match error:
        case CelosiaError():
            return str(error), error.exit_code
        case click.ClickException():
            context = getattr(error, "ctx", None)
            hint = f"; try `{context.command_path} --help`" if context is not None else ""
            return error.format_message().rstrip(".") + hint, error.exit_code
        case MemoryError():
            return f"there is not enough memory: {error}; use a smaller model or fewer samples", 3
    return (f"a fault in Celosia itself, {type(error).__name__}: {error}; please report it with what "
            "the same command says with --debug", 3)
