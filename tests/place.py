"""The command line in a folder of its own, the containers that there are, and an engine that may be killed."""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support import MODELS


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
        """Of all that ran here: others may use the same engine at the same time."""
        assert self.workspaces() == []
        runs = sorted({path.name.split(".")[0] for path in (self.results / "runs").iterdir()})
        assert runs
        assert [one for run in runs for one in containers(run=run, **options)] == []


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


class Engine:
    def __init__(self, folder):
        self.folder, self.run = folder, Path(tempfile.mkdtemp(prefix="cg-", dir="/var/tmp"))  # a socket's path is short
        folder.mkdir()
        self.host = f"unix://{self.run}/docker.sock"

    def start(self):
        # In a network of its own: with no bridge to care for, an engine removes the one of the machine's other engine.
        words = [
            "unshare",
            "--net",
            "dockerd",
            "--host",
            self.host,
            "--data-root",
            self.folder / "data",
            "--exec-root",
            self.run / "exec",
        ]
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

    def close(self):
        self.stop(signal.SIGTERM)
        for line in Path("/proc/mounts").read_text().splitlines():
            if line.split()[1].startswith((str(self.folder), str(self.run))):
                subprocess.run(["umount", "-l", line.split()[1]], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.run, ignore_errors=True)
