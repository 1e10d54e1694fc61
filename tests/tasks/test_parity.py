"""Every metric of an embedding that a peer has too, against what the peer says of the same cells.

The values in oracles/ were made by `benchmarks/peers/oracles.py` in the peers' own environments. Ours is set to their
definition where it can be; where they differ all the same, the tolerance says by how much, and a comment why.
"""

import functools
import json

import numpy as np
import pytest

import made
import oracles
from cellgauge_tasks import NotApplicable, cross_species_integration, label_prediction
from cellgauge_tasks._space import Space
from cellgauge_tasks.metrics import (
    agreement,
    clusters,
    connectivity,
    isolated,
    kbet,
    lisi,
    mixing,
    regression,
    sequence,
    silhouette,
)
from support import ROOT

EXACT = 1e-6
# Wider ones are of Leiden, whose clusters differ between seeds; for most sets they are the same to the last digit.
PEERS = {path.stem: json.loads(path.read_text()) for path in sorted(oracles.FOLDER.glob("*.json"))}


class Given:
    """Cells as the metrics want them; one space, so that its distances are computed once."""

    def __init__(self, cells):
        self.space, self.counts, self.obs = Space(cells.points), cells.counts, cells.obs
        self.labels, self.batches = (cells.obs[role].to_numpy().astype(str) for role in ("cell_type", "batch"))
        self.sums = [made.checksum(one) for one in (cells.points, cells.counts)]

    @functools.cached_property
    def times(self):
        return self.obs["time"].to_numpy(float)

    @functools.cached_property
    def lisi(self):
        return lisi.lisi(self.space, [self.batches, self.labels])

    @functools.cached_property
    def predicted(self):
        scores = label_prediction.score(self.space, {"cell_type": self.labels})
        return {(one.metric, one.params.get("classifier")): one.value for one in scores}


@functools.cache
def given(name, folder):
    if name in oracles.REAL:
        return Given(made.real(folder / oracles.REAL[name]))
    return Given(made.cells() if name == "cells" else made.mixture(2000, 32))


@pytest.fixture
def cells(name, request):
    """The cells that a test names."""
    return given(name, request.getfixturevalue("real_data") if name in oracles.REAL else None)


def swept(metric):
    def best(cells):
        found = clusters.best_of_sweep(cells.space, cells.labels, [round(0.2 * step, 1) for step in range(1, 11)])
        return metric(cells.labels, found.clusters)

    return best


def leiden(metric):
    return lambda cells: metric(cells.labels, clusters.leiden(cells.space))


def backwards(metric):
    return lambda cells: metric(cells.labels, cells.labels[::-1])


def apart(cells):
    return sequence.disagreement(cells.space, cells.times, 15).mean()


def lisi_of(column, middle):
    return lambda cells: middle(cells.lisi[:, column])


ari, nmi = agreement.adjusted_rand_index, agreement.normalized_mutual_info


def indices(*, itself):
    """LISI as harmonypy has it. It stops looking for a kernel's width at 1e-5 of the entropy, which one cell shows."""

    def of(column, middle):
        def middling(cells):
            return middle(lisi.lisi(cells.space, [cells.batches, cells.labels], itself=itself)[:, column])

        return middling

    return {
        f"lisi_{name} {role}": (of(column, middle), tolerance)
        for column, role in enumerate(("batch", "label"))
        for name, middle, tolerance in (("mean", np.mean, EXACT), ("median", np.median, 1e-5))
    }


