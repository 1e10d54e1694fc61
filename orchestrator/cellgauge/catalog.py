"""Finds what there is: datasets in `datasets.yaml`, models in folders, tasks in `cellgauge_tasks` and entry points."""

import fnmatch
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from cellgauge import yamlfile
from cellgauge.errors import CatalogError, UnknownNameError, UsageError
from cellgauge.specs import DatasetEntry, DatasetSpec, Model, ModelSpec, Name, Spec
from cellgauge_tasks import Task, find

T = TypeVar("T")


class CatalogFile(Spec):
    """A whole `datasets.yaml`."""

    datasets: dict[Name, DatasetEntry]


def datasets(files: Sequence[Path]) -> dict[str, DatasetSpec]:
    """Read the dataset catalogues; a later file may not redefine a name of an earlier one.

    Raises
    ------
    CatalogError
        If a file is missing or malformed, naming file, line and field.
    """
    found: dict[str, DatasetSpec] = {}
    for path in dict.fromkeys(path.absolute() for path in files):
        for name, entry in yamlfile.read(path, CatalogFile).datasets.items():
            if name in found:
                raise CatalogError(f"{path}: dataset '{name}' is already defined in another catalogue", "Rename one.")
            written = (entry.source,) if isinstance(entry.source, str) else entry.source
            sources = tuple(_absolute(source, path.parent) for source in written)
            found[name] = DatasetSpec(name=name, **{**entry.model_dump(), "source": sources})
    return found


def home_of(name: str, files: Sequence[Path]) -> Path:
    """Tell which of the catalogues defines a dataset.

    Raises
    ------
    CatalogError
        If a file is missing or malformed.
    UnknownNameError
        If none of them defines it.
    """
    known: list[str] = []
    for path in files:
        here = yamlfile.read(path, CatalogFile).datasets
        if name in here:
            return path.absolute()
        known += here
    raise UnknownNameError("dataset", name, known)


def _absolute(source: str, folder: Path) -> str:
    """Resolve a plain path against the catalogue's folder; leave addresses alone."""
    return source if "://" in source else (folder / os.path.expanduser(source)).absolute().as_uri()  # noqa: PTH111


def models(folders: Sequence[Path], only: Collection[str] | None = None) -> dict[str, Model]:
    """Read the `model.yaml` of each folder, or of each folder in it. Being there is being registered.

    Parameters
    ----------
    only
        Names of models; the manifests of others are not opened, so a malformed one is not in the way.

    Raises
    ------
    CatalogError
        If a manifest is malformed or its name is not its folder's.
    """
    found: dict[str, Model] = {}
    for name, manifest in manifests(folders).items():
        if only is not None and name not in only:
            continue
        model = Model(spec=yamlfile.read(manifest, ModelSpec), folder=manifest.parent)
        if model.spec.name != name:
            raise CatalogError(f"{manifest}: name: '{model.spec.name}' is not the folder's name", "Make the two agree.")
        found[name] = model
    return found


def manifests(folders: Sequence[Path]) -> dict[str, Path]:
    """Find every `model.yaml` by its folder's name, without opening it.

    Raises
    ------
    CatalogError
        If a folder is not there, a model has no manifest, or two models share a name.
    """
    found: dict[str, Path] = {}
    for folder in dict.fromkeys(folder.absolute() for folder in folders):
        if not folder.is_dir():
            hint = "Check --models-path; give it several times for several folders."
            raise CatalogError(f"{folder}: no such folder of models", hint)
        for manifest in _below(folder):
            name = manifest.parent.name
            if name in found:
                raise CatalogError(f"{manifest}: model '{name}' is also in {found[name].parent}", "Rename one of them.")
            found[name] = manifest
    return found


def _below(folder: Path) -> list[Path]:
    if (folder / "model.yaml").exists():
        return [folder / "model.yaml"]
    below = [path for path in sorted(folder.glob("[!._]*")) if path.is_dir()]
    for path in below:
        if (path / "Dockerfile").exists() and not (path / "model.yaml").exists():
            raise CatalogError(
                f"{path} has a Dockerfile and no model.yaml", "Write one: see 'Add a model' in the docs."
            )
    return [path / "model.yaml" for path in below if (path / "model.yaml").exists()]


def tasks() -> dict[str, Task]:
    """Every task: one a module of `cellgauge_tasks`, and those of other packages' entry points.

    Raises
    ------
    CatalogError
        If two share a name, or another package's cannot be imported.
    """
    try:
        return find()
    except ValueError as problem:
        raise CatalogError(str(problem), "Mend that package, or uninstall it from this environment.") from problem


def one(kind: str, name: str, known: Mapping[str, T]) -> T:
    """Look up one name, which is no pattern.

    Raises
    ------
    UnknownNameError
        With the nearest known name as the hint.
    """
    if name not in known:
        raise UnknownNameError(kind, name, known)
    return known[name]


def pick(
    kind: str, wanted: Iterable[str], known: Mapping[str, T], more: str = "", hidden: Collection[str] = ()
) -> dict[str, T]:
    """Look names up, keeping their order; `all` means every one, `tsv2_*` every one whose name fits.

    Parameters
    ----------
    hidden
        Names that are meant only where they are named in full.
    more
        What else to say about a name that is not known.

    Raises
    ------
    UnknownNameError
        With the nearest known name as the hint.
    UsageError
        If no name is given.
    """
    names = list(dict.fromkeys(wanted))
    if not names:
        raise UsageError(f"no {kind} is named", f"Known: {', '.join(known)}.")
    found: dict[str, T] = {}
    shown = {name: value for name, value in known.items() if name not in hidden}
    for name in sorted(names, key=lambda name: name != "all"):
        pattern = "*" if name == "all" else name
        fitting = {name: known[name]} if name in known else {one: shown[one] for one in fnmatch.filter(shown, pattern)}
        if not fitting:
            raise UnknownNameError(kind, name, known, more)
        found |= fitting
    return found
