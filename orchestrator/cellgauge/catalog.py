"""Finds what there is: datasets in `datasets.yaml`, models in folders, tasks in `cellgauge_tasks` and entry points."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from cellgauge import yamlfile
from cellgauge.errors import CatalogError, UnknownNameError
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
    for path in files:
        for name, entry in yamlfile.read(path, CatalogFile).datasets.items():
            if name in found:
                raise CatalogError(f"{path}: dataset '{name}' is already defined", "Give it another name.")
            fields = {**entry.model_dump(), "source": _absolute(entry.source, path.parent)}
            found[name] = DatasetSpec(name=name, **fields)
    return found


def _absolute(source: str, folder: Path) -> str:
    """Resolve a plain path against the catalogue's folder; leave addresses alone."""
    return source if "://" in source else (folder / Path(source).expanduser()).absolute().as_uri()


def models(folders: Sequence[Path]) -> dict[str, Model]:
    """Read the `model.yaml` of each folder, or of each folder in it. Being there is being registered.

    Raises
    ------
    CatalogError
        If a manifest is missing or malformed, its name is not its folder's, or two models share a name.
    """
    found: dict[str, Model] = {}
    for folder in folders:
        if not folder.is_dir():
            raise CatalogError(f"{folder}: no such folder of models", "Check --models-path.")
        for manifest in _manifests(folder):
            model = Model(spec=yamlfile.read(manifest, ModelSpec), folder=manifest.parent.absolute())
            name = model.spec.name
            if name != manifest.parent.absolute().name:
                raise CatalogError(f"{manifest}: name: '{name}' is not the folder's name", "Make the two agree.")
            if name in found:
                raise CatalogError(f"{manifest}: model '{name}' is also in {found[name].folder}", "Rename one of them.")
            found[name] = model
    return found


def _manifests(folder: Path) -> list[Path]:
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
    """Every task: one a module of `cellgauge_tasks`, and those of other packages' entry points."""
    return find()


def pick(kind: str, wanted: Iterable[str], known: Mapping[str, T]) -> dict[str, T]:
    """Look names up, keeping their order; `all` means every one.

    Raises
    ------
    UnknownNameError
        With the nearest known name as the hint.
    """
    names = list(dict.fromkeys(wanted))
    if "all" in names:
        names = list(known)
    for name in names:
        if name not in known:
            raise UnknownNameError(kind, name, known)
    return {name: known[name] for name in names}
