"""Every metric that a peer has too, against what the peer says of the same cells.

The values in oracles/ were made by `benchmarks/peers/oracles.py` in the peers' own environments. Ours is set to their
definition where it can be; where they differ all the same, the tolerance says by how much, and a comment why.
"""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import false_discovery_control

import made
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
from cellgauge_tasks.metrics.perturbation import Perturbed
from cellgauge_tasks.metrics.perturbation import agreement as perturbed_agreement
from cellgauge_tasks.metrics.perturbation.comparison import Comparison
from cellgauge_tasks.metrics.perturbation.suite import measure

EXACT = 1e-6
FOLDER = Path(__file__).parent / "oracles"
PEERS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
FILES = {"pancreas": "pancreas_5tech_panc8.h5ad", "pbmc": "pbmc_3tech_10x.h5ad"}


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
    if name in FILES:
        return Given(made.real(folder / FILES[name]))
    return Given(made.cells() if name == "cells" else made.mixture(2000, 32))


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
# They stop looking for the kernel's width at 1e-5 of the entropy, which a single cell's value shows.
LISI = {
    "lisi_mean batch": (lisi_of(0, np.mean), EXACT),
    "lisi_median batch": (lisi_of(0, np.median), 1e-5),
    "lisi_mean label": (lisi_of(1, np.mean), EXACT),
    "lisi_median label": (lisi_of(1, np.median), 1e-5),
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
        "leiden sweep nmi": (swept(nmi), 0.05),
        "leiden sweep ari": (swept(ari), 0.15),
    },
    "scib": {
        "silhouette": (lambda c: silhouette.silhouette_label(c.space, c.labels), EXACT),
        "silhouette_batch": (lambda c: silhouette.silhouette_batch(c.space, c.labels, c.batches), EXACT),
        "isolated_labels_asw": (lambda c: silhouette.isolated_asw(c.space, c.labels, c.batches), EXACT),
        "isolated_labels_f1": (lambda c: isolated.isolated_f1(c.space, c.labels, c.batches), 0.05),
        "graph_connectivity": (lambda c: connectivity.graph_connectivity(c.space, c.labels), EXACT),
        "pcr": (lambda c: regression.pcr(c.space, c.batches, n_components=50), EXACT),
        "pcr raw": (lambda c: regression.pcr(c.counts, c.batches, n_components=50), EXACT),
        "pcr all components": (lambda c: regression.pcr(c.space, c.batches), EXACT),
        "leiden sweep nmi": (swept(nmi), 0.03),
        "leiden sweep ari": (swept(ari), 0.1),
        "nmi of the labels and themselves the other way round": (backwards(nmi), EXACT),
        "ari of the labels and themselves the other way round": (backwards(ari), EXACT),
    },
    "harmonypy-0": LISI,
    # From 2.0 on it takes 90 others, where R's lisi and all before took 89.
    "harmonypy": {name: (function, 2e-3) for name, (function, _) in LISI.items()},
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
SETS = ("cells", "mixture", "pancreas", "pbmc")
# Every cell type of these is in every batch: scib says NaN, scib-metrics takes all types for isolated.
NONE_ISOLATED = {("cells", "isolated_labels"), ("cells", "isolated_labels_asw"), ("cells", "isolated_labels_f1")}


ASKED = [
    (peer, metric, name)
    for peer, metrics in COMPARED.items()
    for metric in metrics
    for name in SETS
    if metric in PEERS[peer]["values"][name]  # two of them have no times
]


@pytest.mark.parametrize(("peer", "metric", "name"), ASKED)
def test_a_metric_is_the_peers(peer, metric, name, real_data):
    theirs = PEERS[peer]["values"][name]
    cells, (ours, tolerance) = given(name, real_data), COMPARED[peer][metric]
    assert cells.sums == pytest.approx(PEERS[peer]["sums"][name], rel=1e-9)
    if (name, metric) in NONE_ISOLATED:
        with pytest.raises(NotApplicable, match="no label is isolated"):
            ours(cells)
        return
    assert ours(cells) == pytest.approx(theirs[metric], abs=tolerance)


@pytest.mark.parametrize("name", SETS)
def test_leiden_clusters_are_those_of_cz_benchmarks(name, real_data):
    cells, theirs = given(name, real_data), PEERS["cz-benchmarks"]["values"][name]["clustering"]
    assert leiden(ari)(cells) == pytest.approx(theirs["adjusted_rand_index"], abs=EXACT)
    assert leiden(nmi)(cells) == pytest.approx(theirs["normalized_mutual_info"], abs=EXACT)


