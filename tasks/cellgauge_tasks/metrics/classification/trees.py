"""Grows one tree of a forest on binned features. Compiled at first use, and kept compiled from then on."""

# mypy: disable-error-code="assignment, return-value"
# numba infers the types of numbers anew; what mypy reads of NumPy here is not what runs.

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[Any]
NEAR = 1024
"""A group of so few training cells or fewer is read cell by cell: their rows fit into the processor's cache."""
FEW = 24
"""So few are sorted by insertion."""


@njit(cache=True, nogil=True)
def draw(state: NDArray[np.uint64], below: int) -> int:
    """Draw a whole number below another (Steele, Lea and Flood 2014: SplitMix64)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    mixed = state[0]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed >> np.uint64(31))
    return np.int64((mixed >> np.uint64(11)) % np.uint64(below))


@njit(cache=True, nogil=True)
def best_by_table(
    bins: Ints, kinds: Ints, counts: Ints, total: Ints, table: Ints, left: Ints
) -> tuple[float, int, int]:
    """Find the best cut of one feature from how many cells of each class are in each bin.

    Parameters
    ----------
    bins, kinds, counts
        Shape (cells,): bin, class and weight of each.
    total
        Shape (classes,): their sums of weights.
    table
        Shape (256 x classes or more,), all 0, and so again afterwards.
    left
        Shape (classes,), for what is to the left of a cut.

    Returns
    -------
    The sum over both sides of (sum of squared class weights / weight), which falls as their Gini impurity rises, the
    last bin with cells to the left and the first to the right; -1 where all cells are in one bin.
    """
    classes = len(total)
    low, high = 255, 0
    for cell in range(len(bins)):
        value = np.int64(bins[cell])
        table[value * classes + kinds[cell]] += counts[cell]
        low, high = min(low, value), max(high, value)
    best, last, first = -1.0, -1, -1
    here, all_, inside, outside = 0, 0, 0, 0
    for kind in range(classes):
        left[kind] = 0
        all_ += total[kind]
        outside += total[kind] * total[kind]
    before = low
    for value in range(low, high + 1):
        fresh = True
        for kind in range(classes):
            count = np.int64(table[value * classes + kind])
            if count > 0:
                if fresh and here > 0:
                    found = inside / here + outside / (all_ - here)
                    if found > best:
                        best, last, first = found, before, value
                fresh, before = False, value
                inside += count * (2 * left[kind] + count)
                outside -= count * (2 * (total[kind] - left[kind]) - count)
                left[kind] += count
                here += count
                table[value * classes + kind] = 0
    return best, last, first


@njit(cache=True, nogil=True)
def best_by_order(
    bins: Ints, cells: Ints, total: Ints, places: Ints, order: Ints, left: Ints
) -> tuple[float, int, int]:
    """Find the same cut by putting the cells in order; faster where they are few.

    Parameters
    ----------
    cells
        Shape (cells,): class and weight of each, as 2 ** 20 class + weight.
    places
        Shape (258,), for where each bin begins.
    order
        Shape (cells or more,), for what is in `cells`, with the bin before it, in the order of bins.
    """
    n = len(bins)
    low, high = bins[0], bins[0]
    for cell in range(1, n):
        low, high = min(low, bins[cell]), max(high, bins[cell])
    if low == high:
        return -1.0, -1, -1
    if n <= FEW:
        for cell in range(n):
            key = (np.int64(bins[cell]) << 40) + cells[cell]
            at = cell
            while at > 0 and order[at - 1] > key:
                order[at] = order[at - 1]
                at -= 1
            order[at] = key
    else:
        places[low : high + 2] = 0
        for cell in range(n):
            places[bins[cell] + 1] += 1
        for value in range(low + 1, high + 1):
            places[value + 1] += places[value]
        for cell in range(n):
            value = bins[cell]
            order[places[value]] = (np.int64(value) << 40) + cells[cell]
            places[value] += 1
    here, all_, inside, outside = 0, 0, 0, 0
    for kind in range(len(total)):
        left[kind] = 0
        all_ += total[kind]
        outside += total[kind] * total[kind]
    best, last, first = -1.0, -1, -1
    bin_ = order[0] >> 40
    for rank in range(n - 1):
        key = order[rank]
        kind, count = (key >> 20) & 0xFFFFF, key & 0xFFFFF
        inside += count * (2 * left[kind] + count)
        outside -= count * (2 * (total[kind] - left[kind]) - count)
        left[kind] += count
        here += count
        after = order[rank + 1] >> 40
        if bin_ < after:
            found = inside / here + outside / (all_ - here)
            if found > best:
                best, last, first = found, bin_, after
            bin_ = after
    return best, last, first


@njit(cache=True, nogil=True)
def half_way(centres: NDArray[Any], lower: int, upper: int) -> int:
    """Cut half the way between two bins, on the scale of the values: give the last bin to the left."""
    middle = (centres[lower] + centres[upper]) / 2
    cut = lower
    while cut + 1 < upper and centres[cut + 1] <= middle:
        cut += 1
    return cut


@njit(cache=True, nogil=True)
def present(cells: Ints, kinds: Ints, counts: Ints, names: Ints, numbers: Ints, total: Ints) -> int:
    """Number the classes that some cells are of, and add up their weights; how many there are.

    Parameters
    ----------
    names
        Shape (classes,), for the class of each number.
    numbers
        Shape (classes,), all -1: for the number of each class.
    total
        Shape (classes,), for the weights by number.
    """
    found = 0
    for cell in cells:
        kind = kinds[cell]
        if numbers[kind] < 0:
            numbers[kind], names[found], total[found] = found, kind, 0
            found += 1
        total[numbers[kind]] += counts[cell]
    return found


@njit(cache=True, nogil=True)
def share_out(cells: Ints, spare: Ints, first: int, last: int, values: Ints, cut: int) -> int:
    """Put the cells that are left of a cut before the others, all in the order they had; where the others begin."""
    kept, moved = first, 0
    for place in range(first, last):
        cell = cells[place]
        if values[cell] <= cut:
            cells[kept] = cell
            kept += 1
        else:
            spare[moved] = cell
            moved += 1
    cells[kept:last] = spare[:moved]
    return kept


@njit(cache=True, nogil=True)
def grow(
    rows: Ints,
    columns: Ints,
    centres: NDArray[Any],
    kinds: Ints,
    counts: Ints,
    known: Ints,
    asked: Ints,
    tries: int,
    seed: int,
    votes: Ints,
) -> None:
    """Grow a tree until its leaves hold one class, and let the cells that are asked about fall into them.

    No tree is kept: a group of training cells is cut in two together with those asked cells that fall into it, until it
    is a leaf, whose shares of classes are theirs.

    Parameters
    ----------
    rows, columns
        Shape (cells, dimensions) and (dimensions, cells) uint8: the bins, in both orders.
    centres
        Shape (dimensions, 256): a value in the middle of each bin.
    kinds
        Shape (cells,): classes.
    counts
        Shape (cells,): how often each training cell was drawn.
    known, asked
        The training cells that were drawn at all, and those to predict.
    tries
        How many features are looked at for each cut; more only if all of them are constant.
    votes
        Shape (cells, classes) int64: what is added to. A whole vote is 2 ** 40: sums of whole numbers do not depend on
        which thread comes first.
    """
    classes, dimensions = votes.shape[1], rows.shape[1]
    state = np.array([seed], dtype=np.uint64)
    features = np.arange(dimensions)
    names, numbers = np.zeros(classes, dtype=np.int64), np.full(classes, -1)
    sums, left = np.zeros(classes, dtype=np.int64), np.zeros(classes, dtype=np.int64)
    table = np.zeros(256 * classes, dtype=np.int32)
    places = np.zeros(258, dtype=np.int32)
    order, both = np.empty(len(known), dtype=np.int64), np.empty(len(known), dtype=np.int64)
    spare = np.empty(max(len(known), len(asked)), dtype=known.dtype)
    bins = np.empty(len(known), dtype=np.uint8)
    own, drawn = np.empty(len(known), dtype=np.int32), np.empty(len(known), dtype=np.int32)
    waiting = [(0, len(known), 0, len(asked))]
    while len(waiting) > 0:
        first, last, first_asked, last_asked = waiting.pop()
        if first_asked == last_asked:
            continue  # nobody asks what is below
        n = last - first
        here = present(known[first:last], kinds, counts, names, numbers, sums)
        total = sums[:here]
        if here > 1:
            for place in range(n):
                cell = known[first + place]
                own[place], drawn[place] = numbers[kinds[cell]], counts[cell]
                both[place] = (np.int64(own[place]) << 20) + drawn[place]
        numbers[names[:here]] = -1
        best, lower, upper, feature = -1.0, -1, -1, -1
        looked = 0
        while here > 1 and looked < dimensions and (looked < tries or feature < 0):
            chosen = looked + draw(state, dimensions - looked)
            one = features[chosen]
            features[chosen], features[looked] = features[looked], one
            looked += 1
            if n > NEAR:
                column = columns[one]
                for place in range(n):
                    bins[place] = column[known[first + place]]
            else:
                for place in range(n):
                    bins[place] = rows[known[first + place], one]
            if n > 64 * here:
                found, last_left, first_right = best_by_table(bins[:n], own[:n], drawn[:n], total, table, left)
            else:
                found, last_left, first_right = best_by_order(bins[:n], both[:n], total, places, order, left)
            if found > best:
                best, lower, upper, feature = found, last_left, first_right, one
        if feature < 0:
            for place in range(first_asked, last_asked):
                for number in range(here):
                    votes[asked[place], names[number]] += (total[number] << 40) // total.sum()
            continue
        cut = half_way(centres[feature], lower, upper)
        middle = share_out(known, spare, first, last, columns[feature], cut)
        middle_asked = share_out(asked, spare, first_asked, last_asked, columns[feature], cut)
        waiting.append((first, middle, first_asked, middle_asked))
        waiting.append((middle, last, middle_asked, last_asked))
