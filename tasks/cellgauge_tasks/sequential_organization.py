"""Do the cells follow each other as they do in time?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cellgauge_tasks import _controls
from cellgauge_tasks._base import NotApplicable, Scores, Task
from cellgauge_tasks._input import cells, codes, several
from cellgauge_tasks._resample import Resamples
from cellgauge_tasks._space import Space
from cellgauge_tasks._tally import Tally
from cellgauge_tasks.metrics import sequence
from cellgauge_tasks.metrics.scib import Member
from cellgauge_tasks.metrics.silhouette import label_widths

K = sequence.K


def score(embedding: Any, obs: Mapping[str, ArrayLike], *, seed: int = 42) -> Scores:
    """Compare `obs["time"]`, numbers or words with one number each, with where the cells are.

    The silhouette of the times, each a class of its own, rescaled to 0…1; and the sequential alignment: how much nearer
    in time the 15 nearest cells are than any cells. Intervals are over cells, or donors if `obs` has them.
    """
    space, known = cells(embedding, obs, "time", optional=("donor",))
    times = sequence.times(known["time"])
    several(times.astype(str), "time")
    _ask(space, times)
    tally = Tally(len(space), Resamples(len(space), seed=seed, donors=known.get("donor")))
    apart = sequence.disagreement(space, times, K)
    tally.add("silhouette_time", lambda: label_widths(space, times.astype(str)))
    value = _alignment(np.nanmean(apart), sequence.expected_disagreement(times))
    tally.sum_up("sequential_alignment", Member(float(value), _drawn(apart, times, tally.draws)), k=K)
    order = np.unique(times)
    details = {"times": order, "disagreement/per_time": _means(apart, times)}
    tally.scores.details.update(details)
    return tally.scores


def _means(apart: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average over the cells of each time, of those that have a value."""
    known = np.isfinite(apart)
    groups = np.unique(times, return_inverse=True)[1]
    with np.errstate(invalid="ignore"):
        return np.bincount(groups, np.where(known, apart, 0.0)) / np.bincount(groups, known)


def _alignment(apart: Any, expected: Any) -> Any:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip(1 - apart / expected, 0, 1)


def _drawn(apart: NDArray[np.float64], times: NDArray[np.float64], draws: Resamples) -> NDArray[np.float64]:
    expected = np.concatenate([sequence.expected_disagreement(times, block) for block in draws.weights()])
    found: NDArray[np.float64] = _alignment(draws.means(apart), expected)
    return found


def expect(space: Any, obs: Mapping[str, ArrayLike]) -> None:
    """Tell what `score` will ask of a space."""
    inside, known = cells(space, obs, "time")
    _ask(inside, sequence.times(known["time"]))


def _ask(space: Space, times: NDArray[np.float64]) -> None:
    space.expect(neighbors=K, groups=[codes(times.astype(str))[0]])


def line(obs: Mapping[str, Any], seed: int) -> NDArray[np.float32]:
    """Put the cells on a line, in order of time."""
    names = pd.Series(np.asarray(obs["time"], dtype=object))
    places = np.random.default_rng(seed).normal(0, _controls.NOISE, (len(names), 2)).astype(np.float32)
    known = names.notna().to_numpy()
    try:
        times = sequence.times(names[known].astype(str).to_numpy(dtype=str))
    except NotApplicable:
        return places
    places[known, 0] += np.unique(times, return_inverse=True)[1]
    return places


TASK = Task(
    name="sequential_organization",
    version="1",
    title="Do the cells follow each other as they do in time?",
    roles=("time",),
    optional=("donor",),
    score=score,
    expect=expect,
    headline={"sequential_alignment": "alignment", "silhouette_time": "silhouette"},
    baseline="pca",
    controls={"positive": line, "negative": _controls.chance},
)
