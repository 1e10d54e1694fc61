"""Distances between all pairs of cells, of which only sums over groups and the nearest are kept."""
