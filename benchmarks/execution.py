"""Measures what a run costs beside its models: gaps, CPU time, memory, resuming and cleaning."""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import quick
from cellgauge import catalog, evaluate, executors, images, pipeline, worker
from cellgauge.data.cache import Cache
from cellgauge.engines import Cancel
from cellgauge.engines.docker import DockerEngine
from cellgauge.engines.function import FunctionEngine
from cellgauge.pipeline import Reuse, Site, Wanted
from cellgauge.request import Terms
from cellgauge.scorers import Scorers
from cellgauge.specs import DatasetSpec
from cellgauge.store import Store
from cellgauge_model import contract
from support import checked, entry, make_cells

Row = tuple[str, str, str, bool]
ROUNDS = 15


class Bench:
    """A made dataset, the quick model, and a folder of results."""

    def __init__(self, folder):
        self.folder, self.cache = folder, Cache(folder / "cache")
        make_cells().write_h5ad(folder / "made.h5ad")
        source = (folder / "made.h5ad").as_uri()
        self.dataset = checked(DatasetSpec(name="made", **{**entry(folder / "made.h5ad"), "source": source}))
        self.place = quick.write(folder / "models", self.dataset)
        (folder / "catalog.yaml").write_text(yaml.safe_dump({"datasets": {"made": entry(folder / "made.h5ad")}}))
        self.model = catalog.models([self.place])["quick"]
        self.ready = self.place / "ready" / "made"

    def prepare(self, seeds, digest="none"):
        wanted = [Wanted(self.model, "default", {})]
        task = {"embedding": catalog.tasks()["embedding"]}
        found = lambda model: images.Runnable(digest, model.folder)  # noqa: E731
        return pipeline.prepare(wanted, [self.dataset.spec], task, seeds, found, Site(), self.cache)

    def evaluate(self, prepared, store, engine, *, slots=1, reuse=None):
        kit = worker.Kit(
            store=store,
            engine=engine,
            executor=executors.threads(slots),
            slots=slots,
            scorers=Scorers(1),
            cache=self.cache,
            site=Site(),
            terms=Terms(run="bench"),
        )
        return evaluate.evaluate(prepared, reuse or Reuse(), kit, Cancel())

    def copy(self, launch):
        """What the model does, as a function."""
        target = launch.output / "made"
        target.mkdir()
        for name in ("embedding.npy", "cells.txt"):
            os.link(self.ready / name, target / name)
        contract.write_atomically(target / "result.json", contract.to_json(contract.RunResult(1, "ok")))
        return 0

    def store(self, name):
        found = Store(self.folder / name)
        found.prepare()
        return found


def built(bench: Bench) -> str:
    base = os.environ.get("CELLGAUGE_BASE_IMAGE", "python:3.11-slim")
    network = os.environ.get("CELLGAUGE_BUILD_NETWORK", "")
    return images.ensure(bench.model, base_image=base, network=network, say=lambda text: None).digest


def gap(bench: Bench) -> Row:
    """From the end of one container to the request for the next on one slot, against a bare run; in turns.

    Until the next one's program runs it takes the engine's own start beside that, which is told too.
    """
    import docker

    image, store, engine = built(bench), bench.store("gaps"), DockerEngine()
    engine.check()
    gaps, whole, bare = [], [], []
    client = docker.from_env()
    for number in range(ROUNDS):
        began = time.time()
        for _ in bench.evaluate(bench.prepare([2 * number, 2 * number + 1], image), store, engine):
            pass
        told = {"label": "org.cellgauge.job"}
        events = client.events(since=int(began), until=int(time.time()) + 1, decode=True, filters=told)
        moments = [(one["timeNano"] / 1e9, one["Action"]) for one in events if one["timeNano"] / 1e9 > began]
        died = next(moment for moment, what in moments if what == "die")
        gaps.append(next(moment for moment, what in moments if what == "create" and moment > died) - died)
        whole.append(next(moment for moment, what in moments if what == "start" and moment > died) - died)
        start = time.perf_counter()
        words = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "true", image]
        subprocess.run(words, check=True)
        bare.append(time.perf_counter() - start)
    client.close()
    ratio = statistics.median(gaps) / statistics.median(bare)
    measured = f"{ratio:.2f} × : {spread(gaps)} against {spread(bare)}; until the next one runs {spread(whole)}"
    return "gap between two jobs on one slot, against a bare `docker run`", measured, "< 1 ×", ratio < 1


