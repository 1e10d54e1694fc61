"""Every engine keeps the same rules.

`FunctionEngine` is left out: a function call has neither log nor environment of its own, and cannot be stopped.
"""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from cellgauge import catalog, images, outcome
from cellgauge.engines.conformance import PROBE, Suite
from cellgauge.engines.local import LocalEngine
from support import ROOT, pick_engine


class TestLocal(Suite):
    isolates = limits_memory = has_images = False

    @pytest.fixture
    def engine(self):
        return LocalEngine()


@functools.cache
def built():
    base = os.environ.get("CELLGAUGE_BASE_IMAGE", "python:3.11-slim")
    network = os.environ.get("CELLGAUGE_BUILD_NETWORK", "")
    return images.ensure(catalog.models([PROBE])["probe"], base_image=base, network=network, say=print).digest


@functools.cache
def without_its_program():
    from cellgauge.engines import docker_images

    files = {"Dockerfile": f'FROM {built()}\nENTRYPOINT ["/no/such/program"]\n'.encode()}
    tag = "cellgauge/probe:unstartable"
    return docker_images.build(tag, files, base_image="", network="", labels={}, limit=60).id


@pytest.mark.docker
class TestDocker(Suite):
    replays = bool(shutil.which("docker"))

    @pytest.fixture
    def engine(self):
        return pick_engine("docker")

    def image(self):
        return built()

    def unstartable(self, launch):
        return launch.model_copy(update={"image": without_its_program()})

    def test_a_proxy_of_the_callers_and_its_password_are_not_told(self, engine, tmp_path, monkeypatch):
        from cellgauge.engines.docker_client import connect

        proxies = {"default": {"httpsProxy": "http://me:password@proxy.example:3128"}}
        (tmp_path / "config.json").write_text(json.dumps({"proxies": proxies}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        connect.cache_clear()
        try:
            ran = self.run(engine, self.launch(tmp_path / "job", "tell"))
        finally:
            connect.cache_clear()
        assert "password" not in json.dumps(ran.told("told.json"))


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT"])
def test_a_death_by_signal_has_the_signals_name(tmp_path, name):
    suite = TestLocal()
    number = signal.Signals[name]
    ran = suite.run(LocalEngine(), suite.launch(tmp_path, f"die={number:d}"))
    assert outcome.ended(ran.exit, None, "", ran.launch.limits) == ("model_error", f"killed by {name}")


def test_the_engine_of_the_docs_is_tested_as_the_docs_say(tmp_path):
    page = (ROOT / "docs" / "how-to" / "add-an-engine.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "test_nice.py").write_text(example)
    words = [sys.executable, "-m", "pytest", "-q", "-k", "good_run or environment or replay or sandbox or dead_owner"]
    done = subprocess.run([*words, "test_nice.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert re.search(r"^5 passed", done.stdout, flags=re.MULTILINE), done.stdout


def test_the_docs_name_all_that_an_engine_may_lack():
    page = (ROOT / "docs" / "how-to" / "add-an-engine.md").read_text()
    able = {name for kind in Suite.__mro__ for name, value in vars(kind).items() if value is True}
    assert able
    assert {name for name in able if f"`{name}`" not in page} == set()


def test_the_suite_imports_neither_pytest_nor_an_engine():
    code = "import sys, cellgauge.engines.conformance; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"pytest", "docker", "cellgauge.engines.local"} & {*done.stdout.split()} == set()
