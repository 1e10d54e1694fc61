"""The container that tells what is installed in an image is as sealed as a model's, and nobody waits for it in vain."""

import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import docker
import pytest

from cellgauge.engines import Cancel
from cellgauge.engines.docker import DockerEngine
from cellgauge.errors import EngineError
from place import until

pytestmark = pytest.mark.docker
DOCKERFILE = """
ARG BASE
FROM $BASE
ENV PATH=/fake:$PATH
RUN mkdir /fake && printf '#!/bin/sh\\n%s\\n' '{script}' > /fake/python && chmod 755 /fake/python
"""


@pytest.fixture
def answers_with():
    """Build an image of which `python` is a script."""
    base, made = os.environ.get("CELLGAUGE_BASE_IMAGE", "python:3.11-slim"), []

    def build(script):
        words = ["docker", "build", "-q", "--network", "host", "--build-arg", f"BASE={base}", "-"]
        text = DOCKERFILE.format(script=script)
        done = subprocess.run(words, input=text, text=True, capture_output=True, check=True)
        made.append(done.stdout.strip())
        return made[-1]

    yield build
    for image in made:
        subprocess.run(["docker", "rmi", "-f", image], capture_output=True, check=False)


def asking(client, image):
    return client.containers.list(all=True, filters={"ancestor": image}, ignore_removed=True)


def test_it_is_sealed_and_gone_soon_after_somebody_wishes_to_stop(answers_with):
    image, cancel, client = answers_with("sleep 60"), Cancel(), docker.from_env()
    with ThreadPoolExecutor(1) as pool, closing(client):
        told = pool.submit(DockerEngine().packages, image, cancel)
        (container,) = until(lambda: [one for one in asking(client, image) if one.status == "running"])
        had = container.attrs["HostConfig"]
        assert had["LogConfig"]["Config"] == {"max-size": "1m", "max-file": "1"}
        assert (had["NanoCpus"], had["PidsLimit"], had["Memory"]) == (10**9, 64, 512 << 20)
        assert had["Memory"] == had["MemorySwap"]
        assert {one["Name"] for one in had["Ulimits"]} == {"core", "fsize"}
        assert (had["ReadonlyRootfs"], had["NetworkMode"], had["CapDrop"], had["Init"]) == (True, "none", ["ALL"], True)
        assert (list(had["Tmpfs"]), had["OomScoreAdj"], had["SecurityOpt"]) == (["/tmp"], 500, ["no-new-privileges"])
        began = time.monotonic()
        cancel.ask()
        with pytest.raises(EngineError, match="nobody waits for it any more"):
            told.result(30)
        assert time.monotonic() - began < 10
        assert asking(client, image) == []


def test_a_flood_of_words_is_cut_and_what_is_no_package_left_out(answers_with):
    image = answers_with("echo first==1; yes so-it-goes==on-and-on | head -c 5000000; echo; echo last==2")
    began = time.monotonic()
    found = DockerEngine().packages(image, Cancel())
    assert time.monotonic() - began < 60
    assert ("last==2" in found, "first==1" in found) == (True, False)
    assert len(found) <= 5000
    image = answers_with("head -c 3000000 /dev/zero; echo; echo last==2")
    assert DockerEngine().packages(image, Cancel()) == ("last==2",)


def test_an_image_without_python_tells_nothing(answers_with):
    assert DockerEngine().packages(answers_with("exit 1"), Cancel()) == ()


def test_it_is_waited_for_only_so_long(answers_with, monkeypatch):
    from cellgauge.engines import docker_client

    monkeypatch.setattr(docker_client, "ANSWER", 2.0)
    before = threading.active_count()
    image = answers_with("sleep 60")
    with pytest.raises(EngineError, match="it goes on after 2 s"):
        DockerEngine().packages(image, Cancel())
    with closing(docker.from_env()) as client:
        assert asking(client, image) == []
    assert threading.active_count() == before
