"""The control's mean and the mean effect of the training conditions, for every condition."""

import anndata
import numpy
import pandas

from cellgauge_model import NotApplicable, serve


def pooled(counts, total):
    mean = numpy.asarray(counts.mean(axis=0, dtype="float64")).ravel()
    return numpy.log1p(mean * total / (mean.sum() or 1.0))


def as_counts(log, total):
    """Scale back to the total, which a mean or a sum of logarithms does not keep."""
    counts = numpy.expm1(numpy.maximum(log, 0.0))
    sums = counts.sum(axis=1, keepdims=True)
    return counts * (total / numpy.where(sums > 0, sums, 1.0))


def predict(model, adata, context):
    if context.training is None:
        raise NotApplicable("there are no cells of other conditions to train on")
    # Controls are among the training cells too, under the same ids.
    perturbed = context.training[~context.training.obs_names.isin(adata.obs_names)].copy()
    groups = perturbed.obs.groupby("condition", observed=True).indices.values()
    if not groups:
        raise NotApplicable("the training cells have no condition but the control")
    total = float(adata.X.sum(dtype="float64")) / adata.n_obs
    control = pooled(adata.X, total)
    effect = numpy.mean([pooled(perturbed.X[rows], total) - control for rows in groups], axis=0)
    ids = [condition.id for condition in context.conditions]
    obs = pandas.DataFrame({"condition": ids}, index=[str(number) for number in range(len(ids))])
    row = as_counts((control + effect)[None], total)
    return anndata.AnnData(X=numpy.tile(row, (len(ids), 1)), obs=obs, var=adata.var)


if __name__ == "__main__":
    serve(predict=predict)
