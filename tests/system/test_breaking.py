"""What survives when things are broken on purpose: nothing that had finished is lost, and nothing is left behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import quick
import yaml

from support import MODELS, entry

pytestmark = pytest.mark.docker


@pytest.fixture
def here(tmp_path, made_dataset):
    """A folder with the quick model and the made dataset, and the command line in it."""
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(yaml.safe_dump({"datasets": {"made": entry(made_dataset.path)}}))
    return Place(tmp_path, quick.write(tmp_path / "models", made_dataset), catalog)


class Place:
    def __init__(self, folder, model, catalog):
        self.folder, self.results = folder, folder / "cellgauge-results"
        self.common = ["--catalog", str(catalog), "--models-path", str(model), "--models-path", str(MODELS)]
        self.common += ["-d", "made", "-t", "embedding", "--engine", "docker"]

    def start(self, *words, command="run", **options):
        words = [sys.executable, "-m", "cellgauge", command, *(self.common if command == "run" else []), *words]
        heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 - a background job has it ignored
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(words, cwd=self.folder, text=True, preexec_fn=heard, **{**pipes, **options})

    def run(self, *words, **options):
        process = self.start(*words, **options)
        out, err = process.communicate(timeout=400)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def workspaces(self):
        return sorted(path.name for path in (self.results / "jobs").glob(".*~*"))

    def nothing_is_left(self, **options):
        assert self.workspaces() == []
        assert containers(**options) == []


def containers(all=True, host=None, **labels):
    import docker

    client = docker.DockerClient(host) if host else docker.from_env()
    wanted = ["org.cellgauge.owner", *(f"org.cellgauge.{name}={value}" for name, value in labels.items())]
    try:
        return [one["Id"] for one in client.api.containers(all=all, filters={"label": wanted})]
    finally:
        client.close()


def until(condition, patience=60):
    """Wait for something to be true, and return it."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come about")


def test_after_kill_nine_the_next_run_goes_on_and_clears_up(here):
    words = ["-m", "quick", "-s", "1,2,3", "--set", "quick.wait=0", "--json"]
    assert here.run(*words).returncode == 0
    slow = ["-m", "quick,misbehave", "-s", "1,2,3", "--set", "misbehave.how=hang", "--limit", "time=2", "-j", "2"]
    process = here.start(*slow, "--limit", "time=100")
    hanging = until(lambda: containers(all=False, model="misbehave"))
    process.kill()
    process.communicate()
    assert set(containers(all=False, model="misbehave")) >= set(hanging), "nobody told them"
    assert here.workspaces() != []
    died = json.loads(here.run("latest", "--json", command="status").stdout)
    assert died["state"] == "died"

    again = here.run(*slow, "--json")
    document = json.loads(again.stdout)
    assert again.stderr.count("from the cache") == 3, "what had finished is used again"
    assert "removed, left by a run that was killed: container" in again.stderr
    assert document["states"] == {"ok": 3, "timeout": 3}
    assert document["planned"] == 6
    here.nothing_is_left()


