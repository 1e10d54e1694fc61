"""What cz-benchmarks says. Runs in its own environment."""

import logging
import warnings

import numpy as np
import pandas as pd
from czbenchmarks.datasets.types import Organism
from czbenchmarks.metrics import utils
from czbenchmarks.metrics.implementations import metrics_registry
from czbenchmarks.metrics.types import MetricType
from czbenchmarks.tasks import (
    BatchIntegrationTask,
    BatchIntegrationTaskInput,
    ClusteringTask,
    ClusteringTaskInput,
    CrossSpeciesIntegrationTask,
    CrossSpeciesIntegrationTaskInput,
    CrossSpeciesLabelPredictionTask,
    CrossSpeciesLabelPredictionTaskInput,
    EmbeddingTask,
    EmbeddingTaskInput,
    MetadataLabelPredictionTask,
    MetadataLabelPredictionTaskInput,
    SequentialOrganizationTask,
    SequentialOrganizationTaskInput,
)

logging.disable(logging.CRITICAL)
PACKAGES = (
    "cz-benchmarks",
    "numpy",
    "scipy",
    "scikit-learn",
    "scanpy",
    "igraph",
    "hnswlib",
    "scib-metrics",
    "jax",
    "umap-learn",
)
SPREAD = ("sequential alignment", "entropy_per_cell")
"""One draws without a seed; the other's neighbours are approximate, and differ with the threads' order."""


def suite(cells):
    """Run its own tasks, all its metrics of one embedding; a function a task."""
    points, obs = cells.points, cells.obs
    labels, time = obs["cell_type"], obs.get("time", obs["cell_type"])
    return {
        "clustering": lambda: ClusteringTask().run(points, ClusteringTaskInput(obs=obs, input_labels=labels)),
        "embedding": lambda: EmbeddingTask().run(points, EmbeddingTaskInput(input_labels=labels)),
        "batch_integration": lambda: BatchIntegrationTask().run(
            points, BatchIntegrationTaskInput(batch_labels=obs["batch"], labels=labels)
        ),
        "label_prediction": lambda: MetadataLabelPredictionTask().run(
            points, MetadataLabelPredictionTaskInput(labels=labels)
        ),
        "sequential_organization": lambda: SequentialOrganizationTask().run(
            points, SequentialOrganizationTaskInput(obs=obs, input_labels=time)
        ),
    }


def pieces(cells):
    """Take the tasks apart, so that each piece can be scaled as it grows."""
    points, obs = cells.points, cells.obs
    labels, batch, time = obs["cell_type"].to_numpy(), obs["batch"].to_numpy(), obs["time"].to_numpy(float)
    found = {
        "clustering": suite(cells)["clustering"],
        "silhouette": lambda: metrics_registry.compute(MetricType.SILHOUETTE_SCORE, X=points, labels=labels),
        "entropy_per_cell": lambda: metrics_registry.compute(MetricType.ENTROPY_PER_CELL, X=points, labels=batch),
        "batch silhouette": lambda: metrics_registry.compute(
            MetricType.BATCH_SILHOUETTE, X=points, labels=labels, batch=batch
        ),
        "sequential silhouette": lambda: metrics_registry.compute(MetricType.SILHOUETTE_SCORE, X=points, labels=time),
        "sequential alignment": lambda: utils.sequential_alignment(points, time, k=15),
    }
    return found | {f"label prediction: {name}": _fold_of(name, points, labels) for name in ("lr", "knn", "rf")}


def _fold_of(name, points, labels):
    """One classifier's five folds, by its task's own code: the other two are taken out of what it hands on."""

    def called():
        from czbenchmarks.tasks import label_prediction

        whole = label_prediction.cross_validate

        def alone(pipeline, values, codes, **how):
            if name in pipeline.named_steps:
                return whole(pipeline, values, codes, **how)
            return {f"test_{metric}": np.zeros(5) for metric in how["scoring"]}

        label_prediction.cross_validate = alone
        try:
            inputs = MetadataLabelPredictionTaskInput(labels=pd.Series(labels))
            return MetadataLabelPredictionTask().run(points, inputs)
        finally:
            label_prediction.cross_validate = whole

    return called


def metrics(cells):
    """Functions by metric."""
    points, obs = cells.points, cells.obs
    labels, batch = obs["cell_type"].to_numpy(), obs["batch"].to_numpy()
    found = {
        "silhouette": lambda: metrics_registry.compute(MetricType.SILHOUETTE_SCORE, X=points, labels=labels),
        "entropy_per_cell": lambda: metrics_registry.compute(MetricType.ENTROPY_PER_CELL, X=points, labels=batch),
        "batch silhouette": lambda: metrics_registry.compute(
            MetricType.BATCH_SILHOUETTE, X=points, labels=labels, batch=batch
        ),
        "clustering": lambda: told(suite(cells)["clustering"]()),
        "label_prediction": lambda: told(suite(cells)["label_prediction"]()),
    }
    if "time" in obs:
        time = obs["time"].to_numpy(float)

        def aligned(**how):
            return lambda: utils.sequential_alignment(points, time, k=15, **how)

        found |= {
            "sequential silhouette": lambda: metrics_registry.compute(
                MetricType.SILHOUETTE_SCORE, X=points, labels=time
            ),
            "sequential alignment": aligned(),
            "sequential alignment, not normalised": aligned(normalize=False),
            "sequential alignment, adaptive, not normalised": aligned(normalize=False, adaptive_k=True),
        }
    return found


def species(one, other):
    """The tasks over two species."""
    points, labels = [one.points, other.points], [one.obs["cell_type"].to_numpy(), other.obs["cell_type"].to_numpy()]
    both = [Organism.HUMAN, Organism.MOUSE]

    def integration():
        inputs = CrossSpeciesIntegrationTaskInput(labels=labels, organism_list=both)
        return told(CrossSpeciesIntegrationTask().run(points, inputs))

    def prediction(aggregation, donors):
        named = {"sample_ids": donors} if donors else {}

        def called():
            inputs = CrossSpeciesLabelPredictionTaskInput(
                labels=labels, organisms=both, aggregation_method=aggregation, **named
            )
            return told(CrossSpeciesLabelPredictionTask().run(points, inputs))

        return called

    return {
        "cross_species_integration": integration,
        "cross_species_label_prediction": prediction("none", None),
    }


def told(results):
    """Their results by metric and parameters."""
    return {
        " ".join([one.metric_type.value, *(f"{key}={value}" for key, value in sorted(one.params.items()))]): one.value
        for one in results
    }


warnings.simplefilter("ignore")