COMPARED = {
    "scib-metrics": {
        "silhouette_label": (lambda c: silhouette.silhouette_label(c.space, c.labels), EXACT),
        "silhouette_batch": (lambda c: silhouette.silhouette_batch(c.space, c.labels, c.batches), EXACT),
        "bras": (lambda c: silhouette.bras(c.space, c.labels, c.batches), EXACT),
        "isolated_labels": (lambda c: silhouette.isolated_asw(c.space, c.labels, c.batches), EXACT),
        "lisi_mean batch": (lisi_of(0, np.mean), EXACT),
        "lisi_mean label": (lisi_of(1, np.mean), EXACT),
        "ilisi_knn": (lambda c: lisi.ilisi(c.space, c.batches), EXACT),
        "clisi_knn": (lambda c: lisi.clisi(c.space, c.labels), EXACT),
        "kbet k=50": (lambda c: kbet.kbet_overall(c.space, c.batches, k=50), EXACT),
        "graph_connectivity k=15": (
            lambda c: connectivity.graph_connectivity(c.space, c.labels, connection="strong"),
            EXACT,
        ),
        "pcr": (lambda c: regression.pcr(c.space, c.batches), EXACT),
        "pcr raw": (lambda c: regression.pcr(c.counts, c.batches), EXACT),
        "pcr_comparison": (lambda c: regression.pcr_comparison(c.counts, c.space, c.batches), EXACT),
        "leiden sweep nmi": (swept(nmi), 0.03),
        "leiden sweep ari": (swept(ari), 0.05),
    },
    "scib": {
        "silhouette": (lambda c: silhouette.silhouette_label(c.space, c.labels), EXACT),
        "silhouette_batch": (lambda c: silhouette.silhouette_batch(c.space, c.labels, c.batches), EXACT),
        "isolated_labels_asw": (lambda c: silhouette.isolated_asw(c.space, c.labels, c.batches), EXACT),
        "isolated_labels_f1": (lambda c: isolated.isolated_f1(c.space, c.labels, c.batches), 0.03),
        "graph_connectivity": (lambda c: connectivity.graph_connectivity(c.space, c.labels), EXACT),
        "pcr": (lambda c: regression.pcr(c.space, c.batches, n_components=50), EXACT),
        "pcr raw": (lambda c: regression.pcr(c.counts, c.batches, n_components=50), EXACT),
        "pcr all components": (lambda c: regression.pcr(c.space, c.batches), EXACT),
        "leiden sweep nmi": (swept(nmi), 0.03),
        "leiden sweep ari": (swept(ari), 0.05),
        "nmi of the labels and themselves the other way round": (backwards(nmi), EXACT),
        "ari of the labels and themselves the other way round": (backwards(ari), EXACT),
    },
    "harmonypy-0": indices(itself=True),
    # From 2.0 on it takes 90 others, where R's lisi and all before took 89.
    "harmonypy": indices(itself=False),
    "cz-benchmarks": {
        "silhouette": (lambda c: silhouette.silhouette_label(c.space, c.labels), EXACT),
        # Their neighbours are approximate.
        "entropy_per_cell": (lambda c: mixing.entropy_per_cell(c.space, c.batches), 1e-4),
        "batch silhouette": (lambda c: silhouette.silhouette_batch(c.space, c.labels, c.batches), EXACT),
        "sequential silhouette": (lambda c: silhouette.silhouette_label(c.space, c.times.astype(str)), EXACT),
        # Draws chance where ours is its expectation.
        "sequential alignment": (lambda c: sequence.sequential_alignment(c.space, c.times), 0.01),
        "sequential alignment, not normalised": (apart, EXACT),
    },
}
# Every cell type of these is in every batch: scib says NaN, scib-metrics takes all types for isolated.
NONE_ISOLATED = {("cells", "isolated_labels"), ("cells", "isolated_labels_asw"), ("cells", "isolated_labels_f1")}


ASKED = [
    (peer, metric, name)
    for peer, metrics in COMPARED.items()
    for metric in metrics
    for name in oracles.SETS
    if metric in PEERS[peer]["values"][name]  # two of them have no times
]


@pytest.mark.parametrize(("peer", "metric", "name"), ASKED)
def test_a_metric_is_the_peers(peer, metric, name, cells):
    theirs = PEERS[peer]["values"][name]
    ours, tolerance = COMPARED[peer][metric]
    assert cells.sums == pytest.approx(PEERS[peer]["sums"][name], rel=1e-9)
    if (name, metric) in NONE_ISOLATED:
        with pytest.raises(NotApplicable, match="no label is isolated"):
            ours(cells)
        return
    assert ours(cells) == pytest.approx(theirs[metric], abs=tolerance)


@pytest.mark.parametrize("name", oracles.SETS)
def test_leiden_clusters_are_those_of_cz_benchmarks(name, cells):
    theirs = PEERS["cz-benchmarks"]["values"][name]["clustering"]
    assert leiden(ari)(cells) == pytest.approx(theirs["adjusted_rand_index"], abs=EXACT)
    assert leiden(nmi)(cells) == pytest.approx(theirs["normalized_mutual_info"], abs=EXACT)


PREDICTED = {"logistic_regression": ("lr", 5e-3), "knn": ("knn", EXACT), "random_forest": ("rf", 0.02)}
"""Theirs stops at 100 iterations, before the minimum is reached; a forest depends on its library's release."""


@pytest.mark.parametrize("classifier", PREDICTED)
@pytest.mark.parametrize("name", ["cells", "pancreas"])
def test_labels_are_predicted_as_by_cz_benchmarks(name, classifier, cells):
    short, tolerance = PREDICTED[classifier]
    ours, theirs = cells.predicted, PEERS["cz-benchmarks"]["values"][name]["label_prediction"]
    for metric in ("accuracy", "f1", "precision", "recall", "auroc"):
        said = theirs[f"mean_fold_{metric} classifier={short}"]
        assert ours[metric, classifier] == pytest.approx(said, abs=tolerance), metric


def test_species_mix_as_in_cz_benchmarks():
    one, other = made.cells(0), made.cells(1)
    obs = {"cell_type": [*one.obs["cell_type"], *other.obs["cell_type"]], "organism": ["human"] * 600 + ["mouse"] * 600}
    scores = cross_species_integration.score(np.concatenate([one.points, other.points]), obs)
    theirs = PEERS["cz-benchmarks"]["values"]["two species"]["cross_species_integration"]
    found = {score.metric: score.value for score in scores}
    assert found["entropy_per_cell"] == pytest.approx(theirs["entropy_per_cell"], abs=1e-4)  # neighbours: approximate
    assert found["silhouette_batch"] == pytest.approx(theirs["batch_silhouette"], abs=EXACT)


@pytest.mark.parametrize("peer", PEERS)
def test_what_peers_said_is_of_the_releases_that_are_pinned(peer):
    pins = (ROOT / "benchmarks" / "peers" / f"{peer}.txt").read_text().splitlines()
    assert {f"{package}=={version}" for package, version in PEERS[peer]["versions"].items()} <= set(pins)
    assert not [pin for pin in pins if pin.startswith(("nvidia", "torch"))]
