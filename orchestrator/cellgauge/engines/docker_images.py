"""Builds, pulls and inspects model images."""

import io
import re
import tarfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import docker.errors
import requests.exceptions
from docker.utils import parse_repository_tag

from cellgauge.engines.docker_client import connect, translated
from cellgauge.errors import ImageError

Report = Callable[[int, int], None]


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


def pull(reference: str, limit: float, report: Report) -> Image:
    """Pull an image from its registry.

    Parameters
    ----------
    limit
        Seconds that it may take.
    report
        Told how many bytes are there, and of how many.

    Raises
    ------
    ImageError
        If the registry does not have it, does not answer, or the time is up.
    """
    deadline, layers = time.monotonic() + limit, dict[str, tuple[int, int]]()
    repository, tag = parse_repository_tag(reference)
    try:
        for message in connect().api.pull(repository, tag=tag or "latest", stream=True, decode=True):
            if "error" in message:
                raise docker.errors.DockerException(message["error"])
            detail = message.get("progressDetail") or {}
            if message.get("status") == "Downloading" and detail.get("total"):
                layers[message["id"]] = (detail["current"], detail["total"])
            elif message.get("status") in ("Download complete", "Pull complete") and message.get("id") in layers:
                layers[message["id"]] = (layers[message["id"]][1],) * 2
            report(sum(done for done, _ in layers.values()), sum(total for _, total in layers.values()))
            _in_time(deadline, f"image {reference} was not pulled", limit)
    except (docker.errors.APIError, docker.errors.DockerException, requests.exceptions.RequestException) as problem:
        reason = getattr(problem, "explanation", None) or str(problem)
        raise ImageError(
            f"image {reference} cannot be pulled: {reason}", "Check the name and `docker login`.", phase="pull"
        ) from problem
    image = find(reference)
    if image is None:
        raise ImageError(f"image {reference} was pulled and is not there", "Free some disk space, and try again.")
    return image


def _in_time(deadline: float, what: str, limit: float) -> None:
    if time.monotonic() > deadline:
        hint = "Allow more with --limit pull=2h, or with `resources: pull_limit` in its model.yaml."
        raise ImageError(f"{what} within its limit of {limit:g} s", hint, phase="pull")


def build(
    tag: str, files: Mapping[str, bytes], *, base_image: str, network: str, labels: Mapping[str, str], limit: float
) -> Image:
    """Build an image from the files of its context.

    Raises
    ------
    ImageError
        With the last lines of the build; or because the time is up, `limit` in seconds.
    """
    client, deadline = connect(), time.monotonic() + limit
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
            timeout=limit,
        )
        for message in stream:
            lines += str(message.get("stream", "")).splitlines()
            if "error" in message:
                raise _failed(tag, base_image, lines, str(message["error"]))
            _in_time(deadline, f"image {tag} was not built", limit)
    except docker.errors.APIError as problem:  # what is wrong with the Dockerfile itself
        raise _failed(tag, base_image, lines, problem.explanation or str(problem)) from problem
    except requests.exceptions.RequestException as problem:
        raise _failed(tag, base_image, lines, f"the engine went away: {problem}") from problem
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
