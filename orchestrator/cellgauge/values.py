"""Turns what a task gives into what is kept of it."""

import math
from collections.abc import Sequence
from typing import Any

from cellgauge.specs import ScoreValue
from cellgauge_tasks import Score, Scores


def defined(given: Sequence[Score]) -> tuple[Sequence[Score], str]:
    """Leave out scores that are no number, and name them: the others are as good without."""
    lacking = [one for one in given if not math.isfinite(one.value)]
    if not lacking:
        return given, ""
    found = Scores(one for one in given if math.isfinite(one.value))
    if isinstance(given, Scores):
        found.details = given.details
    told = (", ".join(f"{name}={value}" for name, value in sorted(one.params.items())) for one in lacking)
    names = (f"{one.metric} ({params})" if params else one.metric for one, params in zip(lacking, told, strict=True))
    return found, ", ".join(names)


def value(one: Score) -> ScoreValue:
    """Take one number, and its interval if that has ends."""
    fields: dict[str, Any] = {"metric": one.metric, "value": float(one.value), "n_cells": int(one.n_cells)}
    fields |= {"params": dict(one.params), "better": one.better}
    span = one.interval
    if span is not None and math.isfinite(span.low) and math.isfinite(span.high):
        fields |= {"low": float(span.low), "high": float(span.high), "resamples": span.resamples}
        fields |= {"unit": span.unit, "n_units": int(span.n_units)}
    return ScoreValue(**fields)
