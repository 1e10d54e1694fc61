"""The control's mean and the sum of the effects of what a condition targets, each as it is when alone."""

import anndata
import numpy
import pandas

from cellgauge_model import NotApplicable, serve

NOTHING = {"", "control", "ctrl", "non-targeting", "nontargeting", "nt"}


def pooled(counts, total):
    mean = numpy.asarray(counts.mean(axis=0, dtype="float64")).ravel()
    return numpy.log1p(mean * total / (mean.sum() or 1.0))


def as_counts(log, total):
    """Scale back to the total, which a mean or a sum of logarithms does not keep."""
    counts = numpy.expm1(numpy.maximum(log, 0.0))
    sums = counts.sum(axis=1, keepdims=True)
    return counts * (total / numpy.where(sums > 0, sums, 1.0))


def targets(condition, cells, controls):
    told = cells["target"].dropna().unique() if "target" in cells else []
    words = {word.strip() for text in (list(told) or [condition]) for word in str(text).split("+")}
    return sorted(word for word in words if word not in controls and word.lower() not in NOTHING)


def predict(model, adata, context):
    if context.training is None:
        raise NotApplicable("there are no cells of other conditions to train on")
    # Controls are among the training cells too, under the same ids.
    same = context.training.obs_names.isin(adata.obs_names)
    perturbed = context.training[~same].copy()
    controls = set(context.training.obs["condition"][same].astype(str))  # how this dataset calls them
    total = float(adata.X.sum(dtype="float64")) / adata.n_obs
    control = pooled(adata.X, total)
    alone = {}
    for condition, rows in perturbed.obs.groupby("condition", observed=True).indices.items():
        if len(target := targets(condition, perturbed.obs.iloc[rows], controls)) == 1:
            alone.setdefault(target[0], []).append(pooled(perturbed.X[rows], total) - control)
    asked = {target for condition in context.conditions for target in condition.targets}
    if unseen := sorted(asked - set(alone)):
        context.warn(f"{len(unseen)} of {len(asked)} targets were not seen alone and add nothing: {unseen[0]}, …")
    effects = {target: numpy.mean(several, axis=0) for target, several in alone.items()}
    log = [control + sum(effects[one] for one in each.targets if one in effects) for each in context.conditions]
    obs = pandas.DataFrame({"condition": [one.id for one in context.conditions]})
    obs.index = obs.index.astype(str)
    return anndata.AnnData(X=as_counts(numpy.array(log), total), obs=obs, var=adata.var)


if __name__ == "__main__":
    serve(predict=predict)