PREDICTED = {"logistic_regression": ("lr", 5e-3), "knn": ("knn", EXACT), "random_forest": ("rf", 0.02)}
"""Theirs stops at 100 iterations, before the minimum is reached; a forest depends on its library's release."""


@pytest.mark.parametrize("classifier", PREDICTED)
@pytest.mark.parametrize("name", ["cells", "pancreas"])
def test_labels_are_predicted_as_by_cz_benchmarks(name, classifier, real_data):
    short, tolerance = PREDICTED[classifier]
    ours, theirs = given(name, real_data).predicted, PEERS["cz-benchmarks"]["values"][name]["label_prediction"]
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


PERTURBED = PEERS["cell-eval"]["values"]["perturbed"]["all"]
NAMES = {
    "mse": "mse_delta",
    "mae": "mae_delta",
    "de_recall": "de_sig_genes_recall",
    "de_spearman_change": "de_spearman_lfc_sig",
}


@pytest.fixture(scope="module")
def perturbed():
    """The comparison, and every metric that cell-eval has too, by its name there."""
    given = made.perturbed()
    assert [made.checksum(one) for one in given[:2]] == pytest.approx(PEERS["cell-eval"]["sums"]["perturbed"])
    how = {"conditions": given.conditions, "control": made.CONTROL, "genes": given.genes, "scale": "log1p"}
    found = Comparison.of(Perturbed(given.predicted, **how), Perturbed(given.truth, **how))
    measured, correlated = measure(found)
    by_name = {}
    for one in measured:
        params = dict(one.params)
        name = NAMES.get(one.metric, one.metric)
        if one.metric in ("de_overlap", "de_precision"):
            k = params["k"]
            name = f"{one.metric.removeprefix('de_')}_at_{'N' if k == 'significant' else k}"
        if one.metric == "discrimination":
            name = f"discrimination_score_{params['distance']}"
        if params.get("genes", "all") == "all":
            by_name[name] = one.values
    return found, by_name, {one.metric: one for one in correlated}


def theirs_of(metric, names):
    values = [PERTURBED[name][metric] for name in names]
    return np.array([np.nan if value is None else value for value in values], dtype=float)


@pytest.mark.parametrize(
    "metric",
    [
        "pearson_delta",
        "mse_delta",
        "mae_delta",
        "de_direction_match",
        "de_spearman_lfc_sig",
        "de_sig_genes_recall",
        *(f"{kind}_at_{k}" for kind in ("overlap", "precision") for k in ("N", 50, 100, 200)),
    ],
)
def test_a_perturbation_metric_is_cell_evals(metric, perturbed):
    found, ours, _ = perturbed
    assert ours[metric] == pytest.approx(theirs_of(metric, found.names), abs=EXACT, nan_ok=True)


@pytest.mark.parametrize("distance", ["l1", "l2", "cosine"])
def test_discrimination_is_cell_evals_but_for_its_range(distance, perturbed):
    # Theirs divides the rank, from 0, by the number of conditions, so the worst is 1 / n; ours by one less, so it is 0.
    found, ours, _ = perturbed
    n = len(found.names)
    name = f"discrimination_score_{distance}"
    assert 1 - (1 - ours[name]) * (n - 1) / n == pytest.approx(theirs_of(name, found.names), abs=EXACT)


@pytest.mark.parametrize(("metric", "area"), [("roc_auc", "auroc"), ("pr_auc", "auprc")])
def test_areas_are_cell_evals_where_genes_are_ranked_by_fdr(metric, area, perturbed):
    # Theirs ranks by the FDR, no lower than 1e-10, which ties genes that differ in p; ours by p itself.
    found, _, _ = perturbed
    fdr = false_discovery_control(found.predicted_expression.p, axis=1).clip(1e-10, 1)
    scores = -np.log10(fdr.astype(np.float32))
    values = getattr(perturbed_agreement, area)(scores, found.true_expression.significant)
    assert values == pytest.approx(theirs_of(metric, found.names), abs=EXACT, nan_ok=True)


def test_correlations_over_conditions_are_cell_evals(perturbed):
    from scipy.stats import pearsonr, spearmanr

    found, _, correlated = perturbed
    counts, energy = correlated["de_counts_spearman"], correlated["energy_distance_pearson"]
    said = PERTURBED[str(found.names[0])]
    assert spearmanr(counts.predicted, counts.true)[0] == pytest.approx(said["de_spearman_sig"], abs=EXACT)
    assert pearsonr(energy.predicted, energy.true)[0] == pytest.approx(said["pearson_edistance"], abs=EXACT)
