"""How well two groupings of the same cells agree."""

from numpy.typing import ArrayLike


def adjusted_rand_index(labels: ArrayLike, clusters: ArrayLike) -> float:
    """Compute the Rand index corrected for chance.

    Parameters
    ----------
    labels, clusters
        Shape (cells,). Names do not matter, only which cells are together.

    Returns
    -------
    -0.5 to 1; 0 is expected of random groupings, 1 means the same grouping.

    References
    ----------
    Hubert and Arabie 1985, Journal of Classification 2:193.
    """
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(labels, clusters))


def normalized_mutual_info(labels: ArrayLike, clusters: ArrayLike) -> float:
    """Compute mutual information divided by the arithmetic mean of the two entropies.

    Not corrected for chance: many small clusters raise it.

    Parameters
    ----------
    labels, clusters
        Shape (cells,).

    Returns
    -------
    0 to 1; 1 means the same grouping.

    References
    ----------
    Strehl and Ghosh 2002, Journal of Machine Learning Research 3:583; the arithmetic mean as in scikit-learn.
    """
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(labels, clusters))
