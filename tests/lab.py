"""Where whole runs are tried: real data, files, threads and locks; models are functions."""

from cellgauge import executors, pipeline
from cellgauge.data.cache import Cache
from cellgauge.engines import Cancel
from cellgauge.engines.function import FunctionEngine
from cellgauge.evaluate import Finished, Kit, Scored, evaluate
from cellgauge.images import Runnable
from cellgauge.pipeline import Site, Wanted
from cellgauge.report import document
from cellgauge.request import Terms
from cellgauge.specs import DatasetSpec, Run
from cellgauge_tasks import Score, Task
from support import ScoredAtOnce, embed_view, entry, made_model, make_cells


def count_cells(embedding, obs, *, seed):
    return [Score("cells", float(len(embedding)), len(embedding))]


def task(name="t", score=count_cells):
    return Task(name=name, version="1", title="t", roles=("cell_type",), score=score, headline={}, baseline="pca")


class Lab:
    """Datasets, models and a results folder."""

    def __init__(self, folder, store):
        self.folder, self.store, self.cache = folder, store, Cache(folder / "cache")

    def dataset(self, name, **fields):
        path = self.folder / f"{name}.h5ad"
        if not path.exists():
            make_cells(seed=sum(name.encode())).write_h5ad(path)
        return DatasetSpec(name=name, **{**entry(path), "source": path.as_uri(), **fields})

    def prepare(
        self, *, models=("m",), datasets=("d",), tasks=None, seeds=(1,), site=None, image_of=None, how=None, **fields
    ):
        """Lay out a plan; a dataset or a model is a name, or made already; fields are those of each model."""
        made = [made_model(name=one, **fields) if isinstance(one, str) else one for one in models]
        specs = [self.dataset(one) if isinstance(one, str) else one for one in datasets]
        image_of = image_of or (lambda model: Runnable(f"sha256:{model.spec.name}", model.folder))
        wanted = [Wanted(model, "default", {}) for model in made]
        return pipeline.prepare(
            wanted, specs, tasks or {"t": task()}, seeds, image_of, site or Site(), self.cache, **how or {}
        )

    def kit(self, function=embed_view, *, slots=2, site=None, engine=None, terms=None, **fields):
        return Kit(
            store=self.store,
            engine=engine or FunctionEngine(function),
            executor=executors.threads(slots + (len(site.lessor.devices) if site and site.lessor else 0)),
            slots=slots,
            scorers=fields.pop("scorers", None) or ScoredAtOnce(),
            cache=self.cache,
            site=site or Site(),
            terms=Terms(**{"run": "r1", "pause": 0.0, **(terms or {})}),
            **fields,
        )

    def run(self, prepared, function=embed_view, *, cancel=None, **fields):
        """Do what the plan says, and give what happened."""
        reuse = pipeline.reusable(prepared.plan, self.store)
        return list(evaluate(prepared, reuse, self.kit(function, **fields), cancel or Cancel()))

    def document(self, prepared, tasks=None):
        raw = {"id": "r1", "command": "", "started": "", "engine": "function", "ended": "2026", "cellgauge": "0"}
        return document.collect(Run(plan=prepared.plan, **raw), self.store, tasks)

    def reasons(self):
        """Why jobs failed, for the message of an assertion."""
        return [(one.reason, one.log_tail[-6:]) for one in self.records() if one.state != "ok"]

    def records(self):
        return [self.store.record(job) for job in self.store.job_ids()]


def finished(happened):
    return [one.record for one in happened if isinstance(one, Finished)]


def scored(happened):
    return [one.result for one in happened if isinstance(one, Scored)]
