"""Has the adversary in `models/adversary` do its worst, and sees that nothing of it is left."""

import json
import os
import pickle
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from cellgauge.engines.docker import DockerEngine
from place import containers


def attacker(run_job, model):
    """A function that runs steps of the adversary in the sandbox. Whatever they are, they end and leave nothing."""

    def attack(*steps, engine=None, **more):
        began, job = time.monotonic(), {"params": {"do": ",".join(steps)}, "time": 20, **more}
        record, folder = run_job(model, engine or DockerEngine(), **job)
        assert time.monotonic() - began < job["time"] + 15
        assert containers(job=record.job.id) == []
        assert living_in(folder) == []
        assert sorted(path.name for path in folder.iterdir()) == ["input", "log.txt", "output"]
        assert (folder / "log.txt").stat().st_size <= (1 << 20) + 200, "log_mb is 1"
        assert len(record.model_dump_json()) < 64 << 10
        return record, folder

    return attack


def living_in(folder):
    """Processes, in whatever container, that have a folder of the job mounted."""
    found = []
    for path in Path("/proc").glob("[0-9]*/mountinfo"):
        with suppress(OSError):
            found += [path.parent.name] if f"{folder}/" in path.read_text() else []
    return found


def told(folder):
    """What the adversary says of each step."""
    return json.loads((folder / "output" / "told.json").read_text())


class AnotherUser(DockerEngine):
    """The engine as a user has it who is not root: it runs in a process of theirs."""

    def __init__(self, uid, group):
        super().__init__()
        self.uid, self.group = uid, group

    def run(self, launch, cancel):
        for path in (launch.output.parent, launch.output, launch.scratch):
            os.chown(path, self.uid, self.uid)
        asked = pickle.dumps((launch, self.uid, self.group))
        done = subprocess.run([sys.executable, "-c", AS_ANOTHER], input=asked, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return pickle.loads(done.stdout)


AS_ANOTHER = """
import ctypes, encodings.idna, os, pickle, sys
from cellgauge.engines import Cancel
from cellgauge.engines.docker import DockerEngine
launch, uid, group = pickle.load(sys.stdin.buffer)
engine = DockerEngine()
engine.check()  # everything is imported before the folder of Python itself may be out of reach
os.setgroups([group]), os.setgid(uid), os.setuid(uid)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as in a process that was this user's from the start
sys.stdout.buffer.write(pickle.dumps(engine.run(launch, Cancel())))
"""
