"""`cellgauge clean`: remove what killed runs left behind."""

import typer

from cellgauge.cli import options
from cellgauge.cli.output import out, say, show_json


def clean(engine: options.EngineName = None, results: options.Results = None, as_json: options.Json = False) -> None:
    """Remove containers, processes and folders that your own runs left when they were killed; nobody else's."""
    from cellgauge import settings
    from cellgauge.engines import every
    from cellgauge.errors import EngineError
    from cellgauge.store import Store

    chosen = settings.read(results=results, engine=engine)
    found = Store(chosen.results).sweep()
    failed = False
    for one in every(chosen.engine):
        try:
            found += one.sweep()
        except EngineError as problem:
            # Without Docker on the machine there is nothing of it to clean, unless somebody named it.
            failed = chosen.engine == "docker" or bool(chosen.docker_host)
            say(f"not looked at: {problem.message}")
    if as_json:
        show_json({"removed": found})
    else:
        for line in found:
            out.print(f"removed: {line}", markup=False, soft_wrap=True)
        out.print(f"{len(found)} leftovers removed" if found else "nothing was left over")
    raise typer.Exit(5 if failed else 0)
