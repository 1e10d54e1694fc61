"""Finds what there is: datasets in `datasets.yaml`, models in folders, tasks in `cellgauge_tasks` and entry points."""

import fnmatch
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from cellgauge import yamlfile
from cellgauge.errors import CatalogError, UnknownNameError, UsageError
from cellgauge.specs import DatasetEntry, DatasetSpec, Entry, GroupEntry, GroupSpec, Model, ModelSpec, Name, Spec
from cellgauge_tasks import Task, find, look

T = TypeVar("T")
MEND = "Mend that package, or uninstall it from this environment."


class CatalogFile(Spec):
    """A whole `datasets.yaml`."""

    datasets: dict[Name, Entry]


def entries(files: Sequence[Path]) -> dict[str, DatasetSpec | GroupSpec]:
    """Read the dataset catalogues, groups too; a later file may not redefine a name of an earlier one.

    Raises
    ------
    CatalogError
        If a file is missing or malformed, or a group's member is not there, naming file, line and field.
    """
    written: dict[str, tuple[Path, DatasetEntry | GroupEntry]] = {}
    for path in dict.fromkeys(path.absolute() for path in files):
        for name, entry in yamlfile.read(path, CatalogFile).datasets.items():
            if name in written:
                raise CatalogError(f"{path}: dataset '{name}' is already defined in another catalogue", "Rename one.")
            written[name] = path, entry
    single = {name: _spec(name, *one) for name, one in written.items()}
    return {name: single[name] or _group(name, *one, single) for name, one in written.items()}


def datasets(files: Sequence[Path]) -> dict[str, DatasetSpec]:
    """Read the dataset catalogues, without the groups.

    Raises
    ------
    CatalogError
        As `entries` does.
    """
    return {name: spec for name, spec in entries(files).items() if isinstance(spec, DatasetSpec)}


def single(name: str, files: Sequence[Path]) -> DatasetSpec:
    """Look up a dataset that is no group.

    Raises
    ------
    CatalogError
        If a file is missing or malformed.
    UnknownNameError
        With the nearest known name as the hint.
    UsageError
        If it is a group.
    """
    found = one("dataset", name, entries(files))
    if isinstance(found, GroupSpec):
        raise UsageError(f"'{name}' is a group of datasets", f"Name one of its members: {', '.join(found.members)}.")
    return found


def _spec(name: str, path: Path, entry: DatasetEntry | GroupEntry) -> DatasetSpec | None:
    if isinstance(entry, GroupEntry):
        return None
    written = (entry.source,) if isinstance(entry.source, str) else entry.source
    sources = tuple(_absolute(source, path.parent) for source in written)
    return DatasetSpec(name=name, **{**entry.model_dump(), "source": sources})


def _group(
    name: str, path: Path, entry: DatasetEntry | GroupEntry, known: Mapping[str, DatasetSpec | None]
) -> GroupSpec:
    """Look a group's members up, wherever they are defined."""
    members = entry.members if isinstance(entry, GroupEntry) else ()
    where = f"{path}: datasets.{name}.members"
    for member in members:
        if member not in known:
            near = UnknownNameError("dataset", member, [one for one, spec in known.items() if spec])
            raise CatalogError(f"{where}: {near.message}", near.hint)
        if known[member] is None:
            raise CatalogError(f"{where}: '{member}' is a group itself", "Name its members instead.")
    found = tuple(spec for spec in (known[member] for member in members) if spec)
    for spec in found:
        if "organism" in spec.obs:
            told = f"{where}: '{spec.name}' says of each cell which organism it is of, and a group goes by the entry"
            raise CatalogError(told, "Take the role organism out of its obs, if all its cells are of one.")
    return GroupSpec(name=name, datasets=found, **entry.model_dump())


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
    """Every task that can be had: one a module of `cellgauge_tasks`, and those of other packages' entry points."""
    return find()


def broken_tasks() -> dict[str, str]:
    """Say of each task of another package that cannot be had, by name, whose it is and why."""
    told: dict[str, list[str]] = {}
    for one in look().broken:
        told.setdefault(one.name, []).append(f"the task '{one.name}' of {one.package} cannot be used: {one.reason}")
    return {name: "; ".join(dict.fromkeys(several)) for name, several in told.items()}


def pick_tasks(wanted: Sequence[str], say: Callable[[str], None]) -> dict[str, Task]:
    """Look tasks up as `pick` does; one that cannot be had is an error only where it is asked for by name.

    Parameters
    ----------
    say
        Is told of those that a pattern means, and that are left out.

    Raises
    ------
    CatalogError
        If one is asked for that another package has, and that cannot be had.
    """
    known = tasks()
    for name, told in broken_tasks().items():
        if name in known:
            continue  # that of cellgauge itself is meant
        if name in wanted:
            raise CatalogError(told, MEND)
        if any(fnmatch.fnmatchcase(name, "*" if pattern == "all" else pattern) for pattern in wanted):
            say(f"{told}; left out")
    return pick("task", wanted, known)


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