def test_clean_removes_ones_own_and_nobody_elses(here, tmp_path):
    process = here.start("-m", "misbehave", "--set", "misbehave.how=hang")
    (orphan,) = until(lambda: containers(all=False, model="misbehave"))
    assert "nothing was left over" in here.run(command="clean").stdout, "its owner lives"
    process.kill()
    process.communicate()
    if os.getuid() == 0:
        other = subprocess.run(
            [sys.executable, "-c", CLEAN_AS, "12345"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert other.stdout == "[]\n", "another user's"
        assert containers(model="misbehave") == [orphan]
    done = json.loads(here.run("--json", command="clean").stdout)["removed"]
    assert [line.split()[0] for line in done] == ["folder", "container"]
    here.nothing_is_left()


CLEAN_AS = """
import os, sys
from cellgauge.engines.docker import DockerEngine
engine = DockerEngine()
engine.check()
os.setresuid(int(sys.argv[1]), int(sys.argv[1]), 0)
print(engine.sweep())
"""


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_stops_what_runs_and_a_second_one_at_once(here, times):
    process = here.start("-m", "quick,misbehave", "-s", "1,2", "--set", "misbehave.how=stubborn", "-j", "4")
    until(lambda: len(containers(all=False, model="misbehave")) == 2 and here.run("latest", "--json", command="status"))
    until(lambda: json.loads(here.run("latest", "--json", command="status").stdout)["scored"] == 2)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    if times == 2:
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    took = time.monotonic() - began
    assert process.returncode == 130
    assert "What had finished is kept" in err
    assert took < (5 if times == 2 else 15), took
    here.nothing_is_left()
    document = json.loads(here.run("latest", "--json", command="show").stdout)
    assert document["states"] == {"ok": 2, "cancelled": 2}


def test_a_full_disk_stops_the_run_with_a_reason_and_keeps_what_was_done(here, small_disk):
    subprocess.run(["mount", "-o", "remount,size=600k", small_disk], check=True)
    done = here.run("-m", "quick", "-s", ",".join(map(str, range(30))), "--results", str(small_disk))
    assert done.returncode == 6, done.stderr
    assert "No space left on device" in done.stderr
    assert "Free some space" in done.stderr
    finished = list((small_disk / "jobs").glob("[!.]*/*/record.json"))
    assert finished, "those that fitted are kept"
    assert all(json.loads(path.read_text())["state"] == "ok" for path in finished)
    assert containers() == []
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    again = here.run("-m", "quick", "-s", ",".join(map(str, range(30))), "--results", str(small_disk))
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("from the cache") >= len(finished) - 1
    assert [path.name for path in (small_disk / "jobs").glob(".*~*")] == []


def test_an_image_that_is_deleted_under_a_running_plan_is_told_and_the_others_go_on(here, made_dataset):
    import docker

    quick.write(here.folder / "models", made_dataset, name="doomed")
    here.common += ["--models-path", str(here.folder / "models" / "doomed")]
    words = ["-m", "quick,doomed", "-s", "1,2", "--set", "quick.wait=3", "-j", "1", "--json"]
    process = here.start(*words)
    until(lambda: containers(all=False, model="quick"))
    time.sleep(1.5)  # its packages have been listed by now
    client = docker.from_env()
    for image in client.images.list("cellgauge/doomed"):
        client.images.remove(image.id, force=True)
    out, _ = process.communicate(timeout=120)
    document = json.loads(out)
    states = {(one["model"], one["seed"]): one["state"] for one in document["results"]}
    assert process.returncode == 1
    assert states["quick", 1] == states["quick", 2] == "ok"
    failed = [one for one in document["results"] if one["state"] == "infrastructure"]
    assert failed, states
    assert all("No such image" in one["reason"] for one in failed)
    assert here.run(*words).returncode == 0, "the same command builds it anew"
    here.nothing_is_left()


def test_two_hundred_jobs_eight_at_a_time_leave_nothing(here, monkeypatch):
    temporary = here.folder / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    done = here.run("-m", "quick", "-s", ",".join(map(str, range(200))), "-j", "8", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (document["planned"], document["states"]) == (200, {"ok": 200})
    here.nothing_is_left()
    assert list(temporary.iterdir()) == []
    assert here.run("-m", "quick", "-s", ",".join(map(str, range(200))), "--json").stderr.count("from the cache") == 200


def test_two_users_at_once_do_not_meet(here, tmp_path):
    if os.getuid() != 0:
        pytest.skip("becoming two other users needs root")
    become = ["setpriv", "--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]  # to read Python below /root
    if subprocess.run([*become, "--reuid", "12345", sys.executable, "--version"], check=False).returncode:
        pytest.skip("this machine does not let another user read this Python")
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    group = Path(os.environ["DOCKER_HOST"].removeprefix("unix://")).stat().st_gid
    running = []
    for user in (12345, 12346):
        home = tmp_path / str(user)
        home.mkdir()
        os.chown(home, user, user)
        words = [*become, "--reuid", str(user), "--regid", str(user), "--groups", str(group), sys.executable, "-m"]
        words += ["cellgauge", "run", *here.common, "-m", "quick,misbehave", "-s", "1,2,3,4", "-j", "2", "--json"]
        environment = {**os.environ, "CELLGAUGE_CACHE": str(home / "cache"), "HOME": str(home)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        words += ["--set", "misbehave.how=whoami"]
        running.append((user, home, subprocess.Popen(words, cwd=home, env=environment, **pipes)))
    for user, home, process in running:
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
        assert json.loads(out)["states"] == {"ok": 8}
        records = [json.loads(path.read_text()) for path in home.glob("cellgauge-results/jobs/*/*/record.json")]
        told = [one["items"][0]["versions"]["uid"] for one in records if one["job"]["model"] == "misbehave"]
        assert told == [str(user)] * 4
        assert all(path.stat().st_uid == user for path in home.rglob("*"))
    assert containers() == []


@pytest.fixture
def own_engine(tmp_path):
    """A Docker engine of our own, to be killed, with the base image in it."""
    if os.getuid() != 0 or not shutil.which("dockerd"):
        pytest.skip("starting an engine needs root and dockerd")
    engine = Engine(tmp_path / "engine")
    engine.start()
    engine.load(os.environ.get("CELLGAUGE_BASE_IMAGE", "python:3.11-slim"))
    yield engine
    engine.stop(signal.SIGTERM)
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[1].startswith(str(engine.folder)):
            subprocess.run(["umount", "-l", line.split()[1]], check=False)
    subprocess.run(["rm", "-rf", engine.folder], check=False)
    shutil.rmtree(engine.run, ignore_errors=True)


class Engine:
    def __init__(self, folder):
        import tempfile

        self.folder, self.run = folder, Path(tempfile.mkdtemp(prefix="cg-", dir="/var/tmp"))  # a socket's path is short
        folder.mkdir()
        self.host = f"unix://{self.run}/docker.sock"

    def start(self):
        words = ["dockerd", "--host", self.host, "--data-root", self.folder / "data", "--exec-root", self.run / "exec"]
        words += ["--pidfile", self.folder / "pid", "--bridge", "none", "--iptables=false"]
        (self.folder / "pid").unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log)
        until(self.answers)

    def answers(self):
        return subprocess.run(["docker", "-H", self.host, "ps"], capture_output=True, check=False).returncode == 0

    def load(self, image):
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
            subprocess.run(["docker", "-H", self.host, "load"], stdin=saved.stdout, check=True, capture_output=True)

    def stop(self, number):
        self.process.send_signal(number)
        self.process.wait(timeout=60)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "shut down"])
def test_an_engine_that_is_restarted_under_a_run_costs_an_attempt_and_no_result(here, own_engine, number, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", own_engine.host)
    process = here.start("-m", "quick", "-s", "1,2,3", "--set", "quick.wait=6", "-j", "2", "--json")
    until(lambda: len(containers(all=False, host=own_engine.host)) == 2, patience=120)
    time.sleep(1)
    own_engine.stop(number)
    time.sleep(2)
    own_engine.start()
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert json.loads(out)["states"] == {"ok": 3}
    records = [json.loads(path.read_text()) for path in here.results.glob("jobs/*/*/record.json")]
    tries = sorted(len(one["attempts"]) for one in records)
    assert tries[-1] >= 1, "it was noticed"
    assert {attempt["state"] for one in records for attempt in one["attempts"]} == {"infrastructure"}
    here.nothing_is_left(host=own_engine.host)
