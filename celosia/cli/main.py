"""The ``celosia`` command: subcommands, and one place where errors become messages and exit codes."""
import sys
import traceback

import click

from ..rtl.contract.errors import CelosiaError
from .commands import compile_, demo, doctor, fabrics, inspect, run, verilog

EPILOG = """Exit codes: 0 done, 1 wrong result (--check failed), 2 bad input or usage, 3 device or tool trouble."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, epilog=EPILOG)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="celosia")
def cli(debug: bool) -> None:
    """Run int8 neural networks on an open systolic matrix engine, exactly.

    \b
    celosia demo                                  a network of our own on the simulated hardware
    celosia run model.tflite --check              your model; every output compared with LiteRT's
    celosia run model.tflite --fabric sim8x8      on a smaller fabric
    """


for command in (run, compile_, inspect, fabrics, verilog, demo, doctor):
    cli.add_command(command)


def main() -> None:
    """Entry point: errors go to stderr in one paragraph, tracebacks only with --debug."""
    debug = "--debug" in sys.argv
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("stopped", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except CelosiaError as error:
        if debug:
            traceback.print_exc()
        click.echo(f"celosia: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
        sys.exit(130)
