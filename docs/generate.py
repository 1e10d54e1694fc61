"""Writes the reference pages that are made from the code: commands, settings, errors, tasks, models, JSON Schemas.

`python docs/generate.py` writes them anew; a test fails where they differ from what stands in docs/reference/.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic import ConfigDict, TypeAdapter

from cellgauge import catalog, errors, specs
from cellgauge.cli import app
from cellgauge.doctor import Report
from cellgauge.events import Event
from cellgauge.report.document import Document
from cellgauge.report.explanation import Explanation
from cellgauge.report.outline import Outline
from cellgauge.report.progress import Status
from cellgauge.report.versus import Versus
from cellgauge.reproduce import Difference
from cellgauge.settings import Settings, shipped
from cellgauge_model import contract
from cellgauge_tasks import Task

REFERENCE = Path(__file__).parent / "reference"
MADE = "<!-- Made by docs/generate.py; change the code, then run: make reference -->\n\n"
DEFAULTS = {"cache": "the user's cache folder, `~/.cache/cellgauge`", "scorers": "half of the CPUs"}
"""Of settings whose default is worked out."""
SCHEMAS = {
    "request": contract.RunRequest,
    "result": contract.RunResult,
    "model": specs.ModelSpec,
    "datasets": catalog.CatalogFile,
    "record": specs.RunRecord,
    "run": Document,
    "plan": Outline,
    "event": Event,
    "status": Status,
    "explain": Explanation,
    "reproduce": Difference,
    "compare": Versus,
    "doctor": Report,
}


GROUPS = """Datasets that tasks compare as one which compare organisms: [Compare species](../how-to/species.md).
"""


def pages() -> dict[str, str]:
    """Make every page: file name → text."""
    made = {f"{name}.schema.json": schema(kind) for name, kind in SCHEMAS.items()}
    texts = {"cli": commands(), "settings": settings(), "errors": exit_codes(), "tasks": tasks(), "models": models()}
    texts["datasets"] = datasets()
    return made | {f"{name}.md": MADE + text for name, text in texts.items()}


def schema(kind: Any) -> str:
    """JSON Schema of a message or file, with the words of the attribute's documentation."""
    for part in vars(contract).values():
        if isinstance(part, type) and part.__module__ == contract.__name__ and hasattr(part, "__dataclass_fields__"):
            part.__pydantic_config__ = ConfigDict(use_attribute_docstrings=True)  # type: ignore[attr-defined]
    return json.dumps(TypeAdapter(kind).json_schema(), indent=2, sort_keys=True) + "\n"


def commands() -> str:
    """Every command with its options."""
    return "# Commands\n\n" + "\n".join(_command(typer.main.get_command(app), "cellgauge"))


def _command(command: Any, name: str) -> Iterator[str]:
    children = getattr(command, "commands", {})
    arguments = "".join(f" [{part.name}]" for part in command.params if part.param_type_name == "argument")
    yield f"## `{name}{' COMMAND' if children else arguments}`\n\n{command.help or ''}\n"
    options = [
        part for part in command.params if part.param_type_name == "option" and "--install-completion" not in part.opts
    ]
    if command.params:
        yield "| | |\n|---|---|"
    for part in command.params:
        if part.param_type_name == "argument":
            yield f"| `{part.name}` | {part.help} |"
    for part in (part for part in options if not part.hidden):
        names = ", ".join(f"`{text}`" for text in sorted(part.opts, key=len))
        required = " Required." if part.required else ""
        yield f"| {names} | {part.help}{required} |"
    yield ""
    for child, found in children.items():
        yield from _command(found, f"{name} {child}")


def settings() -> str:
    """Every environment variable."""
    rows = []
    for name, field in Settings.model_fields.items():
        variable = field.validation_alias or f"CELLGAUGE_{name.upper()}"
        known = field.default not in (None, "", ()) and not field.is_required() and field.default_factory is None
        default = DEFAULTS.get(name, f"`{field.default}`" if known else "")
        rows.append(f"| `{variable}` | {' '.join((field.description or '').split())} | {default} |")
    words = "An option of the command line comes before its variable. Several paths are separated by `:`.\n"
    return "\n".join(["# Settings", "", words, "| variable | meaning | default |", "|---|---|---|", *rows, ""])


def exit_codes() -> str:
    """Every error with its exit code."""
    rows = [
        f"| {kind.exit_code} | `{name}` | {kind.__doc__} |"
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.CellgaugeError)
    ]
    words = (
        "Errors are printed as `error: …` and `hint: …`; `cellgauge --debug …` adds the traceback. With `--json` the "
        'error is also one JSON document on stdout: `{"error": …, "hint": …}`.\n'
    )
    first = [
        "| 0 | | Every planned result is there, or does not apply; one at least is there |",
        "| 1 | | The run is done, and a planned result is missing, or there is none at all |",
        "| 70 | | A bug in cellgauge; please report it |",
    ]
    return "\n".join(
        ["# Exit codes and errors", "", words, "| code | error | meaning |", "|---|---|---|", *first, *rows, ""]
    )


