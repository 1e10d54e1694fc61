"""How well labels can be predicted, by plain classifiers under cross-validation."""

from typing import Any

import numpy as np

from cellgauge_tasks._base import Embedding, Labels

Table = dict[str, dict[str, float]]
"""Classifier → metric → value."""


def classifiers(seed: int) -> dict[str, Any]:
    """Make the three classifiers, unfitted."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        # cz-benchmarks stops after 100 iterations, converged or not; here it converges.
        "logistic_regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "knn": make_pipeline(StandardScaler(), KNeighborsClassifier(n_neighbors=5)),
        "random_forest": RandomForestClassifier(n_estimators=100, random_state=seed),
    }


def cross_validate(embedding: Embedding, labels: Labels, *, folds: int = 5, seed: int = 42) -> Table:
    """Score three classifiers in stratified, shuffled cross-validation.

    Logistic regression and 5 nearest neighbours on standardised features, a random forest of 100 trees on features as
    they are. F1, precision, recall and AUROC (one label against the rest) are means over labels of equal
    weight, also where there are two labels. A label that is never predicted has precision 0.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions).
    labels
        Shape (cells,); each label needs at least `folds` cells, so that every metric is defined in every fold.
    folds
        Number of folds.
    seed
        Of the folds and the forest.

    Returns
    -------
    Per classifier, the mean over folds of accuracy, f1, precision, recall and auroc, each 0 to 1.

    Raises
    ------
    ValueError
        If a label has fewer cells than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold

    codes = np.unique(labels, return_inverse=True)[1]
    if np.bincount(codes).min() < folds:
        raise ValueError(f"a label has {np.bincount(codes).min()} cells, fewer than the {folds} folds")
    splits = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(embedding, codes))
    table: Table = {}
    for name, classifier in classifiers(seed).items():
        rows = []
        for train, test in splits:
            classifier.fit(embedding[train], codes[train])
            rows.append(_metrics(codes[test], classifier.predict_proba(embedding[test]), classifier.classes_))
        table[name] = {metric: float(np.mean([row[metric] for row in rows])) for metric in rows[0]}
    return table


def _metrics(truth: Any, probabilities: Any, classes: Any) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support, roc_auc_score

    predicted = classes[probabilities.argmax(axis=1)]
    precision, recall, f1, _ = precision_recall_fscore_support(truth, predicted, average="macro", zero_division=0)
    # For two labels scikit-learn wants one column, and the one-vs-rest values of both labels are equal.
    scores = probabilities[:, 1] if len(classes) == 2 else probabilities
    auroc = roc_auc_score(truth, scores, average="macro", multi_class="ovr")
    return {
        "accuracy": float(accuracy_score(truth, predicted)),
        "f1": float(f1),
        "precision": float(precision),
        "recall": float(recall),
        "auroc": float(auroc),
    }
