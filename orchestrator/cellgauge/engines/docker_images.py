"""Builds, pulls and inspects model images."""

import io
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import docker.errors

from cellgauge.engines.docker import connect, translated
from cellgauge.errors import ImageError


@dataclass(frozen=True)
class Image:
    """An image that is on this machine."""

    id: str
    """`sha256:…`, the digest of its configuration: equal ids, equal content."""
    labels: Mapping[str, str]


def find(reference: str) -> Image | None:
    """Look for an image on this machine."""
    client = connect()
    with translated(f"image {reference}"):
        try:
            found = client.images.get(reference)
        except docker.errors.ImageNotFound:
            return None
        return Image(id=found.id, labels=found.labels or {})


def pull(reference: str) -> Image:
    """Pull an image from its registry.

    Raises
    ------
    ImageError
        If the registry does not have it, or does not answer.
    """
    client = connect()
    try:
        client.images.pull(reference)
    except (docker.errors.APIError, docker.errors.DockerException) as problem:
        reason = getattr(problem, "explanation", None) or str(problem)
        raise ImageError(
            f"image {reference} cannot be pulled: {reason}", "Check the name and `docker login`."
        ) from problem
    image = find(reference)
    if image is None:
        raise ImageError(f"image {reference} was pulled and is not there", "Free some disk space, and try again.")
    return image


def build(tag: str, files: Mapping[str, bytes], *, base_image: str, network: str, labels: Mapping[str, str]) -> Image:
    """Build an image from the files of its context.

    Raises
    ------
    ImageError
        With the last lines of the build.
    """
    client = connect()
    lines: list[str] = []
    try:
        stream = client.api.build(
            fileobj=_tar(files),
            custom_context=True,
            tag=tag,
            buildargs={"BASE_IMAGE": base_image},
            network_mode=network or None,
            labels=dict(labels),
            rm=True,
            forcerm=True,
            decode=True,
        )
        for message in stream:
            lines += str(message.get("stream", "")).splitlines()
            if "error" in message:
                raise _failed(tag, base_image, lines, str(message["error"]))
    except docker.errors.APIError as problem:  # what is wrong with the Dockerfile itself
        raise _failed(tag, base_image, lines, problem.explanation or str(problem)) from problem
    image = find(tag)
    if image is None:
        raise _failed(tag, base_image, lines, "no image came out")
    return image


def _failed(tag: str, base_image: str, lines: list[str], reason: str) -> ImageError:
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in lines]
    tail = "\n".join(line for line in plain if line and not line.startswith((" --->", "Removing")))[-2000:]
    hint = "Mend the Dockerfile; above is the end of the build."
    if re.search("pull access|manifest|not found|no such host|lookup|timeout", reason) and "COPY" not in reason:
        hint = f"It builds on '{base_image}'. Where that cannot be pulled, load one and set CELLGAUGE_BASE_IMAGE."
    return ImageError(f"image {tag} cannot be built: {reason}\n{tail}".rstrip(), hint)


def _tar(files: Mapping[str, bytes]) -> Any:
    """Pack files with fixed times and owners, so that equal content gives equal layers."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755 if content.startswith(b"#!") else 0o644
            archive.addfile(entry, io.BytesIO(content))
    buffer.seek(0)
    return buffer
