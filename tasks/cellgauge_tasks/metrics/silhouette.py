"""How compact groups of cells are, and how far apart."""

from cellgauge_tasks._base import Embedding, Labels


def silhouette_label(embedding: Embedding, labels: Labels) -> float:
    """Compute the mean silhouette width of labels, rescaled to 0…1.

    For each cell, with a its mean Euclidean distance to its own label and b that to the nearest other label:
    s = (b - a) / max(a, b), and 0 for the only cell of a label. The result is (mean(s) + 1) / 2, as in scIB.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions).
    labels
        Shape (cells,), 2 or more distinct ones, fewer than there are cells.

    Returns
    -------
    0 to 1; 0.5 means overlapping labels.

    References
    ----------
    Rousseeuw 1987, Journal of Computational and Applied Mathematics 20:53; Luecken et al. 2022, Nature Methods 19:41.
    """
    from sklearn.metrics import silhouette_score

    from cellgauge_tasks._base import NotApplicable

    if len(set(labels)) == len(labels):
        raise NotApplicable("every cell has a label of its own")
    return float((silhouette_score(embedding, labels, metric="euclidean") + 1) / 2)
