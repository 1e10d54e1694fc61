"""What every test may use: made datasets, models, engines, and the folder of real data where there is one."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from cellgauge import catalog, execute, images, plan
from cellgauge.data.cache import Cache
from cellgauge.engines import Cancel
from cellgauge.request import Terms, Work
from cellgauge.specs import Changes
from cellgauge.store import Store
from lab import Lab
from place import Engine
from servers import Web
from support import MODELS, ROOT, checked, entry, give, make_cells, pick_engine, spec_of


def pytest_addoption(parser):
    parser.addoption(
        "--docker", action="store_true", help="run the tests that need a Docker engine, and fail without one"
    )
    parser.addoption("--slow", action="store_true", help="run also those that take many seconds without an engine")


def pytest_collection_modifyitems(config, items):
    docker, slow = config.getoption("--docker"), config.getoption("--slow")
    for item in items:
        if "docker" in item.keywords and not docker:
            item.add_marker(pytest.mark.skip(reason="needs --docker; `make test` gives it"))
        elif "slow" in item.keywords and not (docker or slow):
            item.add_marker(pytest.mark.skip(reason="slow: needs --slow or --docker; `make test` gives it"))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path_factory):
    """No setting of the person who runs the tests reaches them, and none of their folders is written."""
    for name in list(os.environ):
        if name.startswith("CELLGAUGE_") and name not in (
            "CELLGAUGE_BASE_IMAGE",
            "CELLGAUGE_BUILD_NETWORK",
            "CELLGAUGE_TEST_DATA",
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CELLGAUGE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def real_data():
    """The folder of real datasets: CELLGAUGE_TEST_DATA, or `shared/data` beside the clone."""
    folder = Path(os.environ.get("CELLGAUGE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; name its folder in CELLGAUGE_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def real_catalog(real_data, tmp_path_factory):
    """The catalogue of the real datasets, its sources pointed to where they lie."""
    text = (ROOT / "tests" / "real-datasets.yaml").read_text()
    path = tmp_path_factory.mktemp("real") / "real-datasets.yaml"
    path.write_text(text.replace("\n    source: ", f"\n    source: {real_data.absolute()}/"))
    return path


@pytest.fixture
def web():
    """A web server that misbehaves as it is told."""
    found = Web()
    yield found
    found.close()


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


@pytest.fixture
def made():
    """A made AnnData of 60 cells of 3 types and 40 genes, with everything in it that a model must not see."""
    return make_cells()


@pytest.fixture
def made_dataset(tmp_path, made):
    """A made dataset that was fetched and checked."""
    path = tmp_path / "made.h5ad"
    made.write_h5ad(path)
    return checked(spec_of(path))


@pytest.fixture
def made_catalog(tmp_path, made):
    """A catalogue file with one made dataset."""
    made.write_h5ad(tmp_path / "made.h5ad")
    path = tmp_path / "catalog.yaml"
    path.write_text(yaml.safe_dump({"datasets": {"made": entry("made.h5ad")}}))
    return path


@pytest.fixture(scope="session")
def models():
    """Every shipped model, and those of the tests."""
    return catalog.models([ROOT / "model-images", MODELS])


@pytest.fixture
def store(tmp_path):
    found = Store(tmp_path / "results")
    found.prepare()
    return found


@pytest.fixture
def lab(tmp_path, store):
    """Where whole runs are tried."""
    return Lab(tmp_path, store)


@pytest.fixture(scope="session")
def image_of():
    """Build a model's image, once a session."""
    base, network = (
        os.environ.get("CELLGAUGE_BASE_IMAGE", "python:3.11-slim"),
        os.environ.get("CELLGAUGE_BUILD_NETWORK", ""),
    )
    return lambda model: images.ensure(model, base_image=base, network=network, say=print)


@pytest.fixture(params=["local", pytest.param("docker", marks=pytest.mark.docker)])
def engine(request):
    """Each engine in turn."""
    return pick_engine(request.param)


@pytest.fixture
def run_job(tmp_path, made_dataset, image_of):
    """Run one model on the made dataset, once or as several items, and return its record and folder.

    Whatever else is named is a limit: `time=3`, `memory_mb=100`.
    """

    def run(
        model, engine, *, params=None, items=1, verb="embed", given=None, cancel=None, image=None, terms=None, **limits
    ):
        if image is None:
            runnable = image_of(model) if engine.name == "docker" else images.local(model, tmp_path)
            image, model = runnable.digest, model.model_copy(update={"folder": runnable.folder})
        choice = plan.ModelChoice(
            spec=model.spec, variant="default", params=plan.params_for(model.spec, "default", params or {}), image=image
        )
        data = plan.DatasetChoice(spec=made_dataset.spec, sha256=made_dataset.sha256)
        job = plan.job(choice, data, verb, plan.view(model.spec, data), 7)
        given = given or [give(made_dataset, job.datasets[0].view, tmp_path, f"item{n}") for n in range(items)]
        folder = tmp_path / "job"
        folder.mkdir()
        terms = terms or Terms(changes=Changes(**limits), run="test")
        (done,), left = execute.run([Work(job, given)], model, folder, engine, terms, cancel or Cancel())
        assert (done.folder, left) == (folder, [])
        return done.record, folder

    return run


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 64 KiB."""
    if os.getuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def own_engine(tmp_path):
    """A Docker engine of our own, to be killed, with the base image in it."""
    if os.getuid() != 0 or not shutil.which("dockerd"):
        pytest.skip("starting an engine needs root and dockerd")
    engine = Engine(tmp_path / "engine")
    engine.start()
    engine.load(os.environ.get("CELLGAUGE_BASE_IMAGE", "python:3.11-slim"))
    yield engine
    engine.close()
