"""The command line: parse, call, show. Only here are errors turned into words and exit codes."""

import io
import os
import sys
import traceback
from typing import Annotated

import typer

import cellgauge
from cellgauge.cli import again, background, cleaning, datasets, doctor, listing, logs, results, run, score
from cellgauge.cli.output import out, show_error
from cellgauge.errors import CellgaugeError, Interrupted

app = typer.Typer(
    name="cellgauge",
    help="Compare biology's AI models: each sealed in its own container, all scored by the same functions.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("plan")(run.plan)
app.command("explain")(run.explain)
app.command("retry")(again.retry)
app.command("reproduce")(again.reproduce)
app.add_typer(listing.app, name="list")
app.add_typer(datasets.app, name="datasets")
app.command("score")(score.score)
app.command("show")(results.show)
app.command("compare")(results.compare)
app.command("status")(background.status)
app.command("logs")(logs.logs)
app.command("cancel")(background.cancel)
app.command("clean")(cleaning.clean)
app.command("doctor")(doctor.doctor)


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
    words = [word for word in sys.argv[1:] if word != "--debug"]  # it may stand anywhere
    as_json = "--json" in words
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without † is no reason to fail
    try:
        # Not on its own, since then typer would print the errors, in another form; named also under `python -m`.
        sys.exit(typer.main.get_command(app).main(words, prog_name="cellgauge", standalone_mode=False))
    except Exception as problem:
        if "--debug" in sys.argv:
            traceback.print_exc()
        message, hint, code = explain(problem)
        show_error(message, hint, as_json=as_json)
        if isinstance(problem, Interrupted):  # threads may still write a view or hash weights, for nobody
            sys.stdout.flush()
            os._exit(code)
        sys.exit(code)


def explain(problem: Exception) -> tuple[str, str, int]:
    """Put an exception into words: message, hint and exit code."""
    if isinstance(problem, CellgaugeError):
        return problem.message, problem.hint, problem.exit_code
    if isinstance(problem, typer.Abort):
        return "stopped on request", "", 130
    if hasattr(problem, "format_message"):  # what the parser says of wrong options
        command = getattr(getattr(problem, "ctx", None), "command_path", "cellgauge")
        return str(problem.format_message()), f"See: {command} --help", 2
    if isinstance(problem, OSError):  # stdout is closed or full; everything else is caught where it happens
        return f"cannot write the output: {problem.strerror}", "", 6
    reason = f"{type(problem).__name__}: {problem}"
    return f"internal error: {reason}", "This is a bug. Please report it, with what --debug shows.", 70