def own_time(bench: Bench) -> Row:
    """CPU seconds a job, all of it but the model's: plan, view, request, checks, record, and scoring in its process."""
    store, jobs = bench.store("own"), 200
    began = _cpu_seconds()
    for _ in bench.evaluate(bench.prepare(range(jobs)), store, FunctionEngine(bench.copy), slots=4):
        pass
    each = (_cpu_seconds() - began) / jobs  # what scored has ended, and is counted
    return "own CPU time a job, with planning and scoring", f"{each * 1e3:.1f} ms", "< 50 ms", each < 0.05


def _cpu_seconds() -> float:
    """Of this process, and of its children that have ended."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def memory(bench: Bench) -> Row:
    """Resident memory over 1,000 jobs: the mean over the last 100 against that over the fifth 100."""
    store, jobs = bench.store("memory"), 1000
    prepared, process, seen = bench.prepare(range(jobs)), psutil.Process(), []
    for event in bench.evaluate(prepared, store, FunctionEngine(bench.copy), slots=4):
        if isinstance(event, evaluate.Finished):
            seen.append(process.memory_info().rss / 2**20)
    before, after = statistics.mean(seen[400:500]), statistics.mean(seen[-100:])
    grown = after - before
    return "memory from job 450 to 950 of 1,000", f"{before:.0f} to {after:.0f} MiB", "flat: < 10 MiB more", grown < 10


def resume(bench: Bench) -> Row:
    """Deciding that 5,000 finished results need not be done again."""
    store, jobs = bench.store("resume"), 5000
    prepared = bench.prepare(range(jobs))
    for _ in bench.evaluate(prepared, store, FunctionEngine(bench.copy), slots=4):
        pass
    times = []
    for _ in range(3):
        began = time.perf_counter()
        found = pipeline.reusable(prepared.plan, store)
        times.append(time.perf_counter() - began)
    assert (len(found.jobs), len(found.scorings)) == (jobs, jobs)
    return "resume decision for 5,000 finished results", spread(times), "< 2 s", statistics.median(times) < 2


ORPHAN = """
import os, sys
from cellgauge.engines.docker import LABEL
from cellgauge.engines.docker_client import connect
from cellgauge import owner
for _ in range(50):
    connect().containers.run(sys.argv[1], entrypoint=["sleep", "600"], detach=True, network_mode="none", init=True,
        labels={f"{LABEL}.owner": owner.me().token, f"{LABEL}.gpus": ""})
os.kill(os.getpid(), 9)
"""


def clean(bench: Bench) -> Row:
    """`cellgauge clean` with 50 containers whose owner was killed."""
    image = built(bench)
    subprocess.run([sys.executable, "-c", ORPHAN, image], check=False)
    began = time.perf_counter()
    words = [sys.executable, "-m", "cellgauge", "clean", "--json", "--results", str(bench.folder / "none")]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    took = time.perf_counter() - began
    count = len(json.loads(done.stdout)["removed"])
    return f"`cellgauge clean` with {count} orphans", f"{took:.1f} s", "< 10 s", took < 10 and count >= 50


def spread(times: list[float]) -> str:
    middle, low, high = statistics.median(times), min(times), max(times)
    return f"{middle * 1e3:.0f} ms ({low * 1e3:.0f}–{high * 1e3:.0f})"


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        return [gap(bench), own_time(bench), memory(bench), resume(bench), clean(bench)]


if __name__ == "__main__":
    for row in rows():
        print(row)
