"""What scib-metrics says. Runs in its own environment."""

import anndata  # noqa: F401 - what imports it later must not be counted as a metric
import scib_metrics
from near import given
from scib_metrics.nearest_neighbors import NeighborsResults, pynndescent

PACKAGES = ("scib-metrics", "jax", "jaxlib", "numpy", "scipy", "scikit-learn", "umap-learn", "pynndescent", "igraph")


def metrics(cells):
    """Functions by metric. Neighbours are exact ones, which are given; a cell is its own first, as is wanted here."""
    points, labels, batches = cells.points, cells.obs["cell_type"].to_numpy(), cells.obs["batch"].to_numpy()

    def neighbors(k):
        indices, distances = given(points, k, getattr(cells, "near", None))
        return NeighborsResults(indices=indices, distances=distances)

    at = {k: neighbors(k) for k in (15, 50, 90)}

    def per_label():
        # They sum over connectivities, which are made on first use and kept.
        return scib_metrics.kbet_per_label(NeighborsResults(at[50].indices, at[50].distances), batches, labels)

    return {
        "neighbors k=90 (approximate)": lambda: pynndescent(points, n_neighbors=90, random_state=0).distances.mean(),
        "silhouette_label": lambda: scib_metrics.silhouette_label(points, labels),
        "silhouette_batch": lambda: scib_metrics.silhouette_batch(points, labels, batches),
        "bras": lambda: scib_metrics.bras(points, labels, batches),
        "isolated_labels": lambda: scib_metrics.isolated_labels(points, labels, batches),
        "lisi_mean batch": lambda: scib_metrics.lisi_knn(at[90], batches).mean(),
        "lisi_mean label": lambda: scib_metrics.lisi_knn(at[90], labels).mean(),
        "ilisi_knn": lambda: scib_metrics.ilisi_knn(at[90], batches),
        "clisi_knn": lambda: scib_metrics.clisi_knn(at[90], labels),
        "kbet k=50": lambda: scib_metrics.kbet(at[50], batches)[0],
        "kbet k=50 mean statistic": lambda: scib_metrics.kbet(at[50], batches)[1].mean(),
        "kbet_per_label": per_label,
        "graph_connectivity k=15": lambda: scib_metrics.graph_connectivity(at[15], labels),
        "pcr": lambda: scib_metrics.utils.principal_component_regression(points, batches, categorical=True),
        "pcr raw": lambda: scib_metrics.utils.principal_component_regression(cells.counts, batches, categorical=True),
        "pcr_comparison": lambda: scib_metrics.pcr_comparison(cells.counts, points, batches, categorical=True),
        "pcr_comparison unscaled": lambda: scib_metrics.pcr_comparison(
            cells.counts, points, batches, categorical=True, scale=False
        ),
        "kmeans nmi": lambda: scib_metrics.nmi_ari_cluster_labels_kmeans(points, labels)["nmi"],
        "kmeans ari": lambda: scib_metrics.nmi_ari_cluster_labels_kmeans(points, labels)["ari"],
        "leiden sweep nmi": lambda: scib_metrics.nmi_ari_cluster_labels_leiden(at[15], labels)["nmi"],
        "leiden sweep ari": lambda: scib_metrics.nmi_ari_cluster_labels_leiden(at[15], labels)["ari"],
    }


SPREAD = ("kmeans nmi", "kmeans ari", "leiden sweep nmi", "leiden sweep ari")
"""Depends on draws: no value to the last digit."""
