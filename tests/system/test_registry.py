"""A model whose image lies in a registry: pulled, checked against its manifest, run by digest. The registry is real."""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from contextlib import suppress

import pytest
import yaml

from cellgauge import catalog, images
from cellgauge.errors import ImageError
from support import ROOT, pick_engine

pytestmark = pytest.mark.docker
BASE = os.environ.get("CELLGAUGE_BASE_IMAGE", "python:3.11-slim")


@pytest.fixture(scope="session")
def registry_image():
    """`registry:2` where it is there, otherwise one of Debian's packages."""
    from cellgauge.engines import docker_images

    if docker_images.find("registry:2"):
        return "registry:2"
    files = {path.name: path.read_bytes() for path in (ROOT / "tests" / "registry").iterdir()}
    tag = f"cellgauge-test-registry:{images.fingerprint(files, BASE)[:12]}"
    if not docker_images.find(tag):
        network = os.environ.get("CELLGAUGE_BUILD_NETWORK", "")
        docker_images.build(tag, files, base_image=BASE, network=network, labels={}, limit=600)
    return tag


@pytest.fixture(scope="session")
def registry(registry_image):
    """Start a registry and give its address."""
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    testcontainers_config.ryuk_disabled = True  # its image cannot be pulled everywhere; `with` cleans up
    with DockerContainer(registry_image).with_exposed_ports(5000) as container:
        address = f"localhost:{container.get_exposed_port(5000)}"
        wait_for(address)
        yield address


def wait_for(address):
    for _ in range(100):
        try:
            with urllib.request.urlopen(f"http://{address}/v2/", timeout=1) as answer:
                assert answer.status == 200
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"no registry answers at {address}")


@pytest.fixture
def pushed(registry, models, image_of):
    """Push the image of `random`, forget it here, and give its name by digest."""
    import docker

    client = docker.from_env()
    client.images.get(image_of(models["random"]).digest).tag(f"{registry}/lab/random", "1")
    lines = [
        json.loads(line) for line in client.images.push(f"{registry}/lab/random", "1").splitlines() if line.strip()
    ]
    digest = next(line["aux"]["Digest"] for line in lines if "aux" in line)
    for name in (f"{registry}/lab/random:1", f"{registry}/lab/random@{digest}"):
        with suppress(docker.errors.ImageNotFound):  # the first may take the second along
            client.images.remove(name)
    return f"{registry}/lab/random@{digest}"


@pytest.fixture
def registered(tmp_path, pushed):
    """A folder with nothing but a manifest that names an image."""

    def write(image=pushed, **changes):
        folder = tmp_path / "elsewhere" / "random"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        manifest = yaml.safe_load((ROOT / "model-images" / "random" / "model.yaml").read_text())
        (folder / "model.yaml").write_text(yaml.safe_dump({**manifest, "image": image, **changes}))
        return catalog.models([folder.parent])["random"]

    return write


def ensure(model):
    said = []
    return images.ensure(model, base_image=BASE, network="", say=said.append).digest, said


def test_an_image_is_pulled_once_and_is_the_one_that_was_pushed(registered, models, image_of, pushed):
    model = registered()
    assert images.present(model, BASE).digest == f"unbuilt:{pushed}"
    digest, said = ensure(model)
    assert said == [f"pulling {pushed}"]
    assert digest == image_of(models["random"]).digest
    assert ensure(model) == (digest, [])


def test_a_pulled_image_runs(registered, run_job):
    model = registered()
    digest, _ = ensure(model)
    record, _ = run_job(model, pick_engine("docker"), image=digest)
    assert (record.state, record.job.image) == ("ok", digest)


def test_an_image_made_from_another_manifest_is_refused(registered):
    with pytest.raises(ImageError, match="made from another manifest: licence, version differ"):
        ensure(registered(version="2", licence="GPL"))


@pytest.mark.parametrize("name", ["lab/nothing:1", "lab/random:2"])
def test_what_the_registry_does_not_have_is_named(registered, registry, name):
    with pytest.raises(ImageError, match=f"{name} cannot be pulled"):
        ensure(registered(f"{registry}/{name}"))


def test_an_image_without_a_manifest_is_refused(registered):
    with pytest.raises(ImageError, match=r"has no label org\.cellgauge\.manifest"):
        ensure(registered(BASE))


def test_a_build_that_fails_shows_its_last_lines(tmp_path, models):
    folder = tmp_path / "random"
    shutil.copytree(models["random"].folder, folder)
    (folder / "Dockerfile").write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN echo this is the reason && exit 3\n")
    with pytest.raises(ImageError, match=r"returned a non-zero code: 3[\s\S]*this is the reason"):
        ensure(catalog.models([tmp_path])["random"])


def test_a_folder_without_a_dockerfile_says_so(tmp_path, models):
    (tmp_path / "random").mkdir()
    shutil.copy(models["random"].folder / "model.yaml", tmp_path / "random")
    with pytest.raises(ImageError, match=r"has no Dockerfile, and its model\.yaml names no image"):
        ensure(catalog.models([tmp_path])["random"])


def test_the_registry_service_of_the_compose_file_serves(registry_image, tmp_path):
    compose = (
        ["docker", "compose"]
        if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
        else ["docker-compose"]
    )
    environment = {**os.environ, "CELLGAUGE_REGISTRY_IMAGE": registry_image, "CELLGAUGE_REGISTRY_PORT": "5917"}
    command = [*compose, "-p", f"cellgauge-test-{os.getpid()}", "-f", str(ROOT / "docker-compose.yml")]
    try:
        subprocess.run([*command, "up", "-d", "registry"], env=environment, check=True, capture_output=True)
        wait_for("localhost:5917")
    finally:
        subprocess.run([*command, "down", "-v"], env=environment, check=True, capture_output=True)
