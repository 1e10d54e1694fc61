"""The control's mean and the mix of training effects that fits the genes seen of a condition, for every condition."""

import anndata
import numpy
import pandas

from cellgauge_model import NotApplicable, serve


def mean_counts(cells):
    return numpy.asarray(cells.X.mean(axis=0, dtype="float64")).ravel()


def effects(means, control):
    """Scale each mean to the control's total, and take the difference of logarithms."""
    totals = means.sum(axis=1, keepdims=True)
    return numpy.log1p(means * control.sum() / numpy.where(totals > 0, totals, 1.0)) - numpy.log1p(control)


def as_counts(log, total):
    """Scale back to the total, which a sum of logarithms does not keep."""
    counts = numpy.expm1(numpy.maximum(log, 0.0))
    return counts * (total / (counts.sum() or 1.0))


def mixed(seen, trained, control, masked, ridge):
    """Find the effect on all genes by that on those that are not masked."""
    every = effects(trained, control)
    centre = every.mean(axis=0)
    theirs = effects(trained[:, ~masked], control[~masked])
    own = effects(seen[None, ~masked], control[~masked])[0] - theirs.mean(axis=0)
    theirs -= theirs.mean(axis=0)
    products = theirs @ theirs.T
    products += numpy.eye(len(trained)) * (ridge * numpy.trace(products) / len(trained) or 1.0)
    return centre + numpy.linalg.solve(products, theirs @ own) @ (every - centre)


def predict(model, adata, context):
    if context.training is None:
        raise NotApplicable("there are no cells of other conditions to train on")
    # Controls are among the training cells too, under the same ids.
    perturbed = context.training[~context.training.obs_names.isin(adata.obs_names)].copy()
    groups = list(perturbed.obs.groupby("condition", observed=True).indices.values())
    if not groups:
        raise NotApplicable("the training cells have no condition but the control")
    control = mean_counts(adata)
    trained = numpy.array([mean_counts(perturbed[rows]) for rows in groups])
    ids = [condition.id for condition in context.conditions]
    rows = []
    for condition in context.conditions:
        found = effects(trained, control).mean(axis=0)
        if context.masked is not None and condition.masked:
            seen = mean_counts(context.masked[(context.masked.obs["condition"] == condition.id).to_numpy()])
            hidden = adata.var_names.isin(condition.masked)
            found = mixed(seen, trained, control, hidden, context.params["ridge"])
        rows.append(as_counts(numpy.log1p(control) + found, control.sum()))
    obs = pandas.DataFrame({"condition": ids}, index=[str(number) for number in range(len(ids))])
    return anndata.AnnData(X=numpy.array(rows), obs=obs, var=adata.var)


if __name__ == "__main__":
    serve(predict=predict)
