"""A linear model of effects: genes by components of the training means, conditions by the genes they target."""

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


def components(means, count):
    """Give each gene its principal components over conditions; their signs are fixed, so that runs agree."""
    left, values, right = numpy.linalg.svd(means.T - means.mean(axis=1), full_matrices=False)
    kept = min(count, int((values > 1e-9 * values[0]).sum()))
    signs = numpy.sign(right[numpy.arange(kept), numpy.abs(right[:kept]).argmax(axis=1)])
    return left[:, :kept] * values[:kept] * signs


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
    groups = perturbed.obs.groupby("condition", observed=True).indices
    if not groups:
        raise NotApplicable("the training cells have no condition but the control")
    total = float(adata.X.sum(dtype="float64")) / adata.n_obs
    control = pooled(adata.X, total)
    means = numpy.array([pooled(perturbed.X[rows], total) for rows in groups.values()])
    center = (means - control).mean(axis=0)
    genes = components(numpy.vstack([control, means]), int(context.params["n_components"]))

    places = {name: row for column in adata.var for row, name in enumerate(adata.var[column].astype(str)) if name}
    places |= {name: row for row, name in enumerate(adata.var_names)}
    embed = lambda names: genes[[places[name] for name in names if name in places]].sum(axis=0)  # noqa: E731
    embedded = numpy.array([embed(targets(one, perturbed.obs.iloc[rows], controls)) for one, rows in groups.items()])
    known = embedded.any(axis=1)
    if known.sum() < 2:
        context.warn("fewer than 2 training conditions target a gene that is measured: their mean effect is predicted")
        known[:] = False
    ridge = float(context.params["ridge"]) * numpy.eye(genes.shape[1])
    y, p = (means - control - center)[known], embedded[known]
    weights = numpy.linalg.solve(genes.T @ genes + ridge, genes.T @ y.T @ p) @ numpy.linalg.inv(p.T @ p + ridge)

    asked = numpy.array([embed(condition.targets) for condition in context.conditions])
    if unknown := int((~asked.any(axis=1)).sum()):
        context.warn(f"{unknown} of {len(asked)} conditions target no gene that is measured and get the mean effect")
    log = control + center + asked @ weights.T @ genes.T
    obs = pandas.DataFrame({"condition": [one.id for one in context.conditions]})
    obs.index = obs.index.astype(str)
    return anndata.AnnData(X=as_counts(log, total), obs=obs, var=adata.var)


if __name__ == "__main__":
    serve(predict=predict)
