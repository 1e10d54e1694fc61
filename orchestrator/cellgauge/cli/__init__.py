"""The command line: parse, call, show. Only here are errors turned into words and exit codes."""

import sys
import traceback
from typing import Annotated

import typer

import cellgauge
from cellgauge.cli import listing, results, run
from cellgauge.cli.output import out, show_error
from cellgauge.errors import CellgaugeError

app = typer.Typer(
    name="cellgauge",
    help="Compare biology's AI models: each sealed in its own container, all scored by the same functions.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("plan")(run.plan)
app.add_typer(listing.app, name="list")
app.command("show")(results.show)


def _version(asked: bool) -> None:
    if asked:
        out.print(f"cellgauge {cellgauge.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with every error.")] = False,
) -> None:
    """Options that come before the command."""


def main() -> None:
    """Run the command line and exit with its code."""
    debug, as_json = "--debug" in sys.argv, "--json" in sys.argv
    try:
        app(prog_name="cellgauge")  # also under `python -m`, so that completion and help know it
    except CellgaugeError as problem:
        if debug:
            traceback.print_exc()
        show_error(problem.message, problem.hint, as_json=as_json)
        sys.exit(problem.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone, `head` for instance
        sys.exit(141)
    except Exception as problem:
        if debug:
            traceback.print_exc()
        reason = f"{type(problem).__name__}: {problem}"
        show_error(
            f"internal error: {reason}", "This is a bug. Please report it, with what --debug shows.", as_json=as_json
        )
        sys.exit(70)