def tasks() -> str:
    """Every task with its metrics."""
    parts = ["# Tasks and metrics", ""]
    for name, task in catalog.tasks().items():
        doc = "\n".join(line.strip() for line in (task.score.__doc__ or "").splitlines()).strip()
        parts += [f"## {name}", "", f"{task.title} Version {task.version}.", "", doc, ""]
        parts += [f"{_reads(task)} Baseline: `{task.baseline}`.", ""]
    parts += ["How each metric is defined stands in [Metrics](metrics.md).", ""]
    return "\n".join(parts)


def _reads(task: Task) -> str:
    """Say what a task reads, and what of it a model may see."""
    hidden = [role for role in task.roles if role not in task.shown]
    text = f"Reads {', '.join(task.roles)}."
    if hidden:
        text += f" No model that sees {' or '.join(hidden)} is scored."
    if task.optional:
        text += f" Reads, where a dataset has it: {', '.join(task.optional)}."
    return text


def models() -> str:
    """Every shipped model."""
    rows = [
        f"| `{name}` | {' '.join(model.spec.verbs)} | {model.spec.title} | "
        f"{', '.join(f'`{key}` = {param.default}' for key, param in model.spec.params.items()) or '–'} | "
        f"{model.spec.determinism} | {model.spec.licence} |"
        for name, model in catalog.models([shipped("model-images")]).items()
    ]
    head = ["| model | verbs | what it is | parameters | determinism | licence |", "|---|---|---|---|---|---|"]
    return "\n".join(["# Models", "", *head, *rows, ""])


def datasets() -> str:
    """Every dataset of the shipped catalogue."""
    every = catalog.entries([shipped("datasets.yaml")])
    found = {name: spec for name, spec in every.items() if isinstance(spec, specs.DatasetSpec)}
    rows = [
        f"| `{name}` | {spec.title} | {spec.organism} | {spec.modality} | "
        f"{', '.join(f'`{role}`' for role in spec.obs) or '–'} | {_standing(spec)} |"
        for name, spec in found.items()
    ]
    words = (
        "An *unverified* one has no checksum yet: `cellgauge datasets pull NAME --record` pulls it and writes it down. "
        "How to add your own: [Add a dataset](../how-to/add-a-dataset.md).\n"
    )
    head = ["| dataset | what it is | organism | modality | roles | |", "|---|---|---|---|---|---|"]
    groups = [spec for spec in every.values() if isinstance(spec, specs.GroupSpec)]
    told = ["## Groups", "", GROUPS, *_groups(groups), "", "## Where they come from", "", *_origins(found), ""]
    return "\n".join(["# Datasets", "", words, *head, *rows, "", *told])


def _groups(groups: list[specs.GroupSpec]) -> Iterator[str]:
    yield from ("| group | what it is | organisms | members |", "|---|---|---|---|")
    for spec in groups:
        organisms = ", ".join(dict.fromkeys(one.organism for one in spec.datasets))
        yield f"| `{spec.name}` | {spec.title} | {organisms} | {', '.join(f'`{name}`' for name in spec.members)} |"


def _standing(spec: specs.DatasetSpec) -> str:
    parts = ["verified" if spec.verified else "unverified"]
    if spec.deprecated:
        instead = f"; use `{spec.deprecated.successor}`" if spec.deprecated.successor else ""
        parts.append(f"deprecated: {spec.deprecated.reason}{instead}")
    if spec.seen_by:
        parts.append(f"models trained on it: {', '.join(f'`{model}`' for model in spec.seen_by)}")
    return "; ".join(parts)


def _origins(found: dict[str, specs.DatasetSpec]) -> Iterator[str]:
    """What is known of each dataset, told once for those that were made alike."""
    for told in dict.fromkeys(spec.provenance for spec in found.values()):
        alike = {name: spec for name, spec in found.items() if spec.provenance == told}
        names = [f"`{name}`" for name in alike]
        listed = ", ".join(names) if len(names) < 4 else f"{names[0]} … {names[-1]}"
        cited = "; ".join(dict.fromkeys(spec.citation for spec in alike.values()))
        licence = "; ".join(dict.fromkeys(spec.licence for spec in alike.values()))
        yield f"- {listed}: {' '.join(told.split())} {cited}. Licence: {licence}."


if __name__ == "__main__":
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{name}\n")
