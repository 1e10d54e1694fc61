"""Says what exactly would run for a model, and makes sure that it is there: an image, or the folder itself."""

import hashlib
import json
import os
import platform
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import cellgauge_model
from cellgauge.disk import explained, put
from cellgauge.errors import ImageError
from cellgauge.specs import Model, identity

MANIFEST_LABEL = "org.cellgauge.manifest"
UNBUILT = "unbuilt:"
"""Before the digest of a source that no image has been built from."""


def context(model: Model) -> dict[str, bytes]:
    """Collect what an image is built from: the model's folder, its manifest as JSON, and the SDK.

    Hidden files and caches stay out; so do weights that lie in the folder, which a model gets in one of its own.
    """
    files = _files(model.folder, "", _weights(model))
    files["model.json"] = manifest(model).encode()
    files |= _files(Path(cellgauge_model.__file__).parent, "sdk/cellgauge_model/")
    return files


def _weights(model: Model) -> set[str]:
    """Name the files of a model's folder that are weights: 10 GB may be among them."""
    sources = [one.source for variant in model.spec.variants.values() for one in variant.weights]
    return {os.path.normpath(model.folder / source) for source in sources if "://" not in source}


def _files(folder: Path, prefix: str, without: Collection[str] = ()) -> dict[str, bytes]:
    found = {}
    for at, below, names in os.walk(folder, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith(".") and name != "__pycache__")
        for name in sorted(names):
            path = Path(at, name)
            if not name.startswith(".") and os.path.normpath(path) not in without:
                found[prefix + path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def manifest(model: Model) -> str:
    """Write a manifest as one line of JSON: the image's label, and what `describe` prints."""
    return json.dumps(model.spec.model_dump(mode="json"), sort_keys=True)


def fingerprint(files: dict[str, bytes], *more: str) -> str:
    """Hash names and contents."""
    digest = hashlib.sha256("\0".join(more).encode())
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


@dataclass(frozen=True)
class Runnable:
    """What exactly runs for a model."""

    digest: str
    folder: Path
    """For processes: where the program lies that runs."""


def local(model: Model, cache: Path) -> Runnable:
    """Identify what the local engine would run: the folder, the SDK, and every package of the environment.

    Raises
    ------
    ImageError
        If there is nothing that could run as a process.
    """
    script = model.folder / model.spec.command[-1]
    if model.spec.image and not script.exists():
        raise ImageError(f"model '{model.spec.name}' is an image alone", "Run it with --engine docker.")
    if model.spec.command[0] == "python" and not script.exists():
        raise ImageError(f"model '{model.spec.name}': there is no {script}", "See `command` in its model.yaml.")
    packages = sorted(f"{found.metadata['Name']}=={found.version}" for found in distributions())
    environment = identity([platform.python_version(), platform.machine(), *packages])
    files = context(model)
    digest = fingerprint(files, environment)
    return Runnable(f"local:{digest}", _snapshot(files, cache / "sources" / digest[:20]))


def _snapshot(files: dict[str, bytes], place: Path) -> Path:
    """Write the very files that were hashed, so that nothing else can run: no later edit, no file left out."""
    if not place.exists():
        with explained(place, "CELLGAUGE_CACHE"), put(place) as partial:
            for name, content in files.items():
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                (partial / name).write_bytes(content)
                (partial / name).chmod(0o555 if content.startswith(b"#!") else 0o444)
    return place


def present(model: Model, base_image: str) -> Runnable:
    """Identify the image that would run, without building or pulling anything.

    Raises
    ------
    ImageError
        If `ensure` would not give one: nothing says how to build it, or it was made from another manifest.
    """
    from cellgauge.engines.docker_images import find

    if model.spec.image:
        image = find(model.spec.image)
        if image:
            _agree(model, image.labels.get(MANIFEST_LABEL))
        return Runnable(image.id if image else f"{UNBUILT}{model.spec.image}", model.folder)
    tag = _tag(model, base_image)
    image = find(tag)
    return Runnable(image.id if image else f"{UNBUILT}{tag}", model.folder)


def ensure(
    model: Model,
    *,
    base_image: str,
    network: str,
    say: Callable[[str], None],
    report: Callable[[int, int], None] = lambda done, total: None,
    limit: float | None = None,
) -> Runnable:
    """Find a model's image, pulling or building it if it is not there.

    Parameters
    ----------
    report
        Told of a pull how many bytes are there, and of how many.
    limit
        Seconds that it may take; None: what the manifest says.

    Raises
    ------
    ImageError
        If it cannot be had, or was made from another manifest than the one in the folder.
    """
    from cellgauge.engines import docker_images

    limit = limit or model.spec.resources.pull_limit
    if model.spec.image:
        image = docker_images.find(model.spec.image)
        if image is None:
            say(f"pulling {model.spec.image}")
            image = docker_images.pull(model.spec.image, limit, report)
        _agree(model, image.labels.get(MANIFEST_LABEL))
        return Runnable(image.id, model.folder)
    tag = _tag(model, base_image)
    image = docker_images.find(tag)
    if image is None:
        say(f"building {tag}")
        labels = {MANIFEST_LABEL: manifest(model)}
        image = docker_images.build(
            tag, context(model), base_image=base_image, network=network, labels=labels, limit=limit
        )
    return Runnable(image.id, model.folder)


def _tag(model: Model, base_image: str) -> str:
    from cellgauge.engines.docker_images import find

    if not (model.folder / "Dockerfile").exists():
        raise ImageError(f"{model.folder} has no Dockerfile, and its model.yaml names no image", "Add one of the two.")
    base = find(base_image)  # its content counts, not its name: a tag moves
    return f"cellgauge/{model.spec.name.lower()}:{fingerprint(context(model), base.id if base else base_image)[:16]}"


def _agree(model: Model, label: str | None) -> None:
    """Refuse an image whose label tells another story than the manifest in the folder."""
    if label is None:
        raise ImageError(
            f"image {model.spec.image} has no label {MANIFEST_LABEL}",
            f"Let cellgauge build it, or give it its manifest as JSON: docker build --label {MANIFEST_LABEL}=…",
        )
    told, ours = dict(json.loads(label)), dict(json.loads(manifest(model)))
    told.pop("image", None), ours.pop("image", None)  # the image cannot know where it will be pushed to
    if told != ours:
        differing = sorted(key for key in told | ours if told.get(key) != ours.get(key))
        raise ImageError(
            f"image {model.spec.image} was made from another manifest: {', '.join(differing)} differ",
            f"Copy the image's manifest into {model.folder / 'model.yaml'}, or name another image.",
        )
