"""Do cells of one type lie together, whatever the species?"""

from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike

from cellgauge_tasks import _controls
from cellgauge_tasks._base import Labels, Scores, Task
from cellgauge_tasks._input import cells, codes, donors_apart, several
from cellgauge_tasks._resample import Resamples
from cellgauge_tasks._space import Space
from cellgauge_tasks._tally import Tally
from cellgauge_tasks.metrics import lisi, mixing, silhouette

ROLES = ("cell_type", "organism")


def score(embedding: Any, obs: Mapping[str, ArrayLike], *, seed: int = 42) -> Scores:
    """Look how `obs["organism"]` is mixed in each `obs["cell_type"]`.

    The cells of all species are rows of one embedding, from one dataset or several joined. Entropy of species per cell,
    silhouette of species within cell types, BRAS and iLISI, as for batches. Intervals are over donors of all species if
    `obs` has them, or cells.
    """
    space, known = cells(embedding, obs, *ROLES, optional=("donor",))
    labels, species = known["cell_type"], known["organism"]
    several(species, "organism")
    _ask(space, labels, species)
    tally = Tally(len(space), Resamples(len(space), seed=seed, donors=donors_apart(known)))
    tally.scores.details["labels"] = codes(labels)[1]
    mixing.mind_chance(space, labels, tally.draws, "species")
    k = mixing.neighborhood(len(space))
    tally.add("entropy_per_cell", lambda: mixing.entropies(space, species, k), k=k)
    tally.add("neighbor_entropy", lambda: mixing.entropies(space, species, k, itself=False), k=k)
    tally.add("silhouette_batch", lambda: silhouette.batch_widths(space, labels, species))
    tally.add("bras", lambda: silhouette.angular_batch_widths(space, labels, species))
    others, perplexity = lisi.neighborhood(len(space))
    found = lisi.lisi(space, [species])[:, 0]
    tally.add("ilisi", lambda: lisi.of_batches(found, species), k=others + 1, perplexity=perplexity)
    return tally.scores


def expect(space: Any, obs: Mapping[str, ArrayLike]) -> None:
    """Tell what `score` will ask of a space."""
    inside, known = cells(space, obs, *ROLES)
    _ask(inside, known["cell_type"], known["organism"])


def _ask(space: Space, labels: Labels, species: Labels) -> None:
    space.expect(neighbors=mixing.neighborhood(len(space)))
    for inside, part in silhouette.within(space, labels):
        part.expect(groups=[codes(species[inside])[0]])


TASK = Task(
    name="cross_species_integration",
    version="1",
    title="Do cells of one type lie together, whatever the species?",
    roles=ROLES,
    optional=("donor",),
    shown=("organism",),
    score=score,
    expect=expect,
    headline={"entropy_per_cell": "entropy", "silhouette_batch": "silhouette", "bras": "BRAS"},
    baseline="pca",
    controls={"positive": _controls.truth("cell_type", spare=128), "negative": _controls.truth("organism")},
)
