"""What a user installs: the wheel and the sdist hold what they should, and work far from the clone."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from support import ROOT


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Build sdist, and the wheel out of the sdist, as an installer does."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def test_the_wheel_holds_three_packages_and_what_they_need(built):
    names = set(zipfile.ZipFile(built[0]).namelist())
    top = {name.split("/")[0] for name in names}
    assert top == {"cellgauge", "cellgauge_tasks", "cellgauge_model", "cellgauge-0.1.0.dist-info"}
    assert {"cellgauge/datasets.yaml", "cellgauge/py.typed", "cellgauge_model/contract.py"} <= names
    shipped = {name.split("/")[2] for name in names if name.startswith("cellgauge/model-images/")}
    assert shipped == {path.parent.name for path in (ROOT / "model-images").glob("*/model.yaml")}
    assert "cellgauge/model-images/pca/Dockerfile" in names
    probe = {f"cellgauge/engines/conformance/probe/{name}" for name in ("Dockerfile", "model.yaml", "probe.py")}
    assert {"cellgauge/engines/conformance/__init__.py", *probe} <= names
    tables = {f"cellgauge/genes/{name}" for name in ("human.tsv.gz", "mouse.tsv.gz", "orthologs.tsv.gz", "tables.json")}
    assert {"cellgauge/genes/make.py", *tables} == {name for name in names if name.startswith("cellgauge/genes/")}
    assert not [name for name in names if "tests/" in name or "__pycache__" in name]


def test_the_sdist_holds_the_project_and_nothing_that_was_made(built):
    with tarfile.open(built[1]) as archive:
        paths = [Path(name).parts[1:] for name in archive.getnames()]
    assert {parts[0] for parts in paths if parts} == {
        *(".ci", ".gitignore", ".pre-commit-config.yaml"),
        *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "PKG-INFO", "README.md"),
        *("benchmarks", "datasets.yaml", "docker-compose.yml", "docs", "model-images", "orchestrator"),
        *("pyproject.toml", "tasks", "tests"),
    }
    assert not [parts for parts in paths if "__pycache__" in parts or "_build" in parts]


def test_the_wheel_runs_outside_the_clone(built, tmp_path):
    target = tmp_path / "installed"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(target),
        str(built[0]),
    ]
    subprocess.run(pip, check=True)
    environment = {**os.environ, "PYTHONPATH": str(target)}

    def call(*command):
        return subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
        ).stdout

    where = (
        "import cellgauge as a, cellgauge_tasks as b, cellgauge_model as c; print(a.__file__, b.__file__, c.__file__)"
    )
    assert all(path.startswith(str(target)) for path in call("-c", where).split())
    arguments = ["-m", "random", "-d", "pbmc68k_reduced", "-t", "embedding", "--engine", "local"]
    assert "1 of 1 results" in call("-m", "cellgauge", "run", *arguments)
    assert (tmp_path / "cellgauge-results" / "runs").is_dir()


def test_uv_users_are_served(built, tmp_path):
    """`uv run cellgauge --help` in a fresh copy makes its own environment and answers."""
    with tarfile.open(built[1]) as archive:
        archive.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (clone,) = (path for path in tmp_path.iterdir() if path.is_dir())
    uv = Path(sys.executable).with_name("uv")
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    environment["UV_PROJECT_ENVIRONMENT"] = str(tmp_path / "environment")
    environment |= {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}  # as pip does; behind some proxies it must
    command = [str(uv), "run", "--no-dev", "--python", sys.executable, "cellgauge", "--help"]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Compare biology's AI models" in done.stdout
